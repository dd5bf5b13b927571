"""`balance`: what accounts own."""

from typing import Any

from linklearner.cli.calls import AccountOption, GatewayCall, asks_gateway
from linklearner.domain.notation import UNIT_WEI
from linklearner.output import address, ll
from linklearner.v1 import chain_gateway_pb2 as gateway


@asks_gateway
async def balance(call: GatewayCall, account: AccountOption = None) -> list[dict[str, Any]]:
    """$LL, stake and gas money of every account of a gateway, or of one."""
    rows = []
    for one in [account] if account else await call.accounts():
        found = await call.stub.GetBalance(gateway.GetBalanceRequest(account=one, task=call.task))
        rows.append(
            {
                "account": address(one),
                "$LL": ll(found.token_wei),
                "locked": ll(found.stake.locked_units * UNIT_WEI),
                "counts_this_round": ll(found.stake.eligible_units * UNIT_WEI),
                "coin": ll(found.coin_wei),
            }
        )
    return rows
