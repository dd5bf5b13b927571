"""What a settled round pays, whatever the task's rule, and how fees are shared: exactly as contracts/TrainingPool.sol counts it."""

from __future__ import annotations

from dataclasses import dataclass

from linklearner.domain.rounds import BPS, Terms

MIN_SHARES = 10**15
"""Contribution shares of a task, wei, below which they are too few to share fees."""
FRACTION_BITS = 128
"""Of fees per share."""


@dataclass(frozen=True, slots=True)
class RoundPay:
    """fee: the settler's; shared: what the rule divides among the accepted updates. Wei; together what the round takes at most."""

    fee: int
    shared: int


def round_pay(terms: Terms, pot: int, elapsed_s: int, present: int, eligible: int) -> RoundPay:
    """P = min(pot, reward * min(elapsed, roundSeconds) / roundSeconds) * S / max(S, floor(Omega / 4)), each division rounded down.

    pot: wei. elapsed_s: from the round's opening to the block of its last settlement. present: S > 0, eligible: Omega, units.
    """
    most = min(pot, terms.reward * min(elapsed_s, terms.round_seconds) // terms.round_seconds)
    paid = most * present // max(present, eligible // 4)
    fee = paid * terms.settler_bps // BPS
    return RoundPay(fee, paid - fee)


@dataclass(frozen=True, slots=True)
class FeeShares:
    """How a fee is shared, wei: they sum to it."""

    to_contributors: int
    to_stake: int
    to_pot: int


def share_fee(amount: int, shares: int, sharing_stake: int) -> FeeShares:
    """Half to contribution shares (rounded up), half to stake; what nobody is there to share goes to the pot.

    shares: all that the task's contributors have earned, wei. sharing_stake: units that share.
    """
    to_stake = amount // 2
    to_contributors = amount - to_stake
    to_pot = 0
    if not sharing_stake:
        to_pot, to_stake = to_stake, 0
    if shares < MIN_SHARES:
        to_pot, to_contributors = to_pot + to_contributors, 0
    return FeeShares(to_contributors, to_stake, to_pot)
