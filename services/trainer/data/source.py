"""What a kind of data source is: a row of the table `services.trainer.data.sources.SOURCES`, of which docs/data.md is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.trainer.data.samples import Samples

Found = tuple[Samples, Samples | None]
"""The samples to learn from, and those that the source itself holds out, if it does."""
Options = Mapping[str, str]
"""What follows the ? of a source, percent signs not yet decoded: NAME=VALUE&NAME=VALUE."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One kind. `read` gets the place and the options; raises InvalidConfig, InvalidInput or NotFinite, with the remedy."""

    read: Callable[[Path, Options], Found]
    place: str
    """What stands after the colon, FILE or FOLDER; empty: nothing does."""
    about: str
    """What is read, for the documentation."""
    example: str
    """A source that works as it stands."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What each means, by name."""
    required: tuple[str, ...] = ()
    """Those of the options that cannot be left out."""
