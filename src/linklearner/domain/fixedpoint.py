"""Weights as int16: value = w * 2**-q. Rounding is to nearest, ties away from zero, everywhere and in every language."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, NotFinite
from linklearner.domain.shape import Shape

INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1


def round_half_away(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """To the nearest integer, ties away from zero; exact (adding 0.5 would round 0.49999999999999994 up)."""
    whole = np.trunc(values)
    return whole + np.where(np.abs(values - whole) >= 0.5, np.copysign(1.0, values), 0.0)


def quantise_weights(values: NDArray[np.floating], shape: Shape) -> NDArray[np.int16]:
    """Real weights as int16, to nearest, ties away from zero, saturating.

    values: (N,) float. Returns (N,) int16. Raises InvalidInput for another length, NotFinite for NaN or infinity.
    """
    if values.shape != (shape.weight_count,):
        raise InvalidInput(f"the task has {shape.weight_count} weights, not {values.shape}")
    if not np.isfinite(values).all():
        raise NotFinite(f"{int((~np.isfinite(values)).sum())} of {values.size} weights are NaN or infinite")
    scaled = np.ldexp(values.astype(np.float64), shape.exponents())
    return np.clip(round_half_away(scaled), INT16_MIN, INT16_MAX).astype(np.int16)


def dequantise_weights(weights: NDArray[np.int16], shape: Shape) -> NDArray[np.float32]:
    """The real values w * 2**-q, exactly: a float32 holds 24 bits. weights: (N,) int16. Returns (N,) float32."""
    if weights.shape != (shape.weight_count,):
        raise InvalidInput(f"the task has {shape.weight_count} weights, not {weights.shape}")
    return np.ldexp(weights.astype(np.float32), -shape.exponents())


def divide_round(total: NDArray[np.int64], divisor: int, *, out: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """total / (divisor * 2**8), to nearest, ties away from zero.

    total: int64, |total| <= 2**61; 1 <= divisor <= 2**38. With m = divisor * 2**8, which is even, that is
    floor((total + m/2 - [total < 0]) / m), and |total| + m/2 + 1 <= 2**61 + 2**45 + 1 cannot overflow. out: may be `total` itself.
    """
    biased = np.right_shift(total, 63)  # -1 where it is negative
    biased += total
    biased += divisor << 7
    return np.floor_divide(biased, divisor << 8, out=out)
