"""Rule `evidence` in the Aspect's code gives what Python's does, bit for bit: the golden vectors, every logarithm, then properties."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.encodings import MIN_SHIFT
from linklearner.domain.errors import InvalidModel
from linklearner.domain.rules.evidence import tables
from linklearner.domain.rules.evidence.loss import cross_entropy
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import (
    Examples,
    Judgement,
    Outcome,
    Verdict,
    judge,
    scale_of,
    steps_of,
)
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update
from tests.aspects.pure import INPUT, OUTPUT, SECOND, Pure
from tests.domain.test_evidence_rule import int16s, judged_rounds, network_of, networks
from tests.vectors.generate import HERE

CASES = json.loads((HERE / "evidence.json").read_text())
BASE, RESULT, SUMS, EXAMPLES, BUFFERS, VERDICTS, STEPS = (INPUT + n * 0x40000 for n in range(7))


def shaped(shape: Shape, input_exponent: int) -> Pure:
    pure = Pure()
    encoded = shape.encode()
    assert pure.shaped(encoded)
    assert pure.call("readNetwork", OUTPUT, input_exponent)
    pure.call("useBuffers", BUFFERS)
    return pure


def put_examples(pure: Pure, examples: Examples) -> None:
    rows = zip(examples.inputs, examples.labels.tolist(), strict=True)
    pure.write(EXAMPLES, b"".join(x.astype("<i2").tobytes() + struct.pack("<H", y) for x, y in rows))
    assert pure.call("survey", EXAMPLES, len(examples))


def fine_of(update: Update, shape: Shape) -> np.ndarray:
    """d 2^(shift + 8), as the Aspect's sums of one update with an influence of 1."""
    fine = np.zeros(shape.weight_count, dtype=np.int64)
    for page, values in update.pages:
        start = page * shape.page_length
        for tensor, a, b in shape.segments(page):
            fine[a:b] = values[a - start : b - start].astype(np.int64) << update.shifts[tensor] - MIN_SHIFT
    return fine


def judged_by_the_aspect(
    shape: Shape,
    input_exponent: int,
    base: np.ndarray,
    updates: Sequence[Update],
    records: Sequence[int],
    weights: Sequence[int],
    eligible: int,
    opened: Examples,
    fresh: int,
) -> Judgement:
    pure = shaped(shape, input_exponent)
    count = shape.weight_count
    pure.write(BASE, base.astype("<i2").tobytes())
    put_examples(pure, opened)
    for index, (update, record, weight) in enumerate(zip(updates, records, weights, strict=True)):
        at = STEPS + index * (2 * count + 8 & ~7)
        pure.write(SECOND, fine_of(update, shape).astype("<i8").tobytes())
        scale = pure.call("scaleOf", update.squared_norm(shape), shape.norm_bound)
        moves = pure.call("wholeSteps", SECOND, count, scale, at)
        pure.write(VERDICTS + 40 * index, struct.pack("<QiiqIIII", weight, record, 0, 0, 9, at, int(moves), 0))
    pure.call("judge", BASE, RESULT, SUMS, count, VERDICTS, len(updates), eligible, EXAMPLES, len(opened), fresh)
    verdicts = []
    for index in range(len(updates)):
        _, record, gain, loss, outcome, _, _, _ = struct.unpack("<QiiqIIII", pure.read(VERDICTS + 40 * index, 40))
        name = ("MERGED", "EMPTY", "NO_RECORD", "NO_GAIN", "GUARDED")[outcome]
        verdicts.append(Verdict(gain, record, loss, Outcome[name]))
    halvings = pure.number("halvings")
    merged = halvings >= 0
    result = np.frombuffer(pure.read(RESULT, 2 * count), "<i2").astype(np.int16) if merged else base
    return Judgement(
        tuple(verdicts),
        result,
        pure.number("saturated"),
        halvings if merged else None,
        pure.number("baseLoss"),
        pure.number("loss"),
    )


def assert_alike(found: Judgement, wanted: Judgement) -> None:
    assert found.verdicts == wanted.verdicts
    assert found.weights.tolist() == wanted.weights.tolist()
    assert (found.saturated, found.halvings) == (wanted.saturated, wanted.halvings)
    assert (found.base_loss, found.loss) == (wanted.base_loss, wanted.loss)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_round_is_judged_as_the_vectors_say(number: int) -> None:
    case = CASES[number]
    shape, network = network_of(case)
    base = np.frombuffer(bytes.fromhex(case["base"]), "<i2").astype(np.int16)
    labels = np.array(case["labels"])
    inputs = np.frombuffer(bytes.fromhex(case["inputs"]), "<i2").astype(np.int16).reshape(len(labels), -1)
    updates = [Update.decode(bytes.fromhex(one["encoded"]), shape) for one in case["updates"]]
    found = judged_by_the_aspect(
        shape,
        network.input_exponent,
        base,
        updates,
        [one["record"] for one in case["updates"]],
        [int(one["weight"]) for one in case["updates"]],
        int(case["eligible"]),
        Examples(inputs, labels),
        case["fresh"],
    )
    wanted = [(one["gain"], one["record_after"], one["loss"], one["outcome"]) for one in case["updates"]]
    assert [(v.gain, v.record, v.loss, v.outcome.name) for v in found.verdicts] == wanted
    assert found.weights.astype("<i2").tobytes().hex() == case["weights"]
    assert (found.saturated, found.halvings, found.loss) == (case["saturated"], case["halvings"], case["loss"])


def test_every_logarithm_is_the_table_s() -> None:
    pure = Pure()
    found = [pure.call("logarithm", index) for index in range(tables.FIRST, tables.FIRST + tables.LN.size)]
    assert found == tables.LN.tolist()


@given(judged_rounds())
def test_any_round_is_judged_as_in_python(case: tuple) -> None:
    network, shape, base, updates, records, weights, eligible, opened, fresh = case
    steps = np.stack([steps_of(update, shape) for update in updates])
    wanted = judge(network, base, steps, records, weights, eligible, opened, fresh)
    found = judged_by_the_aspect(
        shape, network.input_exponent, base, updates, records, weights, eligible, opened, fresh
    )
    assert_alike(found, wanted)


@given(st.data())
def test_any_forward_pass_is_that_of_python(data: st.DataObject) -> None:
    network = data.draw(networks())
    tensors = tuple(Tensor(n, q) for n, q in zip(network.tensor_lengths, network.exponents, strict=True))
    pure = shaped(Shape(tensors, 16, 2**16, 1), network.input_exponent)
    weights, inputs = data.draw(int16s(network.weight_count)), data.draw(int16s(1, network.widths[0]))
    put_examples(pure, Examples(inputs, np.zeros(1, dtype=np.int64)))
    pure.write(BASE, weights.astype("<i2").tobytes())
    at = pure.call("logitsOf", BASE, EXAMPLES)
    logits = np.frombuffer(pure.read(at, 8 * network.widths[-1]), "<i8")
    assert logits.tolist() == network.logits(weights, inputs)[0].tolist()
    label = data.draw(st.integers(0, network.widths[-1] - 1))
    expected = int(cross_entropy(logits[None], np.array([label]))[0])
    assert pure.call("crossEntropy", at, network.widths[-1], label) == expected


@pytest.mark.parametrize("largest", [511, 512, 2**14, 2**15])
def test_sums_of_the_first_layer_are_exact_where_32_bits_end(largest: int) -> None:
    """64 inputs of `largest` times weights of -2**15: 511 is the last that may be summed up in 32 bits."""
    network = IntegerNetwork((64, 2), (12, 12), 15)
    pure = shaped(Shape((Tensor(128, 12), Tensor(2, 12)), 16, 16, 1), 15)
    weights = np.full(network.weight_count, -(2**15), dtype=np.int16)
    weights[64:128] = 2**15 - 1
    inputs = np.full((1, 64), -largest, dtype=np.int16)
    put_examples(pure, Examples(inputs, np.zeros(1, dtype=np.int64)))
    pure.write(BASE, weights.astype("<i2").tobytes())
    logits = np.frombuffer(pure.read(pure.call("logitsOf", BASE, EXAMPLES), 16), "<i8")
    assert logits.tolist() == network.logits(weights, inputs)[0].tolist()


@given(st.integers(1, 2**62), st.integers(1, 2**31))
def test_scales_are_those_of_python(norm: int, bound: int) -> None:
    assert Pure().call("scaleOf", norm, bound) == scale_of(norm, bound)


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@given(lengths, st.integers(-8, 24), st.integers(0, 20))
def test_the_same_shapes_are_perceptrons(tensors: list[int], exponent: int, input_exponent: int) -> None:
    shape = Shape(tuple(Tensor(length, exponent) for length in tensors), 16, 1, 1)
    pure = Pure()
    assert pure.shaped(shape.encode())
    try:
        IntegerNetwork.of_shape(shape, input_exponent)
        expected = True
    except InvalidModel:
        expected = False
    assert bool(pure.call("readNetwork", OUTPUT, input_exponent)) == expected


def test_perceptrons_at_the_limits() -> None:
    for widths, expected in (
        ((4096, 2), True),
        ((4097, 2), False),
        ((2, 4096, 2), True),
        ((2, 4097, 2), False),
        ((511, 250, 2), True),
        ((4096, 32, 2), False),
        ((2,) * 9, True),
        ((2,) * 10, False),
        ((2, 1), False),
    ):
        sizes = tuple(n for a, b in pairwise(widths) for n in (a * b, b))
        pure = Pure()
        assert pure.shaped(Shape(tuple(Tensor(n, 12) for n in sizes), 16384, 1, 1).encode())
        assert bool(pure.call("readNetwork", OUTPUT, 4)) == expected, widths


def test_a_label_that_is_none_is_noticed() -> None:
    pure = shaped(Shape((Tensor(6, 12), Tensor(2, 12)), 16, 1, 1), 4)
    pure.write(EXAMPLES, struct.pack("<hhhH", 1, 2, 3, 2))
    assert not pure.call("survey", EXAMPLES, 1)
