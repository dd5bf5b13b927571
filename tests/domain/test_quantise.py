from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from linklearner.domain.encodings import ENCODINGS, INT8, TWO_BITS, Encoding
from linklearner.domain.errors import InvalidInput, NotFinite, OutOfRange
from linklearner.domain.quantise import GRID_BITS, MAX_STEPS, quantise_delta
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update
from tests.domain.strategies import shapes
from tests.vectors.generate import on_the_edge

ANY_ENCODING = st.sampled_from(list(ENCODINGS.values()))


@st.composite
def shapes_with_deltas(draw: st.DrawFn) -> tuple[Shape, np.ndarray]:
    """Deltas in real units, up to the largest that is taken, some tensors nearly silent."""
    shape = draw(shapes())
    scale = draw(st.sampled_from([1e-9, 1e-3, 1.0, 300.0, MAX_STEPS]))
    steps = draw(hnp.arrays(np.float64, shape.weight_count, elements=st.floats(-scale, scale)))
    return shape, np.ldexp(steps, -shape.exponents().astype(np.int32))


def gridded(delta: np.ndarray, shape: Shape) -> np.ndarray:
    grid = GRID_BITS + shape.exponents().astype(np.int32)
    scaled = np.ldexp(delta, grid)
    return np.ldexp(np.trunc(scaled) + np.where(np.abs(scaled - np.trunc(scaled)) >= 0.5, np.sign(scaled), 0), -grid)


@given(shapes_with_deltas(), ANY_ENCODING)
def test_delta_is_dequantised_plus_residual_exactly(case: tuple[Shape, np.ndarray], encoding: Encoding) -> None:
    shape, delta = case
    result = quantise_delta(delta, shape, 0, 1, encoding)
    dequantised = np.ldexp(result.update.delta(shape), -shape.exponents().astype(np.int32))
    assert np.array_equal(dequantised + result.residual, gridded(delta, shape))
    again = quantise_delta(result.residual, shape, 0, 1, encoding)  # a residual is itself on the grid
    assert np.array_equal(
        np.ldexp(again.update.delta(shape), -shape.exponents().astype(np.int32)) + again.residual, result.residual
    )


@given(shapes_with_deltas(), ANY_ENCODING)
def test_every_update_is_canonical(case: tuple[Shape, np.ndarray], encoding: Encoding) -> None:
    shape, delta = case
    update = quantise_delta(delta, shape, 3, 9, encoding).update
    assert Update.decode(update.encode(shape), shape) == update
    assert (update.task, update.base_version) == (3, 9)


def test_two_bits_use_half_the_root_mean_square() -> None:
    shape = Shape((Tensor(4, 12),), 4, 1, 1)
    delta = (
        np.array([-64.0, -8, 8, 64]) / 4096
    )  # root mean square 45.6 steps, half of it 22.8: 2**5 is the nearest power in log
    update = quantise_delta(delta, shape, 0, 1).update
    assert update.shifts == (5,)
    assert update.pages[0][1].tolist() == [-3, -1, 1, 3]  # 64 steps are exactly 2 * 2**5: away from zero


def test_int8_uses_the_smallest_shift_that_holds_the_largest_weight() -> None:
    shape = Shape((Tensor(4, 12),), 4, 1, 1)
    for largest, shift in ((127.0, 0), (127.5, 1), (254.0, 1), (255.0, 2), (63.5, -1)):
        update = quantise_delta(np.array([0, 0, 0, largest]) / 4096, shape, 0, 1, INT8).update
        assert update.shifts == (shift,)


def test_silence_makes_an_update_without_pages() -> None:
    shape = Shape((Tensor(8, 12),), 4, 2, 1)
    for encoding in ENCODINGS.values():
        assert quantise_delta(np.zeros(8), shape, 0, 1, encoding).update.pages == ()


def test_an_int8_page_that_rounds_to_zero_is_left_out() -> None:
    shape = Shape((Tensor(8, 12),), 4, 2, 1)
    delta = np.array([1e3] * 4 + [1e-6] * 4) / 4096
    assert [page for page, _ in quantise_delta(delta, shape, 0, 1, INT8).update.pages] == [0]


def test_deltas_that_are_no_numbers_or_too_long_are_refused() -> None:
    shape = Shape((Tensor(4, 0),), 4, 1, 1)
    assert quantise_delta(np.array([0, 0, 0, MAX_STEPS]), shape, 0, 1)
    with pytest.raises(OutOfRange, match="diverged"):
        quantise_delta(np.array([0, 0, 0, np.nextafter(MAX_STEPS, np.inf)]), shape, 0, 1)
    with pytest.raises(NotFinite):
        quantise_delta(np.array([0, 0, 0, np.nan]), shape, 0, 1)
    with pytest.raises(InvalidInput):
        quantise_delta(np.zeros(5), shape, 0, 1)


@given(st.integers(0, 2**32 - 1))
def test_error_feedback_loses_nothing_over_many_rounds(seed: int) -> None:
    shape = Shape((Tensor(40, 12),), 8, 2, 1)
    generator = np.random.default_rng(seed)
    residual = np.zeros(40)
    wanted, sent = np.zeros(40), np.zeros(40)
    for _ in range(10):
        delta = np.round(generator.normal(0, 0.01, 40) * 2**30) / 2**30
        wanted += delta
        result = quantise_delta(delta + residual, shape, 0, 1)
        residual = result.residual
        sent += result.update.delta(shape) / 4096
    assert np.array_equal(sent + residual, wanted)


@given(shapes_with_deltas(), ANY_ENCODING, st.integers(0, 12))
def test_an_update_of_few_pages_sends_those_where_most_moves_and_keeps_the_rest(
    case: tuple[Shape, np.ndarray], encoding: Encoding, most: int
) -> None:
    shape, delta = case
    result = quantise_delta(delta, shape, 0, 1, encoding, most)
    sent = {page for page, _ in result.update.pages}
    assert len(sent) <= most
    assert Update.decode(result.update.encode(shape), shape) == result.update
    dequantised = np.ldexp(result.update.delta(shape), -shape.exponents().astype(np.int32))
    assert np.array_equal(dequantised + result.residual, gridded(delta, shape))
    whole = {page for page, _ in quantise_delta(delta, shape, 0, 1, encoding).update.pages}
    if most >= shape.page_count:
        assert sent == whole
    energy = [float(np.square(delta[shape.page_slice(page)]).sum()) for page in range(shape.page_count)]
    best = sorted((page for page in range(shape.page_count) if energy[page]), key=lambda page: -energy[page])
    # what rounds to zero is left out of the best
    assert all(energy[page] >= energy[best[: max(most, 1)][-1]] * (1 - 1e-12) for page in sent)


def test_every_page_has_its_turn() -> None:
    """Two of ten pages a round, and a delta that never changes: what waits grows until it is sent."""
    shape = Shape((Tensor(40, 12),), 4, 1, 1)
    delta = np.repeat(np.linspace(0.001, 0.01, 10), 4)
    residual, sent = np.zeros(40), np.zeros(10, dtype=int)
    for _ in range(60):
        result = quantise_delta(delta + residual, shape, 0, 1, most_pages=2)
        residual = result.residual
        sent[[page for page, _ in result.update.pages]] += 1
    assert sent.min() >= 1 and sent[-1] > sent[0]
    assert np.abs(residual).max() < 60 * 0.01 / 4


def test_the_mean_square_is_summed_one_by_one_as_every_language_can() -> None:
    shape = Shape((Tensor(512, 0),), 512, 1, 2**31)
    steps = on_the_edge(2)
    added = 0.0
    for step in steps:
        added += step * step
    assert added < 512 * 2.0**25 <= float(np.square(steps).sum())  # in pairs, the shift would be 12
    assert quantise_delta(steps, shape, 0, 1, TWO_BITS).update.shifts == (11,)


@given(st.floats(2.0**-30, MAX_STEPS))
def test_shifts_are_the_powers_of_two_that_the_rules_name(largest: float) -> None:
    steps = np.array([largest, -largest, largest, largest])
    two_bits, int8 = TWO_BITS.shift(steps), INT8.shift(steps)
    mean_square = Fraction(largest * largest)  # four equal squares add up exactly
    assert 4 * Fraction(2) ** (2 * two_bits - 1) <= mean_square < 4 * Fraction(2) ** (2 * two_bits + 1)
    assert 127 * Fraction(2) ** int8 >= Fraction(largest) > 127 * Fraction(2) ** (int8 - 1)
