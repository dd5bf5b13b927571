"""A model's graph executed by torch, so that autograd can differentiate it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from linklearner.domain.errors import InvalidInput
from linklearner.domain.graph import Graph
from linklearner.domain.operators import ONNX_CODES, OPERATORS, Datatype
from linklearner.frozen import FROZEN_MISSING

Tensors = Sequence[torch.Tensor]
Statics = Sequence[tuple[float, ...] | None]
"""The numbers of each input that is a constant of the graph."""
Attributes = Mapping[str, Any]
"""Of a node, complete and of the types that `operators.infer` has checked."""
Execute = Callable[[Tensors, Attributes, Statics], torch.Tensor]

TYPES: Final[Mapping[Datatype, torch.dtype]] = {
    Datatype.FP32: torch.float32,
    Datatype.INT64: torch.int64,
    Datatype.INT32: torch.int32,
    Datatype.UINT8: torch.uint8,
    Datatype.BOOL: torch.bool,
}
KEPT_BYTES: Final = 2**30
"""Of all values that are computed at once: none is given up before a gradient is there. A graph's own bound leaves room for one sample."""
_CONVOLUTIONS = {3: functional.conv1d, 4: functional.conv2d}
_MAX_POOLS = {3: functional.max_pool1d, 4: functional.max_pool2d}
_AVERAGE_POOLS = {3: functional.avg_pool1d, 4: functional.avg_pool2d}


def _integers(numbers: tuple[float, ...] | None) -> list[int]:
    assert numbers is not None, "what decides shapes is constant: the graph has checked it"
    return [int(number) for number in numbers]


def _sizes(attributes: Attributes, name: str, count: int, default: int) -> list[int]:
    value = attributes[name]
    assert isinstance(value, tuple)
    return list(value or (default,) * count)


def _padded(x: torch.Tensor, attributes: Attributes) -> tuple[torch.Tensor, list[int]]:
    """x, and the padding that the operator adds itself: on both sides alike, or it is added here."""
    count = x.dim() - 2
    pads = _sizes(attributes, "pads", 2 * count, 0)
    begin, end = pads[:count], pads[count:]
    if begin == end:
        return x, begin
    sides = [
        pad for place in reversed(range(count)) for pad in (begin[place], end[place])
    ]  # torch counts from the last dimension
    return functional.pad(x, sides), [0] * count


def _conv(inputs: Tensors, attributes: Attributes, _: Statics) -> torch.Tensor:
    x, padding = _padded(inputs[0], attributes)
    count = x.dim() - 2
    result: torch.Tensor = _CONVOLUTIONS[x.dim()](
        x,
        inputs[1],
        inputs[2] if len(inputs) == 3 else None,
        stride=_sizes(attributes, "strides", count, 1),
        padding=padding,
        dilation=_sizes(attributes, "dilations", count, 1),
        groups=attributes["group"],
    )
    return result


def _max_pool(inputs: Tensors, attributes: Attributes, _: Statics) -> torch.Tensor:
    x, padding = _padded(inputs[0], attributes)
    strides = _sizes(attributes, "strides", x.dim() - 2, 1)
    result: torch.Tensor = _MAX_POOLS[x.dim()](x, _sizes(attributes, "kernel_shape", 0, 0), strides, padding)
    return result


def _average_pool(inputs: Tensors, attributes: Attributes, _: Statics) -> torch.Tensor:
    x, padding = _padded(inputs[0], attributes)
    result: torch.Tensor = _AVERAGE_POOLS[x.dim()](
        x,
        _sizes(attributes, "kernel_shape", 0, 0),
        _sizes(attributes, "strides", x.dim() - 2, 1),
        padding,
        count_include_pad=bool(attributes["count_include_pad"]),
    )
    return result


def _gemm(inputs: Tensors, attributes: Attributes, _: Statics) -> torch.Tensor:
    weight = inputs[1] if attributes["transB"] else inputs[1].t()
    return functional.linear(inputs[0], weight, inputs[2] if len(inputs) == 3 else None)


def _layer_norm(inputs: Tensors, attributes: Attributes, _: Statics) -> torch.Tensor:
    offset = inputs[2] if len(inputs) == 3 else None
    return functional.layer_norm(inputs[0], inputs[1].shape, inputs[1], offset, attributes["epsilon"])


def _batch_norm(inputs: Tensors, attributes: Attributes, _: Statics) -> torch.Tensor:
    x, scale, offset, mean, variance = inputs
    return functional.batch_norm(x, mean, variance, scale, offset, training=False, eps=attributes["epsilon"])


def _gather(inputs: Tensors, attributes: Attributes, _: Statics) -> torch.Tensor:
    data, indices = inputs
    axis = attributes["axis"] % data.dim()
    if axis == 0 and data.dim() == 2:
        return functional.embedding(indices, data)
    flat = data.index_select(axis, indices.reshape(-1))
    return flat.reshape(*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])


def _reshape(inputs: Tensors, _: Attributes, statics: Statics) -> torch.Tensor:
    return inputs[0].reshape(_integers(statics[1]))


def _squeeze(inputs: Tensors, _: Attributes, statics: Statics) -> torch.Tensor:
    axes = {axis % inputs[0].dim() for axis in _integers(statics[1])}
    return inputs[0].reshape([length for place, length in enumerate(inputs[0].shape) if place not in axes])


def _unsqueeze(inputs: Tensors, _: Attributes, statics: Statics) -> torch.Tensor:
    x, axes = inputs[0], _integers(statics[1])
    rank = x.dim() + len(axes)
    for place in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(place)
    return x


def _slice(inputs: Tensors, _: Attributes, statics: Statics) -> torch.Tensor:
    places: list[Any] = [slice(None)] * inputs[0].dim()
    for start, end, axis, step in zip(*(_integers(numbers) for numbers in statics[1:]), strict=True):
        places[axis] = slice(start, end, step)
    return inputs[0][tuple(places)]


def _reduced(reduce: Callable[..., torch.Tensor]) -> Execute:
    return lambda inputs, attributes, statics: reduce(
        inputs[0], dim=_integers(statics[1]), keepdim=bool(attributes["keepdims"])
    )


def _global(reduce: Callable[..., torch.Tensor]) -> Execute:
    return lambda inputs, _, __: reduce(inputs[0], dim=list(range(2, inputs[0].dim())), keepdim=True)


def _clip(inputs: Tensors, _: Attributes, statics: Statics) -> torch.Tensor:
    _x, low, high = statics
    assert low is not None and high is not None, "its bounds are constant: the graph has checked it"
    return inputs[0].clamp(low[0], high[0])


def _one(function: Callable[[torch.Tensor], torch.Tensor]) -> Execute:
    return lambda inputs, _, __: function(inputs[0])


def _two(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Execute:
    return lambda inputs, _, __: function(inputs[0], inputs[1])


EXECUTE: Final[Mapping[str, Execute]] = {
    "Add": _two(torch.add),
    "Sub": _two(torch.sub),
    "Mul": _two(torch.mul),
    "Div": _two(torch.div),
    "Pow": _two(torch.pow),
    "Max": _two(torch.maximum),
    "Min": _two(torch.minimum),
    "Equal": _two(torch.eq),
    "Greater": _two(torch.gt),
    "Less": _two(torch.lt),
    "And": _two(torch.logical_and),
    "Or": _two(torch.logical_or),
    "Not": _one(torch.logical_not),
    "Relu": _one(functional.relu),
    "Sigmoid": _one(torch.sigmoid),
    "Tanh": _one(torch.tanh),
    "Exp": _one(torch.exp),
    "Log": _one(torch.log),
    "Sqrt": _one(torch.sqrt),
    "Neg": _one(torch.neg),
    "Abs": _one(torch.abs),
    "Erf": _one(torch.erf),
    "Reciprocal": _one(torch.reciprocal),
    "Softplus": _one(functional.softplus),
    "HardSwish": _one(functional.hardswish),
    "Sin": _one(torch.sin),
    "Cos": _one(torch.cos),
    "LeakyRelu": lambda inputs, attributes, _: functional.leaky_relu(inputs[0], attributes["alpha"]),
    "Elu": lambda inputs, attributes, _: functional.elu(inputs[0], attributes["alpha"]),
    "HardSigmoid": lambda inputs, attributes, _: (inputs[0] * attributes["alpha"] + attributes["beta"]).clamp(0.0, 1.0),
    "Gelu": lambda inputs, attributes, _: functional.gelu(inputs[0], approximate=attributes["approximate"]),
    "Identity": _one(lambda x: x),
    "Dropout": _one(lambda x: x),
    "Where": lambda inputs, _, __: torch.where(inputs[0], inputs[1], inputs[2]),
    "Cast": lambda inputs, attributes, _: inputs[0].to(TYPES[ONNX_CODES[attributes["to"]]]),
    "Clip": _clip,
    "Softmax": lambda inputs, attributes, _: torch.softmax(inputs[0], dim=attributes["axis"]),
    "LogSoftmax": lambda inputs, attributes, _: torch.log_softmax(inputs[0], dim=attributes["axis"]),
    "ArgMax": lambda inputs, attributes, _: torch.argmax(
        inputs[0], dim=attributes["axis"], keepdim=bool(attributes["keepdims"])
    ),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "ReduceMax": _reduced(torch.amax),
    "Gemm": _gemm,
    "MatMul": _two(torch.matmul),
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Flatten": _one(lambda x: x.flatten(1)),
    "Reshape": _reshape,
    "Transpose": lambda inputs, attributes, _: inputs[0].permute(attributes["perm"]),
    "Concat": lambda inputs, attributes, _: torch.cat(list(inputs), dim=attributes["axis"]),
    "Gather": _gather,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
"""The operators of `linklearner.domain.operators`, which says what each takes and gives; attributes are complete here."""


class Network:
    """One graph, ready to be executed with any weights. A pure function: it works under torch.func's grad and vmap, too."""

    def __init__(self, graph: Graph, frozen: Mapping[str, NDArray[np.float32]] | None = None) -> None:
        """frozen: the values of each of `graph.frozen`, by name. Raises InvalidInput if one is missing or has other dimensions."""
        self._graph = graph
        self._lengths = [parameter.length for parameter in graph.parameters]
        self._constants = {constant.name: torch.from_numpy(constant.array()) for constant in graph.constants}
        for tensor in graph.frozen:
            values = (frozen or {}).get(tensor.name)
            if values is None or values.shape != tensor.dimensions:
                raise InvalidInput(
                    f"the model needs frozen tensor {tensor.name!r:.60} of {'x'.join(map(str, tensor.dimensions))} numbers, "
                    f"from the file with SHA-256 {tensor.file.hex()}",
                    reason=FROZEN_MISSING,
                )
            self._constants[tensor.name] = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        statics = {constant.name: constant.values for constant in graph.constants}
        self._plan = [
            (
                EXECUTE[node.operator],
                node.inputs,
                {**OPERATORS[node.operator].attributes, **node.attributes},
                tuple(statics.get(name) for name in node.inputs),
                node.output,
            )
            for node in graph.nodes
        ]

    def __call__(self, flat: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """flat: (N,); inputs: (B, *dimensions) of each, unscaled, of the signature's type. Returns the graph's outputs by name.

        Raises InvalidInput for an index that an embedding does not have.
        """
        values = {**self._constants, **inputs}
        for parameter, part in zip(self._graph.parameters, torch.split_with_sizes(flat, self._lengths), strict=True):
            values[parameter.name] = part.view(parameter.dimensions)
        try:
            for execute, names, attributes, statics, output in self._plan:
                values[output] = execute([values[name] for name in names], attributes, statics)
        except IndexError as error:
            raise InvalidInput(f"an input counts beyond what the model has: {error!s:.200}") from error
        return {output.name: values[output.name] for output in self._graph.outputs}


def rows_of(graph: Graph, most: int) -> int:
    """Samples at once so that no value has more than `most` numbers, and all together KEPT_BYTES; 1 at least."""
    return max(1, min(most // max(1, graph.widest), KEPT_BYTES // graph.computed_bytes))
