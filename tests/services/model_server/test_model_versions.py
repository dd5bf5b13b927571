"""Which weights go live: the newest that check out, and never any others, whatever the gateway does."""

import asyncio
import gc
import itertools
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from linklearner.domain.classifier import classifier
from linklearner.domain.digest import model_digest, weight_bytes
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.errors import InvalidModel, NotFound
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import ModelSpec, ModelVersion
from linklearner.domain.shape import Shape
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.rpc import convert
from linklearner.testing.gateway import FakeGateway, weights_of
from linklearner.v1 import chain_gateway_pb2
from services.model_server import versions
from services.model_server.inference import LoadedModels, Model
from services.model_server.server import ModelServer
from services.model_server.versions import load
from tests.services.model_server.conftest import QUICK, eventually


def version_of(number: int, seed: int, **changes: Any) -> ModelVersion:
    fields = {
        "task": 1,
        "version": number,
        "digest": model_digest(weights_of(seed), SHAPE),
        "round": 1,
        "block_number": 5,
    }
    return ModelVersion(**{**fields, **changes})


def model_of(number: int, seed: int) -> Model:
    return load(DIGITS, SHAPE, version_of(number, seed), weights_of(seed))


def live(server: ModelServer) -> int:
    assert server.loaded.live is not None
    return server.loaded.live.version.version


async def metric(server: ModelServer, name: str) -> float:
    async with httpx.AsyncClient() as client:
        for line in (await client.get(f"http://{server.metrics_address}/metrics")).text.splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
    return 0.0


async def test_a_new_version_goes_live_at_its_announcement(start: Callable[..., Any], gateway: FakeGateway) -> None:
    server = await start(poll_s=60)  # only the announcement can be that quick
    await asyncio.sleep(0.2)
    gateway.publish(weights_of(1))
    await eventually(lambda: live(server) == 2, 5)


async def test_a_version_that_nobody_announced_is_found(start: Callable[..., Any], gateway: FakeGateway) -> None:
    gateway.announcing = False
    server = await start()
    gateway.publish(weights_of(1))
    await eventually(lambda: live(server) == 2, 20 * QUICK.poll_s)


async def test_a_server_that_starts_late_takes_the_newest_version(
    start: Callable[..., Any], gateway: FakeGateway
) -> None:
    for seed in (1, 2, 3):
        gateway.publish(weights_of(seed))
    server = await start()
    assert live(server) == 4
    assert server.loaded.versions() == [4]


def truncated(seed: int) -> bytes:
    return weight_bytes(weights_of(seed))[:-2]


def overlong(seed: int) -> bytes:
    return weight_bytes(weights_of(seed)) + b"\0\0"


def one_bit_off(seed: int) -> bytes:
    body = bytearray(weight_bytes(weights_of(seed)))
    body[777] ^= 1
    return bytes(body)


def of_another_version(seed: int) -> bytes:
    return weight_bytes(weights_of(seed + 100))


def nothing(seed: int) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncated, "WrongLength"),
        (overlong, "WrongLength"),
        (nothing, "WrongLength"),
        (one_bit_off, "WrongDigest"),
        (of_another_version, "WrongDigest"),
    ],
)
async def test_weights_that_are_not_the_announced_ones_never_go_live(
    server: ModelServer,
    gateway: FakeGateway,
    spoil: Callable[[int], bytes],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = server.loaded.live
    gateway.publish(weights_of(1), body=spoil(1))
    counter = f'linklearner_versions_refused_total{{reason="{reason}"}}'
    async with asyncio.timeout(5):
        while not await metric(server, counter):
            await asyncio.sleep(0.05)
    assert server.loaded.live is before
    assert server.loaded.versions() == [1]
    assert server.loaded.find("digits", "") is before
    assert "version_refused" in capsys.readouterr().out
    gateway.bodies[2] = weight_bytes(weights_of(1))  # the gateway mends itself: the same version goes live after all
    await eventually(lambda: live(server) == 2)


async def test_a_version_announced_with_two_digests_never_goes_live(server: ModelServer, gateway: FakeGateway) -> None:
    gateway.versions[0] = replace(gateway.versions[0], digest=bytes(32))
    async with asyncio.timeout(5):
        while not await metric(server, 'linklearner_versions_refused_total{reason="TwoDigests"}'):
            await asyncio.sleep(0.05)
    assert server.loaded.live is not None and server.loaded.live.version.digest == model_digest(weights_of(0), SHAPE)


async def test_a_task_that_changes_is_another_chain_and_is_not_followed(
    server: ModelServer, gateway: FakeGateway
) -> None:
    gateway.model = classifier("letters", Mlp((64, 32, 10)), DIGITS.labels, "pixels").to_json()
    gateway.publish(weights_of(1))
    async with asyncio.timeout(5):
        while not await metric(server, 'linklearner_versions_refused_total{reason="OtherTask"}'):
            await asyncio.sleep(0.05)
    assert live(server) == 1


async def test_a_model_that_its_shape_does_not_fit_is_never_served(
    start: Callable[..., Any], gateway: FakeGateway
) -> None:
    gateway.model = classifier("digits", Mlp((64, 33, 10)), DIGITS.labels, "pixels").to_json()
    server = await start(ready=False)
    async with asyncio.timeout(5):
        while not await metric(server, 'linklearner_versions_refused_total{reason="WrongShape"}'):
            await asyncio.sleep(0.05)
    assert server.loaded.live is None


async def test_an_unreadable_description_is_refused_and_said(start: Callable[..., Any], gateway: FakeGateway) -> None:
    gateway.model = "{}"
    server = await start(ready=False)
    async with asyncio.timeout(5):
        while not await metric(server, 'linklearner_versions_refused_total{reason="InvalidModel"}'):
            await asyncio.sleep(0.05)
    assert server.loaded.live is None


async def test_a_version_that_makes_no_model_is_built_once_and_said_once(
    server: ModelServer, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever poisons the weights must not have every server fetch and build them every few seconds until another version comes."""
    built, real = list[int](), versions.load

    def unusable(spec: ModelSpec, shape: Shape, version: ModelVersion, *rest: Any) -> Model:
        built.append(version.version)
        if version.version == 2:
            raise InvalidModel("answers a blank input with NaN or infinity")
        return real(spec, shape, version, *rest)

    monkeypatch.setattr(versions, "load", unusable)
    gateway.publish(weights_of(1))
    counter = 'linklearner_versions_refused_total{reason="InvalidModel"}'
    async with asyncio.timeout(60):
        while await metric(server, counter) < 4:
            await asyncio.sleep(0.05)
    assert (built, live(server)) == ([2], 1)
    assert capsys.readouterr().out.count("version_refused") == 1
    gateway.publish(weights_of(2))
    await eventually(lambda: live(server) == 3)
    assert built == [2, 3]


def test_a_model_that_answers_a_blank_input_with_infinity_is_refused() -> None:
    spec = classifier("deep", Mlp((1,) * 9), ("a",), "x")
    shape = spec.shape(exponents=-8, page_length=1024, group_pages=4, norm_bound=1)
    weights = np.full(shape.weight_count, 32767, "<i2")  # 2**23 each: eight layers of them leave float32
    version = version_of(1, 0, digest=model_digest(weights, shape))
    with pytest.raises(InvalidModel, match="NaN or infinity"):
        load(spec, shape, version, weights)


def test_a_graph_that_does_not_run_is_an_invalid_model() -> None:
    with pytest.raises(InvalidModel, match="onnxruntime cannot run version 1"):
        Model(DIGITS, version_of(1, 0), b"not a graph")


async def test_a_gateway_that_restarts_is_followed_on(start: Callable[..., Any]) -> None:
    chain = FakeGateway()
    chain.publish(weights_of(0))
    async with chain.served() as address:
        server = await start(gateway=address)
    chain.publish(weights_of(1))
    await asyncio.sleep(0.3)
    assert live(server) == 1
    async with chain.served(address):
        await eventually(lambda: live(server) == 2)
        chain.publish(weights_of(2))
        await eventually(lambda: live(server) == 3)


async def test_a_gateway_that_hangs_is_followed_on(
    start: Callable[..., Any], gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.model_server.versions.CALL_TIMEOUT_S", 0.3)
    server = await start()
    gateway.hanging = True
    gateway.publish(weights_of(1))
    await asyncio.sleep(0.8)
    assert live(server) == 1
    gateway.hanging = False
    await eventually(lambda: live(server) == 2)


async def test_a_download_that_stalls_is_given_up_and_tried_again(
    start: Callable[..., Any], gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linklearner.client.gateway.STALL_S", 0.2)
    server = await start()
    original = gateway.GetModel
    tries = []

    async def stalling(request: Any, context: Any) -> Any:
        tries.append(1)
        async for part in original(request, context):
            yield part
            if len(tries) == 1:
                await asyncio.sleep(60)

    gateway.GetModel = stalling  # type: ignore[method-assign]
    # the servicer's methods were bound at registration: serve the stalling one anew
    async with gateway.served() as address:
        slow = await start(gateway=address)
        assert len(tries) == 2 and live(slow) == 1
    assert live(server) == 1


class Lying(FakeGateway):
    """Announces its newest version and sends something else."""

    def __init__(self, parts: Callable[[FakeGateway], Iterator[chain_gateway_pb2.GetModelResponse]]) -> None:
        super().__init__()
        self._parts = parts
        self.sent = 0

    async def GetModel(self, request: Any, context: Any) -> AsyncIterator[chain_gateway_pb2.GetModelResponse]:  # noqa: N802
        for part in self._parts(self):
            self.sent += 1
            yield part


def first(gateway: FakeGateway, **changes: Any) -> chain_gateway_pb2.GetModelResponse:
    version = convert.version_message(gateway.versions[-1])
    for name, value in changes.items():
        setattr(version, name, value)
    return chain_gateway_pb2.GetModelResponse(version=version)


def body(seed: int = 1) -> chain_gateway_pb2.GetModelResponse:
    return chain_gateway_pb2.GetModelResponse(weights=weight_bytes(weights_of(seed)))


def without_end(gateway: FakeGateway) -> Iterator[chain_gateway_pb2.GetModelResponse]:
    yield first(gateway)
    yield from itertools.repeat(chain_gateway_pb2.GetModelResponse(weights=bytes(1000)))


def empty_parts(gateway: FakeGateway) -> Iterator[chain_gateway_pb2.GetModelResponse]:
    yield first(gateway)
    yield from itertools.repeat(chain_gateway_pb2.GetModelResponse())


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (without_end, "WrongLength"),
        (empty_parts, "WrongLength"),
        (lambda gateway: iter([body()]), "WrongVersion"),
        (lambda gateway: iter([first(gateway, version=1), body()]), "WrongVersion"),
        (lambda gateway: iter([first(gateway, task=2), body()]), "WrongVersion"),
        (lambda gateway: iter([first(gateway, digest=model_digest(weights_of(7), SHAPE)), body(7)]), "TwoDigests"),
        (lambda gateway: iter([first(gateway, digest=b"short"), body()]), "WrongDigest"),
    ],
    ids=["without end", "empty parts", "no version", "older version", "other task", "other digest", "short digest"],
)
async def test_a_gateway_that_sends_something_else_is_not_believed(
    start: Callable[..., Any], parts: Callable[[FakeGateway], Iterator[Any]], reason: str
) -> None:
    chain = Lying(parts)
    for seed in (0, 1):
        chain.publish(weights_of(seed))
    async with chain.served() as address:
        server = await start(gateway=address, ready=False)
        async with asyncio.timeout(5):
            while not await metric(server, f'linklearner_versions_refused_total{{reason="{reason}"}}'):
                await asyncio.sleep(0.05)
    assert server.loaded.live is None
    assert chain.sent < 1000  # the endless one was cut off soon after the 4820 bytes that the task has


def test_replaced_versions_are_bounded_in_number_and_bytes_however_young() -> None:
    """A version a second would otherwise keep sixty."""
    models = [model_of(number, 0) for number in range(1, 8)]
    few = LoadedModels(60, lambda: 0.0, keep_versions=3)
    small = LoadedModels(60, lambda: 0.0, keep_bytes=2 * models[0].weight_bytes)
    none = LoadedModels(60, lambda: 0.0, keep_bytes=models[0].weight_bytes - 1)
    for model in models:
        for loaded in (few, small, none):
            loaded.put(model)
    assert (few.versions(), small.versions(), none.versions()) == ([7, 6, 5, 4], [7, 6, 5], [7])


async def test_a_task_beyond_the_servers_bound_is_not_downloaded(
    start: Callable[..., Any], gateway: FakeGateway
) -> None:
    asked: list[Any] = []

    async def counting(request: Any, context: Any) -> Any:
        asked.append(request)
        yield first(gateway)

    gateway.GetModel = counting  # type: ignore[method-assign]
    async with gateway.served() as address:
        server = await start(gateway=address, ready=False, max_model_bytes=2 * SHAPE.weight_count - 2)
        async with asyncio.timeout(10):
            while not await metric(server, 'linklearner_versions_refused_total{reason="TooLarge"}'):
                await asyncio.sleep(0.05)
    assert server.loaded.live is None and asked == []


async def test_a_download_that_drips_is_given_up(
    start: Callable[..., Any], gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("linklearner.client.gateway.STALL_S", 0.3)

    async def dripping(request: Any, context: Any) -> Any:
        yield first(gateway)
        while True:
            yield chain_gateway_pb2.GetModelResponse(weights=b"\0")
            await asyncio.sleep(0.1)

    gateway.GetModel = dripping  # type: ignore[method-assign]
    async with gateway.served() as address:
        await start(gateway=address, ready=False)
        printed = ""
        async with asyncio.timeout(10):
            while "in the middle of a download" not in printed:
                await asyncio.sleep(0.05)
                printed += capsys.readouterr().out


def test_a_replaced_version_answers_to_its_number_for_its_time_and_no_longer() -> None:
    now = [0.0]
    loaded = LoadedModels(60, lambda: now[0])
    first, second = model_of(1, 0), model_of(2, 1)
    loaded.put(first)
    loaded.put(second)
    assert loaded.find("digits", "") is second and loaded.find("digits", "2") is second
    assert loaded.find("digits", "1") is first
    assert loaded.versions() == [2, 1]
    now[0] = 59.9
    assert loaded.find("digits", "1") is first
    now[0] = 60.0
    with pytest.raises(NotFound):
        loaded.find("digits", "1")
    assert loaded.versions() == [2]


def test_a_call_that_has_taken_its_model_finishes_with_it() -> None:
    loaded = LoadedModels(0)
    loaded.put(model_of(1, 0))
    taken = loaded.find("digits", "")
    loaded.put(model_of(2, 1))
    request = oip.ModelInferRequest(
        model_name="digits",
        inputs=[oip.ModelInferRequest.InferInputTensor(name="pixels", datatype="FP32", shape=[1, 64])],
        raw_input_contents=[bytes(256)],
    )
    assert taken.infer(request, 1).model_version == "1"


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123  # a file of the kernel
        return int(statm.read().split()[1]) * 4096


async def test_twenty_swaps_leave_nothing_behind(start: Callable[..., Any], gateway: FakeGateway) -> None:
    server = await start(keep_previous_s=0)
    for seed in range(1, 6):  # onnxruntime and the allocator settle
        gateway.publish(weights_of(seed))
        await eventually(lambda seed=seed: live(server) == seed + 1)
    gone: list[weakref.ref[Model]] = []
    for seed in range(6, 26):
        assert server.loaded.live is not None
        gone.append(weakref.ref(server.loaded.live))
        gateway.publish(weights_of(seed))
        await eventually(lambda seed=seed: live(server) == seed + 1)
    gc.collect()
    assert [reference for reference in gone if reference() is not None] == []
    assert server.loaded.versions() == [26]


def test_a_hundred_models_later_memory_is_where_it_was() -> None:
    for seed in range(10):  # onnxruntime and the allocator settle
        model_of(1, seed)
    gc.collect()
    before = resident_bytes()
    for seed in range(100):
        model_of(1, seed)
    gc.collect()
    assert resident_bytes() - before < 5 << 20  # one holds about 146 KiB: a hundred kept ones would be 14 MiB
