"""The digits demo on a running stack, driven from outside through its published ports."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from eth_account.signers.local import LocalAccount
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from linklearner.client.gateway import GatewayClient
from linklearner.client.inference import InferenceClient
from linklearner.domain.errors import LinkLearnerError
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.model import ModelSpec
from linklearner.domain.tasks import ChainStatus
from linklearner.keyfile import decrypted, read_password
from linklearner.onnx_graph import onnx_model, reference
from linklearner.output import ll
from linklearner.rpc.access import Credential
from tools.stack.engine import Say, Stack, host_gateway
from tools.stack.settings import ROOT, Trouble

TASK = 1
ROUND_S = 180.0
"""Seconds that one round may take; with all contributors there it takes about one."""
SERVED_S = 60.0
ACCURATE_ENOUGH = 0.80
"""Of the held-out digits, after five rounds from scratch; five rounds give about 0.95."""
ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Played:
    """What a demo saw. spent: bearer tokens it used; they are secrets of the past."""

    first_version: int
    last_version: int
    digest: str
    audit: dict[str, Any]
    spent: tuple[str, ...] = field(repr=False)


@asynccontextmanager
async def gateway_of(stack: Stack, index: int = 1) -> AsyncIterator[GatewayClient]:
    """A gateway through its published port."""
    operator = Credential.read(stack.settings.home / "secrets" / f"operator-{index}")
    async with GatewayClient.connect(f"127.0.0.1:{stack.settings.gateway_port + index - 1}", operator) as gateway:
        yield gateway


def demo(stack: Stack, say: Say, *, keep: bool) -> None:
    """Brings the stack up, plays, and takes it down again unless it was up before or `keep`. Raises Trouble if any of it did not happen."""
    stack.prepare()
    was_up = any(one.state == "running" for one in stack.containers())
    started = time.monotonic()
    stack.build()
    try:
        play(stack, say)
        report(stack, say)
    finally:
        if keep or was_up:
            say("The stack stays up: `make logs`, `make down`.")
        else:
            stack.down()
            say(
                "The stack is down; chain, keys and outboxes stay for the next `make up` (`make down WIPE=1` forgets them)."
            )
    say(f"Done in {time.monotonic() - started:.0f} s.")


def play(stack: Stack, say: Say) -> Played:
    """Five rounds in containers, a gated inference, an audit. Raises Trouble."""
    say("starting devchain, deployment, gateways and model server")
    stack.up(*(name for name in _services(stack) if not name.startswith("trainer")))
    try:
        before = asyncio.run(_version(stack))
        say(f"starting trainers; each contributes to {stack.settings.rounds} rounds by itself")
        stack.up(*(name for name in _services(stack) if name.startswith("trainer")), recreate=True)
        last = asyncio.run(_watch(stack, before, say))
        answer, token = asyncio.run(_infer(stack, last, say))
        audit = _verify(stack, last, say)
    except LinkLearnerError as error:
        raise Trouble(f"{error.reason}: {error.message}") from error
    return Played(first_version=before, last_version=last, digest=answer["digest"], audit=audit, spent=(token,))


def _services(stack: Stack) -> list[str]:
    return stack.compose("config", "--services").decode().split()


async def _version(stack: Stack) -> int:
    async with gateway_of(stack) as gateway:
        return (await gateway.task(TASK)).version


async def _watch(stack: Stack, before: int, say: Say) -> int:
    """Shows each round as it comes. Returns the last version. Raises Trouble if one does not come."""
    held_out, labels = held_out_digits()
    rounds = stack.settings.rounds if stack.settings.rounds > 0 else ROUNDS
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    async with gateway_of(stack) as gateway:
        task = await gateway.task(TASK)
        accuracy = 0.0
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            line = bar.add_task("", total=stack.settings.contributors)
            for version in range(before + 1, before + rounds + 1):
                began = time.monotonic()
                while task.version < version:
                    if time.monotonic() - began > ROUND_S:
                        raise Trouble(f"version {version} did not come within {ROUND_S:.0f} s; see `make logs`")
                    bar.update(
                        line,
                        description=f"round {task.round.round}: updates accepted",
                        completed=task.round.accepted,
                    )
                    await asyncio.sleep(0.1)
                    task = await gateway.task(TASK)
                announced, weights = await gateway.weights(task, version)
                given = forward(task.spec, dequantise_weights(weights, task.shape), held_out)
                accuracy = float((given == labels).mean())
                # rounds may have been dropped: the version knows the number of the one that made it
                made = await gateway.round(TASK, announced.round)
                paid = sum(one.paid or 0 for one in made.contributions)
                say(
                    f"  round {made.round}: accuracy {accuracy:.3f} of the weights on the chain, version {version}, "
                    f"{len(made.contributions)} updates, {ll(paid)} $LL paid, block {announced.block_number}, "
                    f"digest 0x{announced.digest.hex()[:12]}…"
                )
    if accuracy < ACCURATE_ENOUGH:
        raise Trouble(f"the model did not learn: accuracy {accuracy:.3f}, not {ACCURATE_ENOUGH}")
    return before + rounds


def forward(spec: ModelSpec, weights: NDArray[np.float32], pixels: NDArray[np.float32]) -> NDArray[np.int64]:
    """Labels (B,) that the model gives to (B, …) pixels: by ONNX's reference implementation, apart from torch and onnxruntime."""
    (signature,) = spec.inputs
    inputs = {signature.name: pixels.reshape(-1, *signature.dimensions)}
    labels: NDArray[np.int64] = reference(onnx_model(spec, weights), inputs)[spec.answer.name].argmax(axis=1)
    return labels


def held_out_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(B, 64) pixels and (B,) labels that no trainer sees."""
    from services.trainer import data  # the one cut that all trainers share

    _, held_out = data.load("digits", data.Shard())
    return held_out.inputs["x"].astype(np.float32), held_out.y.astype(np.int64)


def contributor_account(stack: Stack, index: int) -> LocalAccount:
    """A contributor's key: its encrypted file from the container, its password from here."""
    find = "import pathlib; print(*[p.read_text() for p in pathlib.Path('/var/lib/linklearner/keys').glob('*.json')])"
    keyfile = stack.run_in(f"gateway-{index}", "python", "-c", find)
    password = read_password(stack.settings.home / "secrets" / f"contributor-{index}")
    return decrypted(keyfile, password, f"the keyfile of contributor {index}")


async def _infer(stack: Stack, version: int, say: Say) -> tuple[dict[str, Any], str]:
    """A contributor asks through a session and is answered; nobody else is."""
    address = f"127.0.0.1:{stack.settings.model_server_port}"
    pixels, labels = held_out_digits()
    async with InferenceClient(address, None) as anyone:
        await anyone.served("digits", version, within_s=SERVED_S)
    async with InferenceClient(address, contributor_account(stack, 1)) as client:
        token = client.token or ""
        answer = await asyncio.to_thread(_ask, address, token, pixels)
        if answer["status"] != "OK":
            raise Trouble(f"tritonclient was refused: {answer}")
    refused = await asyncio.to_thread(_ask, address, "", pixels)
    if refused["status"] != "StatusCode.UNAUTHENTICATED":
        raise Trouble(f"a caller without a session was not turned away: {refused['status']}")
    right = int((np.array(answer["labels"]) == labels).sum())
    say(
        f"inference: tritonclient with a contributor's session gets {right} of {len(labels)} digits right from version "
        f"{answer['version']}, digest {answer['digest'][:14]}…; without one it is turned away (UNAUTHENTICATED)"
    )
    if answer["version"] != version:
        raise Trouble(f"version {version} was to answer, version {answer['version']} did")
    return answer, token


def _ask(address: str, token: str, pixels: NDArray[np.float32]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.stack.ask", address],
        input=pixels.astype("<f4").tobytes(),
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "LINKLEARNER_TOKEN": token},
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise Trouble(f"tritonclient failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _verify(stack: Stack, version: int, say: Say) -> dict[str, Any]:
    """`linklearner verify` from here, over JSON-RPC alone."""
    chain = asyncio.run(_chain(stack))
    url = f"http://127.0.0.1:{stack.settings.rpc_port}"
    if stack.settings.rpc_url:
        url = _as_seen_here(stack.settings.rpc_url)
    command = [
        str(Path(sys.executable).with_name("linklearner")),
        "verify",
        "--rpc",
        url,
        "--pool",
        "0x" + chain.pool.hex(),
    ]
    command += ["--from-block", str(chain.deployed_block), "--task", str(TASK), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    if done.returncode:
        raise Trouble(f"the audit failed: {done.stdout}{done.stderr}")
    audit: dict[str, Any] = json.loads(done.stdout)
    say(
        f"audit: {audit['versions']} versions, {audit['updates']} updates and {audit['payments']} payments recomputed from the "
        "chain's history: every digest equal"
    )
    if audit["newest_version"] < version:
        raise Trouble(f"the audit saw version {audit['newest_version']}, not {version}")
    return audit


def _as_seen_here(url: str) -> str:
    """A node's URL as containers know it, from this machine: host.docker.internal is us, by the loopback or the engine's bridge."""
    parts = urlsplit(url)
    if parts.hostname != "host.docker.internal":
        return url
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = "127.0.0.1"
    with socket.socket() as probe:
        if probe.connect_ex((host, port)):
            host = host_gateway()
    return parts._replace(netloc=f"{host}:{port}").geturl()


async def _chain(stack: Stack) -> ChainStatus:
    async with gateway_of(stack) as gateway:
        return await gateway.chain()


def report(stack: Stack, say: Callable[[str], None]) -> None:
    """Where the logs are, what it takes."""
    say("\nlogs, memory of each container:")
    memory = stack.memory()
    for one in sorted(stack.containers(), key=lambda container: container.service):
        path = stack.inspect(one.service)["LogPath"]
        say(f"  {one.service:<13} {memory.get(one.service, '-'):>10}  {path}")
    say("images:")
    for name, size in stack.image_bytes().items():
        say(f"  {name:<35} {size / 1e6:6.0f} MB")
