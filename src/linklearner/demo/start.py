"""The first act: the suite starts, in a process of its own, and says each step."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from linklearner.demo.cheat import tail
from linklearner.demo.screen import Screen
from linklearner.domain.encodings import Encoding
from linklearner.domain.errors import TimedOut, Unavailable
from linklearner.domain.rules.mean import MEAN

NAMES = ("alice", "bob", "carol", "dave", "mallory")
"""The last one cheats."""
SPARE_ROUNDS = 5
"""That there are examples for, by rule evidence, beyond those that the demo plays."""
ROUND_S = 10
"""A round that lasts so long takes its whole reward from the pot; most of the demo's last a second or two."""
START_TIMEOUT_S = 300.0
"""Deploying takes a minute on a node with slow blocks; every step is shown as it happens."""
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class DemoPlan:
    """What to show.

    root: the checkout. chain: arguments of `services` for a chain that is already there, none for the embedded one.
    """

    root: Path
    chain: Sequence[str]
    rounds: int
    encoding: Encoding
    seed: int
    keep: bool
    rule: str = MEAN.name
    names: Sequence[str] = NAMES
    round_s: int = ROUND_S


async def start_suite(plan: DemoPlan, folder: Path, screen: Screen) -> asyncio.subprocess.Process:
    """Starts the suite in a process of its own and shows its steps until it is ready.

    Raises what the suite says went wrong, or Unavailable with the end of its log.
    """
    screen.say(f"[bold]LinkLearner[/bold]  {len(plan.names)} people train one model; nobody's samples leave home\n")
    arguments = [
        "--home",
        str(folder),
        "--seed",
        str(plan.seed),
        "--contributors",
        str(len(plan.names)),
        "--settle-on-request",
        "--round-seconds",
        str(plan.round_s),
        "--rule",
        plan.rule,
        "--example-rounds",
        str(plan.rounds + SPARE_ROUNDS),
        *plan.chain,
    ]
    log_path = folder / "suite.log"
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services", *arguments,
            cwd=plan.root, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            with screen.console.status("starting") as status:
                async for raw in process.stdout:
                    step = json.loads(raw)
                    screen.event(step.pop("event"), **step)  # the rest of a step is its facts
                    if "error" in step:
                        raise Unavailable(step["message"], reason=step["error"])
                    if step.get("ready"):
                        return process
                    if "text" in step:
                        status.update(step["text"] + " ...")
                        if step.get("done"):
                            screen.say(f"  [green]✓[/green] {escape(step['text'])}  [dim]{step['seconds']:.1f} s[/dim]")
    except TimeoutError:
        await stop_suite(process)
        raise TimedOut(f"the suite was not ready after {START_TIMEOUT_S:.0f} s:\n{tail(log_path)}") from None
    except BaseException:
        await stop_suite(process)
        raise
    await process.wait()
    raise Unavailable(f"the suite ended with exit status {process.returncode}:\n{tail(log_path)}")


async def stop_suite(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
