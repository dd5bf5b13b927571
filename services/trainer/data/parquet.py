"""Tables of Parquet, by pyarrow: an extra of its own, 55 MB that most trainers have no use for.

Who reaches this: whoever sends a contributor a table. A few bytes of a page may say that they open to 2 GiB, or stand for 2^31 numbers, or
for one long text a thousand times, and pyarrow would do as they say. So the headers of all pages that will be read are added up first
(`_check_pages`), columns of other types than numbers are refused by the schema, and texts are kept once each.
"""

import mmap
from collections.abc import Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linklearner import arrays
from linklearner.domain.errors import InvalidConfig
from services.trainer.data.columns import MAX_COLUMNS, OPTIONS, Texts, choose
from services.trainer.data.footer import ColumnChunk, chunks
from services.trainer.data.pages import PageHeader
from services.trainer.data.samples import MAX_VALUES, ONE_ARRAY, Samples
from services.trainer.data.source import Found, Options, Source
from services.trainer.data.table import whole

BATCH_ROWS: Final = 2**16
MAX_FOOTER_BYTES: Final = 2**24
MAX_FOOTER_ITEMS: Final = 2**20
MAX_PAGES: Final = 2**20
_MAGIC: Final = b"PAR1"


def read(path: Path, options: Options) -> Found:
    """Raises InvalidConfig if pyarrow is not there, for columns that are no numbers, and for empty cells."""
    _pyarrow()
    with arrays.parsing(path, "a Parquet file"):
        parts = _columns(path)
        with _opened(path) as file:
            text = [field.name for field in file.schema_arrow if _is_text(field.type)]
        with _opened(path, read_dictionary=text) as file:  # a long text that comes a thousand times is held once
            header = file.schema_arrow.names
            choice = choose(header, options, path)
            wanted = [header[place] for place in (*choice.inputs, *choice.targets)]
            for place in (*choice.inputs, *choice.targets):
                field = file.schema_arrow.field(place)
                if not _is_numeric(field.type) and (choice.targets != (place,) or field.name not in text):
                    raise _no_numbers(path, field.name, "text" if field.name in text else str(field.type))
            asked = frozenset(wanted)
            read = [part for part in parts if _is_of(part, asked)]
            _check_sizes(file.metadata, wanted, read)
            _check_pages(path, read)
            body = _Body(path, wanted, len(choice.inputs))
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False):
                body.add(batch, file.metadata.num_rows)
    inputs, y, names = body.columns()
    if any(column.ndim > 1 for column in inputs):  # lists of numbers: inputs of their own names
        return Samples.of(dict(zip(choice.names(header), inputs, strict=True)), y, path, names=names), None
    x = np.empty((len(y), len(inputs)), dtype=np.float32)
    for place, column in enumerate(inputs):
        x[:, place] = column
    return Samples.of({ONE_ARRAY: x}, y, path, names=names, columns=choice.names(header)), None


def _pyarrow() -> Any:
    """Imported by the first file that needs it: it takes half a second, and is an extra."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise InvalidConfig(
            "Parquet files are read by pyarrow, which is not installed: pip install 'linklearner[parquet]'"
        ) from None
    return pyarrow


def _opened(path: Path, **options: Any) -> Any:
    return _pyarrow().parquet.ParquetFile(
        path,
        thrift_string_size_limit=MAX_FOOTER_BYTES,
        thrift_container_size_limit=MAX_FOOTER_ITEMS,
        arrow_extensions_enabled=False,
        **options,
    )


class _Body:
    """The columns of one table, batch by batch; what they come to is held to what the file announced."""

    def __init__(self, path: Path, names: list[str], inputs: int) -> None:
        self._path = path
        self._names = names
        self._inputs = inputs
        self._parts: list[list[NDArray[Any]]] = [[] for _ in names]
        self._texts: Texts | None = None
        self._rows = self._numbers = 0

    def add(self, batch: Any, announced: int) -> None:
        """Raises ValueError for more rows than announced, or more numbers than a data set has."""
        self._rows += batch.num_rows
        if self._rows > announced:
            raise ValueError(f"it holds more rows than the {announced} that it announces")
        for place, (part, name) in enumerate(zip(self._parts, self._names, strict=True)):
            column, target = batch.column(name), place >= self._inputs
            if target and len(self._parts) == self._inputs + 1 and self._text(name, column):
                continue
            part.append(_numbers(self._path, name, column))
            self._numbers += part[-1].size
            if self._numbers > MAX_VALUES:
                raise ValueError(f"it holds more than {MAX_VALUES} numbers: leave some rows out")

    def _text(self, name: str, column: Any) -> bool:
        """Whether the column is text; then it is counted."""
        types = _pyarrow().types
        if not types.is_dictionary(column.type):
            return False
        _check_filled(self._path, name, column)
        if self._texts is None:
            self._texts = Texts(self._path, name)
        known = column.dictionary.to_pylist()
        for index in column.indices.to_pylist():
            self._texts.add(known[index])
        return True

    def columns(self) -> tuple[list[NDArray[Any]], NDArray[Any], Sequence[str]]:
        """Of the inputs, (n,) or (n, k) each; y; and the names that y counts, if it is text."""
        if not self._rows:
            raise InvalidConfig(f"{self._path}: there is nothing to learn: it has no rows")
        inputs = [np.concatenate(part) for part in self._parts[: self._inputs]]
        if self._texts is not None:
            return inputs, self._texts.y, self._texts.names
        targets = [np.concatenate(part) for part in self._parts[self._inputs :]]
        if len(targets) == 1:
            return (
                inputs,
                whole(targets[0]) if targets[0].dtype.kind == "f" and targets[0].ndim == 1 else targets[0],
                (),
            )
        return inputs, np.stack([target.astype(np.float64) for target in targets], axis=1), ()


def _columns(path: Path) -> list[ColumnChunk]:
    """What the footer says of the parts of all columns. Raises ValueError before pyarrow sees what is no Parquet file, is too large, or has
    a footer of more than MAX_FOOTER_BYTES."""
    with path.open("rb") as file:
        start = file.read(4)
        length = file.seek(0, 2)
        if start != _MAGIC or length < 12:
            raise ValueError("it does not begin as one")
        if length > arrays.MAX_BYTES:
            raise ValueError(f"it holds more than {arrays.MAX_BYTES} bytes")
        file.seek(length - 8)
        footer = int.from_bytes(file.read(4), "little")
        if file.read(4) != _MAGIC or footer > min(length - 12, MAX_FOOTER_BYTES):
            raise ValueError("its end is not that of one: download it again")
        file.seek(length - 8 - footer)
        parts = list(islice(chunks(file.read(footer), 0, footer), MAX_FOOTER_ITEMS + 1))
    if len(parts) > MAX_FOOTER_ITEMS:
        raise ValueError(f"it is cut into more than {MAX_FOOTER_ITEMS} parts of columns")
    return parts


def _check_sizes(metadata: Any, wanted: list[str], parts: Sequence[ColumnChunk]) -> None:
    """By what the file announces; `read` holds it to that."""
    if metadata.num_columns > MAX_COLUMNS:
        raise ValueError(f"it has {metadata.num_columns} columns, more than {MAX_COLUMNS}")
    if metadata.num_rows * len(wanted) > MAX_VALUES:
        raise ValueError(
            f"it has {metadata.num_rows} rows of {len(wanted)} columns, more than {MAX_VALUES} numbers: leave some out"
        )
    total = sum(part.opened_length for part in parts)
    if total > arrays.MAX_BYTES:
        raise ValueError(f"it opens to {total} bytes, more than {arrays.MAX_BYTES}")


def _check_pages(path: Path, parts: Sequence[ColumnChunk]) -> None:
    """By the headers of the pages themselves. Raises ValueError for more than a data set has."""
    opened = values = pages = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for chunk in parts:
            at = chunk.data_page
            if 0 < chunk.dictionary_page < at:
                at = chunk.dictionary_page
            end, seen = at + chunk.packed_length, 0
            if not 0 <= at <= end <= len(data):
                raise ValueError("a column lies outside of the file")
            while at < end and seen < chunk.value_count:
                page = PageHeader.read(data, at)
                seen += page.value_count
                at = page.end
                opened, values, pages = opened + page.opened_length, values + page.value_count, pages + 1
                if opened > arrays.MAX_BYTES or values > MAX_VALUES or pages > MAX_PAGES:
                    raise ValueError(
                        f"its pages open to more than {arrays.MAX_BYTES} bytes, {MAX_VALUES} numbers or {MAX_PAGES} pages"
                    )


def _is_of(part: ColumnChunk, wanted: frozenset[str]) -> bool:
    """Whether it belongs to one of the columns, or is nested in one."""
    ends = accumulate(part.path.split("."), lambda path, name: f"{path}.{name}")
    return not wanted.isdisjoint(ends)


def _is_text(kind: Any) -> bool:
    types = _pyarrow().types
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_list(kind: Any) -> bool:
    types = _pyarrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_numeric(kind: Any) -> bool:
    """Numbers and booleans, and lists of them to any depth."""
    types = _pyarrow().types
    if _is_list(kind):
        return _is_numeric(kind.value_type)
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _no_numbers(path: Path, name: str, kind: str) -> InvalidConfig:
    return InvalidConfig(
        f"{path}: column {name!r:.60} holds {kind:.60} where a number belongs: leave it out (without=…), or write its categories as "
        "0/1 columns"
    )


def _check_filled(path: Path, name: str, column: Any) -> None:
    if column.null_count:
        raise InvalidConfig(
            f"{path}: column {name!r:.60} is empty in {column.null_count} rows: fill it in, or leave these rows out"
        )


def _numbers(path: Path, name: str, column: Any) -> NDArray[Any]:
    """A column of a batch: (rows,), or (rows, k) for lists of k numbers each."""
    _check_filled(path, name, column)
    if _is_list(column.type):
        flat, rows = _numbers(path, name, column.flatten()), len(column)
        if not rows or (column.value_lengths().to_numpy(zero_copy_only=False) != len(flat) // rows).any():
            raise InvalidConfig(f"{path}: the lists of column {name!r:.60} are of different lengths: pad them to one")
        return flat.reshape(rows, -1, *flat.shape[1:])
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


PARQUET = Source(
    read=read,
    place="FILE",
    about="a table of Parquet (`pip install 'linklearner[parquet]'`). Columns are numbers or lists of equally many numbers; with lists "
    "each column is an input of its own name.",
    example="parquet:iris.parquet?target=species",
    options=OPTIONS,
    required=("target",),
)
