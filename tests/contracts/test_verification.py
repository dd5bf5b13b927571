"""`verify` over a real chain's JSON-RPC, honest and with a node that lies about one thing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devchain.rpc.codec import RpcError
from devchain.rpc.methods import Methods
from linklearner.chain.contracts import POOL, TOKEN
from linklearner.chain.endpoints import Reply
from linklearner.chain.history import History
from linklearner.domain import events
from linklearner.domain.errors import DataLoss, NotFound
from linklearner.domain.notation import LL_WEI
from linklearner.output import Format
from linklearner.verification import HistoryOf, verified
from tests.contracts.task_chain import GENESIS, PER_SECOND, TaskChain, address_of
from tests.contracts.test_replay import lived

Lie = Callable[[str, list[Any], Any], Any]


@pytest.fixture(scope="module")
def world() -> Iterator[TaskChain]:
    world = lived()
    yield world
    world.chain.close()


@pytest.fixture
def node(world: TaskChain, monkeypatch: pytest.MonkeyPatch) -> Callable[[Lie], None]:
    """History asks the chain itself; a lie makes another answer of an honest one."""
    methods = Methods(world.chain, accounts=(), instant=True)

    def lying(lie: Lie) -> None:
        async def post(self: History, url: str, body: bytes, seconds: float) -> Reply:
            asked = json.loads(body)
            answers = []
            for one in asked if isinstance(asked, list) else [asked]:
                try:
                    told = lie(one["method"], one["params"], methods(one["method"], one["params"]))
                    answers.append({"jsonrpc": "2.0", "id": one["id"], "result": told})
                except RpcError as error:
                    answers.append(
                        {"jsonrpc": "2.0", "id": one["id"], "error": {"code": error.code, "message": str(error)}}
                    )
            return Reply(200, json.dumps(answers if isinstance(asked, list) else answers[0]).encode(), "")

        monkeypatch.setattr(History, "_post", post)

    lying(lambda method, params, told: told)
    return lying


def what(world: TaskChain, **changes: Any) -> HistoryOf:
    values = {"rpc_url": "http://127.0.0.1:1", "pool": world.pool, "from_block": 0, "task": 1} | changes
    return HistoryOf(**values)


@pytest.mark.usefixtures("node")
async def test_the_history_over_json_rpc_is_the_chain_s(world: TaskChain) -> None:
    async with History("http://127.0.0.1:1", world.pool, 0) as history:
        found = [event async for event in history.events()]
        deployment = history.deployment
    assert found == world.history()
    assert deployment is not None
    assert (deployment.genesis, deployment.time_s) == (GENESIS, world.emission().start_s)
    assert {type(event) for event in found} >= {events.StakeLocked, events.FeesShared, events.TaskClosed}


@pytest.mark.usefixtures("node")
async def test_verify_reports_all_totals(world: TaskChain) -> None:
    report = await verified(what(world), Format.JSON)
    assert report["equal"] and report["newest_version"] == world.status(1)["version"]
    assert report["supply_wei"] == str(GENESIS + 105 * PER_SECOND) == str(world.number(TOKEN, "totalSupply"))
    assert report["granted_wei"] == report["emitted_wei"] == str(105 * PER_SECOND)
    assert report["earned_wei"] == str(sum(world.number(POOL, "earnedBy", 1, address_of(who)) for who in range(9)))
    assert report["pool_stray_wei"] == report["vault_stray_wei"] == "0"
    assert int(report["pool_owes_wei"]) + int(report["pool_dust_wei"]) == world.balance(world.pool)
    assert 0 <= int(report["pool_dust_wei"]) < 100


@pytest.mark.usefixtures("node")
async def test_what_anybody_transfers_to_the_pool_stops_no_verification(world: TaskChain) -> None:
    head = world.chain.head.number
    world.call(5, TOKEN, "transfer", world.pool, 3 * LL_WEI)
    try:
        assert (await verified(what(world), Format.JSON))["pool_stray_wei"] == str(3 * LL_WEI)
    finally:
        world.chain.rewind(head)


@pytest.mark.usefixtures("node")
async def test_a_history_begins_with_the_deployment(world: TaskChain) -> None:
    with pytest.raises(NotFound, match="deployed"):
        await verified(what(world, from_block=world.history()[0].block), Format.JSON)
    with pytest.raises(NotFound, match="no contract"):
        await verified(what(world, pool=bytes(20)), Format.JSON)
    with pytest.raises(NotFound, match="no task 9"):
        await verified(what(world, task=9), Format.JSON)


def block(**changes: Any) -> Lie:
    return lambda method, params, told: told | changes if method == "eth_getBlockByNumber" else told


def pruned(method: str, params: list[Any], told: Any) -> Any:
    """Only the newest blocks are there."""
    return None if method == "eth_getBlockByNumber" and int(told["number"], 16) < 40 else told


def later_blocks_are_earlier(method: str, params: list[Any], told: Any) -> Any:
    if method != "eth_getBlockByNumber":
        return told
    return told | {"timestamp": hex(2_000_000_000 - int(told["number"], 16))}


def a_pool_event_by_the_vault(method: str, params: list[Any], told: Any) -> Any:
    if method != "eth_getLogs" or len(told) < 9:
        return told
    pool = told[0]["address"]
    vault = next(one["address"] for one in told if one["address"] != pool)
    swapped = {pool: vault, vault: pool}
    return [*told[:8], *(one | {"address": swapped[one["address"]]} for one in told[8:])]


def poorer(method: str, params: list[Any], told: Any) -> Any:
    """One wei is missing from any balance."""
    balance = "0x" + TOKEN.selector("balanceOf").hex()
    if method != "eth_call" or not params[0]["data"].startswith(balance):
        return told
    return "0x" + (int(told, 16) - 1).to_bytes(32, "big").hex()


def richer(name: str) -> Lie:
    def lie(method: str, params: list[Any], told: Any) -> Any:
        if method != "eth_call" or not params[0]["data"].startswith("0x" + TOKEN.selector(name).hex()):
            return told
        return "0x" + (int(told, 16) + 1).to_bytes(32, "big").hex()

    return lie


@pytest.mark.parametrize(
    "lie",
    [
        block(number="0x1"),
        block(hash="0x" + "01" * 32),
        block(timestamp=hex(2**32)),
        block(timestamp="soon"),
        pruned,
        later_blocks_are_earlier,
        a_pool_event_by_the_vault,
        poorer,
        richer("totalSupply"),
        richer("emitted"),
        richer("emissionStart"),
    ],
    ids=[
        "number", "hash", "time beyond 2106", "no time", "pruned", "backwards", "contracts swapped", "balance", "supply",
        "emitted", "start",
    ],
)  # fmt: skip
async def test_a_node_that_lies_is_data_loss(world: TaskChain, node: Callable[[Lie], None], lie: Lie) -> None:
    node(lie)
    with pytest.raises(DataLoss):
        await verified(what(world), Format.JSON)
