"""The Aspect's arithmetic gives what Python's does: golden vectors, then properties."""

import json
from math import isqrt

import numpy as np
import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.encodings import INT8, encoding_of
from linklearner.domain.errors import InvalidShape, InvalidUpdate, OutOfRange
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.shape import Shape
from linklearner.domain.update import MAX_SQUARED_NORM, Update
from tests.aspects.pure import CHANGED, INPUT, OUTPUT, SECOND, SUMS, Pure
from tests.domain.strategies import shapes, shapes_with_updates
from tests.vectors.generate import HERE


def load(name: str) -> list[dict]:
    return json.loads((HERE / name).read_text())


def measured(encoded: bytes, shape: Shape) -> int | None:
    """What the Aspect says of an update: its squared norm, or None if it refuses. The walk over the pages is that of index.ts."""
    pure = Pure()
    assert pure.shaped(shape.encode())
    if len(encoded) < pure.call("headerBytes"):
        return None
    header = INPUT
    pure.write(header, encoded)
    if not pure.call("isHeader", header):
        return None
    data, end = header + pure.call("headerBytes"), header + len(encoded)
    encoding = encoding_of(encoded[1])
    for page in range(shape.page_count):
        if pure.call("hasPage", header, page):
            place = shape.page_slice(page)
            size = encoding.page_bytes(place.stop - place.start)
            if data + size > end:
                return None
            if not pure.call("measurePage", encoding.code, page, pure.call("tensorAt", place.start, 0), data):
                return None
            data += size
    if data != end or not pure.call("areShifts", header):
        return None
    return pure.call("squaredNorm", header) & (2**64 - 1)


def test_digests_are_keccak() -> None:
    data = bytes(n * 7 % 256 for n in range(5000))
    for case in load("digest.json"):
        pure = Pure()
        pure.write(INPUT, data + b"\xff" * 200)  # what lies behind the input does not matter
        pure.call("keccak256", INPUT, case["length"], OUTPUT)
        assert pure.read(OUTPUT, 32).hex() == case["keccak256"]


@given(st.binary(max_size=600))
def test_any_digest_is_keccak_even_over_its_own_input(data: bytes) -> None:
    pure = Pure()
    pure.write(INPUT, data)
    pure.call("keccak256", INPUT, len(data), INPUT)
    assert pure.read(INPUT, 32) == keccak(data)


def test_updates_have_the_norms_of_the_vectors() -> None:
    for case in load("updates.json"):
        shape = Shape.decode(bytes.fromhex(case["shape"]))
        pure = Pure()
        assert pure.shaped(shape.encode())
        counts = tuple(pure.number(name) for name in ("weightCount", "pageCount", "groupCount"))
        assert counts == (case["weight_count"], case["page_count"], case["group_count"])
        for vector in case["updates"]:
            expected = int(vector["squared_norm"])
            norm = measured(bytes.fromhex(vector["encoded"]), shape)
            assert norm is not None
            assert norm == expected if expected <= MAX_SQUARED_NORM else norm > MAX_SQUARED_NORM


def test_merges_give_the_weights_of_the_vectors() -> None:
    for case in load("merge.json"):
        shape = Shape.decode(bytes.fromhex(case["shape"]))
        contributions = [
            (int(c["effective"]), Update.decode(bytes.fromhex(c["encoded"]), shape)) for c in case["contributions"]
        ]
        present = sum(int(c["weight"]) for c in case["contributions"])
        divisor = max(present, int(case["eligible"]) // 4, 1)
        base = bytes.fromhex(case["base"])
        merged = bytearray(base)
        saturated, changed = 0, []
        for page in range(shape.page_count):
            place = shape.page_slice(page)
            pure = Pure()
            assert pure.shaped(shape.encode())
            pure.call("clearSums", place.stop - place.start)
            for effective, update in contributions:
                pure.write(INPUT, update.header(shape))
                for number, values in update.pages:
                    if number == page:
                        alone = Update(update.task, 1, update.encoding, (0,) * len(update.shifts), ((page, values),))
                        pure.write(SECOND, b"".join(alone.groups(shape)))
                        first = pure.call("tensorAt", place.start, 0)
                        pure.call("addPage", update.encoding.code, INPUT, effective, page, first, SECOND)
            pure.write(OUTPUT, base[2 * place.start : 2 * place.stop])
            outcome = pure.call("applySums", OUTPUT, place.stop - place.start, divisor) & (2**64 - 1)
            merged[2 * place.start : 2 * place.stop] = pure.read(OUTPUT, 2 * (place.stop - place.start))
            saturated += outcome & ~CHANGED
            if outcome & CHANGED:
                changed.append(page)
        assert bytes(merged).hex() == case["weights"]
        assert (saturated, changed) == (case["saturated"], case["changed_pages"])


def test_roundings_are_those_of_the_vectors() -> None:
    for case in load("rounding.json"):
        for place in (0, 3, 4, 6):  # in a run of four, and behind it
            pure = Pure()
            pure.write(SUMS + 8 * place, int(case["total"]).to_bytes(8, "little", signed=True))
            pure.call("applySums", OUTPUT, 7, int(case["divisor"]))
            weights = np.frombuffer(pure.read(OUTPUT, 14), "<i2")
            assert weights[place] == case["weight"]
            assert np.count_nonzero(weights) == (case["weight"] != 0)


def test_effective_weights_are_those_of_the_vectors() -> None:
    pure = Pure()
    for case in load("effective.json"):
        arguments = (int(case["weight"]), int(case["squared_norm"]), case["bound"])
        assert pure.call("effectiveWeight", *arguments) == int(case["effective"])


PURE = Pure()


@given(st.integers(1, MAX_SQUARED_NORM))
def test_the_root_is_rounded_up(value: int) -> None:
    assert PURE.call("ceilRoot", value) == isqrt(value - 1) + 1


@given(st.integers(1, 2**31))
def test_the_root_of_squares_and_their_neighbours(root: int) -> None:
    assert PURE.call("ceilRoot", root * root) == root
    if root < 2**31:
        assert PURE.call("ceilRoot", root * root + 1) == root + 1
    if root > 1:
        assert PURE.call("ceilRoot", root * root - 1) == root


@given(st.integers(0, 2**36), st.integers(0, MAX_SQUARED_NORM), st.integers(1, 2**31))
def test_any_effective_weight_is_pythons(weight: int, norm: int, bound: int) -> None:
    assert PURE.call("effectiveWeight", weight, norm, bound) == MEAN.verdict(weight, norm, bound)


@given(shapes_with_updates(), st.data())
def test_the_aspect_takes_exactly_the_updates_that_python_takes(
    case: tuple[Shape, Update], data: st.DataObject
) -> None:
    shape, update = case
    encoded = bytearray(update.encode(shape))
    for _ in range(data.draw(st.integers(0, 2))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decoded = Update.decode(bytes(encoded), shape)
    except InvalidUpdate:
        # Which task it is for is index.ts's question; Python's codec knows the largest number.
        if int.from_bytes(encoded[2:10], "big") < 2**21:
            assert measured(bytes(encoded), shape) is None
        return
    norm = measured(bytes(encoded), shape)
    expected = decoded.squared_norm(shape)
    assert norm == expected or (norm is not None and norm > MAX_SQUARED_NORM < expected)


@given(shapes(), st.data())
def test_the_aspect_takes_exactly_the_shapes_that_python_takes(shape: Shape, data: st.DataObject) -> None:
    encoded = bytearray(shape.encode())
    for _ in range(data.draw(st.integers(0, 2))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        Shape.decode(bytes(encoded))
        known = True
    except InvalidShape:
        known = False
    assert Pure().shaped(bytes(encoded)) == known
    assert not Pure().shaped(bytes(encoded[:-1]))
    assert not Pure().shaped(bytes(encoded) + b"\0")


@pytest.mark.parametrize("excess", [0, 1])
def test_a_norm_is_refused_from_2_to_the_62_on(excess: int) -> None:
    # 2^14 weights of -128 at shift 8: 2^14 * 2^14 * 2^32 = 2^60; four such tensors are 2^62, one weight more is beyond.
    lengths = [16384] * 4 + [1] * excess
    head = b"\x01" + len(lengths).to_bytes(2, "big")
    tensors = b"".join(length.to_bytes(4, "big") + b"\x00" for length in lengths)
    tail = (16384).to_bytes(4, "big") + (1).to_bytes(4, "big") + (2**31).to_bytes(8, "big")
    shape = Shape.decode(head + tensors + tail)
    pages = tuple(
        (page, np.full(min(16384, shape.weight_count - 16384 * page), -128, dtype=np.int8))
        for page in range(shape.page_count)
    )
    update = Update(1, 1, INT8, (8,) * len(lengths), pages)
    norm = measured(update.encode(shape), shape)
    assert norm is not None
    assert (norm > MAX_SQUARED_NORM) == bool(excess)
    if excess:
        with pytest.raises(OutOfRange):
            MEAN.verdict(1, update.squared_norm(shape), 1)
