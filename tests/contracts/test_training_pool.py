"""The pool's own rules, through transactions on a chain with the Aspect bound."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.pool import POOL, SYSTEM, TERMS, TOKEN, PoolChain, Reverted, account, address_of, selector, terms_tuple
from bench.pool_rounds import FLAT, SMALL, opened, some_update, some_weights
from linklearner import artifacts
from linklearner.domain.digest import model_digest, weight_bytes
from linklearner.domain.encodings import ENCODINGS, TWO_BITS, Encoding
from linklearner.domain.notation import UNIT_WEI
from linklearner.domain.rounds import running_next, running_seed
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.stakes import MAX_ELIGIBLE
from linklearner.domain.update import Update


def refused(name: str, action: Callable[[], object]) -> Reverted:
    """The action reverts with this very error."""
    with pytest.raises(Reverted) as reverted:
        action()
    assert reverted.value.name == name, reverted.value
    return reverted.value


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_opens_and_its_first_weights_are_version_1(world: PoolChain) -> None:
    weights = some_weights(SMALL)
    task = world.open_task(SMALL, weights, [100, 50], pages_per_call=2)
    status = world.status(task)
    assert (status["version"], status["round"], status["eligible"], status["loaded"]) == (1, 1, 150, 5)
    updated = [event for event in world.events() if event.name == "ModelUpdated"][-1]
    assert updated.values["digest"] == model_digest(weights, SMALL)
    assert np.array_equal(world.weights(task, SMALL), weights)
    assert [e.values["nextPage"] for e in world.events() if e.name == "PagesLoaded"][-3:] == [2, 4, 5]


def test_only_the_owner_opens_tasks_and_loads_weights(world: PoolChain) -> None:
    arguments = (world.number("nextTask"), SMALL.encode(), "{}", terms_tuple(TERMS))
    assert refused("NotOwner", lambda: world.transact(account(1), "openTask", *arguments))
    task = world.number("nextTask")
    world.transact(account(0), "openTask", *arguments)
    page = weight_bytes(some_weights(SMALL)[:8])
    refused("NotOwner", lambda: world.transact(account(1), "loadPages", task, 0, page))


def test_tasks_are_numbered_in_order(world: PoolChain) -> None:
    task = world.number("nextTask")
    error = refused(
        "WrongTaskId",
        lambda: world.transact(account(0), "openTask", task + 1, SMALL.encode(), "{}", terms_tuple(TERMS)),
    )
    assert error.values == {"given": task + 1, "next": task}


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        ({"rule": 1}, {"rule": 2}, "rule"),
        ({"quorum": 1}, {"quorum": 0}, "quorum"),
        ({"quorum": 20}, {"quorum": 21}, "quorum"),
        ({"max_updates": 1024}, {"max_updates": 1025}, "maxUpdates"),
        ({"drop_seconds": 61}, {"drop_seconds": 60}, "dropSeconds"),
        ({"min_stake": MAX_ELIGIBLE}, {"min_stake": MAX_ELIGIBLE + 1}, "minStake"),
        ({"settler_bps": 10_000}, {"settler_bps": 10_001}, "settlerBps"),
        ({"reward": 2**128}, {"reward": 2**128 + 1}, "reward"),
    ],
)
def test_terms_hold_from_both_sides(world: PoolChain, good: dict[str, int], bad: dict[str, int], field: str) -> None:
    def open_with(changes: dict[str, int]) -> None:
        terms = dataclasses.replace(TERMS, **changes)
        world.transact(account(0), "openTask", world.number("nextTask"), SMALL.encode(), "{}", terms_tuple(terms))

    open_with(good)
    assert refused("BadTerms", lambda: open_with(bad)).values == {"field": field}


def test_a_task_is_loaded_once(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100])
    data = weight_bytes(some_weights(FLAT))
    # The Aspect says so first.
    refused("TaskLoaded", lambda: world.transact(account(0), "loadPages", round_.task, 0, data))


def test_what_does_not_exist_is_named(world: PoolChain) -> None:
    for function, arguments in (("taskOf", ()), ("termsOf", ()), ("stakeOf", ("0x" + "11" * 20,))):
        for task in (0, 2**21 - 1):
            with pytest.raises(Exception, match="reverted"):
                world.read(function, task, *arguments)
    refused("UnknownTask", lambda: world.transact(account(1), "lock", 0, 5))
    refused("UnknownTask", lambda: world.transact(account(1), "lock", world.number("nextTask"), 5))


def test_the_aspect_is_named_once_and_by_the_owner(world: PoolChain) -> None:
    refused("NotOwner", lambda: world.transact(account(1), "setAspect", world.aspect))
    refused("AspectAlreadySet", lambda: world.transact(account(0), "setAspect", world.aspect))


# ── Stake ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def stake(world: PoolChain, task: int, contributor: int) -> tuple[int, int, int]:
    values = world.read("stakeOf", task, account(contributor).address)
    return values["eligible"], values["fresh"], values["locked"]


def test_stake_locked_during_a_round_has_no_influence_in_it(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 0, 100])
    world.transact(account(2), "lock", round_.task, 500)
    assert stake(world, round_.task, 2) == (0, 500, 500)
    assert world.status(round_.task)["eligible"] == 200
    refused("NoStake", lambda: round_.submit(2))
    round_.submit(1)
    round_.submit(3)
    round_.settle()
    assert world.status(round_.task)["eligible"] == 700
    assert stake(world, round_.task, 2) == (500, 0, 500)
    round_.submit(2)
    assert round_.accepted[0][2] == 175  # a quarter of 700


def test_stake_added_to_stake_counts_later_than_what_was_there(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [10, 1000])
    world.transact(account(1), "lock", round_.task, 300)
    round_.submit(1)
    assert round_.accepted[0][2] == 10


def test_unlocked_stake_stops_counting_at_once_and_leaves_after_the_round(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100, 100])
    before = world.balance(address_of(account(1)))
    world.transact(account(1), "unlock", round_.task, 100)
    assert stake(world, round_.task, 1) == (0, 0, 0)
    assert world.read("unlockingOf", round_.task, account(1).address) == {"units": 100, "round": 1}
    refused("NoStake", lambda: round_.submit(1))
    assert refused("StakeStillLocked", lambda: world.transact(account(1), "withdraw", round_.task)).values == {
        "untilRound": 2
    }
    round_.submit(2)
    round_.submit(3)
    round_.settle(settler=4)
    world.transact(account(1), "withdraw", round_.task)
    assert world.balance(address_of(account(1))) == before + 100 * UNIT_WEI
    assert world.status(round_.task)["eligible"] == 200
    refused("ZeroUnits", lambda: world.transact(account(1), "withdraw", round_.task))


def test_stake_cannot_leave_during_the_round_it_was_used_in(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    round_.submit(1)
    world.transact(account(1), "unlock", round_.task, 100)
    refused("StakeStillLocked", lambda: world.transact(account(1), "withdraw", round_.task))


def test_a_second_unlock_pays_out_what_the_first_made_ready(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100, 100])
    world.transact(account(1), "unlock", round_.task, 30)
    round_.submit(2)
    round_.submit(3)
    round_.settle(settler=4)
    before = world.balance(address_of(account(1)))
    receipt = world.transact(account(1), "unlock", round_.task, 20)
    assert [event.name for event in world.events(receipt)] == ["StakeWithdrawn", "StakeUnlocked"]
    assert world.balance(address_of(account(1))) == before + 30 * UNIT_WEI
    assert world.read("unlockingOf", round_.task, account(1).address) == {"units": 20, "round": 2}


def test_before_the_weights_are_loaded_stake_may_leave_at_once(world: PoolChain) -> None:
    task = world.number("nextTask")
    world.transact(account(0), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    before = world.balance(address_of(account(1)))
    world.transact(account(1), "lock", task, 100)
    world.transact(account(1), "unlock", task, 60)
    world.transact(account(1), "withdraw", task)
    assert world.balance(address_of(account(1))) == before - 40 * UNIT_WEI
    world.transact(account(0), "loadPages", task, 0, weight_bytes(some_weights(FLAT)))
    assert world.status(task)["eligible"] == 40


def test_stake_holds_its_bounds_from_both_sides(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100])
    rich = account(0)  # the treasury: 10^9 LL are 10^12 units, more than 2^38
    refused("ZeroUnits", lambda: world.transact(rich, "lock", round_.task, 0))
    refused("ZeroUnits", lambda: world.transact(rich, "unlock", round_.task, 0))
    refused("InsufficientStake", lambda: world.transact(account(1), "unlock", round_.task, 101))
    for units in (MAX_ELIGIBLE - 99, 2**64 - 1):
        refused("StakeLimit", lambda units=units: world.transact(rich, "lock", round_.task, units))
    world.transact(rich, "lock", round_.task, MAX_ELIGIBLE - 100)
    refused("StakeLimit", lambda: world.transact(account(2), "lock", round_.task, 1))


def test_nobody_locks_what_he_does_not_have(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100])
    refused("ERC20InsufficientBalance", lambda: world.transact(account(1), "lock", round_.task, 10**9))


def test_too_little_stake_for_the_task_is_refused(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [49, 50, 100], dataclasses.replace(TERMS, min_stake=50))
    round_.submit(2)
    error = refused("BelowMinimumStake", lambda: round_.submit(1))
    assert error.values == {"counting": 49, "minimum": 50}


# ── Submitting ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_update_is_bound_into_the_running_hash(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100, 100])
    running = running_seed(world.chain.config.chain_id, world.pool, round_.task, 1)
    assert world.status(round_.task)["running"] == running
    for contributor in (1, 2):
        round_.submit(contributor)
        who, update, weight, effective = round_.accepted[-1]
        running = running_next(running, update.digest(SMALL), who, weight, effective)
        status = world.status(round_.task)
        assert (status["running"], status["accepted"]) == (running, contributor)
    assert status["present"] == 100  # a quarter of 200 each


def test_one_update_an_account_and_round(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    round_.submit(1)
    error = refused("AlreadySubmitted", lambda: round_.submit(1, round_.update(99)))
    assert error.values["round"] == 1
    round_.submit(2)
    round_.settle()
    round_.submit(1)
    assert world.number("submittedIn", round_.task, account(1).address) == 2


def test_a_replayed_submission_is_refused(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    data = world.submission(round_.update(1), FLAT)
    world.send(account(1), world.pool, data)
    refused("AlreadySubmitted", lambda: world.send(account(1), world.pool, data))


def test_last_rounds_submission_is_of_no_use_in_the_next(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    data = world.submission(round_.update(1), FLAT)
    round_.submit(1, round_.update(1))
    round_.submit(2)
    round_.settle()
    refused("StaleBase", lambda: world.send(account(1), world.pool, data))


def test_the_digest_is_the_updates_own(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100])
    update = round_.update(1)
    for wrong in (bytes(32), round_.update(2).digest(SMALL)):
        error = refused(
            "WrongDigest",
            lambda wrong=wrong: world.transact(
                account(1), "submit", round_.task, wrong, update.header(SMALL), list(update.groups(SMALL))
            ),
        )
        assert error.values == {"claimed": wrong, "actual": update.digest(SMALL)}


def test_a_full_round_takes_no_more(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100, 100], dataclasses.replace(TERMS, max_updates=2))
    round_.submit(1)
    round_.submit(2)
    refused("RoundFull", lambda: round_.submit(3))


def test_while_groups_are_being_settled_no_update_is_taken(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100, 100, 100])
    round_.submit(1)
    round_.submit(2)
    round_.settle_group(0)
    refused("RoundSettling", lambda: round_.submit(3))


def test_before_its_weights_a_task_takes_no_update(world: PoolChain) -> None:
    task = world.number("nextTask")
    world.transact(account(0), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    world.transact(account(1), "lock", task, 100)
    refused("NotLoaded", lambda: world.submit(1, some_update(FLAT, task, 0), FLAT))


# ── Settling ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [SMALL, FLAT])
@pytest.mark.parametrize("encoding", ENCODINGS.values())
def test_a_settled_round_has_the_weights_and_digest_that_python_computes(
    world: PoolChain, shape: object, encoding: Encoding
) -> None:
    round_ = opened(world, shape, [1000, 70, 3, 500])  # type: ignore[arg-type]
    base = some_weights(round_.shape)
    for contributor in (1, 2, 3, 4):
        round_.submit(contributor, round_.update(contributor, encoding=encoding))
    merged = MEAN.merge(base, round_.contributions(), 1573, round_.shape)
    *_, last = round_.settle()
    updated = next(event for event in world.events(last) if event.name == "ModelUpdated").values
    assert np.array_equal(world.weights(round_.task, round_.shape), merged.weights)
    assert updated["digest"] == model_digest(merged.weights, round_.shape)
    assert (updated["version"], updated["round"], updated["accepted"], updated["saturated"]) == (2, 1, 4, 0)
    status = world.status(round_.task)
    assert (status["version"], status["round"], status["accepted"], status["merged"]) == (2, 2, 0, 0)


def test_a_round_is_settled_at_its_quorum_or_when_its_time_is_over(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100], dataclasses.replace(TERMS, quorum=2, round_seconds=60))
    refused("NoUpdates", lambda: round_.settle_group(0))
    round_.submit(1)
    first = world.status(round_.task)["firstAt"]
    error = refused("RoundNotOver", lambda: round_.settle_group(0))
    assert error.values == {"accepted": 1, "quorum": 2, "endsAt": first + 60}
    world.chain.set_next_timestamp(first + 59)
    refused("RoundNotOver", lambda: round_.settle_group(0))
    world.chain.set_next_timestamp(first + 60)
    round_.settle()
    assert world.status(round_.task)["version"] == 2


def test_groups_are_settled_in_order_and_once(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100, 100])
    round_.submit(1)
    round_.submit(2)
    refused("WrongGroup", lambda: round_.settle_group(1))
    round_.settle_group(0)
    refused("WrongGroup", lambda: round_.settle_group(0))
    assert world.status(round_.task)["merged"] == 1
    round_.settle_group(1, settler=9)
    round_.settle_group(2)
    assert world.status(round_.task)["round"] == 2


def test_a_settlement_of_another_round_is_refused(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    round_.submit(1)
    round_.submit(2)
    for number in (0, 2):
        refused(
            "WrongRound",
            lambda number=number: world.transact(account(1), "settle", round_.task, number, 0, round_.settlement(0)),
        )


def test_a_settler_cannot_omit_reorder_or_alter_updates(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100, 100, 100])
    for contributor in (1, 2, 3):
        round_.submit(contributor)
    before = world.weights(round_.task, SMALL)
    right = round_.settlement(0)
    first = list(right[0])
    stranger = address_of(account(9))
    other = round_.update(77)
    altered_pages = other.groups(SMALL)[0]
    wrong: dict[str, list[object]] = {
        "omits the last": right[:2],
        "omits the first": right[1:],
        "reorders": [right[1], right[0], right[2]],
        "twice the same": [right[0], right[0], right[2]],
        "adds one": [*right, right[0]],
        "another contributor": [(stranger, *first[1:]), *right[1:]],
        "more weight": [(first[0], first[1] + 1, *first[2:]), *right[1:]],
        "more effect": [(*first[:2], first[2] + 1, *first[3:]), *right[1:]],
        "another base": [(*first[:3], some_update(SMALL, round_.task, 5, 1).header(SMALL), *first[4:]), *right[1:]],
        "other pages": [(*first[:4], [keccak(altered_pages), *first[4][1:]], altered_pages), *right[1:]],
        "other digests": [(*first[:4], [first[4][0], bytes(32), first[4][2]], first[5]), *right[1:]],
        "none": [],
    }
    for what, updates in wrong.items():
        error = refused("RunningHashMismatch", lambda updates=updates: round_.settle_group(0, updates=updates))
        assert error.values["expected"] == world.status(round_.task)["running"], what
    assert np.array_equal(world.weights(round_.task, SMALL), before)
    error = refused("WrongDigest", lambda: round_.settle_group(0, updates=[(*first[:5], altered_pages), *right[1:]]))
    assert error.values == {"claimed": first[4][0], "actual": keccak(altered_pages)}
    round_.settle()


def test_a_failed_settlement_leaves_the_weights_alone(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    round_.submit(1)
    round_.submit(2)
    before = world.weights(round_.task, FLAT)
    refused("RunningHashMismatch", lambda: round_.settle_group(0, updates=round_.settlement(0)[::-1]))
    assert np.array_equal(world.weights(round_.task, FLAT), before)
    round_.settle()
    assert not np.array_equal(world.weights(round_.task, FLAT), before)


def test_an_empty_update_is_recorded_settled_and_paid(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100], dataclasses.replace(TERMS, quorum=1))
    base = some_weights(FLAT)
    round_.submit(1, Update(round_.task, 1, TWO_BITS, (0, 0, 0), ()))
    round_.settle()
    assert np.array_equal(world.weights(round_.task, FLAT), base)
    assert world.status(round_.task)["version"] == 2


# ── Dropping ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_round_that_nobody_settles_is_dropped_after_a_while(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    world.transact(account(3), "lock", round_.task, 50)
    round_.submit(1)
    supply = world.supply()
    first = world.status(round_.task)["firstAt"]
    world.chain.set_next_timestamp(first + 599)
    assert refused("NotYetDroppable", lambda: world.transact(account(9), "drop", round_.task)).values == {
        "droppableAt": first + 600
    }
    world.chain.set_next_timestamp(first + 600)
    receipt = world.transact(account(9), "drop", round_.task)
    assert [event.name for event in world.events(receipt)] == ["RoundDropped"]
    status = world.status(round_.task)
    assert (status["version"], status["round"], status["accepted"], status["eligible"]) == (1, 2, 0, 250)
    assert world.supply() == supply
    round_.accepted = []
    round_.submit(1)  # the same base, a new round


def test_an_empty_round_is_dropped_so_that_stake_can_leave(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100])
    world.transact(account(1), "unlock", round_.task, 100)
    opened_at = world.status(round_.task)["openedAt"]
    world.chain.set_next_timestamp(opened_at + 599)
    refused("NotYetDroppable", lambda: world.transact(account(9), "drop", round_.task))
    world.chain.set_next_timestamp(opened_at + 600)
    world.transact(account(9), "drop", round_.task)
    world.transact(account(1), "withdraw", round_.task)


def test_a_half_settled_round_is_not_dropped(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100, 100])
    round_.submit(1)
    round_.submit(2)
    round_.settle_group(0)
    world.chain.set_next_timestamp(world.chain.head.timestamp + 10_000)
    refused("RoundSettling", lambda: world.transact(account(9), "drop", round_.task))
    round_.settle_group(1)
    round_.settle_group(2)


def test_a_task_without_weights_has_no_round_to_drop(world: PoolChain) -> None:
    task = world.number("nextTask")
    world.transact(account(0), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    world.chain.set_next_timestamp(world.chain.head.timestamp + 10_000)
    refused("TaskNotReady", lambda: world.transact(account(9), "drop", task))


# ── Pay ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_settled_round_pays_by_influence_and_the_settler(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [1000, 70, 3])
    for contributor in (3, 1, 2):
        round_.submit(contributor)
    weights = [weight for _, _, weight, _ in round_.accepted]
    assert weights == [3, 268, 70]
    fee, shares = MEAN.pay(TERMS, weights, 1073)
    before = [world.balance(address_of(account(who))) for who in (3, 1, 2, 9)]
    supply = world.supply()
    *_, last = round_.settle(settler=9)
    after = [world.balance(address_of(account(who))) for who in (3, 1, 2, 9)]
    assert [b - a for a, b in zip(before, after, strict=True)] == [*shares, fee]
    assert world.supply() - supply == fee + sum(shares) <= TERMS.reward
    names = [event.name for event in world.events(last)]
    assert names == ["GroupMerged", "ModelUpdated", *["ContributionPaid"] * 3, "SettlerPaid"]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stakes=st.lists(st.integers(1, 10**6), min_size=2, max_size=4), reward=st.sampled_from([1, 7, 10**18 + 3]))
def test_a_round_never_mints_more_than_its_reward_in_any_order(
    world: PoolChain, stakes: list[int], reward: int
) -> None:
    round_ = opened(world, FLAT, stakes, dataclasses.replace(TERMS, reward=reward, quorum=1))
    head = world.chain.head.number
    minted = set()
    for order in itertools.islice(itertools.permutations(range(1, len(stakes) + 1)), 4):
        for contributor in order:
            round_.submit(contributor)
        supply = world.supply()
        round_.settle(settler=9)
        minted.add(world.supply() - supply)
        world.chain.rewind(head)
    assert len(minted) == 1
    assert minted.pop() <= reward


def test_a_lone_update_of_little_stake_earns_its_share_only(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [1000, 10], dataclasses.replace(TERMS, quorum=1))
    round_.submit(2)
    before = world.balance(address_of(account(2)))
    round_.settle(settler=9)
    assert world.balance(address_of(account(2))) - before == (TERMS.reward - TERMS.reward // 20) * 10 // 252


# ── The Aspect and nobody else ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def orphan(world: PoolChain) -> PoolChain:
    """A second pool without its Aspect bound; what the Aspect of the first says is about the first."""
    owner = account(0)
    code = artifacts.contract("TrainingPool").bytecode
    pool = world.create(owner, code + POOL.encode_constructor(owner.address, owner.address, 10**24))
    return PoolChain(world.chain, pool, world.token, world.aspect)


def test_without_a_named_aspect_nothing_opens(orphan: PoolChain) -> None:
    refused(
        "AspectNotSet", lambda: orphan.transact(account(0), "openTask", 1, SMALL.encode(), "{}", terms_tuple(TERMS))
    )


def test_without_a_bound_aspect_there_is_no_verdict(orphan: PoolChain) -> None:
    orphan.transact(account(0), "setAspect", orphan.aspect)
    refused("NoVerdict", lambda: orphan.transact(account(0), "openTask", 1, SMALL.encode(), "{}", terms_tuple(TERMS)))


def unbind(world: PoolChain) -> None:
    data = selector("unbind(address,address)") + encode(
        ["address", "address"], ["0x" + world.aspect.hex(), "0x" + world.pool.hex()]
    )
    world.send(account(0), SYSTEM, data)


def test_after_the_aspect_is_unbound_nothing_is_accepted_loaded_or_settled(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100, 100])
    task = world.number("nextTask")
    world.transact(account(0), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    round_.submit(1)
    round_.submit(2)
    unbind(world)
    refused("NoVerdict", lambda: round_.settle_group(0))
    refused("NoVerdict", lambda: round_.submit(3))
    refused("NoVerdict", lambda: world.transact(account(0), "loadPages", task, 0, weight_bytes(some_weights(FLAT))))


def test_where_the_aspect_speaks_first_the_pool_would_have_said_the_same(world: PoolChain) -> None:
    """Each of these is refused twice; with the Aspect unbound the pool's own word is heard."""
    empty = opened(world, FLAT, [100])
    round_ = opened(world, SMALL, [100, 100])
    round_.submit(1)
    round_.submit(2)
    loading = world.number("nextTask")
    world.transact(account(0), "openTask", loading, FLAT.encode(), "{}", terms_tuple(TERMS))
    world.transact(account(1), "lock", loading, 100)
    unbind(world)
    page = weight_bytes(some_weights(FLAT))
    refused("TaskAlreadyLoaded", lambda: world.transact(account(0), "loadPages", empty.task, 0, page))
    refused("NoUpdates", lambda: empty.settle_group(0))
    error = refused("WrongGroup", lambda: round_.settle_group(1))
    assert error.values == {"given": 1, "next": 0}
    error = refused("WrongRound", lambda: world.transact(account(1), "settle", round_.task, 2, 0, round_.settlement(0)))
    assert error.values == {"given": 2, "current": 1}
    refused("WrongRound", lambda: world.transact(account(1), "settle", loading, 0, 0, []))
    refused("TaskNotReady", lambda: world.submit(1, some_update(FLAT, loading, 0), FLAT))


# ── The token ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_but_the_pool_mints(world: PoolChain) -> None:
    for who in (0, 1):
        error = refused(
            "NotThePool",
            lambda who=who: world.send(
                account(who), world.token, TOKEN.encode_call("mint", account(1).address, 10**18)
            ),
        )
        assert error.values["caller"] == address_of(account(who))


def test_the_genesis_supply_is_the_treasurys_and_the_token_has_a_permit(world: PoolChain) -> None:
    def ask(name: str, *arguments: object) -> object:
        return next(
            iter(TOKEN.decode_result(name, world.ask(world.token, TOKEN.encode_call(name, *arguments))).values())
        )

    assert (ask("name"), ask("symbol"), ask("decimals")) == ("LinkLearner", "LL", 18)
    assert ask("pool") == world.pool
    assert ask("nonces", account(1).address) == 0
    assert ask("allowance", account(1).address, "0x" + world.pool.hex()) == 2**256 - 1
    assert ask("allowance", account(1).address, account(2).address) == 0
    assert world.supply() == 10**9 * 10**18


def test_without_approval_nobody_but_the_pool_moves_tokens(world: PoolChain) -> None:
    data = TOKEN.encode_call("transferFrom", account(1).address, account(2).address, 1)
    refused("ERC20InsufficientAllowance", lambda: world.send(account(2), world.token, data))
