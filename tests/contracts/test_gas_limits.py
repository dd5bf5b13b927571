"""The gas limits that are computed hold: used <= limit <= 1.8 used (2 for submissions), for every shape, encoding and round."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.pool import POOL, TOKEN, PoolChain, account, address_of
from bench.pool_rounds import SMALL, PlayedRound, opened, some_update
from linklearner.domain import gas
from linklearner.domain.capacity import most_updates
from linklearner.domain.encodings import ENCODINGS, INT8, TWO_BITS, Encoding
from linklearner.domain.errors import Refused
from linklearner.domain.rounds import Terms
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.shape import Shape, Tensor

TERMS = Terms(
    quorum_bps=1, max_updates=20, min_round_seconds=10, round_seconds=60, drop_seconds=600, stake_seconds=100,
    min_stake=1, settler_bps=500, server_bps=2_000, reward=100 * 10**18,
)  # fmt: skip
MOST_SUBMIT, MOST_SETTLE = 2.0, 1.8
"""A node charges half the limit at least, so what stays below twice the use costs nothing."""


@dataclass(frozen=True)
class Case:
    """A round: its shape, and for each contributor encoding and pages."""

    shape: Shape
    updates: tuple[tuple[Encoding, tuple[int, ...]], ...]
    shift: int = 3
    reward: int = TERMS.reward
    extreme: bool = False
    """The base weights stand at the bounds of int16, so that many saturate."""


def limits_hold(world: PoolChain, case: Case) -> None:
    shape, count = case.shape, len(case.updates)
    weights = None if not case.extreme else np.full(shape.weight_count, 32767, dtype=np.int16)
    terms = replace(TERMS, reward=case.reward, max_updates=min(TERMS.max_updates, most_updates(shape)))
    round_ = opened(world, shape, [1000] * count, terms)
    if weights is not None:
        task = world.open_task(shape, weights, [1000] * count, terms)
        round_ = PlayedRound(world, task, shape)
    for contributor, (encoding, pages) in enumerate(case.updates, 1):
        update = round_.update(contributor, encoding=encoding, pages=pages, shift=case.shift).within(
            range(shape.page_count), shape
        )
        data = world.submission(update, shape)
        used = round_.submit(contributor, update).gas_used
        assert used <= gas.submit_limit(data, update, shape) <= MOST_SUBMIT * used
    base = world.weights(round_.task, shape)
    status = world.status(round_.task)
    round_.ripen()
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
        new = sum(world.earned(round_.task, who) == 0 for who in range(1, count + 1))
        used = world.send(account(1), world.pool, data).gas_used
        limit = gas.settle_limit(
            data, MEAN, updates, shape, group, merged=merged, rewarded=case.reward > 0, newly_paid=new
        )
        assert used <= limit <= MOST_SETTLE * used, (used, limit)
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
    present = st.sets(st.integers(0, pages - 1), min_size=1).map(lambda some: tuple(sorted(some))) | st.just(
        tuple(range(pages))
    )
    updates = draw(st.lists(st.tuples(st.sampled_from(list(ENCODINGS.values())), present), min_size=1, max_size=8))
    return Case(
        shape, tuple(updates), draw(st.sampled_from([0, 3])), draw(st.sampled_from([0, TERMS.reward])), draw(st.booleans()),
    )  # fmt: skip


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_every_limit_is_enough_and_costs_nothing_beyond(deployed_pool: PoolChain, case: Case) -> None:
    before = deployed_pool.chain.snapshot()
    try:
        limits_hold(deployed_pool, case)
    finally:
        deployed_pool.chain.revert(before)  # the clock, too


DENSE = tuple(range(5))


@pytest.mark.parametrize(
    "case",
    [
        Case(SMALL, ((TWO_BITS, (0,)),)),
        Case(SMALL, ((TWO_BITS, (0,)),) * 20),
        Case(SMALL, ((INT8, DENSE),) * 20, reward=0),
        Case(SMALL, ((INT8, DENSE), (TWO_BITS, DENSE)) * 2, shift=8, extreme=True),
        Case(Shape((Tensor(2410, 12),), 4096, 1, 2**31 - 1), ((TWO_BITS, (0,)),) * 5),
        Case(Shape((Tensor(48_000, 12),), 16_384, 3, 2**31 - 1), ((INT8, (0, 1, 2)),) * 2),
    ],
    ids=["one page", "round full of newcomers", "no reward", "saturated", "digits", "a block nearly full"],
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


def test_a_transfer_of_the_token_fits_its_fixed_limit(world: PoolChain) -> None:
    used = [
        world.send(account(1), world.token, TOKEN.encode_call("transfer", to, 1)).gas_used
        for to in (world.pool, address_of(account(40)))
    ]
    assert max(used) * 1.05 <= gas.TRANSFER_TOKEN <= 2.4 * min(used), used
