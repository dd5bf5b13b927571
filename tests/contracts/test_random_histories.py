"""Whatever people do, the replay computes what the contracts keep: random histories of two tasks, by real transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from linklearner.chain.contracts import POOL, VAULT
from linklearner.domain.encodings import INT8, TWO_BITS
from linklearner.domain.notation import LL_WEI
from linklearner.domain.rounds import Terms
from linklearner.domain.shape import Shape, Tensor
from tests.contracts.task_chain import PEOPLE, Reverted, TaskChain, address_of, agrees

SHAPE = Shape((Tensor(10, 12), Tensor(7, 8)), 8, 2, 2**12)  # three pages in two groups; some updates are scaled down
TERMS = Terms(
    quorum_bps=5_000,
    max_updates=4,
    min_round_seconds=3,
    round_seconds=20,
    drop_seconds=40,
    stake_seconds=15,
    min_stake=2,
    settler_bps=777,
    server_bps=0,
    reward=LL_WEI + 1,
)
REFUSALS = {
    "BadTerms", "TaskNotReady", "TaskIsClosing", "RoundFull", "RoundSettling", "RoundNotOver", "WrongGroup", "NoUpdates",
    "NotYetDroppable", "NotCreator", "TaskClosed", "StakeLimit", "InsufficientStake", "StakeStillLocked", "BelowMinimumStake",
    "AlreadySubmitted", "ZeroUnits", "ZeroAmount", "BeyondEmission", "NoStake", "TaskAlreadyLoaded", "WrongRound",
}  # fmt: skip
"""All that may be refused: no panic, no overflow, no verdict that the pool does not believe."""

task = st.sampled_from((1, 2))
person = st.integers(1, PEOPLE - 1)
units = st.integers(1, 300)
Action = tuple[Any, ...]
actions: st.SearchStrategy[Action] = st.one_of(
    st.tuples(st.just("lock"), task, person, units),
    st.tuples(st.just("lock"), task, person, units),
    st.tuples(st.just("unlock"), task, person, units),
    st.tuples(st.just("withdraw"), task, person),
    st.tuples(st.just("mature"), task, person),
    st.tuples(st.just("submit"), task, person, st.integers(0, 2**32), st.sampled_from((TWO_BITS, INT8)), st.integers(-1, 4)),
    st.tuples(st.just("submit"), task, person, st.integers(0, 2**32), st.sampled_from((TWO_BITS, INT8)), st.integers(-1, 4)),
    st.tuples(st.just("submit"), task, person, st.integers(0, 2**32), st.just(INT8), st.just(3)),
    st.tuples(st.just("settle"), task, person, st.integers(0, 1)),
    st.tuples(st.just("settle"), task, person, st.integers(0, 1)),
    st.tuples(st.just("settle all"), task, person),
    st.tuples(st.just("drop"), task, person),
    st.tuples(st.just("fund"), task, person, st.integers(1, 5 * LL_WEI)),
    st.tuples(st.just("grant"), task, st.integers(1, 20 * LL_WEI)),
    st.tuples(st.just("share fees"), task, person, st.integers(0, 3) | st.integers(0, 2 * LL_WEI)),
    st.tuples(st.just("claim"), task, person),
    st.tuples(st.just("claim stake's"), task, person),
    st.tuples(st.just("close"), task),
    st.tuples(st.just("wait"), st.sampled_from((1, 3, 7, 15, 20, 41))),
    st.tuples(st.just("wait"), st.sampled_from((1, 3, 7, 15, 20, 41))),
    st.tuples(st.just("wait"), st.sampled_from((1, 3, 7, 15, 20, 41))),
)  # fmt: skip


def perform(world: TaskChain, action: Action) -> None:
    match action:
        case ("lock" | "unlock" as function, number, who, amount):
            world.call(who, VAULT, function, number, amount)
        case ("withdraw" | "mature" as function, number, who):
            world.call(who, VAULT, function, number)
        case ("submit", number, who, seed, encoding, shift):
            world.submit(who, world.update(number, SHAPE, seed, encoding=encoding, shift=shift), SHAPE)
        case ("settle", number, who, group):
            world.settle_group(who, number, SHAPE, group)
            if group == SHAPE.group_count - 1:
                world.sent[number] = []
        case ("settle all", number, who):
            world.settle(who, number, SHAPE)
        case ("drop", number, who):
            world.drop(who, number)
        case ("fund", number, who, amount):
            world.call(who, POOL, "fund", number, amount)
        case ("grant", number, amount):
            world.call(0, POOL, "grant", number, amount)
        case ("share fees", number, who, amount):
            world.call(who, POOL, "shareFees", number, amount)
        case ("claim", number, who):
            world.call(who, POOL, "claim", number)
        case ("claim stake's", number, who):
            world.call(who, VAULT, "claim", number)
        case ("close", number):
            world.call(1, POOL, "closeTask", number)
        case ("wait", seconds):
            world.wait(seconds)
        case _:
            raise ValueError(action)


@pytest.fixture(scope="module")
def begun() -> Iterator[Callable[[], TaskChain]]:
    """Two tasks, one of them with stake already, as often as wanted."""
    world = TaskChain.deployed()
    world.open_task(1, SHAPE, TERMS, stakes=[100, 80, 60, 3], pot=10 * LL_WEI)
    world.open_task(1, SHAPE, TERMS)
    head, now_s = world.chain.head.number, world.clock.now_s

    def again() -> TaskChain:
        world.chain.rewind(head)
        world.clock.now_s = now_s
        world.sent = {1: [], 2: []}
        return world

    yield again
    world.chain.close()


# not shrunk: each attempt is a history of its own; the seed says it all
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(script=st.lists(actions, min_size=20, max_size=60))
def test_a_random_history_replays_to_what_is_on_the_chain(begun: Callable[[], TaskChain], script: list[Action]) -> None:
    world = begun()
    for action in script:
        try:
            perform(world, action)
        except Reverted as reverted:
            assert reverted.name in REFUSALS, (action, reverted)
    result = world.replay()
    for event in world.history():
        result.feed(event)
    result.finish()
    agrees(world, result)


def test_a_claim_of_less_than_a_wei_changes_nothing(begun: Callable[[], TaskChain]) -> None:
    """It has no event: if it lost the fraction, anybody could make all later claims of his differ from what others compute."""
    world = begun()
    for who in (1, 2, 3, 4):
        world.call(who, VAULT, "mature", 1)
    before = world.balance(address_of(4))
    for _ in range(200):
        world.call(5, POOL, "shareFees", 1, 3)  # a wei for 243 units of stake, of which 3 are of account 4
        world.call(4, VAULT, "claim", 1)
    assert world.balance(address_of(4)) - before == 2
    result = world.replay()
    for event in world.history():
        result.feed(event)
    agrees(world, result)
