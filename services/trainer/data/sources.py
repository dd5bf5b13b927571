"""The table of data sources, and `load`."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from linklearner import arrays
from linklearner.domain.errors import InvalidConfig, InvalidInput
from services.trainer.data import archives, function, idx, images, packaged, parquet, table
from services.trainer.data.samples import Samples
from services.trainer.data.source import Source
from services.trainer.data.split import Shard, hold_out, shards

SOURCES: Final[Mapping[str, Source]] = {
    "digits": packaged.DIGITS,
    "diabetes": packaged.DIABETES,
    "npz": archives.NPZ,
    "npy": archives.NPY,
    "csv": table.CSV,
    "parquet": parquet.PARQUET,
    "images": images.IMAGES,
    "mnist": idx.MNIST,
    "emnist": idx.EMNIST,
    "qmnist": idx.QMNIST,
    "idx": idx.IDX,
    "python": function.PYTHON,
}

SCALE: Final = "scale"
EVERY_OPTION: Final = {SCALE: "What all inputs are multiplied by, a number or a fraction: `scale=1/255`."}
"""Of every source."""

_OPTIONS: Final = re.compile(r"\?((?:[a-z]+=[^&?]*)(?:&[a-z]+=[^&?]*)*)$")
_LISTS: Final = ("target", "columns", "without")
"""Options whose percent signs are decoded after their commas have been looked at."""


def forms() -> str:
    """Of all sources, for messages: digits, npz:FILE …"""
    return ", ".join(f"{kind}:{source.place}" if source.place else kind for kind, source in SOURCES.items())


def load(source: str, shard: Shard) -> tuple[Samples, Samples]:
    """The samples to learn from (this shard only) and the held-out ones (all of them).

    Raises InvalidConfig for a source that cannot be read or is too small to be cut, NotFinite or InvalidInput for bad samples.
    """
    kind, place, options = _parsed(source)
    # the folder's name may be too long, or a part of it closed to us
    with _as_setting(), arrays.parsing(source[:200], "a data source"):
        factor = _factor(options.pop(SCALE)) if SCALE in options else None
        learn, held_out = kind.read(Path(place), options)
        if held_out is None:
            learn, held_out = hold_out(learn)
        if factor is not None:
            learn, held_out = learn.scaled(factor), held_out.scaled(factor)
    if shard.count > 1:
        learn = learn[shards(learn.y, shard.count, shard.alpha, shard.seed)[shard.index]]
    return learn, held_out


def _parsed(source: str) -> tuple[Source, str, dict[str, str]]:
    found = _OPTIONS.search(source)
    named = found.group(1).split("&") if found else []
    kind, _, place = (source[: found.start()] if found else source).partition(":")
    known = SOURCES.get(kind)
    if known is None or bool(place) != bool(known.place):
        raise InvalidConfig(f"unknown data source {source!r:.200}: give {forms()}")
    options: dict[str, str] = {}
    for text in named:
        name, _, value = text.partition("=")
        if name not in known.options and name not in EVERY_OPTION:
            there = ", ".join((*known.options, *EVERY_OPTION))
            raise InvalidConfig(f"{kind}: has no option {name!r:.40} ({source!r:.200}): there are {there}")
        if name in options or not value:
            raise InvalidConfig(f"the option {name}= of {source!r:.200} is given once, with a value")
        options[name] = value if name in _LISTS else unquote(value)
    for name in known.required:
        if name not in options:
            raise InvalidConfig(f"{kind}: needs the option {name}, as in {known.example!r}: {known.options[name]}")
    return known, place, options


def _factor(text: str) -> float:
    top, _, bottom = text.partition("/")
    try:
        factor = float(top) / float(bottom or "1")
    except (ValueError, ZeroDivisionError):
        factor = 0.0
    if not isfinite(factor) or factor == 0:
        raise InvalidConfig(f"scale must be a number or a fraction other than 0, as in scale=1/255, got {text!r:.40}")
    return factor


@contextmanager
def _as_setting() -> Iterator[None]:
    """A data set that cannot be read is a wrong setting of this trainer. The cause stays."""
    try:
        yield
    except InvalidInput as error:
        if type(error) is not InvalidInput:
            raise
        raise InvalidConfig(error.message, reason=error.reason, facts=error.facts) from error
