"""The footer of a Parquet file: what it says of the parts of its columns.

Read here and not by pyarrow, whose accessors for them let exceptions of C++ through: a footer with a histogram of another length ends the
process (26.0.1, `RowGroupMetaData.column`). What reads the pages themselves catches them.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift, structs FileMetaData, RowGroup, ColumnChunk and
ColumnMetaData.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from services.trainer.data.pages import (
    BINARY,
    BYTE,
    DOUBLE,
    FALSE,
    I16,
    I32,
    I64,
    LIST,
    SET,
    STRUCT,
    TRUE,
    Bytes,
    Reader,
)

MAX_DEPTH: Final = 12
# of FileMetaData, RowGroup, ColumnChunk
ROW_GROUPS, COLUMNS, META_DATA = 4, 1, 3
# of ColumnMetaData
PATH, VALUES, OPENED, PACKED, DATA_PAGE, DICTIONARY_PAGE = 3, 5, 6, 7, 9, 11
_NUMBERS: Final = frozenset({VALUES, OPENED, PACKED, DATA_PAGE, DICTIONARY_PAGE})


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """One column of one row group; places in the file, lengths in bytes.

    path: with a dot between the names of nested columns. dictionary_page: 0 if there is none.
    """

    path: str
    value_count: int
    opened_length: int
    packed_length: int
    data_page: int
    dictionary_page: int


def chunks(data: Bytes, start: int, end: int) -> Iterator[ColumnChunk]:
    """Of the footer in data[start:end], in its order. Raises ValueError for what is none, or says something twice."""
    reader = _Footer(data, start, end)
    for number, kind in reader.fields():
        if number == ROW_GROUPS:
            for _ in range(reader.structs(kind)):
                yield from reader.row_group()
        else:
            reader.skip(kind, 0)


class _Footer(Reader):
    """Whoever takes a field from `fields` reads or skips its value before the next one."""

    def __init__(self, data: Bytes, start: int, end: int) -> None:
        super().__init__(data, start, end, "the footer")

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each field of a struct."""
        number, seen = 0, set[int]()
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            if number in seen:
                raise ValueError("a field of the footer comes twice")
            seen.add(number)
            yield number, head & 0x0F

    def row_group(self) -> Iterator[ColumnChunk]:
        for number, kind in self.fields():
            if number == COLUMNS:
                for _ in range(self.structs(kind)):
                    yield self._chunk()
            else:
                self.skip(kind, 0)

    def _chunk(self) -> ColumnChunk:
        found: ColumnChunk | None = None
        for number, kind in self.fields():
            if number == META_DATA and kind == STRUCT:
                found = self._column()
            else:
                self.skip(kind, 0)
        if found is None:
            raise ValueError("the footer says nothing of a column")
        return found

    def _column(self) -> ColumnChunk:
        path, numbers = "", dict.fromkeys(_NUMBERS, 0)
        for number, kind in self.fields():
            if number in _NUMBERS and kind in (I32, I64):
                numbers[number] = self.integer()
            elif number == PATH and kind == LIST:
                path = ".".join(self._names())
            else:
                self.skip(kind, 0)
        if min(numbers.values()) < 0:
            raise ValueError("the footer says that a column is shorter than nothing")
        return ColumnChunk(
            path, numbers[VALUES], numbers[OPENED], numbers[PACKED], numbers[DATA_PAGE], numbers[DICTIONARY_PAGE]
        )

    def _names(self) -> list[str]:
        count, kind = self._items()
        if kind != BINARY:
            raise ValueError("the footer names a column by something else than text")
        return [self.binary().decode() for _ in range(count)]

    def structs(self, kind: int) -> int:
        """How many structs a list holds."""
        if kind != LIST:
            raise ValueError("the footer lists row groups or columns as something else")
        count, inner = self._items()
        if inner != STRUCT and count:
            raise ValueError("the footer lists row groups or columns of another kind")
        return count

    def _items(self) -> tuple[int, int]:
        head = self.byte()
        count, kind = head >> 4, head & 0x0F
        if count == 15:
            count = self.varint()
        if count > self.left:  # none is shorter than a byte
            raise ValueError("the footer lists more than it holds")
        return count, kind

    def skip(self, kind: int, depth: int) -> None:
        """A value that nobody asks for."""
        if depth > MAX_DEPTH:
            raise ValueError("the footer is too deep")
        if kind in (TRUE, FALSE):
            return
        if kind == BYTE:
            self.byte()
        elif kind in (I16, I32, I64):
            self.varint()
        elif kind == DOUBLE:
            self.pass_over(8)
        elif kind == BINARY:
            self.binary()
        elif kind in (LIST, SET):
            count, inner = self._items()
            for _ in range(count):
                if inner in (TRUE, FALSE):
                    self.byte()
                else:
                    self.skip(inner, depth + 1)
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        else:
            raise ValueError(f"the footer has a field of kind {kind}, which none has")
