"""Private samples: named arrays of what was measured, and what each of them is called or should give.

Who reaches this: whoever makes a file that a contributor is persuaded to train on. He would gain a filled memory, a crash, or a task that
learns nonsense and is paid for it. So arrays come in by one door, `Samples.of`: it bounds them, knows five element types and refuses the
rest, each time with what to do about it. What a task wants of them is another matter (`services.trainer.data.fit`): samples are read before
any task is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidConfig, InvalidInput, NotFinite
from linklearner.domain.model import ModelSpec
from services.trainer.data import fit

MAX_LABEL: Final = 2**20 - 1
"""No model has more outputs; a count of each label is an array of this length at most."""

MAX_VALUES: Final = 2**28
"""Numbers in a data set: 1 GiB as float32, however densely the file packs them. MNIST has 47 million."""

MAX_TARGETS: Final = 2**12
"""Targets of one sample."""

MAX_NAMES: Final = 2**16
MAX_NAME_LENGTH: Final = 256
"""Of labels in text, and characters of one."""

NOTHING_TO_LEARN: Final = "NothingToLearn"

ONE_ARRAY: Final = "x"
"""What a source of one unnamed array calls it."""

DTYPES: Final = tuple(np.dtype(name) for name in ("float32", "int64", "int32", "uint8", "bool"))
"""Element types of inputs: those that a task's signature can name."""

_NO_COUNTS: Final = np.zeros(0, dtype=np.int64)
_TEXT: Final = "an array of text"
_UNKNOWN_KINDS: Final = {
    "U": _TEXT,
    "S": _TEXT,
    "O": "an array of Python objects",
    "c": "complex numbers",
    "V": "records",
}


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """n of them. Never written to a log: `repr` shows sizes only."""

    inputs: Mapping[str, NDArray[Any]]
    """(n, …) of each name, of any rank and of one of DTYPES, as measured: what a model does to them first is part of its graph."""
    y: NDArray[np.int64] | NDArray[np.float32]
    """(n,) int64 indices of labels, or (n, k) float32 targets."""
    names: tuple[str, ...] = ()
    """What the data itself calls its labels: y[i] is the index of a name. Empty: y[i] is the index of the task's label."""
    columns: tuple[str, ...] = ()
    """Of a table, what the columns of its one array are called."""
    pictures: bool = False
    """The one array is (n, channels, rows, columns), of 1 (grey), 3 (red, green, blue) or 4 (and alpha) channels."""
    _fitted: dict[object, NDArray[Any]] = field(default_factory=dict, init=False, repr=False)
    """What `inputs_of` converted: rounds come again and again, with the same samples."""

    def __post_init__(self) -> None:
        if not self.inputs:
            raise InvalidInput("samples have at least one array of inputs")
        labels = self.y.dtype == np.int64 and self.y.ndim == 1
        if not labels and not (self.y.dtype == np.float32 and self.y.ndim == 2):
            raise InvalidInput(f"y is (n,) int64 labels or (n, k) float32 targets, not {self.y.shape} {self.y.dtype}")
        for name, values in self.inputs.items():
            if not values.ndim or len(values) != len(self.y):
                raise InvalidInput(f"samples are {name} (n, …) with one y each, not {values.shape} with {self.y.shape}")
            if values.dtype not in DTYPES:
                raise InvalidInput(f"{name} is of {', '.join(map(str, DTYPES))}, not {values.dtype}")
            self._check_finite(name, values)
        if not labels:
            self._check_finite("y", self.y)
            return
        if self.y.size and self.y.min() < 0:
            raise InvalidInput(f"labels count from 0; the smallest here is {self.y.min()}")
        most = len(self.names) - 1 if self.names else MAX_LABEL
        if self.y.size and self.y.max() > most:
            raise InvalidInput(f"labels count from 0 to {most} at most; the largest here is {self.y.max()}")

    def _check_finite(self, name: str, values: NDArray[Any]) -> None:
        if values.dtype.kind != "f" or np.isfinite(values).all():
            return
        bad = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
        raise NotFinite(
            f"{len(bad)} of {len(self)} samples hold NaN, infinity or a number beyond float32 in {name} (the first is sample {bad[0]}, "
            "counted from 0): leave these samples out, or fill in what is missing"
        )

    @classmethod
    def of(
        cls,
        inputs: Mapping[str, NDArray[Any]],
        y: NDArray[Any],
        what: object,
        *,
        names: Sequence[str] = (),
        columns: tuple[str, ...] = (),
    ) -> "Samples":
        """Samples of arrays that somebody else made. what: where they are from, for messages.

        inputs: any plain numbers or booleans; the nearest of DTYPES is taken. y: whole numbers >= 0, (n,) or (n, 1), become labels; text
        becomes labels with names; other numbers, and several of a sample, become targets. names: of the labels that y counts, in any
        order. Raises InvalidConfig or NotFinite.
        """
        for name, values in inputs.items():
            if values.ndim and y.ndim and len(values) != len(y):
                raise InvalidConfig(
                    f"{what}: {len(values)} samples have {len(y)} labels or targets ({name} is {_shape(values)}, y is {_shape(y)}): "
                    "give one of y for each sample"
                )
        count = sum(values.size for values in inputs.values())
        if count > MAX_VALUES:
            raise InvalidConfig(
                f"{what}: the inputs have {count} numbers, more than {MAX_VALUES}: leave some samples out"
            )
        targets, own_names = _labels_or_targets(y, what)
        measured = {name: _measured(values, name, what) for name, values in inputs.items()}
        if names:
            return cls(measured, targets, tuple(names), columns).renamed(tuple(sorted(names)))
        return cls(measured, targets, own_names, columns)

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}={'x'.join(map(str, a.shape[1:])) or 1}" for name, a in self.inputs.items())
        return f"Samples(n={len(self)}, {shapes})"

    def __getitem__(self, rows: NDArray[np.int64]) -> "Samples":
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return Samples(inputs, self.y[rows], self.names, self.columns, self.pictures)

    def renamed(self, names: tuple[str, ...]) -> "Samples":
        """The same samples; names: at least those that they have, in another order."""
        index = {name: number for number, name in enumerate(names)}
        place = np.array([index[name] for name in self.names], dtype=np.int64)
        return Samples(self.inputs, place[self.y], names, self.columns, self.pictures)

    def scaled(self, factor: float) -> "Samples":
        """The same with all inputs multiplied, as float32."""
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            inputs = {
                name: np.multiply(values, np.float32(factor), dtype=np.float32) for name, values in self.inputs.items()
            }
        return Samples(inputs, self.y, self.names, self.columns, self.pictures)

    @property
    def labelled(self) -> bool:
        """Whether y are labels; otherwise they are targets."""
        return self.y.ndim == 1

    def label_counts(self, label_count: int = 0) -> NDArray[np.int64]:
        """(labels,) int64: samples of each label as the data counts them, label_count of them or more; none for targets."""
        return np.bincount(self.y, minlength=max(label_count, len(self.names))) if self.labelled else _NO_COUNTS

    def inputs_of(self, spec: ModelSpec) -> dict[str, NDArray[Any]]:
        """The arrays as the task's model takes them: by its names, (n, *dimensions) each, of its element types.

        Raises InvalidInput unless the model can be given the samples.
        """
        return fit.inputs(self, spec)

    def targets_of(self, spec: ModelSpec) -> NDArray[np.int64] | NDArray[np.float32]:
        """y as the task's loss takes it: (n,) int64 indices of the task's labels, or (n, k) float32 of its k outputs.

        Raises InvalidInput unless the model can learn them.
        """
        return fit.targets(self, spec)

    def check(self, spec: ModelSpec, *, range_too: bool) -> None:
        """Raises InvalidInput for samples from which the task's model cannot, or (range_too) should not, learn."""
        self.inputs_of(spec)
        self.targets_of(spec)
        self.check_learnable()
        if range_too:
            self.check_range(spec)

    def check_learnable(self) -> None:
        """Raises InvalidInput, reason NothingToLearn, for samples that tell nothing apart: none, one label or target, or one input."""
        if not len(self):
            why = "there are no samples"
        elif _alike(self.y):
            first = self.y[0] if self.labelled else self.y[0].tolist()
            said = (
                f"label {self.names[int(first)] if self.names else first}" if self.labelled else f"target {first!s:.80}"
            )
            why = f"all {len(self)} samples have the {said}"
        elif all(map(_alike, self.inputs.values())):
            why = f"all {len(self)} samples are alike, whatever their label"
        else:
            return
        raise InvalidInput(
            f"there is nothing to learn: {why}. Give other data (LINKLEARNER_TRAINER_DATA) or, of one cut into shards, "
            "another part or a more even cut (LINKLEARNER_TRAINER_SHARD, LINKLEARNER_TRAINER_ALPHA=iid)",
            reason=NOTHING_TO_LEARN,
        )

    def check_range(self, spec: ModelSpec) -> None:
        """Raises InvalidInput, reason RangeMismatch, for samples far from the range that the task's model expects, if it says one."""
        fit.check_range(self, spec)


def _alike(values: NDArray[Any]) -> bool:
    """Whether all rows are the same. The second row settles it for nearly all data."""
    return not values.size or bool((values[1:2] == values[0]).all() and (values == values[0]).all())


def _shape(values: NDArray[Any]) -> str:
    return f"{values.shape!s:.60}"


def _measured(values: NDArray[Any], name: str, what: object) -> NDArray[Any]:
    """Of one of DTYPES, in C order and writable (torch shares the memory, and says so where it must not be written)."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind not in "fiub":
        remedy = "write categories as 0/1 columns or as numbers of their own, words as numbers of a vocabulary"
        raise InvalidConfig(
            f"{what}: {name} is (n, …) numbers, not {_shape(values)} {_UNKNOWN_KINDS.get(kind, values.dtype)}: {remedy}"
        )
    if not values.ndim:
        raise InvalidConfig(f"{what}: {name} is (n, …) numbers, not one number alone")
    if not values.size:
        raise InvalidConfig(
            f"{what}: there is nothing to learn: {name} has the shape {_shape(values)}", reason=NOTHING_TO_LEARN
        )
    dtype: np.dtype[Any]
    if kind == "f":
        dtype = np.dtype(np.float32)
    elif kind == "b" or (kind == "u" and size == 1):
        dtype = values.dtype
    else:
        dtype = np.dtype(np.int32 if size < 4 or (kind == "i" and size == 4) else np.int64)
        if kind == "u" and size == 8 and values.max() > np.uint64(2**63 - 1):
            raise InvalidConfig(f"{what}: {name} holds {values.max()}, beyond 64 bits with a sign: write it as a float")
    with np.errstate(over="ignore"):  # becomes infinite, which Samples refuses
        return np.require(values, dtype, ["C", "W"])


def _labels_or_targets(
    y: NDArray[Any], what: object
) -> tuple[NDArray[np.int64] | NDArray[np.float32], tuple[str, ...]]:
    kind = y.dtype.kind
    if kind in "US" and y.ndim in (1, 2) and y.size == len(y):
        return _named(y.reshape(-1), what)
    if kind not in "fiub":
        raise InvalidConfig(
            f"{what}: y is (n,) labels (whole numbers or text) or (n, k) numbers, not {_shape(y)} {_UNKNOWN_KINDS.get(kind, y.dtype)}"
        )
    if y.ndim not in (1, 2) or (y.ndim == 2 and not y.shape[1]):
        raise InvalidConfig(
            f"{what}: y is (n,) labels or (n, k) targets, not {_shape(y)}: flatten it to one row a sample"
        )
    if y.ndim == 2 and y.shape[1] > MAX_TARGETS:
        raise InvalidConfig(
            f"{what}: y has {y.shape[1]} numbers a sample, more than {MAX_TARGETS}: give one label each"
        )
    single = y.reshape(-1) if y.size == len(y) else None
    if single is not None and kind in "iub" and (not y.size or (single.min() >= 0 and single.max() <= MAX_LABEL)):
        return single.astype(np.int64), ()
    with np.errstate(over="ignore"):
        return np.require(y.reshape(len(y), -1), np.float32, ["C", "W"]), ()


def _named(texts: NDArray[Any], what: object) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if texts.dtype.kind == "S":
        try:
            texts = np.char.decode(texts, "utf-8")
        except UnicodeDecodeError:
            raise InvalidConfig(
                f"{what}: y is text that is no UTF-8: write the labels as UTF-8 or as numbers"
            ) from None
    names, y = np.unique(texts, return_inverse=True)
    if len(names) > MAX_NAMES or any(len(name) > MAX_NAME_LENGTH for name in names):
        raise InvalidConfig(
            f"{what}: y has {len(names)} different texts: labels are few ({MAX_NAMES} at most) and short; is another array meant?"
        )
    return y.astype(np.int64), tuple(names.tolist())
