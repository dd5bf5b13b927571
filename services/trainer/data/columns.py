"""Which columns of a table are the inputs, and which the target: the same rules for CSV and Parquet."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
import structlog
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidConfig
from services.trainer.data.samples import MAX_NAME_LENGTH, MAX_NAMES
from services.trainer.data.source import Options

MAX_COLUMNS = 2**16

OPTIONS = {
    "target": "The column to learn: text becomes labels by name, whole numbers from 0 labels, other numbers a target; several "
    "(`target=a,b`) are targets.",
    "columns": "The inputs, in this order, separated by commas; otherwise all other columns, in the file's order.",
    "without": "Columns to leave out.",
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Choice:
    """Places of columns in a row, from 0."""

    inputs: tuple[int, ...]
    targets: tuple[int, ...]

    def names(self, header: Sequence[str]) -> tuple[str, ...]:
        """Of the inputs."""
        return tuple(header[place] for place in self.inputs)


class Texts:
    """Labels in text, numbered as they come: however many rows have one, each is kept once."""

    def __init__(self, what: object, column: str) -> None:
        self._what = what
        self._column = column
        self._numbers: dict[str, int] = {}
        self._rows = array("q")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._numbers)

    @property
    def y(self) -> NDArray[np.int64]:
        """(n,) places in names."""
        return np.frombuffer(self._rows, dtype=np.int64)

    def add(self, text: str) -> None:
        """Raises InvalidConfig for an empty, a long, or one too many different text."""
        number = self._numbers.get(text)
        if number is None:
            where, number = f"{self._what}: the target {self._column!r:.60}", len(self._numbers)
            if not text:
                raise InvalidConfig(f"{where} is empty in row {len(self._rows) + 1}: fill it in, or leave the row out")
            if len(text) > MAX_NAME_LENGTH or number == MAX_NAMES:
                raise InvalidConfig(
                    f"{where} has texts of more than {MAX_NAME_LENGTH} characters, or more than {MAX_NAMES} different ones: labels are "
                    "short and few; is another column meant?"
                )
            self._numbers[text] = number
        self._rows.append(number)


def listed(options: Options, name: str) -> tuple[str, ...]:
    """The values of an option: separated by commas, those inside of a name written %2C."""
    return tuple(unquote(part) for part in options[name].split(",")) if options.get(name) else ()


def choose(header: Sequence[str], options: Options, what: object) -> Choice:
    """Raises InvalidConfig, with the names that there are, for a column that is not there or is there twice."""
    if len(header) > MAX_COLUMNS:
        raise InvalidConfig(
            f"{what} has {len(header)} columns, more than {MAX_COLUMNS}: save them as an array (npz:FILE)"
        )
    place: dict[str, int] = {}
    twice = set()
    for number, name in enumerate(header):
        if name in place:
            twice.add(name)
        place[name] = number

    def places(names: Sequence[str], option: str) -> tuple[int, ...]:
        for name in names:
            if name not in place:
                raise InvalidConfig(
                    f"{what} has no column {name!r:.60} ({option}=), but {', '.join(header)!s:.300}: write its name as the first line does"
                )
            if name in twice:
                raise InvalidConfig(f"{what} has two columns called {name!r:.60}: rename one of them")
        if len(set(names)) < len(names):
            raise InvalidConfig(f"{option}= names a column twice")
        return tuple(place[name] for name in names)

    targets = places(listed(options, "target"), "target")
    left_out = places(listed(options, "without"), "without")
    inputs = places(listed(options, "columns"), "columns")
    if not targets:
        raise InvalidConfig(
            f"say which column of {what} is to be learned: ?target=NAME, one of {', '.join(header)!s:.300}"
        )
    both = set(inputs) & {*targets, *left_out}
    if both:
        raise InvalidConfig(
            f"the column {header[min(both)]!r:.60} is the target or left out, and among the inputs (columns=): it cannot be both"
        )
    if not inputs:
        # pandas writes its row numbers under an empty name, and reads them as "Unnamed: 0": they tell the rows apart, and nothing else
        nameless = {number for number, name in enumerate(header) if name == "" or name.startswith("Unnamed: ")}
        if nameless - set(left_out):
            log.info("columns_without_name_left_out", source=str(what)[:200], places=sorted(nameless)[:16])
        inputs = tuple(number for number in range(len(header)) if number not in {*targets, *left_out, *nameless})
    if not inputs:
        raise InvalidConfig(f"{what} has no column besides the target: there is nothing to learn from")
    if any(header[number] in twice for number in inputs):
        raise InvalidConfig(f"{what} has two columns called {min(twice)!r:.60}: rename one of them")
    return Choice(inputs, targets)
