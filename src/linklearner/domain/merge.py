"""Settling a round of rule `mean`: the stake-weighted mean of the accepted updates, in integers.

With T_j = sum_i e_i * d_ij * 2**(shift + 8) and D = max(S, floor(Omega / 4), 1), S the accepted stake:  w'_j =
sat16(w_j + round(T_j / (D * 2**8))).
When everybody takes part and nobody is capped or scaled, that is federated averaging weighted by stake.

Bounds: e_i <= omega_i, sum omega_i <= Omega <= 2**38 and |d| * 2**(shift + 8) <= 2**23, so every partial sum stays
within 2**61; and since also
sum e_i <= S <= D, a weight moves by at most 2**15 steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.fixedpoint import INT16_MAX, INT16_MIN, divide_round
from linklearner.domain.shape import Shape
from linklearner.domain.update import MIN_SHIFT, Update

MAX_ELIGIBLE = 2**38
"""Stake units that a task may have in all."""
MAX_SQUARED_NORM = 2**62
"""An update longer than this is refused, in (2**-8 step)^2."""
MAX_UPDATES = 1024
"""Updates that a round may accept."""
SCALE_BITS = 24


def influence(stake: int, eligible: int) -> int:
    """omega: the stake that counts in a round, at most a quarter of all eligible stake (all of it while there are fewer than 4 units)."""
    return min(stake, eligible // 4) if eligible >= 4 else min(stake, eligible)


def effective_weight(weight: int, squared_norm: int, norm_bound: int) -> int:
    """e: omega, scaled down (rounded down twice) where the update is longer than the bound, so that |e * delta| <=
    omega * B.

    Raises OutOfRange for a squared norm above 2**62: the Aspect refuses such an update (NormTooLong).
    """
    if squared_norm > MAX_SQUARED_NORM:
        raise OutOfRange("the update is longer than 2**31 in 2**-8 steps", reason="NormTooLong")
    if squared_norm <= norm_bound * norm_bound:
        return weight
    length = isqrt(squared_norm - 1) + 1  # rounded up; > norm_bound, so the factor is below 1
    return weight * ((norm_bound << SCALE_BITS) // length) >> SCALE_BITS


@dataclass(frozen=True, slots=True)
class Contribution:
    """An accepted update: who (20 bytes), omega, e and the update."""

    contributor: bytes
    weight: int
    effective: int
    update: Update


@dataclass(frozen=True, slots=True)
class Merged:
    """(N,) int16 weights of the next version, how many hit a bound of int16, and which pages differ from the base."""

    weights: NDArray[np.int16]
    saturated: int
    changed_pages: tuple[int, ...]


def merge(weights: NDArray[np.int16], contributions: Sequence[Contribution], eligible: int, shape: Shape) -> Merged:
    """Settle a round. weights: (N,) int16, the base. eligible: Omega of the round, units. Pure; the order of
    contributions is irrelevant.

    Raises InvalidInput for weights of another length, OutOfRange if stakes break the bounds that keep the sums inside
    int64.
    """
    if weights.shape != (shape.weight_count,):
        raise InvalidInput(f"the task has {shape.weight_count} weights, not {weights.shape}")
    present = sum(contribution.weight for contribution in contributions)
    if not 0 <= eligible <= MAX_ELIGIBLE or present > max(eligible, 0):
        raise OutOfRange(f"accepted stake {present} and eligible stake {eligible} break 0 <= S <= Omega <= 2**38")
    if any(not 0 <= c.effective <= c.weight for c in contributions):
        raise OutOfRange("an effective weight lies in 0..omega")
    by_page: dict[int, list[tuple[Contribution, NDArray[np.int8]]]] = {}
    for contribution in contributions:
        contribution.update.check(shape)
        for page, values in contribution.update.pages:
            by_page.setdefault(page, []).append((contribution, values))
    divisor = max(present, eligible // 4, 1)
    result = weights.copy()
    saturated = 0
    changed = []
    # Page by page, so that the sums stay in the processor's cache.
    sums = np.empty(shape.page_length, dtype=np.int64)
    product = np.empty(shape.page_length, dtype=np.int64)
    for page in sorted(by_page):
        place = shape.page_slice(page)
        total = sums[: place.stop - place.start]
        total[:] = 0
        for contribution, values in by_page[page]:
            for tensor, a, b in shape.segments(page):
                run = slice(a - place.start, b - place.start)
                factor = contribution.effective << (contribution.update.shifts[tensor] - MIN_SHIFT)
                np.multiply(values[run], factor, out=product[run], dtype=np.int64)
                np.add(total[run], product[run], out=total[run])
        moved = weights[place] + divide_round(total, divisor)
        clipped = np.clip(moved, INT16_MIN, INT16_MAX)
        saturated += int(np.count_nonzero(clipped != moved))
        if not np.array_equal(clipped, weights[place]):
            changed.append(page)
            result[place] = clipped
    return Merged(result, saturated, tuple(changed))
