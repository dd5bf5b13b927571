"""The stake ledger of one task, exactly as contracts/StakeVault.sol keeps it.

Stake is held for time, not for blocks. What is locked in an epoch of `stake_seconds` matures at the start of the second next one, and
counts in the rounds that open from then on ("fresh" until one has); what is locked while the first weights are being loaded counts in
round 1. Unlocked stake stops counting: Omega goes down at once if its account has no update in the open round and the round is not being
merged, otherwise with the next round. It is withdrawable `stake_seconds` later, and not before the end of a round in which the account
has an update. Units are 10**15 wei of $LL.

Fees are shared by all units but fresh ones, through one accumulator: O(1) for each fee, settled when an account moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from linklearner.domain.errors import OutOfRange
from linklearner.domain.pay import FRACTION_BITS

MAX_ELIGIBLE = 2**38
"""Stake units that a task may have in all."""


def influence(stake: int, eligible: int) -> int:
    """omega: the stake that counts in a round, at most a quarter of all eligible stake (all of it while there are fewer than 4 units).

    The bound is one key's, not a person's: who has several keys has it several times.
    """
    return min(stake, eligible // 4) if eligible >= 4 else min(stake, eligible)


@dataclass(frozen=True, slots=True)
class Stake:
    """One account's stake in a task, units. `fresh` of `amount` counts only in rounds opened at `matures_s` or later."""

    amount: int = 0
    fresh: int = 0
    matures_s: int = 0
    submitted: int = 0
    """The last round in which an update of the account was accepted."""
    unlocking: int = 0
    withdrawable_s: int = 0
    seen: int = 0
    """The accumulator of fees up to which `owed` is settled, 2**-128 wei a unit."""
    owed: int = 0
    """Fees, wei."""


@dataclass(slots=True)
class StakeLedger:
    """All stakes of one task. `round` 0: the first weights are not loaded yet."""

    stake_seconds: int
    round: int = 0
    opened_s: int = 0
    """Of the open round; 0 while the weights are being loaded, and once the task is closed."""
    eligible: int = 0
    total: int = 0
    merging: bool = False
    """Whether a group of the open round is merged: Omega stays."""
    sharing: int = 0
    """Units that share fees."""
    fees_per_unit: int = 0
    _ripe: int = 0
    _warming: int = 0
    _locked: int = 0
    _leaving: int = 0
    _epoch: int = 0
    _stakes: dict[bytes, Stake] = field(default_factory=dict)

    def of(self, account: bytes) -> Stake:
        return self._stakes.get(account, Stake())

    def eligible_of(self, account: bytes) -> int:
        """Units that count in the open round."""
        stake = self.of(account)
        return stake.amount - (0 if self._is_counted(stake) else stake.fresh)

    @property
    def closed(self) -> bool:
        return self.round != 0 and self.opened_s == 0

    def ripe(self, now_s: int) -> int:
        """Units that would join Omega if a round opened now."""
        self._roll(now_s)
        return self._ripe

    def lock(self, account: bytes, units: int, now_s: int) -> int:
        """Returns when the account's fresh stake matures, Unix seconds. Raises OutOfRange: 0 units, a task above 2**38, a closed task."""
        if self.closed:
            raise OutOfRange("the task is closed")
        if units <= 0:
            raise OutOfRange("lock at least one unit")
        if self.total + units > MAX_ELIGIBLE:
            raise OutOfRange(f"a task holds at most {MAX_ELIGIBLE} units of stake")
        self._roll(now_s)
        stake = self._counted(self.of(account))
        fresh = stake.fresh + units
        stake = self._take_fresh(stake, stake.fresh)
        if self.round == 0:
            self._ripe += fresh
            matures_s = 0
        else:
            self._locked += fresh
            matures_s = (now_s // self.stake_seconds + 2) * self.stake_seconds
        self.total += units
        self._stakes[account] = replace(stake, amount=stake.amount + units, fresh=fresh, matures_s=matures_s)
        return matures_s

    def unlock(self, account: bytes, units: int, now_s: int) -> int:
        """Takes fresh stake first. Returns when it can be withdrawn, Unix seconds. Raises OutOfRange."""
        stake = self.of(account)
        if not 0 < units <= stake.amount:
            raise OutOfRange(f"{units} units cannot be unlocked of {stake.amount}")
        self._roll(now_s)
        stake = self._counted(stake)
        from_fresh = min(units, stake.fresh)
        stake = self._take_fresh(stake, from_fresh)
        counted = units - from_fresh
        if counted:
            stake = self._settled(stake, stake.amount - from_fresh - stake.fresh)
            self.sharing -= counted
            if stake.submitted == self.round or (self.merging and not self.closed):
                self._leaving += counted
            elif not self.closed:
                self.eligible -= counted
        self.total -= units
        withdrawable_s = now_s + self.stake_seconds
        self._stakes[account] = replace(
            stake, amount=stake.amount - units, unlocking=stake.unlocking + units, withdrawable_s=withdrawable_s
        )
        return withdrawable_s

    def withdraw(self, account: bytes, now_s: int) -> int:
        """Pays out what is withdrawable; returns the units. Raises OutOfRange if that is nothing, or not yet."""
        stake = self.of(account)
        takes_part = self.round != 0 and stake.submitted == self.round and not self.closed
        if not stake.unlocking or now_s < stake.withdrawable_s or takes_part:
            raise OutOfRange("nothing can be withdrawn yet")
        self._stakes[account] = replace(stake, unlocking=0)
        return stake.unlocking

    def mature(self, account: bytes) -> int:
        """Fresh stake that the open round counts shares in fees from now on. Returns its units; raises OutOfRange if there is none."""
        stake = self.of(account)
        counted = self._counted(stake)
        if counted.fresh == stake.fresh:
            raise OutOfRange("no fresh stake of the account is counted")
        self._stakes[account] = counted
        return stake.fresh

    def record_update(self, account: bytes) -> None:
        self._stakes[account] = replace(self._counted(self.of(account)), submitted=self.round)

    def share_fees(self, amount: int) -> None:
        """`amount` wei for all sharing units, of which there are some."""
        self.fees_per_unit += (amount << FRACTION_BITS) // self.sharing

    def fees_of(self, account: bytes) -> int:
        """Wei that the account can claim."""
        stake = self.of(account)
        return self._settled(stake, stake.amount - stake.fresh).owed

    def claim(self, account: bytes) -> int:
        """Pays out the fees of the account's stake; returns wei."""
        stake = self.of(account)
        settled = self._settled(stake, stake.amount - stake.fresh)
        self._stakes[account] = replace(settled, owed=0)
        return settled.owed

    @property
    def held(self) -> int:
        """Units of all accounts, locked or unlocking."""
        return sum(stake.amount + stake.unlocking for stake in self._stakes.values())

    @property
    def fees_owed(self) -> int:
        """Wei that all accounts together can claim."""
        return sum(map(self.fees_of, self._stakes))

    @property
    def accounts(self) -> int:
        return len(self._stakes)

    def next_round(self, now_s: int, *, closing: bool = False) -> None:
        """The round is over (settled or dropped), or the first one begins; closing: it was the last."""
        self._roll(now_s)
        self.round += 1
        self.opened_s = 0 if closing else now_s
        self.eligible += self._ripe - self._leaving
        self._ripe = self._leaving = 0
        self.merging = False

    def _roll(self, now_s: int) -> None:
        epoch = now_s // self.stake_seconds
        if epoch == self._epoch:
            return
        self._ripe += self._warming
        self._warming, self._locked = self._locked, 0
        if epoch > self._epoch + 1:
            self._ripe += self._warming
            self._warming = 0
        self._epoch = epoch

    def _is_counted(self, stake: Stake) -> bool:
        return self.round != 0 and (self.opened_s == 0 or stake.matures_s <= self.opened_s)

    def _counted(self, stake: Stake) -> Stake:
        if not stake.fresh or not self._is_counted(stake):
            return stake
        self.sharing += stake.fresh
        return replace(self._settled(stake, stake.amount - stake.fresh), fresh=0)

    def _take_fresh(self, stake: Stake, units: int) -> Stake:
        """Takes fresh units out of the bucket in which they wait."""
        if not units:
            return stake
        epoch = stake.matures_s // self.stake_seconds
        if epoch == self._epoch + 2:
            self._locked -= units
        elif epoch == self._epoch + 1:
            self._warming -= units
        else:
            self._ripe -= units
        return replace(stake, fresh=stake.fresh - units)

    def _settled(self, stake: Stake, units: int) -> Stake:
        earned = units * (self.fees_per_unit - stake.seen) >> FRACTION_BITS
        return replace(stake, seen=self.fees_per_unit, owed=stake.owed + earned)
