"""An update on the wire: a quantised weight delta against a base version, in exactly one byte string.

    update = header | group 0 | ... | group G-1
    header: u8 1 | u8 encoding | u64 task | u64 base version | T x i8 shift | ceil(P/8) bytes of bitmap, page p at bit p%8 of byte p/8
    group:  its present pages, ascending, each in the encoding's bytes (linklearner.domain.encodings)

A delta is d * 2**shift steps of the weight (2**-q). Canonical: a decoder refuses set padding bits, trailing bytes, a page of zeros, a
shift other than 0 for a tensor that no present page touches, and shifts out of range; so one update has one byte string and one digest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
    _flat: NDArray[np.int8] | None = field(default=None, init=False, repr=False, compare=False)
    """The pages' values end to end, of which the pages are views: of an update that was decoded."""
    _shape: Shape | None = field(default=None, init=False, repr=False, compare=False)
    """For which the update is known to be canonical: set only where nobody can change its values afterwards."""

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
        if self._shape is not None and (self._shape is shape or self._shape == shape):
            return
        if not 0 <= self.task <= MAX_TASK:
            raise InvalidUpdate(f"a task is a number in 0..{MAX_TASK}, not {self.task}")
        if not 0 <= self.base_version < 2**64:
            raise InvalidUpdate(f"a base version is a u64, not {self.base_version}")
        if len(self.shifts) != len(shape.tensors):
            raise InvalidUpdate(f"the task has {len(shape.tensors)} tensors, the update {len(self.shifts)} shifts")
        present = [page for page, _ in self.pages]
        if any(a >= b for a, b in pairwise(present)):
            raise InvalidUpdate("pages are not in ascending order, or one comes twice")
        for page, values in self.pages:
            if not 0 <= page < shape.page_count:
                raise InvalidUpdate(f"page {page} does not exist: the task has {shape.page_count}")
            if values.dtype != np.int8 or values.shape != (shape.page_weights(page),):
                raise InvalidUpdate(
                    f"page {page} holds {shape.page_weights(page)} int8, not {values.shape} {values.dtype}"
                )
            fault = self.encoding.check(values)
            if fault is not None:
                raise InvalidUpdate(f"page {page} {fault}")
        self._check_shifts(shape)

    def _check_shifts(self, shape: Shape) -> None:
        touched = {tensor for tensor, _, _, _ in self.runs(shape)}
        for tensor, shift in enumerate(self.shifts):
            if not MIN_SHIFT <= shift <= self.encoding.max_shift:
                raise InvalidUpdate(
                    f"tensor {tensor}: a shift lies in {MIN_SHIFT}..{self.encoding.max_shift}, not at {shift}"
                )
            if shift and tensor not in touched:
                raise InvalidUpdate(f"tensor {tensor} has no weight in the update, so its shift must be 0, not {shift}")

    def _values(self) -> NDArray[np.int8]:
        """(n,) int8: all pages end to end."""
        if self._flat is not None:
            return self._flat
        return np.concatenate([values for _, values in self.pages]) if self.pages else np.zeros(0, dtype=np.int8)

    def runs(self, shape: Shape) -> Iterator[tuple[int, int, int, NDArray[np.int8]]]:
        """(tensor, start, stop, d) of the longest runs of weights that are present and of one tensor, ascending; start and stop in the flat
        vector. For an update whose pages fit the shape."""
        flat, offset = self._values(), 0
        for first, last in stretches([page for page, _ in self.pages]):
            start, stop = first * shape.page_length, min(last * shape.page_length, shape.weight_count)
            for tensor, a, b in shape.runs(start, stop):
                yield tensor, a, b, flat[offset + a - start : offset + b - start]
            offset += stop - start

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
        seamless = self.encoding.is_seamless(shape.page_length)
        parts: list[list[NDArray[np.int8]]] = [[] for _ in range(shape.group_count)]
        for page, values in self.pages:
            parts[shape.group_of(page)].append(values)
        if seamless:
            return tuple(self.encoding.pack(np.concatenate(part)) if part else b"" for part in parts)
        return tuple(b"".join(map(self.encoding.pack, part)) for part in parts)

    def encode(self, shape: Shape) -> bytes:
        """The one byte string. Raises InvalidUpdate if the update does not fit the shape."""
        return self.header(shape) + b"".join(self.groups(shape))

    def digest(self, shape: Shape) -> bytes:
        """keccak-256(header | keccak(group 0) | ... | keccak(group G-1)). 32 bytes."""
        return update_digest(self.header(shape), digests_of(self.groups(shape)))

    def squared_norm(self, shape: Shape) -> int:
        """n2 = the sum over tensors of (sum d^2) * 2^(2(shift+8)), in (2**-8 step)^2. Exact, of any size."""
        self.check(shape)
        total = 0
        for tensor, _, _, values in self.runs(shape):
            squares = values.astype(np.int16)
            squares *= squares  # at most 2^14
            total += int(squares.sum(dtype=np.int64)) << 2 * (self.shifts[tensor] - MIN_SHIFT)
        return total

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
        if len(pages) == shape.page_count:
            return self
        kept = tuple((page, values) for page, values in self.pages if page in pages)
        part = Update(self.task, self.base_version, self.encoding, (0,) * len(self.shifts), kept)
        touched = {tensor for tensor, _, _, _ in part.runs(shape)}
        shifts = tuple(shift if tensor in touched else 0 for tensor, shift in enumerate(self.shifts))
        part = Update(self.task, self.base_version, self.encoding, shifts, kept)
        if self._shape == shape:  # a part of what is canonical is so, with the shifts of the rest at 0
            object.__setattr__(part, "_shape", shape)
        return part

    def delta(self, shape: Shape) -> NDArray[np.float64]:
        """(N,) float64: d * 2**shift in steps of each weight, exact; 0 where no page is present."""
        self.check(shape)
        delta = np.zeros(shape.weight_count)
        for tensor, start, stop, values in self.runs(shape):
            np.multiply(values, 2.0 ** self.shifts[tensor], out=delta[start:stop])
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
        shifts = tuple(np.frombuffer(encoded, np.int8, len(shape.tensors), _HEAD.size).tolist())
        bits = np.unpackbits(np.frombuffer(encoded, np.uint8, pages_at - bitmap_at, bitmap_at), bitorder="little")
        if bits[shape.page_count :].any():
            raise InvalidUpdate("the bitmap names pages that do not exist")
        present: list[int] = np.flatnonzero(bits).tolist()
        # All pages are of one length but perhaps the last of the model.
        length = shape.page_length
        last = shape.page_weights(present[-1]) if present else 0
        full = len(present) - (0 < last < length)
        sizes = [encoding.page_bytes(length)] * full + [encoding.page_bytes(last)] * (len(present) - full)
        expected = pages_at + sum(sizes)
        if len(encoded) != expected:
            raise InvalidUpdate(f"an update with these {len(present)} pages has {expected} bytes, not {len(encoded)}")
        count = full * length + (len(present) - full) * last
        if encoding.is_seamless(length):
            flat = encoding.unpack(memoryview(encoded)[pages_at:], count) if present else np.zeros(0, dtype=np.int8)
        else:
            flat, offset = np.empty(count, dtype=np.int8), pages_at
            for index, size in enumerate(sizes):
                page = flat[index * length : (index + 1) * length]
                page[:] = encoding.unpack(encoded[offset : offset + size], page.size)
                offset += size
        flat.flags.writeable = False
        fault = encoding.unpacked_fault(flat, np.arange(len(present)) * length)
        if fault is not None:
            raise InvalidUpdate(f"page {present[fault[0]]} {fault[1]}")
        pages = tuple((page, flat[at : at + length]) for page, at in zip(present, range(0, count, length), strict=True))
        update = cls(task, base_version, encoding, shifts, pages)
        object.__setattr__(update, "_flat", flat)
        if task > MAX_TASK:
            raise InvalidUpdate(f"a task is a number in 0..{MAX_TASK}, not {task}")
        update._check_shifts(shape)
        object.__setattr__(update, "_shape", shape)
        return update


def stretches(pages: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of each run of consecutive pages. pages: ascending."""
    if not pages:
        return
    if pages[-1] - pages[0] == len(pages) - 1:
        yield pages[0], pages[-1] + 1
        return
    first = before = pages[0]
    for page in pages[1:]:
        if page != before + 1:
            yield first, before + 1
            first = page
        before = page
    yield first, before + 1


def header_bytes(shape: Shape) -> int:
    """Length of an update's header."""
    return _HEAD.size + len(shape.tensors) + -(-shape.page_count // 8)


def digests_of(groups: Sequence[bytes]) -> tuple[bytes, ...]:
    """keccak-256 of each group."""
    return tuple(bytes(keccak(group)) for group in groups)


def update_digest(header: bytes, group_digests: tuple[bytes, ...]) -> bytes:
    """The identity of an update from its header and the keccak-256 of each group. 32 bytes."""
    return bytes(keccak(header + b"".join(group_digests)))


def part_in_group(header: bytes, pages: bytes, group: int, shape: Shape) -> Update:
    """What of an update lies in one group, canonical again: from its header and that group's bytes alone, in time that the other groups'
    bytes have no part in. Raises InvalidUpdate for a header or bytes that are none of an update of this shape."""
    if len(header) != header_bytes(shape):
        raise InvalidUpdate(
            f"an update of this task begins with {header_bytes(shape)} bytes of header, not {len(header)}"
        )
    shifts_at, bitmap_at = _HEAD.size, _HEAD.size + len(shape.tensors)
    bits = np.unpackbits(np.frombuffer(header, np.uint8, offset=bitmap_at), bitorder="little")
    place = shape.group_page_range(group)
    bits[: place.start] = 0
    bits[place.stop : shape.page_count] = 0
    touched = {
        tensor
        for first, last in stretches(np.flatnonzero(bits[: shape.page_count]).tolist())
        for tensor, _, _ in shape.runs(first * shape.page_length, min(last * shape.page_length, shape.weight_count))
    }
    shifts = bytes(shift if t in touched else 0 for t, shift in enumerate(header[shifts_at:bitmap_at]))
    bitmap = np.packbits(bits, bitorder="little").tobytes()
    return Update.decode(header[:shifts_at] + shifts + bitmap + pages, shape)


def join(header: bytes, groups: tuple[bytes, ...]) -> bytes:
    """The update's byte string from the parts that a transaction carries."""
    return header + b"".join(groups)
