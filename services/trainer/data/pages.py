"""The header of a page of Parquet: Thrift's compact protocol, as much of it as these headers have.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift, struct PageHeader. pyarrow shows what a column
announces, but not what its pages do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, overload

MAX_HEADER_BYTES: Final = 2**20
MAX_DEPTH: Final = 8

# of PageHeader
OPENED_LENGTH, PACKED_LENGTH, DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 2, 3, 5, 7, 8
# of each of the three headers inside
VALUE_COUNT: Final = 1

STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)

Fields = Mapping[int, "int | Fields"]


class Bytes(Protocol):
    """bytes, or a file in memory."""

    @overload
    def __getitem__(self, place: int, /) -> int: ...
    @overload
    def __getitem__(self, place: slice, /) -> bytes: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class PageHeader:
    opened_length: int
    """Bytes that the page says to have once it is decompressed."""
    value_count: int
    """Numbers that it says to hold; 0 of a dictionary, whose numbers are no values of the column."""
    end: int
    """Where the next page begins."""

    @classmethod
    def read(cls, data: Bytes, at: int) -> "PageHeader":
        """Raises ValueError for what is no such header, or leaves out or makes negative what it must say."""
        reader = _PageReader(data, at, min(len(data), at + MAX_HEADER_BYTES), "the header of a page")
        fields = reader.struct(0)
        inner = fields.get(DATA_PAGE, fields.get(DATA_PAGE_V2))
        counted = inner.get(VALUE_COUNT) if isinstance(inner, Mapping) else 0
        opened, packed = fields.get(OPENED_LENGTH), fields.get(PACKED_LENGTH)
        if not (isinstance(opened, int) and isinstance(packed, int) and isinstance(counted, int)):
            raise ValueError("a page does not say how long it is")
        if min(opened, packed, counted) < 0 or (DATA_PAGE in fields and DATA_PAGE_V2 in fields):
            raise ValueError("a page says that it is shorter than nothing, or of two kinds")
        return cls(opened, counted, reader.at + packed)


class Reader:
    """Thrift's compact protocol, from a place on."""

    def __init__(self, data: Bytes, at: int, end: int, what: str) -> None:
        """what: it is that ends at `end`, for errors, which are ValueError."""
        self._data = data
        self._end = end
        self._what = what
        self.at = at

    @property
    def left(self) -> int:
        """Bytes."""
        return self._end - self.at

    def byte(self) -> int:
        if self.at >= self._end:
            raise ValueError(f"{self._what} does not end")
        self.at += 1
        return self._data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError(f"a number in {self._what} does not end")

    def integer(self) -> int:
        """Zigzag: 0, -1, 1, -2 …"""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def pass_over(self, length: int) -> int:
        """Where what is passed over begins."""
        if length > self.left:
            raise ValueError(f"{self._what} does not end")
        self.at += length
        return self.at - length

    def binary(self) -> bytes:
        length = self.varint()
        start = self.pass_over(length)
        return self._data[start : start + length]


class _PageReader(Reader):
    def struct(self, depth: int) -> Fields:
        """Its integers and structs by field number; of the rest, only where it ends. Raises ValueError for a field that comes twice."""
        if depth > MAX_DEPTH:
            raise ValueError("the header of a page is too deep")
        found: dict[int, int | Fields] = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            if number in found:
                raise ValueError("a field of a page's header comes twice")
            found[number] = self._value(head & 0x0F, depth)
        return found

    def _value(self, kind: int, depth: int) -> int | Fields:
        if kind in (TRUE, FALSE):
            return int(kind == TRUE)
        if kind == BYTE:
            return self.byte()
        if kind in (I16, I32, I64):
            return self.integer()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind == DOUBLE:
            self.pass_over(8)
        elif kind == BINARY:
            self.pass_over(self.varint())
        else:
            raise ValueError(f"the header of a page has a field of kind {kind}, which none has")
        return 0
