"""Every operator that a graph may use: torch computes what onnxruntime computes, in the dimensions that were inferred, and its gradient is
that of finite differences."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.graph import Constant, Frozen, Graph, Node, Signature, TensorSpec
from linklearner.domain.model import Loss, ModelSpec
from linklearner.domain.operators import OPERATORS, Attributes, Datatype, Dimensions, Value, infer
from linklearner.onnx_graph import onnx_model
from services.trainer import network
from services.trainer.network import EXECUTE, Network

F, I64, BOOL = Datatype.FP32, Datatype.INT64, Datatype.BOOL


@dataclass(frozen=True)
class Case:
    """One node. x: dimensions of one sample of its first input; w: of a trained tensor, its second; more: constants after those."""

    operator: str
    x: Dimensions
    attributes: Attributes = field(default_factory=dict)
    w: Dimensions | None = None
    more: tuple[Any, ...] = ()
    positive: bool = False

    def __str__(self) -> str:
        return f"{self.operator}-{'x'.join(map(str, self.x))}-{dict(self.attributes)}"

    def graph(self) -> Graph:
        """The node on x + 0 * t, so that there is always something to train, then summed with nothing else."""
        parameters = [TensorSpec("t", self.x)]
        names = ["shifted"]
        if self.w is not None:
            parameters.append(TensorSpec("w", self.w))
            names.append("w")
        constants = []
        for place, value in enumerate(self.more):
            constants.append(
                Constant.of(
                    f"c{place}",
                    np.asarray(value, np.float32 if _real(value) else np.int64),
                )
            )
            names.append(f"c{place}")
        nodes = (Node("Add", ("x", "t"), "shifted"), Node(self.operator, tuple(names), "y", self.attributes))
        found = infer(
            self.operator,
            [Value(F, (-1, *self.x)), *([] if self.w is None else [Value(F, self.w)])]
            + [Value(c.datatype, c.dimensions, c.values) for c in constants],
            self.attributes,
        )
        place = found.dimensions.index(-1)
        output = Signature("y", found.datatype, found.dimensions[1:])
        if place:
            order = (place, *(i for i in range(len(found.dimensions)) if i != place))
            nodes = (*nodes, Node("Transpose", ("y",), "z", {"perm": order}))
            output = Signature("z", found.datatype, tuple(found.dimensions[i] for i in order[1:]))
        return Graph((Signature("x", F, self.x),), (output,), tuple(parameters), tuple(constants), nodes)


def _real(value: Any) -> bool:
    return any(isinstance(one, float) for one in (value if isinstance(value, list) else [value]))


CASES = [
    Case("Add", (3, 4), w=(4,)),
    Case("Sub", (3, 4), w=(3, 1)),
    Case("Mul", (4,), w=()),
    Case("Div", (3, 4), w=(1, 4), positive=True),
    Case("Pow", (3,), more=(3.0,), positive=True),
    Case("Max", (5,), w=(5,)),
    Case("Min", (5,), w=(5,)),
    *(Case(name, (3, 4)) for name in ("Relu", "Sigmoid", "Tanh", "Exp", "Neg")),
    *(Case(name, (3, 4)) for name in ("Erf", "Softplus", "HardSwish", "Sin", "Cos")),
    *(Case(name, (3, 4), positive=True) for name in ("Log", "Sqrt", "Abs", "Reciprocal")),
    Case("LeakyRelu", (6,), {"alpha": 0.3}),
    Case("LeakyRelu", (6,)),
    Case("Elu", (6,), {"alpha": 0.7}),
    Case("HardSigmoid", (6,)),
    Case("Gelu", (6,)),
    Case("Gelu", (6,), {"approximate": "tanh"}),
    Case("Identity", (6,)),
    Case("Dropout", (6,), more=(0.5,)),
    Case("Clip", (6,), more=(-0.5, 0.75)),
    Case("Softmax", (3, 4)),
    Case("Softmax", (3, 4), {"axis": 1}),
    Case("LogSoftmax", (3, 4), {"axis": -2}),
    Case("ReduceMean", (3, 4, 2), more=([1, -1],)),
    Case("ReduceMean", (3, 4), {"keepdims": 0}, more=([2],)),
    Case("ReduceSum", (3, 4), {"keepdims": 0}, more=([1],)),
    Case("ReduceMax", (3, 4), more=([-1],)),
    Case("Gemm", (4,), {"transB": 1}, w=(3, 4), more=([0.5, -1.0, 2.0],)),
    Case("Gemm", (4,), w=(4, 3)),
    Case("MatMul", (4,), w=(4, 3)),
    Case("MatMul", (2, 5, 4), w=(4, 3)),
    Case("MatMul", (2, 5, 4), w=(2, 4, 3)),
    Case("Conv", (2, 7, 6), {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "strides": (2, 1)}, w=(4, 2, 3, 3)),
    Case("Conv", (2, 7, 6), {"pads": (0, 1, 1, 0), "dilations": (2, 1)}, w=(3, 2, 2, 3), more=([0.5, -1.0, 2.0],)),
    Case("Conv", (4, 5, 5), {"group": 2}, w=(6, 2, 3, 3)),
    Case("Conv", (4, 5, 5), {"group": 4, "pads": (1, 1, 1, 1)}, w=(4, 1, 3, 3)),
    Case("Conv", (3, 9), {"strides": (2,), "pads": (1, 1)}, w=(2, 3, 4)),
    Case("MaxPool", (2, 6, 7), {"kernel_shape": (2, 3), "strides": (2, 2)}),
    Case("MaxPool", (2, 6, 7), {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    Case("MaxPool", (2, 9), {"kernel_shape": (3,), "strides": (3,)}),
    Case("AveragePool", (2, 6, 7), {"kernel_shape": (2, 3), "strides": (2, 2)}),
    Case("AveragePool", (2, 6, 7), {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    Case("AveragePool", (2, 6, 7), {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "count_include_pad": 1}),
    Case("AveragePool", (2, 9), {"kernel_shape": (2,)}),
    Case("GlobalAveragePool", (3, 4, 5)),
    Case("GlobalMaxPool", (3, 4, 5)),
    Case("BatchNormalization", (3, 4, 4), {"epsilon": 1e-3}, w=(3,), more=([0.5, 0.0, -1.0], [0.1, 0.2, 0.3], [1.5, 0.5, 1.0])),
    Case("LayerNormalization", (3, 4), {"epsilon": 1e-3}, w=(4,), more=([0.5, 0.25, -1.0, 0.0],)),
    Case("LayerNormalization", (3, 4), {"axis": 1}, w=(3, 4)),
    Case("Flatten", (3, 4, 2)),
    Case("Reshape", (3, 4), more=([-1, 2, 6],)),
    Case("Reshape", (3, 4), {"allowzero": 1}, more=([-1, 12],)),
    Case("Transpose", (3, 4), {"perm": (0, 2, 1)}),
    Case("Transpose", (3, 4), {"perm": (2, 0, 1)}),
    Case("Gather", (3, 4), {"axis": 1}, more=([2, 0, 1, 1],)),
    Case("Gather", (3, 4), {"axis": -1}, more=(2,)),
    Case("Slice", (6, 7), more=([1, 0], [5, 7], [1, -1], [1, 3])),
    Case("Squeeze", (3, 1, 4), more=([-2],)),
    Case("Unsqueeze", (3, 4), more=([1, -1],)),
]  # fmt: skip


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def held_together(graph: Graph, flat: np.ndarray, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """torch's outputs, after they were found equal to onnxruntime's and of the inferred dimensions."""
    spec = ModelSpec("any", graph, Loss.MEAN_SQUARED_ERROR)
    model = onnx_model(spec, flat)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    names = [output.name for output in graph.outputs]
    served = dict(zip(names, session(model).run(names, inputs), strict=True))
    with torch.no_grad():
        found = Network(graph)(torch.from_numpy(flat), {k: torch.from_numpy(v) for k, v in inputs.items()})
    batch = len(next(iter(inputs.values())))
    for output in graph.outputs:
        ours = found[output.name].numpy()
        assert ours.shape == served[output.name].shape == (batch, *output.dimensions)
        assert ours.dtype == served[output.name].dtype == output.datatype.dtype
        scale = max(1.0, float(np.abs(ours).max(initial=0)))
        np.testing.assert_allclose(ours, served[output.name], rtol=0, atol=2e-6 * scale)
    return {name: values.numpy() for name, values in found.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_torch_and_onnxruntime_agree_on_every_operator(case: Case) -> None:
    graph = case.graph()
    assert Graph.from_text(graph.text) == graph
    generator = np.random.default_rng(1)
    for batch in (1, 3):
        x = generator.uniform(0.5, 2, (batch, *case.x)) if case.positive else generator.normal(0, 1, (batch, *case.x))
        flat = generator.uniform(0.5, 1.5, graph.weight_count)
        flat[: int(np.prod(case.x))] = 0
        held_together(graph, flat.astype(np.float32), {"x": x.astype(np.float32)})


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_of_every_operator_are_those_of_finite_differences(case: Case) -> None:
    """In float64, in a random direction; under vmap, one sample at a time, they add up to the same."""
    graph = case.graph()
    generator = np.random.default_rng(2)
    x = torch.from_numpy(
        generator.uniform(0.5, 2, (3, *case.x)) if case.positive else generator.normal(0, 1, (3, *case.x))
    )
    flat = torch.from_numpy(generator.uniform(0.3, 0.7, graph.weight_count)).requires_grad_()
    run = Network(graph)
    run._constants = {name: v.double() if v.is_floating_point() else v for name, v in run._constants.items()}
    name = graph.outputs[0].name
    with torch.no_grad():
        weights = torch.from_numpy(generator.normal(0, 1, run(flat, {"x": x})[name].shape))

    def loss(flat: torch.Tensor, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (run(flat, {"x": x})[name] * weights).sum()

    (gradient,) = torch.autograd.grad(loss(flat, x, weights), flat)
    direction = torch.from_numpy(generator.normal(0, 1, graph.weight_count))
    with torch.no_grad():
        step = 1e-6
        slope = (loss(flat + step * direction, x, weights) - loss(flat - step * direction, x, weights)) / (2 * step)
    assert float(gradient @ direction) == pytest.approx(float(slope), rel=1e-4, abs=1e-6)
    each = torch.func.vmap(torch.func.grad(lambda f, a, b: loss(f, a[None], b[None])), in_dims=(None, 0, 0))(
        flat.detach(), x, weights
    )
    torch.testing.assert_close(each.sum(dim=0), gradient, rtol=1e-6, atol=1e-9)


TOKENS = Signature("tokens", I64, (5,), (0.0, 9.0))
TABLE = TensorSpec("table", (10, 4))


def test_integers_comparisons_and_choices() -> None:
    graph = Graph(
        (TOKENS, Signature("scale", F, (1,)), Signature("byte", Datatype.UINT8, (5,)), Signature("flag", BOOL, (5,))),
        (
            Signature("mean", F, (4,)),
            Signature("most", I64, ()),
            Signature("kept", BOOL, (5,)),
            Signature("sum", I64, (5,)),
            Signature("small", Datatype.INT32, (5,)),
        ),
        (TABLE,),
        (
            Constant("zero", (), (0,), I64),
            Constant("last", (1,), (-1,), I64),
            Constant("one", (1,), (1,), I64),
            Constant("nothing", (), (0.0,)),
        ),
        (
            Node("Gather", ("table", "tokens"), "rows"),
            Node("Equal", ("tokens", "zero"), "padding"),
            Node("Not", ("padding",), "words"),
            Node("And", ("words", "flag"), "both"),
            Node("Or", ("both", "padding"), "kept"),
            Node("Unsqueeze", ("words", "last"), "column"),
            Node("Where", ("column", "rows", "nothing"), "masked"),
            Node("ReduceSum", ("masked", "one"), "added", {"keepdims": 0}),
            Node("Mul", ("added", "scale"), "mean"),
            Node("ArgMax", ("mean",), "most", {"axis": -1, "keepdims": 0}),
            Node("Cast", ("byte",), "bytes", {"to": 7}),
            Node("Add", ("bytes", "tokens"), "sum"),
            Node("Cast", ("sum",), "small", {"to": 6}),
            Node("Greater", ("added", "mean"), "greater"),
            Node("Less", ("added", "mean"), "less"),
        ),
    )
    assert Graph.from_text(graph.text) == graph
    generator = np.random.default_rng(3)
    inputs = {
        "tokens": generator.integers(0, 10, (3, 5)),
        "scale": generator.normal(0, 1, (3, 1)).astype(np.float32),
        "byte": generator.integers(0, 256, (3, 5)).astype(np.uint8),
        "flag": generator.integers(0, 2, (3, 5)).astype(bool),
    }
    held_together(graph, generator.normal(0, 1, 40).astype(np.float32), inputs)
    beyond = {name: torch.from_numpy(values) for name, values in {**inputs, "tokens": inputs["tokens"] + 10}.items()}
    with pytest.raises(InvalidInput, match="beyond what the model has"):
        Network(graph)(torch.zeros(40), beyond)


def test_parts_are_joined_where_they_are_alike() -> None:
    graph = Graph(
        (Signature("x", F, (2, 3)), Signature("z", F, (2, 1))),
        (Signature("y", F, (2, 7)),),
        (TensorSpec("t", (2, 3)),),
        (),
        (Node("Add", ("x", "t"), "moved"), Node("Concat", ("moved", "z", "x"), "y", {"axis": -1})),
    )
    generator = np.random.default_rng(4)
    inputs = {"x": generator.normal(0, 1, (3, 2, 3)).astype(np.float32), "z": np.ones((3, 2, 1), np.float32)}
    held_together(graph, np.ones(6, np.float32), inputs)


def test_frozen_tensors_are_given_by_whoever_has_the_file() -> None:
    base = Frozen("base", (4, 3), bytes(32), "layer.weight")
    graph = Graph(
        (Signature("x", F, (4,)),),
        (Signature("y", F, (3,)),),
        (TensorSpec("b", (3,)),),
        frozen=(base,),
        nodes=(Node("Gemm", ("x", "base", "b"), "y"),),
    )
    assert Graph.from_text(graph.text) == graph
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = Network(graph, {"base": values})(torch.ones(3), {"x": torch.ones(1, 4)})["y"]
    np.testing.assert_array_equal(found.numpy(), values.sum(axis=0)[None] + 1)
    served = session(
        onnx_model(ModelSpec("m", graph, Loss.MEAN_SQUARED_ERROR), np.ones(3, np.float32), frozen={"base": values})
    )
    np.testing.assert_array_equal(served.run(["y"], {"x": np.ones((1, 4), np.float32)})[0], found.numpy())
    for given_ in (None, {}, {"base": values.T}):
        with pytest.raises(InvalidInput, match="SHA-256 0000"):
            Network(graph, given_)
        with pytest.raises(InvalidInput, match="SHA-256 0000"):
            onnx_model(ModelSpec("m", graph, Loss.MEAN_SQUARED_ERROR), np.ones(3, np.float32), frozen=given_)


def test_every_operator_is_executed_and_tested() -> None:
    joined = {"Where", "Cast", "Equal", "Greater", "Less", "And", "Or", "Not", "ArgMax", "Concat"}
    assert EXECUTE.keys() == OPERATORS.keys() == {case.operator for case in CASES} | joined
    assert set(network.TYPES) == set(Datatype)


@pytest.mark.parametrize(
    ("operator", "values", "attributes", "why"),
    [
        ("Softmax", [Value(F, (3, -1))], {}, "not the batch"),
        ("Softmax", [Value(F, (-1,))], {"axis": 0}, "not the batch"),
        ("ReduceMean", [Value(F, (-1, 3)), Value(I64, (1,), (0,))], {}, "not the batch"),
        ("ReduceMean", [Value(F, (-1, 3)), Value(I64, (1,))], {}, "constant of INT64"),
        ("ReduceMean", [Value(F, (-1, 3)), Value(I64, (2,), (1, -1))], {}, "each once"),
        ("LayerNormalization", [Value(F, (-1, 3)), Value(F, (3,))], {"axis": 0}, "not the batch"),
        ("LayerNormalization", [Value(F, (-1, 3)), Value(F, (3,))], {"epsilon": 0.0}, "positive"),
        ("MatMul", [Value(F, (3, -1)), Value(F, (-1, 3))], {}, "do not fit"),
        ("MatMul", [Value(F, (3,)), Value(F, (3, 3))], {}, "both are matrices"),
        ("Concat", [Value(F, (-1, 3)), Value(F, (-1, 3))], {"axis": 0}, "not the batch"),
        ("Concat", [Value(F, (-1, 3)), Value(F, (-1, 2))], {"axis": 2}, "axis 2 of 2"),
        ("Gather", [Value(F, (-1, 3)), Value(I64, (2,), (0, 1))], {"axis": 0}, "not the batch"),
        ("Gather", [Value(F, (-1, 3)), Value(I64, (1,), (3,))], {"axis": 1}, "lie inside"),
        ("Gather", [Value(F, (-1, 3)), Value(I64, (1,), (-1,))], {"axis": 1}, "lie inside"),
        ("Gather", [Value(F, (-1, 3)), Value(I64, (-1, 2))], {"axis": 1}, "the batch stands once"),
        ("Slice", [Value(F, (-1, 3)), *(Value(I64, (1,), (n,)) for n in (0, 1, 0, 1))], {}, "not the batch"),
        ("Slice", [Value(F, (-1, 3)), *(Value(I64, (1,), (n,)) for n in (0, 4, 1, 1))], {}, "end <= length"),
        ("Slice", [Value(F, (-1, 3)), *(Value(I64, (1,), (n,)) for n in (0, 3, 1, 0))], {}, "step >= 1"),
        ("Reshape", [Value(F, (-1, 4)), Value(I64, (2,), (2, 2))], {}, "for the batch"),
        ("Reshape", [Value(F, (-1, 4)), Value(I64, (2,), (-1, 3))], {}, "not as many"),
        ("Reshape", [Value(F, (-1, 4)), Value(I64, (2,), (-1, -1))], {}, "stands once"),
        ("Reshape", [Value(F, (-1, 4)), Value(I64, (2,), (-1, 0))], {}, "lengths are positive"),
        ("Reshape", [Value(F, (-1, 4)), Value(I64, (1,), (2**62,))], {}, "lengths are positive"),
        ("Reshape", [Value(F, (-1, 4)), Value(I64, (9,), (-1, *(1,) * 8))], {}, "lengths are positive"),
        ("Transpose", [Value(F, (-1, 4))], {"perm": (0, 0)}, "every dimension once"),
        ("Unsqueeze", [Value(F, (-1, 4)), Value(I64, (2,), (0, 0))], {}, "each new dimension once"),
        ("Squeeze", [Value(F, (-1, 4)), Value(I64, (1,), (1,))], {}, "has length 1"),
        ("Squeeze", [Value(F, (-1, 4)), Value(I64, (1,), (0,))], {}, "has length 1"),
        ("Flatten", [Value(F, (3, -1))], {}, "not the batch"),
        ("Add", [Value(F, (-1, 4)), Value(F, (-2, 4))], {}, "do not broadcast"),
        ("Add", [Value(F, (-1, 4)), Value(I64, (4,))], {}, "integers of one type"),
        ("Add", [Value(BOOL, (-1, 4)), Value(BOOL, (4,))], {}, "integers of one type"),
        ("Relu", [Value(I64, (-1, 4))], {}, "all are FP32"),
        ("Relu", [Value(F, (-1, 4))] * 2, {}, "1 to 1 of them"),
        ("Cast", [Value(F, (-1, 4))], {"to": 11}, "`to` is one of"),
        ("Clip", [Value(F, (-1, 4)), Value(F, ()), Value(F, ())], {}, "bounds are constants"),
        ("Conv", [Value(F, (-1, 3, 8, 8)), Value(F, (4, 2, 3, 3))], {}, "do not fit"),
        ("Conv", [Value(F, (8, 3, 8, -1)), Value(F, (4, 3, 3, 3))], {}, "it takes"),
        ("Conv", [Value(F, (-1, 3, 8, 8)), Value(F, (4, 3, 3, 3))], {"group": 0}, "do not fit"),
        ("Conv", [Value(F, (-1, 3, 2, 2)), Value(F, (4, 3, 3, 3))], {}, "larger than"),
        ("MaxPool", [Value(F, (-1, 3, 8, 8))], {"kernel_shape": (2, 2), "pads": (0, 1, 0, 0)}, "alike on both sides"),
        ("MaxPool", [Value(F, (-1, 3, 8, 8))], {"kernel_shape": (2, 2), "pads": (2, 2, 2, 2)}, "half a window"),
        ("MaxPool", [Value(F, (-1, 3, 8, 8))], {}, "kernel_shape is 2 numbers"),
        ("Where", [Value(F, (-1, 4)), Value(F, (4,)), Value(F, (4,))], {}, "condition is BOOL"),
        ("Gelu", [Value(F, (-1, 4))], {"approximate": "erf"}, "none or tanh"),
        ("Loop", [Value(F, (-1, 4))], {}, "is unknown"),
        ("Softmax", [Value(F, (-1, 4))], {"axis": True}, "axis is a int"),
    ],
)  # fmt: skip
def test_what_an_operator_does_not_take_is_refused(
    operator: str, values: list[Value], attributes: Attributes, why: str
) -> None:
    with pytest.raises(InvalidModel, match=why):
        infer(operator, values, attributes)


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Small graphs of several operators: a chain that keeps (B, n) or (B, n, m), with side branches added back in."""
    width, tall = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    parameters: list[TensorSpec] = [TensorSpec("t", (tall, width))]
    constants = [Constant("axis", (1,), (-1,), I64)]
    nodes = [Node("Add", ("x", "t"), "v0")]
    now, size = "v0", (tall, width)
    for step in range(1, draw(st.integers(1, 8)) + 1):
        name, kind = (
            f"v{step}",
            draw(st.sampled_from(("unary", "matmul", "norm", "turn", "join", "softmax", "mean", "gate", "reshape"))),
        )
        match kind:
            case "unary":
                nodes.append(
                    Node(draw(st.sampled_from(("Relu", "Gelu", "Tanh", "Sigmoid", "Softplus", "Sin"))), (now,), name)
                )
            case "matmul":
                wide = draw(st.integers(1, 6))
                parameters.append(TensorSpec(f"w{step}", (size[1], wide)))
                nodes.append(Node("MatMul", (now, f"w{step}"), name))
                size = (size[0], wide)
            case "norm":
                parameters += [TensorSpec(f"g{step}", (size[1],)), TensorSpec(f"b{step}", (size[1],))]
                nodes.append(Node("LayerNormalization", (now, f"g{step}", f"b{step}"), name, {"epsilon": 0.1}))
            case "turn":
                nodes.append(Node("Transpose", (now,), name, {"perm": (0, 2, 1)}))
                size = size[::-1]
            case "join":
                nodes.append(Node("Concat", (now, now), name, {"axis": 2}))
                size = (size[0], 2 * size[1])
            case "softmax":
                nodes.append(Node("Softmax", (now,), name, {"axis": draw(st.sampled_from((1, 2, -1, -2)))}))
            case "mean":
                nodes.append(Node("ReduceMean", (now, "axis"), f"m{step}"))
                nodes.append(Node("Sub", (now, f"m{step}"), name))
            case "gate":
                nodes.append(Node("Sigmoid", (now,), f"s{step}"))
                nodes.append(Node("Mul", (now, f"s{step}"), name))
            case "reshape":
                constants.append(Constant(f"c{step}", (3,), (-1, size[0] * size[1], 1), I64))
                nodes.append(Node("Reshape", (now, f"c{step}"), name))
                size = (size[0] * size[1], 1)
        now = name
    used = {name for node in nodes for name in node.inputs}
    return Graph(
        (Signature("x", F, (tall, width)),),
        (Signature(now, F, size),),
        tuple(parameters),
        tuple(constant for constant in constants if constant.name in used),
        tuple(nodes),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(networks(), st.integers(0, 2**32))
def test_torch_and_onnxruntime_agree_on_random_graphs(graph: Graph, seed: int) -> None:
    assert Graph.from_text(graph.text) == graph
    generator = np.random.default_rng(seed)
    flat = generator.normal(0, 0.7, graph.weight_count).astype(np.float32)
    held_together(graph, flat, {"x": generator.normal(0, 1, (3, *graph.inputs[0].dimensions)).astype(np.float32)})
