"""What rounds pay and how fees are shared: bounds that hold whatever comes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.pay import MIN_SHARES, ContributionShares, round_pay, share_fee
from linklearner.domain.rounds import Terms
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.stakes import influence

TERMS = Terms(
    quorum_bps=6_667,
    max_updates=9,
    min_round_seconds=1,
    round_seconds=60,
    drop_seconds=600,
    stake_seconds=60,
    min_stake=0,
    settler_bps=500,
    server_bps=0,
    reward=10**20,
)
wei = st.integers(0, 2**90)


@given(wei, wei, st.integers(0, 500), st.integers(1, 2**38), st.integers(0, 2**38), st.integers(0, 10_000))
def test_a_round_takes_no_more_than_its_time_its_stake_and_the_pot_are_worth(
    reward: int, pot: int, elapsed_s: int, present: int, eligible: int, settler_bps: int
) -> None:
    terms = replace(TERMS, reward=reward, settler_bps=settler_bps)
    pay = round_pay(terms, pot, elapsed_s, present, eligible)
    taken = pay.fee + pay.shared
    assert 0 <= taken <= min(pot, reward * min(elapsed_s, 60) // 60)
    assert pay.fee == taken * settler_bps // 10_000
    assert taken * max(present, eligible // 4) <= min(pot, reward) * present


def test_faster_rounds_pay_no_more_a_day() -> None:
    slow = round_pay(TERMS, 10**24, 60, 10, 10)
    fast = round_pay(TERMS, 10**24, 6, 10, 10)
    assert 10 * (fast.fee + fast.shared) <= slow.fee + slow.shared


@given(st.lists(st.tuples(st.integers(1, 2**30), st.integers(0, 2**30)), min_size=1, max_size=9), wei)
def test_updates_share_no_more_than_there_is_and_by_e(updates: list[tuple[int, int]], shared: int) -> None:
    weights = [weight for weight, _ in updates]
    effective = [min(weight, e) for weight, e in updates]
    parts = MEAN.divide(TERMS, shared, weights, effective)
    assert sum(parts) <= shared
    assert all(part * sum(weights) <= shared * e for part, e in zip(parts, effective, strict=True))


@given(st.integers(2, 10**6), st.integers(1, 10**6), st.integers(1, 10**6), wei)
def test_splitting_an_account_below_the_quarter_gains_no_pay(units: int, part: int, others: int, pot: int) -> None:
    """With the same stake and updates: above the quarter several keys have the bound several times, which is no secret."""
    part = min(part, units - 1)
    eligible = units + max(others, 3 * units)
    rest = influence(eligible - units, eligible)

    def income(*mine: int) -> int:
        weights = [*(influence(one, eligible) for one in mine), rest]
        pay = round_pay(TERMS, pot, 60, sum(weights), eligible)
        return sum(MEAN.divide(TERMS, pay.shared, weights, weights)[: len(mine)])

    if influence(units, eligible) == units:
        assert income(part, units - part) <= income(units)


@given(wei, st.integers(0, 2**96), st.integers(0, 2**38))
def test_a_fee_is_shared_to_the_wei(amount: int, shares: int, stake: int) -> None:
    shared = share_fee(amount, shares, stake)
    assert shared.to_contributors + shared.to_stake + shared.to_pot == amount
    assert shared.to_stake == (amount // 2 if stake else 0)
    assert shared.to_contributors == (amount - amount // 2 if shares >= MIN_SHARES else 0)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("earn"), st.sampled_from([b"a", b"b", b"c"]), st.integers(MIN_SHARES, 10**21)),
            st.tuples(st.just("fee"), st.just(b""), st.integers(1, 10**21)),
            st.tuples(st.just("claim"), st.sampled_from([b"a", b"b", b"c"]), st.just(0)),
        ),
        max_size=40,
    )
)
def test_contributors_claim_all_that_they_earned_and_never_more_fees_than_there_were(
    steps: list[tuple[str, bytes, int]],
) -> None:
    shares = ContributionShares()
    earned = fees = paid = paid_fees = 0
    for divisions, (step, account, amount) in enumerate(steps, 1):
        if step == "earn":
            shares.credit(account, amount)
            earned += amount
        elif step == "fee" and shares.total:
            shares.share_fees(amount)
            fees += amount
        elif step == "claim":
            pay, part = shares.claim(account)
            paid, paid_fees = paid + pay, paid_fees + part
            assert shares.claimable_by(account)[0] == 0
        assert shares.total == earned
        owed = [shares.claimable_by(one) for one in (b"a", b"b", b"c")]
        assert paid + sum(pay for pay, _ in owed) == earned
        assert 0 <= fees - paid_fees - sum(part for _, part in owed) <= divisions + 3


def test_what_is_earned_after_a_fee_has_no_part_in_it() -> None:
    shares = ContributionShares()
    shares.credit(b"a", MIN_SHARES)
    shares.share_fees(1000)
    shares.credit(b"b", 3 * MIN_SHARES)
    assert (shares.claimable_by(b"a")[1], shares.claimable_by(b"b")[1]) == (999, 0)  # rounded down
