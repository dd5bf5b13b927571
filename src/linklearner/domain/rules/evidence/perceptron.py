"""Whether rule `evidence` can judge a model, and how its inputs become the int16 numbers of examples.

A model is a classifier of one FP32 input and one output of logits: perhaps Flatten, then any number of Mul and Div by constant numbers,
then layers of Gemm (weights as rows of outputs) with Relu between them, in the order of the flat vector. What is computed on the way in is
computed once, when the examples are made; the chain computes the layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.fixedpoint import INT16_MAX
from linklearner.domain.graph import Node
from linklearner.domain.model import Loss, ModelSpec
from linklearner.domain.operators import Datatype
from linklearner.domain.rules.evidence.network import MAX_INPUT_EXPONENT, quantise_inputs

FAST_SUM: Final = 2**16
"""Inputs times the largest of them, below which the Aspect sums the first layer in 32 bits, at two thirds of the gas."""
COARSEST: Final = 2**6
"""Steps that the largest input is at least: coarser than that, examples are no longer what people measured."""


@dataclass(frozen=True, slots=True)
class Perceptron:
    """factor: what inputs are multiplied by before the first layer. widths: from input to output."""

    widths: tuple[int, ...]
    factor: float

    @classmethod
    def of(cls, spec: ModelSpec) -> Self:
        """Raises InvalidModel, which says what of the model is not a perceptron's."""
        graph = spec.graph
        if spec.loss is not Loss.CROSS_ENTROPY or len(graph.outputs) != 1 or len(graph.inputs) != 1:
            raise _not("it classifies one input, by cross-entropy of one output")
        if graph.frozen or graph.inputs[0].datatype is not Datatype.FP32:
            raise _not("its input is FP32, and nothing of it is frozen")
        constants = {one.name: one for one in graph.constants}
        parameters = [one.name for one in graph.parameters]
        value, factor, widths, begun = graph.inputs[0].name, 1.0, list[int](), False
        layers = [node for node in graph.nodes if node.operator == "Gemm"]
        for node in graph.nodes:
            if not node.inputs or value not in node.inputs:
                raise _not(f"each step works on the one before it, and {node.operator} {node.output!r:.40} does not")
            match node.operator:
                case "Flatten" if not begun:
                    pass
                case "Mul" | "Div" if not begun:
                    factor *= _constant(node, value, constants)
                case "Gemm":
                    weights, bias = node.inputs[1:] if len(node.inputs) == 3 else ("", "")
                    at = 2 * (len(widths) - 1 if widths else 0)
                    if node.inputs[0] != value or [weights, bias] != parameters[at : at + 2] or not _plain(node):
                        raise _not(
                            f"layer {node.output!r:.40} is x W^T + b, with W and b in the order of the flat vector, and not scaled"
                        )
                    out, into = next(one.dimensions for one in graph.parameters if one.name == weights)
                    widths = widths or [into]
                    widths.append(out)
                    begun = True
                case "Relu" if begun and node.output != graph.outputs[0].name:
                    pass
                case _:
                    raise _not(f"{node.operator} is none of its operators here")
            value = node.output
        if value != graph.outputs[0].name or len(parameters) != 2 * len(layers) or not layers:
            raise _not("its output is that of the last layer, and every tensor is a layer's")
        _alternating(graph.nodes)
        return cls(tuple(widths), factor)

    def scaled(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """inputs: (K, …) as they were measured. (K, D) as the first layer takes them."""
        return inputs.reshape(len(inputs), -1).astype(np.float64) * self.factor


def input_exponent(scaled: NDArray[np.float64]) -> int:
    """How finely these examples, (K, D), are written: x for x 2**-k.

    The coarsest k that holds all of them exactly, if one does (pixels); else the finest whose sums the Aspect makes cheaply, if that is
    fine enough, or the finest that int16 holds. Raises InvalidInput where no k holds them.
    """
    largest = float(np.abs(scaled).max(initial=0.0))
    if not np.isfinite(scaled).all() or not largest:
        raise InvalidInput("examples are finite numbers, not all of them 0")
    finest = int(np.floor(log2(INT16_MAX) - log2(largest)))
    if finest < 0:
        raise InvalidInput(
            f"inputs of up to {largest:g} (as the first layer takes them) are beyond int16, whose largest is {INT16_MAX}: scale them "
            "in the model (a Mul or Div by a constant before its first layer)",
            reason="InputsTooLarge",
        )
    finest = min(finest, MAX_INPUT_EXPONENT)
    if largest * 2**finest < COARSEST:
        raise InvalidInput(
            f"inputs of at most {largest:g} (as the first layer takes them) are less than {COARSEST} steps of 2**-{finest}, the finest "
            "that an example has: scale them in the model (a Mul by a constant before its first layer)",
            reason="InputsTooSmall",
        )
    for exponent in range(finest + 1):
        whole = np.ldexp(scaled, exponent)
        if np.array_equal(whole, np.rint(whole)):
            return exponent
    cheap = int(np.floor(log2(FAST_SUM / scaled.shape[1]) - log2(largest)))
    return cheap if 0 <= cheap <= finest and largest * 2**cheap >= COARSEST else finest


def quantised(scaled: NDArray[np.float64], exponent: int) -> NDArray[np.int16]:
    """(K, D) int16, to nearest; `input_exponent` has seen to it that none saturates."""
    return quantise_inputs(scaled, exponent)


def _plain(node: Node) -> bool:
    wanted: dict[str, Any] = {"transB": 1, "transA": 0, "alpha": 1.0, "beta": 1.0}
    return node.attributes.get("transB") == 1 and all(
        wanted.get(name) == value for name, value in node.attributes.items()
    )


def _constant(node: Node, value: str, constants: Any) -> float:
    other = [name for name in node.inputs if name != value]
    found = constants.get(other[0]) if len(other) == 1 else None
    if (
        found is None
        or len(found.values) != 1
        or not found.values[0]
        or (node.operator == "Div" and node.inputs[0] != value)
    ):
        raise _not(f"{node.operator} {node.output!r:.40} is by one constant number other than 0")
    number = float(found.values[0])
    return number if node.operator == "Mul" else 1 / number


def _alternating(nodes: tuple[Node, ...]) -> None:
    """Relu between any two layers: two layers without it are one, and the chain computes one Relu after each but the last."""
    found = [node.operator for node in nodes if node.operator in ("Gemm", "Relu")]
    if found[::2] != ["Gemm"] * len(found[::2]) or found[1::2] != ["Relu"] * len(found[1::2]):
        raise _not("there is one Relu between two layers")


def _not(why: str) -> InvalidModel:
    return InvalidModel(f"rule evidence judges perceptrons (Gemm, Relu): {why}", reason="NotAPerceptron")
