"""The rule `evidence` as every rule answers: its phases and times, and the verdict at submission. What is decided at settlement needs the
task's examples and records: `linklearner.domain.rules.evidence.course`.

    submit until a round by `mean` could be settled; then open the next batch of examples; then settle; from `drop_seconds` on drop

The same in the pool: contracts/rules/Evidence.sol, in the Aspect: aspects/aggregator/rules/evidence.ts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.rounds import RULE_EVIDENCE, Due, Phase, Standing, Step, Terms
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.mean import TRANSITIONS as MEAN_TRANSITIONS
from linklearner.domain.rules.rule import Contribution, Merged
from linklearner.domain.shape import Shape
from linklearner.domain.update import MAX_SQUARED_NORM, Update

TRANSITIONS: Final[Mapping[Phase, Mapping[Step, Phase]]] = {
    **{phase: MEAN_TRANSITIONS[phase] for phase in (Phase.LOADING, Phase.OPEN, Phase.CLOSED)},
    Phase.COLLECTING: {
        Step.ACCEPTED: Phase.COLLECTING,
        Step.EXAMPLES_OPENED: Phase.OPENED,
        Step.DROPPED: Phase.OPEN,
    },
    Phase.OPENED: {Step.SETTLED: Phase.OPEN, Step.DROPPED: Phase.OPEN},
}


class Evidence:
    """An update is merged if it helps on examples that its author could not know."""

    number: Final = RULE_EVIDENCE
    name: Final = "evidence"
    looks_back: Final = True
    transitions: Final = TRANSITIONS

    def phase(self, standing: Standing) -> Phase:
        if standing.version and standing.opened_s and standing.examples_opened:
            return Phase.OPENED
        return MEAN.phase(replace(standing, merged_groups=0))  # a model of one group is never merged in part

    def due(self, terms: Terms, standing: Standing) -> tuple[Due, ...]:
        """As by `mean`, but for opening the examples when that could settle."""
        if self.phase(standing) is Phase.OPENED:
            return (Due(Step.SETTLED), Due(Step.DROPPED, standing.first_s + terms.drop_seconds))
        found = MEAN.due(terms, replace(standing, merged_groups=0))
        closed_s, dropped_s = self.closed_s(terms, standing), standing.first_s + terms.drop_seconds
        if closed_s is None:
            return found
        until_s = {Step.ACCEPTED: closed_s, Step.SETTLED: dropped_s, Step.DROPPED: 0}
        return tuple(
            Due(Step.EXAMPLES_OPENED if due.step is Step.SETTLED else due.step, due.from_s, until_s[due.step])
            for due in found
        )

    def closed_s(self, terms: Terms, standing: Standing) -> int | None:
        """From when on nobody may submit: the examples may be on their way. None: the round has no update yet."""
        return next((due.from_s for due in MEAN.due(terms, standing) if due.step is Step.SETTLED), None)

    def next_step(self, terms: Terms, standing: Standing) -> Due | None:
        """Whoever keeps the task going cannot open examples that only their maker has: settle once they are, or drop in the end."""
        phase = self.phase(standing)
        if phase is Phase.OPEN:
            return MEAN.next_step(terms, replace(standing, merged_groups=0))
        wanted = Step.SETTLED if phase is Phase.OPENED else Step.DROPPED
        return next((one for one in self.due(terms, standing) if one.step is wanted), None)

    def verdict(self, weight: int, squared_norm: int, norm_bound: int) -> int:
        """All of omega: how long the update is counts at settlement."""
        if squared_norm > MAX_SQUARED_NORM:
            raise OutOfRange("the update is longer than 2**31 in 2**-8 steps", reason="NormTooLong")
        return weight

    def merge(
        self, weights: NDArray[np.int16], contributions: Sequence[Contribution], eligible: int, shape: Shape
    ) -> Merged:
        self._refuse()

    def divide(self, terms: Terms, shared: int, weights: Sequence[int], effective: Sequence[int]) -> tuple[int, ...]:
        self._refuse()

    def merge_gas(self, updates: Sequence[Update], pages: range, shape: Shape, saturated: bool) -> float:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise InvalidInput(
            "rule evidence is settled by the task's examples and records: linklearner.domain.rules.evidence.course"
        )


EVIDENCE: Final = Evidence()
