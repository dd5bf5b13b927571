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
from dataclasses import dataclass
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
BLOCK: Final = 2**14
"""Weights that are merged at once: 128 KiB of int64 sums."""

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
        for contribution in contributions:
            contribution.update.check(shape)
        divisor = max(present, eligible // 4, 1)
        result = weights.copy()
        saturated, changed = 0, set[int]()
        # Blocks fit the processor's cache, whatever the pages' length: each sum is read and written once for each update.
        summands = _Summands.of(contributions, shape)
        sums = np.empty(BLOCK, dtype=summands.kind)
        product = np.empty(BLOCK, dtype=summands.kind)
        totals = np.empty(BLOCK, dtype=np.int64)
        for block, parts in summands.blocks.items():
            block_sums = sums[: min(BLOCK, shape.weight_count - block * BLOCK)]
            block_sums[:] = 0
            for start, factor, values in parts:
                run = slice(start, start + values.size)
                product[run] = values
                product[run] *= factor
                sums[run] += product[run]
            total = totals[: block_sums.size]
            np.left_shift(block_sums, summands.common_shift, out=total, dtype=np.int64)
            divide_round(total, divisor, out=total)
            place = slice(block * BLOCK, block * BLOCK + total.size)
            total += weights[place]
            clipped = result[place]
            np.clip(total, INT16_MIN, INT16_MAX, out=clipped, casting="unsafe")
            saturated += int(np.count_nonzero(total != clipped))
            first = place.start // shape.page_length
            ends = range((first + 1) * shape.page_length, place.stop, shape.page_length)
            runs = [0, *(end - place.start for end in ends)]
            moved = np.flatnonzero(np.bitwise_or.reduceat(clipped ^ weights[place], runs))
            changed.update((moved + first).tolist())
        return Merged(result, saturated, tuple(sorted(changed)))

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


@dataclass(frozen=True, slots=True)
class _Summands:
    """What a merge adds up: T_j = 2**common_shift * the sum of factor * d_j over the parts that hold weight j.

    blocks: by the number of a run of BLOCK weights of the flat vector, (start in the block, factor, d) of each part.
    kind: of which the sums are: int32 where none of them, complete or not, can leave it; it is twice as fast as int64.
    """

    blocks: dict[int, list[tuple[int, int, NDArray[np.int8]]]]
    common_shift: int
    kind: type[np.int32] | type[np.int64]

    @classmethod
    def of(cls, contributions: Sequence[Contribution], shape: Shape) -> _Summands:
        runs = [
            (one.effective, one.update.shifts[tensor] - MIN_SHIFT, start, values)
            for one in contributions
            for tensor, start, _, values in one.update.runs(shape)
        ]
        common = min((shift for _, shift, _, _ in runs), default=0)
        longest = 0  # that a sum can become
        for one in contributions:
            digit = max(map(abs, one.update.encoding.values))
            longest += digit * one.effective << max(one.update.shifts) - MIN_SHIFT - common if one.update.pages else 0
        blocks: dict[int, list[tuple[int, int, NDArray[np.int8]]]] = {}
        for effective, shift, start, values in runs:
            factor, stop = effective << shift - common, start + values.size
            for block in range(start // BLOCK, -(-stop // BLOCK)):
                a, b = max(start, block * BLOCK), min(stop, (block + 1) * BLOCK)
                blocks.setdefault(block, []).append((a - block * BLOCK, factor, values[a - start : b - start]))
        return cls(blocks, common, np.int32 if longest < 2**31 else np.int64)


MEAN: Final = Mean()
