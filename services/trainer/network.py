"""A model's graph executed by torch, so that autograd can differentiate it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch.nn import functional

from linklearner.domain.graph import Graph
from linklearner.domain.operators import Attributes, padding, pair

Operator = Callable[[Sequence[torch.Tensor], Attributes], torch.Tensor]

OPERATORS: Final[Mapping[str, Operator]] = {
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "Gemm": lambda inputs, _: functional.linear(inputs[0], inputs[1], inputs[2]),
    "Relu": lambda inputs, _: functional.relu(inputs[0]),
    "Conv": lambda inputs, attributes: functional.conv2d(
        inputs[0], inputs[1], inputs[2], stride=pair(attributes, "strides", 1), padding=padding(attributes)
    ),
    "MaxPool": lambda inputs, attributes: functional.max_pool2d(
        inputs[0], pair(attributes, "kernel_shape", 1), stride=pair(attributes, "strides", 1)
    ),
    "Flatten": lambda inputs, _: inputs[0].flatten(1),
}
"""The operators of `linklearner.domain.operators`, which says what each takes and gives."""


class Network:
    """One graph, ready to be executed with any weights."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._lengths = [parameter.length for parameter in graph.parameters]
        self._constants = {constant.name: torch.from_numpy(constant.array()) for constant in graph.constants}

    def __call__(self, flat: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """flat: (N,); inputs: (B, *dimensions) of each, unscaled. Returns the graph's outputs by name."""
        values = {**self._constants, **inputs}
        for parameter, part in zip(self._graph.parameters, torch.split_with_sizes(flat, self._lengths), strict=True):
            values[parameter.name] = part.view(parameter.dimensions)
        for node in self._graph.nodes:
            values[node.output] = OPERATORS[node.operator]([values[name] for name in node.inputs], node.attributes)
        return {output.name: values[output.name] for output in self._graph.outputs}
