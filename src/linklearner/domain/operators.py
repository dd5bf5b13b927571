"""The operators that a graph may use, and what each gives for which inputs: element type and dimensions, worked out by integers alone.

Names, inputs, attributes and defaults are ONNX's (opset 20), of which each entry takes the part that its docstring names. Whatever decides
a shape (the target of Reshape, the axes of ReduceMean, the bounds of Slice) must be a constant of the graph: then a graph that exists
fits together, and a hostile one has allocated nothing. A model that needs another operator adds it here and to torch's table
(`services/trainer/network.py`); ONNX needs no third, and a test holds the tables together.

The batch is a symbol: a dimension of -k stands for k·B, as many as there are samples times k. At most one dimension of a value is such,
at any place (a transformer of torch's own moves it about), and no operator works along it: what would mix samples is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite, prod
from typing import Any, Final

import numpy as np

from linklearner.domain.errors import InvalidModel

Dimensions = tuple[int, ...]
Attribute = int | float | str | tuple[int, ...]
Attributes = Mapping[str, Attribute]

BATCH: Final = -1
"""A dimension of as many as there are samples; -k of k times as many."""
MAX_RANK: Final = 8
MAX_PATCHES: Final = 2**26
"""Numbers of the patches of one sample that a convolution multiplies: runtimes lay them out in memory (im2col), as float32 256 MiB."""
MAX_NUMBER: Final = 2**20
"""Of a stride, a padding, a kernel's length, an axis."""


class Datatype(StrEnum):
    """Element types of values, by their names in the Open Inference Protocol."""

    FP32 = "FP32"
    INT64 = "INT64"
    INT32 = "INT32"
    UINT8 = "UINT8"
    BOOL = "BOOL"

    @property
    def dtype(self) -> np.dtype[Any]:
        return _DTYPES[self]


_DTYPES: Final[dict[Datatype, np.dtype[Any]]] = {
    Datatype.FP32: np.dtype("<f4"),
    Datatype.INT64: np.dtype("<i8"),
    Datatype.INT32: np.dtype("<i4"),
    Datatype.UINT8: np.dtype("u1"),
    Datatype.BOOL: np.dtype("?"),
}
ONNX_CODES: Final[Mapping[int, Datatype]] = {
    1: Datatype.FP32,
    7: Datatype.INT64,
    6: Datatype.INT32,
    2: Datatype.UINT8,
    9: Datatype.BOOL,
}
"""TensorProto.DataType, which the attribute `to` of Cast uses."""
_INTEGERS: Final = frozenset({Datatype.INT64, Datatype.INT32})


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of a value before anything runs. constant: its numbers, row-major, if it is a constant of the graph."""

    datatype: Datatype
    dimensions: Dimensions
    constant: tuple[float, ...] | None = None

    @property
    def batched(self) -> bool:
        return any(length < 0 for length in self.dimensions)

    @property
    def length(self) -> int:
        """Numbers of one sample, or of the whole where it does not depend on the request."""
        return abs(prod(self.dimensions))

    def __str__(self) -> str:
        return f"{self.datatype}[{','.join('B' if n == BATCH else f'{-n}B' if n < 0 else str(n) for n in self.dimensions)}]"


Checked = Mapping[str, Any]
"""Attributes of an operator, complete and of the types of its defaults."""
Infer = Callable[[Sequence[Value], Checked], Value]


class _Refusal(Exception):
    """Why an operator does not take its inputs."""


def infer(operator: str, inputs: Sequence[Value], attributes: Attributes) -> Value:
    """What the operator gives. Raises InvalidModel for an unknown one, and for inputs or attributes that it does not take."""
    row = OPERATORS.get(operator)
    if row is None:
        raise InvalidModel(f"operator {operator!r:.40} is unknown; {', '.join(OPERATORS)} are known")
    unknown = sorted(attributes.keys() - row.attributes.keys())
    if unknown:
        raise InvalidModel(f"{operator} has no attribute {unknown[0]!r:.40} here, but {sorted(row.attributes)}")
    given = {}
    for name, default in row.attributes.items():
        value = attributes.get(name, default)
        if not isinstance(value, type(default)) or isinstance(value, bool):
            raise InvalidModel(f"{operator}'s {name} is a {type(default).__name__}, not {value!r:.40}")
        given[name] = value
    try:
        if not row.least <= len(inputs) <= row.most:
            raise _Refusal(f"it has {row.least} to {row.most} of them")
        found = row.infer(inputs, given)
        if len(found.dimensions) > MAX_RANK:
            raise _Refusal(f"the result has more than {MAX_RANK} dimensions")
        if sum(length < 0 for length in found.dimensions) > 1:
            raise _Refusal("the batch stands once in a result")
    except _Refusal as refusal:
        shown = ", ".join(map(str, inputs))
        raise InvalidModel(f"{operator} cannot take {shown:.200} with {dict(given)!s:.120}: {refusal}") from None
    return found


@dataclass(frozen=True, slots=True)
class Operator:
    """attributes: those that may be given, with ONNX's defaults (an empty tuple: as many as the input asks for). least, most: inputs."""

    infer: Infer
    least: int
    most: int
    attributes: Attributes


def axis_of(axis: int, rank: int) -> int:
    """0 to rank - 1; negative ones count from the end."""
    if not -rank <= axis < rank:
        raise _Refusal(f"axis {axis} of {rank} dimensions")
    return axis % rank


def spatial(attributes: Checked, name: str, count: int, default: int) -> tuple[int, ...]:
    """An attribute of one number for each spatial dimension (pads: two); if it is empty, all are `default`."""
    value: tuple[int, ...] = attributes[name]
    return value or (default,) * count


def _need(holds: bool, why: str) -> None:
    if not holds:
        raise _Refusal(why)


def _floats(inputs: Sequence[Value]) -> None:
    _need(all(one.datatype is Datatype.FP32 for one in inputs), "all are FP32")


def _still(dimensions: Dimensions, what: str) -> None:
    _need(all(length > 0 for length in dimensions), f"{what} is not the batch")


def _numbers(value: Value) -> tuple[int, ...]:
    """Of a constant row of integers."""
    _need(value.constant is not None and value.datatype is Datatype.INT64, "what decides shapes is a constant of INT64")
    _need(len(value.dimensions) <= 1, "what decides shapes is a row")
    assert value.constant is not None
    return tuple(int(number) for number in value.constant)


def _broadcast(a: Dimensions, b: Dimensions) -> Dimensions:
    """NumPy's rule; a batch goes with itself or with 1."""
    rank = max(len(a), len(b))
    result = []
    for one, other in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True):
        _need(one == other or 1 in (one, other), "they do not broadcast")
        result.append(other if one == 1 else one)
    return tuple(result)


def _unary(inputs: Sequence[Value], attributes: Checked) -> Value:
    _floats(inputs)
    return Value(Datatype.FP32, inputs[0].dimensions)


def _gelu(inputs: Sequence[Value], attributes: Checked) -> Value:
    _need(attributes["approximate"] in ("none", "tanh"), "approximate is none or tanh")
    return _unary(inputs, attributes)


def _identity(inputs: Sequence[Value], attributes: Checked) -> Value:
    return Value(inputs[0].datatype, inputs[0].dimensions)


def _binary(inputs: Sequence[Value], attributes: Checked) -> Value:
    """Of floats, or of integers of one type."""
    kinds = {one.datatype for one in inputs}
    _need(len(kinds) == 1 and kinds <= {Datatype.FP32, *_INTEGERS}, "all are FP32, or all integers of one type")
    return Value(inputs[0].datatype, _broadcast(inputs[0].dimensions, inputs[1].dimensions))


def _float_binary(inputs: Sequence[Value], attributes: Checked) -> Value:
    _floats(inputs)
    return _binary(inputs, attributes)


def _compare(inputs: Sequence[Value], attributes: Checked) -> Value:
    return Value(Datatype.BOOL, _binary(inputs, attributes).dimensions)


def _logic(inputs: Sequence[Value], attributes: Checked) -> Value:
    _need(all(one.datatype is Datatype.BOOL for one in inputs), "all are BOOL")
    found = inputs[0].dimensions
    for one in inputs[1:]:
        found = _broadcast(found, one.dimensions)
    return Value(Datatype.BOOL, found)


def _where(inputs: Sequence[Value], attributes: Checked) -> Value:
    condition, a, b = inputs
    _need(condition.datatype is Datatype.BOOL, "the condition is BOOL")
    _need(a.datatype is b.datatype, "both choices have one type")
    return Value(a.datatype, _broadcast(condition.dimensions, _broadcast(a.dimensions, b.dimensions)))


def _clip(inputs: Sequence[Value], attributes: Checked) -> Value:
    _floats(inputs)
    _need(all(one.dimensions == () and one.constant is not None for one in inputs[1:]), "its bounds are constants")
    return Value(Datatype.FP32, inputs[0].dimensions)


def _cast(inputs: Sequence[Value], attributes: Checked) -> Value:
    _need(attributes["to"] in ONNX_CODES, f"`to` is one of {sorted(ONNX_CODES)}")
    return Value(ONNX_CODES[attributes["to"]], inputs[0].dimensions)


def _along(inputs: Sequence[Value], attributes: Checked) -> Value:
    """Softmax and LogSoftmax: along one axis."""
    _floats(inputs)
    dimensions = inputs[0].dimensions
    _still((dimensions[axis_of(attributes["axis"], len(dimensions))],), "their axis")
    return Value(Datatype.FP32, dimensions)


def _arg_max(inputs: Sequence[Value], attributes: Checked) -> Value:
    _floats(inputs)
    dimensions = list(inputs[0].dimensions)
    axis = axis_of(attributes["axis"], len(dimensions))
    _still((dimensions[axis],), "its axis")
    dimensions[axis : axis + 1] = [1] if attributes["keepdims"] else []
    return Value(Datatype.INT64, tuple(dimensions))


def _reduce(inputs: Sequence[Value], attributes: Checked) -> Value:
    """(x, axes): over axes that are named, none of them the batch."""
    _floats(inputs[:1])
    dimensions = inputs[0].dimensions
    axes = {axis_of(axis, len(dimensions)) for axis in _numbers(inputs[1])}
    _need(bool(axes) and len(axes) == len(_numbers(inputs[1])), "the axes are named, each once")
    _still(tuple(dimensions[axis] for axis in axes), "what is reduced")
    kept = [1 if place in axes else length for place, length in enumerate(dimensions)]
    if not attributes["keepdims"]:
        kept = [length for place, length in enumerate(dimensions) if place not in axes]
    return Value(Datatype.FP32, tuple(kept))


def _gemm(inputs: Sequence[Value], attributes: Checked) -> Value:
    """(m, k), (k, n) or with transB (n, k), and perhaps an offset (n,): alpha and beta are 1, the first is not transposed."""
    _floats(inputs)
    _need(
        attributes["alpha"] == attributes["beta"] == 1.0 and attributes["transA"] == 0, "alpha = beta = 1, transA = 0"
    )
    _need(attributes["transB"] in (0, 1), "transB is 0 or 1")
    _need(len(inputs[0].dimensions) == len(inputs[1].dimensions) == 2, "both are matrices")
    rows, inner = inputs[0].dimensions
    _still(inputs[1].dimensions, "the second matrix")
    other, columns = inputs[1].dimensions[::-1] if attributes["transB"] else inputs[1].dimensions
    _need(inner == other, "the matrices do not fit")
    if len(inputs) == 3:
        _need(inputs[2].dimensions == (columns,), "the offset is a row of the result")
    return Value(Datatype.FP32, (rows, columns))


def _matmul(inputs: Sequence[Value], attributes: Checked) -> Value:
    """NumPy's matmul of two matrices, or stacks of matrices that broadcast."""
    _floats(inputs)
    a, b = inputs[0].dimensions, inputs[1].dimensions
    _need(min(len(a), len(b)) >= 2, "both are matrices")
    _need(a[-1] == b[-2] and a[-1] > 0, "the matrices do not fit")
    return Value(Datatype.FP32, (*_broadcast(a[:-2], b[:-2]), a[-2], b[-1]))


def _slid(
    lengths: Dimensions,
    kernel: tuple[int, ...],
    attributes: Checked,
    dilations: tuple[int, ...],
) -> tuple[int, ...]:
    """Of the result of a kernel that slides over so many rows (and columns)."""
    strides, pads = spatial(attributes, "strides", len(kernel), 1), spatial(attributes, "pads", 2 * len(kernel), 0)
    for name, values, least, count in (
        ("kernel_shape", kernel, 1, len(lengths)),
        ("strides", strides, 1, len(lengths)),
        ("dilations", dilations, 1, len(lengths)),
        ("pads", pads, 0, 2 * len(lengths)),
    ):
        _need(
            len(values) == count and all(least <= number <= MAX_NUMBER for number in values),
            f"{name} is {count} numbers from {least}",
        )
    _still(lengths, "what a kernel slides over")
    size = tuple(
        (length + begin + end - dilation * (k - 1) - 1) // stride + 1
        for length, k, stride, dilation, begin, end in zip(
            lengths, kernel, strides, dilations, pads[: len(kernel)], pads[len(kernel) :], strict=True
        )
    )
    _need(min(size) >= 1, "the kernel is larger than what it slides over")
    return size


def _conv(inputs: Sequence[Value], attributes: Checked) -> Value:
    """(B, in, H, W), (out, in / group, h, w), perhaps (out,) -> (B, out, H', W'); the same in one dimension."""
    _floats(inputs)
    x, weight = inputs[0].dimensions, inputs[1].dimensions
    _need(len(x) == len(weight) and len(x) in (3, 4) and x[0] < 0, "it takes (B, in, …) and (out, in / group, …)")
    _still((*x[1:], *weight), "what a kernel multiplies")
    group = attributes["group"]
    _need(group >= 1 and x[1] == weight[1] * group and weight[0] % group == 0, "channels and groups do not fit")
    _need(len(inputs) == 2 or inputs[2].dimensions == weight[:1], "the offset is one number for each channel")
    kernel = spatial(attributes, "kernel_shape", 0, 0) or weight[2:]
    _need(kernel == weight[2:], "kernel_shape is not the kernel's")
    size = _slid(x[2:], kernel, attributes, spatial(attributes, "dilations", len(kernel), 1))
    _need(
        -x[0] * x[1] * prod(kernel) * prod(size) <= MAX_PATCHES,
        f"a convolution of one sample reads at most {MAX_PATCHES} numbers, those read twice counted twice",
    )
    return Value(Datatype.FP32, (x[0], weight[0], *size))


def _pool(inputs: Sequence[Value], attributes: Checked) -> Value:
    """(B, c, H, W) -> (B, c, H', W'), also of one dimension; what does not fill a window is left out. Pads are alike on both sides."""
    _floats(inputs)
    x, kernel = inputs[0].dimensions, spatial(attributes, "kernel_shape", 0, 0)
    _need(len(x) in (3, 4) and x[0] < 0, "it takes (B, channels, …)")
    size = _slid(x[2:], kernel, attributes, (1,) * len(kernel))
    pads = spatial(attributes, "pads", 2 * len(kernel), 0)
    half = tuple(k // 2 for k in kernel)
    _need(
        pads[: len(kernel)] == pads[len(kernel) :] and all(p <= h for p, h in zip(pads, half, strict=False)),
        "pads are alike on both sides and at most half a window",
    )
    return Value(Datatype.FP32, (*x[:2], *size))


def _global_pool(inputs: Sequence[Value], attributes: Checked) -> Value:
    _floats(inputs)
    x = inputs[0].dimensions
    _need(len(x) in (3, 4) and x[0] < 0, "it takes (B, channels, …)")
    _still(x[2:], "what is pooled")
    return Value(Datatype.FP32, (*x[:2], *(1 for _ in x[2:])))


def _batch_normalization(inputs: Sequence[Value], attributes: Checked) -> Value:
    """(x, scale, offset, mean, variance), the last four one number a channel: the statistics are those that the graph holds."""
    _floats(inputs)
    x = inputs[0].dimensions
    _need(len(x) >= 2 and x[1] > 0, "it takes (B, channels, …)")
    _need(all(one.dimensions == (x[1],) for one in inputs[1:]), "it has one number for each channel of the rest")
    _epsilon(attributes)
    return Value(Datatype.FP32, x)


def _layer_normalization(inputs: Sequence[Value], attributes: Checked) -> Value:
    _floats(inputs)
    x = inputs[0].dimensions
    normal = x[axis_of(attributes["axis"], len(x)) :]
    _still(normal, "what is normalised")
    _need(
        all(one.dimensions == normal for one in inputs[1:]), "scale and offset have the dimensions that are normalised"
    )
    _epsilon(attributes)
    return Value(Datatype.FP32, x)


def _epsilon(attributes: Checked) -> None:
    epsilon = attributes["epsilon"]
    _need(isfinite(epsilon) and epsilon > 0, "epsilon is a positive number")


def _flatten(inputs: Sequence[Value], attributes: Checked) -> Value:
    """(B, …) -> (B, n), with axis 1."""
    x = inputs[0].dimensions
    _need(attributes["axis"] == 1 and len(x) >= 1, "axis is 1: the batch stays")
    _still(x[1:], "what is flattened")
    return Value(inputs[0].datatype, (x[0], prod(x[1:])))


def _reshape(inputs: Sequence[Value], attributes: Checked) -> Value:
    """(x, target): -1 once at most, and where x depends on the batch, there."""
    _need(attributes["allowzero"] in (0, 1), "allowzero is 0 or 1")
    x, target = inputs[0], _numbers(inputs[1])
    _need(len(target) <= MAX_RANK and all(n == -1 or 1 <= n <= 2**48 for n in target), "lengths are positive, or -1")
    known = prod(n for n in target if n > 0)
    free = [place for place, n in enumerate(target) if n < 0]
    _need(len(free) == 1 if x.batched else len(free) <= 1, "-1 stands once, for the batch")
    _need(x.length % known == 0 and (bool(free) or x.length == known), "the numbers are not as many")
    left = x.length // known * (-1 if x.batched else 1)
    return Value(x.datatype, tuple(left if n < 0 else n for n in target))


def _transpose(inputs: Sequence[Value], attributes: Checked) -> Value:
    x, order = inputs[0].dimensions, attributes["perm"]
    _need(sorted(order) == list(range(len(x))), "perm names every dimension once")
    return Value(inputs[0].datatype, tuple(x[place] for place in order))


def _concat(inputs: Sequence[Value], attributes: Checked) -> Value:
    first, rank = inputs[0], len(inputs[0].dimensions)
    axis = axis_of(attributes["axis"], rank)
    total = 0
    for one in inputs:
        _need(one.datatype is first.datatype and len(one.dimensions) == rank, "all have one type and rank")
        _still((one.dimensions[axis],), "what is joined")
        alike = (
            a == b for place, (a, b) in enumerate(zip(one.dimensions, first.dimensions, strict=True)) if place != axis
        )
        _need(all(alike), "all other dimensions are alike")
        total += one.dimensions[axis]
    return Value(first.datatype, (*first.dimensions[:axis], total, *first.dimensions[axis + 1 :]))


def _gather(inputs: Sequence[Value], attributes: Checked) -> Value:
    """(data, indices): rows of an embedding, or one of several parts."""
    data, indices = inputs
    axis = axis_of(attributes["axis"], len(data.dimensions))
    _need(indices.datatype in _INTEGERS, "indices are integers")
    _still((data.dimensions[axis],), "what is chosen from")
    if indices.constant is not None:
        _need(all(0 <= n < data.dimensions[axis] for n in indices.constant), "indices count from 0 and lie inside")
    return Value(data.datatype, (*data.dimensions[:axis], *indices.dimensions, *data.dimensions[axis + 1 :]))


def _slice(inputs: Sequence[Value], attributes: Checked) -> Value:
    """(x, starts, ends, axes, steps): bounds count from 0 and lie inside, steps are positive."""
    x = list(inputs[0].dimensions)
    starts, ends, axes, steps = map(_numbers, inputs[1:])
    _need(len(starts) == len(ends) == len(axes) == len(steps) == len(set(axes)), "as many of each, each axis once")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis_of(axis, len(x))
        _still((x[place],), "what is cut")
        _need(0 <= start < end <= x[place] and step >= 1, "0 <= start < end <= length, step >= 1")
        x[place] = -(-(end - start) // step)
    return Value(inputs[0].datatype, tuple(x))


def _squeeze(inputs: Sequence[Value], attributes: Checked) -> Value:
    x = inputs[0].dimensions
    axes = {axis_of(axis, len(x)) for axis in _numbers(inputs[1])}
    _need(all(x[axis] == 1 for axis in axes), "what is squeezed out has length 1")
    return Value(inputs[0].datatype, tuple(length for place, length in enumerate(x) if place not in axes))


def _unsqueeze(inputs: Sequence[Value], attributes: Checked) -> Value:
    x, axes = list(inputs[0].dimensions), _numbers(inputs[1])
    rank = len(x) + len(axes)
    places = sorted(axis_of(axis, rank) for axis in axes)
    _need(len(set(places)) == len(places) and rank <= MAX_RANK, "each new dimension once")
    for place in places:
        x.insert(place, 1)
    return Value(inputs[0].datatype, tuple(x))


_ELEMENTWISE: Final = (
    *("Relu", "Sigmoid", "Tanh", "Softplus", "HardSwish", "Erf"),
    *("Exp", "Log", "Sqrt", "Neg", "Abs", "Reciprocal", "Sin", "Cos"),
)
_SLIDING: Final[Attributes] = {"kernel_shape": (), "pads": (), "strides": ()}

OPERATORS: Final[Mapping[str, Operator]] = {
    **{name: Operator(_binary, 2, 2, {}) for name in ("Add", "Sub", "Mul")},
    **{name: Operator(_float_binary, 2, 2, {}) for name in ("Div", "Pow", "Max", "Min")},
    **{name: Operator(_compare, 2, 2, {}) for name in ("Equal", "Greater", "Less")},
    **{name: Operator(_unary, 1, 1, {}) for name in _ELEMENTWISE},
    "LeakyRelu": Operator(_unary, 1, 1, {"alpha": 0.01}),
    "Elu": Operator(_unary, 1, 1, {"alpha": 1.0}),
    "HardSigmoid": Operator(_unary, 1, 1, {"alpha": 0.2, "beta": 0.5}),
    "Gelu": Operator(_gelu, 1, 1, {"approximate": "none"}),
    "Identity": Operator(_identity, 1, 1, {}),
    "And": Operator(_logic, 2, 2, {}),
    "Or": Operator(_logic, 2, 2, {}),
    "Not": Operator(_logic, 1, 1, {}),
    "Where": Operator(_where, 3, 3, {}),
    "Cast": Operator(_cast, 1, 1, {"to": 1}),
    "Clip": Operator(_clip, 3, 3, {}),
    "Softmax": Operator(_along, 1, 1, {"axis": -1}),
    "LogSoftmax": Operator(_along, 1, 1, {"axis": -1}),
    "ArgMax": Operator(_arg_max, 1, 1, {"axis": 0, "keepdims": 1}),
    **{name: Operator(_reduce, 2, 2, {"keepdims": 1}) for name in ("ReduceMean", "ReduceSum", "ReduceMax")},
    "Gemm": Operator(_gemm, 2, 3, {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}),
    "MatMul": Operator(_matmul, 2, 2, {}),
    "Conv": Operator(_conv, 2, 3, {**_SLIDING, "dilations": (), "group": 1}),
    "MaxPool": Operator(_pool, 1, 1, _SLIDING),
    "AveragePool": Operator(_pool, 1, 1, {**_SLIDING, "count_include_pad": 0}),
    "GlobalAveragePool": Operator(_global_pool, 1, 1, {}),
    "GlobalMaxPool": Operator(_global_pool, 1, 1, {}),
    "BatchNormalization": Operator(_batch_normalization, 5, 5, {"epsilon": 1e-5}),
    "LayerNormalization": Operator(_layer_normalization, 2, 3, {"axis": -1, "epsilon": 1e-5}),
    "Dropout": Operator(_clip, 2, 2, {}),
    "Flatten": Operator(_flatten, 1, 1, {"axis": 1}),
    "Reshape": Operator(_reshape, 2, 2, {"allowzero": 0}),
    "Transpose": Operator(_transpose, 1, 1, {"perm": ()}),
    "Concat": Operator(_concat, 1, 64, {"axis": 0}),
    "Gather": Operator(_gather, 2, 2, {"axis": 0}),
    "Slice": Operator(_slice, 5, 5, {}),
    "Squeeze": Operator(_squeeze, 2, 2, {}),
    "Unsqueeze": Operator(_unsqueeze, 2, 2, {}),
}
