"""The use cases, on a chain with the real contracts and the real Aspect."""

import asyncio
import time
from operator import attrgetter
from typing import Any

import numpy as np
import pytest

from linklearner.chain.contracts import POOL, TOKEN
from linklearner.domain.digest import model_digest
from linklearner.domain.encodings import ENCODINGS, Encoding
from linklearner.domain.errors import (
    DataLoss,
    InvalidUpdate,
    NotFound,
    Refused,
    RequestIdReused,
    Unavailable,
)
from linklearner.domain.events import UpdateAccepted
from linklearner.domain.model import ModelVersion
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.update import Update
from services.chain_gateway.chain import Chain
from services.chain_gateway.events import EventIndex
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.ledger import Ledger
from tests.services.chain_gateway.conftest import ROUND_SECONDS, World
from tests.services.chain_gateway.quirky_node import QuirkyNode


async def submit(
    ledger: Ledger, world: World, who: int, version: int = 1, *, seed: int | None = None, **options: Any
) -> Any:
    update = world.update(version, seed=who if seed is None else seed, **options)
    return await ledger.submissions.submit(f"update-{version}-{who}", world.accounts[who], update)


@pytest.mark.parametrize("encoding", ENCODINGS.values())
async def test_a_round_goes_from_update_to_pay(world: World, encoding: Encoding) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        submitted = [await submit(ledger, world, who, encoding=encoding) for who in range(3)]
        assert [(one.round, one.weight, one.effective) for one in submitted] == [
            (1, 750, 750)
        ] * 3  # a quarter of 3,000 units
        status = (await ledger.tasks.task(1)).round
        assert (status.accepted, status.present, status.eligible) == (3, 2250, 3000)

        settled = await ledger.settlements.settle("settle", world.accounts[0], 1, 1)
        assert len(settled.mined) == 2  # one for each group
        assert (settled.version.version, settled.version.round, settled.version.accepted_count) == (2, 1, 3)

        shape = world.task.shape
        merged = MEAN.merge(
            world.task.first_weights(),
            [
                Contribution(
                    world.accounts[who], 750, 750, Update.decode(world.update(seed=who, encoding=encoding), shape)
                )
                for who in range(3)
            ],
            3000,
            shape,
        )
        version, data = await ledger.tasks.model(1, 0)
        assert version == settled.version
        assert np.array_equal(np.frombuffer(data, "<i2"), merged.weights)
        assert version.digest == model_digest(merged.weights, shape)

        history = await ledger.queries.round(1, 1)
        assert [one.contributor for one in history.contributions] == list(world.accounts)
        assert [one.mined for one in history.contributions] == [one.mined for one in submitted]
        assert [one.digest for one in history.contributions] == [one.digest for one in submitted]
        assert history.contributions[0].update_bytes == len(world.update(encoding=encoding))
        assert history.settlements == settled.mined
        assert (history.settler, history.base_version, history.version, history.dropped) == (
            world.accounts[0],
            1,
            version,
            False,
        )
        paid = [one.paid for one in history.contributions]
        assert paid[0] and paid == [paid[0]] * 3
        balance = await ledger.wallets.balance(world.accounts[0], 1)
        assert balance.token == paid[0] + history.settler_paid
        assert sum(p or 0 for p in paid) + history.settler_paid <= world.task.terms.reward


async def test_the_open_round_is_told_as_it_stands(world: World) -> None:
    async with world.gateway() as gateway:
        before = await gateway.ledger.queries.round(1, 0)
        assert (before.round, before.base_version, before.contributions, before.version) == (1, 1, (), None)
        await submit(gateway.ledger, world, 0)
        now = await gateway.ledger.queries.round(1, 1)
        assert [one.contributor for one in now.contributions] == [world.accounts[0]]
        assert now.contributions[0].paid is None


async def test_a_repeated_submission_answers_the_first_one(world: World) -> None:
    async with world.gateway() as gateway:
        first = await submit(gateway.ledger, world, 0)
        assert await submit(gateway.ledger, world, 0) == first
        with pytest.raises(RequestIdReused):
            await submit(gateway.ledger, world, 0, seed=99)


async def test_the_chain_s_reasons_arrive_by_name_and_cost_nothing(world: World) -> None:
    async with world.gateway() as gateway:
        ledger, account = gateway.ledger, world.accounts[0]
        await submit(ledger, world, 0)
        sent = len(world.node.raw)

        async def refused(name: str, *arguments: Any) -> Refused:
            with pytest.raises(Refused) as error:
                await attrgetter(name)(ledger)(*arguments)
            return error.value

        assert (await refused("submissions.submit", "stale", account, world.update(7))).reason == "StaleBase"
        second = await refused("submissions.submit", "second", account, world.update(1, seed=9))
        assert (second.reason, second.facts["round"]) == ("AlreadySubmitted", "1")
        early = await refused("settlements.settle", "early", account, 1, 1)
        assert (early.reason, early.facts["quorum"]) == ("RoundNotOver", "2")
        assert (await refused("settlements.settle", "wrong", account, 1, 2)).reason == "WrongRound"
        assert (await refused("wallets.unlock", "much", account, 1, 10**6)).reason == "InsufficientStake"
        assert (await refused("wallets.withdraw", "nothing", account, 1)).reason == "ZeroUnits"
        assert (await refused("wallets.lock", "poor 1", account, 1, 10**6)).reason == "ERC20InsufficientBalance"
        assert (
            await refused("wallets.transfer_token", "poor 2", account, account, 10**30)
        ).reason == "ERC20InsufficientBalance"
        assert (
            await refused("wallets.transfer_coin", "poor 3", account, account, 10**30)
        ).reason == "InsufficientFunds"
        assert len(world.node.raw) == sent


@pytest.mark.parametrize(
    "spoil",
    [lambda u: u[:-1], lambda u: u + b"\0", lambda u: u[:17], lambda u: b"\2" + u[1:], lambda u: b""],
    ids=["truncated", "too long", "half a header", "unknown format", "empty"],
)
async def test_bytes_that_are_no_update_are_refused_before_the_chain_is_asked(world: World, spoil: Any) -> None:
    async with world.gateway() as gateway:
        with pytest.raises(InvalidUpdate):
            await gateway.ledger.submissions.submit("r", world.accounts[0], spoil(world.update()))
        assert not world.node.raw


async def test_unknown_tasks_versions_rounds_and_accounts_are_not_found(world: World) -> None:
    stranger = bytes(19) + b"\7"
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        for asked in (
            ledger.tasks.task(2),
            ledger.tasks.task(0),
            ledger.tasks.model(2, 0),
            ledger.tasks.model(1, 2),
            ledger.queries.round(2, 1),
            ledger.queries.round(1, 2),
            ledger.wallets.balance(stranger, 2),
            ledger.wallets.lock("r1", stranger, 1, 1),
            ledger.wallets.lock("r2", world.accounts[0], 2, 1),
            ledger.settlements.settle("r3", world.accounts[0], 2, 1),
            anext(ledger.tasks.watch_versions(2, 0)),
        ):
            with pytest.raises(NotFound):
                await asked
        assert (await ledger.wallets.balance(stranger, 0)).stake is None


async def test_stake_is_locked_unlocked_and_taken_home(world: World) -> None:
    async with world.gateway() as gateway:
        ledger, account = gateway.ledger, world.accounts[0]
        await ledger.wallets.transfer_token("gift", world.accounts[1], account, 0)
        _, stake = await ledger.wallets.unlock("unlock", account, 1, 400)
        assert (stake.eligible, stake.locked, stake.unlocking, stake.unlocking_round) == (600, 600, 400, 1)
        with pytest.raises(Refused) as refused:
            await ledger.wallets.withdraw("too early", account, 1)
        assert (refused.value.reason, refused.value.facts["untilRound"]) == ("StakeStillLocked", "2")
        for who in (1, 2):
            await submit(ledger, world, who)
        await ledger.settlements.settle("settle", account, 1, 1)
        _, stake = await ledger.wallets.withdraw("withdraw", account, 1)
        assert (stake.locked, stake.unlocking) == (600, 0)
        assert (await ledger.wallets.balance(account, 0)).token >= 400 * 10**15
        _, stake = await ledger.wallets.lock("lock", account, 1, 400)
        assert (stake.eligible, stake.locked) == (600, 1000)  # fresh stake counts from the next round


async def test_transfers_move_what_they_say_once(world: World) -> None:
    to = bytes(19) + b"\x99"
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        for who in (0, 1):
            await submit(ledger, world, who)
        await ledger.settlements.settle("settle", world.accounts[0], 1, 1)
        for _ in range(2):
            await ledger.wallets.transfer_token("token", world.accounts[0], to, 5)
            await ledger.wallets.transfer_coin("coin", world.accounts[0], to, 7)
        balance = await ledger.wallets.balance(to, 0)
        assert (balance.token, balance.coin) == (5, 7)


async def test_versions_are_watched_from_the_last_one_seen(world: World) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        seen: list[int] = []

        async def watch(after: int) -> None:
            async for version in ledger.tasks.watch_versions(1, after):
                seen.append(version.version)

        watching = asyncio.create_task(watch(0))
        for version in (1, 2):
            for who in (0, 1):
                await submit(ledger, world, who, version)
            await ledger.settlements.settle(f"settle-{version}", world.accounts[0], 1, version)
        async with asyncio.timeout(5):
            while seen != [1, 2, 3]:
                await asyncio.sleep(0.01)
        watching.cancel()
        assert (await anext(ledger.tasks.watch_versions(1, 2))).version == 3


async def test_old_versions_are_read_at_their_own_block(world: World) -> None:
    async with world.gateway() as gateway:
        for who in (0, 1):
            await submit(gateway.ledger, world, who)
        await gateway.ledger.settlements.settle("settle", world.accounts[0], 1, 1)
        version, data = await gateway.ledger.tasks.model(1, 1)
        assert version.version == 1
        assert np.array_equal(np.frombuffer(data, "<i2"), world.task.first_weights())


async def test_half_a_settlement_changes_no_version_and_is_finished_by_anybody(world: World) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        for who in (0, 1):
            await submit(ledger, world, who)
        world.node.refuse_sends = 0
        call = await ledger.settlements.call(1, 1, 0)
        from services.chain_gateway.outbox import Request, always

        await ledger._outbox.fulfil(
            Request(request_id="half", account=world.accounts[2], kind="x", contents=b""), always(call)
        )
        assert (await ledger.tasks.task(1)).round.merged_groups == 1
        version, data = await ledger.tasks.model(1, 0)
        assert version.version == 1
        assert np.array_equal(np.frombuffer(data, "<i2"), world.task.first_weights())
        settled = await ledger.settlements.settle("rest", world.accounts[0], 1, 1)
        assert len(settled.mined) == 1
        assert (await ledger.tasks.model(1, 2))[0] == settled.version


async def test_a_settlement_that_was_done_by_others_is_no_success_of_ours(world: World) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        for who in (0, 1):
            await submit(ledger, world, who)
        await ledger.settlements.settle("first", world.accounts[0], 1, 1)
        again = await ledger.settlements.settle("first", world.accounts[0], 1, 1)
        assert again.version.version == 2  # repeated: the same answer
        with pytest.raises(Refused) as refused:
            await ledger.settlements.settle("second", world.accounts[1], 1, 1)
        assert refused.value.reason == "WrongRound"


def on_a_chain_that_stands_still(gateway: Gateway, world: World, later_s: int) -> Ledger:
    """Its wall clock has gone on by later_s since its last block; it makes the next one on demand only."""
    return Ledger(
        gateway.ledger.chain,
        gateway.ledger._outbox,
        gateway.ledger.events,
        world.deployment,
        clock=lambda: time.time() + later_s,
    )


@pytest.mark.parametrize(("seconds", "over"), [(0, True), (-60, False)])
async def test_on_a_chain_that_stands_still_the_round_ends_with_the_clock(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: int, over: bool
) -> None:
    monkeypatch.setattr("services.chain_gateway.ledger.settlements.STANDSTILL_S", 0.1)
    async with world.gateway() as gateway:
        await submit(gateway.ledger, world, 0)  # one of two
        later = ROUND_SECONDS + 1 + seconds
        await world.devchain.thread.run(world.devchain.chain.increase_time, later)  # seen by the next block
        ledger = on_a_chain_that_stands_still(gateway, world, later)
        if over:
            settled = await ledger.settlements.settle("settle", world.accounts[0], 1, 1)
            assert settled.version.accepted_count == 1
        else:
            with pytest.raises(Refused) as refused:
                await ledger.settlements.settle("settle", world.accounts[0], 1, 1)
            assert refused.value.reason == "RoundNotOver"


@pytest.mark.parametrize(("seconds", "due"), [(0, True), (-60, False)])
async def test_on_a_chain_that_stands_still_a_round_may_be_dropped_by_the_clock(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: int, due: bool
) -> None:
    monkeypatch.setattr("services.chain_gateway.ledger.settlements.STANDSTILL_S", 0.1)
    async with world.gateway() as gateway:
        await submit(gateway.ledger, world, 0)
        later = world.task.terms.drop_seconds + 1 + seconds
        await world.devchain.thread.run(world.devchain.chain.increase_time, later)
        ledger = on_a_chain_that_stands_still(gateway, world, later)
        if due:
            await ledger.settlements.drop("drop", world.accounts[0], 1, 1)
            assert (await ledger.queries.round(1, 1)).dropped
        else:
            with pytest.raises(Refused) as refused:
                await ledger.settlements.drop("drop", world.accounts[0], 1, 1)
            assert refused.value.reason == "NotYetDroppable"


async def test_a_stale_chain_is_not_worked_on(world: World) -> None:
    async with world.gateway() as gateway:
        outbox, events = gateway.ledger._outbox, gateway.ledger.events
        for age, allowed in ((99.0, True), (101.0, False)):
            head = await gateway.ledger.chain.head()
            ledger = Ledger(
                gateway.ledger.chain,
                outbox,
                events,
                world.deployment,
                max_head_age_s=100,
                clock=lambda at=head.time_s + age: at,  # type: ignore[misc]
            )
            if allowed:
                await ledger.tasks.task(1)
                continue
            for asked in (
                ledger.tasks.task(1),
                ledger.tasks.model(1, 0),
                ledger.wallets.lock("r", world.accounts[0], 1, 1),
            ):
                with pytest.raises(Unavailable, match="old") as unavailable:
                    await asked
                assert unavailable.value.reason == "StaleChain"


async def test_weights_that_do_not_give_the_announced_digest_are_data_loss(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        real = ledger.tasks.announced

        def lied(task: int, version: int) -> ModelVersion:
            announced = real(task, version)
            return ModelVersion(
                task=task, version=announced.version, digest=bytes(32), round=0, block_number=announced.block_number
            )

        monkeypatch.setattr(ledger.tasks, "announced", lied)
        with pytest.raises(DataLoss, match="digest"):
            await ledger.tasks.model(1, 0)


async def test_a_witness_that_tells_another_history_stops_the_reading(world: World) -> None:
    """The second node serves the same contracts without the update that the first one reports."""
    async with world.gateway() as gateway:
        await submit(gateway.ledger, world, 0)
    async with QuirkyNode.start(world.devchain.url) as liar:
        liar.drop_logs = True
        async with Chain.connect(world.node.url, (POOL, TOKEN)) as chain, Chain.connect(liar.url) as witness:
            path = world.folder / "other.sqlite"
            with EventIndex.open(
                path, chain, world.deployment.pool, first_block=world.deployment.block, witness=witness
            ) as events:
                with pytest.raises(DataLoss, match="different histories"):
                    await events.sync()
                assert not events.find(UpdateAccepted)
                liar.drop_logs = False
                await events.sync()
                assert len(events.find(UpdateAccepted)) == 1


async def test_a_node_that_falls_behind_is_not_believed(world: World) -> None:
    async with world.gateway() as gateway:
        events = gateway.ledger.events
        head = await events.sync()
        await events.sync(head)
        with pytest.raises(Unavailable, match="was at"):
            await events.sync(head + 1)


async def test_history_is_read_once(world: World) -> None:
    async with world.gateway() as gateway:
        await gateway.ledger.tasks.task(1)
    async with world.gateway() as gateway:
        before = world.node.calls["eth_getLogs"]
        await gateway.ledger.tasks.task(1)
        await asyncio.sleep(0.2)
        assert world.node.calls["eth_getLogs"] == before  # the cursor was kept


async def test_following_ends_when_it_is_cancelled_even_as_it_is_poked(world: World) -> None:
    async with world.gateway() as gateway:
        events = gateway.ledger.events

        async def follow() -> None:
            async for _ in events.follow(0.05):
                pass

        for delay in range(30):
            following = asyncio.create_task(follow())
            await asyncio.sleep(0.002 * (delay % 10))
            events.poke()
            await asyncio.sleep(0)
            following.cancel()
            async with asyncio.timeout(5):
                await asyncio.gather(following, return_exceptions=True)
            assert following.cancelled()
