"""A second rule, for tests: each weight moves one step in the direction that most influence points to.

Time alone ends a round, it can be dropped later than under `mean`, and influence is paid whatever an update's length. Beside this file the
rule is one file in the Aspect (tests/seams/aspects/aggregator/rules/median_of_signs.ts), one in the pool
(tests/seams/contracts/rules/MedianOfSigns.sol), and rows of the three tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.fixedpoint import INT16_MAX, INT16_MIN
from linklearner.domain.rounds import Due, Phase, Standing, Step, Terms
from linklearner.domain.rules.mean import MEAN, TRANSITIONS
from linklearner.domain.rules.rule import Contribution, Merged
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update


class MedianOfSigns:
    number: Final = 200
    looks_back: Final = False
    name: Final = "median_of_signs"
    transitions: Final = TRANSITIONS  # its rounds have the phases of `mean`, at other times

    def phase(self, standing: Standing) -> Phase:
        return MEAN.phase(standing)

    def due(self, terms: Terms, standing: Standing) -> tuple[Due, ...]:
        settle = Due(Step.SETTLED, standing.first_s + terms.round_seconds)
        drop = Due(Step.DROPPED, (standing.first_s or standing.opened_s) + 2 * terms.drop_seconds)
        match self.phase(standing):
            case Phase.LOADING:
                return (Due(Step.LOADED),)
            case Phase.OPEN:
                return (Due(Step.ACCEPTED), drop)
            case Phase.COLLECTING:
                return (Due(Step.ACCEPTED), settle, drop)
            case Phase.SETTLING:
                return (settle, drop)
            case Phase.CLOSED:
                return ()

    def next_step(self, terms: Terms, standing: Standing) -> Due | None:
        return next((due for due in self.due(terms, standing) if due.step is Step.SETTLED), None)

    def verdict(self, weight: int, squared_norm: int, norm_bound: int) -> int:
        return weight

    def merge(
        self, weights: NDArray[np.int16], contributions: Sequence[Contribution], eligible: int, shape: Shape
    ) -> Merged:
        votes = np.zeros(shape.weight_count, dtype=np.int64)
        for one in contributions:
            for page, values in one.update.pages:
                votes[shape.page_slice(page)] += one.effective * np.sign(values).astype(np.int64)
        moved = weights.astype(np.int64) + np.sign(votes)
        result = np.clip(moved, INT16_MIN, INT16_MAX).astype(np.int16)
        pages = range(shape.page_count)
        changed = tuple(p for p in pages if (result != weights)[shape.page_slice(p)].any())
        return Merged(result, int(np.count_nonzero(moved != result)), changed)

    def divide(self, terms: Terms, shared: int, weights: Sequence[int], effective: Sequence[int]) -> tuple[int, ...]:
        return tuple(shared * weight // sum(weights) for weight in weights)

    def merge_gas(self, updates: Sequence[Update], pages: range, shape: Shape, saturated: bool) -> float:
        weights = sum(len(values) for update in updates for page, values in update.pages if page in pages)
        return 5.0 * weights + 5.0 * shape.weight_count + 300 * len(pages)


MEDIAN_OF_SIGNS: Final = MedianOfSigns()
