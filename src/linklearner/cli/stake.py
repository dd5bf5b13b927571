"""`stake …`: look at what an account has locked, and change it."""

from typing import Annotated, Any

import typer

from linklearner.cli.arguments import stake_amount
from linklearner.cli.calls import AccountOption, GatewayCall, asks_gateway, request_id
from linklearner.domain.notation import UNIT_WEI
from linklearner.output import address, ll
from linklearner.v1 import chain_gateway_pb2 as gateway

AmountArgument = Annotated[int, typer.Argument(parser=stake_amount, help="$LL, at most three decimals")]

app = typer.Typer(help="Lock $LL for a task: it gives influence, pay and access.", no_args_is_help=True)


@app.command("show")
@asks_gateway
async def show_stake(call: GatewayCall, account: AccountOption = None) -> dict[str, Any]:
    """What an account has locked."""
    who = await call.account(account)
    found = await call.stub.GetBalance(gateway.GetBalanceRequest(account=who, task=call.task))
    return _row(who, found.stake)


@app.command()
@asks_gateway
async def lock(call: GatewayCall, amount: AmountArgument, account: AccountOption = None) -> dict[str, Any]:
    """Lock $LL; it counts from the next round on."""
    return await _changed(call, call.stub.LockStake, gateway.LockStakeRequest(units=amount), account)


@app.command()
@asks_gateway
async def unlock(call: GatewayCall, amount: AmountArgument, account: AccountOption = None) -> dict[str, Any]:
    """Ask for $LL back; it stops counting at once and may be withdrawn when the present round is over."""
    return await _changed(call, call.stub.UnlockStake, gateway.UnlockStakeRequest(units=amount), account)


@app.command()
@asks_gateway
async def withdraw(call: GatewayCall, account: AccountOption = None) -> dict[str, Any]:
    """Take unlocked $LL home."""
    return await _changed(call, call.stub.WithdrawStake, gateway.WithdrawStakeRequest(), account)


async def _changed(call: GatewayCall, method: Any, request: Any, account: bytes | None) -> dict[str, Any]:
    """Asks for a change of an account's stake; what it is then, and what that cost. request: all but id, account and task."""
    who = await call.account(account)
    request.request_id, request.account, request.task = request_id(), who, call.task
    done = await method(request)
    return _row(who, done.stake) | {
        "transaction": "0x" + done.receipt.transaction_hash.hex(),
        "gas": done.receipt.gas_used,
    }


def _row(account: bytes, stake: gateway.StakeStatus) -> dict[str, Any]:
    row: dict[str, Any] = {
        "account": address(account),
        "locked": ll(stake.locked_units * UNIT_WEI) + " $LL",
        "counts_this_round": ll(stake.eligible_units * UNIT_WEI) + " $LL",
        "unlocking": ll(stake.unlocking_units * UNIT_WEI) + " $LL",
    }
    if stake.unlocking_units:
        row["withdrawable_after_round"] = stake.unlocking_round
    return row
