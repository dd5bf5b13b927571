"""A node that answers something else than was asked: nothing but domain errors, from the gateway's client and from `verify`'s alike."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from quirky_node import QuirkyNode

from linklearner.chain.contracts import POOL, TOKEN
from linklearner.chain.history import History
from linklearner.domain.errors import DataLoss, LinkLearnerError, Unavailable
from services.chain_gateway.chain import Call, Chain
from tests.services.chain_gateway.conftest import World

ODD: list[Any] = [
    None, True, -1, 1.5, 10**90, "", "0x", "0x0", "0xzz", "-0x1", "0x１", "0x" + "f" * 65, "0x" + "ab" * 20, "0x" + "ab" * 32,
    [], [None], [[]], ["0x"], {}, {"a": 1}, [{}],
]  # fmt: skip
ERRORS: list[str] = [
    "invalid nonce; got 5, expected ²: x",
    "invalid nonce; got 5, expected " + "9" * 5000 + ": x",
    "x" * 100_000,
]


def places(answer: Any, depth: int = 3) -> list[tuple[Any, ...]]:
    """The whole, its fields, those of its first item, and so on."""
    found: list[tuple[Any, ...]] = [()]
    if depth and isinstance(answer, dict | list):
        inner = answer.items() if isinstance(answer, dict) else list(enumerate(answer))[:1]
        found += [(key, *rest) for key, value in inner for rest in places(value, depth - 1)]
    return found


def put(answer: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy: Any = dict(answer) if isinstance(answer, dict) else list(answer)
    copy[place[0]] = put(copy[place[0]], place[1:], value)
    return copy


def without(answer: Any, place: tuple[Any, ...]) -> Any:
    copy: Any = dict(answer) if isinstance(answer, dict) else list(answer)
    if len(place) == 1:
        del copy[place[0]]
    else:
        copy[place[0]] = without(copy[place[0]], place[1:])
    return copy


async def every_odd_answer(node: QuirkyNode, ask: Callable[[], Awaitable[object]]) -> int:
    """Asks once for each method that `ask` uses, place in its answer and odd value. Raises whatever is no domain error."""
    plain: dict[str, Any] = {}

    def note(method: str, result: Any) -> Any:
        plain.setdefault(method, result)
        return result

    node.alter = note
    await ask()
    tried = 0
    for method, answer in plain.items():
        altered = [put(answer, place, value) for place in places(answer) for value in ODD]
        altered += [without(answer, place) for place in places(answer) if place and isinstance(place[-1], str)]
        for given in altered:
            node.alter = lambda asked, result, given=given, method=method: given if asked == method else result  # type: ignore[misc]
            tried += 1
            try:
                await ask()
            except LinkLearnerError as error:
                assert len(error.message) < 3000
    node.alter = None
    await ask()
    return tried


@pytest.mark.parametrize(
    "name", ["head", "block", "nonce", "balance", "code", "price", "receipt", "transaction", "at", "raw", "logs"]
)
async def test_the_client_of_the_gateway(world: World, name: str) -> None:
    account = world.accounts[0]
    async with Chain.connect(world.node.url, (POOL, TOKEN), timeout_s=5) as chain:
        logs = await chain.logs([world.deployment.pool], 1, await chain.head_number())
        done = logs[-1].transaction_hash
        ask: dict[str, Callable[[], Awaitable[object]]] = {
            "head": chain.head,
            "block": lambda: chain.block_hash(1),
            "nonce": lambda: chain.nonce(account),
            "balance": lambda: chain.balance(account),
            "code": lambda: chain.code(world.deployment.pool),
            "price": chain.price,
            "receipt": lambda: chain.receipt(done),
            "transaction": lambda: chain.transaction(done),
            "at": lambda: chain.transaction_at(account, 0, 1, logs[-1].block_number),
            "raw": lambda: chain.raw_transaction(done),
            "logs": lambda: chain.logs([world.deployment.pool], 1, logs[-1].block_number),
        }
        assert await every_odd_answer(world.node, ask[name]) >= len(ODD)


async def test_what_a_call_gives(world: World) -> None:
    async with Chain.connect(world.node.url, (POOL, TOKEN), timeout_s=5) as chain:
        await every_odd_answer(world.node, lambda: chain.ask(world.accounts[0], Call(world.accounts[0], b"\1")))


@pytest.mark.parametrize("message", ERRORS)
async def test_what_a_node_says_of_a_transaction(world: World, message: str) -> None:
    world.node.lie_about_sends = [(False, message)]
    async with Chain.connect(world.node.url, (POOL, TOKEN), timeout_s=5) as chain:
        with pytest.raises(LinkLearnerError) as refused:
            await chain.send(b"\1\2")
    assert len(refused.value.message) < 3000


async def test_the_client_of_verify(world: World) -> None:
    async def read() -> None:
        async with History(world.node.url, world.deployment.pool, world.deployment.block) as found:
            await found.chain_id()
            async for _ in found.events():
                pass

    assert await every_odd_answer(world.node, read) >= 4 * len(ODD)


@pytest.mark.parametrize("number", ["0x" + "ab" * 20, "0x7fffffffffffffff", "-0x1", "0x１", "0x_1", " 0x1", "12"])
async def test_verify_asks_for_no_blocks_that_no_chain_has(world: World, number: str) -> None:
    world.node.alter = lambda method, result: number if method == "eth_blockNumber" else result
    async with History(world.node.url, world.deployment.pool, world.deployment.block) as found:
        with pytest.raises((DataLoss, Unavailable)):
            async for _ in found.events():
                pass
