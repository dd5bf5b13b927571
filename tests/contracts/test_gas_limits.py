"""The computed gas limits hold, for every shape, encoding, choice of pages and size of round, and are free: less than twice the use."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bench.pool
from bench.pool import POOL, PoolChain, account
from bench.pool_rounds import SMALL, Round, opened, some_update
from linklearner.domain import gas
from linklearner.domain.encodings import ENCODINGS, INT8, TWO_BITS, Encoding
from linklearner.domain.errors import Refused
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.shape import Shape, Tensor

TERMS = replace(bench.pool.TERMS, quorum_bps=1)
MOST = 1.8
"""Of a settlement."""
SETTLER = 22
"""Holds $LL, and no stake."""


@dataclass(frozen=True)
class Case:
    """A round: its shape, and for each contributor encoding and pages."""

    shape: Shape
    updates: tuple[tuple[Encoding, tuple[int, ...]], ...]
    shift: int = 3
    reward: int = TERMS.reward
    newcomers: bool = False
    """Contributors have earned nothing in the task yet."""
    extreme: bool = False
    """The base weights stand at the bounds of int16, so that many saturate."""


def limits_hold(world: PoolChain, case: Case) -> None:
    shape, count = case.shape, len(case.updates)
    weights = None if not case.extreme else np.full(shape.weight_count, 32767, dtype=np.int16)
    round_ = opened(world, shape, [1000] * count, replace(TERMS, reward=case.reward))
    if weights is not None:
        task = world.open_task(shape, weights, [1000] * count, replace(TERMS, reward=case.reward))
        round_ = Round(world, task, shape)
    if not case.newcomers:
        for who in range(1, count + 1):
            round_.submit(who)
        round_.settle(SETTLER)
    for contributor, (encoding, pages) in enumerate(case.updates, 1):
        update = round_.update(contributor, encoding=encoding, pages=pages, shift=case.shift).within(
            range(shape.page_count), shape
        )
        data = world.submission(update, shape)
        used = round_.submit(contributor, update).gas_used
        assert used <= gas.submit_limit(data, update, shape) < 2 * used
    base = world.weights(round_.task, shape)
    status = world.status(round_.task)
    contributions = round_.contributions()
    updates = [contribution.update for contribution in contributions]
    new = sum(world.earned(round_.task, who) == 0 for who in range(1, count + 1))
    round_.ripen()
    for group in range(shape.group_count):
        pages = shape.group_page_range(group)
        merged = MEAN.merge(
            base,
            [replace(one, update=one.update.within(pages, shape)) for one in contributions],
            status["eligible"],
            shape,
        )
        data = POOL.encode_call("settle", round_.task, round_.number, group, round_.settlement(group))
        used = world.send(account(SETTLER), world.pool, data).gas_used
        limit = gas.settle_limit(
            data, MEAN, updates, shape, group, merged=merged, rewarded=case.reward > 0, newly_paid=new
        )
        assert used <= limit <= MOST * used, (used, limit)
        blind = gas.settle_limit(
            data, MEAN, updates, shape, group, merged=None, rewarded=case.reward > 0, newly_paid=new
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
        Case(SMALL, ((TWO_BITS, ()),) * 20, newcomers=True),
        Case(SMALL, ((INT8, DENSE),) * 20, reward=0),
        Case(SMALL, ((INT8, DENSE), (TWO_BITS, DENSE)) * 2, shift=8, extreme=True, newcomers=True),
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
