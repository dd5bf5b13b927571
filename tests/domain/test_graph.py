"""Graphs: what fits together, and what is refused before anything is allocated."""

import itertools
from dataclasses import replace

import pytest

from linklearner.domain.digits import DIGITS, DIGITS_CNN
from linklearner.domain.errors import InvalidModel
from linklearner.domain.graph import MAX_COMPUTED_BYTES, MAX_NODES, Constant, Graph, Node, Signature, TensorSpec
from linklearner.domain.operators import Datatype, Value


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
    (pixels,) = DIGITS_CNN.inputs
    assert pixels.shape == (-1, 1, 8, 8) and pixels.range == (0, 16)
    assert DIGITS_CNN.graph.values["pool2"] == Value(Datatype.FP32, (-1, 16, 2, 2))
    assert DIGITS_CNN.graph.widest == 8 * 8 * 8
    assert str(pixels) == "1x8x8 numbers from 0 to 16, called pixels"
    assert str(DIGITS.inputs[0]) == "64 numbers from 0 to 16, called pixels"
    assert str(DIGITS.graph) == "Mul, Gemm 32, Relu, Gemm 10"


X = Signature("x", Datatype.FP32, (4,))
Y = Signature("y", Datatype.FP32, (2,))
W, B = TensorSpec("W", (2, 4)), TensorSpec("b", (2,))
GEMM = Node("Gemm", ("x", "W", "b"), "y", {"transB": 1})
LINEAR = Graph((X,), (Y,), (W, B), (), (GEMM,))
IMAGE = Signature("x", Datatype.FP32, (1, 4, 4))


def conv(**changes: tuple[int, ...]) -> Graph:
    attributes = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "strides": (1, 1)} | changes
    kernel = TensorSpec("W", (2, 1, *attributes["kernel_shape"]))
    node = Node("Conv", ("x", "W", "b"), "y", attributes)
    return Graph((IMAGE,), (Signature("y", Datatype.FP32, (2, 4, 4)),), (kernel, B), (), (node,))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: replace(LINEAR, nodes=(replace(GEMM, operator="Einsum"),)), "operator 'Einsum' is unknown"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, inputs=("x", "W", "c")),)), "which nothing before it gives"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, inputs=("y", "W", "b")),)), "which nothing before it gives"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, inputs=("x",)),)), "Gemm cannot take"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, inputs=("x", "W", "W")),)), "the offset is a row"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, attributes={}),)), "the matrices do not fit"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, attributes={"transB": 1, "alpha": 2.0}),)), "alpha = beta = 1"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, attributes={"transB": 1, "alpha": 2}),)), "alpha is a float"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, attributes={"transB": 1, "gamma": 2}),)), "no attribute 'gamma'"),
        (lambda: replace(LINEAR, nodes=(GEMM, GEMM)), "cannot be named 'y'"),
        (lambda: replace(LINEAR, nodes=(replace(GEMM, output=""),)), "has a name"),
        (lambda: replace(LINEAR, nodes=(GEMM,) * (MAX_NODES + 1)), "at most 4096 nodes"),
        (lambda: replace(LINEAR, parameters=(W, W)), "cannot be named 'W'"),
        (lambda: replace(LINEAR, parameters=(TensorSpec("W", (2, 5)), B)), "Gemm cannot take"),
        (lambda: replace(LINEAR, parameters=(W, B, TensorSpec("huge", (2**62, 2**62)))), "'huge' has 1 to"),
        (lambda: replace(LINEAR, parameters=(W, B, TensorSpec("none", (0,)))), "'none' has dimensions from 1"),
        (lambda: replace(LINEAR, parameters=(W, B, TensorSpec("less", (-1, -4)))), "'less' has dimensions from 1"),
        (lambda: replace(LINEAR, inputs=(replace(X, name="b"),)), "an input cannot be named 'b'"),
        (lambda: replace(LINEAR, inputs=(replace(X, name="y"),)), "an input cannot be named 'y'"),
        (lambda: replace(LINEAR, inputs=(replace(X, dimensions=(2**62,)),)), "'x' has 1 to"),
        (lambda: replace(LINEAR, outputs=(replace(Y, dimensions=(3,)),)), "output 'y' is"),
        (lambda: replace(LINEAR, outputs=(replace(Y, name="z"),)), "output 'z' is"),
        (lambda: replace(LINEAR, outputs=(Signature("W", Datatype.FP32, (4,)),)), "output 'W' is"),
        (lambda: conv(strides=(0, 1)), "strides is 2 numbers from 1"),
        (lambda: conv(strides=(1,)), "strides is 2 numbers from 1"),
        (lambda: conv(pads=(1, 1, 0)), "pads is 4 numbers from 0"),
        (lambda: conv(pads=(-1, -1, -1, -1)), "pads is 4 numbers from 0"),
        (lambda: conv(kernel_shape=(9, 9)), "Conv cannot take"),
        (lambda: conv(dilations=(2, 0)), "dilations is 2 numbers from 1"),
        (lambda: conv(pads=(2**14,) * 4), "reads at most"),
    ],
)
def test_a_graph_that_does_not_fit_together_is_refused(make, why: str) -> None:
    conv()
    with pytest.raises(InvalidModel, match=why):
        make()


def test_the_digest_is_of_everything_that_the_graph_says() -> None:
    scaled = Graph(
        (X,),
        (Y,),
        (W, B),
        (Constant("s", (), (0.5,)),),
        (Node("Mul", ("x", "s"), "z"), replace(GEMM, inputs=("z", "W", "b"))),
    )
    others = [
        LINEAR,
        replace(LINEAR, inputs=(replace(X, name="X"),), nodes=(replace(GEMM, inputs=("X", "W", "b")),)),
        replace(LINEAR, parameters=(B, W)),
        scaled,
        replace(scaled, constants=(Constant("s", (), (0.25,)),)),
        DIGITS.graph,
        DIGITS_CNN.graph,
    ]
    assert len({graph.digest for graph in others}) == len(others)
    assert replace(LINEAR, inputs=(replace(X, range=(0.0, 1.0)),)).digest != LINEAR.digest
    assert DIGITS.graph.digest.hex() == "4debc53a8a597b50696d9c88171eab3e9269c6ede3d75491bc0deb21c3428431"


def doubled(times: int, length: int, *, kept: bool = False) -> Graph:
    """A vector that is doubled so many times; kept: all of them are needed at the end."""
    names = ["x", *(f"v{place}" for place in range(times))]
    nodes = [Node("Add", (before, before), name) for before, name in itertools.pairwise(names)]
    ends = names[-1:]
    if kept:
        nodes.append(Node("Concat", tuple(names[-64:]), "joined", {"axis": 1}))
        ends = ["joined"]
    total = length * (min(64, len(names)) if kept else 1)
    nodes.append(Node("Gemm", (ends[0], "W", "b"), "y", {"transB": 1}))
    x = Signature("x", Datatype.FP32, (length,))
    return Graph((x,), (Y,), (TensorSpec("W", (2, total)), B), (), tuple(nodes))


def test_all_that_is_computed_for_a_sample_is_bounded_before_anything_is_allocated() -> None:
    """Each of the values is as long as one may be; only their number says what they take together."""
    length = 2**23
    most = MAX_COMPUTED_BYTES // (4 * length)
    graph = doubled(most - 2, length)
    assert graph.computed_bytes == (most - 1) * 4 * length + 8 <= MAX_COMPUTED_BYTES
    with pytest.raises(InvalidModel, match="all that a graph computes for one sample has"):
        doubled(MAX_NODES - 1, length)
    with pytest.raises(InvalidModel, match="all that a graph computes"):
        doubled(most, length)


def test_what_depends_on_no_sample_counts_too() -> None:
    row, column = TensorSpec("r", (1, 2**13)), TensorSpec("c", (2**13, 1))
    nodes = [Node("Mul", ("r", "c"), f"m{place}") for place in range(8)]
    with pytest.raises(InvalidModel, match="all that a graph computes"):
        replace(LINEAR, parameters=(*LINEAR.parameters, row, column), nodes=(GEMM, *nodes))


def test_the_peak_is_of_what_is_needed_at_once() -> None:
    assert doubled(100, 1000).peak_bytes == 2 * 4000
    joined = doubled(62, 1000, kept=True)
    assert joined.peak_bytes == 2 * 63 * 4000
    assert joined.computed_bytes == 2 * 63 * 4000 + 8
    unread = replace(LINEAR, nodes=(Node("Neg", ("x",), "n"), GEMM))
    assert (unread.computed_bytes, unread.peak_bytes) == (16 + 16 + 8, 16 + 16)
    assert DIGITS_CNN.graph.peak_bytes < DIGITS_CNN.graph.computed_bytes


def test_work_is_counted_before_anything_is_computed() -> None:
    assert DIGITS.graph.work == 64 + 64 * 32 + 32 + 32 * 10
    convolved = conv()
    assert convolved.work == 2 * 4 * 4 * 9
    assert LINEAR.work == 8


def test_hours_of_one_sample_are_refused() -> None:
    """Each value is small enough, and so is their sum: what takes the time is between them."""
    side = 2**12
    window = {"kernel_shape": (side // 2, side // 2), "strides": (1, 1)}
    pooled = [Node("MaxPool", ("x",), "p", window), Node("GlobalMaxPool", ("p",), "q"), Node("Flatten", ("q",), "f")]
    pooled.append(Node("Gemm", ("f", "W", "b"), "y", {"transB": 1}))
    with pytest.raises(InvalidModel, match="multiply-adds for one sample at most, not 17,"):
        Graph((Signature("x", Datatype.FP32, (1, side, side)),), (Y,), (TensorSpec("W", (2, 1)), B), (), tuple(pooled))
    square = TensorSpec("S", (side, side))
    powers = [Node("MatMul", ("S" if not place else f"m{place}", "S"), f"m{place + 1}") for place in range(2)]
    with pytest.raises(InvalidModel, match="multiply-adds for one sample at most"):
        replace(LINEAR, parameters=(*LINEAR.parameters, square), nodes=(GEMM, *powers))
