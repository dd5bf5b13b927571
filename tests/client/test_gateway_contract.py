"""What a gateway promises, held against the fake one and a real one with its chain alike."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest

from linklearner.domain.digest import model_digest
from linklearner.domain.encodings import TWO_BITS
from linklearner.domain.errors import InvalidInput, LinkLearnerError, NotFound, Refused
from linklearner.domain.notation import UNIT_WEI
from linklearner.domain.rounds import BPS
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.tasks import Earnings, Opened, Settled, Submitted
from linklearner.domain.update import Update
from services.chain_gateway.deploy import POT
from tests.client.conftest import Subject

T = TypeVar("T")
STRANGER = b"\x77" * 20


async def submitted(subject: Subject, who: int, version: int = 1) -> Submitted:
    update = subject.update(version, seed=who)
    digest = update.digest(subject.shape)
    return await subject.gateway.submit(f"{version}-{who}", subject.accounts[who], update.encode(subject.shape), digest)


async def settled(subject: Subject, round: int = 1) -> Settled:
    for who in (0, 1):
        await submitted(subject, who, round)
    return await when_due(lambda: subject.gateway.settle(f"settle-{round}", subject.accounts[0], 1, round))


async def when_due(call: Callable[[], Awaitable[T]]) -> T:
    """Repeated while it is refused because its time, a second or two, has not come."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except Refused as refused:
                if refused.reason not in ("RoundNotOver", "StakeStillLocked"):
                    raise
            await asyncio.sleep(0.3)


async def error_of(call: Awaitable[Any]) -> tuple[type[LinkLearnerError], str]:
    with pytest.raises(LinkLearnerError) as raised:
        await call
    return type(raised.value), raised.value.reason


async def test_which_chain_and_which_accounts(subject: Subject) -> None:
    chain = await subject.gateway.chain()
    assert chain.chain_id > 0 and chain.deployed_block <= chain.head_block
    assert len({chain.pool, chain.vault, chain.token, chain.aspect}) == 4
    assert chain.rpc_url.startswith("http://")
    assert await subject.gateway.accounts() == subject.accounts


async def test_a_task_as_it_was_opened(subject: Subject) -> None:
    task = await subject.gateway.task(1)
    assert (task.task, task.spec, task.shape, task.terms) == (1, subject.spec, subject.shape, subject.terms)
    assert task.newest == task.announced and task.version == 1
    assert (task.newest.round, task.newest.digest) == (0, model_digest(subject.first_weights, subject.shape))
    assert (task.round.round, task.round.accepted, task.round.present, task.round.eligible) == (1, 0, 0, 3000)
    assert task.round.first_update_s == 0


async def test_weights_of_the_newest_version_and_of_a_named_one(subject: Subject) -> None:
    task = await subject.gateway.task(1)
    for version in (0, 1):
        found, weights = await subject.gateway.weights(task, version)
        assert found == task.newest and weights.dtype == np.int16
        np.testing.assert_array_equal(weights, subject.first_weights)
    assert await error_of(subject.gateway.weights(task, 2)) == (NotFound, "UnknownVersion")


async def test_what_does_not_exist_is_not_found(subject: Subject) -> None:
    gateway, account = subject.gateway, subject.accounts[0]
    for call in (
        gateway.task(9),
        gateway.balance(account, 9),
        gateway.round(9),
        gateway.next_version(9, 0),
        gateway.lock("l", account, 9, 1),
        gateway.settle("s", account, 9, 1),
    ):
        assert await error_of(call) == (NotFound, "UnknownTask")
    assert (await error_of(gateway.round(1, 2)))[0] is NotFound
    assert await error_of(gateway.unlock("u", STRANGER, 1, 1)) == (NotFound, "UnknownAccount")


async def test_an_update_is_answered_by_its_receipt_however_often_it_is_sent(subject: Subject) -> None:
    first = await submitted(subject, 0)
    assert (first.round, first.weight, first.effective) == (1, 750, 750)  # a quarter of 3,000 units at most
    assert first.mined.length > len(subject.update().encode(subject.shape)) and first.mined.gas_used > 21_000
    assert await submitted(subject, 0) == first
    other = subject.update(seed=5)
    reused = subject.gateway.submit(
        "1-0", subject.accounts[0], other.encode(subject.shape), other.digest(subject.shape)
    )
    assert await error_of(reused) == (InvalidInput, "RequestIdReused")


async def test_updates_that_are_refused(subject: Subject) -> None:
    await submitted(subject, 0)
    shape, accounts = subject.shape, subject.accounts
    again, stale = subject.update(seed=5), subject.update(3)
    for _ in range(2):  # the same request_id, the same refusal
        call = subject.gateway.submit("again", accounts[0], again.encode(shape), again.digest(shape))
        assert await error_of(call) == (Refused, "AlreadySubmitted")
    call = subject.gateway.submit("stale", accounts[1], stale.encode(shape), stale.digest(shape))
    assert await error_of(call) == (Refused, "StaleBase")
    assert await error_of(subject.gateway.submit("x", accounts[1], b"x", bytes(32))) == (InvalidInput, "InvalidUpdate")
    empty = Update(1, 1, TWO_BITS, (0,) * len(shape.tensors), ())
    dust = subject.update(seed=7)
    dust = replace(dust, shifts=(-8,) * len(dust.shifts)).within(range(1), shape)
    for nothing in (empty, dust):
        call = subject.gateway.submit(
            f"{len(nothing.pages)} pages", accounts[1], nothing.encode(shape), nothing.digest(shape)
        )
        assert await error_of(call) == (Refused, "EmptyUpdate")
    assert (await subject.gateway.task(1)).round.accepted == 1


async def test_the_open_round_holds_what_was_accepted(subject: Subject) -> None:
    before = await subject.gateway.round(1)
    assert (before.round, before.base_version, before.contributions, before.version) == (1, 1, (), None)
    ours = await submitted(subject, 1)
    now = await subject.gateway.round(1, 1)
    assert now == await subject.gateway.round(1)
    assert now.accepted(subject.accounts[1], ours.digest) == ours
    assert now.accepted(subject.accounts[0], ours.digest) is None
    (one,) = now.contributions
    assert one.update_bytes == len(subject.update(seed=1).encode(subject.shape)) and one.paid is None
    assert (now.settlements, now.settler, now.settler_paid, now.dropped) == ((), b"", 0, False)
    task = await subject.gateway.task(1)
    assert (task.round.accepted, task.round.present) == (1, 750) and task.round.first_update_s > 0


async def test_a_round_is_merged_and_paid(subject: Subject) -> None:
    gateway, accounts = subject.gateway, subject.accounts
    made = await settled(subject)
    assert (made.version.version, made.version.round, made.version.accepted_count) == (2, 1, 2)
    assert len(made.mined) == subject.shape.group_count == 2
    assert await gateway.settle("settle-1", accounts[0], 1, 1) == made

    updates = [Contribution(accounts[who], 750, 750, subject.update(seed=who)) for who in (0, 1)]
    merged = MEAN.merge(subject.first_weights, updates, 3000, subject.shape)
    task = await gateway.task(1)
    found, weights = await gateway.weights(task)
    assert found == task.newest == made.version
    np.testing.assert_array_equal(weights, merged.weights)

    history = await gateway.round(1, 1)
    assert (history.version, history.settlements, history.settler) == (made.version, made.mined, accounts[0])
    # by time, which nobody here knows to the second: the settler has its share, and equal work is paid alike
    first, second = (one.paid for one in history.contributions)
    assert first == second and first
    paid = 2 * first + history.settler_paid
    assert abs(history.settler_paid - paid * subject.terms.settler_bps // BPS) <= 2
    assert task.pot == POT - paid and task.shares == 2 * first
    assert (await gateway.balance(accounts[0])).token == history.settler_paid
    assert (await gateway.balance(accounts[1])).token == 0  # credited, to be claimed
    assert (task.round.round, task.round.accepted) == (2, 0) and (await gateway.round(1)).base_version == 2


async def test_rounds_that_may_not_be_settled(subject: Subject) -> None:
    gateway, account = subject.gateway, subject.accounts[2]
    assert await error_of(gateway.settle("a", account, 1, 1)) == (Refused, "NoUpdates")
    await submitted(subject, 0)
    assert await error_of(gateway.settle("b", account, 1, 1)) == (Refused, "RoundNotOver")
    await settled(subject)
    assert await error_of(gateway.settle("c", account, 1, 1)) == (Refused, "WrongRound")
    assert await error_of(gateway.settle("d", account, 1, 3)) == (Refused, "WrongRound")


async def test_versions_are_announced_in_order_from_where_one_stopped(subject: Subject) -> None:
    async with aclosing(subject.gateway.versions(1)) as all_of_them, asyncio.timeout(60):
        assert (await anext(all_of_them)).version == 1
        waiting = asyncio.create_task(subject.gateway.next_version(1, 1))
        made = await settled(subject)
        assert await anext(all_of_them) == await waiting == made.version


async def test_stake_asked_back_counts_no_more_and_is_paid_out_later(subject: Subject) -> None:
    gateway, account = subject.gateway, subject.accounts[2]
    await submitted(subject, 2)
    mined, stake = await gateway.unlock("u", account, 1, 10)
    assert (stake.eligible, stake.locked, stake.unlocking) == (990, 990, 10)
    assert (await gateway.unlock("u", account, 1, 10))[0] == mined
    balance = await gateway.balance(account, 1)
    assert (balance.stake, balance.token) == (stake, 0) and balance.coin > 0
    assert await error_of(gateway.withdraw("early", account, 1)) == (Refused, "StakeStillLocked")
    assert await error_of(gateway.unlock("much", account, 1, 991)) == (Refused, "InsufficientStake")
    assert await error_of(gateway.unlock("none", account, 1, 0)) == (Refused, "ZeroUnits")
    assert await error_of(gateway.lock("poor", account, 1, 1)) == (Refused, "ERC20InsufficientBalance")

    await settled(subject)
    _, stake = await when_due(lambda: gateway.withdraw("w", account, 1))
    assert (stake.locked, stake.unlocking) == (990, 0)
    assert (await gateway.balance(account)).token == 10 * UNIT_WEI
    assert await error_of(gateway.withdraw("again", account, 1)) == (Refused, "ZeroUnits")
    _, stake = await gateway.lock("l", account, 1, 4)
    assert (stake.locked, stake.eligible) == (994, 990)  # counts in rounds that open when it is ripe
    assert stake.matures_s > (await gateway.task(1)).round.opened_s
    assert (await gateway.balance(account)).token == 6 * UNIT_WEI


async def own_task(subject: Subject, request_id: str = "open") -> Opened:
    weights = subject.first_weights.astype("<i2").tobytes()
    model = subject.spec.to_json()
    return await subject.gateway.open_task(
        request_id, subject.accounts[0], model, subject.shape, subject.terms, weights
    )


async def test_anyone_opens_a_task_and_fills_its_pot(subject: Subject) -> None:
    gateway, account = subject.gateway, subject.accounts[0]
    opened = await own_task(subject)
    assert (opened.task, opened.version.version, len(opened.mined)) == (2, 1, 2)
    assert await own_task(subject) == opened  # repeated: the same one
    task = await gateway.task(2)
    assert (task.creator, task.pot, task.closing, task.newest) == (account, 0, False, opened.version)
    assert [one.task for one in await gateway.list_tasks()] == [1, 2]
    assert [one.task for one in await gateway.list_tasks(account)] == [2]
    assert [one.task for one in await gateway.list_tasks(after_task=1)] == [2]
    assert await gateway.list_tasks(STRANGER) == ()

    await gateway.unlock("u", account, 1, 10)
    await when_due(lambda: gateway.withdraw("w", account, 1))
    funded = await gateway.fund_task("f", account, 2, 7 * UNIT_WEI)
    assert funded.pot == (await gateway.task(2)).pot == 7 * UNIT_WEI
    assert await gateway.fund_task("f", account, 2, 7 * UNIT_WEI) == funded
    assert await error_of(gateway.fund_task("poor", account, 2, 4 * UNIT_WEI)) == (Refused, "ERC20InsufficientBalance")
    assert await error_of(gateway.fund_task("nothing", account, 2, 0)) == (Refused, "ZeroAmount")
    assert await error_of(gateway.fund_task("where", account, 3, 1)) == (NotFound, "UnknownTask")
    assert await error_of(gateway.grant_emission("g", account, 2, 1)) == (Refused, "OwnableUnauthorizedAccount")


async def test_a_task_is_closed_by_who_opened_it(subject: Subject) -> None:
    gateway, account = subject.gateway, subject.accounts[0]
    assert await error_of(gateway.close_task("other", account, 1)) == (Refused, "NotCreator")
    await own_task(subject)
    closed = await gateway.close_task("close", account, 2)
    assert closed.closed and await gateway.close_task("close", account, 2) == closed
    assert (await gateway.task(2)).closed
    assert await error_of(gateway.close_task("again", account, 2)) == (Refused, "TaskIsClosing")
    assert await error_of(gateway.fund_task("late", account, 2, 1)) == (Refused, "TaskIsClosing")
    assert await error_of(gateway.lock("late 2", account, 2, 1)) == (Refused, "TaskClosed")


async def test_terms_that_no_pool_takes_are_refused(subject: Subject) -> None:
    bad = replace(subject, terms=replace(subject.terms, quorum_bps=0))
    assert await error_of(own_task(bad)) == (Refused, "BadTerms")
    assert [one.task for one in await subject.gateway.list_tasks()] == [1]


async def test_what_was_earned_is_claimed_once(subject: Subject) -> None:
    gateway, account = subject.gateway, subject.accounts[1]
    assert await gateway.earnings(account, 1) == Earnings(0, 0, 0, 0)
    assert (await gateway.claim("nothing", account, 1)).mined == ()
    await settled(subject)
    earned = await gateway.earnings(account, 1)
    assert earned.pay == earned.earned == (await gateway.round(1, 1)).contributions[1].paid
    assert earned.pay > 0
    claimed = await gateway.claim("claim", account, 1)
    assert claimed.earnings == earned and len(claimed.mined) == 1
    assert (await gateway.balance(account)).token == earned.pay
    assert await gateway.claim("claim", account, 1) == claimed
    assert await gateway.earnings(account, 1) == Earnings(earned.earned, 0, 0, 0)
    assert (await gateway.claim("again", account, 1)).mined == ()


async def test_money_moves_once(subject: Subject) -> None:
    gateway, account = subject.gateway, subject.accounts[0]
    assert (await gateway.balance(STRANGER)).coin == 0 and (await gateway.balance(STRANGER)).stake is None
    mined = await gateway.transfer_coin("t", account, STRANGER, 7)
    assert await gateway.transfer_coin("t", account, STRANGER, 7) == mined
    assert (await gateway.balance(STRANGER)).coin == 7
    poor = gateway.transfer_token("k", account, STRANGER, 1)
    assert await error_of(poor) == (Refused, "ERC20InsufficientBalance")
    stake = (await gateway.balance(STRANGER, 1)).stake
    assert stake is not None and stake.locked == 0


@pytest.mark.parametrize(("request_id", "account"), [("", None), ("r" * 129, None), ("r", b"short")])
async def test_requests_that_are_none(subject: Subject, request_id: str, account: bytes | None) -> None:
    call = subject.gateway.transfer_coin(request_id, account or subject.accounts[0], STRANGER, 1)
    assert (await error_of(call))[0] is InvalidInput
