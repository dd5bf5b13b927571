"""What a model can be asked about and trained on: finite numbers, in the model's dimensions, on the scale that the task was made for.

A task may say the range of its inputs. One idea (numbers on another scale are a mistake, noise is none) makes two rules, which differ
because one number tells less than a data set does:

    a row of a request   no number lies more than ROW_MARGIN widths of the range outside of it
    training data        no number lies more than DATA_MARGIN widths outside, and all of them together span NARROWEST_SPAN widths or more:
                         pixels 0..1 where 0..16 is expected are 1/16 wide, and only a whole data set can show that

Pixels 0..255 where 0..16 is expected are 15 widths off; noise, centring and a sensor that runs over a little stay inside.
"""

from __future__ import annotations

from math import isfinite, prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, NotFinite, OutOfRange

ROW_MARGIN: Final = 1.0
DATA_MARGIN: Final = 0.5
NARROWEST_SPAN: Final = 0.25

RANGE_MISMATCH: Final = "RangeMismatch"


def widened(input_range: tuple[float, float], widths: float) -> tuple[float, float]:
    """The range with so many of its widths added on either side."""
    low, high = input_range
    return low - widths * (high - low), high + widths * (high - low)


def arranged(values: NDArray[Any], dimensions: tuple[int, ...], what: str) -> NDArray[Any]:
    """values: (n, …) as they were measured. A view (n, *dimensions) of the same numbers in the same order.

    Numbers in a row (n, prod(dimensions)) may become an image and an image may become a row, and lengths of 1 may come and go (a channel
    of grey); anything else would be a guess: a colour image with its channels last is not one with its channels first. `what` takes
    the rows, in the message of the InvalidInput that refuses them.
    """
    given = values.shape[1:]
    flat = len(given) == 1 or len(dimensions) == 1
    squeezed = [tuple(length for length in shape if length != 1) for shape in (given, dimensions)]
    if prod(given) != prod(dimensions) or not (flat or squeezed[0] == squeezed[1]):
        order = "" if prod(given) != prod(dimensions) else ": the same numbers, but in another order of the dimensions"
        raise InvalidInput(f"{what} takes rows of {_size(dimensions)}, not of {_size(given)}{order}")
    return values.reshape(len(values), *dimensions)


def check_rows(
    inputs: NDArray[np.float32], *, name: str, input_range: tuple[float, float] | None, allow_range: bool = False
) -> None:
    """inputs: (B, …) float32, unscaled; name: what messages call them. Names the first bad row, from 0, in the message and in `facts`.

    Raises NotFinite for NaN or infinity, and OutOfRange for what breaks the rule for a row, unless that is allowed.
    """
    if not inputs.size:
        return
    lowest, highest = float(inputs.min()), float(inputs.max())  # both are NaN if any input is
    if not isfinite(lowest) or not isfinite(highest):
        row, place, value = _first(inputs, ~np.isfinite(inputs))
        raise NotFinite(
            f"row {row} of '{name}' has {value} at {place}, where a finite number belongs",
            facts={"row": row},
        )
    if input_range is None or allow_range:
        return
    low, high = widened(input_range, ROW_MARGIN)
    if not low <= lowest <= highest <= high:
        row, place, value = _first(inputs, (inputs < low) | (inputs > high))
        raise OutOfRange(
            f"row {row} of '{name}' has {value:g} at {place}, far outside of the {input_range[0]:g} to "
            f"{input_range[1]:g} that the task was made for: put the inputs on that scale, or say that they are meant so "
            "(--allow-range; the request's parameter allow_range)",
            facts={"row": row, "input_min": input_range[0], "input_max": input_range[1]},
        )


def check_whole(inputs: NDArray[np.integer[Any]], *, name: str, input_range: tuple[float, float]) -> None:
    """inputs: (B, …) of an integer type. Raises OutOfRange for one outside of the range, margins or not: it would name nothing, or another
    thing (an embedding has no row for it)."""
    low, high = input_range
    if inputs.size and not low <= inputs.min() <= inputs.max() <= high:
        row, place, value = _first(inputs, (inputs < low) | (inputs > high))
        raise OutOfRange(
            f"row {row} of '{name}' has {value:g} at {place}, outside of {low:g} to {high:g}",
            facts={"row": row, "input_min": low, "input_max": high},
        )


def check_training_data(
    inputs: NDArray[np.generic], *, model: str, input_range: tuple[float, float] | None, remedy: str, scaling: str = ""
) -> None:
    """inputs: (n, …) numbers, finite and unscaled. Of the message, remedy: how to train on them all the same; scaling: how to scale.

    Raises InvalidInput, reason RangeMismatch, for what breaks the rule for training data.
    """
    if input_range is None or not inputs.size:
        return
    least, most = float(inputs.min()), float(inputs.max())
    low, high = widened(input_range, DATA_MARGIN)
    if low <= least and most <= high and most - least >= NARROWEST_SPAN * (input_range[1] - input_range[0]):
        return
    raise InvalidInput(
        f"the samples lie between {least:g} and {most:g}, model {model} expects {input_range[0]:g} to {input_range[1]:g}: scale them "
        f"to that{scaling}, or, if they are meant so, {remedy}",
        reason=RANGE_MISMATCH,
        facts={"least": least, "most": most, "low": input_range[0], "high": input_range[1]},
    )


def _first(inputs: NDArray[Any], bad: NDArray[np.bool_]) -> tuple[int, str, float]:
    """Row, place in it and value of the first bad number."""
    row, *place = np.argwhere(bad)[0].tolist()
    return row, ",".join(map(str, place)), float(inputs[(row, *place)])


def _size(dimensions: tuple[int, ...]) -> str:
    return "x".join(map(str, dimensions)) + " numbers"
