"""Pay of rule `evidence`: golden vectors against an implementation of its own, and what pay can never do."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.rules.evidence.credit import (
    DEPOSIT,
    Account,
    Credit,
    credit_share,
    credits_of,
    fair_credit,
    gain_share,
)
from linklearner.domain.rules.evidence.memory import ATOMS, MEMORY_ROUNDS, Memory, Revealed, residual
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import Examples
from tests.domain.evidence_reference import PaidRound, Perceptron, pay, project
from tests.vectors.generate import HERE

CASES: list[dict[str, Any]] = json.loads((HERE / "evidence_pay.json").read_text())
A, B, C = (bytes([n]) * 20 for n in (1, 2, 3))


def int16_of(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), "<i2").astype(np.int16)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_rounds_are_paid_as_the_vectors_say_by_both_implementations(number: int) -> None:
    case = CASES[number]
    network = IntegerNetwork(tuple(case["widths"]), tuple(case["exponents"]), case["input_exponent"])
    memory, accounts, played = Memory(), dict[bytes, Account](), []
    for one in case["rounds"]:
        people = tuple(bytes.fromhex(update["account"]) for update in one["updates"])
        merged = [update["merged"] for update in one["updates"]]
        steps = np.array([update["steps"] for update in one["updates"]])
        base, after, labels = int16_of(one["base"]), int16_of(one["after"]), np.array(one["labels"])
        later = Examples(int16_of(one["inputs"]).reshape(len(labels), -1), labels)
        references = np.array(one["references"], dtype=np.int64).reshape(-1, base.size)
        residuals = memory.take(Revealed(people, steps, base, after, references))
        credits = credits_of(network, base, after, steps, residuals, merged, later)
        for person, update, left, credit in zip(people, one["updates"], residuals, credits, strict=True):
            assert left.values.tolist() == update["residual"]
            assert left.copy == update["copy"]
            assert credit == Credit(update["gain"], update["direct"], update["novel"])
            account = accounts.get(person, Account()).credited(credit)
            assert account.payable(case["full"]) == update["payable"]
            assert fair_credit(credit, update["merged"], case["full"]) == update["fair"]
            accounts[person] = account.after_pay(case["full"])
        rows = list(zip(later.inputs.tolist(), labels.tolist(), strict=True))
        played.append(
            PaidRound(people, steps.tolist(), merged, base.tolist(), after.tolist(), references.tolist(), rows)
        )
    other = Perceptron(network.widths, network.exponents, network.input_exponent)
    wanted = [
        [tuple(update[key] for key in ("copy", "gain", "novel", "direct", "payable")) for update in one["updates"]]
        for one in case["rounds"]
    ]
    assert pay(other, played, case["full"]) == wanted


def test_the_vectors_have_copies_harm_and_pay() -> None:
    updates = [update for case in CASES for one in case["rounds"] for update in one["updates"]]
    assert {True, False} == {update["copy"] for update in updates}
    for key in ("gain", "novel", "direct"):
        assert min(update[key] for update in updates) < 0 < max(update[key] for update in updates)
    assert any(update["payable"] for update in updates)
    assert any(not update["merged"] and update["payable"] for update in updates)


steps_16 = st.integers(-(2**15), 2**15)


@given(st.data())
def test_what_is_left_of_an_update_is_what_python_integers_leave(data: st.DataObject) -> None:
    size, count = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 8))
    elements = st.one_of(st.integers(-3, 3), steps_16)
    steps = data.draw(hnp.arrays(np.int64, size, elements=elements))
    atoms = data.draw(hnp.arrays(np.int64, (count, size), elements=elements))
    found = residual(steps, atoms)
    assert (found.values.tolist(), found.copy, found.first, found.mostly_first) == project(
        steps.tolist(), atoms.tolist()
    )


def test_the_longest_vectors_stay_exact() -> None:
    steps = np.full(2**17, 2**15, dtype=np.int64)
    atoms = np.stack((np.full(2**17, -(2**16)), np.full(2**17, 2**16))).astype(np.int64)
    atoms[1, ::2] *= -1
    found = residual(steps, atoms)
    assert found.copy and found.first == 0 and found.mostly_first
    assert not found.values.any()


def revealed(people: tuple[bytes, ...], steps: np.ndarray, references: np.ndarray | None = None) -> Revealed:
    zero = np.zeros(steps.shape[1], dtype=np.int16)
    return Revealed(people, steps, zero, zero, steps[:0] if references is None else references)


def random_steps(generator: np.random.Generator, count: int = 1) -> np.ndarray:
    return generator.integers(-900, 901, (count, 200))


def test_a_copy_is_known_for_eight_rounds_and_scaled_or_noisy_as_well() -> None:
    generator = np.random.default_rng(1)
    original = random_steps(generator)[0]
    for lag in range(1, MEMORY_ROUNDS + 2):
        memory = Memory()
        memory.take(revealed((A,), original[None]))
        for _ in range(lag - 1):
            memory.take(revealed((A,), random_steps(generator)))
        noisy = original // 2 + generator.integers(-40, 41, original.size)
        (found,) = memory.take(revealed((B,), noisy[None]))
        assert found.copy == (lag <= MEMORY_ROUNDS), lag


def test_an_account_s_own_past_is_not_held_against_it_not_even_through_a_copy_by_another() -> None:
    generator = np.random.default_rng(2)
    original = random_steps(generator)[0]
    memory = Memory()
    memory.take(revealed((A,), original[None]))
    # B hides the copy behind as much noise again, so that it is no copy by the rule and enters the memory.
    disguised = original + random_steps(generator)[0]
    (found,) = memory.take(revealed((B,), disguised[None]))
    assert not found.copy and found.mostly_first
    again, stolen = memory.take(revealed((A, C), np.stack((original, original))))
    assert not again.copy
    assert np.array_equal(again.values, original)  # nothing in the memory that is not A's
    assert stolen.copy


def test_references_and_the_last_merges_are_public() -> None:
    generator = np.random.default_rng(3)
    reference, merged = random_steps(generator, 2)
    memory = Memory()
    zero = np.zeros(200, dtype=np.int16)
    memory.take(Revealed((A,), random_steps(generator), zero, merged.astype(np.int16), reference[:0].reshape(0, 200)))
    found = memory.take(revealed((B, C), np.stack((reference, merged)), reference[None]))
    assert [one.copy for one in found] == [True, True]


def test_a_mixture_of_five_public_vectors_is_a_copy() -> None:
    generator = np.random.default_rng(4)
    public = random_steps(generator, ATOMS)
    memory = Memory()
    memory.take(revealed((A,) * ATOMS, public))
    mixture = (public.sum(axis=0) * 3) // 5
    assert memory.take(revealed((B,), mixture[None]))[0].copy


def test_the_order_within_a_round_is_irrelevant() -> None:
    generator = np.random.default_rng(5)
    first, second = random_steps(generator, 3), random_steps(generator, 3)
    second[0] = first[1]
    results = []
    for order in ((0, 1, 2), (2, 0, 1)):
        memory = Memory()
        memory.take(revealed((A, B, C), first))
        found = memory.take(revealed(tuple((A, B, C)[i] for i in order), second[list(order)]))
        by_account = sorted(zip(order, (one.values.tobytes() for one in found), strict=True))
        results.append(by_account)
    assert results[0] == results[1]


@st.composite
def parts(draw: st.DrawFn) -> tuple[int, int, int, list[int], list[int]]:
    eligible = draw(st.integers(1, 2**38))
    count = draw(st.integers(1, 8))
    weights = [draw(st.integers(0, eligible // count)) for _ in range(count)]
    full = draw(st.integers(1, 2**15))
    return draw(st.integers(0, 2**90)), eligible, full, weights, [draw(st.integers(0, full)) for _ in weights]


@given(parts())
def test_a_round_never_pays_more_than_it_shares(case: tuple[int, int, int, list[int], list[int]]) -> None:
    shared, eligible, full, weights, counts = case
    assert sum(credit_share(shared, w, eligible, c, full) for w, c in zip(weights, counts, strict=True)) <= shared
    assert sum(gain_share(shared, w, eligible, c, True) for w, c in zip(weights, counts, strict=True)) <= shared // 2


def test_gain_pays_nobody_whose_update_is_not_merged_or_does_harm() -> None:
    assert gain_share(10**18, 10, 40, 2**15, True) == 10**18 // 8
    assert gain_share(10**18, 10, 40, 2**15, False) == 0
    assert gain_share(10**18, 10, 40, -5, True) == 0
    for weight, eligible, gain in ((11, 10, 1), (-1, 10, 1), (0, 0, 1), (1, 10, 2**15 + 1)):
        with pytest.raises(OutOfRange):
            gain_share(1, weight, eligible, gain, True)
    for credit in (-1, 11):
        with pytest.raises(OutOfRange):
            credit_share(1, 1, 10, credit, 10)


credits_14 = st.builds(Credit, *(st.integers(-(2**15) - 2**13, 2**15) for _ in range(3)))


@given(st.lists(credits_14, max_size=30), st.integers(1, 2**15))
def test_an_account_is_never_paid_more_than_its_due_nor_twice(history: list[Credit], full: int) -> None:
    account, paid, most_due = Account(), 0, 0
    for credit in history:
        account = account.credited(credit)
        most_due = max(most_due, account.due)
        now = account.payable(full)
        assert 0 <= now <= full
        paid += now
        account = account.after_pay(full)
        assert account.paid == paid <= most_due
        assert account.payable(full) == max(0, min(full, account.due - account.paid))
    direct = sum(credit.direct for credit in history)
    assert account.due <= max(0, direct)


def test_the_deposit_prices_a_new_account() -> None:
    small = Credit(DEPOSIT, 10_000, DEPOSIT)
    assert Account().credited(small).due == 0
    assert Account().credited(Credit(DEPOSIT + 10, 10_000, DEPOSIT + 20)).due == 30
    # renewed every round, an account pays the deposit every round; one that stays pays it once
    stays = Account()
    for _ in range(10):
        stays = stays.credited(small)
    assert stays.due == 3 * 9 * DEPOSIT


def test_harm_counts_five_quarters_and_gain_only_if_merged() -> None:
    network = IntegerNetwork((1, 2), (12, 12), 0)
    later = Examples(np.ones((5, 1), dtype=np.int16), np.zeros(5, dtype=np.int64))
    base = np.zeros(4, dtype=np.int16)
    steps = np.array([[0, 0, 400, -400], [0, 0, 400, -400], [0, 0, -400, 400], [0, 0, 0, 0]])
    residuals = [residual(one, steps[:0]) for one in steps]
    merged, refused, harm, empty = credits_of(network, base, base, steps, residuals, [True, False, False, True], later)
    assert merged.gain > 0 == refused.gain > harm.gain
    assert merged.direct == refused.direct == -harm.direct > 0
    assert (empty.gain, empty.direct, empty.novel) == (0, 0, 0)
    copies = [residual(one, steps[:1]) for one in steps[:3]]
    copied = credits_of(network, base, base, steps[:3], copies, [True] * 3, later)
    assert [one.gain for one in copied] == [0, 0, harm.gain]
    assert [one.direct for one in copied] == [0, 0, harm.direct]
    with pytest.raises(InvalidInput, match="there are none"):
        credits_of(network, base, base, steps, residuals, [True] * 4, later[:0])
