"""Data sets inside the installed package scikit-learn: no download. Their files are read as scikit-learn reads them.

Importing `sklearn.datasets` takes 1.6 s and 100 MB; the files are tables of numbers.
"""

import importlib.util
from pathlib import Path

import numpy as np

from linklearner import arrays
from linklearner.domain.errors import InvalidConfig
from services.trainer.data.samples import ONE_ARRAY, Samples
from services.trainer.data.source import Found, Options, Source

DIABETES_COLUMNS = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def digits() -> Samples:
    """Handwritten digits: 1,797 images of 8 x 8 pixels 0..16, as rows (n, 64) float32; ten labels."""
    table = arrays.table(_file("digits.csv.gz")).astype(np.float32)
    return Samples({ONE_ARRAY: np.ascontiguousarray(table[:, :-1])}, table[:, -1].astype(np.int64))


def diabetes() -> Samples:
    """442 patients: (n, 10) float32 and one target (n, 1), a measure of the disease a year later, 25..346.

    The inputs are what `load_diabetes` gives: each column centred and divided by its standard deviation and the root of 442.
    """
    with arrays.parsing("the diabetes data of scikit-learn", "two tables of numbers"):
        raw = np.loadtxt(_file("diabetes_data_raw.csv.gz"))
        target = np.loadtxt(_file("diabetes_target.csv.gz"))
    scaled = (raw - raw.mean(axis=0)) / (raw.std(axis=0) * np.sqrt(len(raw)))
    x = np.ascontiguousarray(scaled, dtype=np.float32)
    return Samples({ONE_ARRAY: x}, target[:, None].astype(np.float32), columns=DIABETES_COLUMNS)


def _file(name: str) -> Path:
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise InvalidConfig(
            "this data comes with scikit-learn, which is not installed: pip install 'linklearner[trainer]'"
        )
    return Path(package.submodule_search_locations[0]) / "datasets" / "data" / name


def _digits(place: Path, options: Options) -> Found:
    return digits(), None


def _diabetes(place: Path, options: Options) -> Found:
    return diabetes(), None


DIGITS = Source(
    read=_digits,
    place="",
    about="the 1,797 handwritten digits of scikit-learn: rows of 64 pixels from 0 to 16, ten labels.",
    example="digits",
)
DIABETES = Source(
    read=_diabetes,
    place="",
    about="the diabetes data of scikit-learn, a regression: 442 rows of 10 numbers, scaled as `load_diabetes` gives them; one target, 25 "
    "to 346.",
    example="diabetes",
)
