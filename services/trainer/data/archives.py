"""Arrays of NumPy: an .npz archive, or .npy files, alone or in a folder."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from linklearner import arrays
from linklearner.domain.errors import InvalidConfig
from services.trainer.data import named
from services.trainer.data.samples import ONE_ARRAY, Samples
from services.trainer.data.source import Found, Options, Source


def npz(path: Path, options: Options) -> Found:
    """Arrays by one of the rows of `named.NAMES`; those that have no part are not opened."""
    every = arrays.npz_names(path)
    roles = named.roles(every, path)
    found, _ = arrays.npz(path, roles.names)
    return named.samples(found, roles, every, path)


def npy(path: Path, options: Options) -> Found:
    """A folder of NAME.npy files, by the names of `named.NAMES`; or one file of inputs, and y=FILE beside it or anywhere."""
    if path.is_dir():
        if options:
            raise InvalidConfig(
                f"{path} is a folder: its files are told apart by their names, y=FILE is for a single file"
            )
        files = {file.name.removesuffix(".gz").removesuffix(".npy"): file for file in _npy_files(path)}
        roles = named.roles(files, path)
        return named.samples({name: _npy(files[name]) for name in roles.names}, roles, files, path)
    if "y" not in options:
        raise InvalidConfig(
            f"npy:{path} are inputs alone: add ?y=FILE for the labels, or name a folder with x.npy and y.npy"
        )
    return Samples.of({ONE_ARRAY: _npy(path)}, _npy(beside(path, options["y"])), path), None


def _npy(path: Path) -> NDArray[Any]:
    return arrays.npy(arrays.read(path), path)


def _npy_files(folder: Path) -> list[Path]:
    found = []
    for file in folder.iterdir():
        if file.name.endswith((".npy", ".npy.gz")):
            found.append(file)
        if len(found) > arrays.MAX_MEMBERS:
            raise InvalidConfig(
                f"{folder} holds more than {arrays.MAX_MEMBERS} .npy files: put those of one data set into a folder"
            )
    return sorted(found)


def beside(path: Path, name: str) -> Path:
    """The other file of a pair: beside the first one, unless its name has a folder."""
    return path.parent / name if len(Path(name).parts) == 1 and not Path(name).is_file() else Path(name)


NPZ = Source(
    read=npz,
    place="FILE",
    about="an archive of `numpy.savez`. Its arrays are found by the names below; pickled arrays are never loaded.",
    example="npz:mine.npz",
)
NPY = Source(
    read=npy,
    place="PLACE",
    about="a file of `numpy.save` as inputs with another one as labels or targets, or a folder of them, named as in an archive.",
    example="npy:images.npy?y=labels.npy",
    options={"y": "The file of labels or targets; beside the first one, unless it names a folder."},
)
