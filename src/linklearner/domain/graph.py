"""What a model computes, as data: named tensors, signatures of inputs and outputs, and nodes of ONNX's operators between them.

A graph holds no weights and runs no code of its own. Three interpreters execute the same nodes: NumPy here (`run`, the reference),
torch in the trainer (`services/trainer/network.py`), and onnxruntime, for which `linklearner.onnx_graph` writes them down unchanged.

Every value in a graph has dimensions; those that depend on the request begin with BATCH. They are worked out and checked when a graph is
made, by integers alone: a graph that exists fits together, and a hostile one has allocated nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from math import prod
from typing import Any, Final

import numpy as np
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.operators import BATCH, OPERATORS, Attributes, Dimensions
from linklearner.domain.shape import MAX_WEIGHTS

MAX_NODES: Final = 4096
MAX_SAMPLE_LENGTH: Final = 2**24
"""Numbers of one value for one sample: 64 MiB of float32."""


class Datatype(StrEnum):
    """Element types of inputs and outputs, by their names in the Open Inference Protocol."""

    FP32 = "FP32"
    INT64 = "INT64"

    @property
    def dtype(self) -> np.dtype[Any]:
        return _DTYPES[self]


_DTYPES: Final[dict[Datatype, np.dtype[Any]]] = {Datatype.FP32: np.dtype("<f4"), Datatype.INT64: np.dtype("<i8")}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named tensor of trainable weights; `dimensions` row-major."""

    name: str
    dimensions: Dimensions

    @property
    def length(self) -> int:
        return prod(self.dimensions)


@dataclass(frozen=True, slots=True)
class Constant:
    """A named tensor whose float32 values are part of the graph; `dimensions` () is one number."""

    name: str
    dimensions: Dimensions
    values: tuple[float, ...]

    def array(self) -> NDArray[np.float32]:
        return np.array(self.values, dtype=np.float32).reshape(self.dimensions)


@dataclass(frozen=True, slots=True)
class Signature:
    """One input or output: what a batch of it looks like."""

    name: str
    datatype: Datatype
    dimensions: Dimensions
    """Of one sample, row-major; an array of B samples is (B, *dimensions)."""
    range: tuple[float, float] | None = None
    """Least and greatest value that the task was made for; None if its author did not say."""

    @property
    def length(self) -> int:
        """Numbers of one sample."""
        return prod(self.dimensions)

    @property
    def shape(self) -> Dimensions:
        """(-1, *dimensions), as the Open Inference Protocol writes it."""
        return (BATCH, *self.dimensions)

    def __str__(self) -> str:
        size = "x".join(map(str, self.dimensions))
        span = "of unstated range" if self.range is None else "from {:g} to {:g}".format(*self.range)
        return f"{size} numbers {span}, called {self.name}"


@dataclass(frozen=True, slots=True)
class Node:
    """One operator, as ONNX spells it: its inputs are names of values, its output is a new one."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """`parameters` in the order of the flat weight vector; `nodes` in an order in which they can be executed. Raises InvalidModel."""

    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    parameters: tuple[TensorSpec, ...]
    constants: tuple[Constant, ...]
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        if len(self.nodes) > MAX_NODES:
            raise InvalidModel(f"a graph has at most {MAX_NODES} nodes, not {len(self.nodes)}")
        for output in self.outputs:
            found = self.dimensions.get(output.name)
            if found != output.shape:
                raise InvalidModel(f"output {output.name!r} is {list(output.shape)}, the graph gives {found}")

    @cached_property
    def dimensions(self) -> Mapping[str, Dimensions]:
        """Of every value by its name, BATCH first where there is one."""
        known: dict[str, Dimensions] = {}

        def add(name: str, dimensions: Dimensions) -> None:
            if not name:
                raise InvalidModel("every value of a graph has a name")
            if name in known:
                raise InvalidModel(f"a value of a graph cannot be named {name!r}: another one is")
            sample, most = (
                (dimensions[1:], MAX_SAMPLE_LENGTH) if dimensions[:1] == (BATCH,) else (dimensions, MAX_WEIGHTS)
            )
            if min(sample, default=1) < 1 or prod(sample) > most:
                raise InvalidModel(f"{name!r:.80} has 1 to {most} numbers, not {'x'.join(map(str, sample)):.80}")
            known[name] = dimensions

        for parameter in self.parameters:
            add(parameter.name, parameter.dimensions)
        for constant in self.constants:
            add(constant.name, constant.dimensions)
        produced = {node.output for node in self.nodes}
        for signature in self.inputs:
            if signature.name in known or signature.name in produced:
                names = sorted(known.keys() | produced)
                raise InvalidModel(
                    f"an input cannot be named {signature.name!r}: the graph uses it; others are {names!s:.200}"
                )
            add(signature.name, signature.shape)
        for node in self.nodes:
            operator = OPERATORS.get(node.operator)
            if operator is None:
                raise InvalidModel(f"operator {node.operator!r:.40} is unknown; {', '.join(OPERATORS)} are known")
            missing = [name for name in node.inputs if name not in known]
            if missing:
                raise InvalidModel(f"node {node.name!r:.40} reads {missing!s:.80}, which nothing before it gives")
            add(node.output, operator.infer([known[name] for name in node.inputs], node.attributes))
        return known

    @cached_property
    def weight_count(self) -> int:
        """N."""
        return sum(parameter.length for parameter in self.parameters)

    @cached_property
    def widest(self) -> int:
        """Numbers of the longest value that a graph computes for one sample, its inputs among them."""
        return max(prod(shape[1:]) for shape in self.dimensions.values() if shape[:1] == (BATCH,))

    @cached_property
    def digest(self) -> bytes:
        """32 bytes: Keccak-256 of everything that the graph says, as compact JSON with sorted keys. Weights are no part of it."""
        said = {
            "inputs": [[one.name, one.datatype, one.dimensions] for one in self.inputs],
            "outputs": [[one.name, one.datatype, one.dimensions] for one in self.outputs],
            "parameters": [[one.name, one.dimensions] for one in self.parameters],
            "constants": [[one.name, one.dimensions, one.values] for one in self.constants],
            "nodes": [[n.operator, n.name, n.inputs, n.output, dict(n.attributes)] for n in self.nodes],
        }
        return bytes(keccak(json.dumps(said, separators=(",", ":"), sort_keys=True).encode()))

    def split(self, weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Views of the flat vector as the parameters, in order. Raises InvalidInput for another length."""
        if weights.shape != (self.weight_count,):
            raise InvalidInput(f"the model has {self.weight_count} weights, not {weights.shape}")
        views, start = [], 0
        for parameter in self.parameters:
            views.append(weights[start : start + parameter.length].reshape(parameter.dimensions))
            start += parameter.length
        return tuple(views)

    def run(
        self, weights: NDArray[np.float32], inputs: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float32]]:
        """The reference execution, in NumPy. weights: (N,) float32; inputs: (B, *dimensions) of each. Returns the outputs by name.

        Raises InvalidInput for inputs that are not those of the signature.
        """
        if inputs.keys() != {one.name for one in self.inputs}:
            raise InvalidInput(f"the graph's inputs are {[one.name for one in self.inputs]}, not {sorted(inputs)}")
        for signature in self.inputs:
            given = inputs[signature.name].shape
            if given[:1] == () or given[1:] != signature.dimensions:
                expected = ", ".join(map(str, ("B", *signature.dimensions)))
                raise InvalidInput(f"input {signature.name} is ({expected}), not {given}")
        values: dict[str, NDArray[np.float32]] = dict(inputs)
        values |= {one.name: view for one, view in zip(self.parameters, self.split(weights), strict=True)}
        values |= {constant.name: constant.array() for constant in self.constants}
        for node in self.nodes:
            values[node.output] = OPERATORS[node.operator].compute(
                [values[name] for name in node.inputs], node.attributes
            )
        return {output.name: values[output.name] for output in self.outputs}
