"""What a settled round pays, whatever the task's rule, and how fees are shared: exactly as contracts/TrainingPool.sol counts it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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

    pot: wei. elapsed_s: from the round's opening to the block of its last settlement, and that of the rounds without updates just before
    it. present: S > 0, eligible: Omega, units.
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


@dataclass(frozen=True, slots=True)
class Share:
    """One account's in a task, wei: all that it has earned, what its shares had missed of the fees, what it has claimed of both."""

    earned: int = 0
    missed: int = 0
    pay_claimed: int = 0
    fees_claimed: int = 0


@dataclass(slots=True)
class ContributionShares:
    """What the contributors of one task have earned, which is also their shares in its fees: exactly as contracts/TrainingPool.sol
    keeps it.

    One accumulator: what a share missed when it grew is rounded up and what it gets rounded down, so that all of them together never get
    more than there was.
    """

    total: int = 0
    """All that was earned, wei."""
    fees_per_share: int = 0
    """2**-128 wei a wei of `total`."""
    _shares: dict[bytes, Share] = field(default_factory=dict)

    def of(self, account: bytes) -> Share:
        return self._shares.get(account, Share())

    def credit(self, account: bytes, amount: int) -> None:
        """The account has earned `amount` wei."""
        share = self.of(account)
        missed = -(-(amount * self.fees_per_share) >> FRACTION_BITS)  # rounded up
        self._shares[account] = replace(share, earned=share.earned + amount, missed=share.missed + missed)
        self.total += amount

    def share_fees(self, amount: int) -> None:
        """`amount` wei for all shares, of which there are some."""
        self.fees_per_share += (amount << FRACTION_BITS) // self.total

    def claimable_by(self, account: bytes) -> tuple[int, int]:
        """Pay and fees that `claim` would pay out, wei."""
        share = self.of(account)
        fees = share.earned * self.fees_per_share >> FRACTION_BITS
        return share.earned - share.pay_claimed, max(fees - share.missed - share.fees_claimed, 0)

    def claim(self, account: bytes) -> tuple[int, int]:
        """Pays out; returns pay and fees, wei."""
        pay, fees = self.claimable_by(account)
        share = self.of(account)
        self._shares[account] = replace(
            share, pay_claimed=share.pay_claimed + pay, fees_claimed=share.fees_claimed + fees
        )
        return pay, fees

    @property
    def claimable(self) -> int:
        """Pay and fees that all accounts together can claim, wei."""
        return sum(sum(self.claimable_by(account)) for account in self._shares)

    @property
    def accounts(self) -> int:
        return len(self._shares)
