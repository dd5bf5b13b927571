"""The stake ledger of one task, exactly as the contract keeps it.

Stake locked in a round counts from the next one ("fresh"), so that nobody borrows influence for a single update. Unlocked stake stops
counting at once and can be withdrawn when the round in which the unlock was asked for is over. The eligible stake of a round, Omega, is
fixed when the round opens; it equals the sum of all locked stake at that moment, and later unlocks do not lower it. Units are 10**15 wei
of $LL.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from linklearner.domain.errors import OutOfRange

MAX_ELIGIBLE = 2**38
"""Stake units that a task may have in all."""


def influence(stake: int, eligible: int) -> int:
    """omega: the stake that counts in a round, at most a quarter of all eligible stake (all of it while there are fewer than 4 units)."""
    return min(stake, eligible // 4) if eligible >= 4 else min(stake, eligible)


@dataclass(frozen=True, slots=True)
class Stake:
    """One account's stake in a task. `fresh` of `amount` was locked in round `round` and does not count in it."""

    amount: int = 0
    fresh: int = 0
    round: int = 0
    submitted: int = 0
    """The last round in which an update of the account was accepted."""
    unlocking: int = 0
    unlocked_in: int = 0
    """The round in which the last unlock was asked for."""

    def fresh_in(self, round_number: int) -> int:
        return self.fresh if self.round == round_number else 0

    def eligible_in(self, round_number: int) -> int:
        """The stake that counts in the given (current) round."""
        return self.amount - self.fresh_in(round_number)


@dataclass(slots=True)
class StakeLedger:
    """All stakes of one task. `round` 0: the first weights are not loaded yet, and stake locked now counts in round 1."""

    round: int = 0
    eligible: int = 0
    joining: int = 0
    leaving: int = 0
    _stakes: dict[bytes, Stake] = field(default_factory=dict)

    def of(self, account: bytes) -> Stake:
        return self._stakes.get(account, Stake())

    def eligible_of(self, account: bytes) -> int:
        return self.of(account).eligible_in(self.round)

    def lock(self, account: bytes, units: int) -> None:
        """Raises OutOfRange for 0 units or a task above 2**38 units."""
        if units <= 0:
            raise OutOfRange("lock at least one unit")
        if self.eligible + self.joining + units > MAX_ELIGIBLE:
            raise OutOfRange(f"a task holds at most {MAX_ELIGIBLE} units of stake")
        stake = self.of(account)
        fresh = stake.fresh_in(self.round) + units
        self._stakes[account] = replace(stake, amount=stake.amount + units, fresh=fresh, round=self.round)
        self.joining += units

    def unlock(self, account: bytes, units: int) -> int:
        """Takes fresh stake first. What had matured from an earlier unlock is paid out along with it; returns that. Raises OutOfRange."""
        stake = self.of(account)
        if not 0 < units <= stake.amount:
            raise OutOfRange(f"{units} units cannot be unlocked of {stake.amount}")
        matured = self.withdrawable(account)
        fresh = stake.fresh_in(self.round)
        from_fresh = min(units, fresh)
        self._stakes[account] = replace(
            stake,
            amount=stake.amount - units,
            fresh=fresh - from_fresh,
            round=self.round,
            unlocking=stake.unlocking - matured + units,
            unlocked_in=self.round,
        )
        self.joining -= from_fresh
        self.leaving += units - from_fresh
        return matured

    def withdrawable(self, account: bytes) -> int:
        """Units whose unlock was asked for in an earlier round (or before the first one)."""
        stake = self.of(account)
        return stake.unlocking if stake.unlocked_in < self.round or self.round == 0 else 0

    def withdraw(self, account: bytes) -> int:
        """Pays out what is withdrawable; returns the units. Raises OutOfRange if there is nothing."""
        units = self.withdrawable(account)
        if not units:
            raise OutOfRange("nothing can be withdrawn yet")
        self._stakes[account] = replace(self.of(account), unlocking=0)
        return units

    def record_update(self, account: bytes) -> None:
        self._stakes[account] = replace(self.of(account), submitted=self.round)

    def next_round(self) -> None:
        """The round is over (settled or dropped), or the first one begins."""
        self.round += 1
        self.eligible += self.joining - self.leaving
        self.joining = self.leaving = 0
