"""How the weights of an update are written: a table with one row an encoding.

Everything that is peculiar to an encoding is here: its number and name, what a weight may be, how a page becomes bytes and back, how a
trained delta is quantised, and what its bytes cost on the chain. The Aspect has the same table in `aspects/aggregator/encodings/`.
`docs/recipes/encoding.md` says how to add a row.

    name      code  values d        bytes of n weights                                                 shift
    two-bits  2     -3, -1, 1, 3    ceil(n/4), weight j at bits 2(j%4) of byte j/4, code c: d = 2c-3   -8 ... 13
    int8      8     -128 ... 127    n                                                                  -8 ... 8
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import frexp

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, InvalidUpdate
from linklearner.domain.fixedpoint import round_half_away

MIN_SHIFT = -8
"""Of every encoding: sums are kept in 2**MIN_SHIFT of a weight's step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding(ABC):
    """One row. A delta is d * 2**shift steps of its weight, and |d| * 2**(max_shift + 8) <= 2**23, so that sums fit int64."""

    code: int
    """The byte in an update's header, and the number in the protos."""
    name: str
    """The one spelling, in commands, settings, JSON and texts."""
    values: tuple[int, ...] = field(repr=False)
    """What a weight d may be, ascending."""
    max_shift: int
    submit_gas: float
    merge_gas: float
    """What the Aspect needs for a weight at submission, and to add it to a sum at settlement (see `domain.gas`)."""

    @abstractmethod
    def page_bytes(self, length: int) -> int:
        """Bytes of a page of `length` weights."""

    @abstractmethod
    def check(self, values: NDArray[np.int8]) -> str | None:
        """Why a page of these values, (n,), is not canonical; None if it is."""

    def unpacked_fault(self, values: NDArray[np.int8], starts: NDArray[np.intp]) -> tuple[int, str] | None:
        """The first page that is not canonical of many that `unpack` gave, and why; None if all are.

        values: the pages end to end; starts: where each begins, ascending from 0."""
        for index, page in enumerate(np.split(values, starts[1:])):
            fault = self.check(page)
            if fault is not None:
                return index, fault
        return None

    @abstractmethod
    def pack(self, values: NDArray[np.int8]) -> bytes:
        """The page's bytes. values: (n,), checked."""

    @abstractmethod
    def unpack(self, data: bytes | memoryview, length: int) -> NDArray[np.int8]:
        """(length,) int8 from page_bytes(length) bytes. Raises InvalidUpdate if bits are set that mean nothing."""

    def is_seamless(self, length: int) -> bool:
        """Whether pages of `length` weights end to end are packed, and unpacked, like one long page: no byte of theirs is half empty."""
        return self.page_bytes(8 * length) == 8 * self.page_bytes(length)

    @abstractmethod
    def shift(self, steps: NDArray[np.float64]) -> int:
        """The shift that suits one tensor's deltas, (n,) in steps of the weight; it is cropped to what the format allows."""

    @abstractmethod
    def digits(self, scaled: NDArray[np.float64]) -> NDArray[np.int8]:
        """d of deltas, (n,), already divided by 2**shift."""


class TwoBits(Encoding):
    """2**shift is half the root mean square, to the nearest power of two; |d| is 3 from 2 on.

    In numbers: 4 * 2**(2 shift - 1) <= mean square < 4 * 2**(2 shift + 1), where the squares are added one by one, in the weights' order,
    as float64. Every language can do that; NumPy's own sum takes them in pairs, and gives another last bit.
    """

    __slots__ = ()

    def page_bytes(self, length: int) -> int:
        return -(-length // 4)

    def check(self, values: NDArray[np.int8]) -> str | None:
        if (values.view(np.uint8) + np.uint8(3) & np.uint8(0xF9)).any():  # d + 3 is 0, 2, 4 or 6
            return "holds a value other than -3, -1, 1, 3"
        return None

    def unpacked_fault(self, values: NDArray[np.int8], starts: NDArray[np.intp]) -> tuple[int, str] | None:
        return None  # two bits can say nothing else

    def pack(self, values: NDArray[np.int8]) -> bytes:
        codes = np.zeros(self.page_bytes(values.size) * 4, dtype=np.uint8)
        codes[: values.size] = (values + 3) >> 1
        quads = codes.reshape(-1, 4)
        return bytes(quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6)

    def unpack(self, data: bytes | memoryview, length: int) -> NDArray[np.int8]:
        if length % 4 and data[-1] >> 2 * (length % 4):
            raise InvalidUpdate("unused bits after the last weight of a page are set")
        codes = np.frombuffer(data, np.uint8)
        quads = np.empty(codes.size, dtype=np.uint32)
        for start in range(0, codes.size, _TAKEN):  # in pieces: take widens its indices to eight bytes
            piece = slice(start, start + _TAKEN)
            np.take(_QUADS, codes[piece], out=quads[piece], mode="clip")
        return quads.view(np.int8)[:length]

    def shift(self, steps: NDArray[np.float64]) -> int:
        mean_square = float(np.add.accumulate(np.square(steps))[-1]) / steps.size
        if not mean_square:
            return MIN_SHIFT
        _, exponent = frexp(mean_square)  # 2**(exponent - 1) <= mean square < 2**exponent
        return (exponent - 2) // 2

    def digits(self, scaled: NDArray[np.float64]) -> NDArray[np.int8]:
        return np.where(np.abs(scaled) >= 2, 3, 1).astype(np.int8) * np.where(scaled < 0, -1, 1).astype(np.int8)


class Int8(Encoding):
    """2**shift is the smallest that holds the largest weight: 127 * 2**shift is not below it. A page of zeros is left out."""

    __slots__ = ()

    def page_bytes(self, length: int) -> int:
        return length

    def check(self, values: NDArray[np.int8]) -> str | None:
        return None if values.any() else "is all zero: leave it out"

    def unpacked_fault(self, values: NDArray[np.int8], starts: NDArray[np.intp]) -> tuple[int, str] | None:
        empty = np.flatnonzero(np.bitwise_or.reduceat(values, starts) == 0) if starts.size else starts
        return (int(empty[0]), "is all zero: leave it out") if empty.size else None

    def pack(self, values: NDArray[np.int8]) -> bytes:
        return values.tobytes()

    def unpack(self, data: bytes | memoryview, length: int) -> NDArray[np.int8]:
        return np.frombuffer(data, np.int8, length)

    def shift(self, steps: NDArray[np.float64]) -> int:
        largest = float(np.abs(steps).max())
        if not largest:
            return MIN_SHIFT
        fraction, exponent = frexp(
            largest
        )  # largest = fraction * 2**exponent, 1/2 <= fraction < 1: no logarithm, which may round
        return exponent - (7 if fraction <= 127 / 128 else 6)

    def digits(self, scaled: NDArray[np.float64]) -> NDArray[np.int8]:
        return np.clip(round_half_away(scaled), -128, 127).astype(np.int8)


# The four weights of each byte, as one 32-bit item in memory order: decoding is a table look-up.
_QUADS: NDArray[np.uint32] = (
    (2 * (np.arange(256)[:, None] >> np.array([0, 2, 4, 6]) & 3) - 3).astype(np.int8).view(np.uint32).reshape(256)
)
_TAKEN = 2**13
"""Bytes decoded at once, so that what is in between stays in the processor's cache."""

TWO_BITS = TwoBits(code=2, name="two-bits", values=(-3, -1, 1, 3), max_shift=13, submit_gas=0.1, merge_gas=1.1)
INT8 = Int8(code=8, name="int8", values=tuple(range(-128, 128)), max_shift=8, submit_gas=0.55, merge_gas=0.83)

ENCODINGS: dict[int, Encoding] = {encoding.code: encoding for encoding in (TWO_BITS, INT8)}
"""The table, by code. The first row is the default."""


def encoding_of(code: int) -> Encoding:
    """The encoding with this code. Raises InvalidInput."""
    try:
        return ENCODINGS[code]
    except KeyError:
        known = ", ".join(f"{encoding.code} ({encoding.name})" for encoding in ENCODINGS.values())
        raise InvalidInput(f"encoding {code} is unknown; known: {known}") from None


def encoding_named(name: str) -> Encoding:
    """The encoding of this name. Raises InvalidInput."""
    for encoding in ENCODINGS.values():
        if encoding.name == name:
            return encoding
    raise InvalidInput(f"{name!r:.40} is not an encoding: {' or '.join(e.name for e in ENCODINGS.values())}")
