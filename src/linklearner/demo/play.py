"""The whole play: start, rounds, an answer behind the token, pay, an audit."""

import asyncio
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc

from linklearner.demo import evidence
from linklearner.demo.cheat import CheatProcess
from linklearner.demo.gas import gas_measured, show_gas
from linklearner.demo.inference import ask_the_server
from linklearner.demo.payout import pay_out
from linklearner.demo.report import NEXT_STEPS, farewell, introduce
from linklearner.demo.rounds import Stage, play_round
from linklearner.demo.screen import Screen
from linklearner.demo.start import DemoPlan, start_suite, stop_suite
from linklearner.domain.errors import DataLoss, LinkLearnerError
from linklearner.domain.notation import address
from linklearner.domain.rules.evidence.rule import EVIDENCE
from linklearner.output import Format
from linklearner.suite import Suite, home
from linklearner.verification import HistoryOf, verified

CHEATING_ROUND = 3


async def play(plan: DemoPlan, format: Format) -> None:
    """Plays the demo; returns only if all of it really happened. Raises the error tree otherwise."""
    screen = Screen(format)
    started = time.monotonic()
    root = home().absolute()
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=root))
    process = None
    try:
        process = await start_suite(plan, folder, screen)
        suite = Suite.read(folder)
        await _acts(plan, suite, folder, screen, started)
        if plan.keep:
            suite.write(root)
            process.send_signal(signal.SIGUSR1)  # from now on visitors of the page have company
            farewell(suite, root, screen)
            process = None
    except (LinkLearnerError, grpc.RpcError):
        logs = folder if plan.keep else _kept_logs(folder, root)
        screen.say(f"\nWhat the services said before this went wrong: {logs}/*.log")
        raise
    finally:
        if process is not None:
            await stop_suite(process)
        if not plan.keep:
            shutil.rmtree(folder, ignore_errors=True)


def _kept_logs(folder: Path, root: Path) -> Path:
    """The logs of a demo that failed in a folder of their own: keys and chain go, what explains the failure stays."""
    kept = root / f"failed-{folder.name}"
    kept.mkdir()
    for written in folder.glob("*.log"):
        written.replace(kept / written.name)  # by name: who still writes there goes on
    return kept


async def _acts(plan: DemoPlan, suite: Suite, folder: Path, screen: Screen, started: float) -> None:
    stage = Stage(suite)
    if plan.rule == EVIDENCE.name:
        await _acts_by_evidence(plan, stage, folder, screen, started)
        return
    try:
        people = await asyncio.gather(*(one.status() for one in stage.trainers))
        task = await stage.gateway.task(suite.task)
        first = await stage.trainers[0].evaluate()
        introduce(suite, task, people, first, screen)
        refusals = 0
        async with CheatProcess.waiting(suite, plan.root, folder) as cheat, gas_measured(plan.root) as gas:
            for number in range(1, plan.rounds + 1):
                cheats = cheat if number == min(CHEATING_ROUND, plan.rounds) else None
                refusals += await play_round(plan, stage, people, task.shape, number, cheats, screen)
            await show_gas(gas, screen)
        await ask_the_server(suite, folder, screen)
        await pay_out(stage, task, screen, close=not plan.keep)
        await audit(suite, screen)
        seconds = time.monotonic() - started
        screen.event("done", seconds=round(seconds, 2), refused=refusals)
        screen.say(
            f"\n[bold green]Done[/bold green] in {seconds:.1f} s: {plan.rounds} rounds, {refusals} attempts to cheat refused."
        )
        if not plan.keep:
            screen.say(NEXT_STEPS)
    finally:
        await stage.close()


async def _acts_by_evidence(plan: DemoPlan, stage: Stage, folder: Path, screen: Screen, started: float) -> None:
    try:
        people = await evidence.act(plan, stage, folder, screen)
        found = await audit(stage.suite, screen)
        if found.get("verdicts") != plan.rounds * len(people):
            raise DataLoss(f"{found.get('verdicts')} verdicts were computed anew, not all", reason="DemoIncomplete")
        screen.say(
            f"         {found['verdicts']} verdicts too, {found['merged']} of them merged, and every account's record"
        )
        seconds = time.monotonic() - started
        screen.event("done", seconds=round(seconds, 2), verdicts=found["verdicts"], merged=found["merged"])
        screen.say(f"\n[bold green]Done[/bold green] in {seconds:.1f} s: {plan.rounds} rounds.")
    finally:
        await stage.close()


async def audit(suite: Suite, screen: Screen) -> dict[str, Any]:
    """The last act: the chain's history, replayed in Python."""
    with screen.console.status("replaying the chain's history"):
        found = await verified(
            HistoryOf(
                rpc_url=suite.rpc_url, pool=address(suite.pool), from_block=suite.deployed_block, task=suite.task
            ),
            screen.format,
        )
    screen.event("verified", **found)
    screen.say(
        f"\n[bold]Audit[/bold]  {found['versions']} versions, {found['updates']} updates, {found['payments']} payments recomputed from "
        f"the chain's history: every digest equal, byte for byte"
    )
    return found
