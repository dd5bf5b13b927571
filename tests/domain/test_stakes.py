"""The stake ledger by itself; tests/contracts/test_random_histories.py holds it to the vault."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from linklearner.domain.errors import OutOfRange
from linklearner.domain.stakes import MAX_ELIGIBLE, StakeLedger, influence

ALICE, BOB, CARL = b"a" * 20, b"b" * 20, b"c" * 20
EPOCH = 100
NOW = 1_800_000_000


def opened(*locked: tuple[bytes, int], now_s: int = NOW) -> StakeLedger:
    ledger = StakeLedger(EPOCH)
    for account, units in locked:
        ledger.lock(account, units, now_s)
    ledger.next_round(now_s)
    return ledger


def test_stake_locked_while_the_weights_are_loaded_counts_in_the_first_round() -> None:
    ledger = opened((ALICE, 10), (ALICE, 2))
    assert (ledger.eligible, ledger.eligible_of(ALICE)) == (12, 12)


@pytest.mark.parametrize("late", [0, EPOCH - 1])
def test_later_stake_matures_at_the_second_next_epoch_and_counts_in_the_round_that_opens_then(late: int) -> None:
    ledger = opened((ALICE, 10))
    assert ledger.lock(BOB, 7, NOW + late) == NOW + 2 * EPOCH
    ledger.next_round(NOW + 2 * EPOCH - 1)
    assert (ledger.eligible, ledger.eligible_of(BOB)) == (10, 0)
    assert ledger.ripe(NOW + 2 * EPOCH) == 7
    ledger.next_round(NOW + 2 * EPOCH)
    assert (ledger.eligible, ledger.eligible_of(BOB)) == (17, 7)


def test_locking_more_makes_all_fresh_stake_start_anew() -> None:
    """Not only the newer part: what was fresh would count in the very round otherwise, and not in Omega."""
    ledger = opened((ALICE, 10))
    ledger.lock(BOB, 70, NOW)
    ledger.lock(BOB, 1, NOW + 2 * EPOCH)
    assert (ledger.of(BOB).fresh, ledger.eligible_of(BOB), ledger.ripe(NOW + 2 * EPOCH)) == (71, 0, 0)


def test_what_is_unlocked_without_an_update_leaves_at_once_and_with_one_at_the_end() -> None:
    ledger = opened((ALICE, 10), (BOB, 20))
    ledger.record_update(BOB)
    ledger.unlock(ALICE, 4, NOW)
    assert (ledger.eligible, ledger.eligible_of(ALICE)) == (26, 6)
    ledger.unlock(BOB, 5, NOW)
    assert ledger.eligible == 26
    ledger.next_round(NOW + 1)
    assert ledger.eligible == 21


def test_while_a_round_is_merged_omega_stays() -> None:
    ledger = opened((ALICE, 10), (BOB, 20))
    ledger.merging = True
    ledger.unlock(ALICE, 4, NOW)
    assert ledger.eligible == 30
    ledger.next_round(NOW)
    assert ledger.eligible == 26


def test_stake_is_withdrawn_in_time_and_not_in_a_round_with_an_update() -> None:
    ledger = opened((ALICE, 10))
    ledger.record_update(ALICE)
    until = ledger.unlock(ALICE, 4, NOW)
    assert until == NOW + EPOCH
    with pytest.raises(OutOfRange):
        ledger.withdraw(ALICE, until)
    ledger.next_round(NOW + 1)
    with pytest.raises(OutOfRange):
        ledger.withdraw(ALICE, until - 1)
    assert ledger.withdraw(ALICE, until) == 4
    with pytest.raises(OutOfRange):
        ledger.withdraw(ALICE, until)


def test_a_closed_task_takes_no_stake_and_gives_all_back() -> None:
    ledger = opened((ALICE, 10))
    ledger.lock(BOB, 5, NOW)
    ledger.next_round(NOW, closing=True)
    with pytest.raises(OutOfRange, match="closed"):
        ledger.lock(ALICE, 1, NOW)
    for account, units in ((ALICE, 10), (BOB, 5)):
        ledger.unlock(account, units, NOW)
        assert ledger.withdraw(account, NOW + EPOCH) == units
    assert (ledger.held, ledger.total, ledger.sharing) == (0, 0, 0)


def test_fresh_stake_shares_no_fees_until_a_round_has_counted_it() -> None:
    ledger = opened((ALICE, 10))
    ledger.record_update(ALICE)
    ledger.lock(BOB, 30, NOW)
    with pytest.raises(OutOfRange):
        ledger.mature(BOB)
    ledger.share_fees(1000)
    ledger.next_round(NOW + 2 * EPOCH)
    assert (ledger.fees_of(ALICE), ledger.fees_of(BOB)) == (1000, 0)
    assert ledger.mature(BOB) == 30
    ledger.share_fees(1000)
    assert (ledger.claim(ALICE), ledger.claim(BOB), ledger.fees_of(ALICE)) == (1250, 750, 0)


def test_the_limit_of_a_task_holds_from_both_sides() -> None:
    ledger = opened((ALICE, MAX_ELIGIBLE - 1))
    ledger.lock(BOB, 1, NOW)
    for account in (ALICE, BOB):
        with pytest.raises(OutOfRange):
            ledger.lock(account, 1, NOW)


def test_zero_units_and_more_than_there_is_are_refused() -> None:
    ledger = opened((ALICE, 10))
    for units in (0, -1, 11):
        with pytest.raises(OutOfRange):
            ledger.unlock(ALICE, units, NOW)
    with pytest.raises(OutOfRange):
        ledger.lock(ALICE, 0, NOW)


@given(st.integers(0, 2**38), st.integers(0, 2**38))
def test_influence_is_at_most_the_stake_and_a_quarter_of_all(stake: int, eligible: int) -> None:
    assert influence(stake, eligible) <= min(stake, eligible)
    if eligible >= 4:
        assert influence(stake, eligible) <= eligible // 4


class Ledger(RuleBasedStateMachine):
    """Omega is what counts, nobody's stake counts before its time, and nothing is created or lost, units or wei."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = StakeLedger(EPOCH)
        self.now_s = NOW
        self.inside = 0
        self.fees = 0
        self.divisions = 0
        self.locked_at: dict[bytes, list[tuple[int, int]]] = {account: [] for account in (ALICE, BOB, CARL)}

    @rule(account=st.sampled_from([ALICE, BOB, CARL]), units=st.integers(1, 50))
    def lock(self, account: bytes, units: int) -> None:
        if not self.ledger.closed:
            self.ledger.lock(account, units, self.now_s)
            self.inside += units
            self.locked_at[account].append((self.now_s if self.ledger.round else 0, units))

    @rule(account=st.sampled_from([ALICE, BOB, CARL]), units=st.integers(1, 50))
    def unlock(self, account: bytes, units: int) -> None:
        units = min(units, self.ledger.of(account).amount)
        if units:
            self.ledger.unlock(account, units, self.now_s)
            self.divisions += 1

    @rule(account=st.sampled_from([ALICE, BOB, CARL]))
    def withdraw(self, account: bytes) -> None:
        stake = self.ledger.of(account)
        try:
            self.inside -= self.ledger.withdraw(account, self.now_s)
        except OutOfRange:
            return
        assert self.now_s >= stake.withdrawable_s

    @rule(account=st.sampled_from([ALICE, BOB, CARL]))
    def take_part(self, account: bytes) -> None:
        ledger = self.ledger
        if ledger.round and not ledger.closed and ledger.of(account).submitted != ledger.round and not ledger.merging:
            ledger.record_update(account)
            self.divisions += 1

    @rule(amount=st.integers(1, 10**20))
    def share_fees(self, amount: int) -> None:
        if self.ledger.sharing:
            self.ledger.share_fees(amount)
            self.fees += amount
            self.divisions += 1

    @rule(account=st.sampled_from([ALICE, BOB, CARL]))
    def claim(self, account: bytes) -> None:
        self.fees -= self.ledger.claim(account)
        self.divisions += 1

    @rule()
    def merge_a_group(self) -> None:
        if self.ledger.round and not self.ledger.closed:
            self.ledger.merging = True

    @rule(seconds=st.integers(1, 3 * EPOCH))
    def wait(self, seconds: int) -> None:
        self.now_s += seconds

    @rule()
    def next_round(self) -> None:
        if self.ledger.closed:
            return
        self.ledger.next_round(self.now_s)
        counting = {account: self.ledger.eligible_of(account) for account in (ALICE, BOB, CARL)}
        assert self.ledger.eligible == sum(counting.values())
        for account, units in counting.items():
            assert units <= sum(u for at_s, u in self.locked_at[account] if at_s + EPOCH <= self.now_s)

    @invariant()
    def books_balance(self) -> None:
        ledger = self.ledger
        assert self.inside == ledger.held
        assert ledger.total == sum(ledger.of(account).amount for account in (ALICE, BOB, CARL))
        assert 0 <= self.fees - ledger.fees_owed <= self.divisions + 3
        counting = sum(ledger.eligible_of(account) for account in (ALICE, BOB, CARL))
        assert not ledger.round or counting <= ledger.eligible


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@given(
    st.integers(2, 400), st.integers(1, 399), st.integers(1, 400), st.lists(st.integers(1, 10**20), min_size=1, max_size=5)
)  # fmt: skip
def test_splitting_stake_gains_no_fees(units: int, part: int, others: int, fees: list[int]) -> None:
    part = min(part, units - 1)
    whole, split = opened((ALICE, units), (CARL, others)), opened((ALICE, part), (BOB, units - part), (CARL, others))
    for ledger in (whole, split):
        for account in (ALICE, BOB, CARL):
            ledger.record_update(account)
        for amount in fees:
            ledger.share_fees(amount)
    assert split.fees_of(ALICE) + split.fees_of(BOB) <= whole.fees_of(ALICE)
