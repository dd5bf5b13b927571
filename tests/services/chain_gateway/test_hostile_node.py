"""A node that answers with bytes meant to kill whoever reads them."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from google.protobuf.message import DecodeError

from linklearner import history
from linklearner.domain.errors import DataLoss, InvalidConfig, LinkLearnerError, Unavailable
from linklearner.history import History
from linklearner.suite import Suite
from linklearner.v1 import chain_gateway_pb2
from services.chain_gateway import chain as gateway_chain
from services.chain_gateway.chain import Chain
from services.chain_gateway.deploy import TaskPlan
from services.chain_gateway.deployment import Deployment
from services.chain_gateway.keystore import Keystore

DEEP = b"[" * 160_000


@contextlib.asynccontextmanager
async def node(answer: Callable[[object], bytes], headers: dict[str, str] | None = None) -> AsyncIterator[str]:
    """The URL of a node that answers with whatever bytes."""

    async def post(request: web.Request) -> web.Response:
        body = answer(await request.json())
        return web.Response(body=body, content_type="application/json", headers=headers)

    application = web.Application()
    application.router.add_post("/", post)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def result(asked: object, value: bytes) -> bytes:
    """A correct answer to a question or a batch, but for the value."""
    if isinstance(asked, list):
        return b"[" + b",".join(result(one, value) for one in asked) + b"]"
    assert isinstance(asked, dict)
    return b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (json.dumps(asked["id"]).encode(), value)


BODIES = pytest.mark.parametrize(
    "answer",
    [
        lambda asked: DEEP, lambda asked: result(asked, DEEP), lambda asked: result(asked, b"[" * 70 + b"]" * 70),
        lambda asked: result(asked, b"9" * 5000), lambda asked: result(asked, b"NaN"), lambda asked: b"\xff",
        lambda asked: result(asked, b'{"a":1,"a":2}'), lambda asked: b"", lambda asked: b"[]", lambda asked: b"null",
    ],
    ids=["deep", "deep result", "70 levels", "digits", "NaN", "not UTF-8", "twice", "nothing", "list", "null"],
)  # fmt: skip


@BODIES
async def test_the_gateway_calls_it_unavailable(answer: Callable[[object], bytes]) -> None:
    async with node(answer) as url:
        with pytest.raises(Unavailable):
            async with Chain.connect(url):
                pass


@BODIES
async def test_verify_says_what_it_is(answer: Callable[[object], bytes]) -> None:
    async with node(answer) as url, History(url, bytes(20), 0) as read:
        with pytest.raises((Unavailable, InvalidConfig, DataLoss)):
            await read.chain_id()


@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_is_read_up_to_its_bytes(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    def answer(asked: object) -> bytes:
        body = result(asked, b'"0x2e2c"').ljust(size)
        return gzip.compress(body) if packed else body

    headers = {"Content-Encoding": "gzip"} if packed else None
    monkeypatch.setattr(history, "ANSWER_BYTES", 1_000_000)
    monkeypatch.setattr(gateway_chain, "ANSWER_BYTES", 1_000_000)
    async with node(answer, headers) as url, History(url, bytes(20), 0) as read:
        size = 1_000_000
        assert await read.chain_id() == 11820
        async with Chain.connect(url) as chain:
            assert chain.chain_id == 11820
        size += 1
        with pytest.raises(Unavailable, match="more than 1000000 bytes"):
            await read.chain_id()
        with pytest.raises(Unavailable, match="more than 1000000 bytes"):
            async with Chain.connect(url):
                pass


async def test_a_number_longer_than_the_chain_s_is_no_number() -> None:
    async with node(lambda asked: result(asked, b'"0x%s"' % (b"f" * 65))) as url, History(url, bytes(20), 0) as read:
        with pytest.raises(DataLoss, match="not a hexadecimal number"):
            await read.chain_id()


@pytest.mark.parametrize("value", [b'"0x%s"' % (b"f" * 65), b'"0x%s"' % (b"f" * 20_000), b'"-0x1"', b'"latest"'])
@pytest.mark.parametrize("lies_about", ["eth_chainId", "eth_blockNumber"])
async def test_a_quantity_is_one_for_the_gateway_too(value: bytes, lies_about: str) -> None:
    def answer(asked: object) -> bytes:
        assert isinstance(asked, dict)
        return result(asked, value if asked["method"] == lies_about else b'"0x2e2c"')

    async with node(answer) as url:
        with pytest.raises(Unavailable):
            async with Chain.connect(url) as chain:
                await chain.head_number()


def test_files_that_nest_are_sentences(tmp_path: Path) -> None:
    deep = tmp_path / "suite.json"
    deep.write_bytes(DEEP)
    readers: list[Callable[[], object]] = [
        lambda: Suite.read(tmp_path),
        lambda: Deployment.load(deep),
        lambda: TaskPlan.from_json(deep.read_text()),
        lambda: Keystore.of_key_file(deep, "password"),
    ]
    for reader in readers:
        with pytest.raises(LinkLearnerError) as refused:
            reader()
        assert isinstance(refused.value, InvalidConfig)


def test_grpc_s_own_parser_bounds_nesting() -> None:
    """Groups of an unknown field nest as deep as their bytes; protobuf stops at a hundred."""
    group = b"\xa3\x06"  # field 100 begins a group
    for depth, taken in ((50, True), (10_000, False), (1_000_000, False)):
        raw = group * depth + b"\xa4\x06" * depth
        if taken:
            chain_gateway_pb2.GetTaskRequest.FromString(raw)
        else:
            with pytest.raises(DecodeError):
                chain_gateway_pb2.GetTaskRequest.FromString(raw)
