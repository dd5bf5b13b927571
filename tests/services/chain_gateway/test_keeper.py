"""Rounds settle by themselves: once, by whoever is there."""

import asyncio
import sqlite3
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from devchain import Devchain
from linklearner.chain.contracts import POOL, TOKEN
from linklearner.domain.errors import DataLoss, Refused
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.tasks import Task
from linklearner.domain.update import Update
from services.chain_gateway import keeper as keeper_module
from services.chain_gateway.chain import Chain
from services.chain_gateway.config import GatewayConfig
from services.chain_gateway.deploy import DeploymentPlan, deploy
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.keeper import Keeper
from services.chain_gateway.keystore import Keystore
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


async def test_a_round_that_nobody_may_take_part_in_gives_way_to_one_with_stake(
    tmp_path: Path, devchain: Devchain
) -> None:
    """Somebody locks only after the first round has opened without any stake: without an end of that round it would never count."""
    keys = tmp_path / "keys"
    password = Keystore.new_password(keys / "password")
    late = Keystore.create(keys, password, random_password=True)
    async with Chain.connect(devchain.url, (POOL, TOKEN)) as chain:
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
        drop_seconds = task.terms.drop_seconds
        await devchain.thread.run(devchain.chain.increase_time, drop_seconds + 1)
        await ledger.wallets.lock("late", late, 1, 500)
        keeper = Keeper(ledger, turn_s=0.0, clock=lambda: task.round.opened_s + drop_seconds - 1.0)
        assert 0 < await keeper._consider(1) <= 1.0
        assert (await ledger.tasks.task(1)).round.round == 1
        keeper = Keeper(ledger, turn_s=0.0, clock=lambda: task.round.opened_s + drop_seconds + 1.0)
        await keeper._consider(1)
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
        times = [task.round.first_update_s + world.task.terms.drop_seconds + 10.0]
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
            assert settled.settler_paid == 0
            assert [one.paid for one in settled.contributions] == [plan.terms.reward // 2] * 2
