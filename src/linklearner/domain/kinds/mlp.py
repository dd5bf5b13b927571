"""A multilayer perceptron: per layer y = W x + b, with ReLU between layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

from linklearner.domain.errors import InvalidModel
from linklearner.domain.fields import several
from linklearner.domain.graph import Node, TensorSpec
from linklearner.domain.operators import Dimensions

MAX_LAYERS = 64


@dataclass(frozen=True, slots=True)
class Mlp:
    """Tensors W1, b1, W2, b2, …; W is (out, in)."""

    layers: tuple[int, ...]
    """Widths from input to output."""

    KIND: ClassVar[str] = "mlp"
    FIELDS: ClassVar[frozenset[str]] = frozenset({"layers", "activation"})

    def __post_init__(self) -> None:
        if not 2 <= len(self.layers) <= MAX_LAYERS or not all(1 <= width <= 2**20 for width in self.layers):
            raise InvalidModel(f"an MLP has 2 to {MAX_LAYERS} layer widths of 1 to 2**20, not {self.layers!s:.200}")

    @property
    def input_dimensions(self) -> Dimensions:
        return self.layers[:1]

    @property
    def output_dimensions(self) -> Dimensions:
        return self.layers[-1:]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        if fields["activation"] != "relu":
            raise InvalidModel(f"an mlp with {fields['activation']!r:.40} is unknown; one with relu is known")
        return cls(several(fields["layers"], int, "layers", "a layer's width"))

    def parameters(self) -> tuple[TensorSpec, ...]:
        return tuple(
            tensor
            for layer, (width_in, width_out) in enumerate(pairwise(self.layers), start=1)
            for tensor in (TensorSpec(f"W{layer}", (width_out, width_in)), TensorSpec(f"b{layer}", (width_out,)))
        )

    def nodes(self, source: str, result: str) -> tuple[Node, ...]:
        nodes, last = [], len(self.layers) - 1
        for layer in range(1, last + 1):
            output = result if layer == last else f"layer{layer}"
            nodes.append(Node("Gemm", (source, f"W{layer}", f"b{layer}"), output, {"transB": 1}))
            if layer < last:
                source = f"relu{layer}"
                nodes.append(Node("Relu", (output,), source))
        return tuple(nodes)
