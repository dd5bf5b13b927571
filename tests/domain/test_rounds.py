import dataclasses
import itertools

import pytest
from eth_abi.abi import encode
from eth_abi.packed import encode_packed
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain import capacity, terms
from linklearner.domain.errors import InvalidInput
from linklearner.domain.rounds import Due, Phase, Standing, Step, Terms, advance, running_next, running_seed
from linklearner.domain.rules.mean import MEAN, TRANSITIONS
from linklearner.domain.rules.table import RULES, rule_of
from linklearner.domain.shape import Shape, Tensor


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("step", list(Step))
def test_only_the_steps_in_the_table_are_taken(phase: Phase, step: Step) -> None:
    if step in TRANSITIONS.get(phase, {}):
        assert advance(TRANSITIONS, phase, step) is TRANSITIONS[phase][step]
    else:
        with pytest.raises(InvalidInput):
            advance(TRANSITIONS, phase, step)


def test_a_round_being_settled_takes_no_update_but_has_an_end() -> None:
    assert set(TRANSITIONS[Phase.SETTLING]) == {Step.GROUP_MERGED, Step.SETTLED, Step.DROPPED}


LIFE = Terms(
    quorum_bps=6_667,
    max_updates=4,
    min_round_seconds=10,
    round_seconds=50,
    drop_seconds=200,
    stake_seconds=30,
    min_stake=3,
    settler_bps=0,
    server_bps=0,
    reward=0,
)


def standing(**changes: int) -> Standing:
    values = {"version": 1, "accepted": 0, "present": 0, "eligible": 30, "merged_groups": 0, "opened_s": 100} | changes
    return Standing(**values)


def due(step: Step, **changes: int) -> Due | None:
    return next((one for one in MEAN.due(LIFE, standing(**changes)) if one.step is step), None)


@given(st.integers(1, 4), st.integers(1, 30), st.integers(100, 400))
def test_stake_ends_a_round_early_but_never_at_once_and_heads_do_nothing(
    heads: int, present: int, first_s: int
) -> None:
    found = due(Step.SETTLED, accepted=heads, present=present, first_s=first_s)
    assert found is not None
    assert found.from_s == (110 if present * 10_000 >= 6_667 * 30 else max(110, first_s + 50))


def test_an_empty_round_is_not_settled() -> None:
    assert due(Step.SETTLED) is None


def test_a_round_may_be_left_in_time_from_its_first_update_or_from_its_opening() -> None:
    assert due(Step.DROPPED) == Due(Step.DROPPED, 300)
    assert due(Step.DROPPED, accepted=1, present=1, first_s=150) == Due(Step.DROPPED, 350)
    assert due(Step.DROPPED, accepted=1, present=1, first_s=150, merged_groups=1) == Due(Step.DROPPED, 350)


def test_an_empty_round_ends_for_stake_that_is_ripe_and_only_an_empty_one() -> None:
    assert due(Step.DROPPED, ripe=1) == Due(Step.DROPPED)
    assert due(Step.DROPPED, ripe=1, accepted=1, present=1, first_s=150) == Due(Step.DROPPED, 350)


def test_what_is_due_is_in_the_table_of_transitions() -> None:
    for rule in RULES.values():
        for version, accepted, merged, opened_s, ripe, examples in itertools.product(
            (0, 1), range(5), (0, 1), (0, 100), (0, 9), (False, True)
        ):
            at = standing(
                version=version,
                accepted=accepted,
                present=accepted,
                merged_groups=merged,
                opened_s=opened_s,
                ripe=ripe,
                examples_opened=examples,
            )
            found = rule.due(LIFE, at)
            assert {one.step for one in found} <= set(rule.transitions[rule.phase(at)])
            assert rule.next_step(LIFE, at) in (*found, None)


def test_a_full_round_takes_no_update() -> None:
    assert due(Step.ACCEPTED, accepted=3, present=3) == Due(Step.ACCEPTED)
    assert due(Step.ACCEPTED, accepted=4, present=4) is None
    assert due(Step.ACCEPTED, accepted=3, present=3, merged_groups=1) is None


def test_what_a_keeper_does_next() -> None:
    assert MEAN.next_step(LIFE, standing(version=0, opened_s=0)) is None
    assert MEAN.next_step(LIFE, standing()) is None  # contributors come first
    assert MEAN.next_step(LIFE, standing(ripe=5)) == Due(Step.DROPPED)  # who wait to take part
    assert MEAN.next_step(LIFE, standing(accepted=1, present=1, first_s=120)) == Due(Step.SETTLED, 170)
    assert MEAN.next_step(LIFE, standing(accepted=1, present=30, first_s=120)) == Due(Step.SETTLED, 110)
    assert MEAN.next_step(LIFE, standing(accepted=3, present=3, merged_groups=1)) == Due(Step.SETTLED)
    assert MEAN.next_step(LIFE, standing(opened_s=0)) is None  # closed


def test_dust_needs_a_quarter_of_all_stake_to_fill_a_round() -> None:
    assert LIFE.floor(0) == 3
    assert LIFE.floor(1600) == 100
    assert LIFE.floor(1600) * LIFE.max_updates * 4 >= 1600


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("rule", (9,)),
        ("quorum_bps", (0, 10_001)),
        ("max_updates", (0, 1025)),
        ("min_round_seconds", (0, 51)),
        ("round_seconds", (0, 200)),
        ("drop_seconds", (50, 366 * 86_400 + 1)),
        ("stake_seconds", (0, 366 * 86_400 + 1)),
        ("min_stake", (-1, 2**38 + 1)),
        ("settler_bps", (-1, 10_001)),
        ("server_bps", (-1, 5_001)),
        ("reward", (-1, 2**128)),
    ],
)
def test_terms_that_the_pool_refuses_are_named(field: str, bad: tuple[int, ...]) -> None:
    shape = Shape((Tensor(37, 12),), 8, 2, 1)
    terms.check(LIFE, shape)
    for value in bad:
        with pytest.raises(InvalidInput) as refused:
            terms.check(dataclasses.replace(LIFE, **{field: value}), shape)
        assert refused.value.reason == "BadTerms"
        assert refused.value.facts.get("field") in (field, "min_round_seconds", "drop_seconds")


def test_a_round_takes_no_more_updates_than_a_block_can_settle() -> None:
    shape = Shape((Tensor(48_000, 12),), 16_384, 3, 1)
    most = capacity.most_updates(shape)
    assert most == 3
    assert capacity.holds(most, shape) and not capacity.holds(most + 1, shape)
    with pytest.raises(InvalidInput, match=f"between 1 and {most} "):
        terms.check(dataclasses.replace(LIFE, max_updates=most + 1), shape)
    with pytest.raises(InvalidInput, match="smaller"):
        terms.check(LIFE, Shape((Tensor(200_000, 12),), 16_384, 64, 1))


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
