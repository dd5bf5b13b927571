"""Tables of Parquet, by pyarrow: an extra of its own, 50 MB that most trainers have no use for."""

import importlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linklearner import arrays
from linklearner.domain.errors import InvalidConfig
from services.trainer.data.columns import MAX_COLUMNS, OPTIONS, choose
from services.trainer.data.samples import MAX_VALUES, ONE_ARRAY, Samples
from services.trainer.data.source import Found, Options, Source
from services.trainer.data.table import whole

BATCH_ROWS: Final = 2**16
MAX_FOOTER_BYTES: Final = 2**24
_MAGIC: Final = b"PAR1"


def read(path: Path, options: Options) -> Found:
    """Raises InvalidConfig if pyarrow is not there, for columns that are no numbers, and for empty cells."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise InvalidConfig(
            "Parquet files are read by pyarrow, which is not installed: pip install 'linklearner[parquet]'"
        ) from None
    with arrays.parsing(path, "a Parquet file"):
        _check_footer(path)
        with parquet.ParquetFile(
            path,
            thrift_string_size_limit=MAX_FOOTER_BYTES,
            thrift_container_size_limit=2**20,
            arrow_extensions_enabled=False,
        ) as file:
            header = file.schema_arrow.names
            choice = choose(header, options, path)
            wanted = [header[place] for place in (*choice.inputs, *choice.targets)]
            _check_sizes(path, file.metadata, wanted)
            parts: list[list[NDArray[Any]]] = [[] for _ in wanted]
            rows = 0
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False):
                rows += batch.num_rows
                if rows > file.metadata.num_rows:
                    raise ValueError(f"it holds more rows than the {file.metadata.num_rows} that it announces")
                for part, name in zip(parts, wanted, strict=True):
                    part.append(_array(path, name, batch.column(name), target=name in wanted[len(choice.inputs) :]))
                if (
                    sum(part[-1].size for part in parts) * -(-file.metadata.num_rows // max(batch.num_rows, 1))
                    > 2 * MAX_VALUES
                ):
                    raise ValueError(f"it holds more than {MAX_VALUES} numbers: leave some rows out")
    if not rows:
        raise InvalidConfig(f"{path}: there is nothing to learn: it has no rows")
    columns = [np.concatenate(part) for part in parts]
    inputs, targets = columns[: len(choice.inputs)], columns[len(choice.inputs) :]
    y = targets[0] if len(targets) == 1 else np.stack([target.astype(np.float64) for target in targets], axis=1)
    if any(column.ndim > 1 for column in inputs):  # lists of numbers: inputs of their own names
        return Samples.of(dict(zip(choice.names(header), inputs, strict=True)), y, path), None
    x = np.stack([column.astype(np.float32) for column in inputs], axis=1)
    return Samples.of({ONE_ARRAY: x}, y, path, columns=choice.names(header)), None


def _check_footer(path: Path) -> None:
    """Raises ValueError before pyarrow sees what is no Parquet file, is too large, or has a footer of more than MAX_FOOTER_BYTES."""
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


def _check_sizes(path: Path, metadata: Any, wanted: list[str]) -> None:
    """By what the file announces; `read` holds it to that."""
    if metadata.num_columns > MAX_COLUMNS:
        raise ValueError(f"it has {metadata.num_columns} columns, more than {MAX_COLUMNS}")
    if metadata.num_rows * len(wanted) > MAX_VALUES:
        raise ValueError(
            f"it has {metadata.num_rows} rows of {len(wanted)} columns, more than {MAX_VALUES} numbers: leave some out"
        )
    total = sum(
        chunk.total_uncompressed_size
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for chunk in map(group.column, range(group.num_columns))
        if chunk.path_in_schema.partition(".")[0] in wanted
    )
    if total > arrays.MAX_BYTES:
        raise ValueError(f"it opens to {total} bytes, more than {arrays.MAX_BYTES}")


def _array(path: Path, name: str, column: Any, *, target: bool) -> NDArray[Any]:
    """A column of a batch: (rows,) numbers, or text for a target; (rows, k) for lists of k numbers each."""
    types = importlib.import_module("pyarrow").types
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        raise InvalidConfig(
            f"{path}: column {name!r:.60} is empty in {column.null_count} rows: fill it in, or leave these rows out"
        )
    kind = column.type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        flat = _array(path, name, column.flatten(), target=False)
        if len(flat) % max(len(column), 1) or set(column.value_lengths().to_pylist()) - {
            len(flat) // max(len(column), 1)
        }:
            raise InvalidConfig(f"{path}: the lists of column {name!r:.60} are of different lengths: pad them to one")
        return flat.reshape(len(column), -1, *flat.shape[1:])
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return whole(values.astype(np.float64)) if target and values.dtype.kind == "f" else values
    if target and (types.is_string(kind) or types.is_large_string(kind)):
        return np.array(column.to_pylist(), dtype=np.str_)
    raise InvalidConfig(
        f"{path}: column {name!r:.60} holds {kind!s:.60} where a number belongs: leave it out (without=…), or write its categories as 0/1 columns"
    )


PARQUET = Source(
    read=read,
    place="FILE",
    about="a table of Parquet (`pip install 'linklearner[parquet]'`). Columns are numbers or lists of equally many numbers; with lists each "
    "column is an input of its own name.",
    example="parquet:iris.parquet?target=species",
    options=OPTIONS,
    required=("target",),
)
