"""What an update is paid for. A task names one way; each divides what a round shares (P less the settler's fee), and never more than that.

`gain`, at settlement:     shared * omega / Omega * max(0, g) / 2**16 if merged; the judge's own g, cheap and open to freeloaders.

`novel`, H rounds later or at the close: what an update adds to public knowledge, on examples opened afterwards.

    W = all examples opened in rounds r … r+H ; p = round((base_r + 3 base_r+1) / 4) ; means over W, Q14 nats, floored, within +-2 nats
    g = 4 (CE_W(base_r) - CE_W(base_r + u/4))     d = 4 (CE_W(p - u/8) - CE_W(p + u/8))     x = the same with res(u)
    a copy: no g > 0, d and x only below 0 ;  g > 0 counts only if merged ;  g < 0 counts 5/4, merged or not ;  nothing if u = 0
    U += g ; X += x ; D += d ;  due = max(0, min(D, 3 (min(U, X) - 328)))
    shared * omega / Omega * min(max(0, due - paid), FULL) / FULL ; paid moves on by that min

    FULL is the task's: so many Q14 nats earn an account's whole part of one round. What is due beyond it stays due.

`fair`, at the same time:  x if merged and positive, no sums over rounds: shared * omega / Omega * min(x, FULL) / FULL.

An account's parts sum to at most omega / Omega, and those to at most 1. Each division rounds down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.rules.evidence.memory import Residual
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import GAIN_BITS, MAX_GAIN, Examples, moved, rounded_shift

HORIZON: Final = 10
"""H: a round is paid so many rounds later."""
DEPOSIT: Final = 328
"""Q14 nats (0.02) that an account has to add before it is paid."""
LEVERAGE: Final = 3
MAX_CREDIT: Final = 2**15
"""Two nats, Q14."""
CREDIT_BITS: Final = 2
"""From Q12 losses to Q14."""


def gain_share(shared: int, weight: int, eligible: int, gain: int, merged: bool) -> int:
    """What an update earns by `gain`, wei, at most half of its part. weight: omega <= eligible: Omega > 0, units. gain: g."""
    if not 0 <= weight <= eligible or not eligible or abs(gain) > MAX_GAIN:
        raise OutOfRange(f"weight {weight} of {eligible} and gain {gain} break 0 <= omega <= Omega and |g| <= 2**15")
    return shared * weight * max(0, gain) // (eligible << GAIN_BITS) if merged else 0


def credit_share(shared: int, weight: int, eligible: int, credit: int, full: int) -> int:
    """What a credit of 0..full, Q14 nats, earns by `novel` or `fair`, wei."""
    if not 0 <= weight <= eligible or not eligible or not 0 <= credit <= full:
        raise OutOfRange(f"weight {weight} of {eligible} and credit {credit} of {full} break 0 <= omega <= Omega")
    return shared * weight * credit // (eligible * full)


@dataclass(frozen=True, slots=True)
class Credit:
    """What one update did on examples opened afterwards, Q14 nats a mean example: g (with harm at 5/4), d and x, as they count."""

    gain: int
    direct: int
    novel: int


@dataclass(frozen=True, slots=True)
class Account:
    """U, X and D of an account in a task, and what has been paid of its due; Q14 nats."""

    gain: int = 0
    novel: int = 0
    direct: int = 0
    paid: int = 0

    @property
    def due(self) -> int:
        return max(0, min(self.direct, LEVERAGE * (min(self.gain, self.novel) - DEPOSIT)))

    def credited(self, credit: Credit) -> Account:
        return replace(
            self, gain=self.gain + credit.gain, novel=self.novel + credit.novel, direct=self.direct + credit.direct
        )

    def payable(self, full: int) -> int:
        """Of one round, 0..full."""
        return min(max(0, self.due - self.paid), full)

    def after_pay(self, full: int) -> Account:
        return replace(self, paid=self.paid + self.payable(full))


def credits_of(
    network: IntegerNetwork,
    base: NDArray[np.int16],
    after: NDArray[np.int16],
    steps: NDArray[np.int64],
    residuals: Sequence[Residual],
    merged: Sequence[bool],
    later: Examples,
) -> tuple[Credit, ...]:
    """The credits of a round's updates.

    base, after: (N,) int16, before and after the round's merge. steps: (M, N) int64. later: W, the examples of rounds r … r+H.
    """
    if not len(later):
        raise InvalidInput("a round is paid by examples opened in it and afterwards; there are none")
    if not len(steps) == len(residuals) == len(merged):
        raise InvalidInput(f"{len(steps)} updates, {len(residuals)} residuals and {len(merged)} verdicts")

    def loss(weights: NDArray[np.int16]) -> NDArray[np.int64]:
        total: NDArray[np.int64] = later.losses(network, weights).sum(axis=-1)
        return total

    def mean(differences: NDArray[np.int64]) -> NDArray[np.int64]:
        bounded: NDArray[np.int64] = np.clip((differences << CREDIT_BITS) // len(later), -MAX_CREDIT, MAX_CREDIT)
        return bounded

    if not len(steps):
        return ()
    at_base = int(loss(base))
    gains = mean(at_base - loss(moved(base, rounded_shift(steps, 2))))
    middle = rounded_shift(base.astype(np.int64) + 3 * after.astype(np.int64), 2)
    both = np.stack((steps, np.stack([one.values for one in residuals])))
    eighths = rounded_shift(both, 3)
    directs, novels = mean(loss(moved(middle, -eighths)) - loss(moved(middle, eighths)))
    found = []
    for index, (one, is_merged) in enumerate(zip(residuals, merged, strict=True)):
        gain, direct, novel = int(gains[index]), int(directs[index]), int(novels[index])
        harm = min(gain, 0) + (min(gain, 0) >> 2)
        if not steps[index].any():
            found.append(Credit(0, 0, 0))
        elif one.copy:
            found.append(Credit(harm, min(direct, 0), min(novel, 0)))
        else:
            found.append(Credit(gain if gain > 0 and is_merged else harm, direct, novel))
    return tuple(found)


def fair_credit(credit: Credit, merged: bool, full: int) -> int:
    """What counts by `fair`, 0..full."""
    return min(max(0, credit.novel), full) if merged else 0
