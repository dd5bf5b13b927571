"""What to simulate, and what came of it: settings as people type them, results as programs and reports read them.

The simulation itself trains, so it lives with the trainer (`services/trainer/simulation`); these are the values on both sides of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Final

import numpy as np

from linklearner.domain import notation, strictjson
from linklearner.domain.encodings import TWO_BITS, encoding_named
from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.notation import UINT32, shown
from linklearner.domain.strictjson import NotJson

MAX_CONTRIBUTORS: Final = 10_000
MAX_ROUNDS: Final = 10_000
MAX_PROCESSES: Final = 1024
EVEN_STAKE_UNITS: Final = 1000
"""Each contributor's, if stakes are even; the mean, if they are drawn."""
LEAST_SHAPE: Final = 0.1
"""Of Pareto's distribution: below it one draw outweighs any number of others by more than a float can say."""
SETTINGS_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Skew:
    """How labels are dealt out. alpha: Dirichlet's concentration, smaller is more skewed; None: alike (IID)."""

    alpha: float | None

    @classmethod
    def parse(cls, text: str) -> Skew:
        """`iid` or `dirichlet:ALPHA`. Raises InvalidInput."""
        if text == "iid":
            return cls(None)
        return cls(_parameter(text, "skew", "dirichlet", 1e-3, 1e6, "iid or dirichlet:0.5"))

    def __str__(self) -> str:
        return "iid" if self.alpha is None else f"dirichlet:{self.alpha:g}"


@dataclass(frozen=True, slots=True)
class Stakes:
    """What each contributor has at stake. units: repeated in a circle; shape: drawn from Pareto's distribution; neither: all alike."""

    units: tuple[int, ...] = ()
    shape: float | None = None

    @classmethod
    def parse(cls, text: str) -> Stakes:
        """`even`, `pareto:SHAPE` (1.16 gives a fifth of them four fifths of it), or amounts of $LL: `5,3,1`. Raises InvalidInput."""
        if text == "even":
            return cls()
        if text.startswith("pareto"):
            return cls(
                shape=_parameter(text, "stakes", "pareto", LEAST_SHAPE, 1e6, "even, pareto:1.16 or amounts: 5,3,1")
            )
        return cls(units=tuple(notation.stake_units(one) for one in text.split(",")))

    def of(self, contributors: int, seed: int) -> tuple[int, ...]:
        """Units of each, at least one. The same seed gives the same."""
        if self.units:
            return tuple(self.units[index % len(self.units)] for index in range(contributors))
        if self.shape is None:
            return (EVEN_STAKE_UNITS,) * contributors
        drawn = 1 + np.random.default_rng((seed, 0x57A4E)).pareto(self.shape, contributors)
        return tuple(max(1, round(EVEN_STAKE_UNITS * one)) for one in (drawn / drawn.mean()).tolist())

    def __str__(self) -> str:
        if self.units:
            return ",".join(notation.amount_text(one * notation.UNIT_WEI) for one in self.units)
        return "even" if self.shape is None else f"pareto:{self.shape:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """One simulation. Raises OutOfRange, which names the setting and its bounds."""

    task: str = "digits"
    """`digits`, a Python file with a module and a data function, or the file of a plan."""
    data: str = ""
    """Where the samples come from, as a trainer takes it: cut into shards here. Empty: from the Python file itself, else the digits."""
    frozen: str = ""
    """Folder of the files that a task's frozen tensors are in; empty: the suite's."""
    contributors: int = 100
    rounds: int = 20
    present: int = 0
    """Contributors drawn to take part in each round; 0: all of them. No round takes more updates than the task's terms say."""
    skew: str = "dirichlet:0.5"
    stakes: str = "even"
    seed: int = 1
    encoding: str = TWO_BITS.name
    steps: int = 0
    """Local optimiser steps a round; 0: as many as the task advises, else 100."""
    processes: int = 0
    """0: one for each CPU that this process may use."""
    ray: str = ""
    """Address of a Ray cluster, or `local` to start one here; empty: processes of this machine without Ray."""

    def __post_init__(self) -> None:
        _bound("contributors", self.contributors, 1, MAX_CONTRIBUTORS)
        _bound("rounds", self.rounds, 1, MAX_ROUNDS)
        _bound("present", self.present, 0, self.contributors)
        _bound("seed", self.seed, 0, UINT32)
        _bound("processes", self.processes, 0, MAX_PROCESSES)
        Skew.parse(self.skew)
        Stakes.parse(self.stakes)
        encoding_named(self.encoding)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Simulation:
        """What `to_json` wrote. Raises InvalidInput."""
        try:
            settings = strictjson.loads(text, max_bytes=SETTINGS_BYTES, max_values=100)
            kinds: Mapping[str, type] = {one.name: type(one.default) for one in fields(cls)}
            if not isinstance(settings, dict) or any(type(v) is not kinds.get(k) for k, v in settings.items()):
                raise InvalidInput("a simulation's settings are a JSON object of its own names and types")
        except NotJson as error:
            raise InvalidInput(f"a simulation's settings cannot be read: {error.message}") from error
        return cls(**settings)


@dataclass(frozen=True, slots=True)
class Scored:
    """A version on the held-out samples. value: of the task's metric (`model.Loss.metric`), 1 is perfect; loss: a mean."""

    metric: str
    value: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRound:
    """What one round came to. gas: an estimate (`linklearner.domain.gas`), of all submissions and of the settlement."""

    round: int
    score: Scored
    """Of the merged version as the chain would hold it."""
    float_score: Scored
    """Of float averaging beside it: the same shards, first weights, batches, stakes."""
    accepted: int
    refused: Mapping[str, int]
    """How many updates by reason, in the contract's and the error tree's words."""
    submission_gas: int
    settlement_gas: int
    update_bytes: int
    """Of all updates' byte strings."""
    calldata_bytes: int
    """Of all transactions of the round."""
    saturated: int
    """Weights that hit a bound of int16."""
    longest: float
    """The longest update, in units of the norm bound: beyond 1 it was scaled down."""

    @property
    def gas(self) -> int:
        return self.submission_gas + self.settlement_gas


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedContributor:
    """One contributor over all rounds. stake: units."""

    samples: int
    labels: int
    """Different labels among its samples; of targets that are numbers, tenths of them."""
    stake: int
    accepted: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """All of it. first: the score of the weights before round 1."""

    settings: Simulation
    model: str
    weights: int
    held_out: int
    steps: int
    takers: int
    """Contributors of each round."""
    first: Scored
    rounds: tuple[SimulatedRound, ...]
    contributors: tuple[SimulatedContributor, ...]
    seconds: float
    workers: int

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _bound(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise OutOfRange(f"{name} must be between {low} and {high}, got {value}")


def _parameter(text: str, name: str, kind: str, low: float, high: float, example: str) -> float:
    """The number of `KIND:NUMBER`."""
    found, colon, number = text.partition(":")
    try:
        value = float(number) if number.isascii() and "_" not in number else float("nan")
    except ValueError:
        value = float("nan")
    if found != kind or not colon or not isfinite(value):
        raise InvalidInput(f"{name} must be {example}, got {shown(text)}")
    if not low <= value <= high:
        raise OutOfRange(f"{name} must have a parameter between {low:g} and {high:g}, got {number:.20}")
    return value
