"""What every rule answers. All of it is pure; what a rule needs to know of a round is handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.rounds import Due, Phase, Standing, Step, Terms
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update


@dataclass(frozen=True, slots=True)
class Contribution:
    """An accepted update: who (20 bytes), omega, e and the update."""

    contributor: bytes
    weight: int
    effective: int
    update: Update


@dataclass(frozen=True, slots=True)
class Merged:
    """(N,) int16 weights of the next version, how many hit a bound of int16, and which pages differ from the base."""

    weights: NDArray[np.int16]
    saturated: int
    changed_pages: tuple[int, ...]


class Rule(Protocol):
    """One rule, without state of its own.

    A rule that judges by more than the round's own updates (`looks_back`) is merged and paid by what it keeps of a task
    (`linklearner.domain.rules.evidence.course`); its `merge` and `divide` refuse.
    """

    @property
    def looks_back(self) -> bool: ...

    @property
    def number(self) -> int:
        """In the task's terms, on the chain and on the wire."""
        ...

    @property
    def name(self) -> str: ...

    @property
    def transitions(self) -> Mapping[Phase, Mapping[Step, Phase]]:
        """The life cycle of a round: what may happen in a phase, and which phase comes of it."""
        ...

    def phase(self, standing: Standing) -> Phase:
        """Where the open round stands."""
        ...

    def due(self, terms: Terms, standing: Standing) -> tuple[Due, ...]:
        """The steps that the chain takes from the round's phase, and from when on. Steps that it takes only when somebody has done
        something else first are left out."""
        ...

    def next_step(self, terms: Terms, standing: Standing) -> Due | None:
        """What whoever keeps a task going should do next, one of `due`; None: contributors have to act first."""
        ...

    def verdict(self, weight: int, squared_norm: int, norm_bound: int) -> int:
        """e, 0..omega: how much of an update's influence `weight` counts when it is merged. Raises OutOfRange if it is refused."""
        ...

    def merge(
        self, weights: NDArray[np.int16], contributions: Sequence[Contribution], eligible: int, shape: Shape
    ) -> Merged:
        """Settle a round. weights: (N,) int16, the base. eligible: Omega of the round, units. The order of contributions is irrelevant.

        Raises InvalidInput for weights of another length, OutOfRange if stakes break the bounds that keep the sums inside int64.
        """
        ...

    def divide(self, terms: Terms, shared: int, weights: Sequence[int], effective: Sequence[int]) -> tuple[int, ...]:
        """What each accepted update earns of `shared`, wei: of what the round pays (`linklearner.domain.pay`) without the settler's fee.

        weights, effective: omega and e of each. Together at most `shared`, whatever the order."""
        ...

    def merge_gas(self, updates: Sequence[Update], pages: range, shape: Shape, saturated: bool) -> float:
        """What the Aspect computes at the settlement of a group of pages, beyond reading the calldata and writing the pages back."""
        ...
