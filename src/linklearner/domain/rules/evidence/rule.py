"""The rule `evidence` as every rule answers: its phases and times, and the verdict at submission. What is decided at settlement needs the
task's examples and records: `linklearner.domain.rules.evidence.course`.

    submit until a round by `mean` could be settled; then open the next batch of examples; then settle; from `drop_seconds` on drop

or, where updates are sealed,

    commit until `round_seconds` after the first commitment; reveal for `reveal_seconds`; then, or once all that was committed is revealed,
    open; then settle; from `drop_seconds` on drop, or, if nothing is revealed, when nothing can be any more

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
    **{phase: MEAN_TRANSITIONS[phase] for phase in (Phase.LOADING, Phase.CLOSED)},
    Phase.OPEN: {**MEAN_TRANSITIONS[Phase.OPEN], Step.COMMITTED: Phase.COLLECTING},
    Phase.COLLECTING: {
        Step.COMMITTED: Phase.COLLECTING,
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
        # A model of one group is never merged in part.
        return MEAN.phase(replace(standing, merged_groups=0, accepted=standing.accepted or standing.committed))

    def due(self, terms: Terms, standing: Standing) -> tuple[Due, ...]:
        """As by `mean`, but for opening the examples when that could settle; sealed: see the top of this module."""
        phase = self.phase(standing)
        if phase is Phase.OPENED:
            return (Due(Step.SETTLED), Due(Step.DROPPED, standing.first_s + terms.drop_seconds))
        if standing.reveal_seconds and phase is Phase.OPEN:
            return tuple(
                Due(Step.COMMITTED) if due.step is Step.ACCEPTED else due
                for due in MEAN.due(terms, replace(standing, merged_groups=0))
            )
        if standing.reveal_seconds and phase is Phase.COLLECTING:
            return self._sealed(terms, standing)
        return tuple(
            Due(Step.EXAMPLES_OPENED, due.from_s) if due.step is Step.SETTLED else due
            for due in MEAN.due(terms, replace(standing, merged_groups=0))
        )

    def _sealed(self, terms: Terms, standing: Standing) -> tuple[Due, ...]:
        """Of a round with a commitment. Stake does not shorten it: some of it would shut out the rest, whose updates are there already."""
        reveals_s, until_s = self.reveals_s(terms, standing)
        accepted = standing.accepted
        due = [] if accepted or standing.committed >= terms.max_updates else [Due(Step.COMMITTED)]
        if accepted < standing.committed:
            due.append(Due(Step.ACCEPTED, reveals_s))
        if not accepted:
            return (*due, Due(Step.DROPPED, until_s))
        opens_s = reveals_s if accepted == standing.committed else until_s
        return (*due, Due(Step.EXAMPLES_OPENED, opens_s), Due(Step.DROPPED, standing.first_s + terms.drop_seconds))

    def reveals_s(self, terms: Terms, standing: Standing) -> tuple[int, int]:
        """From when on, and until when, updates of a sealed round with a commitment are revealed; nobody commits any more then."""
        begin_s = standing.first_s + terms.round_seconds
        return begin_s, begin_s + standing.reveal_seconds

    def closed_s(self, terms: Terms, standing: Standing) -> int | None:
        """From when on nobody may submit an update that is not sealed: the examples may be on their way. None: the round has none yet."""
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
