"""From a trained delta to an update: pick the pages that carry signal, one shift per tensor, and keep what rounding lost.

Error feedback: the residual of one update is added to the delta of the next, so nothing that a coarse encoding leaves out is lost for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.encodings import MIN_SHIFT, TWO_BITS, Encoding
from linklearner.domain.errors import InvalidInput, NotFinite, OutOfRange
from linklearner.domain.fixedpoint import round_half_away
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update, stretches

# Deltas are first rounded to this fraction of a weight's step, and may not be longer than MAX_STEPS steps. Both the delta (20 + 32 bits)
# and delta - d * 2**shift (at most 21 + 32 bits) then fit the 53 bits of a float64, so `delta == dequantised + residual` holds exactly.
GRID_BITS = 32
MAX_STEPS = 2.0**20


@dataclass(frozen=True, slots=True)
class Quantised:
    """An update, and (N,) float64 in real units: what it left out of the delta, to be added to the next one."""

    update: Update
    residual: NDArray[np.float64]


def quantise_delta(
    delta: NDArray[np.float64],
    shape: Shape,
    task: int,
    base_version: int,
    encoding: Encoding = TWO_BITS,
    most_pages: int | None = None,
) -> Quantised:
    """Quantise a weight delta in real units, the carried residual included.

    delta: (N,) float64, taken to the nearest 2**-32 of a weight's step. Pages without a change are left out. The encoding says which shift
    suits a tensor, and what a weight becomes. most_pages: of the update at most, those in which most is to be moved (the sum of squares in
    real units; the first ones of equals); the others wait in the residual.
    residual + dequantised equals the (gridded) delta exactly. Raises NotFinite, OutOfRange beyond 2**20 steps, InvalidInput for another
    length.
    """
    if delta.shape != (shape.weight_count,):
        raise InvalidInput(f"the task has {shape.weight_count} weights, not {delta.shape}")
    if not np.isfinite(delta).all():
        raise NotFinite(f"{int((~np.isfinite(delta)).sum())} of {delta.size} weights of the delta are NaN or infinite")
    exponents = shape.exponents()
    steps = np.ldexp(delta, exponents)
    if np.abs(steps).max() > MAX_STEPS:
        raise OutOfRange(
            f"a weight would move by {np.abs(delta).max():g}, more than 2**20 of its steps: the training has diverged"
        )
    steps = np.ldexp(round_half_away(np.ldexp(steps, GRID_BITS)), -GRID_BITS)

    starts = np.arange(shape.page_count) * shape.page_length
    sent = np.flatnonzero(np.logical_or.reduceat(steps != 0, starts))
    if most_pages is not None and sent.size > most_pages:
        energy = np.add.reduceat(np.square(delta), starts)[sent]
        sent = np.sort(sent[np.argsort(-energy, kind="stable")[:most_pages]])
    while True:
        runs = [
            run
            for first, last in stretches(sent.tolist())
            for run in shape.runs(first * shape.page_length, min(last * shape.page_length, shape.weight_count))
        ]
        shifts = _shifts(steps, shape, runs, encoding)
        digits = np.zeros(shape.weight_count, dtype=np.int8)
        for tensor, start, stop in runs:
            digits[start:stop] = encoding.digits(np.ldexp(steps[start:stop], -shifts[tensor]))
        kept = sent[np.bitwise_or.reduceat(digits, starts)[sent] != 0]
        if kept.size == sent.size:
            break
        sent = kept  # a page that rounds to zero is left out, which may lower a shift: ends, each pass drops a page
    pages = tuple((page, digits[shape.page_slice(page)]) for page in sent.tolist())
    update = Update(task, base_version, encoding, shifts, pages)
    residual = steps - update.delta(shape)
    return Quantised(update, np.ldexp(residual, -exponents.astype(np.int32)))


def _shifts(
    steps: NDArray[np.float64], shape: Shape, runs: Sequence[tuple[int, int, int]], encoding: Encoding
) -> tuple[int, ...]:
    parts: list[list[NDArray[np.float64]]] = [[] for _ in shape.tensors]
    for tensor, start, stop in runs:
        parts[tensor].append(steps[start:stop])
    return tuple(
        min(max(encoding.shift(np.concatenate(part)), MIN_SHIFT), encoding.max_shift) if part else 0 for part in parts
    )
