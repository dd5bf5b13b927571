"""An update on the wire: a quantised weight delta against a base version, in exactly one byte string.

    update = header | group 0 | ... | group G-1
    header: u8 1 | u8 encoding | u64 task | u64 base version | T x i8 shift | ceil(P/8) bytes of bitmap, page p at bit p%8 of byte p/8
    group:  its present pages, ascending, each in the encoding's bytes (linklearner.domain.encodings)

A delta is d * 2**shift steps of the weight (2**-q). Canonical: a decoder refuses set padding bits, trailing bytes, a page of zeros, a
shift other than 0 for a tensor that no present page touches, and shifts out of range; so one update has one byte string and one digest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.domain.encodings import ENCODINGS, MIN_SHIFT, Encoding
from linklearner.domain.errors import InvalidUpdate, OutOfRange
from linklearner.domain.shape import Shape

FORMAT = 1
MAX_SQUARED_NORM = 2**62
"""An update longer than this is refused (NormTooLong), in (2**-8 step)^2."""
MIN_SQUARED_NORM = 2**16
"""An update shorter than one step of one weight is refused (EmptyUpdate), in (2**-8 step)^2."""
MAX_TASK = 2**21 - 1  # state keys hold a task in three 7-bit characters

_HEAD = struct.Struct(">BBQQ")


@dataclass(frozen=True, slots=True)
class Update:
    """A quantised delta. `shifts`: one per tensor. `pages`: (page, d) for each page present, ascending; d: (n,) int8."""

    task: int
    base_version: int
    encoding: Encoding
    shifts: tuple[int, ...]
    pages: tuple[tuple[int, NDArray[np.int8]], ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Update):
            return NotImplemented
        return (
            (self.task, self.base_version, self.encoding, self.shifts)
            == (other.task, other.base_version, other.encoding, other.shifts)
            and [page for page, _ in self.pages] == [page for page, _ in other.pages]
            and all(np.array_equal(a, b) for (_, a), (_, b) in zip(self.pages, other.pages, strict=True))
        )

    def __hash__(self) -> int:
        return hash((self.task, self.base_version, self.encoding, self.shifts, len(self.pages)))

    def check(self, shape: Shape) -> None:
        """Raises InvalidUpdate unless the update is canonical for `shape`."""
        if not 0 <= self.task <= MAX_TASK:
            raise InvalidUpdate(f"a task is a number in 0..{MAX_TASK}, not {self.task}")
        if not 0 <= self.base_version < 2**64:
            raise InvalidUpdate(f"a base version is a u64, not {self.base_version}")
        if len(self.shifts) != len(shape.tensors):
            raise InvalidUpdate(f"the task has {len(shape.tensors)} tensors, the update {len(self.shifts)} shifts")
        present = [page for page, _ in self.pages]
        if any(a >= b for a, b in pairwise(present)):
            raise InvalidUpdate("pages are not in ascending order, or one comes twice")
        touched: set[int] = set()
        for page, values in self.pages:
            if not 0 <= page < shape.page_count:
                raise InvalidUpdate(f"page {page} does not exist: the task has {shape.page_count}")
            place = shape.page_slice(page)
            if values.dtype != np.int8 or values.shape != (place.stop - place.start,):
                raise InvalidUpdate(
                    f"page {page} holds {place.stop - place.start} int8, not {values.shape} {values.dtype}"
                )
            fault = self.encoding.check(values)
            if fault is not None:
                raise InvalidUpdate(f"page {page} {fault}")
            touched.update(tensor for tensor, _, _ in shape.segments(page))
        for tensor, shift in enumerate(self.shifts):
            if not MIN_SHIFT <= shift <= self.encoding.max_shift:
                raise InvalidUpdate(
                    f"tensor {tensor}: a shift lies in {MIN_SHIFT}..{self.encoding.max_shift}, not at {shift}"
                )
            if shift and tensor not in touched:
                raise InvalidUpdate(f"tensor {tensor} has no weight in the update, so its shift must be 0, not {shift}")

    def header(self, shape: Shape) -> bytes:
        """The header's bytes. Raises InvalidUpdate if the update does not fit the shape."""
        self.check(shape)
        bitmap = np.zeros(-(-shape.page_count // 8) * 8, dtype=np.uint8)
        bitmap[[page for page, _ in self.pages]] = 1
        return b"".join(
            (
                _HEAD.pack(FORMAT, self.encoding.code, self.task, self.base_version),
                np.array(self.shifts, dtype=np.int8).tobytes(),
                np.packbits(bitmap, bitorder="little").tobytes(),
            )
        )

    def groups(self, shape: Shape) -> tuple[bytes, ...]:
        """The bytes of each settlement group, G of them; a group without pages is empty."""
        self.check(shape)
        parts: list[list[bytes]] = [[] for _ in range(shape.group_count)]
        for page, values in self.pages:
            parts[shape.group_of(page)].append(self.encoding.pack(values))
        return tuple(b"".join(part) for part in parts)

    def encode(self, shape: Shape) -> bytes:
        """The one byte string. Raises InvalidUpdate if the update does not fit the shape."""
        return self.header(shape) + b"".join(self.groups(shape))

    def digest(self, shape: Shape) -> bytes:
        """keccak-256(header | keccak(group 0) | ... | keccak(group G-1)). 32 bytes."""
        return update_digest(self.header(shape), tuple(bytes(keccak(group)) for group in self.groups(shape)))

    def squared_norm(self, shape: Shape) -> int:
        """n2 = the sum over tensors of (sum d^2) * 2^(2(shift+8)), in (2**-8 step)^2. Exact, of any size."""
        self.check(shape)
        sums = [0] * len(shape.tensors)
        for page, values in self.pages:
            start = page * shape.page_length
            squares = values.astype(np.int64) ** 2
            for tensor, a, b in shape.segments(page):
                sums[tensor] += int(squares[a - start : b - start].sum())
        return sum(total << 2 * (shift - MIN_SHIFT) for total, shift in zip(sums, self.shifts, strict=True))

    def checked_norm(self, shape: Shape) -> int:
        """`squared_norm`, as a chain judges it before the task's rule does. Raises OutOfRange: EmptyUpdate, NormTooLong."""
        norm = self.squared_norm(shape)
        if norm < MIN_SQUARED_NORM:
            raise OutOfRange("the update moves no weight by as much as a step", reason="EmptyUpdate")
        if norm > MAX_SQUARED_NORM:
            raise OutOfRange("the update is longer than 2**31 in 2**-8 steps", reason="NormTooLong")
        return norm

    def within(self, pages: range, shape: Shape) -> Update:
        """The part of the update that lies in some pages, canonical again."""
        kept = tuple((page, values) for page, values in self.pages if page in pages)
        touched = {tensor for page, _ in kept for tensor, _, _ in shape.segments(page)}
        shifts = tuple(shift if tensor in touched else 0 for tensor, shift in enumerate(self.shifts))
        return Update(self.task, self.base_version, self.encoding, shifts, kept)

    def delta(self, shape: Shape) -> NDArray[np.float64]:
        """(N,) float64: d * 2**shift in steps of each weight, exact; 0 where no page is present."""
        self.check(shape)
        delta = np.zeros(shape.weight_count)
        for page, values in self.pages:
            start = page * shape.page_length
            for tensor, a, b in shape.segments(page):
                delta[a:b] = np.ldexp(values[a - start : b - start].astype(np.float64), self.shifts[tensor])
        return delta

    @classmethod
    def decode(cls, encoded: bytes, shape: Shape) -> Update:
        """The inverse of `encode`. Raises InvalidUpdate for every byte string that is not canonical for `shape`."""
        bitmap_at = _HEAD.size + len(shape.tensors)
        pages_at = header_bytes(shape)
        if len(encoded) < pages_at:
            raise InvalidUpdate(
                f"an update of this task begins with {pages_at} bytes of header, there are {len(encoded)}"
            )
        version, code, task, base_version = _HEAD.unpack_from(encoded)
        if version != FORMAT:
            raise InvalidUpdate(f"update format {version} is unknown; this program knows {FORMAT}")
        if code not in ENCODINGS:
            raise InvalidUpdate(f"encoding {code} is unknown; this program knows {', '.join(map(str, ENCODINGS))}")
        encoding = ENCODINGS[code]
        shifts = tuple(int(s) for s in np.frombuffer(encoded, np.int8, len(shape.tensors), _HEAD.size))
        bits = np.unpackbits(np.frombuffer(encoded, np.uint8, pages_at - bitmap_at, bitmap_at), bitorder="little")
        if bits[shape.page_count :].any():
            raise InvalidUpdate("the bitmap names pages that do not exist")
        present = [int(page) for page in np.flatnonzero(bits)]
        lengths = [place.stop - place.start for place in map(shape.page_slice, present)]
        expected = pages_at + sum(map(encoding.page_bytes, lengths))
        if len(encoded) != expected:
            raise InvalidUpdate(f"an update with these {len(present)} pages has {expected} bytes, not {len(encoded)}")
        pages = []
        offset = pages_at
        for page, length in zip(present, lengths, strict=True):
            size = encoding.page_bytes(length)
            pages.append((page, encoding.unpack(encoded[offset : offset + size], length)))
            offset += size
        update = cls(task, base_version, encoding, shifts, tuple(pages))
        update.check(shape)
        return update


def header_bytes(shape: Shape) -> int:
    """Length of an update's header."""
    return _HEAD.size + len(shape.tensors) + -(-shape.page_count // 8)


def update_digest(header: bytes, group_digests: tuple[bytes, ...]) -> bytes:
    """The identity of an update from its header and the keccak-256 of each group. 32 bytes."""
    return bytes(keccak(header + b"".join(group_digests)))


def join(header: bytes, groups: tuple[bytes, ...]) -> bytes:
    """The update's byte string from the parts that a transaction carries."""
    return header + b"".join(groups)
