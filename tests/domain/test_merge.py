import dataclasses
from fractions import Fraction
from itertools import permutations
from math import floor, isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pool_rounds import some_update
from linklearner.domain.encodings import INT8, TWO_BITS, Encoding
from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.rules.mean import BLOCK, MEAN
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.stakes import MAX_ELIGIBLE, influence
from linklearner.domain.update import MAX_SQUARED_NORM, Update
from tests.domain.strategies import shapes, updates, weights


@st.composite
def rounds(draw: st.DrawFn) -> tuple[Shape, np.ndarray, list[Contribution], int]:
    shape = draw(shapes(60))
    eligible = draw(st.sampled_from([3, 100, 10**6, MAX_ELIGIBLE]))
    contributions, left = [], eligible
    for index in range(draw(st.integers(0, 4))):
        weight = influence(draw(st.integers(0, left)), eligible)
        left -= weight
        update = draw(updates(shape))
        contributions.append(Contribution(bytes([index]) * 20, weight, draw(st.integers(0, weight)), update))
    return shape, draw(weights(shape)), contributions, eligible


def half_away(value: Fraction) -> int:
    magnitude = floor(abs(value) + Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


@given(rounds())
def test_merge_is_the_rounded_mean_in_exact_arithmetic(case: tuple[Shape, np.ndarray, list[Contribution], int]) -> None:
    shape, base, contributions, eligible = case
    divisor = max(sum(c.weight for c in contributions), eligible // 4, 1)
    deltas = [[Fraction(step) for step in c.update.delta(shape).tolist()] for c in contributions]
    expected, saturated = [], 0
    for j, weight in enumerate(base.tolist()):
        total = sum((c.effective * delta[j] for c, delta in zip(contributions, deltas, strict=True)), Fraction(0))
        moved = weight + half_away(total / divisor)
        kept = max(-(2**15), min(2**15 - 1, moved))
        saturated += kept != moved
        expected.append(kept)
    merged = MEAN.merge(base, contributions, eligible, shape)
    assert merged.weights.tolist() == expected
    assert merged.saturated == saturated
    changed = [p for p in range(shape.page_count) if (merged.weights != base)[shape.page_slice(p)].any()]
    assert list(merged.changed_pages) == changed


@given(rounds())
def test_the_order_of_contributions_is_irrelevant(case: tuple[Shape, np.ndarray, list[Contribution], int]) -> None:
    shape, base, contributions, eligible = case
    results = {MEAN.merge(base, order, eligible, shape).weights.tobytes() for order in permutations(contributions)}
    assert len(results) == 1


def test_sums_stay_inside_int64_at_the_very_bounds() -> None:
    shape = Shape((Tensor(4, 0),), 4, 1, 2**31)
    update = Update(0, 1, INT8, (8,), ((0, np.full(4, -128, dtype=np.int8)),))
    quarter = MAX_ELIGIBLE // 4
    everyone = [Contribution(bytes([i]) * 20, quarter, quarter, update) for i in range(4)]
    merged = MEAN.merge(np.zeros(4, dtype=np.int16), everyone, MAX_ELIGIBLE, shape)
    assert merged.weights.tolist() == [-(2**15)] * 4  # 2**61 / (2**38 * 2**8), no overflow on the way
    assert merged.saturated == 0


def test_equal_stake_and_everybody_present_is_the_plain_mean() -> None:
    shape = Shape((Tensor(4, 0),), 4, 1, 2**31)
    values = ([1, 3, -3, 1], [3, 3, -1, -1], [1, 1, -1, 3], [3, 3, -3, -3])
    contributions = [
        Contribution(bytes([i]) * 20, 25, 25, Update(0, 1, TWO_BITS, (0,), ((0, np.array(v, dtype=np.int8)),)))
        for i, v in enumerate(values)
    ]
    assert MEAN.merge(np.zeros(4, dtype=np.int16), contributions, 100, shape).weights.tolist() == [
        2,
        3,
        -2,
        0,
    ]  # 2, 2.5, -2, 0


def test_no_contribution_changes_nothing() -> None:
    shape = Shape((Tensor(4, 0),), 4, 1, 1)
    base = np.array([1, -2, 3, 32767], dtype=np.int16)
    merged = MEAN.merge(base, [], 0, shape)
    assert merged.weights.tolist() == base.tolist()
    assert merged.changed_pages == ()


@given(st.integers(0, MAX_ELIGIBLE), st.integers(0, MAX_ELIGIBLE))
def test_nobody_has_more_than_a_quarter(stake: int, eligible: int) -> None:
    stake = min(stake, eligible)
    weight = influence(stake, eligible)
    assert weight <= stake
    assert (weight > 0) == (stake > 0)
    if eligible >= 4:
        assert weight == min(stake, eligible // 4)


@given(st.integers(0, 2**36), st.integers(0, MAX_SQUARED_NORM), st.integers(1, 2**31))
def test_a_long_update_counts_for_at_most_the_bound(weight: int, squared_norm: int, bound: int) -> None:
    effective = MEAN.verdict(weight, squared_norm, bound)
    assert 0 <= effective <= weight
    if squared_norm <= bound * bound:
        assert effective == weight
    else:
        assert effective**2 * squared_norm <= weight**2 * bound**2
        root = isqrt(squared_norm)
        # no more is lost than three roundings: of the root, the factor, the product
        assert effective >= weight * bound // (root + 1) - (weight >> 24) - 2


def test_the_norm_bound_holds_from_both_sides() -> None:
    assert MEAN.verdict(1000, 10**2, 10) == 1000
    assert MEAN.verdict(1000, 10**2 + 1, 10) == (1000 * ((10 << 24) // 11)) >> 24
    assert MEAN.verdict(8, MAX_SQUARED_NORM, 2**31) == 8
    with pytest.raises(OutOfRange) as refused:
        MEAN.verdict(8, MAX_SQUARED_NORM + 1, 2**31)
    assert refused.value.reason == "NormTooLong"


def test_stakes_beyond_their_bounds_are_refused() -> None:
    shape = Shape((Tensor(4, 0),), 4, 1, 1)
    update = Update(0, 1, TWO_BITS, (0,), ())
    base = np.zeros(4, dtype=np.int16)
    MEAN.merge(base, [], MAX_ELIGIBLE, shape)
    with pytest.raises(OutOfRange):
        MEAN.merge(base, [], MAX_ELIGIBLE + 1, shape)
    MEAN.merge(base, [Contribution(b"a" * 20, 4, 4, update)], 4, shape)
    with pytest.raises(OutOfRange):
        MEAN.merge(base, [Contribution(b"a" * 20, 5, 5, update)], 4, shape)
    with pytest.raises(OutOfRange):
        MEAN.merge(base, [Contribution(b"a" * 20, 4, 5, update)], 4, shape)
    with pytest.raises(InvalidInput):
        MEAN.merge(np.zeros(5, dtype=np.int16), [], 4, shape)


# Three tensors that meet inside of blocks, pages that straddle both, and a last page and a last block that are short.
LARGE = Shape((Tensor(BLOCK + 7, 12), Tensor(3, 9), Tensor(2 * BLOCK + 1001, 12)), 1208, 3, 2**31)


def exact_sums(contributions: list[Contribution], shape: Shape) -> np.ndarray:
    """T, (N,) int64, the slow way."""
    return sum(
        (one.effective * (one.update.delta(shape) * 256).astype(np.int64) for one in contributions),
        np.zeros(shape.weight_count, dtype=np.int64),
    )


@pytest.mark.parametrize("encoding", [TWO_BITS, INT8])
@pytest.mark.parametrize("effective", [1, 37_000, 2**34])
@pytest.mark.parametrize("every", [1, 2, 7])
def test_a_merge_over_many_blocks_is_exact(encoding: Encoding, effective: int, every: int) -> None:
    generator = np.random.default_rng(effective + every)
    contributions = []
    for index in range(3):
        update = some_update(LARGE, 1, 1, index, encoding=encoding, pages=range(index, LARGE.page_count, every))
        update = dataclasses.replace(update, shifts=tuple(max(s - index, 0) if s else 0 for s in update.shifts))
        contributions.append(Contribution(bytes([index]) * 20, effective + index, effective, update))
    base = generator.integers(-(2**15), 2**15, LARGE.weight_count).astype(np.int16)
    divisor = sum(one.weight for one in contributions)
    sums = exact_sums(contributions, LARGE)
    moved = base + np.sign(sums) * ((np.abs(sums) + (divisor << 7)) // (divisor << 8))
    merged = MEAN.merge(base, contributions, divisor, LARGE)
    assert np.array_equal(merged.weights, np.clip(moved, -(2**15), 2**15 - 1))
    assert merged.saturated == np.count_nonzero(merged.weights != moved)
    pages = np.flatnonzero(merged.weights != base) // LARGE.page_length
    assert merged.changed_pages == tuple(np.unique(pages))
    decoded = [dataclasses.replace(c, update=Update.decode(c.update.encode(LARGE), LARGE)) for c in contributions]
    assert np.array_equal(MEAN.merge(base, decoded, divisor, LARGE).weights, merged.weights)


@pytest.mark.parametrize("effective", [2**24 - 1, 2**24, 2**24 + 1])
def test_sums_are_exact_on_either_side_of_what_int32_holds(effective: int) -> None:
    """128 * 2^24 is 2^31, which no int32 holds."""
    shape = Shape((Tensor(8, 0),), 4, 1, 2**31)
    values = np.array([-128, 127, 1, 0], dtype=np.int8)
    one = Contribution(b"a" * 20, effective, effective, Update(0, 1, INT8, (-8,), ((0, values), (1, -values - 1))))
    two = Contribution(b"b" * 20, 1, 1, Update(0, 1, INT8, (-8,), ((0, np.full(4, -128, dtype=np.int8)),)))
    merged = MEAN.merge(np.zeros(8, dtype=np.int16), [one, two], 2**26, shape)
    divisor = max(effective + 1, 2**24)
    expected = [half_away(Fraction(total, 256 * divisor)) for total in exact_sums([one, two], shape).tolist()]
    assert merged.weights.tolist() == expected
