"""An update taken apart: every byte is named, once, and nothing is said that the bytes do not say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain import anatomy as anatomy_of
from linklearner.domain import update
from linklearner.domain.anatomy import anatomy, task_of
from linklearner.domain.encodings import TWO_BITS
from linklearner.domain.errors import InvalidUpdate
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update
from tests.domain.strategies import shapes_with_updates

SHAPE = Shape((Tensor(6, 3), Tensor(5, 4)), 4, 2, 2**20)
UPDATE = Update(7, 9, TWO_BITS, (1, -2), ((0, np.array([3, -1, 1, -3], np.int8)), (2, np.array([1, 1, -1], np.int8))))


def test_the_head_is_the_one_that_updates_have() -> None:
    assert anatomy_of._HEAD.format == update._HEAD.format


@given(shapes_with_updates())
def test_every_byte_is_in_one_part_and_every_number_in_the_whole(case: tuple[Shape, Update]) -> None:
    shape, one = case
    encoded = one.encode(shape)
    found = anatomy(encoded, shape)
    assert b"".join(part.data for part in found.parts) == encoded
    assert [part.offset for part in found.parts] == list(np.cumsum([0, *(len(part.data) for part in found.parts)])[:-1])
    assert all(part.data and part.name and part.meaning for part in found.parts)
    sent = sum(len(values) for _, values in one.pages)
    assert sum(count for _, count in found.values) == sent == sum(tensor.sent for tensor in found.tensors)
    assert found.digest == one.digest(shape) and found.update == one
    real = np.ldexp(one.delta(shape), -shape.exponents().astype(np.int32))
    np.testing.assert_allclose(found.norm, np.linalg.norm(real), rtol=1e-12)
    np.testing.assert_allclose(found.norm**2, sum(tensor.norm**2 for tensor in found.tensors), rtol=1e-9)
    assert task_of(encoded) == one.task


def test_parts_say_what_they_are() -> None:
    found = anatomy(UPDATE.encode(SHAPE), SHAPE, ("hidden", "bias"))
    assert [(part.offset, part.name, part.data.hex()) for part in found.parts] == [
        (0, "format", "01"),
        (1, "encoding", "02"),
        (2, "task", "0000000000000007"),
        (10, "base version", "0000000000000009"),
        (18, "shift hidden", "01"),
        (19, "shift bias", "fe"),
        (20, "bitmap", "05"),
        (21, "page 0", "27"),
        (22, "page 2", "1a"),
    ]
    meanings = [part.meaning for part in found.parts]
    assert meanings[1] == "two-bits: a weight d is one of -3, -1, 1, 3"
    assert meanings[4] == "2^1 steps of 2^-3: d = 1 adds 0.25 to a weight"
    assert meanings[6] == "2 of 3 pages follow, a bit each"
    assert meanings[8] == "weights 8 to 10: bias[2:5]"
    assert found.values == ((-3, 1), (-1, 2), (1, 3), (3, 1))
    assert [(tensor.name, tensor.sent, tensor.step) for tensor in found.tensors] == [
        ("hidden", 4, 0.25),
        ("bias", 3, 2.0**-6),
    ]
    assert 2.0 <= found.bits <= 2.4


def test_tensors_without_names_are_numbered() -> None:
    assert [tensor.name for tensor in anatomy(UPDATE.encode(SHAPE), SHAPE, ("one",)).tensors] == ["0", "1"]


@given(st.binary(max_size=60))
def test_other_bytes_are_no_update(data: bytes) -> None:
    encoded = UPDATE.encode(SHAPE)
    for wrong in (data, encoded[:-1], encoded + b"\0", b"\2" + encoded[1:]):
        if wrong != encoded:
            try:
                again = anatomy(wrong, SHAPE).update.encode(SHAPE)
            except InvalidUpdate:
                continue
            assert again == wrong  # it is an update after all


def test_what_is_shorter_than_a_head_names_no_task() -> None:
    with pytest.raises(InvalidUpdate, match="not 17"):
        task_of(bytes(17))
