"""The shape of a task for a model and its first weights: how fine each tensor is, and how it is cut into pages and groups.

Scales: a weight is int16 in steps of 2**-q, so a tensor reaches 2**(15 - q). It gets room for HEADROOM times its greatest first weight, and
for LEAST_REACH at least (fresh biases, which are zero, for ZERO_REACH): weights that grow beyond it saturate, which is counted and shown.

How it is cut is `capacity.layout`'s, for rounds of UPDATES updates.
"""

from __future__ import annotations

from math import ceil, isqrt, log2
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.capacity import layout
from linklearner.domain.errors import InvalidConfig, InvalidShape
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.model import ModelSpec
from linklearner.domain.shape import MAX_NORM_BOUND, Shape

HEADROOM: Final = 8
LEAST_REACH: Final = 4.0
ZERO_REACH: Final = 8.0
UPDATES: Final = 16
LONGEST: Final = 4
"""An update counts in full up to so many times the length of the first weights, each taken as LEAST_STEPS steps at least."""
LEAST_STEPS: Final = 256


def exponents(spec: ModelSpec, weights: NDArray[np.float32]) -> tuple[int, ...]:
    """q of each tensor. weights: (N,) float32, the first ones."""
    found = []
    for values in spec.split(weights):
        largest = float(np.abs(values).max(initial=0.0))
        reach = max(HEADROOM * largest, LEAST_REACH) if largest else ZERO_REACH
        found.append(15 - ceil(log2(reach)))
    return tuple(found)


def shape_for(spec: ModelSpec, weights: NDArray[np.float32]) -> Shape:
    """Raises InvalidConfig for a model of which no block settles UPDATES updates of a group, however it is cut."""
    each = exponents(spec, weights)
    try:
        length, group = layout([one.length for one in spec.tensors()], UPDATES)
    except InvalidShape as error:
        raise InvalidConfig(f"model {spec.name:.60} fits no block: {error.message}; freeze a part of it") from None
    shape = spec.shape(each, length, group, 1)
    return spec.shape(each, length, group, _norm_bound(spec, weights, shape))


def _norm_bound(spec: ModelSpec, weights: NDArray[np.float32], shape: Shape) -> int:
    """B in 2**-8 steps of the weights' own scales."""
    steps = np.abs(quantise_weights(weights, shape).astype(np.int64))
    total = int(np.sum(np.maximum(steps, LEAST_STEPS) ** 2))
    return min(MAX_NORM_BOUND, max(1, LONGEST * 256 * isqrt(total)))
