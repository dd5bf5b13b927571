"""What a model can be asked about and trained on."""

from typing import Any

import numpy as np
import pytest

from linklearner.domain.errors import InvalidInput, NotFinite, OutOfRange
from linklearner.domain.inputs import DATA_MARGIN, ROW_MARGIN, arranged, check_rows, check_training_data, widened

SPAN = (0.0, 16.0)


def rows(value: float) -> Any:
    values = np.full((3, 4), 8, np.float32)
    values[1, 2] = value
    return values


@pytest.mark.parametrize("value", [-16, 0, 16, 32])
def test_the_range_and_its_width_on_either_side_are_tolerated(value: float) -> None:
    assert widened(SPAN, ROW_MARGIN) == (-16, 32)
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


def test_a_bad_number_in_an_image_is_named_by_its_place() -> None:
    images = np.full((3, 1, 4, 4), 8, np.float32)
    images[2, 0, 3, 1] = 255
    with pytest.raises(OutOfRange, match=r"row 2 of 'x' has 255 at 0,3,1, far outside"):
        check_rows(images, name="x", input_range=SPAN)
    images[1, 0, 0, 2] = np.nan
    with pytest.raises(NotFinite, match=r"row 1 of 'x' has nan at 0,0,2"):
        check_rows(images, name="x", input_range=SPAN)


@pytest.mark.parametrize(
    ("least", "most", "fits"),
    [(0, 16, True), (-8, 24, True), (6, 10, True), (-8.1, 16, False), (0, 24.1, False), (6, 9.9, False), (0, 1, False)],
)
def test_training_data_lies_near_the_range_and_spans_a_quarter_of_it(least: float, most: float, fits: bool) -> None:
    assert widened(SPAN, DATA_MARGIN) == (-8, 24)
    data = np.array([[least, most]], np.float32)
    if fits:
        check_training_data(data, model="m", input_range=SPAN, remedy="say so")
        return
    with pytest.raises(InvalidInput, match=r"model m expects 0 to 16: .*, say so") as caught:
        check_training_data(data, model="m", input_range=SPAN, remedy="say so")
    assert caught.value.reason == "RangeMismatch"
    check_training_data(data, model="m", input_range=None, remedy="")
    check_training_data(data[:0], model="m", input_range=SPAN, remedy="")


@pytest.mark.parametrize(
    ("given", "dimensions"),
    [
        ((64,), (64,)),
        ((8, 8), (64,)),
        ((64,), (1, 8, 8)),
        ((8, 8), (1, 8, 8)),
        ((8, 8, 1), (1, 8, 8)),
        ((1, 8, 8), (8, 8)),
        ((3, 4, 5), (60,)),
        ((60,), (3, 4, 5)),
        ((), (1,)),
    ],
)
def test_the_same_numbers_in_the_same_order_are_arranged(given: tuple[int, ...], dimensions: tuple[int, ...]) -> None:
    values = np.arange(2 * np.prod(given, dtype=int), dtype=np.float32).reshape(2, *given)
    found = arranged(values, dimensions, "it")
    assert found.shape == (2, *dimensions) and np.shares_memory(found, values)
    assert found.ravel().tolist() == values.ravel().tolist()


@pytest.mark.parametrize(
    ("given", "dimensions", "why"),
    [
        ((63,), (64,), "^it takes rows of 64 numbers, not of 63 numbers$"),
        ((4, 16), (8, 8), "another order of the dimensions"),
        ((8, 8, 3), (3, 8, 8), "another order of the dimensions"),
        ((28, 28), (1, 8, 8), "^it takes rows of 1x8x8 numbers, not of 28x28 numbers$"),
    ],
)
def test_what_would_be_a_guess_is_refused(given: tuple[int, ...], dimensions: tuple[int, ...], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        arranged(np.zeros((2, *given), np.float32), dimensions, "it")
