"""The second act: rounds, all train, one cheats, one settles."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from linklearner.client.gateway import GatewayClient
from linklearner.client.trainer import TrainerClient
from linklearner.demo.cheat import CheatProcess
from linklearner.demo.screen import Line, Screen, first_clause, round_table
from linklearner.demo.start import NAMES, DemoPlan
from linklearner.domain.errors import DataLoss, Refused, TimedOut
from linklearner.domain.rounds import Step
from linklearner.domain.shape import Shape
from linklearner.domain.tasks import Settled, Submitted
from linklearner.domain.training import ModelPulled, TrainerStatus, TrainingProgress, UpdateQuantised
from linklearner.output import ll
from linklearner.rpc.access import Credential
from linklearner.rpc.channel import channel
from linklearner.suite import Suite

NO_REASONS = ("OutOfGas", "Reverted")
"""Of a transaction that failed before a rule could refuse it."""
SETTLE_TIMEOUT_S = 120.0
AGAIN_S = 0.2


class Stage:
    """The suite's services as the demo calls them."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        operator = Credential.read(Path(suite.credential))
        self._wires = [channel(one, operator) for one in (suite.gateway, *suite.trainers)]
        self.gateway = GatewayClient(self._wires[0], suite.gateway)
        self.trainers = [
            TrainerClient(wire, address) for wire, address in zip(self._wires[1:], suite.trainers, strict=True)
        ]

    async def close(self) -> None:
        await asyncio.gather(*(wire.close(None) for wire in self._wires))


async def play_round(
    plan: DemoPlan,
    stage: Stage,
    people: Sequence[TrainerStatus],
    shape: Shape,
    number: int,
    cheat: CheatProcess | None,
    screen: Screen,
) -> int:
    """One round: all train, the cheat cheats, one of them settles. Returns how many attempts were refused."""
    began = time.monotonic()
    lines = [Line(name, person.samples) for name, person in zip(NAMES, people, strict=True)]
    attempts: list[dict[str, Any]] = []
    before = await stage.gateway.task(stage.suite.task)
    opened = before.round.round
    with Live(console=screen.console, refresh_per_second=8, transient=True) as live:

        def draw() -> None:
            live.update(round_table(f"Round {number}  [dim]{time.monotonic() - began:.1f} s[/dim]", lines, shape))

        async def takes_part(index: int) -> None:
            await contribute(plan, stage.trainers[index], lines[index], draw)

        draw()
        if cheat is not None:
            # The cheat hands in one honest update first: a second one in the same round is one of the things to refuse.
            await takes_part(len(lines) - 1)
            attempts += await cheat.tries("submit")
            await asyncio.gather(*(takes_part(index) for index in range(len(lines) - 1)))
            attempts += await cheat.tries("settle")
        else:
            await asyncio.gather(*(takes_part(index) for index in range(len(lines))))
        settler = number % len(people)
        settled = await settle_when_due(stage, people[settler].account, opened)
    after = await stage.gateway.task(stage.suite.task)
    pay = RoundPaid(
        elapsed_s=after.round.opened_s - before.round.opened_s,  # a round opens in the block that settles the last
        round_s=before.terms.round_seconds,
        took_wei=before.pot - after.pot,
        pot_wei=after.pot,
    )
    result = await stage.trainers[0].evaluate(settled.version.version)
    history = await stage.gateway.round(stage.suite.task, opened)
    settlement_gas = sum(mined.gas_used for mined in settled.mined)
    for line, person in zip(lines, people, strict=True):
        for one in history.contributions:
            if one.contributor == person.account:
                line.gas, line.earned_wei = one.mined.gas_used, one.paid or 0
    share = settlement_gas / max(1, len(history.contributions))
    screen.event(
        "round", round=opened, version=settled.version.version, digest="0x" + settled.version.digest.hex(), accuracy=result.value,
        loss=result.loss, saturated=settled.version.saturated_count, settlement_gas=settlement_gas,
        seconds=round(time.monotonic() - began, 3), elapsed_s=pay.elapsed_s, round_s=pay.round_s, took_wei=str(pay.took_wei),
        pot_wei=str(pay.pot_wei), settler=lines[settler].name, settler_wei=str(history.settler_paid),
        contributors=[
            {"name": line.name, "verdict": line.state, "gas": line.gas, "gas_per_weight": round((line.gas + share) / shape.weight_count, 1),
             "bytes": line.update_bytes, "earned_wei": str(line.earned_wei), "loss": line.loss}
            for line in lines
        ],
    )  # fmt: skip
    title = (
        f"[bold]Round {number}[/bold]  accuracy [bold]{result.value:.3f}[/bold]  loss {result.loss:.3f}  [dim]version[/dim] "
        f"{settled.version.version}  [dim]digest[/dim] 0x{settled.version.digest.hex()[:10]}…  "
        f"[dim]settled for[/dim] {settlement_gas:,} [dim]gas, {time.monotonic() - began:.1f} s[/dim]"
    )
    screen.say()
    screen.console.print(round_table(title, lines, shape, share))
    screen.say(
        f"  [dim]pay[/dim]  {pay.elapsed_s} of {pay.round_s} s: {ll(pay.took_wei)} $LL from the pot, {ll(history.settler_paid)} of it to "
        f"{lines[settler].name}, who settled; {ll(pay.pot_wei)} are left"
    )
    return show_attempts(attempts, screen)


@dataclass(frozen=True, slots=True)
class RoundPaid:
    """What a round took from the pot, wei, for its time."""

    elapsed_s: int
    round_s: int
    took_wei: int
    pot_wei: int


async def settle_when_due(stage: Stage, account: bytes, round: int) -> Settled:
    """Settles a round, from the first block on that may: it lasts the task's least time, whoever is there.

    Raises TimedOut if it never may.
    """
    attempt = 0
    try:
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            while True:
                task = await stage.gateway.task(stage.suite.task)
                due = next((due.from_s for due in task.round.due if due.step is Step.SETTLED), 0)
                await asyncio.sleep(max(0.0, due - time.time()))
                attempt += 1
                try:
                    return await stage.gateway.settle(f"demo-settle-{round}-{attempt}", account, task.task, round)
                except Refused as early:
                    if early.reason != "RoundNotOver":
                        raise
                    await asyncio.sleep(AGAIN_S)  # the chain's clock is behind ours
    except TimeoutError:
        raise TimedOut(f"round {round} could not be settled in {SETTLE_TIMEOUT_S:.0f} s") from None


async def contribute(plan: DemoPlan, trainer: TrainerClient, line: Line, draw: Callable[[], None]) -> None:
    try:
        async with aclosing(trainer.train("demo-" + secrets.token_hex(8), plan.encoding)) as events:
            async for event in events:
                match event:
                    case ModelPulled():
                        line.state = f"training on version {event.version.version}"
                    case TrainingProgress():
                        line.loss = event.loss
                        line.state = f"training {event.step}/{event.step_count}"
                    case UpdateQuantised():
                        line.update_bytes = event.update_bytes
                        line.state = "submitting"
                    case Submitted():
                        line.state, line.gas = "accepted", event.mined.gas_used
                draw()
    except Refused as refusal:
        line.state = f"refused: {refusal.reason}"
        draw()


def show_attempts(attempts: Sequence[dict[str, Any]], screen: Screen) -> int:
    if not attempts:
        return 0
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 2))
    for name in ("mallory tries", "", "the chain's reason"):
        table.add_column(name)
    for attempt in attempts:
        screen.event("attempt", **attempt)
        if not attempt["refused"]:
            raise DataLoss(f"the chain took what it must refuse: {attempt['attempt']}", reason="CheatSucceeded")
        if attempt["reason"] in NO_REASONS:
            raise DataLoss(
                f"not the rules refused it: {attempt['attempt']} ({attempt['reason']})", reason="CheatFailed"
            )
        table.add_row(
            attempt["attempt"], "[red]refused[/red]", escape(f"{attempt['reason']}: {first_clause(attempt['message'])}")
        )
    screen.say()
    screen.console.print(table)
    return len(attempts)
