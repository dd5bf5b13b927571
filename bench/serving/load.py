"""Load and what it costs: callers that keep `concurrency` requests in flight, and the CPU that a server spent meanwhile.

CPU is the kernel's own count for all threads of the server's process tree, in nanoseconds (schedstat), so it says what a request costs even
when other jobs take the cores and requests per second mean little.
"""

import asyncio
import math
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from bench.serving import wire

H2LOAD = shutil.which("h2load")
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Window:
    """One server under one load for a while."""

    requests: int
    seconds: float
    cpu_s: float
    latencies_s: np.ndarray
    """(requests,) float64."""

    @property
    def cpu_us(self) -> float:
        """CPU microseconds of the server per request."""
        return self.cpu_s / self.requests * 1e6

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def cpu_seconds(pid: int) -> float:
    """All CPU time that the living threads of a process and its children have used."""
    total, waiting = 0, [pid]
    while waiting:
        folder = Path(f"/proc/{waiting.pop()}/task")
        for task in folder.iterdir():
            total += int((task / "schedstat").read_text().split()[0])
            waiting += map(int, (task / "children").read_text().split())
    return total / 1e9


def channels(address: str, count: int) -> list[grpc.aio.Channel]:
    """Connections that are really apart."""
    return [
        grpc.aio.insecure_channel(
            address, options=(("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
        )
        for _ in range(count)
    ]


async def python_load(address: str, metadata: Metadata, concurrency: int, seconds: float, pid: int) -> Window:
    """grpc.aio callers in this process: what a Python user sees. Every answer's length is checked."""
    wires = channels(address, min(concurrency, 8))
    calls = [channel.unary_unary(wire.METHOD) for channel in wires]
    latencies: list[float] = []

    async def caller(index: int, until: float) -> None:
        call = calls[index % len(calls)]
        while (began := time.perf_counter()) < until:
            answer = await call(wire.REQUEST, metadata=metadata)
            latencies.append(time.perf_counter() - began)
            assert len(answer) > 60

    async def everybody(for_s: float) -> None:
        until = time.perf_counter() + for_s
        await asyncio.gather(*(caller(index, until) for index in range(concurrency)))

    try:
        await everybody(0.2)
        latencies.clear()
        cpu, began = cpu_seconds(pid), time.perf_counter()
        await everybody(seconds)
        return Window(len(latencies), time.perf_counter() - began, cpu_seconds(pid) - cpu, np.array(latencies))
    finally:
        for channel in wires:
            await channel.close()


async def h2load(address: str, metadata: Metadata, concurrency: int, seconds: float, pid: int) -> Window:
    """nghttp2's h2load: a client that costs little, so that the server is what is measured. It checks HTTP, not gRPC, statuses."""
    connections = min(concurrency, 8)
    assert H2LOAD is not None
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(b"\0" + len(wire.REQUEST).to_bytes(4) + wire.REQUEST)
        headers = (("content-type", "application/grpc"), ("te", "trailers"), *metadata)
        command = [
            H2LOAD,
            f"--duration={math.ceil(seconds)}",
            "--warm-up-time=200ms",
            f"--clients={connections}",
            "--threads=1",
        ]
        command += [f"--max-concurrent-streams={-(-concurrency // connections)}", f"--data={body}", f"--log-file={log}"]
        command += [f"--header={key}: {value}" for key, value in headers]
        process = await asyncio.create_subprocess_exec(
            *command, f"http://{address}{wire.METHOD}", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await asyncio.sleep(0.3)
        cpu, began = cpu_seconds(pid), time.time()
        await asyncio.sleep(math.ceil(seconds) - 0.2)
        spent, ended = cpu_seconds(pid) - cpu, time.time()
        await process.wait()
        rows = np.loadtxt(
            log, dtype=np.int64, ndmin=2
        )  # start in Unix microseconds, HTTP status, duration in microseconds
        assert (rows[:, 1] == 200).all()
        finished = (rows[:, 0] + rows[:, 2]) / 1e6
        rows = rows[(finished >= began) & (finished < ended)]
        return Window(len(rows), ended - began, spent, rows[:, 2] / 1e6)
