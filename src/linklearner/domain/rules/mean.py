"""Rule `mean`: the stake-weighted mean of the accepted updates, in integers.

With T_j = sum_i e_i * d_ij * 2**(shift + 8) and D = max(S, floor(Omega / 4), 1), S the accepted stake:
w'_j = sat16(w_j + round(T_j / (D * 2**8))). When everybody takes part and nobody is capped or scaled, that is federated averaging weighted
by stake.

Bounds: e_i <= omega_i, sum omega_i <= Omega <= 2**38 and |d| * 2**(shift + 8) <= 2**23, so every partial sum stays within 2**61; and since
also sum e_i <= S <= D, a weight moves by at most 2**15 steps.

A round: updates are taken until `max_updates`; with the quorum of stake, or when its time is up, it may be settled, and later dropped.
The same rule in the Aspect: aspects/aggregator/rules/mean.ts (verdict, merge); in the pool: contracts/rules/Mean.sol (times, pay).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.encodings import MIN_SHIFT
from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.fixedpoint import INT16_MAX, INT16_MIN, divide_round
from linklearner.domain.rounds import BPS, RULE_MEAN, Due, Phase, Standing, Step, Terms
from linklearner.domain.rules.rule import Contribution, Merged
from linklearner.domain.shape import Shape
from linklearner.domain.stakes import MAX_ELIGIBLE
from linklearner.domain.update import MAX_SQUARED_NORM, Update

SCALE_BITS = 24

TRANSITIONS: Final[Mapping[Phase, Mapping[Step, Phase]]] = {
    Phase.LOADING: {Step.LOADED: Phase.OPEN, Step.CLOSED: Phase.CLOSED},
    Phase.OPEN: {Step.ACCEPTED: Phase.COLLECTING, Step.DROPPED: Phase.OPEN, Step.CLOSED: Phase.CLOSED},
    Phase.COLLECTING: {
        Step.ACCEPTED: Phase.COLLECTING,
        Step.GROUP_MERGED: Phase.SETTLING,
        Step.SETTLED: Phase.OPEN,
        Step.DROPPED: Phase.OPEN,
    },
    Phase.SETTLING: {Step.GROUP_MERGED: Phase.SETTLING, Step.SETTLED: Phase.OPEN, Step.DROPPED: Phase.OPEN},
    Phase.CLOSED: {},
}
"""CLOSED is entered from OPEN: the round that follows the last one of a task (Step.CLOSED) never opens; and from LOADING by a task whose
weights are never loaded."""


class Mean:
    """Every well-formed update counts, by its sender's stake."""

    number: Final = RULE_MEAN
    name: Final = "mean"
    looks_back: Final = False
    transitions: Final = TRANSITIONS

    def phase(self, standing: Standing) -> Phase:
        if not standing.version:
            return Phase.LOADING
        if not standing.opened_s:
            return Phase.CLOSED
        if standing.merged_groups:
            return Phase.SETTLING
        return Phase.COLLECTING if standing.accepted else Phase.OPEN

    def due(self, terms: Terms, standing: Standing) -> tuple[Due, ...]:
        accept = (Due(Step.ACCEPTED),) if standing.accepted < terms.max_updates else ()
        drop = Due(Step.DROPPED, (standing.first_s or standing.opened_s) + terms.drop_seconds)
        match self.phase(standing):
            case Phase.LOADING:
                return (Due(Step.LOADED),)
            case Phase.OPEN:
                return (*accept, Due(Step.DROPPED) if standing.ripe else drop)
            case Phase.COLLECTING:
                return (*accept, Due(Step.SETTLED, self._settleable_s(terms, standing)), drop)
            case Phase.SETTLING:
                return (Due(Step.SETTLED), drop)
            case Phase.OPENED | Phase.CLOSED:  # by this rule no round is ever OPENED
                return ()

    def _settleable_s(self, terms: Terms, standing: Standing) -> int:
        least = standing.opened_s + terms.min_round_seconds
        if standing.present * BPS >= terms.quorum_bps * standing.eligible:
            return least
        return max(standing.first_s + terms.round_seconds, least)

    def next_step(self, terms: Terms, standing: Standing) -> Due | None:
        # A round without updates ends for those who wait to take part; contributors have to act first otherwise.
        wanted = Step.DROPPED if self.phase(standing) is Phase.OPEN else Step.SETTLED
        if wanted is Step.DROPPED and not standing.ripe:
            return None
        return next((due for due in self.due(terms, standing) if due.step is wanted), None)

    def verdict(self, weight: int, squared_norm: int, norm_bound: int) -> int:
        """omega, scaled down (rounded down twice) where the update is longer than the bound, so that |e * delta| <= omega * B."""
        if squared_norm > MAX_SQUARED_NORM:
            raise OutOfRange("the update is longer than 2**31 in 2**-8 steps", reason="NormTooLong")
        if squared_norm <= norm_bound * norm_bound:
            return weight
        length = isqrt(squared_norm - 1) + 1  # rounded up; > norm_bound, so the factor is below 1
        return weight * ((norm_bound << SCALE_BITS) // length) >> SCALE_BITS

    def merge(
        self, weights: NDArray[np.int16], contributions: Sequence[Contribution], eligible: int, shape: Shape
    ) -> Merged:
        if weights.shape != (shape.weight_count,):
            raise InvalidInput(f"the task has {shape.weight_count} weights, not {weights.shape}")
        present = sum(contribution.weight for contribution in contributions)
        if not 0 <= eligible <= MAX_ELIGIBLE or present > max(eligible, 0):
            raise OutOfRange(f"accepted stake {present} and eligible stake {eligible} break 0 <= S <= Omega <= 2**38")
        if any(not 0 <= c.effective <= c.weight for c in contributions):
            raise OutOfRange("an effective weight lies in 0..omega")
        by_page: dict[int, list[tuple[Contribution, NDArray[np.int8]]]] = {}
        for contribution in contributions:
            contribution.update.check(shape)
            for page, values in contribution.update.pages:
                by_page.setdefault(page, []).append((contribution, values))
        divisor = max(present, eligible // 4, 1)
        result = weights.copy()
        saturated = 0
        changed = []
        # Page by page, so that the sums stay in the processor's cache.
        sums = np.empty(shape.page_length, dtype=np.int64)
        product = np.empty(shape.page_length, dtype=np.int64)
        for page in sorted(by_page):
            place = shape.page_slice(page)
            total = sums[: place.stop - place.start]
            total[:] = 0
            for contribution, values in by_page[page]:
                for tensor, a, b in shape.segments(page):
                    run = slice(a - place.start, b - place.start)
                    factor = contribution.effective << (contribution.update.shifts[tensor] - MIN_SHIFT)
                    np.multiply(values[run], factor, out=product[run], dtype=np.int64)
                    np.add(total[run], product[run], out=total[run])
            moved = weights[place] + divide_round(total, divisor)
            clipped = np.clip(moved, INT16_MIN, INT16_MAX)
            saturated += int(np.count_nonzero(clipped != moved))
            if not np.array_equal(clipped, weights[place]):
                changed.append(page)
                result[place] = clipped
        return Merged(result, saturated, tuple(changed))

    def divide(self, terms: Terms, shared: int, weights: Sequence[int], effective: Sequence[int]) -> tuple[int, ...]:
        """shared * e / S, rounded down: sum e <= S, so they sum to at most `shared` whatever the order.

        What over-long updates do not earn stays in the pot.
        """
        if min(weights, default=0) <= 0:
            raise OutOfRange("a settled round has updates, each with influence")
        present = sum(weights)
        return tuple(shared * one // present for one in effective)

    def merge_gas(self, updates: Sequence[Update], pages: range, shape: Shape, saturated: bool) -> float:
        gas = 0.0
        moved: set[int] = set()
        for update in updates:
            for page, values in update.pages:
                if page in pages:
                    moved.add(page)
                    gas += 11.2 + update.encoding.merge_gas * len(values) + 14 * len(shape.segments(page))
        # with saturated weights the page is walked twice
        return gas + sum(200 + (4.2 if saturated else 2.1) * shape.page_weights(page) for page in moved)


MEAN: Final = Mean()
