"""The shape of a task for a model and its first weights: how fine each tensor is, and how it is cut into pages and groups.

Scales: a weight is int16 in steps of 2**-q, so a tensor reaches 2**(15 - q). It gets room for HEADROOM times its greatest first weight, and
for LEAST_REACH at least (fresh biases, which are zero, for ZERO_REACH): weights that grow beyond it saturate, which is counted and shown.

Pages are of even length, about PAGE weights each; a group has as many as a block settles for UPDATES updates.
"""

from __future__ import annotations

from math import ceil, isqrt, log2
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.capacity import holds, most_updates
from linklearner.domain.errors import InvalidConfig
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.model import ModelSpec
from linklearner.domain.shape import MAX_NORM_BOUND, MAX_PAGE_LENGTH, MAX_PAGES, MIN_PAGE_LENGTH, Shape

HEADROOM: Final = 8
LEAST_REACH: Final = 4.0
ZERO_REACH: Final = 8.0
PAGE: Final = 4096
UPDATES: Final = 16
LONGEST: Final = 4
"""An update counts in full up to so many times the length of the first weights, each taken as a sixteenth of its reach at least."""


def exponents(spec: ModelSpec, weights: NDArray[np.float32]) -> tuple[int, ...]:
    """q of each tensor. weights: (N,) float32, the first ones."""
    found = []
    for values in spec.split(weights):
        largest = float(np.abs(values).max(initial=0.0))
        reach = max(HEADROOM * largest, LEAST_REACH) if largest else ZERO_REACH
        found.append(15 - ceil(log2(reach)))
    return tuple(found)


def shape_for(spec: ModelSpec, weights: NDArray[np.float32]) -> Shape:
    """Raises InvalidConfig for a model of which no block settles even one update."""
    each = exponents(spec, weights)
    pages = ceil(spec.weight_count / PAGE)
    while pages > MAX_PAGES:
        pages = ceil(pages / 2)
    length = max(MIN_PAGE_LENGTH, 4 * ceil(ceil(spec.weight_count / pages) / 4))
    if length > MAX_PAGE_LENGTH:
        raise InvalidConfig(f"a model of {spec.weight_count} weights is larger than any task: freeze a part of it")
    count = ceil(spec.weight_count / length)
    low, high = 1, count
    while low < high:  # settling costs more, the more pages a group has
        middle = (low + high + 1) // 2
        if holds(UPDATES, spec.shape(each, length, middle, 1)):
            low = middle
        else:
            high = middle - 1
    shape = spec.shape(each, length, low, 1)
    if not most_updates(shape):
        raise InvalidConfig(
            f"no block settles an update of this model, of {spec.weight_count} weights in {len(each)} tensors"
        )
    return spec.shape(each, length, low, _norm_bound(spec, weights, shape))


def _norm_bound(spec: ModelSpec, weights: NDArray[np.float32], shape: Shape) -> int:
    """B in 2**-8 steps of the weights' own scales."""
    steps = np.abs(quantise_weights(weights, shape).astype(np.int64))
    total = int(np.sum(np.maximum(steps, 2**15 // 16 // HEADROOM) ** 2))
    return min(MAX_NORM_BOUND, max(1, LONGEST * 256 * isqrt(total)))
