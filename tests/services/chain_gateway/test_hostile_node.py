"""A node that answers with bytes meant to kill whoever reads them."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from google.protobuf.message import DecodeError

from bench.proxy import posted_to
from linklearner.chain import history
from linklearner.chain.contracts import POOL
from linklearner.chain.history import History
from linklearner.domain.errors import DataLoss, InvalidConfig, LinkLearnerError, Unavailable
from linklearner.domain.events import UpdateAccepted
from linklearner.suite import Suite
from linklearner.v1 import chain_gateway_pb2
from services.chain_gateway import provider
from services.chain_gateway.chain import Call, Chain
from services.chain_gateway.deploy import TaskPlan
from services.chain_gateway.deployment import Deployment
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.outbox.store import OutboxStore
from tests.services.chain_gateway.conftest import World

DEEP = b"[" * 160_000


@contextlib.asynccontextmanager
async def node(answer: Callable[[object], bytes], headers: dict[str, str] | None = None) -> AsyncIterator[str]:
    """The URL of a node that answers with whatever bytes."""

    async def post(request: web.Request) -> web.Response:
        body = answer(await request.json())
        return web.Response(body=body, content_type="application/json", headers=headers)

    async with posted_to(post) as url:
        yield url


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
    monkeypatch.setattr(provider, "ANSWER_BYTES", 1_000_000)
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


RECEIPT, BLOCK, TRANSACTION = "eth_getTransactionReceipt", "eth_getBlockByNumber", "eth_getTransactionByHash"
JUNK: tuple[object, ...] = (None, True, -1, 2**64, "", "0xzz", "0x" + "f" * 65, [], [None], {}, "0x" + "00" * 31)


def misshapen(answer: dict[str, Any]) -> list[object]:
    """The answer with each of its fields missing, and each of them replaced by everything it should not be."""
    found: list[object] = [None, 7, "0x", [], [answer], {}]
    for name in answer:
        found.append({key: value for key, value in answer.items() if key != name})
        found += [answer | {name: junk} for junk in JUNK]
    return found


async def tried(asked: Callable[[], Awaitable[object]]) -> None:
    """An answer or an error of ours; anything else is a traceback in somebody's log and a call that ends in UNKNOWN."""
    with contextlib.suppress(LinkLearnerError):
        await asked()


@pytest.mark.parametrize("method", [RECEIPT, TRANSACTION, BLOCK, "eth_getLogs", "eth_chainId"])
async def test_no_answer_of_a_node_is_a_traceback_of_the_gateway(world: World, method: str) -> None:
    async with world.gateway() as gateway:
        mined = (await gateway.ledger.submissions.submit("u", world.accounts[0], world.update())).mined
    block = mined.block
    async with Chain.connect(world.node.url) as chain:
        questions: dict[str, list[Callable[[], Awaitable[object]]]] = {
            RECEIPT: [lambda: chain.receipt(mined.transaction)],
            TRANSACTION: [
                lambda: chain.transaction(mined.transaction),
                lambda: chain.raw_transaction(mined.transaction),
            ],
            BLOCK: [
                chain.head,
                lambda: chain.block_hash(block),
                lambda: chain.transaction_at(world.accounts[0], 1, block, block),
            ],
            "eth_getLogs": [lambda: chain.logs([world.deployment.pool], block, block)],
            "eth_chainId": [
                lambda: chain.price(),
                lambda: chain.balance(world.accounts[0]),
                lambda: chain.nonce(world.accounts[0]),
                lambda: chain.code(world.deployment.pool),
                lambda: chain.call(world.deployment.pool, b""),
                lambda: chain.estimate(world.accounts[0], Call(world.accounts[1])),
            ],
        }
        for asked in questions[method]:
            truth: list[Any] = []
            world.node.alter = lambda method, result, truth=truth: truth.append(result) or result  # type: ignore[misc]
            await tried(asked)
            answer = truth[-1] if truth else "0x1"
            if isinstance(answer, list):
                lies: list[object] = [*JUNK, *([one] for one in misshapen(answer[0]))]
            else:
                lies = misshapen(answer) if isinstance(answer, dict) else list(JUNK)
            for lie in lies:
                world.node.alter = lambda method, result, lie=lie: lie  # type: ignore[misc]
                await tried(asked)


async def test_a_receipt_without_its_status_is_no_verdict(world: World) -> None:
    async with world.gateway() as gateway:
        mined = (await gateway.ledger.submissions.submit("u", world.accounts[0], world.update())).mined
    async with Chain.connect(world.node.url) as chain:
        for lie in ({}, {"status": "0x2"}, {"status": None}, {"logs": [{}]}, {"logs": None}, {"gasUsed": hex(2**63)}):
            world.node.alter = lambda method, result, lie=lie: (  # type: ignore[misc]
                {key: value for key, value in result.items() if key != "status"} | lie if method == RECEIPT else result
            )
            with pytest.raises(Unavailable, match="does not answer as a JSON-RPC node does"):
                await chain.receipt(mined.transaction)


@pytest.mark.parametrize(
    "lie",
    [{"topics": None}, {"topics": [5]}, {"data": "0x0"}, {"blockNumber": None}, {"blockNumber": "0xffffff"},
     {"logIndex": "x"}, {"transactionHash": "0x"}, {"address": "0x" + "01" * 20}, {"address": 5}],
    ids=str,
)  # fmt: skip
async def test_a_log_that_does_not_fit_stops_reader_and_index_with_a_sentence(
    world: World, lie: dict[str, object]
) -> None:
    world.node.alter = lambda method, result: [one | lie for one in result] if method == "eth_getLogs" else result
    async with History(world.node.url, world.deployment.pool, world.deployment.block) as read:
        with pytest.raises(DataLoss):
            async for _ in read.events():
                pass
    async with world.gateway() as gateway:
        with pytest.raises((Unavailable, DataLoss)):  # web3 makes a byte of half a byte
            await gateway.ledger.events.sync()


@pytest.mark.parametrize("lie", JUNK, ids=repr)
async def test_nothing_that_a_node_answers_is_a_traceback_of_verify(world: World, lie: object) -> None:
    for method in ("eth_blockNumber", "eth_getLogs", TRANSACTION):
        world.node.alter = lambda asked, result, method=method: lie if asked == method else result  # type: ignore[misc]
        with contextlib.suppress(LinkLearnerError):
            async with History(world.node.url, world.deployment.pool, world.deployment.block) as read:
                async for _ in read.events():
                    pass


async def test_calldata_of_another_update_is_not_handed_in_again(world: World) -> None:
    """A settlement made of it would fail, at the settler's cost; one with fewer groups was an IndexError."""
    async with world.gateway() as gateway:
        await gateway.ledger.submissions.submit("u", world.accounts[0], world.update())

    def cut(method: str, result: Any) -> Any:
        if method != TRANSACTION or not result:
            return result
        call = POOL.decode_call(bytes.fromhex(result["input"][2:]))
        if call.name != "submit":
            return result
        values = call.values
        data = POOL.encode_call(
            "submit", values["task"], values["digest"], values["header"], list(values["groups"][:1])
        )
        return result | {"input": "0x" + data.hex()}

    world.node.alter = cut
    async with world.gateway() as gateway:
        await gateway.ledger.events.sync()
        with pytest.raises(DataLoss, match="digest"):
            await gateway.ledger.settlements.of_group(1, 1, 1)


async def test_a_shape_that_no_task_can_have_is_the_node_s_fault_and_not_the_caller_s(world: World) -> None:
    shape = world.task.shape.encode().hex()

    def alter(method: str, result: Any) -> Any:
        if method != "eth_getLogs":
            return result
        return [one | {"data": one["data"].replace(shape, "ff" * (len(shape) // 2))} for one in result]

    world.node.alter = alter
    async with world.gateway() as gateway:
        with pytest.raises(DataLoss, match="shape"):
            await gateway.ledger.tasks.task(1)
        with pytest.raises(DataLoss, match="shape"):
            await gateway.ledger.submissions.submit("u", world.accounts[0], world.update())


@pytest.mark.parametrize("ahead", [1, 2, 50, 1_000_000])
async def test_the_index_does_not_go_past_blocks_that_are_not_there(world: World, ahead: int) -> None:
    """A node that tells once of a block to come, and of no events up to there: what happens there later must be read all the same."""
    lies = 1

    def lie(method: str, result: Any) -> Any:
        nonlocal lies
        if method != BLOCK or not lies:
            return result
        lies -= 1
        return result | {"number": hex(int(result["number"], 16) + ahead)}

    async with world.gateway() as gateway:
        events = gateway.ledger.events
        for job in gateway.jobs:
            job.cancel()  # only what is asked for here looks
        known = await events.sync()
        world.node.alter = lie
        with contextlib.suppress(Unavailable):
            await events.sync()
        assert not lies and events.cursor == known
        await gateway.ledger.submissions.submit("u", world.accounts[0], world.update())
        await events.sync()
        assert len(events.find(UpdateAccepted, 1)) == 1


class FarBlock:
    """Says of the first block that is asked for that it has a number which the chain is far from."""

    shown = False

    def __call__(self, method: str, result: Any) -> Any:
        if method == BLOCK and not self.shown:
            self.shown = True
            return result | {"number": hex(10**6)}
        return result


async def test_a_head_told_once_and_not_there_is_not_the_newest_from_then_on(world: World) -> None:
    async with world.gateway() as gateway:
        world.node.alter = FarBlock()
        head = await gateway.ledger.events.sync()
        assert head < 1000 and gateway.ledger.chain.heads.number < 1000


async def test_an_outbox_is_not_bound_to_a_block_that_is_not_there(world: World) -> None:
    """Above it, its transactions would be looked for and never found; at the next start the file would be another chain's."""
    async with Chain.connect(world.node.url) as chain:
        world.node.alter = far = FarBlock()
        with OutboxStore.open(world.folder / "another.sqlite") as store:
            await store.check_chain(world.folder / "another.sqlite", chain)
            bound = store.first_block()
            assert far.shown and bound is not None and bound < 1000


async def test_a_receipt_of_a_block_that_is_not_there_is_not_written_down(world: World) -> None:
    """It would be the request's end for good, and whoever repeats the request would wait for that block."""
    lies = 1

    def lie(method: str, result: Any) -> Any:
        nonlocal lies
        if method != RECEIPT or not lies or result is None:
            return result
        lies -= 1
        return result | {"blockNumber": hex(10**6)}

    async with world.gateway() as gateway:
        submissions = gateway.ledger.submissions
        world.node.alter = lie
        first = await submissions.submit("u", world.accounts[0], world.update())
        assert not lies and first.mined.block < 1000
        again = await submissions.submit("u", world.accounts[0], world.update())
        assert again.mined == first.mined
        await gateway.ledger.events.sync(again.mined.block)
