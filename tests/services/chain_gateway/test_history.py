"""A pool's history over a chain with real rounds on it (made by a gateway, hence here): what anybody needs to check everything."""

from collections import Counter
from dataclasses import replace
from typing import Any

import httpx
import pytest

from bench.proxy import Proxy
from devchain import Devchain
from linklearner.chain import history
from linklearner.chain.contracts import POOL, VAULT
from linklearner.chain.history import History
from linklearner.chain.profile import ARTELA, Profile
from linklearner.domain.errors import DataLoss, Divergence, InvalidConfig, Unavailable
from linklearner.domain.events import Event, StakeLocked
from services.chain_gateway.deploy import POT
from tests.services.chain_gateway.conftest import World, replayed
from tests.services.chain_gateway.quirky_node import QuirkyNode


async def two_rounds(world: World) -> None:
    async with world.gateway() as gateway:
        for version in (1, 2):
            await world.later(60)
            for who in (0, 1):
                await gateway.ledger.submissions.submit(
                    f"u{version}-{who}", world.accounts[who], world.update(version, seed=who)
                )
            await gateway.ledger.wallets.unlock(f"unlock-{version}", world.accounts[2], 1, 300)
            await gateway.ledger.settlements.settle(f"s{version}", world.accounts[0], 1, version)
            await world.later(2)
            await gateway.ledger.wallets.withdraw(f"withdraw-{version}", world.accounts[2], 1)


async def test_a_history_replays_to_the_weights_on_the_chain(world: World) -> None:
    await two_rounds(world)
    task = (await replayed(world)).tasks[1]
    async with world.gateway() as gateway:
        version, weights = await gateway.ledger.tasks.model(1, 0)
    assert (task.version, task.digest, task.weights.tobytes()) == (version.version, version.digest, weights)
    assert 0 < POT - task.pot <= 2 * world.task.terms.reward


async def test_small_ranges_give_the_same_events_in_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await two_rounds(world)

    async def read(profile: Profile = ARTELA) -> list[Event]:
        async with History(world.node.url, world.deployment.pool, world.deployment.block, profile) as found:
            return [event async for event in found.events()]

    whole = await read()
    monkeypatch.setattr(history, "BATCH", 2)
    assert await read(replace(ARTELA, log_blocks=3)) == whole
    monkeypatch.undo()
    world.node.log_limit = 5  # a node tells of so many events at once
    assert await read() == whole
    world.node.log_limit = 10_000
    kinds = Counter(type(event).__name__ for event in whole)
    assert kinds == {
        "TaskOpened": 1, "PotFunded": 1, "StakeLocked": 3, "WeightsLoaded": 1, "ModelUpdated": 3, "UpdateSubmitted": 4, "GroupSettled": 4,
        "StakeUnlocked": 2, "StakeWithdrawn": 2, "ContributionPaid": 4, "SettlerPaid": 2,
    }  # fmt: skip


@pytest.mark.parametrize("what", ["update", "settlement", "weights", "digest"])
async def test_a_node_that_alters_history_is_found_out(world: World, what: str) -> None:
    await two_rounds(world)
    function = {"update": "submit", "settlement": "settle", "weights": "loadPages"}.get(what)

    def alter(method: str, result: Any) -> Any:
        if function and method == "eth_getTransactionByHash" and result is not None:
            data = bytes.fromhex(result["input"][2:])
            if data and POOL.decode_call(data).name == function:
                at = len(data) - 40  # within the last page
                return result | {"input": "0x" + (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]).hex()}
        if what == "digest" and method == "eth_getLogs":
            topic = "0x" + POOL.topic("ModelUpdated").hex()
            return [
                log | {"data": "0x" + "11" * 32 + log["data"][66:]} if log["topics"][0] == topic else log
                for log in result
            ]
        return result

    async with QuirkyNode.start(world.devchain.url) as liar:
        await replayed(world, liar.url)  # as long as it tells the truth
        liar.alter = alter
        with pytest.raises(Divergence):
            await replayed(world, liar.url)


async def test_a_node_without_the_transactions_is_no_use(world: World) -> None:
    await two_rounds(world)
    world.node.alter = lambda method, result: None if method == "eth_getTransactionByHash" else result
    with pytest.raises(DataLoss, match="keeps its history"):
        await replayed(world)


async def test_who_is_not_there_or_is_no_node_is_told_apart(world: World) -> None:
    with pytest.raises(Unavailable):
        await replayed(world, "http://127.0.0.1:9")
    with pytest.raises(InvalidConfig):
        await replayed(world, "ftp://127.0.0.1")
    world.node.alter = lambda method, result: {"no": "number"}
    with pytest.raises(DataLoss):
        await replayed(world)


async def test_an_event_that_is_none_is_data_loss_to_reader_and_gateway(world: World) -> None:
    topic = "0x" + VAULT.topic("StakeLocked").hex()

    def cut(method: str, result: Any) -> Any:
        if method != "eth_getLogs":
            return result
        return [log | {"data": log["data"][:-2]} if log["topics"][0] == topic else log for log in result]

    world.node.alter = cut
    with pytest.raises(DataLoss):
        await replayed(world)
    async with world.gateway() as gateway:
        with pytest.raises(DataLoss):
            await gateway.ledger.events.sync()
        world.node.alter = None
        await gateway.ledger.events.sync()  # nothing of it was kept
        assert len(gateway.ledger.events.find(StakeLocked, 1)) == 3


async def test_a_history_is_read_through_an_endpoint_that_loses_calls(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two_rounds(world)
    monkeypatch.setattr(history, "BATCH", 1)  # many questions
    async with Proxy.start(world.devchain.url, loss=0.1, seed=3) as lossy:
        assert (await replayed(world, lossy.url, replace(ARTELA, log_blocks=2))).tasks[1].digest == (
            await replayed(world)
        ).tasks[1].digest
        assert sum(lossy.lost.values()) > 2


async def test_a_history_is_read_from_the_url_that_answers_and_from_one_chain_only(world: World) -> None:
    await two_rounds(world)
    async with QuirkyNode.start(world.devchain.url) as down, Devchain.start() as stranger:
        down.down = True
        urls = f"{down.url},{world.node.url}"
        assert (await replayed(world, urls)).tasks[1].digest == (await replayed(world)).tasks[1].digest
        with pytest.raises(InvalidConfig):
            await replayed(world, "http://127.0.0.1:9,ftp://x")
        mined = await ask(stranger.url, "evm_mine")
        assert "error" not in mined
        with pytest.raises(InvalidConfig, match="another chain"):
            await replayed(world, f"{world.node.url},{stranger.url}")


async def ask(url: str, method: str) -> Any:
    async with httpx.AsyncClient() as client:
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": []}
        return (await client.post(url, json=question)).json()


async def test_a_head_that_the_node_does_not_show_is_not_read_up_to(world: World) -> None:
    """Told once, it would be two hundred thousand questions for events."""
    async with History(world.node.url, world.deployment.pool, world.deployment.block) as history:
        known = await history.head()
        world.node.alter = lambda method, result: hex(2**31) if method == "eth_blockNumber" else result
        with pytest.raises(Unavailable, match="2147483648"):
            await history.head()
        world.node.alter = None
        assert await history.head() == known
