"""`balance`: what accounts own."""

from typing import Any

from linklearner.cli.calls import AccountOption, GatewayCall, asks_gateway
from linklearner.domain.notation import UNIT_WEI
from linklearner.output import address, ll


@asks_gateway
async def balance(call: GatewayCall, account: AccountOption = None) -> list[dict[str, Any]]:
    """$LL, stake and gas money of every account of a gateway, or of one."""
    rows = []
    for one in [account] if account else await call.gateway.accounts():
        found = await call.gateway.balance(one, call.task)
        assert found.stake is not None  # of a task that was named
        rows.append(
            {
                "account": address(one),
                "$LL": ll(found.token),
                "locked": ll(found.stake.locked * UNIT_WEI),
                "counts_this_round": ll(found.stake.eligible * UNIT_WEI),
                "coin": ll(found.coin),
            }
        )
    return rows
