import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from linklearner.domain.errors import OutOfRange
from linklearner.domain.stakes import MAX_ELIGIBLE, StakeLedger

ALICE, BOB = b"a" * 20, b"b" * 20


def opened(*locked: tuple[bytes, int]) -> StakeLedger:
    ledger = StakeLedger()
    for account, units in locked:
        ledger.lock(account, units)
    ledger.next_round()
    return ledger


def test_stake_locked_before_the_first_round_counts_in_it() -> None:
    ledger = opened((ALICE, 10))
    assert (ledger.eligible, ledger.eligible_of(ALICE)) == (10, 10)


def test_stake_locked_in_a_round_counts_from_the_next() -> None:
    ledger = opened((ALICE, 10))
    ledger.lock(ALICE, 5)
    ledger.lock(BOB, 7)
    assert (ledger.eligible, ledger.eligible_of(ALICE), ledger.eligible_of(BOB)) == (10, 10, 0)
    ledger.next_round()
    assert (ledger.eligible, ledger.eligible_of(ALICE), ledger.eligible_of(BOB)) == (22, 15, 7)


def test_unlocked_stake_stops_counting_at_once_and_leaves_when_the_round_is_over() -> None:
    ledger = opened((ALICE, 10))
    ledger.unlock(ALICE, 4)
    assert (ledger.eligible, ledger.eligible_of(ALICE), ledger.withdrawable(ALICE)) == (10, 6, 0)
    with pytest.raises(OutOfRange):
        ledger.withdraw(ALICE)
    ledger.next_round()
    assert (ledger.eligible, ledger.withdraw(ALICE)) == (6, 4)


def test_an_unlock_pays_out_what_an_earlier_one_made_ready() -> None:
    ledger = opened((ALICE, 10))
    ledger.unlock(ALICE, 4)
    assert ledger.unlock(ALICE, 1) == 0
    ledger.next_round()
    assert ledger.unlock(ALICE, 2) == 5
    assert (ledger.of(ALICE).unlocking, ledger.withdrawable(ALICE)) == (2, 0)


def test_fresh_stake_is_unlocked_first() -> None:
    ledger = opened((ALICE, 10))
    ledger.lock(ALICE, 5)
    ledger.unlock(ALICE, 5)
    assert ledger.eligible_of(ALICE) == 10


def test_before_the_first_round_stake_may_leave_at_once() -> None:
    ledger = StakeLedger()
    ledger.lock(ALICE, 10)
    ledger.unlock(ALICE, 10)
    assert ledger.withdraw(ALICE) == 10


def test_the_limit_of_a_task_holds_from_both_sides() -> None:
    ledger = opened((ALICE, MAX_ELIGIBLE - 1))
    ledger.lock(BOB, 1)
    for account in (ALICE, BOB):
        with pytest.raises(OutOfRange):
            ledger.lock(account, 1)


def test_zero_units_and_more_than_there_is_are_refused() -> None:
    ledger = opened((ALICE, 10))
    for units in (0, -1, 11):
        with pytest.raises(OutOfRange):
            ledger.unlock(ALICE, units)
    with pytest.raises(OutOfRange):
        ledger.lock(ALICE, 0)


class Ledger(RuleBasedStateMachine):
    """Whatever people do, nothing is created or lost, and nobody's influence exceeds what counted when the round opened."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = StakeLedger()
        self.inside = 0

    @rule(account=st.sampled_from([ALICE, BOB]), units=st.integers(1, 50))
    def lock(self, account: bytes, units: int) -> None:
        self.ledger.lock(account, units)
        self.inside += units

    @rule(account=st.sampled_from([ALICE, BOB]), units=st.integers(1, 50))
    def unlock(self, account: bytes, units: int) -> None:
        units = min(units, self.ledger.of(account).amount)
        if units:
            self.inside -= self.ledger.unlock(account, units)

    @rule(account=st.sampled_from([ALICE, BOB]))
    def withdraw(self, account: bytes) -> None:
        if self.ledger.withdrawable(account):
            self.inside -= self.ledger.withdraw(account)

    @rule()
    def next_round(self) -> None:
        self.ledger.next_round()
        assert self.ledger.eligible == sum(self.ledger.of(account).amount for account in (ALICE, BOB))

    @invariant()
    def books_balance(self) -> None:
        stakes = [self.ledger.of(account) for account in (ALICE, BOB)]
        assert self.inside == sum(stake.amount + stake.unlocking for stake in stakes)
        assert sum(self.ledger.eligible_of(account) for account in (ALICE, BOB)) <= max(self.ledger.eligible, 0) or (
            self.ledger.round == 0
        )
        assert self.ledger.eligible + self.ledger.joining - self.ledger.leaving == sum(s.amount for s in stakes)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=30)
