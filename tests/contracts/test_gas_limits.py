"""The gas limits that are computed hold: used <= limit <= 1.8 used, for every shape, encoding, choice of pages and size of round."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.pool import POOL, TOKEN, PoolChain, account, address_of
from bench.pool_rounds import SMALL, PlayedRound, opened, some_update
from linklearner.domain import gas
from linklearner.domain.encodings import ENCODINGS, INT8, TWO_BITS, Encoding
from linklearner.domain.errors import Refused
from linklearner.domain.rounds import Terms
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.shape import Shape, Tensor

TERMS = Terms(
    quorum=1, max_updates=20, round_seconds=60, drop_seconds=600, min_stake=1, settler_bps=500, reward=100 * 10**18
)
MOST = 1.8


@dataclass(frozen=True)
class Case:
    """A round: its shape, and for each contributor encoding and pages."""

    shape: Shape
    updates: tuple[tuple[Encoding, tuple[int, ...]], ...]
    shift: int = 3
    reward: int = TERMS.reward
    poor: bool = False
    """Contributors hold no $LL but their stake."""
    extreme: bool = False
    """The base weights stand at the bounds of int16, so that many saturate."""


def limits_hold(world: PoolChain, case: Case) -> None:
    shape, count = case.shape, len(case.updates)
    weights = None if not case.extreme else np.full(shape.weight_count, 32767, dtype=np.int16)
    round_ = opened(world, shape, [1000] * count, replace(TERMS, reward=case.reward))
    if weights is not None:
        task = world.open_task(shape, weights, [1000] * count, replace(TERMS, reward=case.reward))
        round_ = PlayedRound(world, task, shape)
    if case.poor:
        for who in range(1, count + 1):
            owned = world.balance(address_of(account(who)))
            world.send(account(who), world.token, TOKEN.encode_call("transfer", account(0).address, owned))
    for contributor, (encoding, pages) in enumerate(case.updates, 1):
        update = round_.update(contributor, encoding=encoding, pages=pages, shift=case.shift).within(
            range(shape.page_count), shape
        )
        data = world.submission(update, shape)
        used = round_.submit(contributor, update).gas_used
        assert used <= gas.submit_limit(data, update, shape) <= MOST * used
    base = world.weights(round_.task, shape)
    status = world.status(round_.task)
    contributions = round_.contributions()
    updates = [contribution.update for contribution in contributions]
    for group in range(shape.group_count):
        pages = shape.group_page_range(group)
        merged = MEAN.merge(
            base,
            [replace(one, update=one.update.within(pages, shape)) for one in contributions],
            status["eligible"],
            shape,
        )
        data = POOL.encode_call("settle", round_.task, round_.number, group, round_.settlement(group))
        poor = sum(world.balance(address_of(account(who))) == 0 for who in range(1, count + 1))
        used = world.send(account(1), world.pool, data).gas_used
        limit = gas.settle_limit(
            data, MEAN, updates, shape, group, merged=merged, rewarded=case.reward > 0, newly_paid=poor
        )
        assert used <= limit <= MOST * used, (used, limit)
        blind = gas.settle_limit(
            data, MEAN, updates, shape, group, merged=None, rewarded=case.reward > 0, newly_paid=poor
        )
        assert blind >= used


@st.composite
def cases(draw: st.DrawFn) -> Case:
    lengths = draw(st.lists(st.integers(1, 1500), min_size=1, max_size=20))
    total = sum(lengths)
    page_length = draw(st.sampled_from([length for length in (4, 16, 64, 256, 1024, 4096) if total / length <= 600]))
    pages = -(-total // page_length)
    group_pages = draw(st.integers(max(1, -(-pages // 12)), pages))
    shape = Shape(tuple(Tensor(length, 12) for length in lengths), page_length, group_pages, 2**31 - 1)
    present = st.sets(st.integers(0, pages - 1)).map(lambda some: tuple(sorted(some))) | st.just(tuple(range(pages)))
    updates = draw(st.lists(st.tuples(st.sampled_from(list(ENCODINGS.values())), present), min_size=1, max_size=8))
    return Case(
        shape, tuple(updates), draw(st.sampled_from([-8, 0, 3])), draw(st.sampled_from([0, TERMS.reward])),
        draw(st.booleans()), draw(st.booleans()),
    )  # fmt: skip


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_every_limit_is_enough_and_costs_nothing_beyond(deployed_pool: PoolChain, case: Case) -> None:
    head = deployed_pool.chain.head.number
    try:
        limits_hold(deployed_pool, case)
    finally:
        deployed_pool.chain.rewind(head)


DENSE = tuple(range(5))


@pytest.mark.parametrize(
    "case",
    [
        Case(SMALL, ((TWO_BITS, ()),)),
        Case(SMALL, ((TWO_BITS, ()),) * 20, poor=True),
        Case(SMALL, ((INT8, DENSE),) * 20, reward=0),
        Case(SMALL, ((INT8, DENSE), (TWO_BITS, DENSE)) * 2, shift=8, extreme=True, poor=True),
        Case(Shape((Tensor(2410, 12),), 4096, 1, 2**31 - 1), ((TWO_BITS, (0,)),) * 5),
        Case(Shape((Tensor(48_000, 12),), 16_384, 3, 2**31 - 1), ((INT8, (0, 1, 2)),) * 2),
    ],
    ids=["empty", "round full of newcomers", "no reward", "saturated", "digits", "a block nearly full"],
)
def test_the_limits_hold_at_the_edges(world: PoolChain, case: Case) -> None:
    limits_hold(world, case)


def test_what_no_block_holds_is_refused_before_it_is_sent() -> None:
    shape = Shape((Tensor(200_000, 12),), 16_384, 64, 2**31 - 1)
    update = some_update(shape, 1, 1)
    data = PoolChain.submission(update, shape)
    with pytest.raises(Refused) as refused:
        gas.settle_limit(data, MEAN, [update] * 5, shape, 0, merged=None, rewarded=True, newly_paid=5)
    assert refused.value.reason == "GasLimitTooHigh"


def test_stake_and_transfers_fit_their_fixed_limits(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [10, 10])
    used: dict[str, list[int]] = {name: [] for name in ("transfer", "lock", "unlock", "withdraw", "drop")}

    def note(name: str, who: int, *arguments: int) -> None:
        used[name].append(world.transact(account(who), name, *arguments).gas_used)

    task = round_.task
    note("lock", 1, task, 1)  # more stake
    note("lock", 3, task, 1_000)  # the first
    note("lock", 3, task, 1)
    note("unlock", 3, task, 1)  # fresh stake
    note("unlock", 1, task, 3)  # stake that counts
    note("unlock", 1, task, 1)
    for _ in range(2):
        world.chain.set_next_timestamp(world.chain.head.timestamp + 700)
        note("drop", 5, task)
        note("unlock", 1, task, 1)  # pays out what could be withdrawn
    world.chain.set_next_timestamp(world.chain.head.timestamp + 700)
    note("drop", 5, task)
    note("withdraw", 1, task)
    note("withdraw", 3, task)
    for to in (world.pool, address_of(account(40))):
        data = TOKEN.encode_call("transfer", to, 1)
        used["transfer"].append(world.send(account(1), world.token, data).gas_used)
    limits = {
        "transfer": gas.TRANSFER_TOKEN, "lock": gas.LOCK, "unlock": gas.UNLOCK, "withdraw": gas.WITHDRAW, "drop": gas.DROP,
    }  # fmt: skip
    for name, limit in limits.items():
        assert max(used[name]) * 1.05 <= limit, (name, used[name])
        assert limit <= 2.4 * min(used[name]), (name, used[name])
