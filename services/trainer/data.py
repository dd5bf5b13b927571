"""Private samples: where they come from, the held-out split that everybody shares, and shards that differ.

A source is one string: `digits` (scikit-learn's 1,797 handwritten digits), `mnist:FOLDER` (the four IDX files, plain or .gz) or
`npz:FILE` (arrays x and y, and x_test and y_test if the file has its own test set).
"""

import gzip
import importlib.util
import io
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidConfig, InvalidInput, NotFinite

HELD_OUT_SHARE = 0.2
SPLIT_SEED = 20_240_613
"""Every trainer must hold out the same samples: a fixed seed, not a setting."""

IDX_UNSIGNED_BYTE = 0x08
SOURCES = "digits, mnist:FOLDER or npz:FILE"


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """x: (n, in) float32 as measured (the model scales them), y: (n,) int64 indices of labels. Never written to a log."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.y.shape != (self.x.shape[0],):
            raise InvalidInput(f"samples are x (n, in) with one y each, not x {self.x.shape} with y {self.y.shape}")
        if not np.isfinite(self.x).all():
            rows = int((~np.isfinite(self.x).all(axis=1)).sum())
            raise NotFinite(f"{rows} of {len(self)} samples hold NaN or infinity: clean the data first")
        if self.y.size and self.y.min() < 0:
            raise InvalidInput(f"labels count from 0; the smallest here is {self.y.min()}")

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"Samples(n={len(self)}, inputs={self.x.shape[1]})"

    def __getitem__(self, rows: NDArray[np.int64]) -> "Samples":
        return Samples(self.x[rows], self.y[rows])

    def label_counts(self, label_count: int) -> NDArray[np.int64]:
        """(label_count,) int64: samples of each label."""
        return np.bincount(self.y, minlength=label_count)

    def check(self, input_count: int, label_count: int) -> None:
        """Raises InvalidInput unless a model with these many inputs and labels can learn from the samples."""
        if self.x.shape[1] != input_count:
            raise InvalidInput(f"the task's model takes {input_count} inputs, the samples have {self.x.shape[1]}")
        if self.y.size and self.y.max() >= label_count:
            raise InvalidInput(f"the task has labels 0..{label_count - 1}, the samples go up to {self.y.max()}")


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
    if kind == "digits" and not place:
        learn, held_out = hold_out(digits())
    elif kind == "mnist" and place:
        learn, held_out = mnist(Path(place))
    elif kind == "npz" and place:
        learn, held_out = npz(Path(place))
    else:
        raise InvalidConfig(f"unknown data source {source!r}: give {SOURCES}")
    if shard.count > 1:
        learn = learn[shards(learn.y, shard.count, shard.alpha, shard.seed)[shard.index]]
    return learn, held_out


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
    table = np.loadtxt(io.BytesIO(_read(path)), delimiter=",", dtype=np.float32)
    return Samples(np.ascontiguousarray(table[:, :-1]), table[:, -1].astype(np.int64))


def mnist(folder: Path) -> tuple[Samples, Samples]:
    """The train and t10k files of MNIST or of a data set in its format (Fashion-MNIST, EMNIST …): pixels 0..255, flat."""
    train, test = (
        Samples(images.reshape(len(images), -1).astype(np.float32), labels.astype(np.int64))
        for images, labels in (
            (_idx(folder, f"{part}-images", 3), _idx(folder, f"{part}-labels", 1)) for part in ("train", "t10k")
        )
    )
    return train, test


def npz(path: Path) -> tuple[Samples, Samples]:
    """x: (n, …) numbers, flattened to (n, in); y: (n,) integers. x_test, y_test: the held-out samples; otherwise a fifth is held out."""
    try:
        with np.load(io.BytesIO(_read(path)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidConfig(f"{path} is not an .npz file of plain arrays: {error}") from error
    if {"x", "y"} - arrays.keys() or ("x_test" in arrays) != ("y_test" in arrays):
        raise InvalidConfig(f"{path} must hold x and y (and x_test with y_test, if any), not {sorted(arrays)}")
    learn = _samples(arrays["x"], arrays["y"], path)
    if "x_test" in arrays:
        return learn, _samples(arrays["x_test"], arrays["y_test"], path)
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
        raise InvalidConfig(f"{path}: x is (n, …) numbers, not {x.shape} {x.dtype}")
    if y.dtype.kind not in "iu" or y.ndim != 1:
        raise InvalidConfig(f"{path}: y is (n,) integers, not {y.shape} {y.dtype}")
    if len(x) != len(y):
        raise InvalidConfig(f"{path}: {len(x)} samples have {len(y)} labels")
    return Samples(x.reshape(len(x), -1).astype(np.float32), y.astype(np.int64))


def _idx(folder: Path, stem: str, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes: 00 00 08 ndim, then ndim u32 big-endian sizes, then the bytes."""
    names = [f"{stem}{dot}idx{dimensions}-ubyte{zipped}" for dot in "-." for zipped in ("", ".gz")]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise InvalidConfig(f"{folder} has none of {', '.join(names)}")
    data = _read(path)
    head = 4 + 4 * dimensions
    if len(data) < head or data[:4] != bytes((0, 0, IDX_UNSIGNED_BYTE, dimensions)):
        raise InvalidConfig(f"{path} is not an IDX file of unsigned bytes in {dimensions} dimensions")
    sizes: tuple[int, ...] = struct.unpack_from(f">{dimensions}I", data, 4)
    expected = int(np.prod(sizes, dtype=object))
    if len(data) - head != expected:
        raise InvalidConfig(
            f"{path} announces {expected} bytes of data and holds {len(data) - head}: download it again"
        )
    return np.frombuffer(data, np.uint8, offset=head).reshape(sizes)


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError) as error:
        raise InvalidConfig(f"cannot read {path}: {error}") from error
