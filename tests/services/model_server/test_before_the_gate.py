"""What those who have no session can make a server do, and what a session can: the memory of a real process under long messages."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from eth_account.signers.local import LocalAccount

from linklearner.domain.errors import InvalidInput
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.testing.gateway import FakeGateway
from services.model_server import wire
from services.model_server.config import ModelServerConfig
from tests.services.model_server.conftest import token_for

ROOT = Path(__file__).resolve().parents[3]
INFER = "/inference.GRPCInferenceService/ModelInfer"
EMPTY_INPUTS = b"\x2a\x00" * ((4 << 20) // 2 - 100)
"""Two million empty tensors: 645 MiB of protobuf objects out of 4 MiB."""


@asynccontextmanager
async def process(gateway: str) -> AsyncIterator[tuple[str, int]]:
    """A model server of its own: address and pid."""
    settings = {
        "GATEWAY": gateway,
        "CREDENTIAL": "",
        "LISTEN": "127.0.0.1:0",
        "METRICS_LISTEN": "127.0.0.1:0",
        "LOG_LEVEL": "error",
    }
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.model_server",
        cwd=ROOT,
        env={**os.environ, **{ModelServerConfig.PREFIX + name: value for name, value in settings.items()}},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert running.stdout is not None
        async with asyncio.timeout(60):
            address = (await running.stdout.readline()).decode().split()[1]
            ready = "/inference.GRPCInferenceService/ModelMetadata", b"\x0a\x06digits"
            while await call(address, *ready) is not grpc.StatusCode.OK:
                await asyncio.sleep(0.05)
            signing = "/linklearner.v1.SessionService/CreateChallenge", b"\x0a\x14" + bytes(20)
            while await call(address, *signing) is not grpc.StatusCode.OK:
                await asyncio.sleep(0.05)
        yield address, running.pid
    finally:
        running.kill()
        await running.wait()


def peak_mib(pid: int) -> int:
    """The most memory that the process ever had resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


async def call(address: str, method: str, body: bytes, token: str | None = None) -> grpc.StatusCode:
    apart = (("grpc.use_local_subchannel_pool", 1),)  # a connection of its own
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.insecure_channel(address, options=apart) as channel:
        try:
            await channel.unary_unary(method)(body, metadata=metadata, timeout=60)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_sixteen_long_messages_without_a_token_take_hardly_any_memory(gateway: FakeGateway) -> None:
    async with process(gateway.address) as (address, pid):  # type: ignore[attr-defined]
        await call(address, INFER, b"")
        before = peak_mib(pid)
        for token in (None, "wrong"):
            codes = await asyncio.gather(*(call(address, INFER, EMPTY_INPUTS, token) for _ in range(16)))
            assert set(codes) == {grpc.StatusCode.UNAUTHENTICATED}
        assert peak_mib(pid) - before < 64  # 3.8 GiB when messages were parsed first


@pytest.mark.parametrize(
    "method",
    [
        "/linklearner.v1.SessionService/CreateChallenge",
        "/linklearner.v1.SessionService/OpenSession",
        "/inference.GRPCInferenceService/ModelMetadata",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    ],
)
async def test_calls_that_need_no_session_take_short_messages_only(gateway: FakeGateway, method: str) -> None:
    async with process(gateway.address) as (address, pid):  # type: ignore[attr-defined]
        await call(address, method, b"\xff")
        before = peak_mib(pid)
        for _ in range(3):
            codes = await asyncio.gather(*(call(address, method, EMPTY_INPUTS) for _ in range(16)))
            assert set(codes) <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
        # Eight at once are received, each in gRPC's buffers and in Python's; what malloc keeps of it comes on top.
        assert peak_mib(pid) - before < 256


async def test_a_session_cannot_make_objects_of_a_long_message_either(
    gateway: FakeGateway, caller: LocalAccount
) -> None:
    async with process(gateway.address) as (address, pid):  # type: ignore[attr-defined]
        token = await token_for(caller, address)
        before = peak_mib(pid)
        codes = await asyncio.gather(*(call(address, INFER, EMPTY_INPUTS, token) for _ in range(16)))
        assert set(codes) == {grpc.StatusCode.INVALID_ARGUMENT}
        assert peak_mib(pid) - before < 400


TENSOR = oip.ModelInferRequest.InferInputTensor
NUMBERS = oip.InferTensorContents(fp32_contents=[1.0] * 65536)


@pytest.mark.parametrize(
    "request_",
    [
        oip.ModelInferRequest(model_name="m", raw_input_contents=[bytes(1 << 20)]),
        oip.ModelInferRequest(model_name="m", inputs=[TENSOR(name="x", shape=[1024, 64], contents=NUMBERS)]),
    ],
)
def test_long_messages_of_numbers_pass(request_: oip.ModelInferRequest) -> None:
    wire.check(request_.SerializeToString())


@pytest.mark.parametrize(
    "message",
    [
        EMPTY_INPUTS,
        b"\x32\x00" * 20000,  # outputs
        b"\x3a\x00" * 20000,  # raw_input_contents
        b"\x22\x00" * 20000,  # parameters
        oip.ModelInferRequest(model_name="m" * 20000).SerializeToString(),
        oip.ModelInferRequest(inputs=[TENSOR(shape=[1] * 20000)]).SerializeToString(),
        oip.ModelInferRequest(
            inputs=[TENSOR(contents=oip.InferTensorContents(int64_contents=[1] * 20000))]
        ).SerializeToString(),
        oip.ModelInferRequest(
            inputs=[TENSOR(contents=oip.InferTensorContents(bytes_contents=[b""] * 20000))]
        ).SerializeToString(),
        b"\x0b" * 20000,  # groups within groups
        b"\xff" * 20000,
        b"\x3a\xff\xff\xff\xff\x0f" + bytes(20000),  # longer than it is
    ],
)
def test_long_messages_of_anything_else_are_refused_before_they_are_parsed(message: bytes) -> None:
    with pytest.raises(InvalidInput):
        wire.check(message)
