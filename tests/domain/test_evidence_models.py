"""Which models rule `evidence` can judge, how their inputs are written, and what a block holds of the judging."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from linklearner.domain import terms
from linklearner.domain.capacity import GAS, judging_gas, most_examples, most_judged
from linklearner.domain.classifier import classifier
from linklearner.domain.digits import DIGITS, DIGITS_CNN, SHAPE
from linklearner.domain.errors import InvalidConfig, InvalidInput, InvalidModel, OutOfRange
from linklearner.domain.graph import Constant, Graph, Node
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import Loss, ModelSpec
from linklearner.domain.plan import USUAL_TERMS, TaskPlan
from linklearner.domain.rounds import RULE_EVIDENCE, Terms
from linklearner.domain.rules.evidence.batches import encode_batch
from linklearner.domain.rules.evidence.network import MAX_INPUT_EXPONENT
from linklearner.domain.rules.evidence.perceptron import Perceptron, input_exponent, quantised
from linklearner.domain.rules.evidence.sets import ExampleBatches
from linklearner.domain.rules.evidence.verdicts import Examples


def test_our_own_perceptrons_are_judged_and_their_scaling_is_understood() -> None:
    assert Perceptron.of(DIGITS) == Perceptron((64, 32, 10), 1 / 16)
    assert Perceptron.of(classifier("flat", Mlp((3, 2)), ("a", "b"))) == Perceptron((3, 2), 1.0)
    pixels = np.array([[0, 8, 16.0]], dtype=np.float32)
    assert Perceptron((3, 2), 1 / 16).scaled(pixels).tolist() == [[0, 0.5, 1]]


def changed(**fields: Any) -> ModelSpec:
    return replace(DIGITS, graph=replace(DIGITS.graph, **fields))


NODES = DIGITS.graph.nodes
FIRST, RELU, LAST = (next(n for n in NODES if n.output == name) for name in ("layer1", "relu1", "logits"))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (DIGITS_CNN, "is none of its operators here"),
        (replace(DIGITS, loss=Loss.BINARY_CROSS_ENTROPY), "classifies one input"),
        (changed(nodes=(*NODES[:-1], Node("Gemm", LAST.inputs, "z", LAST.attributes), Node("Relu", ("z",), "logits"))), "Relu"),
        (changed(nodes=tuple(Node("Sigmoid", n.inputs, n.output) if n is RELU else n for n in NODES)), "Sigmoid"),
        (changed(nodes=(*NODES[:2], Node("Tanh", ("layer1",), "side"), *NODES[2:])), "Tanh|the one before it"),
        (changed(parameters=(*DIGITS.graph.parameters[2:], *DIGITS.graph.parameters[:2])), "in the order of the flat vector"),
        (changed(constants=(Constant("input_scale", (64,), (0.5,) * 64),)), "one constant number"),
    ],
)  # fmt: skip
def test_other_models_are_refused_with_a_reason(spec: ModelSpec, why: str) -> None:
    with pytest.raises(InvalidModel, match=why) as raised:
        Perceptron.of(spec)
    assert raised.value.reason == "NotAPerceptron"


def test_two_layers_without_a_relu_between_them_are_refused() -> None:
    graph: Graph = DIGITS.graph
    nodes = tuple(
        Node(n.operator, ("layer1", *n.inputs[1:]), n.output, n.attributes) if n is LAST else n
        for n in NODES
        if n is not RELU
    )
    with pytest.raises(InvalidModel, match="one Relu between two layers"):
        Perceptron.of(replace(DIGITS, graph=replace(graph, nodes=nodes)))


def test_pixels_are_written_exactly_and_as_coarsely_as_that_allows() -> None:
    assert input_exponent(np.arange(17.0)[None] / 16) == 4
    assert input_exponent(np.array([[1.0, 2.0]])) == 0 or input_exponent(np.array([[64.0, 128.0]])) == 0
    assert input_exponent(np.array([[1000.0, 32767.0]])) == 0


@pytest.mark.parametrize(
    ("values", "reason"),
    [([[32768.0]], "InputsTooLarge"), ([[1e30]], "InputsTooLarge"), ([[1e-3]], "InputsTooSmall"), ([[0.0]], ""), ([[np.nan]], "")],
)  # fmt: skip
def test_inputs_that_int16_cannot_hold_are_refused_with_what_to_do(values: list[list[float]], reason: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        input_exponent(np.array(values))
    assert not reason or (raised.value.reason == reason and "Mul" in raised.value.message)


@given(arrays.arrays(np.float64, (3, 4), elements=st.floats(-1e4, 1e4)))
def test_no_example_saturates_and_none_is_coarser_than_it_has_to_be(scaled: np.ndarray) -> None:
    try:
        exponent = input_exponent(scaled)
    except InvalidInput:
        return
    assert 0 <= exponent <= MAX_INPUT_EXPONENT
    whole = quantised(scaled, exponent)
    assert np.abs(np.ldexp(whole.astype(np.float64), -exponent) - scaled).max() <= 2.0**-exponent / 2


def a_set(count: int, labels: int = 10) -> ExampleBatches:
    inputs = np.ones((count, 64), dtype=np.int16)
    examples = Examples(inputs, np.arange(count, dtype=np.int64) % labels)
    return ExampleBatches(4, 64, tuple(encode_batch(examples[n : n + 1]) for n in range(count)))


@given(st.integers(1, 20), st.integers(0, 15))
def test_a_set_is_read_back_as_it_was_written(count: int, exponent: int) -> None:
    one = replace(a_set(count), input_exponent=exponent)
    assert ExampleBatches.decode(one.encode()) == one
    assert one.count == count and len(one.root) == 32


@given(st.data())
def test_bytes_that_are_no_set_are_refused(data: st.DataObject) -> None:
    good = a_set(3).encode()
    at = data.draw(st.integers(0, len(good) - 1))
    for bad in (good[:at], good + data.draw(st.binary(min_size=1, max_size=3))):
        with pytest.raises(InvalidInput):
            ExampleBatches.decode(bad)
    with pytest.raises(InvalidInput):
        ExampleBatches.decode(data.draw(st.binary(max_size=60)))


TERMS = Terms(**USUAL_TERMS, rule=RULE_EVIDENCE)


def test_what_a_block_holds_is_the_largest_that_it_holds() -> None:
    for updates in (1, 5, 10, 40):
        most = most_examples(updates, SHAPE)
        assert judging_gas(updates, SHAPE, most) <= GAS < judging_gas(updates, SHAPE, most + 1)
    most = most_judged(SHAPE, 100)
    assert judging_gas(most, SHAPE, 100) <= GAS < judging_gas(most + 1, SHAPE, 100)


def test_terms_and_examples_belong_together() -> None:
    few = replace(TERMS, max_updates=10)
    terms.check_examples(few, SHAPE, a_set(20))
    with pytest.raises(InvalidInput, match="task create"):
        terms.check_examples(few, SHAPE, None)
    with pytest.raises(InvalidInput, match="by rule evidence"):
        terms.check_examples(replace(few, rule=1), SHAPE, a_set(20))
    with pytest.raises(
        OutOfRange, match=r"to judge 64 updates of 2,410 weights by 100 examples takes up to [\d,]+ gas"
    ):
        terms.check_examples(TERMS, SHAPE, a_set(100))
    with pytest.raises(InvalidInput, match="in one settlement group; this one has 2"):
        terms.check_examples(few, replace(SHAPE, group_pages=1), a_set(20))
    with pytest.raises(InvalidInput, match="the model has 64 inputs"):
        terms.check_examples(few, SHAPE, ExampleBatches(4, 1, (bytes(4),)))
    bad = a_set(20, labels=11)
    with pytest.raises(InvalidInput, match="labels lie in"):
        terms.check_examples(few, SHAPE, bad)


def test_a_plan_names_its_rule_and_its_examples() -> None:
    def plan(text: str, examples: ExampleBatches | None = None) -> TaskPlan:
        return TaskPlan.from_json(text, None, None if examples is None else lambda name: examples)

    found = plan('{"examples": "x.examples", "terms": {"rule": "evidence"}}', a_set(50))
    assert (found.terms.rule, found.examples) == (RULE_EVIDENCE, a_set(50))
    assert found.terms.max_updates == 64  # of the 70 that a block could judge
    assert plan('{"examples": "x.examples", "terms": {"rule": 2}}', a_set(100)).terms.max_updates == most_judged(
        SHAPE, 100
    )
    for text, why in (
        ('{"terms": {"rule": "evidence"}}', "examples that judge"),
        ('{"terms": {"rule": "median"}}', "must be mean or evidence, got 'median'"),
        ('{"examples": "x.examples"}', "by rule evidence"),
        ('{"examples": 3, "terms": {"rule": "evidence"}}', "is the name of an .examples file"),
    ):
        with pytest.raises(InvalidConfig, match=why):
            plan(text, a_set(5))
    cnn = replace(TaskPlan.from_json('{"terms": {}}'), model=DIGITS_CNN)
    text = '{"model": ' + cnn.model.to_json() + ', "examples": "x.examples", "terms": {"rule": "evidence"}}'
    with pytest.raises(InvalidConfig, match="judges perceptrons"):
        plan(text, a_set(5))
