import dataclasses
import itertools

import pytest
from eth_abi.abi import encode
from eth_abi.packed import encode_packed
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.rounds import Due, Phase, Standing, Step, Terms, advance, running_next, running_seed
from linklearner.domain.rules.mean import MEAN, TRANSITIONS
from linklearner.domain.rules.table import RULES, rule_of


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("step", list(Step))
def test_only_the_steps_in_the_table_are_taken(phase: Phase, step: Step) -> None:
    if step in TRANSITIONS[phase]:
        assert advance(TRANSITIONS, phase, step) is TRANSITIONS[phase][step]
    else:
        with pytest.raises(InvalidInput):
            advance(TRANSITIONS, phase, step)


def test_a_round_being_settled_takes_no_update_and_cannot_be_dropped() -> None:
    assert set(TRANSITIONS[Phase.SETTLING]) == {Step.GROUP_MERGED, Step.SETTLED}


LIFE = Terms(quorum=3, max_updates=4, round_seconds=50, drop_seconds=200, min_stake=0, settler_bps=0, reward=0)


def standing(**changes: int) -> Standing:
    values = {"version": 1, "accepted": 0, "eligible": 10, "merged_groups": 0, "since_s": 100} | changes
    return Standing(**values)


@given(st.integers(0, 4), st.integers(1, 4))
def test_a_round_is_over_by_quorum_or_by_time_but_never_empty(accepted: int, quorum: int) -> None:
    terms = dataclasses.replace(LIFE, quorum=quorum)
    settle = [due for due in MEAN.due(terms, standing(accepted=accepted)) if due.step is Step.SETTLED]
    assert settle == ([Due(Step.SETTLED, 0 if accepted >= quorum else 150)] if accepted else [])


def test_what_is_due_is_in_the_table_of_transitions() -> None:
    for rule in RULES.values():
        for version, accepted, merged, eligible in itertools.product((0, 1), range(5), (0, 1), (0, 10)):
            at = standing(version=version, accepted=accepted, merged_groups=merged, eligible=eligible)
            due = rule.due(LIFE, at)
            assert {one.step for one in due} <= set(rule.transitions[rule.phase(at)])
            assert rule.next_step(LIFE, at) in (*due, None)


def test_a_full_round_takes_no_update_and_a_round_being_settled_is_not_dropped() -> None:
    assert Step.ACCEPTED in {due.step for due in MEAN.due(LIFE, standing(accepted=3))}
    assert Step.ACCEPTED not in {due.step for due in MEAN.due(LIFE, standing(accepted=4))}
    assert MEAN.due(LIFE, standing(accepted=4, merged_groups=1)) == (Due(Step.SETTLED),)


def test_what_a_keeper_does_next() -> None:
    assert MEAN.next_step(LIFE, standing(version=0)) is None
    assert MEAN.next_step(LIFE, standing()) is None  # contributors come first
    assert MEAN.next_step(LIFE, standing(eligible=0)) == Due(Step.DROPPED, 300)  # and here none can come
    assert MEAN.next_step(LIFE, standing(accepted=1)) == Due(Step.SETTLED, 150)
    assert MEAN.next_step(LIFE, standing(accepted=1, eligible=0)) == Due(Step.SETTLED, 150)
    assert MEAN.next_step(LIFE, standing(accepted=3, merged_groups=1)) == Due(Step.SETTLED)


def test_an_unknown_rule_is_named_with_those_that_are_known() -> None:
    with pytest.raises(InvalidInput, match=r"rule 9 is unknown; this program knows 1 \(mean\)"):
        rule_of(9)


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
    fee, shares = MEAN.pay(terms, weights, eligible)
    assert fee + sum(shares) <= reward
    assert fee == reward * 500 // 10_000


def test_all_present_share_everything_but_roundings() -> None:
    fee, shares = MEAN.pay(TERMS, [25, 25, 25, 25], 100)
    assert fee + sum(shares) > TERMS.reward - 5
    assert MEAN.pay(TERMS, [1], 100)[1] == ((TERMS.reward - fee) // 25,)  # alone with little stake: little pay


def test_pay_needs_updates_with_influence() -> None:
    for weights in ([], [3, 0]):
        with pytest.raises(OutOfRange):
            MEAN.pay(TERMS, weights, 100)
