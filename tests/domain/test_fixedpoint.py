from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.errors import InvalidInput, NotFinite
from linklearner.domain.fixedpoint import dequantise_weights, divide_round, quantise_weights, round_half_away
from linklearner.domain.shape import Shape, Tensor
from tests.domain.strategies import shapes, weights


def half_away(value: Fraction) -> int:
    magnitude = floor(abs(value) + Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


@given(st.floats(-1e18, 1e18))
def test_rounding_is_to_nearest_with_ties_away_from_zero(value: float) -> None:
    assert round_half_away(np.array([value]))[0] == half_away(Fraction(value))


def test_rounding_does_not_trip_over_the_largest_number_below_a_half() -> None:
    just_below = np.nextafter(0.5, 0)
    assert round_half_away(np.array([just_below, -just_below, 0.5, -0.5, 2.5])).tolist() == [0, 0, 1, -1, 3]


@given(st.data())
def test_quantise_inverts_dequantise(data: st.DataObject) -> None:
    shape = data.draw(shapes())
    w = data.draw(weights(shape))
    assert np.array_equal(quantise_weights(dequantise_weights(w, shape), shape), w)


def test_quantising_saturates_at_both_ends_of_int16() -> None:
    shape = Shape((Tensor(4, 12),), 4, 1, 1)
    values = np.array([7.999, 8.0, -8.0, -8.001])
    assert quantise_weights(values, shape).tolist() == [32764, 32767, -32768, -32768]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(NotFinite):
        quantise_weights(np.array([0, 0, 0, bad]), Shape((Tensor(4, 12),), 4, 1, 1))


def test_weights_of_another_length_are_refused() -> None:
    shape = Shape((Tensor(4, 12),), 4, 1, 1)
    with pytest.raises(InvalidInput):
        quantise_weights(np.zeros(5), shape)
    with pytest.raises(InvalidInput):
        dequantise_weights(np.zeros(3, dtype=np.int16), shape)


@given(st.integers(-(2**61), 2**61), st.integers(1, 2**38))
def test_divide_round_is_exact(total: int, divisor: int) -> None:
    assert divide_round(np.array([total]), divisor)[0] == half_away(Fraction(total, divisor * 256))
