"""Which rows a model can be asked about."""

from typing import Any

import numpy as np
import pytest

from linklearner.domain.errors import NotFinite, OutOfRange
from linklearner.domain.inputs import check_rows, tolerated

SPAN = (0.0, 16.0)


def rows(value: float) -> Any:
    values = np.full((3, 4), 8, np.float32)
    values[1, 2] = value
    return values


@pytest.mark.parametrize("value", [-16, 0, 16, 32])
def test_the_range_and_its_width_on_either_side_are_tolerated(value: float) -> None:
    assert tolerated(SPAN) == (-16, 32)
    check_rows(rows(value), name="x", input_range=SPAN)


@pytest.mark.parametrize("value", [-16.1, 32.1, 255, -1e38])
def test_what_is_on_another_scale_is_named_unless_it_is_meant(value: float) -> None:
    with pytest.raises(OutOfRange, match=r"row 1 of 'x' has .* at 2, far outside of the 0 to 16") as caught:
        check_rows(rows(value), name="x", input_range=SPAN)
    assert caught.value.facts["row"] == "1"
    check_rows(rows(value), name="x", input_range=SPAN, allow_range=True)
    check_rows(rows(value), name="x", input_range=None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_never_meant(value: float) -> None:
    for input_range in (SPAN, None):
        with pytest.raises(NotFinite, match=r"row 1 of 'x' has -?(nan|inf) at 2"):
            check_rows(rows(value), name="x", input_range=input_range, allow_range=True)


def test_no_rows_are_no_bad_rows() -> None:
    check_rows(np.zeros((0, 4), np.float32), name="x", input_range=SPAN)
