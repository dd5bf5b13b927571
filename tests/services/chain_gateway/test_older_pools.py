"""A pool whose Aspect does not demand canonical calldata: what it took is read, settled, paid and verified all the same.

One such submission, for 0.1 $LL of stake, once ended its round for every gateway, for GetRound and for verify.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from linklearner import artifacts
from linklearner.chain.contracts import POOL
from linklearner.domain.errors import DataLoss, Refused
from linklearner.domain.replay import TaskReplay
from services.chain_gateway.chain import Call
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.outbox import Request, always
from tests.services.chain_gateway.conftest import World, copied, make_deployment, replayed

LENIENT = Path(__file__).parents[2] / "data/aspects/lenient-aggregator.wasm"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("older")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "aspect", lambda name: LENIENT.read_bytes())
        asyncio.run(make_deployment(folder))
    return folder


@pytest.fixture
async def older_world(older: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with copied(older, tmp_path) as world:
        yield world


def dirty(data: bytes) -> bytes:
    """Something in the padding of the header."""
    header = 4 + int.from_bytes(data[4 + 64 : 4 + 96], "big")
    end = header + 32 + int.from_bytes(data[header : header + 32], "big")
    assert end % 32 != 4
    return data[:end] + b"\x5a" + data[end + 1 :]


def cut_off(data: bytes) -> bytes:
    """Without the padding at the end."""
    groups = 4 + int.from_bytes(data[4 + 96 : 4 + 128], "big") + 32
    last = groups + int.from_bytes(data[groups + 32 : groups + 64], "big")
    end = last + 32 + int.from_bytes(data[last : last + 32], "big")
    assert end < len(data)
    return data[:end]


def extended(data: bytes) -> bytes:
    return data + b"what comes last"


WAYS = [dirty, cut_off, extended]


async def submit_as(gateway: Gateway, world: World, who: int, way: Callable[[bytes], bytes]) -> None:
    call = await gateway.ledger.submissions.call(world.update(seed=who))
    request = Request(request_id=f"odd-{who}", account=world.accounts[who], kind="submit", contents=b"")
    await gateway.ledger._outbox.fulfil(request, always(Call(world.deployment.pool, way(call.data))))


async def verified(world: World) -> TaskReplay:
    return (await replayed(world)).tasks[1]


async def test_a_round_with_odd_calldata_is_read_settled_paid_and_verified(older_world: World) -> None:
    world = older_world
    async with world.gateway() as gateway:
        for who, way in enumerate(WAYS):
            await submit_as(gateway, world, who, way)
        told = await gateway.ledger.queries.round(1, 1)
        assert [one.contributor for one in told.contributions] == list(world.accounts)
        assert {one.update_bytes for one in told.contributions} == {len(world.update())}
        await world.later(2)
        settled = await gateway.ledger.settlements.settle("settle", world.accounts[0], 1, 1)
        assert (settled.version.version, settled.version.accepted_count) == (2, 3)
        told = await gateway.ledger.queries.round(1, 1)
        assert all(one.paid for one in told.contributions)
        _, weights = await gateway.ledger.tasks.model(1, 2)
    task = await verified(world)
    assert (task.version, task.weights.tobytes()) == (2, weights)


@pytest.mark.parametrize("way", WAYS)
async def test_today_s_pool_refuses_it_with_the_reason(world: World, way: Callable[[bytes], bytes]) -> None:
    async with world.gateway() as gateway:
        with pytest.raises(Refused, match="canonical") as refused:
            await submit_as(gateway, world, 0, way)
        assert refused.value.reason == "BadCalldata"
        await submit_as(gateway, world, 1, bytes)
        assert [one.contributor for one in (await gateway.ledger.queries.round(1, 1)).contributions] == [
            world.accounts[1]
        ]


def telling(calldata: object) -> Callable[[str, Any], Any]:
    """A node that tells this calldata of every submission."""

    def alter(method: str, result: Any) -> Any:
        if method != "eth_getTransactionByHash" or not result["input"].startswith("0x" + POOL.selector("submit").hex()):
            return result
        return result | {"input": calldata}

    return alter


HALF = POOL.encode_call("submit", 1, bytes(32), b"header", [b"group"])[:150].hex()


@pytest.mark.parametrize("calldata", ["0x", "0x01020304", "0x" + POOL.encode_call("drop", 1).hex(), "0x" + HALF])
async def test_a_node_that_tells_other_calldata_gets_an_answer_and_no_traceback(world: World, calldata: str) -> None:
    """For a transaction that made an update: DataLoss, from the gateway and from verify."""
    async with world.gateway() as gateway:
        await submit_as(gateway, world, 0, bytes)
        world.node.alter = telling(calldata)
        with pytest.raises(DataLoss):
            await gateway.ledger.queries.round(1, 1)
        with pytest.raises(DataLoss):
            await gateway.ledger.settlements.of_group(1, 1, 0)
    with pytest.raises(DataLoss):
        await verified(world)


@pytest.mark.parametrize("calldata", [7, None, "0xzz", [], {}])
async def test_calldata_that_is_not_even_hexadecimal_is_data_loss_to_verify(world: World, calldata: object) -> None:
    async with world.gateway() as gateway:
        await submit_as(gateway, world, 0, bytes)
    world.node.alter = telling(calldata)
    with pytest.raises(DataLoss):
        await verified(world)
