"""The fourth act: everybody claims what the rounds have credited, and the creator closes the task and gets the pot's rest."""

import asyncio
import secrets

from rich.table import Table

from linklearner.demo.rounds import Stage
from linklearner.demo.screen import Screen
from linklearner.demo.start import NAMES
from linklearner.domain.errors import DataLoss
from linklearner.domain.notation import address
from linklearner.domain.tasks import Claimed, Task
from linklearner.output import ll


async def pay_out(stage: Stage, task: Task, screen: Screen, *, close: bool) -> None:
    """task: as it was before the first round. close: the task, at the end. Raises DataLoss if a wei is missing."""
    suite, gateway = stage.suite, stage.gateway
    people = dict(zip(NAMES, map(address, suite.accounts), strict=True))

    async def claims(account: bytes) -> Claimed:
        return await gateway.claim("demo-claim-" + secrets.token_hex(8), account, suite.task)

    claimed = await asyncio.gather(*map(claims, people.values()))
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 2))
    for name in ("earned", "claims", "gas"):
        table.add_column(name, justify="left" if name == "earned" else "right")
    for name, one in zip(people, claimed, strict=True):
        gas = sum(mined.gas_used for mined in one.mined)
        screen.event(
            "claimed",
            contributor=name,
            earned_wei=str(one.earnings.earned),
            claimed_wei=str(one.earnings.claimable),
            gas=gas,
        )
        table.add_row(name, ll(one.earnings.claimable) + " $LL", f"{gas:,}")
    screen.say("\n[bold]Pay[/bold]  what the rounds credited is claimed: one transaction for all of them")
    screen.console.print(table)
    if not close:
        return
    rest = (await gateway.task(suite.task)).pot
    creator = address(suite.creator)
    had = (await gateway.balance(creator)).token
    closed = await gateway.close_task("demo-close-" + secrets.token_hex(8), creator, suite.task)
    refund = (await gateway.balance(creator)).token - had
    if not closed.closed or refund != rest:
        raise DataLoss(f"closing the task returned {ll(refund)} $LL of a pot of {ll(rest)}", reason="PotLost")
    screen.event("closed", task=suite.task, refund_wei=str(refund), gas=closed.mined.gas_used)
    screen.say(f"  the creator closes the task: {ll(refund)} $LL, the pot's rest, go to them; no round opens any more")
