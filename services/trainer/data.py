"""Private samples: where they come from, the held-out split that everybody shares, and shards that differ.

A source is one string: `digits` (scikit-learn's 1,797 handwritten digits), `mnist:FOLDER` (the four IDX files, plain or .gz),
`emnist:FOLDER` (the same of EMNIST, whose images lie on their side) or `npz:FILE` (arrays x and y, and x_test and y_test if the file
has its own test set).
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linklearner import arrays
from linklearner.domain.errors import InvalidConfig, InvalidInput, NotFinite
from linklearner.domain.inputs import arranged, check_training_data
from linklearner.domain.model import ModelSpec

HELD_OUT_SHARE = 0.2
SPLIT_SEED = 20_240_613
"""Every trainer must hold out the same samples: a fixed seed, not a setting."""

SOURCES = "digits, mnist:FOLDER, emnist:FOLDER or npz:FILE"
EMNIST_SPLITS = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")
MAX_LABEL = 2**20 - 1
"""No model has more outputs; a count of each label is an array of this length at most."""

MAX_VALUES = 2**28
"""Numbers in a data set: 1 GiB as float32, however densely the file packs them. MNIST has 47 million."""

NOTHING_TO_LEARN = "NothingToLearn"


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """x: (n, …) float32 as measured (the model scales them), y: (n,) int64 indices of labels. Never written to a log."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.x.ndim < 2 or self.y.shape != (self.x.shape[0],):
            raise InvalidInput(f"samples are x (n, …) with one y each, not x {self.x.shape} with y {self.y.shape}")
        if not np.isfinite(self.x).all():
            rows = int((~np.isfinite(self.x).all(axis=tuple(range(1, self.x.ndim)))).sum())
            raise NotFinite(f"{rows} of {len(self)} samples hold NaN or infinity: clean the data first")
        if self.y.size and self.y.min() < 0:
            raise InvalidInput(f"labels count from 0; the smallest here is {self.y.min()}")
        if self.y.size and self.y.max() > MAX_LABEL:
            raise InvalidInput(f"labels count from 0 to {MAX_LABEL} at most; the largest here is {self.y.max()}")

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"Samples(n={len(self)}, inputs={'x'.join(map(str, self.x.shape[1:]))})"

    def __getitem__(self, rows: NDArray[np.int64]) -> "Samples":
        return Samples(self.x[rows], self.y[rows])

    def label_counts(self, label_count: int) -> NDArray[np.int64]:
        """(label_count,) int64: samples of each label."""
        return np.bincount(self.y, minlength=label_count)

    def inputs_of(self, spec: ModelSpec) -> dict[str, NDArray[np.float32]]:
        """(n, *dimensions) float32 by the input's name: x as the model takes it. Raises InvalidInput unless the model can learn from the
        samples."""
        (signature,) = spec.inputs
        return {signature.name: arranged(self.x, signature.dimensions, "the task's model")}

    def targets_of(self, spec: ModelSpec) -> NDArray[np.int64]:
        """(n,) int64. Raises InvalidInput for labels that the model does not have."""
        if self.y.size and self.y.max() >= len(spec.labels):
            raise InvalidInput(f"the task has labels 0..{len(spec.labels) - 1}, the samples go up to {self.y.max()}")
        return self.y

    def check_learnable(self) -> None:
        """Raises InvalidInput, reason NothingToLearn, for samples that tell no label from another: none, one label, or all x alike."""
        if not len(self):
            why = "there are no samples"
        elif (self.y == self.y[0]).all():
            why = f"all {len(self)} samples have the label {self.y[0]}"
        elif not self.x.size or (self.x == self.x[0]).all():
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
        check_training_data(
            self.x,
            model=spec.name,
            input_range=spec.inputs[0].range,
            remedy="set LINKLEARNER_TRAINER_ALLOW_RANGE=true (`linklearner train --allow-range` for one round)",
        )


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of a source is this trainer's: part `index` of `count`, cut by `seed`."""

    index: int = 0
    count: int = 1
    alpha: float | None = 1.0
    """Dirichlet concentration of each label over the shards; smaller is more skewed; None: alike (IID)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InvalidConfig(f"a shard is INDEX/COUNT with 0 <= INDEX < COUNT, not {self.index}/{self.count}")
        if self.alpha is not None and not 0 < self.alpha < np.inf:
            raise InvalidConfig(f"Dirichlet's alpha is a positive number (or iid), not {self.alpha}")


def load(source: str, shard: Shard) -> tuple[Samples, Samples]:
    """The samples to learn from (this shard only) and the held-out ones (all of them).

    Raises InvalidConfig for a source that cannot be read or is too small to be cut, NotFinite or InvalidInput for bad samples.
    """
    kind, _, place = source.partition(":")
    # the folder's name may be too long, or a part of it closed to us
    with _as_setting(), arrays.parsing(source[:200], "a data source"):
        if kind == "digits" and not place:
            learn, held_out = hold_out(digits())
        elif kind == "mnist" and place:
            learn, held_out = mnist(Path(place))
        elif kind == "emnist" and place:
            learn, held_out = emnist(Path(place))
        elif kind == "npz" and place:
            learn, held_out = npz(Path(place))
        else:
            raise InvalidConfig(f"unknown data source {source!r:.200}: give {SOURCES}")
    if shard.count > 1:
        learn = learn[shards(learn.y, shard.count, shard.alpha, shard.seed)[shard.index]]
    return learn, held_out


@contextmanager
def _as_setting() -> Iterator[None]:
    """A data set that cannot be read is a wrong setting of this trainer. The cause stays."""
    try:
        yield
    except InvalidInput as error:
        if type(error) is not InvalidInput:
            raise
        raise InvalidConfig(error.message, reason=error.reason, facts=error.facts) from error


def digits() -> Samples:
    """scikit-learn's handwritten digits: 1,797 images of 8 x 8 pixels 0..16, ten labels.

    Read from the file inside the installed package, as `sklearn.datasets.load_digits` does: importing it takes 1.6 s and 100 MB.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise InvalidConfig(
            "the digits come with scikit-learn, which is not installed: pip install 'linklearner[trainer]'"
        )
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    table = arrays.table(path).astype(np.float32)
    return Samples(np.ascontiguousarray(table[:, :-1]), table[:, -1].astype(np.int64))


def mnist(folder: Path) -> tuple[Samples, Samples]:
    """The train and t10k files of MNIST or of a data set in its format (Fashion-MNIST, KMNIST …): pixels 0..255.

    EMNIST has other file names, and its images lie on their side: see `emnist`.
    """
    train, test = (
        _pictures(_idx(folder, f"{part}-images", 3), _idx(folder, f"{part}-labels", 1)) for part in ("train", "t10k")
    )
    return train, test


def emnist(folder: Path) -> tuple[Samples, Samples]:
    """The train and test files of the one split of EMNIST in `folder`: pixels 0..255, upright, labels from 0.

    The files hold each image with rows and columns exchanged, and `letters` counts its labels from 1 (both are so in the original).
    Raises InvalidInput if the folder has no split or several: give each its own folder.
    """
    present = [
        split
        for split in EMNIST_SPLITS
        if any((folder / f"emnist-{split}-train-images-idx3-ubyte{zipped}").is_file() for zipped in ("", ".gz"))
    ]
    if len(present) != 1:
        raise InvalidInput(
            f"{folder} must hold one split of EMNIST (emnist-SPLIT-train-images-idx3-ubyte.gz and so on, SPLIT one of "
            f"{', '.join(EMNIST_SPLITS)}), not {len(present)}"
        )
    (split,) = present
    first = 1 if split == "letters" else 0
    learn, held_out = (
        _pictures(
            _idx(folder, f"emnist-{split}-{part}-images", 3).transpose(0, 2, 1),
            _idx(folder, f"emnist-{split}-{part}-labels", 1).astype(np.int64) - first,
        )
        for part in ("train", "test")
    )
    return learn, held_out


def npz(path: Path) -> tuple[Samples, Samples]:
    """x: (n, …) numbers; y: (n,) integers. x_test, y_test: the held-out samples; otherwise a fifth is held out."""
    found, names = arrays.npz(path, ("x", "y", "x_test", "y_test"))
    if {"x", "y"} - found.keys() or ("x_test" in found) != ("y_test" in found):
        raise InvalidConfig(f"{path} must hold x and y (and x_test with y_test, if any), not {names!s:.200}")
    learn = _samples(found["x"], found["y"], path)
    if "x_test" in found:
        return learn, _samples(found["x_test"], found["y_test"], path)
    return hold_out(learn)


def hold_out(samples: Samples) -> tuple[Samples, Samples]:
    """(learn, held out): a fifth of each label, rounded to nearest but at least one, held out; the same for everybody."""
    generator = np.random.default_rng(SPLIT_SEED)
    held_out = np.zeros(len(samples), dtype=bool)
    for label in np.unique(samples.y):
        rows = generator.permutation(np.flatnonzero(samples.y == label))
        held_out[rows[: max(1, round(HELD_OUT_SHARE * len(rows)))]] = True
    return samples[np.flatnonzero(~held_out)], samples[np.flatnonzero(held_out)]


def shards(labels: NDArray[np.int64], count: int, alpha: float | None, seed: int) -> list[NDArray[np.int64]]:
    """Rows of each of `count` shards: disjoint, together all rows, none empty; the same seed gives the same shards.

    alpha: each label is dealt out in proportions drawn from Dirichlet(alpha); None deals all rows alike. A shard that the draw
    left empty takes one row from the largest. Raises InvalidConfig for fewer rows than shards.
    """
    if not 1 <= count <= len(labels):
        raise InvalidConfig(f"{len(labels)} samples cannot be cut into {count} shards")
    generator = np.random.default_rng(seed)
    if alpha is None:
        return [np.sort(part) for part in np.array_split(generator.permutation(len(labels)), count)]
    parts: list[list[int]] = [[] for _ in range(count)]
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        shares = generator.dirichlet(np.full(count, alpha))
        cuts = np.round(np.cumsum(shares[:-1]) * len(rows)).astype(np.int64)
        for part, dealt in zip(parts, np.split(rows, cuts), strict=True):
            part.extend(dealt.tolist())
    for part in parts:
        if not part:
            part.append(max(parts, key=len).pop())
    return [np.sort(np.array(part, dtype=np.int64)) for part in parts]


def _samples(x: NDArray[np.generic], y: NDArray[np.generic], path: Path) -> Samples:
    if x.dtype.kind not in "fiub" or x.ndim < 2:
        raise InvalidConfig(f"{path}: x is (n, …) numbers, not {x.shape!s:.60} {x.dtype}")
    if y.dtype.kind not in "iu" or y.ndim != 1:
        raise InvalidConfig(f"{path}: y is (n,) integers, not {y.shape!s:.60} {y.dtype}")
    if len(x) != len(y):
        raise InvalidConfig(f"{path}: {len(x)} samples have {len(y)} labels")
    if not x.size:
        raise InvalidConfig(
            f"{path}: there is nothing to learn: x has the shape {x.shape!s:.60}", reason=NOTHING_TO_LEARN
        )
    if x.size > MAX_VALUES:
        raise InvalidConfig(f"{path}: x has {x.size} numbers, more than {MAX_VALUES}: leave some samples out")
    if y.dtype.kind == "u" and y.max() > np.uint64(MAX_LABEL):  # as int64 it might be negative, or another label
        raise InvalidConfig(f"{path}: labels count from 0 to {MAX_LABEL} at most; the largest here is {y.max()}")
    with np.errstate(over="ignore"):  # becomes infinite, which Samples refuses
        return Samples(x.astype(np.float32), y.astype(np.int64))


def _pictures(images: NDArray[np.uint8], labels: NDArray[np.uint8] | NDArray[np.int64]) -> Samples:
    """images: (n, rows, columns), labels: (n,)."""
    if images.size > MAX_VALUES:
        raise InvalidConfig(f"the images have {images.size} pixels, more than {MAX_VALUES}: leave some out")
    return Samples(images.astype(np.float32, order="C"), labels.astype(np.int64))


def _idx(folder: Path, stem: str, dimensions: int) -> NDArray[np.uint8]:
    """Raises InvalidConfig if the folder has no file of that name, InvalidInput if it is damaged."""
    names = [f"{stem}{dot}idx{dimensions}-ubyte{zipped}" for dot in "-." for zipped in ("", ".gz")]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise InvalidConfig(f"{folder} has none of {', '.join(names)}")
    return arrays.idx(path, dimensions)
