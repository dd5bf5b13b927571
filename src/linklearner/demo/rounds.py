"""The second act: rounds, all train, one cheats, one settles."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
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
from linklearner.domain.errors import DataLoss, Refused
from linklearner.domain.shape import Shape
from linklearner.domain.tasks import Submitted
from linklearner.domain.training import ModelPulled, TrainerStatus, TrainingProgress, UpdateQuantised
from linklearner.rpc.access import Credential
from linklearner.rpc.channel import channel
from linklearner.suite import Suite


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
    opened = (await stage.gateway.round(stage.suite.task)).round
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
        settler = people[number % len(people)].account
        settled = await stage.gateway.settle(f"demo-settle-{opened}", settler, stage.suite.task, opened)
    result = await stage.trainers[0].evaluate(settled.version.version)
    history = await stage.gateway.round(stage.suite.task, opened)
    settlement_gas = sum(mined.gas_used for mined in settled.mined)
    for line, person in zip(lines, people, strict=True):
        for one in history.contributions:
            if one.contributor == person.account:
                line.gas, line.paid_wei = one.mined.gas_used, one.paid or 0
    share = settlement_gas / max(1, len(history.contributions))
    screen.event(
        "round", round=opened, version=settled.version.version, digest="0x" + settled.version.digest.hex(), accuracy=result.accuracy,
        loss=result.loss, saturated=settled.version.saturated_count, settlement_gas=settlement_gas,
        seconds=round(time.monotonic() - began, 3),
        contributors=[
            {"name": line.name, "verdict": line.state, "gas": line.gas, "gas_per_weight": round((line.gas + share) / shape.weight_count, 1),
             "bytes": line.update_bytes, "paid_wei": str(line.paid_wei), "loss": line.loss}
            for line in lines
        ],
    )  # fmt: skip
    title = (
        f"[bold]Round {number}[/bold]  accuracy [bold]{result.accuracy:.3f}[/bold]  loss {result.loss:.3f}  [dim]version[/dim] "
        f"{settled.version.version}  [dim]digest[/dim] 0x{settled.version.digest.hex()[:10]}…  "
        f"[dim]settled for[/dim] {settlement_gas:,} [dim]gas, {time.monotonic() - began:.1f} s[/dim]"
    )
    screen.say()
    screen.console.print(round_table(title, lines, shape, share))
    return show_attempts(attempts, screen)


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
        table.add_row(
            attempt["attempt"], "[red]refused[/red]", escape(f"{attempt['reason']}: {first_clause(attempt['message'])}")
        )
    screen.say()
    screen.console.print(table)
    return len(attempts)
