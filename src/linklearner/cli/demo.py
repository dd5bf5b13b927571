"""The whole thing in one go: five people, one chain, one model, one cheat, one token-gated answer, one audit."""

import asyncio
import contextlib
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from eth_account import Account
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from linklearner.cli.cheat import Cheat, tail
from linklearner.cli.output import Format, console, ll, write_json
from linklearner.cli.verification import HistoryOf, verified
from linklearner.domain.errors import (
    DataLoss,
    LinkLearnerError,
    PermissionDenied,
    Refused,
    TimedOut,
    Unauthenticated,
    Unavailable,
)
from linklearner.domain.notation import shown_urls
from linklearner.domain.shape import Shape
from linklearner.inference import InferenceClient
from linklearner.keyfile import read_account, read_password
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.access import Credential
from linklearner.rpc.channel import channel
from linklearner.rpc.status import from_rpc_error
from linklearner.suite import Suite, home
from linklearner.v1 import chain_gateway_pb2 as gateway
from linklearner.v1 import chain_gateway_pb2_grpc as gateway_grpc
from linklearner.v1 import model_pb2 as model
from linklearner.v1 import trainer_pb2 as trainer
from linklearner.v1 import trainer_pb2_grpc as trainer_grpc

NAMES = ("alice", "bob", "carol", "dave", "mallory")
"""The last one cheats."""
CHEATING_ROUND = 3
START_TIMEOUT_S = 300.0
"""Deploying takes a minute on a node with slow blocks; every step is shown as it happens."""
MODEL_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to show. root: the checkout; chain: arguments of `services` for a chain that is already there, none for the embedded one."""

    root: Path
    chain: Sequence[str]
    rounds: int
    encoding: model.Encoding
    seed: int
    keep: bool


@dataclass
class Line:
    """What one contributor did in one round."""

    name: str
    samples: int
    state: str = "waiting"
    update_bytes: int = 0
    gas: int = 0
    paid_wei: int = 0
    loss: float | None = None


class Screen:
    """Text for people, or one JSON document an event for programs; progress always goes where people look."""

    def __init__(self, format: Format) -> None:
        self.format = format
        self.console = console(format)

    def event(self, name: str, **facts: Any) -> None:
        """A line for programs; nothing for people, who see something prettier."""
        if self.format is Format.JSON:
            write_json({"event": name, **facts})
            sys.stdout.flush()

    def say(self, text: str = "") -> None:
        """A line for people; with JSON it goes to standard error."""
        self.console.print(text)


async def run(plan: Plan, format: Format) -> None:
    """Plays the demo; returns only if all of it really happened. Raises the error tree otherwise."""
    screen = Screen(format)
    started = time.monotonic()
    root = home().absolute()
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=root))
    process = None
    try:
        process = await _start(plan, folder, screen)
        suite = Suite.read(folder)
        await _play(plan, suite, folder, screen, started)
        if plan.keep:
            suite.write(root)
            _farewell(suite, root, screen)
            process = None
    finally:
        if process is not None:
            await _stop(process)
        if not plan.keep:
            shutil.rmtree(folder, ignore_errors=True)


async def _start(plan: Plan, folder: Path, screen: Screen) -> asyncio.subprocess.Process:
    """Starts the suite in a process of its own and shows its steps until it is ready.

    Raises what the suite says went wrong, or Unavailable with the end of its log.
    """
    screen.say("[bold]LinkLearner[/bold]  five people train one model; nobody's samples leave home\n")
    arguments = [
        "--home",
        str(folder),
        "--seed",
        str(plan.seed),
        "--contributors",
        str(len(NAMES)),
        "--settle-on-request",
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
        await _stop(process)
        raise TimedOut(f"the suite was not ready after {START_TIMEOUT_S:.0f} s:\n{tail(log_path)}") from None
    except BaseException:
        await _stop(process)
        raise
    await process.wait()
    raise Unavailable(f"the suite ended with exit status {process.returncode}:\n{tail(log_path)}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


class Stage:
    """The suite's services as the demo calls them."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        operator = Credential.read(Path(suite.credential))
        self._wires = [channel(one, operator) for one in (suite.gateway, *suite.trainers)]
        self.gateway = gateway_grpc.ChainGatewayServiceStub(self._wires[0])
        self.trainers = [trainer_grpc.TrainerServiceStub(wire) for wire in self._wires[1:]]

    async def close(self) -> None:
        await asyncio.gather(*(wire.close(None) for wire in self._wires))


async def _play(plan: Plan, suite: Suite, folder: Path, screen: Screen, started: float) -> None:
    stage = Stage(suite)
    try:
        people = await asyncio.gather(*(one.GetTrainer(trainer.GetTrainerRequest()) for one in stage.trainers))
        task = (await stage.gateway.GetTask(gateway.GetTaskRequest(task=suite.task))).task
        shape = Shape.decode(task.shape)
        first = await stage.trainers[0].Evaluate(trainer.EvaluateRequest(version=0))
        _introduce(suite, task, shape, people, first, screen)
        refusals = 0
        async with Cheat.waiting(suite, plan.root, folder) as cheat, _gas_measured(plan.root) as gas:
            for number in range(1, plan.rounds + 1):
                cheats = cheat if number == min(CHEATING_ROUND, plan.rounds) else None
                refusals += await _round(plan, stage, people, shape, number, cheats, screen)
            await _show_gas(gas, screen)
        await _inference(suite, folder, screen)
        with screen.console.status("replaying the chain's history"):
            audit = await verified(
                HistoryOf(
                    rpc_url=suite.rpc_url,
                    pool=bytes.fromhex(suite.pool[2:]),
                    from_block=suite.deployed_block,
                    task=suite.task,
                ),
                screen.format,
            )
        screen.event("verified", **audit)
        screen.say(
            f"\n[bold]Audit[/bold]  {audit['versions']} versions, {audit['updates']} updates, {audit['payments']} payments recomputed from "
            f"the chain's history: every digest equal, byte for byte"
        )
        seconds = time.monotonic() - started
        screen.event("done", seconds=round(seconds, 2), refused=refusals)
        screen.say(
            f"\n[bold green]Done[/bold green] in {seconds:.1f} s: {plan.rounds} rounds, {refusals} attempts to cheat refused."
        )
        if not plan.keep:
            screen.say(
                "\nNext:  make demo KEEP=1                    leave it running, then\n"
                "       .venv/bin/linklearner task show     what the chain knows\n"
                "       .venv/bin/linklearner balance       who earned what\n"
                "       .venv/bin/linklearner train         one more round of yours\n"
                "       .venv/bin/linklearner verify        the audit again"
            )
    except Exception as error:
        if isinstance(error, LinkLearnerError):
            raise
        raise _domain(error) from error
    finally:
        await stage.close()


def _domain(error: Exception) -> Exception:
    """A gRPC failure as the error tree; anything else is a bug and stays what it is."""
    return from_rpc_error(error) if hasattr(error, "trailing_metadata") else error


def _introduce(
    suite: Suite,
    task: model.Task,
    shape: Shape,
    people: Sequence[trainer.GetTrainerResponse],
    first: trainer.EvaluateResponse,
    screen: Screen,
) -> None:
    spec = json.loads(task.model)
    screen.event(
        "introduced", task=task.task, weights=shape.weight_count, accuracy=first.accuracy, chain_id=suite.chain_id, pool=suite.pool,
        token=suite.token, aspect=suite.aspect, samples=[person.sample_count for person in people],
    )  # fmt: skip
    screen.say(
        f"\n  chain {suite.chain_id} at {shown_urls(suite.rpc_url)}\n"
        f"  pool   {suite.pool}\n  $LL    {suite.token}\n  Aspect {suite.aspect}\n"
        f"  task {task.task}: {spec['name']}, MLP {'-'.join(map(str, spec['layers']))}, {shape.weight_count:,} int16 weights in "
        f"{shape.page_count} pages, rule mean, {ll(task.terms.reward_wei)} $LL a round\n"
        f"  before training: accuracy {first.accuracy:.3f} on {first.sample_count} held-out digits"
    )


async def _round(
    plan: Plan,
    stage: Stage,
    people: Sequence[trainer.GetTrainerResponse],
    shape: Shape,
    number: int,
    cheat: Cheat | None,
    screen: Screen,
) -> int:
    """One round: everybody trains, the cheat cheats, somebody settles. Returns how many attempts were refused."""
    began = time.monotonic()
    lines = [Line(name, person.sample_count) for name, person in zip(NAMES, people, strict=True)]
    attempts: list[dict[str, Any]] = []
    opened = (await stage.gateway.GetRound(gateway.GetRoundRequest(task=stage.suite.task))).round
    with Live(console=screen.console, refresh_per_second=8, transient=True) as live:

        def draw() -> None:
            live.update(_table(f"Round {number}  [dim]{time.monotonic() - began:.1f} s[/dim]", lines, shape))

        async def contribute(index: int) -> None:
            await _contribute(plan, stage.trainers[index], lines[index], draw)

        draw()
        if cheat is not None:
            # The cheat hands in one honest update first: a second one in the same round is one of the things to refuse.
            await contribute(len(lines) - 1)
            attempts += await cheat.tries("submit")
            await asyncio.gather(*(contribute(index) for index in range(len(lines) - 1)))
            attempts += await cheat.tries("settle")
        else:
            await asyncio.gather(*(contribute(index) for index in range(len(lines))))
        settled = await stage.gateway.SettleRound(
            gateway.SettleRoundRequest(
                request_id=f"demo-settle-{opened}",
                account=people[number % len(people)].account,
                task=stage.suite.task,
                round=opened,
            )
        )
    result = await stage.trainers[0].Evaluate(trainer.EvaluateRequest(version=settled.version.version))
    history = await stage.gateway.GetRound(gateway.GetRoundRequest(task=stage.suite.task, round=opened))
    settlement_gas = sum(receipt.gas_used for receipt in settled.receipts)
    for line, person in zip(lines, people, strict=True):
        for one in history.contributions:
            if one.contributor == person.account:
                line.gas = one.receipt.gas_used
                line.paid_wei = int.from_bytes(one.paid_wei, "big")
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
    screen.console.print(_table(title, lines, shape, share))
    return _show_attempts(attempts, screen)


def _table(title: str, lines: Sequence[Line], shape: Shape, settlement_share: float | None = None) -> Group:
    """Gas per weight is all in: the submission and its share of the settlement."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 2))
    for name, justify in (
        ("contributor", "left"), ("samples", "right"), ("verdict", "left"), ("loss", "right"), ("bytes", "right"),
        ("gas", "right"), ("gas a weight", "right"), ("$LL", "right"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for line in lines:
        per_weight = (
            f"{(line.gas + settlement_share) / shape.weight_count:.1f}"
            if settlement_share is not None and line.gas
            else ""
        )
        table.add_row(
            line.name, str(line.samples), f"[green]{line.state}[/green]" if line.state == "accepted" else escape(line.state),
            "" if line.loss is None else f"{line.loss:.3f}", f"{line.update_bytes:,}" if line.update_bytes else "",
            f"{line.gas:,}" if line.gas else "", per_weight, ll(line.paid_wei // 10**12 * 10**12) if line.paid_wei else "",
        )  # fmt: skip
    return Group(Text.from_markup(title), table)


async def _contribute(plan: Plan, stub: trainer_grpc.TrainerServiceStub, line: Line, draw: Any) -> None:
    try:
        async for event in stub.TrainRound(
            trainer.TrainRoundRequest(request_id="demo-" + secrets.token_hex(8), encoding=plan.encoding)
        ):
            match event.WhichOneof("event"):
                case "pulled":
                    line.state = f"training on version {event.pulled.version.version}"
                case "progress":
                    line.loss = event.progress.loss
                    line.state = f"training {event.progress.step}/{event.progress.step_count}"
                case "quantised":
                    line.update_bytes = event.quantised.update_bytes
                    line.state = "submitting"
                case "submitted":
                    line.state, line.gas = "accepted", event.submitted.receipt.gas_used
            draw()
    except Exception as error:
        reason = _domain(error)
        if not isinstance(reason, Refused):
            raise
        line.state = f"refused: {reason.reason}"
        draw()


def _show_attempts(attempts: Sequence[dict[str, Any]], screen: Screen) -> int:
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
            attempt["attempt"], "[red]refused[/red]", escape(f"{attempt['reason']}: {_short(attempt['message'])}")
        )
    screen.say()
    screen.console.print(table)
    return len(attempts)


def _short(message: str, limit: int = 76) -> str:
    """The first clause: what to do next follows it, and JSON output has all of it."""
    clause = message.partition(";")[0].partition(" (")[0]
    return clause if len(clause) <= limit else clause[: limit - 1] + "…"


@asynccontextmanager
async def _gas_measured(root: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`bench.gas` beside the demo: what an update costs above the fixed part takes rounds of empty updates to tell."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.gas", "--quick",
        cwd=root, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _show_gas(process: asyncio.subprocess.Process, screen: Screen) -> None:
    out, errors = await process.communicate()
    if process.returncode != 0:
        raise Unavailable(f"bench.gas failed:\n{errors.decode(errors='replace')[-2000:]}")
    figures = json.loads(out)
    screen.event("gas", **figures)
    screen.say(
        f"\n[bold]Gas[/bold]  under Artela's rules, five updates a round, submission and settlement: {figures['fixed']:,.0f} for an empty "
        f"update,\n     above that {figures['two-bits']:.1f} a weight in two bits, {figures['int8']:.1f} in int8"
    )


async def _inference(suite: Suite, folder: Path, screen: Screen) -> None:
    """Held-out digits through the gate: a holder is served, a stranger and a nobody are not."""
    samples = np.load(folder / "held-out.npz")
    pixels, labels = samples["x"][:10].astype(np.float32), samples["y"][:10]
    key_file = Path(suite.keys) / f"{suite.accounts[0].removeprefix('0x').lower()}.json"
    holder = read_account(key_file, read_password(Path(suite.password_file)))
    await _followed(suite)
    async with InferenceClient(suite.model_server, holder, chain_id=suite.chain_id, task=suite.task) as client:
        answer = await client.infer("digits", pixels)
    right = int((answer.labels == labels).sum())
    turned_away = []
    for who, account in (("a stranger with nothing locked", Account.create()), ("a caller without a session", None)):
        try:
            async with InferenceClient(suite.model_server, account, chain_id=suite.chain_id) as client:
                await client.infer("digits", pixels)
        except (PermissionDenied, Unauthenticated) as error:
            turned_away.append((who, error))
        else:
            raise DataLoss(f"{who} was served", reason="GateOpen")
    screen.event(
        "inference", model_version=answer.version, digest="0x" + answer.digest.hex(), labels=answer.labels.tolist(), truth=labels.tolist(),
        turned_away=[{"who": who, "reason": error.reason, "message": error.message} for who, error in turned_away],
    )  # fmt: skip
    screen.say(
        f"\n[bold]Inference[/bold]  alice holds $LL, opens a session and asks for {len(labels)} digits: {right} right, answered by version "
        f"{answer.version}, digest 0x{answer.digest.hex()[:12]}…"
    )
    for who, refusal in turned_away:
        screen.say(f"           {who}: [red]{refusal.reason}[/red] {escape(_short(refusal.message))}")


async def _followed(suite: Suite) -> None:
    """Waits until the model server serves the chain's newest version. Raises TimedOut if it does not get there."""
    operator = Credential.read(Path(suite.credential))
    async with channel(suite.gateway, operator) as chain, channel(suite.model_server) as server:
        newest = (
            await gateway_grpc.ChainGatewayServiceStub(chain).GetTask(gateway.GetTaskRequest(task=suite.task))
        ).task.version
        stub = oip_grpc.GRPCInferenceServiceStub(server)
        try:
            async with asyncio.timeout(MODEL_TIMEOUT_S):
                while not (
                    await stub.ModelReady(oip.ModelReadyRequest(name="digits", version=str(newest.version)))
                ).ready:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise TimedOut(
                f"the model server did not reach version {newest.version} in {MODEL_TIMEOUT_S:.0f} s"
            ) from None


def _farewell(suite: Suite, root: Path, screen: Screen) -> None:
    screen.event(
        "kept",
        **{name: getattr(suite, name) for name in ("rpc_url", "gateway", "trainers", "model_server", "metrics", "pid")},
    )
    screen.say(
        f"\nStill running (process {suite.pid}):\n"
        f"  chain         {shown_urls(suite.rpc_url)}   (chain id {suite.chain_id})\n"
        f"  gateway       {suite.gateway}\n"
        f"  trainers      {', '.join(suite.trainers)}\n"
        f"  model server  {suite.model_server}   (Open Inference Protocol)\n"
        f"  metrics       http://{suite.metrics}/metrics\n"
        f"\nTry:   .venv/bin/linklearner task show | balance | train | verify\nStop:  .venv/bin/linklearner down"
    )
