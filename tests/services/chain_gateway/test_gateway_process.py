"""The gateway as its users have it: a process that may be killed at any moment, spoken to over gRPC."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc

from linklearner.domain.classifier import classifier
from linklearner.domain.digest import weight_bytes
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.plan import TaskPlan
from linklearner.rpc import convert
from linklearner.rpc.access import OPERATOR, Credential
from linklearner.rpc.channel import channel
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc
from services.chain_gateway.config import GatewayConfig
from services.chain_gateway.opening import loads
from tests.services.chain_gateway.conftest import World, small_task

ROOT = Path(__file__).resolve().parents[3]
TARGET = bytes.fromhex("00000000000000000000000000000000000beef2")


@dataclass
class Process:
    process: asyncio.subprocess.Process
    stub: pb_grpc.ChainGatewayServiceStub
    wire: grpc.aio.Channel

    async def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


def environment_of(config: GatewayConfig) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(GatewayConfig.PREFIX)}
    for field in fields(config):
        value = getattr(config, field.name)
        environment[GatewayConfig.PREFIX + field.name.upper()] = (
            str(value).lower() if isinstance(value, bool) else str(value)
        )
    return environment


@asynccontextmanager
async def started(config: GatewayConfig) -> AsyncIterator[Process]:
    """`python -m services.chain_gateway` with the settings in its environment."""
    environment = environment_of(config)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.chain_gateway", cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().split()
        assert line[:1] == ["chain_gateway"], line
        operator = Credential.read(config.access / OPERATOR)
        async with channel(line[1], operator) as wire:
            yield Process(process, pb_grpc.ChainGatewayServiceStub(wire), wire)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)


@pytest.mark.parametrize("taken", [False, True], ids=["unsent", "unconfirmed"])
async def test_kill_9_loses_no_update_and_pays_none_twice(world: World, taken: bool) -> None:
    """Killed while its signed transaction is on disk only, or in the chain and not known to be."""
    update = pb.SubmitUpdateRequest(request_id="mine", account=world.accounts[0], update=world.update())
    coin = pb.TransferRequest(request_id="gift", account=world.accounts[1], to=TARGET, coin_wei=b"\7")
    if taken:
        world.node.hide_receipts = 10_000
    else:
        world.node.break_sends = 10_000
    async with started(world.config(outbox=world.folder / "gateway.sqlite")) as gateway:
        calls = [
            asyncio.ensure_future(gateway.stub.SubmitUpdate(update)),
            asyncio.ensure_future(gateway.stub.Transfer(coin)),
        ]
        async with asyncio.timeout(60):
            while len(set(world.node.raw)) < 2:
                await asyncio.sleep(0.01)
        await gateway.kill()
        await asyncio.gather(*calls, return_exceptions=True)
    world.node.hide_receipts = world.node.break_sends = 0
    async with started(world.config(outbox=world.folder / "gateway.sqlite")) as gateway:
        submitted = await gateway.stub.SubmitUpdate(update)
        assert submitted.round == 1
        assert (await gateway.stub.SubmitUpdate(update)) == submitted
        await gateway.stub.Transfer(coin)
        balance = await gateway.stub.GetBalance(pb.GetBalanceRequest(account=TARGET))
        assert balance.coin_wei == b"\7"
        contributions = (await gateway.stub.GetRound(pb.GetRoundRequest(task=1))).contributions
        assert [one.contributor for one in contributions] == [world.accounts[0]]
    assert len(set(world.node.raw)) == 2


WIDE = TaskPlan(
    model=classifier("wide", Mlp((64, 1200, 10)), tuple("0123456789")),
    page_length=8192,
    group_pages=1,
    terms=replace(small_task().terms, max_updates=2),
)
"""90,010 weights: opened by three loads of 4, 4 and 3 pages."""


async def killed_while_opening(
    world: World, requests: Callable[[], AsyncIterator[pb.OpenTaskRequest]], done: int, taken: bool
) -> GatewayConfig:
    """A gateway that opens a task is killed with `done` of its transactions confirmed: the next is on disk only, or (taken) in the chain
    and not known to be. Returns the settings with which it goes on."""
    config, send, reached = world.config(outbox=world.folder / "gateway.sqlite"), world.node._send, asyncio.Event()

    async def watched(request: web.Request, body: dict[str, Any], raw: bytes) -> web.StreamResponse:
        if len({*world.node.raw, raw}) > done:
            if taken:
                world.node.hide_receipts = 10**6
            else:
                world.node.break_sends = 10**6
            answer = await send(request, body, raw)
            reached.set()
            return answer
        return await send(request, body, raw)

    async with started(config) as gateway:
        world.node._send = watched  # type: ignore[method-assign]
        call = asyncio.ensure_future(gateway.stub.OpenTask(requests()))
        async with asyncio.timeout(120):
            await reached.wait()
        await gateway.kill()
        await asyncio.gather(call, return_exceptions=True)
    world.node._send = send  # type: ignore[method-assign]
    world.node.hide_receipts = world.node.break_sends = 0
    return config


@pytest.mark.parametrize(
    ("done", "taken"),
    [(0, True), (1, False), (1, True), (3, False)],
    ids=["opening unconfirmed", "first load unsent", "first load unconfirmed", "last load unsent"],
)
async def test_kill_9_while_a_task_is_opened_ends_in_one_task_with_all_its_weights(
    world: World, done: int, taken: bool
) -> None:
    """Killed while one of its transactions is on disk only, or in the chain and not known to be; the caller repeats its request."""
    shape, weights = WIDE.shape, weight_bytes(WIDE.first_weights())
    loading = [place for _, place in loads(shape)]
    assert len(loading) == 3
    creator = world.accounts[0]

    async def requests() -> AsyncIterator[pb.OpenTaskRequest]:
        plan = pb.OpenTaskRequest.Plan(
            request_id="ours",
            account=creator,
            model=WIDE.model.to_json(),
            shape=shape.encode(),
            terms=convert.terms_message(WIDE.terms),
        )
        yield pb.OpenTaskRequest(plan=plan)
        yield pb.OpenTaskRequest(weights=weights)

    config = await killed_while_opening(world, requests, done, taken)
    async with started(config) as gateway:
        opened = await gateway.stub.OpenTask(requests())
        assert (opened.task, opened.version.version, len(opened.receipts)) == (2, 1, 4)
        assert await gateway.stub.OpenTask(requests()) == opened
        parts = [part async for part in gateway.stub.GetModel(pb.GetModelRequest(task=2))]
        assert b"".join(part.weights for part in parts) == weights
        tasks = (await gateway.stub.ListTasks(pb.ListTasksRequest())).tasks
        assert [(task.task, task.version.version) for task in tasks if task.creator == creator] == [(2, 1)]
        assert len(tasks) == 2
    assert len(set(world.node.raw)) == 4  # the ones that were signed before the end, and no other


async def test_a_gateway_that_serves_is_ready_and_stops_when_asked(world: World) -> None:
    async with started(world.config(outbox=world.folder / "gateway.sqlite")) as gateway:
        health = health_pb2_grpc.HealthStub(gateway.wire)
        answer = health_pb2.HealthCheckResponse.UNKNOWN
        async with asyncio.timeout(30):
            while answer != health_pb2.HealthCheckResponse.SERVING:
                answer = (await health.Check(health_pb2.HealthCheckRequest())).status
        world.node.down = True
        async with asyncio.timeout(30):
            while answer == health_pb2.HealthCheckResponse.SERVING:
                answer = (await health.Check(health_pb2.HealthCheckRequest())).status
                await asyncio.sleep(0.02)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await gateway.stub.GetChain(pb.GetChainRequest())
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        world.node.down = False
        gateway.process.terminate()
        assert await asyncio.wait_for(gateway.process.wait(), 30) == 0


async def failed(world: World, *, status: int = 2, **changes: object) -> str:
    """What a gateway that cannot start says."""
    config = world.config(outbox=world.folder / "gateway.sqlite")
    environment = dict(os.environ)
    for field in fields(config):
        value = changes.get(field.name, getattr(config, field.name))
        environment[GatewayConfig.PREFIX + field.name.upper()] = (
            str(value).lower() if isinstance(value, bool) else str(value)
        )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.chain_gateway", cwd=ROOT, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == status
    assert b"Traceback" not in errors
    return errors.decode().splitlines()[-1]


async def test_a_gateway_that_cannot_start_says_in_one_line_what_to_do(world: World) -> None:
    wrong = world.folder / "wrong-password"
    wrong.write_text("not this one\n")
    said = await failed(world, password_file=wrong)
    assert "does not open" in said and "not this one" not in said
    assert "cannot be reached" in await failed(world, status=1, rpc_url="http://127.0.0.1:9", start_wait_s=0)


async def test_a_start_waits_for_its_chain_and_says_so(world: World) -> None:
    """A restart together with the node, or at a moment when a public endpoint is away, is no reason to end."""
    world.node.down = True
    environment = environment_of(world.config(outbox=world.folder / "gateway.sqlite"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.chain_gateway", cwd=ROOT, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    try:
        said = json.loads(await asyncio.wait_for(process.stderr.readline(), 60))
        assert said["event"] == "waiting_for_chain" and "answered HTTP 503" in said["detail"]
        world.node.down = False
        assert (await asyncio.wait_for(process.stdout.readline(), 60)).startswith(b"chain_gateway")
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)
