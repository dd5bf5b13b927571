"""`stake …`: what an account has locked, and change it."""

from typing import Annotated, Any

import typer

from linklearner.cli.arguments import stake_amount
from linklearner.cli.calls import AccountOption, GatewayCall, asks_gateway, request_id
from linklearner.domain.notation import UNIT_WEI
from linklearner.domain.tasks import Mined, StakeStatus
from linklearner.output import Shown, address, ll, moment

AmountArgument = Annotated[int, typer.Argument(parser=stake_amount, help="$LL, at most three decimals")]

app = typer.Typer(help="Lock $LL for a task: it gives influence, pay and access.", no_args_is_help=True)


@app.command("show")
@asks_gateway
async def show_stake(call: GatewayCall, account: AccountOption = None) -> dict[str, Any]:
    """What an account has locked, from when on it counts, and when unlocked $LL can be withdrawn."""
    who = await call.account(account)
    found = await call.gateway.balance(who, call.task)
    assert found.stake is not None  # of a task that was named
    return _row(who, found.stake)


@app.command()
@asks_gateway
async def lock(call: GatewayCall, amount: AmountArgument, account: AccountOption = None) -> dict[str, Any]:
    """Lock $LL. It counts in rounds that open after the task's stake time (`task show`): once to twice that from now; at once while the
    task's first weights are being loaded."""
    who = await call.account(account)
    return _changed(who, *await call.gateway.lock(request_id(), who, call.task, amount))


@app.command()
@asks_gateway
async def unlock(call: GatewayCall, amount: AmountArgument, account: AccountOption = None) -> dict[str, Any]:
    """Ask for $LL back. It stops counting, and can be withdrawn after the task's stake time, and after a round in which the account has an
    update."""
    who = await call.account(account)
    return _changed(who, *await call.gateway.unlock(request_id(), who, call.task, amount))


@app.command()
@asks_gateway
async def withdraw(call: GatewayCall, account: AccountOption = None) -> dict[str, Any]:
    """Take unlocked $LL home."""
    who = await call.account(account)
    return _changed(who, *await call.gateway.withdraw(request_id(), who, call.task))


def _changed(account: bytes, mined: Mined, stake: StakeStatus) -> dict[str, Any]:
    """What an account's stake is after a change, and what that cost."""
    return _row(account, stake) | {"transaction": "0x" + mined.transaction.hex(), "gas": mined.gas_used}


def _row(account: bytes, stake: StakeStatus) -> dict[str, Any]:
    row: dict[str, Any] = {
        "account": address(account),
        "locked": ll(stake.locked * UNIT_WEI) + " $LL",
        "counts_this_round": ll(stake.eligible * UNIT_WEI) + " $LL",
        "unlocking": ll(stake.unlocking * UNIT_WEI) + " $LL",
    }
    if stake.locked > stake.eligible:
        text = f"in rounds that open {moment(stake.matures_s).text} or later" if stake.matures_s else "in round 1"
        row["rest_counts"] = Shown(stake.matures_s, text)
    if stake.unlocking:
        text = f"{moment(stake.withdrawable_s).text}, or after the open round if that has an update of this account"
        row["withdrawable"] = Shown(stake.withdrawable_s, text)
    return row
