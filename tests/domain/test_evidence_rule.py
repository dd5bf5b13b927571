"""Rule `evidence`: golden vectors against an implementation of its own (evidence_reference), and the bounds that the code argues."""

from __future__ import annotations

import json
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from linklearner.domain.errors import InvalidInput, InvalidModel, OutOfRange
from linklearner.domain.rules.evidence import tables
from linklearner.domain.rules.evidence.loss import MAX_LOSS, cross_entropy
from linklearner.domain.rules.evidence.network import IntegerNetwork, quantise_inputs
from linklearner.domain.rules.evidence.verdicts import (
    MAX_GAIN,
    MAX_RECORD,
    Examples,
    Outcome,
    gain_of,
    judge,
    record_after,
    scale_of,
    steps_of,
)
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update
from tests.domain.evidence_reference import EXP, Perceptron, settle, steps
from tests.domain.strategies import updates
from tests.vectors.generate import HERE
from tools import loss_tables

CASES: list[dict[str, Any]] = json.loads((HERE / "evidence.json").read_text())


def network_of(case: dict[str, Any]) -> tuple[Shape, IntegerNetwork]:
    shape = Shape.decode(bytes.fromhex(case["shape"]))
    return shape, IntegerNetwork.of_shape(shape, case["input_exponent"])


def int16_of(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), "<i2").astype(np.int16)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_round_is_judged_as_the_vectors_say_by_both_implementations(number: int) -> None:
    case = CASES[number]
    shape, network = network_of(case)
    assert list(network.widths) == case["widths"]
    base, labels = int16_of(case["base"]), np.array(case["labels"])
    opened = Examples(int16_of(case["inputs"]).reshape(len(labels), -1), labels)
    sent = [Update.decode(bytes.fromhex(one["encoded"]), shape) for one in case["updates"]]
    records, stakes = [one["record"] for one in case["updates"]], [int(one["weight"]) for one in case["updates"]]
    vectors = np.stack([steps_of(update, shape) for update in sent])
    eligible, fresh = int(case["eligible"]), case["fresh"]
    found = judge(network, base, vectors, records, stakes, eligible, opened, fresh)

    other = Perceptron(network.widths, network.exponents, network.input_exponent)
    digits = [np.ldexp(update.delta(shape), 8).astype(int).tolist() for update in sent]
    again = settle(
        other,
        base.tolist(),
        [steps(fine, [-8] * len(fine), shape.norm_bound) for fine in digits],
        records,
        stakes,
        eligible,
        list(zip(opened.inputs.tolist(), labels.tolist(), strict=True)),
        fresh,
    )
    wanted = {key: [one[key] for one in case["updates"]] for key in ("gain", "record_after", "loss", "outcome")}
    assert [verdict.gain for verdict in found.verdicts] == wanted["gain"] == again.gains
    assert [verdict.record for verdict in found.verdicts] == wanted["record_after"] == again.records
    assert [verdict.loss for verdict in found.verdicts] == wanted["loss"] == again.losses
    assert [verdict.outcome.name for verdict in found.verdicts] == wanted["outcome"] == again.outcomes
    assert found.weights.tolist() == int16_of(case["weights"]).tolist() == again.weights
    assert found.saturated == case["saturated"] == again.saturated
    assert found.halvings == case["halvings"] == again.halvings
    assert found.loss == case["loss"] == again.loss
    assert opened.losses(network, base).tolist() == case["losses"]


def test_the_vectors_reach_every_outcome_and_every_step_size() -> None:
    outcomes = {update["outcome"] for case in CASES for update in case["updates"]}
    assert outcomes == {outcome.name for outcome in Outcome}
    assert {case["halvings"] for case in CASES} == {0, 1, 2, None}
    assert any(case["saturated"] for case in CASES)


def test_the_committed_tables_are_those_that_the_generator_writes() -> None:
    assert loss_tables.PYTHON.read_text() == loss_tables.python_text()
    assert loss_tables.ASPECT.read_text() == loss_tables.aspect_text()


def test_the_tables_are_what_floating_point_says_too() -> None:
    assert tables.EXP.tolist() == EXP
    indices = np.arange(tables.FIRST, tables.FIRST + tables.LN.size)
    assert np.array_equal(tables.LN, np.floor(4096 * np.log(indices / 1023.99)))
    assert tables.LN[-1] >= MAX_LOSS > tables.LN[-2]


@st.composite
def networks(draw: st.DrawFn) -> IntegerNetwork:
    widths = (*draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)), draw(st.integers(2, 5)))
    exponents = tuple(draw(st.integers(0, 24)) for _ in range(2 * (len(widths) - 1)))
    return IntegerNetwork(widths, exponents, draw(st.integers(0, 15)))


def int16s(*dimensions: int) -> st.SearchStrategy[np.ndarray]:
    ends = st.sampled_from([-(2**15), -1, 0, 1, 2**15 - 1])
    return hnp.arrays(np.int16, dimensions, elements=st.integers(-(2**15), 2**15 - 1) | ends)


@given(st.data())
def test_forward_pass_and_loss_are_those_of_python_integers(data: st.DataObject) -> None:
    network = data.draw(networks())
    other = Perceptron(network.widths, network.exponents, network.input_exponent)
    weights = data.draw(int16s(2, network.weight_count))
    inputs = data.draw(int16s(3, network.widths[0]))
    labels = np.array(data.draw(st.lists(st.integers(0, network.widths[-1] - 1), min_size=3, max_size=3)))
    logits = network.logits(weights, inputs)
    losses = Examples(inputs, labels).losses(network, weights)
    for flat, of_flat, lost in zip(weights.tolist(), logits.tolist(), losses.tolist(), strict=True):
        assert of_flat == [other.logits(flat, x) for x in inputs.tolist()]
        rows = zip(inputs.tolist(), labels.tolist(), strict=True)
        assert lost == [other.loss(flat, x, label) for x, label in rows]
    assert -4 <= losses.min() <= losses.max() <= MAX_LOSS


def test_the_widest_network_with_the_largest_numbers_is_exact() -> None:
    """2**12 inputs of 2**15 times weights of -2**15, shifted to the left by 12: the bound that the module argues, reached."""
    network = IntegerNetwork((4096, 2), (0, 24), 0)
    weights = np.full((network.weight_count,), -(2**15), dtype=np.int16)
    inputs = np.full((1, 4096), -(2**15), dtype=np.int16)
    assert network.logits(weights, inputs).tolist() == [[(2**42 << 12) - 8] * 2]
    assert cross_entropy(np.array([[-(2**54) - 2**27, 2**54 + 2**27]]), np.array([0])).tolist() == [MAX_LOSS]


@given(st.lists(st.integers(0, 2**20), min_size=2, max_size=80))
def test_many_labels_stay_inside_the_table(logits: list[int]) -> None:
    found = cross_entropy(np.array([logits * 60]), np.array([0]))
    assert -4 <= int(found[0]) <= MAX_LOSS


@given(st.integers(1, 2**62), st.integers(1, 2**31))
def test_a_scaled_update_is_no_longer_than_the_bound(norm: int, bound: int) -> None:
    scale = scale_of(norm, bound)
    assert 0 <= scale <= 256
    if norm <= bound * bound:
        assert scale == 256
    else:
        assert scale**2 * norm <= bound**2 << 16 < (scale + 1) ** 2 * norm


@given(st.lists(st.tuples(st.integers(-4, 2**31), st.integers(-4, 2**31)), max_size=40))
def test_records_stay_within_their_bound(losses: list[tuple[int, int]]) -> None:
    record = 0
    for base, trial in losses:
        gain = gain_of(base, trial, 1)
        assert abs(gain) <= MAX_GAIN
        record = record_after(record, gain)
        assert abs(record) <= MAX_RECORD
    for gain in (MAX_GAIN, -MAX_GAIN):
        record = 0
        for _ in range(200):
            record = record_after(record, gain)
        assert abs(record) <= MAX_RECORD and record_after(record, gain) == record


@st.composite
def judged_rounds(draw: st.DrawFn) -> tuple[Any, ...]:
    network = draw(networks())
    shape = Shape(
        tuple(Tensor(n, q) for n, q in zip(network.tensor_lengths, network.exponents, strict=True)),
        draw(st.integers(1, 4)) * 4,
        2**16,
        draw(st.integers(1, 2**31)),
    )
    sent = draw(st.lists(updates(shape), min_size=1, max_size=3))
    count = draw(st.integers(1, 4))
    labels = draw(st.lists(st.integers(0, network.widths[-1] - 1), min_size=count, max_size=count))
    opened = Examples(draw(int16s(count, network.widths[0])), np.array(labels))
    records = draw(st.lists(st.integers(-(2**18), 2**18), min_size=len(sent), max_size=len(sent)))
    eligible = draw(st.sampled_from([4, 1000, 2**38]))
    stakes = [draw(st.integers(0, eligible // len(sent))) for _ in sent]
    return (
        network,
        shape,
        draw(int16s(network.weight_count)),
        sent,
        records,
        stakes,
        eligible,
        opened,
        draw(st.integers(1, count)),
    )


@given(judged_rounds())
def test_rounds_are_judged_alike_whatever_the_order_and_by_python_integers(case: tuple[Any, ...]) -> None:
    network, shape, base, sent, records, stakes, eligible, opened, fresh = case
    vectors = [steps_of(update, shape) for update in sent]
    assert all(np.abs(vector).max(initial=0) <= 2**15 for vector in vectors)
    results = set()
    for order in permutations(range(len(sent))):
        found = judge(
            network,
            base,
            np.stack([vectors[i] for i in order]),
            [records[i] for i in order],
            [stakes[i] for i in order],
            eligible,
            opened,
            fresh,
        )
        by_update = dict(zip(order, found.verdicts, strict=True))
        results.add(
            (found.weights.tobytes(), found.saturated, found.halvings, *(by_update[i] for i in range(len(sent))))
        )
    assert len(results) == 1
    other = settle(
        Perceptron(network.widths, network.exponents, network.input_exponent),
        base.tolist(),
        [vector.tolist() for vector in vectors],
        records,
        stakes,
        eligible,
        list(zip(opened.inputs.tolist(), opened.labels.tolist(), strict=True)),
        fresh,
    )
    found = judge(network, base, np.stack(vectors), records, stakes, eligible, opened, fresh)
    assert found.weights.tolist() == other.weights
    assert [verdict.outcome.name for verdict in found.verdicts] == other.outcomes
    assert [verdict.gain for verdict in found.verdicts] == other.gains


def test_what_is_not_a_perceptron_is_refused() -> None:
    def shape(*lengths: int, exponent: int = 12) -> Shape:
        return Shape(tuple(Tensor(length, exponent) for length in lengths), 16, 1, 1)

    assert IntegerNetwork.of_shape(shape(12, 4, 12, 3), 4).widths == (3, 4, 3)
    for wrong in (
        shape(12),
        shape(12, 4, 12),
        shape(13, 4, 12, 3),
        shape(12, 4, 13, 3),
        shape(12, 4, 9, 3),
        shape(4, 1),
    ):
        with pytest.raises(InvalidModel):
            IntegerNetwork.of_shape(wrong, 4)
    with pytest.raises(InvalidModel, match=r"exponents in 0..24"):
        IntegerNetwork.of_shape(shape(12, 4, 12, 3, exponent=-1), 4)
    with pytest.raises(InvalidModel, match=r"0..15, not at 16"):
        IntegerNetwork.of_shape(shape(12, 4, 12, 3), 16)
    with pytest.raises(InvalidModel, match="at most 131072"):
        IntegerNetwork((4096, 32, 2), (12,) * 4, 0)
    network = IntegerNetwork((3, 4, 3), (12,) * 4, 4)
    assert sum(a * b + b for a, b in pairwise(network.widths)) == network.weight_count == 31


def test_a_round_that_cannot_be_judged_says_why() -> None:
    network = IntegerNetwork((3, 2), (12, 12), 4)
    base, none = np.zeros(8, dtype=np.int16), np.zeros((1, 8), dtype=np.int64)
    opened = Examples(np.zeros((2, 3), dtype=np.int16), np.array([0, 1]))
    with pytest.raises(InvalidInput, match="not 0 of 2"):
        judge(network, base, none, [0], [1], 4, opened, 0)
    with pytest.raises(InvalidInput, match="not 3 of 2"):
        judge(network, base, none, [0], [1], 4, opened, 3)
    with pytest.raises(OutOfRange, match="accepted stake 5"):
        judge(network, base, none, [0], [5], 4, opened, 1)
    with pytest.raises(OutOfRange, match="beyond what the rule can make"):
        judge(network, base, none + 2**15 + 1, [0], [1], 4, opened, 1)
    with pytest.raises(OutOfRange, match="beyond what the rule can make"):
        judge(network, base, none, [2**20], [1], 4, opened, 1)
    with pytest.raises(InvalidInput, match=r"labels lie in 0..1"):
        Examples(opened.inputs, np.array([0, 2])).losses(network, base)
    with pytest.raises(InvalidInput, match="an example has 3"):
        network.logits(base, np.zeros((1, 4), dtype=np.int16))
    with pytest.raises(InvalidInput, match="8 int16 weights"):
        network.logits(np.zeros(8), opened.inputs)


def test_samples_become_examples_by_rounding_away_from_zero() -> None:
    samples = np.array([[0.5, -0.5, 1.5, 3000.0, -3000.0, 15 / 16]])
    assert quantise_inputs(samples, 0).tolist() == [[1, -1, 2, 3000, -3000, 1]]
    assert quantise_inputs(samples, 4).tolist() == [[8, -8, 24, 32767, -32768, 15]]


def test_a_verdict_says_in_numbers_why_it_refuses() -> None:
    network = IntegerNetwork((1, 2), (12, 12), 0)
    opened = Examples(np.ones((5, 1), dtype=np.int16), np.zeros(5, dtype=np.int64))
    step = np.array([[0, 0, -50, 50]])
    found = judge(network, np.zeros(4, dtype=np.int16), step, [0], [4], 4, opened, 5).verdicts[0]
    assert found.text(5) == (
        "not merged (the account's record is not positive): 0.9 % worse on 5 examples opened afterwards; "
        "the account's record stands at -0.009"
    )
