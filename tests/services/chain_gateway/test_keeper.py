"""Rounds settle by themselves: once, by whoever is there."""

import asyncio
import sqlite3
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devchain import Devchain
from linklearner.chain.contracts import CONTRACTS
from linklearner.domain.digest import weight_bytes
from linklearner.domain.errors import DataLoss, Refused
from linklearner.domain.rounds import BPS
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.tasks import Task
from linklearner.domain.update import Update
from services.chain_gateway import keeper as keeper_module
from services.chain_gateway.chain import Chain
from services.chain_gateway.config import GatewayConfig
from services.chain_gateway.deploy import DeploymentPlan, deploy
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.keeper import TURNS, Keeper, turns
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.opening import NewTask
from tests.seams.chain import extended
from tests.seams.median_of_signs import MEDIAN_OF_SIGNS
from tests.seams.one_bit import ONE_BIT
from tests.services.chain_gateway.conftest import (
    HURRY,
    ROUND_SECONDS,
    World,
    keystore_of,
    make_deployment,
    small_task,
    world_in,
)


async def gateways(stack: AsyncExitStack, world: World) -> list[Gateway]:
    """One for each contributor, each with its own key and its own outbox."""
    started = []
    for who, account in enumerate(world.accounts):
        gateway = world.gateway(keystore=world.keystore_with(account), outbox=world.folder / f"outbox-{who}.sqlite")
        started.append(await stack.enter_async_context(gateway))
    return started


async def version_of(gateway: Gateway) -> int:
    return (await gateway.ledger.tasks.task(1)).version


async def until_version(gateway: Gateway, version: int, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while await version_of(gateway) < version:
            await asyncio.sleep(0.05)


async def contribute(world: World, gateways: list[Gateway], version: int = 1) -> None:
    for who in (0, 1):
        update = world.update(version, seed=who)
        await gateways[who].ledger.submissions.submit(f"u{version}", world.accounts[who], update)


async def test_several_gateways_settle_a_round_once(world: World) -> None:
    async with AsyncExitStack() as stack:
        await world.later(2)  # the round may end: nobody has to make a block for that
        served = await gateways(stack, world)
        keepers = [asyncio.create_task(Keeper(gateway.ledger, turn_s=2.0).run()) for gateway in served]
        await contribute(world, served)
        await until_version(served[0], 2, within_s=30)
        await asyncio.sleep(0.5)
        chain = served[0].ledger.chain
        sent = [await chain.nonce(account) for account in world.accounts]
        assert (
            sum(sent) == 3 + 2 + 2
        )  # locks, updates, and one settlement of two groups: nobody paid for coming too late
        for keeper in keepers:
            keeper.cancel()


async def test_the_next_gateway_settles_when_the_first_is_gone(world: World) -> None:
    async with AsyncExitStack() as stack:
        served = await gateways(stack, world)
        await contribute(world, served)
        task = await served[0].ledger.tasks.task(1)
        for gateway in served:
            await gateway.ledger.events.sync()
        turns = {round(Keeper(gateway.ledger, turn_s=1.0)._turn(task, 0.0)[0]): gateway for gateway in served}
        assert sorted(turns) == [0, 1, 2]  # everybody computes the same order; who took no part comes last
        assert turns[2] is served[2]
        later = asyncio.create_task(Keeper(turns[1].ledger, turn_s=0.5).run())  # the one before it is gone
        await until_version(turns[1], 2, within_s=30)
        history = await turns[1].ledger.queries.round(1, 1)
        assert history.settler == turns[1].ledger.accounts[0]
        later.cancel()


async def test_nothing_is_settled_before_its_time(world: World) -> None:
    async with AsyncExitStack() as stack:
        served = await gateways(stack, world)
        keeper = asyncio.create_task(Keeper(served[0].ledger, turn_s=0.1).run())
        await served[0].ledger.submissions.submit("u", world.accounts[0], world.update())
        await asyncio.sleep(1.0)
        assert await version_of(served[0]) == 1
        keeper.cancel()


async def test_a_round_that_stays_short_of_its_quorum_is_settled_when_its_time_is_up(
    world: World, monkeypatch: object
) -> None:
    async with AsyncExitStack() as stack:
        served = await gateways(stack, world)
        await served[0].ledger.submissions.submit("u", world.accounts[0], world.update())
        await world.devchain.thread.run(world.devchain.chain.increase_time, ROUND_SECONDS + 1)
        await served[2].ledger.wallets.transfer_coin(
            "block", world.accounts[2], world.accounts[2], 0
        )  # somebody makes a block
        head = await served[0].ledger.chain.head()
        keeper = asyncio.create_task(Keeper(served[0].ledger, turn_s=0.1, clock=lambda: head.time_s + 1.0).run())
        await until_version(served[0], 2, within_s=30)
        keeper.cancel()


async def test_one_gateway_that_settles_by_itself_needs_no_asking(world: World) -> None:
    async with world.gateway(auto_settle=True) as gateway:
        for version in (1, 2):
            for who in (0, 1):
                await gateway.ledger.submissions.submit(
                    f"u{version}-{who}", world.accounts[who], world.update(version, seed=who)
                )
            await until_version(gateway, version + 1, within_s=30)


async def test_an_account_without_coin_leaves_the_settling_to_another(world: World) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        for who in (0, 1):
            await ledger.submissions.submit(f"u{who}", world.accounts[who], world.update(seed=who))
        await ledger.events.sync()
        _, first = Keeper(ledger)._turn(await ledger.tasks.task(1), 0.0)
        coin = (await ledger.wallets.balance(first, 0)).coin
        price = await ledger.chain.price()
        await ledger.wallets.transfer_coin("all of it", first, bytes(19) + b"\x77", coin - 21_000 * 2 * price)
        keeper = asyncio.create_task(Keeper(ledger, turn_s=0.1).run())
        await until_version(gateway, 2, within_s=20)
        assert (await ledger.queries.round(1, 1)).settler != first
        keeper.cancel()


async def test_a_round_that_no_block_can_settle_is_dropped_when_its_time_has_come(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger

        async def too_large(*arguments: object) -> None:
            raise Refused("no block holds it", reason="GasLimitTooHigh")

        monkeypatch.setattr(ledger.settlements, "settle", too_large)
        monkeypatch.setattr(keeper_module, "SLOW_RETRY_S", 0.1)
        for who in (0, 1):
            await ledger.submissions.submit(f"u{who}", world.accounts[who], world.update(seed=who))
        # the settlement's own bytes are too many
        ledger.chain.profile = replace(ledger.chain.profile, transaction_bytes=1100)
        task = await ledger.tasks.task(1)
        times = [task.round.first_update_s + world.task.terms.drop_seconds - 2.0]
        keeper = asyncio.create_task(Keeper(ledger, turn_s=0.0, clock=lambda: times[-1]).run())
        await asyncio.sleep(0.5)
        assert (await ledger.queries.round(1, 0)).round == 1  # not before its time
        times.append(times[-1] + 3.0)
        await world.devchain.thread.run(world.devchain.chain.increase_time, world.task.terms.drop_seconds + 1)
        await ledger.wallets.unlock("an event wakes the keeper", world.accounts[2], 1, 1)
        async with asyncio.timeout(20):
            while not (await ledger.queries.round(1, 1)).dropped:
                await asyncio.sleep(0.05)
        dropped = await ledger.queries.round(1, 1)
        assert (dropped.version, dropped.base_version, len(dropped.contributions)) == (None, 1, 2)
        assert {one.paid for one in dropped.contributions} == {None}
        keeper.cancel()


async def test_a_half_merged_round_whose_rest_fits_no_block_is_dropped_and_is_a_version(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first group is merged by a transaction; what our own computation says of the second one is that no block holds it."""
    monkeypatch.setattr(keeper_module, "SLOW_RETRY_S", 0.1)
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        gas_of = ledger.settlements._gas

        async def too_dear(data: bytes, task: int, number: int, group: int, *rest: Any) -> int | None:
            if number == 1 and group == 1:
                raise Refused("no block holds it", reason="GasLimitTooHigh")
            return await gas_of(data, task, number, group, *rest)

        monkeypatch.setattr(ledger.settlements, "_gas", too_dear)
        updates = [world.update(seed=who) for who in (0, 1)]
        for who in (0, 1):
            await ledger.submissions.submit(f"u{who}", world.accounts[who], updates[who])
        await world.later(world.task.terms.min_round_seconds)
        task = await ledger.tasks.task(1)
        times = [task.round.first_update_s + world.task.terms.drop_seconds - 2.0]
        keeper = asyncio.create_task(Keeper(ledger, turn_s=0.0, clock=lambda: times[-1]).run())
        async with asyncio.timeout(20):
            while (await ledger.tasks.task(1)).round.merged_groups != 1:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        assert (await ledger.queries.round(1, 0)).round == 1  # not before its time
        times.append(times[-1] + 3.0)
        await world.devchain.thread.run(world.devchain.chain.increase_time, world.task.terms.drop_seconds + 1)
        await ledger.wallets.unlock("an event wakes the keeper", world.accounts[2], 1, 1)
        await until_version(gateway, 2, within_s=20)
        dropped = await ledger.queries.round(1, 1)
        assert dropped.dropped and {one.paid for one in dropped.contributions} == {None}
        # what it is a version of: the first group merged, the second one as it was
        shape = world.task.shape
        (_, before), (_, after) = [await ledger.tasks.model(1, version) for version in (1, 2)]
        merged = MEAN.merge(
            np.frombuffer(before, "<i2").astype(np.int16),
            [
                Contribution(
                    one.contributor, one.weight, one.effective, update.within(shape.group_page_range(0), shape)
                )
                for one, update in zip(
                    dropped.contributions, (Update.decode(data, shape) for data in updates), strict=True
                )
            ],
            task.round.eligible,
            shape,
        )
        assert after == weight_bytes(merged.weights) != before
        # and the next round goes on from there
        for who in range(3):
            await ledger.submissions.submit(f"v{who}", world.accounts[who], world.update(2, seed=who))
        await world.later(world.task.terms.min_round_seconds)
        times.append(times[-1] + 10**6)
        await until_version(gateway, 3, within_s=20)
        keeper.cancel()


async def test_a_time_that_a_node_tells_once_neither_drops_a_round_nor_keeps_it_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of doubt are hours of our own clock, and so are turns. Else one lie about the newest block's time takes everybody's pay."""
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        for who in (0, 1):
            await ledger.submissions.submit(f"u{who}", world.accounts[who], world.update(seed=who))
        await world.later(world.task.terms.drop_seconds + 1)
        await ledger.events.sync()
        for job in gateway.jobs:
            job.cancel()  # nobody else looks at the newest block
        settle, head = ledger.settlements.settle, ledger.events.head
        assert head is not None
        told = {"lies": False}

        def lie(method: str, result: Any) -> Any:
            if told["lies"] and method == "eth_getBlockByNumber":
                return result | {"timestamp": hex(head.time_s + 10**9)}
            return result

        async def no_gas(*arguments: object) -> None:
            raise Refused("no block holds it", reason="GasLimitTooHigh")

        world.node.alter = lie
        monkeypatch.setattr(ledger.settlements, "settle", no_gas)
        keeper = Keeper(ledger, turn_s=0.0, clock=lambda: float(head.time_s))
        for told["lies"] in (False, True, False, True):
            await keeper._look()  # the doubt begins, and six hours of it do not pass
        assert (await ledger.queries.round(1, 0)).round == 1
        monkeypatch.setattr(ledger.settlements, "settle", settle)
        late = Keeper(ledger, turn_s=3.0, clock=lambda: float(head.time_s))
        await late._look()
        told["lies"] = False
        assert late._turn(await ledger.tasks.task(1), head.time_s + 3.0 * TURNS)[0] <= 0


async def test_a_round_that_nobody_may_take_part_in_gives_way_to_one_with_stake(
    tmp_path: Path, devchain: Devchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody locks only after the first round has opened without any stake: without an end of that round it would never count."""
    monkeypatch.setattr("services.chain_gateway.ledger.sending.STANDSTILL_S", 0.1)
    keys = tmp_path / "keys"
    password = Keystore.new_password(keys / "password")
    late = Keystore.create(keys, password, random_password=True)
    async with Chain.connect(devchain.url, CONTRACTS) as chain:
        await deploy(
            chain,
            keystore_of(devchain, 0),
            tmp_path / "deploy.sqlite",
            DeploymentPlan(task=small_task(), contributors=[late]),
            deployment_path=tmp_path / "deployment.json",
        )
    config = GatewayConfig(
        rpc_url=devchain.url, deployment=tmp_path / "deployment.json", keystore=keys, password_file=keys / "password",
        outbox=tmp_path / "outbox.sqlite", listen="127.0.0.1:0", auto_settle=False,
    )  # fmt: skip
    async with Gateway.start(config, patience=HURRY) as gateway:
        ledger = gateway.ledger
        task = await ledger.tasks.task(1)
        assert (task.round.round, task.round.eligible) == (1, 0)
        _, stake = await ledger.wallets.lock("late", late, 1, 500)
        keeper = Keeper(ledger, turn_s=0.0, clock=lambda: stake.matures_s - 1.5)
        assert 0 < await keeper._consider(1) <= 2.0
        assert (await ledger.tasks.task(1)).round.round == 1
        # nothing happens on the chain, whose clock stands still: ours is enough
        await asyncio.sleep(max(0.0, stake.matures_s - time.time()) + 0.1)
        assert await Keeper(ledger, turn_s=0.0)._consider(1) == 0.0
        task = await ledger.tasks.task(1)
        assert (task.round.round, task.round.eligible) == (2, 500)


@pytest.mark.parametrize("reason", ["GasLimitTooHigh", "TransactionTooLarge"])
async def test_no_node_s_word_alone_drops_a_round(world: World, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """A failing estimate and a proxy with a small body limit say the same of a settlement that others send without trouble."""
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        for who in (0, 1):
            await ledger.submissions.submit(f"u{who}", world.accounts[who], world.update(seed=who))
        task = await ledger.tasks.task(1)
        due = task.round.first_update_s + world.task.terms.drop_seconds + 10.0
        await world.devchain.thread.run(world.devchain.chain.increase_time, world.task.terms.drop_seconds + 10)
        times = [due]
        keeper = Keeper(ledger, turn_s=0.0, clock=lambda: times[-1])

        async def refused(*arguments: object) -> None:
            raise Refused("no block holds it", reason=reason)

        with monkeypatch.context() as patched:
            patched.setattr(ledger.settlements, "settle", refused)
            for _ in range(3):
                await keeper._look()
                times.append(times[-1] + keeper_module.DOUBT_S / 4)
            assert (await ledger.tasks.task(1)).round.round == 1
        await keeper._look()
        settled = await ledger.queries.round(1, 1)
        assert (settled.dropped, settled.version is None) == (False, False)


async def test_what_the_chain_says_for_hours_is_believed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        for who in (0, 1):
            await ledger.submissions.submit(f"u{who}", world.accounts[who], world.update(seed=who))
        task = await ledger.tasks.task(1)
        await world.devchain.thread.run(world.devchain.chain.increase_time, world.task.terms.drop_seconds + 10)
        await ledger.wallets.unlock("a block with the new time", world.accounts[2], 1, 1)
        # ahead of every block: a keeper goes by whichever clock is later, and a slow machine's blocks are late
        times = [task.round.first_update_s + world.task.terms.drop_seconds + 3600.0]
        keeper = Keeper(ledger, turn_s=0.0, clock=lambda: times[-1])

        async def refused(*arguments: object) -> None:
            raise Refused("no block holds it", reason="GasLimitTooHigh")

        monkeypatch.setattr(ledger.settlements, "settle", refused)
        await keeper._look()
        times.append(times[-1] + keeper_module.DOUBT_S)
        await keeper._look()
        assert (await ledger.queries.round(1, 1)).dropped


async def test_an_account_that_has_been_funded_settles_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        for who in (0, 1):
            await ledger.submissions.submit(f"u{who}", world.accounts[who], world.update(seed=who))
        keeper = Keeper(ledger, turn_s=0.0)
        asked: list[bytes] = []
        poor: set[bytes] = set()

        async def settle(request_id: str, account: bytes, task: int, number: int) -> None:
            asked.append(account)
            if account in poor:
                raise Refused("no coin", reason="InsufficientFunds")
            raise Refused("not yet", reason="RoundNotOver")

        monkeypatch.setattr(ledger.settlements, "settle", settle)
        await keeper._look()
        [first] = asked
        poor.add(first)
        await keeper._look()
        await keeper._look()
        assert asked[-1] != first
        poor.clear()
        await ledger.wallets.transfer_coin("gift", next(a for a in world.accounts if a != first), first, 1)
        await keeper._look()
        assert asked[-1] == first


@pytest.mark.parametrize(
    "trouble",
    [
        sqlite3.OperationalError("database or disk is full"),
        OSError(28, "No space left"),
        DataLoss("of somebody"),
        KeyError("x"),
    ],
    ids=repr,
)
async def test_no_trouble_ends_the_settler(world: World, monkeypatch: pytest.MonkeyPatch, trouble: Exception) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        monkeypatch.setattr(keeper_module, "RETRY_S", 0.05)
        monkeypatch.setattr(keeper_module, "SLOW_RETRY_S", 0.05)
        for who in (0, 1):
            await ledger.submissions.submit(f"u{who}", world.accounts[who], world.update(seed=who))
        troubles = [trouble] * 3
        real = ledger.tasks.task

        async def task(number: int) -> Task:
            if troubles:
                raise troubles.pop()
            return await real(number)

        monkeypatch.setattr(ledger.tasks, "task", task)
        keeper = asyncio.create_task(Keeper(ledger, turn_s=0.0).run())
        async with asyncio.timeout(60):
            while troubles:
                await asyncio.sleep(0.01)
        await until_version(gateway, 2, within_s=60)
        assert not keeper.done()
        keeper.cancel()


async def test_the_keeper_asks_the_tasks_own_rule(tmp_path: Path) -> None:
    """By rule `median_of_signs` a quorum ends nothing; the gateway knows the rule by its row in the table only."""
    plan = small_task()
    with extended():
        await make_deployment(tmp_path, replace(plan, terms=replace(plan.terms, rule=MEDIAN_OF_SIGNS.number)))
        async with world_in(tmp_path) as world, world.gateway() as gateway:
            ledger = gateway.ledger
            for who in (0, 1):
                await ledger.submissions.submit(
                    f"u{who}", world.accounts[who], world.update(seed=who, encoding=ONE_BIT)
                )
            first = (await ledger.tasks.task(1)).round.first_update_s
            times = [first + ROUND_SECONDS - 1.0]
            keeper = Keeper(ledger, turn_s=0.0, clock=lambda: times[-1])
            assert 0 < await keeper._look() <= 1.0
            assert await version_of(gateway) == 1
            await world.devchain.thread.run(world.devchain.chain.increase_time, ROUND_SECONDS + 1)
            await ledger.wallets.unlock("a block with the new time", world.accounts[2], 1, 1)
            times.append(first + ROUND_SECONDS + 1.0)
            await keeper._look()
            assert await version_of(gateway) == 2
            updates = [Update.decode(world.update(seed=who, encoding=ONE_BIT), plan.shape) for who in (0, 1)]
            settled = await ledger.queries.round(1, 1)
            accepted = [
                Contribution(one.contributor, one.weight, one.effective, update)
                for one, update in zip(settled.contributions, updates, strict=True)
            ]
            _, weights = await ledger.tasks.model(1, 2)
            assert weights == MEDIAN_OF_SIGNS.merge(plan.first_weights(), accepted, 3000, plan.shape).weights.tobytes()
            fee = plan.terms.reward * plan.terms.settler_bps // BPS
            assert settled.settler_paid == fee
            assert [one.paid for one in settled.contributions] == [(plan.terms.reward - fee) // 2] * 2


async def test_nobody_pays_for_a_stranger_s_stake(world: World) -> None:
    """Who locks a unit every minute would otherwise have every gateway end an empty round every minute."""
    async with AsyncExitStack() as stack:
        served = await gateways(stack, world)
        theirs, account = served[2].ledger, world.accounts[2]
        await theirs.wallets.unlock("out", account, 1, 1000)
        await world.later(3)
        await theirs.wallets.withdraw("home", account, 1)
        await theirs.wallets.lock("in", account, 1, 1000)
        await world.later(3)
        for gateway in served:
            await gateway.ledger.events.sync()
        await Keeper(served[0].ledger)._consider(1)
        assert (await theirs.tasks.task(1)).round.round == 1
        assert await Keeper(theirs)._consider(1) == 0.0
        task = await theirs.tasks.task(1)
        assert (task.round.round, task.round.eligible, task.round.ripe) == (2, 3000, 0)


async def test_tasks_of_strangers_and_closed_ones_are_not_asked_about(world: World) -> None:
    plan = small_task()
    weights = plan.first_weights().astype("<i2").tobytes()
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        new = NewTask(plan.model.to_json(), plan.shape, plan.terms, weights)
        opened = await ledger.openings.open("open", world.accounts[0], new)
        assert Keeper(ledger)._tasks() == [1, opened.task]
        await ledger.openings.close("close", world.accounts[0], opened.task)
        await ledger.events.sync()
        assert Keeper(ledger)._tasks() == [1]
    password = (world.folder / "keys" / "password").read_text().strip()
    Keystore.create(world.folder / "stranger", password, random_password=True)
    async with world.gateway(keystore=world.folder / "stranger", outbox=world.folder / "stranger.sqlite") as gateway:
        await gateway.ledger.events.sync()
        assert Keeper(gateway.ledger)._tasks() == []
        assert len(await gateway.ledger.tasks.page(b"", 0, 10, 1 << 20)) == 2


def test_small_accounts_come_up_no_sooner_than_one_large_one() -> None:
    large, dust = b"\xff" * 20, {bytes([i]) * 20: 1 for i in range(40)}
    drawn = [turns({**dust, large: 4000}, round.to_bytes(8, "big")) for round in range(500)]
    assert all(len(one) == len(set(one)) == TURNS for one in drawn)
    assert sum(one[0] == large for one in drawn) > 480  # 99 % of the stake; 495 in the mean
    alike = [turns(dict.fromkeys(dust, 1), round.to_bytes(8, "big"))[0] for round in range(2000)]
    assert min(alike.count(account) for account in dust) > 20  # 50 in the mean: everybody comes up
    assert turns({}, b"") == [] and turns({large: 1}, b"") == [large]
