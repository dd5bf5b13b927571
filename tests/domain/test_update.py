import dataclasses

import numpy as np
import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from bench.pool_rounds import some_update
from linklearner.domain.encodings import ENCODINGS, INT8, TWO_BITS, Encoding
from linklearner.domain.errors import InvalidUpdate, OutOfRange
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update, join, part_in_group
from tests.domain.strategies import shapes, shapes_with_updates

# Ten weights in three pages of 4, 4 and 2; the tensors meet in the middle of page 1; two groups.
SHAPE = Shape((Tensor(6, 12), Tensor(4, 12)), 4, 2, 1000)


def two_bits(**changes: object) -> Update:
    pages = ((0, np.array([-3, -1, 1, 3], dtype=np.int8)), (2, np.array([1, -1], dtype=np.int8)))
    return dataclasses.replace(Update(7, 3, TWO_BITS, (-8, 13), pages), **changes)  # type: ignore[arg-type]


def int8(**changes: object) -> Update:
    pages = ((0, np.array([-128, 0, 0, 127], dtype=np.int8)), (1, np.array([0, 0, 0, 5], dtype=np.int8)))
    return dataclasses.replace(Update(7, 3, INT8, (-8, 8), pages), **changes)  # type: ignore[arg-type]


@given(shapes_with_updates())
def test_decode_inverts_encode(case: tuple[Shape, Update]) -> None:
    shape, update = case
    assert Update.decode(update.encode(shape), shape) == update
    assert join(update.header(shape), update.groups(shape)) == update.encode(shape)


@given(shapes_with_updates(), st.data())
def test_whatever_decodes_encodes_to_the_same_bytes(case: tuple[Shape, Update], data: st.DataObject) -> None:
    shape, update = case
    mutated = bytearray(update.encode(shape))
    mutated[data.draw(st.integers(0, len(mutated) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decoded = Update.decode(bytes(mutated), shape)
    except InvalidUpdate:
        return
    assert decoded.encode(shape) == bytes(mutated)


@given(shapes_with_updates(), st.data())
def test_truncated_and_over_long_updates_are_refused(case: tuple[Shape, Update], data: st.DataObject) -> None:
    shape, update = case
    encoded = update.encode(shape)
    with pytest.raises(InvalidUpdate):
        Update.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))], shape)
    with pytest.raises(InvalidUpdate):
        Update.decode(encoded + b"\0", shape)


@given(st.binary(max_size=60), shapes())
def test_garbage_is_refused_and_nothing_else_happens(garbage: bytes, shape: Shape) -> None:
    try:
        update = Update.decode(garbage, shape)
    except InvalidUpdate:
        return
    assert update.encode(shape) == garbage


@given(shapes_with_updates())
def test_norm_and_delta_agree(case: tuple[Shape, Update]) -> None:
    shape, update = case
    exact = sum(int(step * 256) ** 2 for step in update.delta(shape).tolist())  # 2**-8 steps are integers
    assert update.squared_norm(shape) == exact


@given(shapes_with_updates())
def test_the_digest_is_over_header_and_group_digests(case: tuple[Shape, Update]) -> None:
    shape, update = case
    groups = b"".join(keccak(group) for group in update.groups(shape))
    assert update.digest(shape) == keccak(update.header(shape) + groups)


def test_the_bytes_are_as_documented() -> None:
    head = bytes([1, 2]) + (7).to_bytes(8, "big") + (3).to_bytes(8, "big")
    assert two_bits().header(SHAPE) == head + bytes([0xF8, 13, 0b101])
    assert two_bits().groups(SHAPE) == (bytes([0b11100100]), bytes([0b0110]))
    assert int8().groups(SHAPE) == (bytes([0x80, 0, 0, 0x7F, 0, 0, 0, 5]), b"")


def test_an_update_without_pages_is_allowed() -> None:
    empty = Update(7, 3, TWO_BITS, (0, 0), ())
    assert Update.decode(empty.encode(SHAPE), SHAPE) == empty
    assert empty.squared_norm(SHAPE) == 0


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, 2, "format 2"),
        (1, 4, "encoding 4"),
        (2, 1, "a task is a number"),
        (18, 0xF7, "a shift lies in"),
        (19, 14, "a shift lies in"),
        (20, 0b1101, "pages that do not exist"),
        (22, 0b01110110, "unused bits"),
    ],
)
def test_each_byte_that_is_not_canonical_is_refused(position: int, value: int, message: str) -> None:
    encoded = bytearray(two_bits().encode(SHAPE))
    encoded[position] = value
    with pytest.raises(InvalidUpdate, match=message):
        Update.decode(bytes(encoded), SHAPE)


def test_a_page_of_zeros_is_refused() -> None:
    encoded = bytearray(int8().encode(SHAPE))
    encoded[-1] = 0
    with pytest.raises(InvalidUpdate, match="page 1 is all zero"):
        Update.decode(bytes(encoded), SHAPE)


def test_a_shift_of_an_absent_tensor_is_zero() -> None:
    only_first = (two_bits().pages[0],)
    assert two_bits(pages=only_first, shifts=(5, 0)).encode(SHAPE)
    with pytest.raises(InvalidUpdate, match="its shift must be 0"):
        two_bits(pages=only_first, shifts=(5, 1)).encode(SHAPE)


@pytest.mark.parametrize("encoding", ENCODINGS.values())
def test_shifts_hold_from_both_sides(encoding: Encoding) -> None:
    base = two_bits() if encoding is TWO_BITS else int8()
    for good, bad in ((-8, -9), (encoding.max_shift, encoding.max_shift + 1)):
        assert dataclasses.replace(base, shifts=(good, 0)).encode(SHAPE)
        with pytest.raises(InvalidUpdate, match="a shift lies in"):
            dataclasses.replace(base, shifts=(bad, 0)).encode(SHAPE)


@pytest.mark.parametrize(
    "changes",
    [
        {"task": 2**21},
        {"task": -1},
        {"base_version": 2**64},
        {"shifts": (0,)},
        {"pages": (two_bits().pages[1], two_bits().pages[0])},
        {"pages": (two_bits().pages[0], two_bits().pages[0])},
        {"pages": ((3, np.ones(4, dtype=np.int8)),), "shifts": (0, 0)},
        {"pages": ((0, np.ones(3, dtype=np.int8)),), "shifts": (0, 0)},
        {"pages": ((0, np.ones(4, dtype=np.int16)),), "shifts": (0, 0)},
        {"pages": ((0, np.array([1, 1, 0, 1], dtype=np.int8)),), "shifts": (0, 0)},
        {"pages": ((0, np.array([1, 1, 5, 1], dtype=np.int8)),), "shifts": (0, 0)},
        {"pages": ((0, np.array([1, 1, 2, -128], dtype=np.int8)),), "shifts": (0, 0)},
    ],
)
def test_values_that_do_not_fit_the_shape_are_not_encoded(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidUpdate):
        two_bits(**changes).encode(SHAPE)


def test_both_encodings_reach_the_same_largest_step() -> None:
    assert 3 << (TWO_BITS.max_shift + 8) <= 2**23
    assert 128 << (INT8.max_shift + 8) == 2**23


@pytest.mark.parametrize(
    ("shift", "values", "reason"),
    [(-1, (1, 1, 1, 0), "EmptyUpdate"), (-1, (1, 1, 1, 1), ""), (0, (1, 0, 0, 0), ""), (-8, (127,) * 4, "EmptyUpdate")],
)
def test_an_update_that_moves_no_weight_by_a_step_is_empty(shift: int, values: tuple[int, ...], reason: str) -> None:
    shape = Shape((Tensor(4, 12),), 4, 1, 2**20)
    update = Update(1, 1, INT8, (shift,), ((0, np.array(values, dtype=np.int8)),))
    if not reason:
        assert update.checked_norm(shape) == update.squared_norm(shape)
        return
    with pytest.raises(OutOfRange) as refused:
        update.checked_norm(shape)
    assert refused.value.reason == reason


def test_an_update_without_pages_is_empty() -> None:
    with pytest.raises(OutOfRange) as refused:
        Update(1, 1, INT8, (0,), ()).checked_norm(Shape((Tensor(4, 12),), 4, 1, 2**20))
    assert refused.value.reason == "EmptyUpdate"


def test_a_decoded_update_cannot_be_changed_and_is_not_taken_for_that_of_another_shape() -> None:
    """It is checked once, when it is decoded."""
    decoded = Update.decode(two_bits().encode(SHAPE), SHAPE)
    with pytest.raises(ValueError, match="read-only"):
        decoded.pages[0][1][0] = 5
    with pytest.raises(InvalidUpdate):
        decoded.encode(Shape((Tensor(6, 12), Tensor(3, 12)), 4, 2, 1000))
    with pytest.raises(InvalidUpdate):
        dataclasses.replace(decoded, shifts=(14, 0)).encode(SHAPE)


@given(shapes_with_updates(), st.data())
def test_the_parts_of_an_update_are_canonical_and_make_up_the_whole(
    case: tuple[Shape, Update], data: st.DataObject
) -> None:
    shape, update = case
    update = Update.decode(update.encode(shape), shape)
    cut = data.draw(st.integers(0, shape.page_count))
    parts = [update.within(pages, shape) for pages in (range(cut), range(cut, shape.page_count))]
    for part in parts:
        dataclasses.replace(part).check(shape)  # a copy, which is checked anew
    assert np.array_equal(sum(part.delta(shape) for part in parts), update.delta(shape))


@pytest.mark.parametrize("encoding", ENCODINGS.values())
@pytest.mark.parametrize("every", [1, 3])
def test_large_updates_are_decoded_to_what_was_encoded(encoding: Encoding, every: int) -> None:
    """More bytes than are decoded in one piece, and a last page that is short."""
    shape = Shape((Tensor(100_000, 12), Tensor(70_001, 12)), 1208, 2, 2**31)
    update = some_update(shape, 1, 1, 5, encoding=encoding, pages=range(0, shape.page_count, every))
    encoded = update.encode(shape)
    assert Update.decode(encoded, shape) == update
    page_by_page = b"".join(encoding.pack(values) for _, values in update.pages)
    assert encoded == update.header(shape) + page_by_page


@given(shapes_with_updates())
def test_a_group_is_read_from_its_own_bytes_as_it_is_from_all(case: tuple[Shape, Update]) -> None:
    shape, update = case
    for group, pages in enumerate(update.groups(shape)):
        part = part_in_group(update.header(shape), pages, group, shape)
        assert part == update.within(shape.group_page_range(group), shape)


@given(shapes_with_updates(), st.data())
def test_a_group_with_other_bytes_than_its_header_names_is_refused(
    case: tuple[Shape, Update], data: st.DataObject
) -> None:
    shape, update = case
    header, groups = update.header(shape), update.groups(shape)
    group = data.draw(st.integers(0, len(groups) - 1))
    for wrong in (groups[group] + b"\1", groups[group][:-1]):
        if wrong != groups[group]:
            with pytest.raises(InvalidUpdate):
                part_in_group(header, wrong, group, shape)
    for wrong_header in (header[:-1], header + b"\0", b"\2" + header[1:]):
        with pytest.raises(InvalidUpdate):
            part_in_group(wrong_header, groups[group], group, shape)
