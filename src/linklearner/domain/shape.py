"""The shape of a task: which tensors, how fine their weights are, and how the flat weight vector is cut into pages and groups.

All weights of a model are one flat vector of N int16 in the tensors' order. A page is a run of `page_length` weights of that vector (the
last page is shorter where N is no multiple), so a page may straddle tensors. `group_pages` pages form a settlement group: what one
settlement transaction merges.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidShape

FORMAT = 1

# The limits keep every sum of the Aspect inside i64 and every index inside the bytes that the formats give it. They are the same in
# aspects/aggregator/shape.ts; tests/aspects/test_agreements.py compares them.
MAX_TENSORS = 4096
MAX_WEIGHTS = 2**28  # sum d^2 <= 2^28 * 2^14 = 2^42: fits i64 with room
MIN_PAGE_LENGTH, MAX_PAGE_LENGTH = 4, 16384
MAX_PAGES = 2**16
MAX_GROUP_PAGES = 2**16
MAX_GROUPS = (
    2**13
)  # each has 64 bytes in every update: with 2^14 no transaction holds one, and a task would be open to nobody
MIN_EXPONENT, MAX_EXPONENT = -8, 24
MAX_NORM_BOUND = 2**31

_HEAD = struct.Struct(">BH")
_TENSOR = struct.Struct(">Ib")
_TAIL = struct.Struct(">IIQ")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its number of weights, and q: a weight w stands for the real value w * 2**-q."""

    length: int
    exponent: int

    def __post_init__(self) -> None:
        if not 1 <= self.length <= MAX_WEIGHTS:
            raise InvalidShape(f"a tensor has 1 to {MAX_WEIGHTS} weights, not {self.length}")
        if not MIN_EXPONENT <= self.exponent <= MAX_EXPONENT:
            raise InvalidShape(f"a tensor's exponent lies in {MIN_EXPONENT}..{MAX_EXPONENT}, not at {self.exponent}")


@dataclass(frozen=True)
class Shape:
    """The constants of a task that the Aspect keeps. `norm_bound`: B, the longest update that counts in full, in 2**-8 steps."""

    tensors: tuple[Tensor, ...]
    page_length: int
    group_pages: int
    norm_bound: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.tensors) <= MAX_TENSORS:
            raise InvalidShape(f"a model has 1 to {MAX_TENSORS} tensors, not {len(self.tensors)}")
        if not MIN_PAGE_LENGTH <= self.page_length <= MAX_PAGE_LENGTH or self.page_length % 4:
            raise InvalidShape(
                f"a page holds {MIN_PAGE_LENGTH} to {MAX_PAGE_LENGTH} weights, a multiple of 4, not {self.page_length}"
            )
        if not 1 <= self.group_pages <= MAX_GROUP_PAGES:
            raise InvalidShape(f"a group has 1 to {MAX_GROUP_PAGES} pages, not {self.group_pages}")
        if not 1 <= self.norm_bound <= MAX_NORM_BOUND:
            raise InvalidShape(f"the norm bound lies in 1..{MAX_NORM_BOUND}, not at {self.norm_bound}")
        if self.weight_count > MAX_WEIGHTS:
            raise InvalidShape(f"a model has at most {MAX_WEIGHTS} weights, not {self.weight_count}")
        if self.page_count > MAX_PAGES:
            raise InvalidShape(f"a model has at most {MAX_PAGES} pages, not {self.page_count}: make the pages longer")
        if self.group_count > MAX_GROUPS:
            raise InvalidShape(
                f"a model has at most {MAX_GROUPS} settlement groups, not {self.group_count}: put more pages into each"
            )

    @cached_property
    def weight_count(self) -> int:
        """N."""
        return sum(tensor.length for tensor in self.tensors)

    @cached_property
    def page_count(self) -> int:
        """P = N / page_length, rounded up."""
        return -(-self.weight_count // self.page_length)

    @cached_property
    def group_count(self) -> int:
        """G = P / group_pages, rounded up."""
        return -(-self.page_count // self.group_pages)

    @cached_property
    def bounds(self) -> tuple[int, ...]:
        """Where the tensors begin in the flat vector, and N at the end: T + 1 numbers."""
        return (0, *accumulate(tensor.length for tensor in self.tensors))

    def page_slice(self, page: int) -> slice:
        """Where page `page` lies in the flat vector."""
        if not 0 <= page < self.page_count:
            raise IndexError(f"page {page} of {self.page_count}")
        start = page * self.page_length
        return slice(start, min(start + self.page_length, self.weight_count))

    def page_weights(self, page: int) -> int:
        """Number of weights in a page: all pages are full but perhaps the last."""
        place = self.page_slice(page)
        return int(place.stop - place.start)

    def group_of(self, page: int) -> int:
        return page // self.group_pages

    def group_page_range(self, group: int) -> range:
        """The pages of a group, ascending."""
        start = group * self.group_pages
        return range(start, min(start + self.group_pages, self.page_count))

    def segments(self, page: int) -> tuple[tuple[int, int, int], ...]:
        """The runs (tensor, start, stop) of one tensor each that make up the page; start and stop in the flat vector."""
        place = self.page_slice(page)
        return tuple(self.runs(place.start, place.stop))

    def runs(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(tensor, start, stop) of each tensor's part of [start, stop) of the flat vector, ascending; 0 <= start < stop <= N."""
        tensor = bisect_right(self.bounds, start) - 1
        while start < stop:
            end = min(stop, self.bounds[tensor + 1])
            yield tensor, start, end
            tensor, start = tensor + 1, end

    def exponents(self) -> NDArray[np.int8]:
        """(N,) int8: q of each weight."""
        return np.repeat(
            np.array([tensor.exponent for tensor in self.tensors], dtype=np.int8),
            [tensor.length for tensor in self.tensors],
        )

    def encode(self) -> bytes:
        """u8 1 | u16 T | T x (u32 length, i8 q) | u32 page_length | u32 group_pages | u64 norm_bound, big-endian."""
        return b"".join(
            (
                _HEAD.pack(FORMAT, len(self.tensors)),
                *(_TENSOR.pack(tensor.length, tensor.exponent) for tensor in self.tensors),
                _TAIL.pack(self.page_length, self.group_pages, self.norm_bound),
            )
        )

    @classmethod
    def decode(cls, encoded: bytes) -> Shape:
        """The inverse of `encode`. Raises InvalidShape for every other byte string."""
        if len(encoded) < _HEAD.size:
            raise InvalidShape(f"a shape of {len(encoded)} bytes is too short")
        version, count = _HEAD.unpack_from(encoded)
        if version != FORMAT:
            raise InvalidShape(f"shape format {version} is unknown; this program knows {FORMAT}")
        tail = _HEAD.size + count * _TENSOR.size
        if len(encoded) != tail + _TAIL.size:
            raise InvalidShape(f"a shape of {count} tensors has {tail + _TAIL.size} bytes, not {len(encoded)}")
        tensors = tuple(Tensor(*fields) for fields in _TENSOR.iter_unpack(encoded[_HEAD.size : tail]))
        return cls(tensors, *_TAIL.unpack_from(encoded, tail))
