"""IDX files as MNIST brought them into the world: MNIST and its likes, EMNIST, QMNIST, or any two files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linklearner import arrays
from linklearner.domain.errors import InvalidConfig
from services.trainer.data.archives import beside
from services.trainer.data.samples import MAX_VALUES, ONE_ARRAY, Samples
from services.trainer.data.source import Found, Options, Source

EMNIST_SPLITS = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")
QMNIST_LABEL_COLUMN = 0
"""Of the eight numbers of a digit: the class comes first, then who wrote it."""


def mnist(folder: Path, options: Options) -> Found:
    """The train and t10k files of MNIST or of a data set in its format (Fashion-MNIST, KMNIST …): pixels 0..255.

    EMNIST has other file names, and its images lie on their side: see `emnist`.
    """
    folder = _raw(folder, "train-images", 3)
    learn, held_out = (
        _samples(_file(folder, f"{part}-images", 3), _file(folder, f"{part}-labels", 1), folder)
        for part in ("train", "t10k")
    )
    return learn, held_out


def emnist(folder: Path, options: Options) -> Found:
    """The train and test files of one split of EMNIST: pixels 0..255, upright, labels from 0.

    The files hold each image with rows and columns exchanged, and `letters` counts its labels from 1 (both are so in the original).
    Raises InvalidConfig if the folder has no split, or several and none is named.
    """
    places = {split: _raw(folder, f"emnist-{split}-train-images", 3) for split in EMNIST_SPLITS}
    present = [split for split in EMNIST_SPLITS if _path(places[split], f"emnist-{split}-train-images", 3) is not None]
    wanted = options.get("split")
    if wanted is not None and wanted not in EMNIST_SPLITS:
        raise InvalidConfig(f"split must be one of {', '.join(EMNIST_SPLITS)}, got {wanted!r:.40}")
    if wanted is None and len(present) != 1:
        several = f" (here: {', '.join(present)}); name one with ?split=" if present else ""
        raise InvalidConfig(
            f"{folder} must hold one split of EMNIST (emnist-SPLIT-train-images-idx3-ubyte.gz and so on, SPLIT one of "
            f"{', '.join(EMNIST_SPLITS)}), not {len(present)}{several}"
        )
    split = wanted or present[0]
    first = 1 if split == "letters" else 0
    learn, held_out = (
        _samples(
            _file(places[split], f"emnist-{split}-{part}-images", 3).transpose(0, 2, 1),
            _file(places[split], f"emnist-{split}-{part}-labels", 1).astype(np.int64) - first,
            folder,
        )
        for part in ("train", "test")
    )
    return learn, held_out


def qmnist(folder: Path, options: Options) -> Found:
    """MNIST with its 60,000 test images: labels are (n, 8) int32, of which the first is the class."""
    folder = _raw(folder, "qmnist-train-images", 3)
    learn, held_out = (
        _samples(
            _file(folder, f"qmnist-{part}-images", 3),
            _file(folder, f"qmnist-{part}-labels", 2)[:, QMNIST_LABEL_COLUMN],
            folder,
        )
        for part in ("train", "test")
    )
    return learn, held_out


def idx(path: Path, options: Options) -> Found:
    """Any file of inputs (n, …), and y=FILE (n,) or (n, k)."""
    return _samples(arrays.idx(path), arrays.idx(beside(path, options["y"])), path), None


def _samples(x: NDArray[Any], y: NDArray[Any], what: Path) -> Samples:
    if x.size > MAX_VALUES:  # before it is copied into C order
        raise InvalidConfig(f"{what}: the images have {x.size} pixels, more than {MAX_VALUES}: leave some out")
    return Samples.of({ONE_ARRAY: x}, y, what)


def _path(folder: Path, stem: str, dimensions: int) -> Path | None:
    """The file, plain or .gz, in both spellings of the names."""
    return next((path for path in _paths(folder, stem, dimensions) if path.is_file()), None)


def _paths(folder: Path, stem: str, dimensions: int) -> list[Path]:
    element = "int" if dimensions == 2 else "ubyte"  # QMNIST's labels
    return [folder / f"{stem}{dot}idx{dimensions}-{element}{zipped}" for dot in "-." for zipped in ("", ".gz")]


def _raw(folder: Path, stem: str, dimensions: int) -> Path:
    """Where the file is: in the folder, or in the raw/ or gzip/ below it where torchvision and NIST put it; else the folder."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    places = [folder, *(place / name for place in (folder, *inside) for name in ("raw", "gzip"))]
    found = [place for place in places if _path(place, stem, dimensions) is not None]
    if len(found) > 1 and folder not in found:
        raise InvalidConfig(
            f"{folder} holds several data sets ({', '.join(map(str, found))!s:.300}): name the folder of one"
        )
    return found[0] if found else folder


def _file(folder: Path, stem: str, dimensions: int) -> NDArray[Any]:
    """Raises InvalidConfig if the folder has no file of that name, InvalidInput if it is damaged."""
    path = _path(folder, stem, dimensions)
    if path is None:
        names = [path.name for path in _paths(folder, stem, dimensions)]
        raise InvalidConfig(f"{folder} has none of {', '.join(names)}")
    return arrays.idx(path, dimensions)


MNIST = Source(
    read=mnist,
    place="FOLDER",
    about="the four files of MNIST, Fashion-MNIST, KMNIST … (`train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte` …, plain or .gz, "
    "with - or . before idx), in the folder or in torchvision's `MNIST/raw` below it. Pixels from 0 to 255.",
    example="mnist:data",
)
EMNIST = Source(
    read=emnist,
    place="FOLDER",
    about="the files of EMNIST (`emnist-letters-train-images-idx3-ubyte.gz` …), there or in `raw` or `gzip` below it. Images are turned "
    "upright, labels of `letters` count from 0.",
    example="emnist:emnist?split=letters",
    options={"split": f"Which of several: {', '.join(EMNIST_SPLITS)}."},
)
QMNIST = Source(
    read=qmnist,
    place="FOLDER",
    about="the files of QMNIST (`qmnist-train-images-idx3-ubyte.gz`, `qmnist-train-labels-idx2-int.gz` …), there or in torchvision's "
    "`QMNIST/raw` below it.",
    example="qmnist:qmnist",
)
IDX = Source(
    read=idx,
    place="FILE",
    about="any IDX file of inputs, of any element type and rank, plain or .gz, with another one of labels or targets.",
    example="idx:spectra-idx2-float?y=kinds-idx1-ubyte",
    options={"y": "The file of labels or targets; beside the first one, unless it names a folder."},
    required=("y",),
)
