"""Which rows a model can be asked about: numbers, on the scale that the task was made for."""

from __future__ import annotations

from math import isfinite

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import NotFinite, OutOfRange


def tolerated(input_range: tuple[float, float]) -> tuple[float, float]:
    """The widest values that can still be meant: the range and once its width on either side.

    Noise, centring and augmentation stay inside; numbers on another scale (0..255 for 0..16) do not.
    """
    low, high = input_range
    return low - (high - low), high + (high - low)


def check_rows(
    inputs: NDArray[np.float32], *, name: str, input_range: tuple[float, float] | None, allow_range: bool = False
) -> None:
    """inputs: (B, n) float32, unscaled; name: what messages call them. Names the first bad row, from 0, in the message and in `facts`.

    Raises NotFinite for NaN or infinity, and OutOfRange for what lies outside of `tolerated(input_range)`, unless that is allowed.
    """
    if not inputs.size:
        return
    lowest, highest = float(inputs.min()), float(inputs.max())  # both are NaN if any input is
    if not isfinite(lowest) or not isfinite(highest):
        row, place = np.argwhere(~np.isfinite(inputs))[0].tolist()
        raise NotFinite(
            f"row {row} of '{name}' has {inputs[row, place]} at {place}, where a finite number belongs",
            facts={"row": row},
        )
    if input_range is None or allow_range:
        return
    low, high = tolerated(input_range)
    if not low <= lowest <= highest <= high:
        row, place = np.argwhere((inputs < low) | (inputs > high))[0].tolist()
        raise OutOfRange(
            f"row {row} of '{name}' has {inputs[row, place]:g} at {place}, far outside of the {input_range[0]:g} to "
            f"{input_range[1]:g} that the task was made for: put the inputs on that scale, or say that they are meant so "
            "(--allow-range; the request's parameter allow_range)",
            facts={"row": row, "input_min": input_range[0], "input_max": input_range[1]},
        )
