import pytest
from eth_abi.abi import encode
from eth_abi.packed import encode_packed
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.rounds import (
    TRANSITIONS,
    Phase,
    Step,
    Terms,
    advance,
    may_settle,
    running_next,
    running_seed,
)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("step", list(Step))
def test_only_the_steps_in_the_table_are_taken(phase: Phase, step: Step) -> None:
    if step in TRANSITIONS[phase]:
        assert advance(phase, step) is TRANSITIONS[phase][step]
    else:
        with pytest.raises(InvalidInput):
            advance(phase, step)


def test_a_round_being_settled_takes_no_update_and_cannot_be_dropped() -> None:
    assert set(TRANSITIONS[Phase.SETTLING]) == {Step.GROUP_MERGED, Step.SETTLED}


@given(st.integers(0, 5), st.integers(1, 5), st.integers(0, 200))
def test_a_round_is_over_by_quorum_or_by_time_but_never_empty(accepted: int, quorum: int, now: int) -> None:
    over = may_settle(accepted, quorum, first_at=100, round_seconds=50, now=now)
    assert over == (accepted >= quorum or (accepted > 0 and now >= 150))


def test_the_running_hash_is_what_the_contract_computes() -> None:
    pool, digest, account = b"\x11" * 20, b"\x22" * 32, b"\x33" * 20
    seed = running_seed(11820, pool, 3, 4)
    assert seed == keccak(encode(["uint256", "address", "uint64", "uint64"], [11820, "0x" + pool.hex(), 3, 4]))
    packed = encode_packed(
        ["bytes32", "bytes32", "address", "uint64", "uint64"], [seed, digest, "0x" + account.hex(), 5, 6]
    )
    assert running_next(seed, digest, account, 5, 6) == keccak(packed)


TERMS = Terms(quorum=1, max_updates=9, round_seconds=1, drop_seconds=2, min_stake=0, settler_bps=500, reward=10**18 + 7)


@given(st.lists(st.integers(1, 2**36), min_size=1, max_size=9), st.integers(0, 2**38), st.integers(0, 2**128))
def test_a_round_never_pays_more_than_its_reward(weights: list[int], eligible: int, reward: int) -> None:
    terms = Terms(quorum=1, max_updates=9, round_seconds=1, drop_seconds=2, min_stake=0, settler_bps=500, reward=reward)
    fee, shares = terms.pay(weights, eligible)
    assert fee + sum(shares) <= reward
    assert fee == reward * 500 // 10_000


def test_all_present_share_everything_but_roundings() -> None:
    fee, shares = TERMS.pay([25, 25, 25, 25], 100)
    assert fee + sum(shares) > TERMS.reward - 5
    assert TERMS.pay([1], 100)[1] == ((TERMS.reward - fee) // 25,)  # alone with little stake: little pay


def test_pay_needs_updates_with_influence() -> None:
    for weights in ([], [3, 0]):
        with pytest.raises(OutOfRange):
            TERMS.pay(weights, 100)
