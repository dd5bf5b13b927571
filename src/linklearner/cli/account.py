"""`balance`: what accounts own; `earnings`: what they have earned and can claim."""

from typing import Annotated, Any

import typer

from linklearner.cli.calls import AccountOption, GatewayCall, asks_gateway, request_id
from linklearner.domain.notation import UNIT_WEI
from linklearner.domain.rules.evidence.verdicts import record_text
from linklearner.output import address, ll


@asks_gateway
async def balance(call: GatewayCall, account: AccountOption = None) -> list[dict[str, Any]]:
    """$LL, stake, unclaimed earnings and gas money of every account of a gateway, or of one."""
    rows = []
    for one in [account] if account else await call.gateway.accounts():
        found = await call.gateway.balance(one, call.task)
        earned = await call.gateway.earnings(one, call.task)
        assert found.stake is not None  # of a task that was named
        rows.append(
            {
                "account": address(one),
                "$LL": ll(found.token),
                "locked": ll(found.stake.locked * UNIT_WEI),
                "counts_this_round": ll(found.stake.eligible * UNIT_WEI),
                "unclaimed": ll(earned.claimable),
                "coin": ll(found.coin),
            }
        )
    return rows


@asks_gateway
async def earnings(
    call: GatewayCall,
    account: AccountOption = None,
    claim: Annotated[
        bool, typer.Option("--claim", help="pay it out, to each account that is listed and has something to claim")
    ] = False,
) -> list[dict[str, Any]]:
    """What every account of a gateway, or one, has earned in a task and can claim: pay for updates, a share of the fees for those, and a
    share of the fees for stake."""
    rows: list[dict[str, Any]] = []
    for one in [account] if account else await call.gateway.accounts():
        found = await call.gateway.earnings(one, call.task)
        row = {"account": address(one), "earned_by_updates": ll(found.earned)}
        if found.record is not None:
            row["record"] = record_text(found.record)
        if not claim:
            rows.append(
                row | {"pay": ll(found.pay), "fees": ll(found.fees), "stake_fees": ll(found.stake_fees)}
                | {"unclaimed": ll(found.claimable)}
            )  # fmt: skip
            continue
        claimed = await call.gateway.claim(request_id(), one, call.task) if found.claimable else None
        rows.append(
            row
            | {
                "claimed": ll(claimed.earnings.claimable if claimed else 0),
                "transactions": ["0x" + mined.transaction.hex() for mined in claimed.mined] if claimed else [],
                "gas": sum(mined.gas_used for mined in claimed.mined) if claimed else 0,
            }
        )
    return rows
