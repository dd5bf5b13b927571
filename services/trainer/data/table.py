"""Tables as text: CSV with a line of names at the top.

Who reaches this: whoever sends a contributor a table. The file, the cells of a line and the different texts of a target are bounded;
numbers go straight into arrays of machine numbers, so that a table takes about as much memory as its text.
"""

import csv
import io
from array import array
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linklearner import arrays
from linklearner.domain.errors import InvalidConfig, NotFinite
from services.trainer.data.columns import MAX_COLUMNS, OPTIONS, Choice, Texts, choose
from services.trainer.data.samples import ONE_ARRAY, Samples
from services.trainer.data.source import Found, Options, Source

SEPARATORS: Final = ",;\t"
MOST_SHOWN: Final = 40


class _Lines(Iterator[str]):
    """The lines of a text; more than MAX_COLUMNS cells on one of them, or on several that one quoted cell joins, are refused unread."""

    def __init__(self, data: bytes, separator: str) -> None:
        self._lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
        self._separator = separator
        self._cells = 0

    def __next__(self) -> str:
        line = next(self._lines)
        self._cells += line.count(self._separator)
        if self._cells > MAX_COLUMNS:
            raise ValueError(f"a line has more than {MAX_COLUMNS} columns: save them as an array (npz:FILE)")
        return line

    def new_row(self) -> None:
        self._cells = 0


def read(path: Path, options: Options) -> Found:
    """Raises InvalidConfig with line and column for what is no number, NotFinite for one that is not finite."""
    data = arrays.read(path, arrays.MAX_TEXT_BYTES)
    with arrays.parsing(path, "a table of text (CSV, UTF-8)"):
        arrays.check_text(data)
        first = data[: data.find(b"\n") + 1 or len(data)]
        separator = max(SEPARATORS, key=lambda sign: first.count(sign.encode()))  # the first of the most frequent
        lines = _Lines(data, separator)
        rows = csv.reader(lines, delimiter=separator, strict=True)
        header = [name.strip() for name in next(rows, [])]
        if not any(header):
            raise ValueError("it has no line of names at the top")
        if options.get("header") == "no":
            header = [str(number + 1) for number in range(len(header))]
            lines = _Lines(data, separator)
            rows = csv.reader(lines, delimiter=separator, strict=True)
        elif options.get("header", "yes") != "yes":
            raise InvalidConfig(f"header must be yes or no, got {options['header']!r:.40}")
        elif all(map(_is_number, header)):
            raise InvalidConfig(
                f"the first line of {path} holds numbers where names belong: add a line of names, or say header=no (columns are 1, 2, …)"
            )
        choice = choose(header, options, path)
        plain = b"_" not in data and data.isascii()
        x, y, names = _Rows(path, header, choice, plain).read(rows, lines)
    return Samples.of({ONE_ARRAY: x}, y, path, names=names, columns=choice.names(header)), None


class _Rows:
    """The body of one table."""

    def __init__(self, path: Path, header: Sequence[str], choice: Choice, plain: bool) -> None:
        """plain: no cell holds what Python alone takes for a part of a number."""
        self._number: Callable[[str], float] = float if plain else _number
        self._path = path
        self._header = header
        self._choice = choice

    def read(self, rows: Any, lines: _Lines) -> tuple[NDArray[np.float32], NDArray[Any], Sequence[str]]:
        """(n, inputs) float32; (n,) int64 or float64, or (n, targets) float64; names of what y counts, if it counts texts."""
        width, targets = len(self._header), self._choice.targets
        pick = _picker(self._choice.inputs)
        inputs, numbers = array("f"), array("d")
        texts = Texts(self._path, self._header[targets[0]])
        text: bool | None = None
        for row in rows:
            lines.new_row()
            if not row or row == [""]:
                continue
            if len(row) != width:
                raise InvalidConfig(
                    f"line {rows.line_num} of {self._path} has {len(row)} cells where the first line has {width}: quote cells that hold "
                    "the separator, and fill in what is missing"
                )
            if text is None:
                text = len(targets) == 1 and not _is_number(row[targets[0]]) and row[targets[0]].strip() != ""
            try:
                inputs.extend(map(self._number, pick(row)))
                if not text:
                    numbers.extend(self._number(row[target]) for target in targets)
            except ValueError:
                raise self._no_number(row, rows.line_num) from None
            if text:
                texts.add(row[targets[0]].strip())
        x = np.frombuffer(inputs, dtype=np.float32).reshape(-1, len(self._choice.inputs))
        self._check_finite(x, self._choice.inputs)
        if text:
            return x, texts.y, texts.names
        y = np.frombuffer(numbers, dtype=np.float64).reshape(-1, len(targets))
        self._check_finite(y, targets)
        return x, whole(y[:, 0]) if len(targets) == 1 else y, ()

    def _no_number(self, row: Sequence[str], line: int) -> InvalidConfig:
        """What is wrong with the first cell of a row that is no number."""
        for place in (*self._choice.inputs, *self._choice.targets):
            cell = row[place].strip()
            where = f"line {line} of {self._path}: column {self._header[place]!r:.60}"
            if not cell:
                return InvalidConfig(f"{where} is empty: fill it in, or leave the row out")
            if _is_number(cell):
                continue
            if place in self._choice.targets:
                return InvalidConfig(
                    f"{where} holds {cell!r:.{MOST_SHOWN}} where rows before have numbers: write all labels as text, or all as numbers"
                )
            if _is_number(cell.replace(",", ".")):
                return InvalidConfig(f"{where} holds {cell!r:.{MOST_SHOWN}}: write decimals with a point")
            return InvalidConfig(
                f"{where} holds text ({cell!r:.{MOST_SHOWN}}) where a number belongs: leave the column out (without=…), or write its "
                "categories as 0/1 columns"
            )
        return InvalidConfig(f"line {line} of {self._path} holds a number that is none: write it in digits")

    def _check_finite(self, values: NDArray[Any], places: Sequence[int]) -> None:
        if np.isfinite(values).all():
            return
        row, column = np.argwhere(~np.isfinite(values))[0].tolist()
        raise NotFinite(
            f"{self._path}: column {self._header[places[column]]!r:.60} of row {row + 1} under the names is {values[row, column]}: fill "
            "it in, or leave the row out"
        )


def whole(y: NDArray[np.float64]) -> NDArray[Any]:
    """(n,): as int64 if all are whole numbers, of which tables know no type of their own."""
    return y.astype(np.int64) if (y == np.rint(y)).all() and np.abs(y).max(initial=0) < 2**53 else y


def _picker(places: tuple[int, ...]) -> Any:
    """A function from a row to its cells at these places."""
    if len(places) == 1:
        (place,) = places
        return lambda row: (row[place],)
    return itemgetter(*places)


def _number(cell: str) -> float:
    """Raises ValueError also for `1_5`, which Python reads as 15, and for digits that are none of ASCII's."""
    if "_" in cell or not cell.isascii():
        raise ValueError(cell)
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


CSV = Source(
    read=read,
    place="FILE",
    about="a table of text, plain or .gz, UTF-8: names in the first line, columns separated by commas, semicolons or tabs, decimals with a "
    "point.",
    example="csv:iris.csv?target=species",
    options={**OPTIONS, "header": "`no`: the first line is data, and the columns are called 1, 2, 3 …"},
    required=("target",),
)
