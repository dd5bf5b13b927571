"""The demo by rule `evidence`: four people with data of their own beside one who flips labels, one who copies and one who mimics. The chain
sees nobody's data: it opens a few examples after each round's last update, and merges and pays what helps on them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from rich.markup import escape
from rich.table import Table

from linklearner.demo.cheat import tail
from linklearner.demo.rounds import Stage
from linklearner.demo.screen import Screen
from linklearner.demo.start import DemoPlan
from linklearner.domain.errors import DataLoss, TimedOut, Unavailable
from linklearner.domain.notation import address
from linklearner.domain.rules.evidence.verdicts import GAIN_BITS, Outcome, record_text
from linklearner.domain.tasks import AcceptedUpdate, Judged, Round, Submitted
from linklearner.domain.training import MergeForecast
from linklearner.output import ll
from linklearner.suite import Suite

HONEST: Final = ("alice", "bob", "carol", "dave")
ROGUES: Final = {"mallory": "label-flip", "trudy": "stale-copy", "oscar": "mimic"}
"""Who attacks, and how: strategies of the attack lab."""
DOES: Final = {"label-flip": "flips labels", "stale-copy": "copies", "mimic": "mimics"}
PEOPLE: Final = (*HONEST, *ROGUES)
ROUND_S: Final = 120
"""A round ends when all have sent; pay is in proportion to its time."""
ROUND_TIMEOUT_S: Final = 300.0
LOOK_S: Final = 0.2
WHY: Final = {
    Outcome.MERGED: "merged", Outcome.EMPTY: "moves nothing", Outcome.NO_RECORD: "record not positive",
    Outcome.NO_GAIN: "no better so far", Outcome.GUARDED: "merge called off",
}  # fmt: skip


@dataclass
class Person:
    """One contributor over the demo. attack: empty for who is honest."""

    name: str
    account: bytes
    attack: str = ""
    expected: MergeForecast | None = None
    """Of this round, as its trainer said before it sent anything."""
    merged: int = 0
    gains: list[int] = field(default_factory=list)
    earned: int = 0
    record: int = 0

    @property
    def does(self) -> str:
        return DOES[self.attack] if self.attack else "trains on data of its own"


class RogueProcess:
    """A program of the trainer's (it trains) that plays the attackers: on a word each of them sends an update."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    @asynccontextmanager
    async def waiting(cls, suite: Suite, plan: DemoPlan, folder: Path) -> AsyncIterator[Self]:
        """Started early, so that nobody waits for its imports when its turn comes."""
        plays = [
            one
            for name, attack in ROGUES.items()
            for one in ("--play", f"{attack}={suite.accounts[PEOPLE.index(name)]}")
        ]
        log_path = folder / "rogues.log"
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.trainer.rogues", "--home", str(folder), "--seed", str(plan.seed), *plays,
                cwd=plan.root, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        try:
            yield cls(process, log_path)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def take_part(self) -> list[dict[str, Any]]:
        """Raises Unavailable if the program fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"round\n")
        told: list[dict[str, Any]] = []
        async for raw in self._process.stdout:
            one = json.loads(raw)
            if not one:
                return told
            told.append(one)
        raise Unavailable(f"the attackers' program failed:\n{tail(self._log)}")


async def act(plan: DemoPlan, stage: Stage, folder: Path, screen: Screen) -> list[Person]:
    """All rounds, and what everybody earned. Raises DataLoss if something did not happen."""
    suite = stage.suite
    accounts = map(address, suite.accounts)
    people = [Person(name, one, ROGUES.get(name, "")) for name, one in zip(PEOPLE, accounts, strict=True)]
    task = await stage.gateway.task(suite.task)
    if task.examples is None:
        raise DataLoss("the task has no examples", reason="DemoIncomplete")
    screen.event(
        "introduced", task=suite.task, creator=suite.creator, examples=task.examples.examples, batches=task.examples.batches,
        root="0x" + task.examples.root.hex(), pot_wei=str(task.pot),
        people=[{"name": one.name, "account": "0x" + one.account.hex(), "attack": one.attack or None} for one in people],
    )  # fmt: skip
    each = task.examples.examples / task.examples.batches
    screen.say(
        f"\n[bold]Rule evidence[/bold]  the creator has bound the task to {task.examples.examples} labelled examples that nobody else has "
        f"seen.\n  After each round's last update {each:.0f} are opened; an update is merged, and paid, if it helps on them.\n"
        "  Four people train on data of their own; mallory flips labels, trudy sends what the best account sent last,\n"
        "  oscar trains on the opened examples alone."
    )
    async with RogueProcess.waiting(suite, plan, folder) as rogues:
        for number in range(1, plan.rounds + 1):
            await _round(plan, stage, people, number, rogues, screen)
    await _earned(stage, people, screen)
    return people


async def _round(
    plan: DemoPlan, stage: Stage, people: Sequence[Person], number: int, rogues: RogueProcess, screen: Screen
) -> None:
    began = time.monotonic()
    gateway, task = stage.gateway, stage.suite.task
    opened = (await gateway.task(task)).round.round
    honest = [one for one in people if not one.attack]
    with screen.console.status(f"round {number}: everybody trains"):
        sent = await asyncio.gather(
            rogues.take_part(), *(_contribute(plan, stage, index, one) for index, one in enumerate(honest))
        )
        for one in sent[0]:
            screen.event("attack", **one)
            if "reason" in one:
                raise DataLoss(f"{one['attack']} could not be played: {one['message']}", reason="DemoIncomplete")
    with screen.console.status(f"round {number}: the keeper opens the examples and settles"):
        found = await _settled(stage, opened)
        result = await stage.trainers[0].evaluate(found.version.version if found.version else 0)
    by_account = {one.contributor: one for one in found.contributions}
    if (
        found.dropped
        or found.examples is None
        or found.version is None
        or set(by_account) != {p.account for p in people}
    ):
        raise DataLoss(f"round {opened} was not judged with everybody in it", reason="DemoIncomplete")
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 2))
    for name in ("contributor", "", "chance, own guess", "on the examples", "verdict", "record", "$LL earned"):
        table.add_column(name, justify="left" if name in ("contributor", "", "verdict") else "right")
    rows = []
    for one in people:
        contribution = by_account[one.account]
        verdict, paid = _judged(contribution), contribution.paid or 0
        one.merged, one.earned, one.record = one.merged + verdict.merged, one.earned + paid, verdict.record
        one.gains.append(verdict.gain)
        rows.append(
            {
                "name": one.name, "attack": one.attack or None, "outcome": verdict.outcome.name.lower(), "gain": verdict.gain,
                "record": verdict.record, "earned_wei": str(paid), "gas": contribution.mined.gas_used,
                "expected": None if one.expected is None else round(one.expected.chance, 3),
                "text": verdict.text(found.examples.examples),
            }
        )  # fmt: skip
        colour = "green" if verdict.merged else "red"
        table.add_row(
            one.name, f"[dim]{one.does}[/dim]", "" if one.expected is None else f"{one.expected.chance:.0%}",
            f"{verdict.gain * 100 / 2**GAIN_BITS:+.1f} %", f"[{colour}]{WHY[verdict.outcome]}[/{colour}]", record_text(verdict.record),
            ll(paid // 10**12 * 10**12) if paid else "",
        )  # fmt: skip
    screen.event(
        "round", round=opened, version=found.version.version, digest="0x" + found.version.digest.hex(), accuracy=result.value,
        loss=result.loss, examples=found.examples.examples, opened=found.examples.opened,
        settlement_gas=sum(one.gas_used for one in found.settlements), opening_gas=found.examples.mined.gas_used,
        seconds=round(time.monotonic() - began, 3), contributors=rows,
    )  # fmt: skip
    screen.say(
        f"\n[bold]Round {number}[/bold]  accuracy [bold]{result.value:.3f}[/bold]  loss {result.loss:.3f}  [dim]judged by[/dim] "
        f"{found.examples.examples} [dim]examples opened afterwards,[/dim] {found.examples.opened} [dim]so far;"
        f" {time.monotonic() - began:.1f} s[/dim]"
    )
    screen.console.print(table)


async def _contribute(plan: DemoPlan, stage: Stage, index: int, one: Person) -> None:
    one.expected = None
    async with aclosing(stage.trainers[index].train("demo-" + secrets.token_hex(8), plan.encoding)) as events:
        async for event in events:
            match event:
                case MergeForecast():
                    one.expected = event
                case Submitted():
                    return


async def _settled(stage: Stage, number: int) -> Round:
    """The round once it is over, which the gateway's keeper sees to. Raises TimedOut."""
    try:
        async with asyncio.timeout(ROUND_TIMEOUT_S):
            while (await stage.gateway.task(stage.suite.task)).round.round <= number:
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise TimedOut(f"round {number} was not settled in {ROUND_TIMEOUT_S:.0f} s") from None
    return await stage.gateway.round(stage.suite.task, number)


def _judged(one: AcceptedUpdate) -> Judged:
    if one.verdict is None:
        raise DataLoss(f"the update of 0x{one.contributor.hex()} has no verdict", reason="DemoIncomplete")
    return one.verdict


async def _earned(stage: Stage, people: Sequence[Person], screen: Screen) -> None:
    """Who earned what, and why; claimed. Raises DataLoss where the chain has credited something else, or harm was paid like work."""
    claims = await asyncio.gather(
        *(stage.gateway.claim("demo-claim-" + secrets.token_hex(8), one.account, stage.suite.task) for one in people)
    )
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 2))
    for name in ("who", "", "merged", "on the examples, mean", "record", "earned, claimed"):
        table.add_column(name, justify="left" if name in ("who", "") else "right")
    for one, claimed in zip(people, claims, strict=True):
        if claimed.earnings.pay != one.earned:
            raise DataLoss(
                f"{one.name} claimed {claimed.earnings.pay} wei of {one.earned} that the rounds said",
                reason="DemoIncomplete",
            )
        mean = sum(one.gains) / len(one.gains) / 2**GAIN_BITS
        why = (
            f"{one.does}: merged {one.merged} of {len(one.gains)} times, {mean:+.1%} on examples opened afterwards, record "
            f"{record_text(one.record)}"
        )
        screen.event(
            "earned", contributor=one.name, attack=one.attack or None, earned_wei=str(one.earned), merged=one.merged,
            rounds=len(one.gains), mean_gain=round(mean, 4), record=one.record, why=why,
        )  # fmt: skip
        table.add_row(
            one.name,
            escape(one.does),
            f"{one.merged} of {len(one.gains)}",
            f"{mean:+.1%}",
            record_text(one.record),
            ll(one.earned // 10**12 * 10**12) + " $LL",
        )
    screen.say("\n[bold]Pay[/bold]  by gain, at settlement: who helped on what nobody could know")
    screen.console.print(table)
    honest = [one.earned for one in people if not one.attack]
    flipper = next(one for one in people if one.attack == "label-flip")
    if not any(honest) or not any(one.merged for one in people if not one.attack):
        raise DataLoss("no honest update was merged and paid", reason="DemoIncomplete")
    if flipper.earned >= sum(honest) / len(honest):
        raise DataLoss(f"{flipper.name}, who flips labels, earned as much as honest work", reason="DemoIncomplete")
    rogue, total = sum(one.earned for one in people if one.attack), sum(one.earned for one in people)
    screen.say(
        f"  [dim]the three attackers got {rogue / total:.0%} of the pay: flipped labels are mostly refused, but pay by "
        "gain is open to copies and mimics (docs/evidence.md)[/dim]"
    )
