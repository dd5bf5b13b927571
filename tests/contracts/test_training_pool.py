"""The pool's own rules of tasks and rounds, through transactions on a chain with the Aspect bound."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from eth_hash.auto import keccak

from bench.pool import CREATOR, TERMS, CallFailed, PoolChain, Reverted, account, address_of, terms_tuple
from bench.pool_rounds import FLAT, SMALL, PlayedRound, opened, some_update, some_weights
from linklearner.domain.digest import model_digest, weight_bytes
from linklearner.domain.encodings import ENCODINGS, TWO_BITS, Encoding
from linklearner.domain.rounds import running_next, running_seed
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.stakes import MAX_ELIGIBLE
from linklearner.domain.update import Update, update_digest
from tests.contracts import puppet


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
    assert (status["version"], status["round"], status["eligible"], status["loaded"]) == (1, 1, 150, 0)
    updated = [event for event in world.events() if event.name == "ModelUpdated"][-1]
    assert updated.values["digest"] == model_digest(weights, SMALL)
    assert np.array_equal(world.weights(task, SMALL), weights)
    assert [e.values["nextPage"] for e in world.events() if e.name == "PagesLoaded"][-3:] == [2, 4, 5]


def test_anybody_opens_a_task_and_only_its_creator_loads_its_weights(world: PoolChain) -> None:
    task = world.number("nextTask")
    arguments = (task, SMALL.encode(), "{}", terms_tuple(TERMS))
    opening = world.events(world.transact(account(7), "openTask", *arguments))
    assert opening[0].values["creator"] == world.status(task)["creator"] == address_of(account(7))
    page = weight_bytes(some_weights(SMALL)[:8])
    for other in (0, 1):  # the pool's owner is nobody here
        refused("NotCreator", lambda other=other: world.transact(account(other), "loadPages", task, 0, page))
    world.transact(account(7), "loadPages", task, 0, page)


def test_tasks_are_numbered_in_order(world: PoolChain) -> None:
    task = world.number("nextTask")
    error = refused(
        "WrongTaskId",
        lambda: world.transact(account(CREATOR), "openTask", task + 1, SMALL.encode(), "{}", terms_tuple(TERMS)),
    )
    assert error.values == {"given": task + 1, "next": task}


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        ({"rule": 2}, {"rule": 3}, "rule"),
        ({"quorum_bps": 1}, {"quorum_bps": 0}, "quorumBps"),
        ({"quorum_bps": 10_000}, {"quorum_bps": 10_001}, "quorumBps"),
        ({"max_updates": 1}, {"max_updates": 0}, "maxUpdates"),
        ({"max_updates": 20}, {"max_updates": 1025}, "maxUpdates"),
        ({"min_round_seconds": 1}, {"min_round_seconds": 0}, "roundSeconds"),
        ({"min_round_seconds": 60}, {"min_round_seconds": 61}, "roundSeconds"),
        ({"round_seconds": 10}, {"round_seconds": 9}, "roundSeconds"),
        ({"drop_seconds": 61}, {"drop_seconds": 60}, "dropSeconds"),
        ({"drop_seconds": 366 * 86400}, {"drop_seconds": 366 * 86400 + 1}, "dropSeconds"),
        ({"stake_seconds": 1}, {"stake_seconds": 0}, "stakeSeconds"),
        ({"stake_seconds": 366 * 86400}, {"stake_seconds": 366 * 86400 + 1}, "stakeSeconds"),
        ({"min_stake": MAX_ELIGIBLE}, {"min_stake": MAX_ELIGIBLE + 1}, "minStake"),
        ({"settler_bps": 10_000}, {"settler_bps": 10_001}, "settlerBps"),
        ({"server_bps": 5_000}, {"server_bps": 5_001}, "serverBps"),
    ],
)
def test_terms_hold_from_both_sides(world: PoolChain, good: dict[str, int], bad: dict[str, int], field: str) -> None:
    def open_with(changes: dict[str, int]) -> None:
        terms = dataclasses.replace(TERMS, **changes)
        world.transact(account(CREATOR), "openTask", world.number("nextTask"), SMALL.encode(), "{}", terms_tuple(terms))

    open_with(good)
    assert refused("BadTerms", lambda: open_with(bad)).values == {"field": field}


def test_a_task_is_loaded_once(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100])
    data = weight_bytes(some_weights(FLAT))
    # The Aspect says so first.
    refused("TaskLoaded", lambda: world.transact(account(CREATOR), "loadPages", round_.task, 0, data))


def test_what_does_not_exist_is_named(world: PoolChain) -> None:
    for task in (0, world.number("nextTask"), 2**21 - 1):
        for function, arguments in (
            ("taskOf", ()), ("termsOf", ()), ("clockOf", ()), ("serverBpsOf", ()), ("claimable", (account(1).address,))
        ):  # fmt: skip
            with pytest.raises(CallFailed):
                world.read(function, task, *arguments)
        with pytest.raises(CallFailed):
            world.read_vault("stakeOf", task, account(1).address)
        for function in ("lock", "unlock"):
            refused("UnknownTask", lambda f=function, t=task: world.transact_vault(account(1), f, t, 5))
        for function in ("withdraw", "mature"):
            refused("UnknownTask", lambda f=function, t=task: world.transact_vault(account(1), f, t))
        for function in ("fund", "shareFees"):
            refused("UnknownTask", lambda f=function, t=task: world.transact(account(1), f, t, 5))
        for function in ("claim", "closeTask"):
            refused("UnknownTask", lambda f=function, t=task: world.transact(account(1), f, t))
        refused("UnknownTask", lambda t=task: world.transact(account(0), "grant", t, 1))


def test_the_aspect_is_named_once_and_by_the_owner(world: PoolChain) -> None:
    refused("OwnableUnauthorizedAccount", lambda: world.transact(account(1), "setAspect", world.aspect))
    refused("AspectAlreadySet", lambda: world.transact(account(0), "setAspect", world.aspect))
    bare = PoolChain(world.chain)
    bare.create_pool(account(0))
    refused("ZeroAddress", lambda: bare.transact(account(0), "setAspect", bytes(20)))


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
    assert world.read_vault("submittedIn", round_.task, account(1).address) == {"round": 2}


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
    round_.ripen()
    round_.settle_group(0)
    refused("RoundSettling", lambda: round_.submit(3))


def test_before_its_weights_a_task_takes_no_update(world: PoolChain) -> None:
    task = world.number("nextTask")
    world.transact(account(CREATOR), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    world.transact_vault(account(1), "lock", task, 100)
    refused("NotLoaded", lambda: world.submit(1, some_update(FLAT, task, 0), FLAT))


# ── Settling ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [SMALL, FLAT])
@pytest.mark.parametrize("encoding", ENCODINGS.values())
def test_a_settled_round_has_the_weights_and_digest_that_python_computes(
    world: PoolChain, shape: object, encoding: Encoding
) -> None:
    round_ = opened(world, shape, [1000, 70, 23, 500])  # type: ignore[arg-type]
    base = some_weights(round_.shape)
    for contributor in (1, 2, 3, 4):
        round_.submit(contributor, round_.update(contributor, encoding=encoding))
    merged = MEAN.merge(base, round_.contributions(), 1593, round_.shape)
    *_, last = round_.settle()
    updated = next(event for event in world.events(last) if event.name == "ModelUpdated").values
    assert np.array_equal(world.weights(round_.task, round_.shape), merged.weights)
    assert updated["digest"] == model_digest(merged.weights, round_.shape)
    assert (updated["version"], updated["round"], updated["accepted"], updated["saturated"]) == (2, 1, 4, 0)
    status = world.status(round_.task)
    assert (status["version"], status["round"], status["accepted"], status["merged"]) == (2, 2, 0, 0)


def test_a_round_is_settled_at_its_quorum_or_when_its_time_is_over(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    refused("NoUpdates", lambda: round_.settle_group(0))
    world.wait(30)
    round_.submit(1)
    first = world.now
    error = refused("RoundNotOver", lambda: round_.settle_group(0))
    assert error.values == {"present": 50, "eligible": 200, "settleableAt": first + 60}
    world.wait(59)
    refused("RoundNotOver", lambda: round_.settle_group(0))
    world.wait(1)
    round_.settle_group(0)
    assert world.status(round_.task)["version"] == 2


def test_a_round_with_its_quorum_still_lasts_its_least_time(world: PoolChain) -> None:
    """Nobody fills a round and settles it in its first block, before others could come."""
    round_ = opened(world, FLAT, [100, 100])
    round_.submit(1)
    round_.submit(2)
    error = refused("RoundNotOver", lambda: round_.settle_group(0))
    assert error.values == {"present": 100, "eligible": 200, "settleableAt": world.now + 10}
    world.wait(9)
    refused("RoundNotOver", lambda: round_.settle_group(0))
    world.wait(1)
    round_.settle_group(0)


def test_groups_are_settled_in_order_and_once(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [100, 100])
    round_.submit(1)
    round_.submit(2)
    round_.ripen()
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
    round_.ripen()
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
    round_.ripen()
    refused("RunningHashMismatch", lambda: round_.settle_group(0, updates=round_.settlement(0)[::-1]))
    assert np.array_equal(world.weights(round_.task, FLAT), before)
    round_.settle()
    assert not np.array_equal(world.weights(round_.task, FLAT), before)


# ── Dropping ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_round_that_nobody_settles_is_dropped_after_a_while(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    world.transact_vault(account(3), "lock", round_.task, 50)
    world.wait(200)
    round_.submit(1)
    pot, first = world.status(round_.task)["pot"], world.now
    world.wait(599)
    assert refused("NotYetDroppable", lambda: world.transact(account(9), "drop", round_.task)).values == {
        "droppableAt": first + 600
    }
    world.wait(1)
    receipt = world.transact(account(9), "drop", round_.task)
    assert [event.name for event in world.events(receipt)] == ["RoundDropped"]
    status = world.status(round_.task)
    assert (status["version"], status["round"], status["accepted"], status["eligible"]) == (1, 2, 0, 250)
    assert (status["pot"], status["shares"]) == (pot, 0)
    round_.accepted = []
    round_.submit(1)  # the same base, a new round


def test_an_empty_round_ends_at_once_for_stake_that_is_ripe_and_otherwise_in_time(world: PoolChain) -> None:
    """A newcomer waits for nobody while a round has no update, and nobody turns empty rounds over for nothing."""
    round_ = opened(world, FLAT, [100])
    opened_at = world.now
    world.transact_vault(account(2), "lock", round_.task, 40)
    error = refused("NotYetDroppable", lambda: world.transact(account(2), "drop", round_.task))
    assert error.values == {"droppableAt": opened_at + 600}
    matures = world.read_vault("stakeOf", round_.task, account(2).address)["maturesAt"]
    world.wait_until(matures - 1)
    refused("NotYetDroppable", lambda: world.transact(account(2), "drop", round_.task))
    world.wait(1)
    world.transact(account(2), "drop", round_.task)
    assert world.status(round_.task)["eligible"] == 140
    round_.submit(2)
    assert round_.accepted[0][2] == 35


def test_an_empty_round_that_nobody_waits_for_is_dropped_in_time(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100])
    world.wait(599)
    refused("NotYetDroppable", lambda: world.transact(account(9), "drop", round_.task))
    world.wait(1)
    world.transact(account(9), "drop", round_.task)


def test_ripe_stake_does_not_end_a_round_with_an_update(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100])
    world.transact_vault(account(2), "lock", round_.task, 40)
    world.wait(300)
    round_.submit(1)
    refused("NotYetDroppable", lambda: world.transact(account(2), "drop", round_.task))


def test_dropping_a_half_merged_round_makes_a_version_of_what_is_merged(world: PoolChain) -> None:
    """Nobody is paid, and what was merged stays: the weights, their digest and the version say the same."""
    round_ = opened(world, SMALL, [100, 100])
    base = some_weights(SMALL)
    round_.submit(1)
    round_.submit(2)
    merged = MEAN.merge(base, round_.contributions(), 200, SMALL).weights
    round_.ripen()
    round_.settle_group(0)
    pot, first = world.status(round_.task)["pot"], world.status(round_.task)["firstAt"]
    refused("NotYetDroppable", lambda: world.transact(account(9), "drop", round_.task))
    world.wait_until(first + 600)
    receipt = world.transact(account(9), "drop", round_.task)
    updated, dropped = world.events(receipt)
    half = np.concatenate([merged[:16], base[16:]])  # group 0: two pages of 8
    assert (updated.name, dropped.name) == ("ModelUpdated", "RoundDropped")
    assert np.array_equal(world.weights(round_.task, SMALL), half)
    assert updated.values["digest"] == model_digest(half, SMALL)
    assert (updated.values["version"], updated.values["round"], updated.values["accepted"]) == (2, 1, 2)
    status = world.status(round_.task)
    assert (status["version"], status["round"], status["merged"], status["accepted"]) == (2, 2, 0, 0)
    assert (status["pot"], status["shares"]) == (pot, 0)
    round_.accepted = []
    round_.submit(1)
    round_.submit(2)
    round_.settle()
    assert world.status(round_.task)["version"] == 3


def test_the_end_of_a_half_merged_round_starts_the_count_of_saturated_weights_anew(world: PoolChain) -> None:
    weights = np.full(SMALL.weight_count, 32767, dtype=np.int16)
    round_ = PlayedRound(world, world.open_task(SMALL, weights, [100, 100]), SMALL)
    up = tuple((page, np.ones(SMALL.page_weights(page), dtype=np.int8)) for page in range(5))
    for contributor in (1, 2):
        round_.submit(contributor, Update(round_.task, 1, TWO_BITS, (4, 4, 4), up))
    round_.ripen()
    round_.settle_group(0)
    world.wait(600)
    updated, _ = world.events(world.transact(account(9), "drop", round_.task))
    assert updated.values["saturated"] == 16
    round_.accepted = []
    for contributor in (1, 2):
        round_.submit(contributor, round_.update(contributor, pages=[4], shift=0))
    updated = next(event for event in world.events(round_.settle()[-1]) if event.name == "ModelUpdated")
    assert updated.values["saturated"] <= 5


def test_saturated_weights_are_counted_over_all_groups_of_a_round(world: PoolChain) -> None:
    weights = np.full(SMALL.weight_count, 32767, dtype=np.int16)
    round_ = PlayedRound(world, world.open_task(SMALL, weights, [100, 100]), SMALL)
    for version in (1, 2):
        up = tuple((page, np.ones(SMALL.page_weights(page), dtype=np.int8)) for page in range(5))
        for contributor in (1, 2):
            round_.submit(contributor, Update(round_.task, version, TWO_BITS, (4, 4, 4), up))
        updated = next(event for event in world.events(round_.settle()[-1]) if event.name == "ModelUpdated")
        assert updated.values["saturated"] == SMALL.weight_count


def test_a_task_without_weights_has_no_round_to_drop(world: PoolChain) -> None:
    task = world.number("nextTask")
    world.transact(account(CREATOR), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    world.wait(10_000)
    refused("TaskNotReady", lambda: world.transact(account(9), "drop", task))


# ── The Aspect and nobody else ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def orphan(world: PoolChain) -> PoolChain:
    """A second pool without its Aspect bound; what the Aspect of the first says is about the first."""
    second = PoolChain(world.chain, aspect=world.aspect)
    second.create_pool(account(0))
    return second


def test_without_a_named_aspect_nothing_opens(orphan: PoolChain) -> None:
    opening = (1, SMALL.encode(), "{}", terms_tuple(TERMS))
    refused("AspectNotSet", lambda: orphan.transact(account(CREATOR), "openTask", *opening))


def test_without_a_bound_aspect_there_is_no_verdict(orphan: PoolChain) -> None:
    orphan.transact(account(0), "setAspect", orphan.aspect)
    opening = (1, SMALL.encode(), "{}", terms_tuple(TERMS))
    refused("NoVerdict", lambda: orphan.transact(account(CREATOR), "openTask", *opening))


@pytest.fixture
def puppets() -> Iterator[PoolChain]:
    """A pool whose owner named an Aspect that says whatever it is asked to."""
    world = PoolChain.deployed(6, puppet.CODE)
    yield world
    world.chain.close()


def puppet_task(world: PoolChain, stakes: Sequence[int] = (), *, groups: int = 1, load: bool = True) -> int:
    task = world.number("nextTask")
    terms = terms_tuple(TERMS)
    puppet.transact(world, CREATOR, "o", puppet.opened(task, groups, groups), "openTask", task, b"", "", terms)
    for index, units in enumerate(stakes, 1):
        world.transact_vault(account(index), "lock", task, units)
    world.transact(account(0), "fund", task, 10**24)
    if load:
        puppet.transact(world, CREATOR, "l", puppet.loaded(task), "loadPages", task, 0, b"")
    return task


def puppet_submit(world: PoolChain, who: int, task: int, weight: int, effective: int, groups: int = 1) -> None:
    header, parts = b"h%d" % who, [b"p"] * groups
    digest = update_digest(header, tuple(keccak(part) for part in parts))
    verdict = puppet.judged(digest, address_of(account(who)), task, weight, effective)
    puppet.transact(world, who, "s", verdict, "submit", task, digest, header, parts)


def test_without_a_verdict_nothing_is_opened_loaded_accepted_settled_or_dropped(puppets: PoolChain) -> None:
    task = puppet_task(puppets, [100, 100], groups=2)
    for who in (1, 2):
        puppet_submit(puppets, who, task, 50, 50, 2)
    loading = puppet_task(puppets, [5], load=False)
    opening = (puppets.number("nextTask"), b"", "", terms_tuple(TERMS))
    refused("NoVerdict", lambda: puppets.transact(account(CREATOR), "openTask", *opening))
    refused("NoVerdict", lambda: puppets.transact(account(CREATOR), "loadPages", loading, 0, b""))
    other = puppet_task(puppets, [100])
    refused("NoVerdict", lambda: puppets.transact(account(1), "submit", other, bytes(32), b"", []))
    puppets.wait(10)
    updates = [(address_of(account(who)), 50, 50, b"h%d" % who, [keccak(b"p")] * 2, b"p") for who in (1, 2)]
    refused("NoVerdict", lambda: puppets.transact(account(1), "settle", task, 1, 0, updates))
    puppet.transact(puppets, 1, "m", puppet.merged(task, 1, 0, 2), "settle", task, 1, 0, updates)
    puppets.wait(600)
    refused("NoVerdict", lambda: puppets.transact(account(1), "drop", task))


def test_a_verdict_about_something_else_is_none(puppets: PoolChain) -> None:
    task = puppet_task(puppets, [100, 100], groups=2)
    loading = puppet_task(puppets, [5], load=False)
    next_task = puppets.number("nextTask")
    opening = ("openTask", next_task, b"", "", terms_tuple(TERMS))
    refused("NoVerdict", lambda: puppet.transact(puppets, 1, "o", puppet.opened(next_task + 1), *opening))
    refused("NoVerdict", lambda: puppet.transact(puppets, 1, "o", puppet.opened(next_task)[:-1], *opening))
    refused("NoVerdict", lambda: puppet.transact(puppets, 1, "x", puppet.opened(next_task), *opening))
    loads = ("loadPages", loading, 0, b"")
    refused("NoVerdict", lambda: puppet.transact(puppets, CREATOR, "l", puppet.loaded(task), *loads))
    digest = update_digest(b"h", (keccak(b"p"),) * 2)
    me, other = address_of(account(1)), address_of(account(2))
    for verdict in (
        puppet.judged(bytes(32), me, task, 50, 50),
        puppet.judged(digest, other, task, 50, 50),
        puppet.judged(digest, me, loading, 50, 50),
    ):
        refused(
            "NoVerdict",
            lambda v=verdict: puppet.transact(puppets, 1, "s", v, "submit", task, digest, b"h", [b"p", b"p"]),
        )
    for who in (1, 2):
        puppet_submit(puppets, who, task, 50, 50, 2)
    puppets.wait(10)
    updates = [(address_of(account(who)), 50, 50, b"h%d" % who, [keccak(b"p")] * 2, b"p") for who in (1, 2)]
    for about in ((loading, 1, 0), (task, 2, 0), (task, 1, 1)):
        refused(
            "NoVerdict",
            lambda a=about: puppet.transact(puppets, 1, "m", puppet.merged(*a), "settle", task, 1, 0, updates),
        )
    puppet.transact(puppets, 1, "m", puppet.merged(task, 1, 0, 2), "settle", task, 1, 0, updates)
    puppets.wait(600)
    for task_said, round_said in ((loading, 1), (task, 2)):
        ended = task_said.to_bytes(8, "big") + round_said.to_bytes(8, "big") + bytes(32)
        refused("NoVerdict", lambda e=ended: puppet.transact(puppets, 1, "d", e, "drop", task))
    puppet.transact(puppets, 1, "d", task.to_bytes(8, "big") + (1).to_bytes(8, "big") + bytes(32), "drop", task)


@pytest.mark.parametrize(
    ("weight", "effective"),
    [(0, 0), (101, 101), (50, 51), (2**40 + 50, 50), (2**40, 0), (2**63, 2**63), (50, 2**40 + 50), (2**64 - 1, 50)],
)
def test_the_pool_believes_no_aspect_about_influence(puppets: PoolChain, weight: int, effective: int) -> None:
    """A hostile Aspect once minted 1.75e16 LL through a truncation to 40 bits. The pool has read the stake itself."""
    task = puppet_task(puppets, [100, 1000])
    error = refused("WrongVerdict", lambda: puppet_submit(puppets, 1, task, weight, effective))
    assert error.values == {"weight": weight, "effective": effective, "most": 100}
    puppet_submit(puppets, 1, task, 100, 100)


def test_the_pool_believes_no_aspect_about_the_quarter(puppets: PoolChain) -> None:
    task = puppet_task(puppets, [1000, 1000])
    assert refused("WrongVerdict", lambda: puppet_submit(puppets, 1, task, 501, 1)).values["most"] == 500
    puppet_submit(puppets, 1, task, 500, 500)


def test_where_the_aspect_speaks_first_the_pool_would_have_said_the_same(puppets: PoolChain) -> None:
    """Each of these is refused twice; with an Aspect that says nothing the pool's own word is heard."""
    world = puppets
    empty = puppet_task(world, [100])
    task = puppet_task(world, [100, 100], groups=2)
    loading = puppet_task(world, [100], load=False)
    for who in (1, 2):
        puppet_submit(world, who, task, 50, 50, 2)
    world.wait(10)
    refused("TaskAlreadyLoaded", lambda: world.transact(account(CREATOR), "loadPages", empty, 0, b""))
    refused("NoUpdates", lambda: world.transact(account(1), "settle", empty, 1, 0, []))
    error = refused("WrongGroup", lambda: world.transact(account(1), "settle", task, 1, 1, []))
    assert error.values == {"given": 1, "next": 0}
    error = refused("WrongRound", lambda: world.transact(account(1), "settle", task, 2, 0, []))
    assert error.values == {"given": 2, "current": 1}
    refused("WrongRound", lambda: world.transact(account(1), "settle", loading, 0, 0, []))
    refused("TaskNotReady", lambda: puppet_submit(world, 1, loading, 50, 50))
