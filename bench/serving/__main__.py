"""What one inference costs: `python -m bench.serving`.

Starts each server as a process of its own and loads them in turn, round after round in shuffled order, so that a busy machine is equally
unkind to all. The figure to trust is CPU microseconds per request of the server's process tree, and above all its ratio to the floor in the
same round; requests per second say little on a shared machine. The floor is a bare grpc.aio server that parses nothing and answers the
same number of bytes.

  --mlserver     compare with MLServer 1.7.1 too: installs it into a throwaway environment first (about a minute, needs a package index)
  --h2load       load with nghttp2's h2load (Debian: nghttp2-client) instead of grpc.aio callers in this process
  --asyncio      our server on asyncio's own loop as one more row
"""

import argparse
import asyncio
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from eth_account import Account
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.serving import wire
from bench.serving.load import H2LOAD, Metadata, Window, channels, h2load, python_load
from linklearner import log
from linklearner.client.gateway import GatewayClient
from linklearner.client.inference import InferenceClient
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.onnx_graph import onnx_model
from linklearner.testing.gateway import FakeGateway, weights_of
from linklearner.v1 import session_pb2 as session
from services.model_server.admission.admission import InferenceCall
from services.model_server.admission.sessions import Holding
from services.model_server.admission.stake import StakeAdmission, StakeSettings
from services.model_server.stakes import StakeWatch

ROOT = Path(__file__).resolve().parents[2]
MLSERVER = ("mlserver==1.7.1", "onnxruntime==1.32.0")
SWAPS = 20
console = Console()


class Server:
    """One of those compared."""

    def __init__(self, name: str, pid: int, address: str, metadata: Metadata = ()) -> None:
        self.name = name
        self.pid = pid
        self.address = address
        self.metadata = metadata
        self.windows: dict[int, list[Window]] = {}


@asynccontextmanager
async def process(name: str, *command: str) -> AsyncIterator[Server]:
    running = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert running.stdout is not None
        async with asyncio.timeout(60):
            address = (await running.stdout.readline()).decode().strip()
        if not address:
            raise SystemExit(f"{name} did not start: run `{' '.join(command)}` to see why")
        yield Server(name, running.pid, address)
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def answers(server: Server) -> None:
    """Waits until the server answers a checked call."""
    (channel,) = channels(server.address, 1)
    call = channel.unary_unary(wire.METHOD, response_deserializer=oip.ModelInferResponse.FromString)
    async with asyncio.timeout(60):
        while True:
            try:
                response = await call(wire.REQUEST, metadata=server.metadata)
                break
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE and error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                await asyncio.sleep(0.2)
    assert response.model_name == "digits"
    await channel.close()


def mlserver_environment(folder: Path) -> str:
    """An interpreter that has MLServer; installed once a run."""
    console.print(f"installing {', '.join(MLSERVER)} into a throwaway environment …")
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *MLSERVER], check=True)
    return str(python)


def in_process(repeats: int = 20000) -> float:
    """Microseconds of one onnxruntime call without any server: what nobody can undercut."""
    import onnxruntime as ort

    session = ort.InferenceSession(
        onnx_model(DIGITS, dequantise_weights(weights_of(0), SHAPE)), providers=["CPUExecutionProvider"]
    )
    began = time.process_time()
    for _ in range(repeats):
        session.run(("logits",), {"pixels": wire.PIXELS})
    return (time.process_time() - began) / repeats * 1e6


async def swaps(server: Server, gateway: FakeGateway, seconds: float) -> dict[str, Any]:
    """Sixteen callers on four connections, before and while twenty versions go live."""
    wires = channels(server.address, 4)
    calls = [
        channel.unary_unary(wire.METHOD, response_deserializer=oip.ModelInferResponse.FromString) for channel in wires
    ]
    newest, errors, stale = [0] * 4, 0, 0
    latencies: list[float] = []
    done = asyncio.Event()

    async def caller(index: int) -> None:
        nonlocal errors, stale
        connection = index % 4
        while not done.is_set():
            seen, began = newest[connection], time.perf_counter()
            try:
                answer = await calls[connection](wire.REQUEST, metadata=server.metadata)
            except grpc.aio.AioRpcError:
                errors += 1
                continue
            latencies.append(time.perf_counter() - began)
            version = int(answer.model_version)
            stale += version < seen
            newest[connection] = max(newest[connection], version)

    async def script() -> tuple[float, float]:
        await asyncio.sleep(0.3)
        latencies.clear()
        await asyncio.sleep(4 * seconds)
        before = float(np.percentile(latencies, 99))
        latencies.clear()
        for seed in range(1, SWAPS + 1):
            gateway.publish(weights_of(seed))
            await asyncio.sleep(seconds / 2)
        during = float(np.percentile(latencies, 99))
        done.set()
        return before, during

    results = await asyncio.gather(script(), *(caller(index) for index in range(16)))
    for channel in wires:
        await channel.close()
    before, during = results[0]
    return {
        "swaps": SWAPS,
        "errors": errors,
        "stale": stale,
        "newest": newest,
        "p99_before_ms": before * 1e3,
        "p99_during_ms": during * 1e3,
    }


def median(values: list[float]) -> float:
    return statistics.median(values)


async def gate_alone(repeats: int = 20000) -> tuple[float, float]:
    """Microseconds of one admission by stake among 4,096 sessions, with a client's headers: from metadata to settled grant, and of that
    the admission's own part, from metadata to party and back. The rest is the seam, of which a call by stake makes no use: the call as
    an object, and the context of a grant that costs nothing."""
    gateway = GatewayClient(channels("127.0.0.1:1", 1)[0], "127.0.0.1:1")
    admission = StakeAdmission(
        StakeSettings(max_calls_per_session=1_000_000),
        task="1",
        stakes=StakeWatch(gateway, 1, refresh_s=1, head_stale_s=0),
        terms=session.GetTermsResponse,
        registry=CollectorRegistry(),
    )
    holding = Holding(bytes(20), units=10**6, confirmed=math.inf)
    token = admission.sessions.open(holding, time.monotonic())
    for number in range(1, 4096):
        admission.sessions.open(Holding(number.to_bytes(20)), time.monotonic())
    metadata = (
        ("user-agent", "grpc-python-asyncio/1.85.1"),
        ("x-request-id", "1"),
        ("authorization", f"Bearer {token}"),
    )
    whole = own = math.inf
    for _ in range(5):
        began = time.process_time()
        for _ in range(repeats):
            party = await admission.enter(metadata)
            async with admission.admit(InferenceCall(party, metadata)):
                admission.leave(party)
        between = time.process_time()
        for _ in range(repeats):
            admission.leave(await admission.enter(metadata))
        whole = min(whole, (between - began) / repeats * 1e6)
        own = min(own, (time.process_time() - between) / repeats * 1e6)
    return whole, own


def paired(server: Server, other: Server, c: int, figure: Callable[[Window], float]) -> float:
    """The median over the rounds of one server's figure divided by the other's in the same round."""
    pairs = zip(server.windows[c], other.windows[c], strict=True)
    return median([figure(window) / figure(beside) for window, beside in pairs])


def cpu_us(window: Window) -> float:
    return window.cpu_us


def rate(window: Window) -> float:
    return window.rate


def p99_ms(window: Window) -> float:
    return float(np.percentile(window.latencies_s, 99)) * 1e3


def p50_ms(window: Window) -> float:
    return float(np.percentile(window.latencies_s, 50)) * 1e3


def report(servers: list[Server], concurrency: list[int]) -> dict[str, dict[str, float]]:
    """Prints a table for each concurrency; returns the figures."""
    floor = servers[0]
    figures: dict[str, dict[str, float]] = {}
    for c in concurrency:
        table = Table(title=f"{c} in flight", title_justify="left")
        for column in ("server", "CPU µs", "(min)", "× floor", "req/s", "× floor", "p50 ms", "p99 ms"):
            table.add_column(column, justify="left" if column == "server" else "right")
        for server in servers:
            windows = server.windows[c]
            figures[f"{server.name} c={c}"] = row = {
                "cpu_us": median([window.cpu_us for window in windows]),
                "cpu_us_min": min(window.cpu_us for window in windows),
                "cpu_x_floor": paired(server, floor, c, cpu_us),
                "rate": median([window.rate for window in windows]),
                "rate_x_floor": paired(server, floor, c, rate),
                "p50_ms": median([p50_ms(window) for window in windows]),
                "p99_ms": median([p99_ms(window) for window in windows]),
            }
            forms = ("{:.0f}", "{:.0f}", "{:.2f}", "{:.0f}", "{:.2f}", "{:.2f}", "{:.2f}")
            table.add_row(server.name, *(form.format(value) for form, value in zip(forms, row.values(), strict=True)))
        console.print(table)
    return figures


def goals(servers: list[Server], concurrency: list[int], gate_us: float, swapped: dict[str, Any]) -> Table:
    """Each goal of stage A beside what this run measured; every ratio is paired by round."""
    table = Table(title="goals (stage A: on grpc.aio, gate on)", title_justify="left")
    for column in ("goal", "measured", ""):
        table.add_column(column)

    def row(goal: str, measured: list[float], holds: Callable[[float], bool], form: str = "{:.2f}") -> None:
        shown = " / ".join(form.format(value) for value in measured)
        table.add_row(goal, shown, "met" if all(map(holds, measured)) else "missed")

    def beside(name: str, figure: Callable[[Window], float]) -> list[float]:
        return [paired(by_name["gate on"], by_name[name], c, figure) for c in concurrency]

    by_name = {server.name: server for server in servers}
    at = "/".join(map(str, concurrency))
    floor = servers[0].name
    row(f"CPU ≤ 1.5 × floor (c={at})", beside(floor, cpu_us), lambda x: x <= 1.5)
    row(f"req/s ≥ 0.8 × floor (c={at})", beside(floor, rate), lambda x: x >= 0.8)
    row(f"gate ≤ 1.05 × the CPU without it (c={at})", beside("gate off", cpu_us), lambda x: x <= 1.05)
    row("gate alone ≤ 5 µs", [gate_us], lambda x: x <= 5)
    if "MLServer" in by_name:
        row(f"CPU ≤ 0.55 × MLServer (c={at})", beside("MLServer", cpu_us), lambda x: x <= 0.55)
        row(f"req/s ≥ 2 × MLServer (c={at})", beside("MLServer", rate), lambda x: x >= 2)
        row(f"p99 ≤ 0.5 × MLServer (c={at})", beside("MLServer", p99_ms), lambda x: x <= 0.5)
    row("swaps: errors and stale answers 0", [swapped["errors"], swapped["stale"]], lambda x: x == 0, "{:.0f}")
    row("swaps: p99 ≤ 1.5 × before", [swapped["p99_during_ms"] / swapped["p99_before_ms"]], lambda x: x <= 1.5)
    return table


async def main(arguments: argparse.Namespace) -> None:
    log.configure(service="bench", level="error")
    load = h2load if arguments.h2load else python_load
    gateway = FakeGateway()
    gateway.publish(weights_of(0))
    account = Account.create()
    gateway.set_stake(bytes.fromhex(account.address[2:]), 10**6)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        at = await stack.enter_async_context(gateway.served())
        ours = (sys.executable, "-m", "bench.serving.servers", "model", at)
        commands: dict[str, tuple[str, ...]] = {
            "floor (echo)": (sys.executable, "-m", "bench.serving.servers", "echo"),
            "gate off": (*ours, "off"),
            "gate on": (*ours, "on"),
        }
        if arguments.asyncio:
            commands["gate on, asyncio"] = (*ours, "on", "--asyncio")
        if arguments.mlserver:
            (folder / "model.onnx").write_bytes(onnx_model(DIGITS, dequantise_weights(weights_of(0), SHAPE)))
            python = arguments.mlserver_python or mlserver_environment(folder / "mlserver")
            commands["MLServer"] = (python, str(Path(__file__).with_name("mlserver_runtime.py")), str(folder))
        servers = [await stack.enter_async_context(process(name, *command)) for name, command in commands.items()]
        for server in servers:
            if "gate on" in server.name:
                client = await stack.enter_async_context(InferenceClient(server.address, account))
                server.metadata = (("authorization", f"Bearer {client.token}"),)
            await answers(server)
        with Progress(console=console, transient=True) as progress:
            steps = progress.add_task("rounds", total=arguments.rounds * len(arguments.concurrency) * len(servers))
            for _ in range(arguments.rounds):
                for c in arguments.concurrency:
                    for server in random.sample(servers, len(servers)):
                        window = await load(server.address, server.metadata, c, arguments.seconds, server.pid)
                        server.windows.setdefault(c, []).append(window)
                        progress.advance(steps)
        for server in servers:
            await answers(server)
        gated = next(server for server in servers if server.name == "gate on")
        figures: dict[str, Any] = report(servers, arguments.concurrency)
        swapped = await swaps(gated, gateway, arguments.seconds)
        gate_us, gate_own_us = await gate_alone()
        figures |= {"onnxruntime_us": in_process(), "gate_us": gate_us, "gate_own_us": gate_own_us, "swap": swapped}
        console.print(f"one onnxruntime call in process: {figures['onnxruntime_us']:.1f} µs of CPU")
        console.print(
            f"{SWAPS} versions went live under 16 callers: {swapped['errors']} errors, {swapped['stale']} stale, p99 "
            f"{swapped['p99_before_ms']:.1f} → {swapped['p99_during_ms']:.1f} ms"
        )
        console.print(goals(servers, arguments.concurrency, figures["gate_us"], swapped))
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description="What one inference costs.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each window")
    parser.add_argument("--concurrency", type=lambda text: [int(c) for c in text.split(",")], default=[1, 8, 64])
    parser.add_argument("--mlserver", action="store_true", help="compare with MLServer, installed for this run")
    parser.add_argument("--mlserver-python", help="an interpreter that has MLServer already")
    parser.add_argument("--h2load", action="store_true", help="load with nghttp2's h2load")
    parser.add_argument("--asyncio", action="store_true", help="our server on asyncio's own loop as well")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    if given.h2load and H2LOAD is None:
        sys.exit("h2load is not installed (Debian: nghttp2-client); leave --h2load out to load with grpc.aio")
    asyncio.run(main(given))
