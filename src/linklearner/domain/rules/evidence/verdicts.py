"""What a round's updates are judged by, and how the merged ones move the weights: all at the same base, so that their order is irrelevant.

    F = the examples opened this round, O = all opened so far, F among them
    u    the update in whole weight steps; longer than the task's bound: scaled by k / 256, k = isqrt(floor(B2 2**16 / n2))
    c    = sat16(base + round(u / 4)): a quarter of the step, for judging only
    g    = clamp(floor((CE_F(base) - CE_F(c)) 2**16 / max(CE_F(base), 64 |F|)), +-2**15)
    E[a] <- E[a] - (E[a] >> 3) + g                          kept whether merged or not; 0 for a new account
    merged iff u != 0 and E[a] > 0 and CE_O(c) < CE_O(base)
    d    = round(sum omega_i u_i / max(S, floor(Omega / 4), 1)), over the merged; S their omega
    base <- sat16(base + round(d / 2**s)), the first s of 0, 1, 2 with CE_O <= A0 + (A0 >> 4), A0 = CE_O(base); else the base stays

Bounds: |u_j| <= 2**15; sum omega <= 2**38, so |sum omega u| <= 2**53. A loss sums to at most 2**31 (loss.py), times 2**16 to 2**47. |g| <=
2**15 and E - (E >> 3) <= 7/8 E + 1 keep |E| < 2**18 + 8: an int32 holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.encodings import MIN_SHIFT
from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.fixedpoint import INT16_MAX, INT16_MIN
from linklearner.domain.rules.evidence.loss import cross_entropy
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.shape import Shape
from linklearner.domain.stakes import MAX_ELIGIBLE
from linklearner.domain.update import Update

TRIAL_BITS: Final = 2
MAX_GAIN: Final = 2**15
GAIN_BITS: Final = 16
LEAST_LOSS: Final = 64
"""Q12, an example: gains are relative to no smaller loss."""
RECORD_BITS: Final = 3
"""A record forgets an eighth a round."""
GUARD_BITS: Final = 4
HALVINGS: Final = (0, 1, 2)
SCALE_BITS: Final = 8
MAX_EXAMPLES: Final = 2**16
MAX_RECORD: Final = 2**18 + 8


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled examples, in the order in which they were opened. inputs: (K, D) int16; labels: (K,) int64."""

    inputs: NDArray[np.int16]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.inputs.ndim != 2 or self.labels.shape != (len(self.inputs),):
            raise InvalidInput(f"{self.inputs.shape} inputs do not go with {self.labels.shape} labels")
        if len(self.labels) > MAX_EXAMPLES:
            raise OutOfRange(f"a task opens at most {MAX_EXAMPLES} examples")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> Examples:
        return Examples(self.inputs[rows], self.labels[rows])

    def joined(self, later: Examples) -> Examples:
        return Examples(np.concatenate((self.inputs, later.inputs)), np.concatenate((self.labels, later.labels)))

    def losses(self, network: IntegerNetwork, weights: NDArray[np.int16]) -> NDArray[np.int64]:
        """(…, K) int64, Q12: of each example, for each of the (…, N) int16 weights. Raises InvalidInput for labels that are none."""
        if len(self) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < network.widths[-1]:
            raise InvalidInput(f"labels lie in 0..{network.widths[-1] - 1}")
        return cross_entropy(network.logits(weights, self.inputs), self.labels)


class Outcome(Enum):
    """Why an update was merged or not, the first that applies."""

    MERGED = "merged"
    EMPTY = "moves no weight"
    NO_RECORD = "the account's record is not positive"
    NO_GAIN = "no better on the examples opened so far"
    GUARDED = "would be merged, but the merge of the round was called off: the loss rose at every step size"


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one update. gain: g, Q16 of the loss on this round's examples. record: E with it. loss: of the trial step on all opened, Q12."""

    gain: int
    record: int
    loss: int
    outcome: Outcome

    @property
    def merged(self) -> bool:
        return self.outcome is Outcome.MERGED

    def text(self, fresh: int) -> str:
        """For people. fresh: how many examples were opened this round."""
        return in_words(self.outcome, self.gain, self.record, fresh)


def in_words(outcome: Outcome, gain: int, record: int, fresh: int) -> str:
    """A verdict for people. gain, record: g and E, Q16. fresh: how many examples were opened for the round."""
    share = abs(gain) * 100 / 2**GAIN_BITS
    effect = "no better or worse" if not gain else f"{share:.1f} % {'better' if gain > 0 else 'worse'}"
    examples = f"{fresh} examples" if fresh != 1 else "an example"
    said = f"{effect} on {examples} opened afterwards; the account's record stands at {record / 2**GAIN_BITS:+.3f}"
    return f"merged: {said}" if outcome is Outcome.MERGED else f"not merged ({outcome.value}): {said}"


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """A settled round: verdicts in the updates' order, the next (N,) int16 weights, how many hit a bound of int16, how often the step was
    halved (None: nothing was merged), and the loss of base and result on all opened examples, Q12."""

    verdicts: tuple[Verdict, ...]
    weights: NDArray[np.int16]
    saturated: int
    halvings: int | None
    base_loss: int
    loss: int


def rounded_shift(values: NDArray[np.int64], places: int) -> NDArray[np.int64]:
    """values / 2**places, rounded. places >= 0; |values| <= 2**62."""
    if not places:
        return values
    magnitude = np.abs(values) + (1 << places - 1) >> places
    return np.where(values < 0, -magnitude, magnitude)


def rounded_quotient(values: NDArray[np.int64], divisor: int) -> NDArray[np.int64]:
    """values / divisor, rounded. |values| <= 2**53, 1 <= divisor <= 2**38."""
    magnitude = (2 * np.abs(values) + divisor) // (2 * divisor)
    return np.where(values < 0, -magnitude, magnitude)


def moved(base: NDArray[np.signedinteger], step: NDArray[np.int64]) -> NDArray[np.int16]:
    """sat16(base + step)."""
    result: NDArray[np.int16] = np.clip(base + step, INT16_MIN, INT16_MAX).astype(np.int16)
    return result


def scale_of(squared_norm: int, norm_bound: int) -> int:
    """k, 0..256: an update of this squared length, (2**-8 step)**2, counts k / 256 of its length."""
    if squared_norm <= norm_bound * norm_bound:
        return 1 << SCALE_BITS
    return isqrt((norm_bound * norm_bound << 2 * SCALE_BITS) // squared_norm)


def steps_of(update: Update, shape: Shape) -> NDArray[np.int64]:
    """u: (N,) int64, the update in whole weight steps, scaled to the task's bound. Raises InvalidUpdate where it does not fit the shape."""
    scale = scale_of(update.squared_norm(shape), shape.norm_bound)
    fine = np.zeros(shape.weight_count, dtype=np.int64)
    for page, values in update.pages:
        start = page * shape.page_length
        for tensor, a, b in shape.segments(page):
            fine[a:b] = values[a - start : b - start].astype(np.int64) << update.shifts[tensor] - MIN_SHIFT
    return rounded_shift(fine * scale, SCALE_BITS - MIN_SHIFT)  # at most 2**23 * 2**8


def gain_of(base_loss: int, trial_loss: int, fresh: int) -> int:
    """g from the losses of base and trial step on the `fresh` examples opened this round."""
    gain = (base_loss - trial_loss << GAIN_BITS) // max(base_loss, LEAST_LOSS * fresh)
    return max(-MAX_GAIN, min(MAX_GAIN, gain))


def record_after(record: int, gain: int) -> int:
    """E with one more gain."""
    return record - (record >> RECORD_BITS) + gain


def judge(
    network: IntegerNetwork,
    base: NDArray[np.int16],
    steps: NDArray[np.int64],
    records: Sequence[int],
    weights: Sequence[int],
    eligible: int,
    opened: Examples,
    fresh: int,
) -> Judgement:
    """Settle a round.

    base: (N,) int16. steps: (M, N) int64, u of each update. records: E of each account before. weights: omega of each, units. eligible:
    Omega. opened: O, the last `fresh` of which were opened this round. Raises InvalidInput, and OutOfRange where stakes or records break
    the bounds that keep the sums inside int64.
    """
    if steps.shape != (len(weights), network.weight_count) or len(records) != len(weights):
        raise InvalidInput(f"{steps.shape} steps do not go with {len(weights)} weights and {len(records)} records")
    if not 1 <= fresh <= len(opened):
        raise InvalidInput(f"a round opens at least one of its task's examples, not {fresh} of {len(opened)}")
    if not 0 <= eligible <= MAX_ELIGIBLE or min(weights, default=1) < 0 or sum(weights) > eligible:
        raise OutOfRange(f"accepted stake {sum(weights)} and eligible stake {eligible} break 0 <= S <= Omega <= 2**38")
    if any(abs(record) > MAX_RECORD for record in records) or np.abs(steps).max(initial=0) > 2**15:
        raise OutOfRange("a record or a step is beyond what the rule can make")
    at_base = opened.losses(network, base)
    base_loss, fresh_loss = int(at_base.sum()), int(at_base[-fresh:].sum())
    trials = moved(base, rounded_shift(steps, TRIAL_BITS))
    losses = opened.losses(network, trials)
    verdicts = []
    for index, record in enumerate(records):
        empty = not steps[index].any()
        gain = 0 if empty else gain_of(fresh_loss, int(losses[index, -fresh:].sum()), fresh)
        after, loss = record_after(record, gain), int(losses[index].sum())
        if empty:
            outcome = Outcome.EMPTY
        elif after <= 0:
            outcome = Outcome.NO_RECORD
        elif loss >= base_loss:
            outcome = Outcome.NO_GAIN
        else:
            outcome = Outcome.MERGED
        verdicts.append(Verdict(gain, after, loss, outcome))
    present = sum(weight for weight, verdict in zip(weights, verdicts, strict=True) if verdict.merged)
    if not present:
        return Judgement(tuple(verdicts), base.copy(), 0, None, base_loss, base_loss)
    counted = np.array([w if v.merged else 0 for w, v in zip(weights, verdicts, strict=True)], dtype=np.int64)
    step = rounded_quotient(counted @ steps, max(present, eligible // 4, 1))
    for halvings in HALVINGS:
        halved = rounded_shift(step, halvings)
        result = moved(base, halved)
        loss = int(opened.losses(network, result).sum())
        if loss <= base_loss + (base_loss >> GUARD_BITS):
            saturated = int(np.count_nonzero(result != base + halved))
            return Judgement(tuple(verdicts), result, saturated, halvings, base_loss, loss)
    called_off = tuple(Verdict(v.gain, v.record, v.loss, Outcome.GUARDED) if v.merged else v for v in verdicts)
    return Judgement(called_off, base.copy(), 0, None, base_loss, base_loss)
