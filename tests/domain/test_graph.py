"""Graphs: what fits together, what is refused before anything is allocated, and the reference implementations by their definitions."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linklearner.domain.digits import DIGITS, DIGITS_CNN
from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.graph import MAX_NODES, Constant, Datatype, Graph, Node, Signature, TensorSpec
from linklearner.domain.operators import OPERATORS
from tests.any_model import specs


def test_the_cnn_has_1898_weights_in_six_tensors_and_an_input_of_rank_four() -> None:
    assert [(one.name, one.dimensions) for one in DIGITS_CNN.tensors()] == [
        ("K1", (8, 1, 3, 3)),
        ("b1", (8,)),
        ("K2", (16, 8, 3, 3)),
        ("b2", (16,)),
        ("W", (10, 64)),
        ("b", (10,)),
    ]
    assert DIGITS_CNN.weight_count == 1898
    assert DIGITS_CNN.input.shape == (-1, 1, 8, 8) and DIGITS_CNN.input.range == (0, 16)
    assert DIGITS_CNN.graph.dimensions["pool2"] == (-1, 16, 2, 2)
    assert DIGITS_CNN.graph.widest == 8 * 8 * 8
    assert str(DIGITS_CNN.input) == "1x8x8 numbers from 0 to 16, called pixels"
    assert str(DIGITS.input) == "64 numbers from 0 to 16, called pixels"
    assert str(DIGITS.architecture) == "MLP 64-32-10"


def test_a_convolution_is_the_sum_over_its_window_and_pooling_the_greatest_in_it() -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(-3, 4, (2, 3, 5, 4)).astype(np.float32)
    kernel, bias = generator.integers(-3, 4, (2, 3, 3, 1)).astype(np.float32), np.array([1, -2], np.float32)
    attributes = {"kernel_shape": (3, 1), "pads": (1, 0, 1, 0), "strides": (2, 1)}
    found = OPERATORS["Conv"].compute([x, kernel, bias], attributes)
    assert found.shape == (2, 2, 3, 4)
    assert (-1, *found.shape[1:]) == OPERATORS["Conv"].infer([(-1, 3, 5, 4), kernel.shape, bias.shape], attributes)
    for n, o, row, column in product(range(2), range(2), range(3), range(4)):
        expected = bias[o]
        for channel, down in product(range(3), range(3)):
            if 0 <= 2 * row + down - 1 < 5:
                expected += x[n, channel, 2 * row + down - 1, column] * kernel[o, channel, down, 0]
        assert found[n, o, row, column] == expected
    pooled = OPERATORS["MaxPool"].compute([x], {"kernel_shape": (2, 2), "strides": (2, 2)})
    assert pooled.shape == (2, 3, 2, 2)
    assert pooled[1, 2, 1, 0] == x[1, 2, 2:4, 0:2].max()


@settings(max_examples=50, deadline=None)
@given(specs(), st.integers(0, 2**32))
def test_every_value_has_the_dimensions_that_were_inferred(spec, seed: int) -> None:
    graph = replace(spec.graph)
    inputs = np.random.default_rng(seed).uniform(0, 1, (3, *spec.input.dimensions)).astype(np.float32)
    watched = Graph(
        graph.inputs,
        tuple(
            Signature(name, Datatype.FP32, shape[1:]) for name, shape in graph.dimensions.items() if shape[:1] == (-1,)
        ),
        graph.parameters,
        graph.constants,
        graph.nodes,
    )
    for name, values in watched.run(spec.initial(seed), {"x": inputs}).items():
        assert values.shape == (3, *graph.dimensions[name][1:]) and values.dtype == np.float32


X = Signature("x", Datatype.FP32, (4,))
Y = Signature("y", Datatype.FP32, (2,))
W, B = TensorSpec("W", (2, 4)), TensorSpec("b", (2,))
GEMM = Node("Gemm", "gemm", ("x", "W", "b"), "y", {"transB": 1})
LINEAR = Graph((X,), (Y,), (W, B), (), (GEMM,))
IMAGE = Signature("x", Datatype.FP32, (1, 4, 4))


def conv(**changes: tuple[int, ...]) -> Graph:
    attributes = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "strides": (1, 1)} | changes
    kernel = TensorSpec("W", (2, 1, *attributes["kernel_shape"]))
    node = Node("Conv", "conv", ("x", "W", "b"), "y", attributes)
    return Graph((IMAGE,), (Signature("y", Datatype.FP32, (2, 4, 4)),), (kernel, B), (), (node,))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: replace(LINEAR, nodes=(replace(GEMM, operator="Einsum"),)), "operator 'Einsum' is unknown"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, inputs=("x", "W", "c")),)), "which nothing before it gives"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, inputs=("y", "W", "b")),)), "which nothing before it gives"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, inputs=("x", "W")),)), "Gemm cannot take"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, attributes={}),)), "transB 1"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, attributes={"transB": 1, "alpha": 2}),)), "transB 1"),
        (lambda: replace(LINEAR, nodes=(GEMM, GEMM)), "cannot be named 'y'"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, output=""),)), "has a name"),
        (lambda: replace(LINEAR, nodes=(GEMM,) * (MAX_NODES + 1)), "at most 4096 nodes"),
        (lambda: replace(LINEAR, parameters=(W, W)), "cannot be named 'W'"),
        (lambda: replace(LINEAR, parameters=(TensorSpec("W", (2, 5)), B)), "Gemm cannot take"),
        (lambda: replace(LINEAR, parameters=(W, B, TensorSpec("huge", (2**62, 2**62)))), "'huge' has 1 to"),
        (lambda: replace(LINEAR, parameters=(W, B, TensorSpec("none", (0,)))), "'none' has 1 to"),
        (lambda: replace(LINEAR, parameters=(W, B, TensorSpec("less", (-1, -4)))), "'less' has 1 to"),
        (lambda: replace(LINEAR, inputs=(replace(X, name="b"),)), "an input cannot be named 'b'"),
        (lambda: replace(LINEAR, inputs=(replace(X, name="y"),)), "an input cannot be named 'y'"),
        (lambda: replace(LINEAR, inputs=(replace(X, dimensions=(2**62,)),)), "'x' has 1 to"),
        (lambda: replace(LINEAR, outputs=(replace(Y, dimensions=(3,)),)), "output 'y' is"),
        (lambda: replace(LINEAR, outputs=(replace(Y, name="z"),)), "output 'z' is"),
        (lambda: replace(LINEAR, outputs=(Signature("W", Datatype.FP32, (4,)),)), "output 'W' is"),
        (lambda: conv(strides=(0, 1)), "strides is two numbers from 1"),
        (lambda: conv(strides=(1,)), "strides is two numbers from 1"),
        (lambda: conv(pads=(1, 1, 0, 0)), "pads are two numbers"),
        (lambda: conv(pads=(-1, -1, -1, -1)), "pads are two numbers"),
        (lambda: conv(kernel_shape=(9, 9)), "Conv cannot take"),
        (lambda: conv(dilations=(2, 2)), "the attributes are"),
        (lambda: conv(pads=(2**14,) * 4), "reads at most"),
    ],
)
def test_a_graph_that_does_not_fit_together_is_refused(make, why: str) -> None:
    conv()
    with pytest.raises(InvalidModel, match=why):
        make()


def test_inputs_that_are_not_the_signatures_are_refused() -> None:
    weights, x = np.zeros(10, np.float32), np.zeros((3, 4), np.float32)
    assert LINEAR.run(weights, {"x": x})["y"].shape == (3, 2)
    for inputs in ({}, {"z": x}, {"x": x, "z": x}, {"x": x[:, :3]}, {"x": x[0]}, {"x": x[0, 0]}):
        with pytest.raises(InvalidInput, match="input"):
            LINEAR.run(weights, inputs)
    with pytest.raises(InvalidInput, match="10 weights"):
        LINEAR.run(weights[1:], {"x": x})


def test_the_digest_is_of_everything_that_the_graph_says() -> None:
    scaled = Graph(
        (X,),
        (Y,),
        (W, B),
        (Constant("s", (), (0.5,)),),
        (Node("Mul", "m", ("x", "s"), "z"), replace(GEMM, inputs=("z", "W", "b"))),
    )
    others = [
        LINEAR,
        replace(LINEAR, inputs=(replace(X, name="X"),), nodes=(replace(GEMM, inputs=("X", "W", "b")),)),
        replace(LINEAR, nodes=(replace(GEMM, name="g"),)),
        replace(LINEAR, parameters=(B, W)),
        scaled,
        replace(scaled, constants=(Constant("s", (), (0.25,)),)),
        DIGITS.graph,
        DIGITS_CNN.graph,
    ]
    assert len({graph.digest for graph in others}) == len(others)
    assert replace(LINEAR, inputs=(replace(X, range=(0, 1)),)).digest == LINEAR.digest  # advice, which computes nothing
    assert DIGITS.graph.digest.hex() == "821a928bac351150cf62178e89a54ad82cb3061eeb81a7643032014da8c2a235"
