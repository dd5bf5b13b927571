"""The integer forward pass of a multilayer perceptron whose tensors lie in a task's flat vector: W1, b1, W2, b2, …, W row by row (out, in).

Fixed point. An input x (int16) stands for x * 2**-k, k the input exponent: what the graph's own scaling (its Mul) makes of a sample,
rounded. Weights and biases stand for w * 2**-q, q of their tensor. Between layers everything is Q12:

    a_o = (sum_i W_oi x_i) >> (k + q_W - 12), first layer; >> q_W, later ones;    + b_o >> (q_b - 12)
    x_o = min(max(a_o, 0), 32767), hidden layers (ReLU that saturates just below 8);  the last layer's a are the logits, unclipped

A negative shift to the right is one to the left. Bounds: at most 2**12 terms of 2**15 * 2**15 each: |sum| <= 2**42, a float64 (53 bits)
holds it and each of its partial sums exactly, so the products may go through floating-point matrix multiplication in any order and give
the very integers. Exponents q >= 0 and k >= 0 bound a shift to the left by 12: logits stay within 2**54 + 2**27 < 2**63.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.fixedpoint import INT16_MAX, INT16_MIN, round_half_away
from linklearner.domain.shape import MAX_EXPONENT, Shape

ACTIVATION_BITS: Final = 12
MAX_ACTIVATION: Final = 2**15 - 1
MAX_INPUT_EXPONENT: Final = 15
MAX_LAYERS: Final = 8
MAX_WIDTH: Final = 4096
MAX_WEIGHTS: Final = 2**17
"""Of a network that one settlement can judge; the Aspect's buffers hold so many."""


@dataclass(frozen=True)
class IntegerNetwork:
    """`widths`: from input to output. `exponents`: q of W1, b1, W2, b2, …. `input_exponent`: k. Raises InvalidModel."""

    widths: tuple[int, ...]
    exponents: tuple[int, ...]
    input_exponent: int

    def __post_init__(self) -> None:
        if not 2 <= len(self.widths) <= MAX_LAYERS + 1:
            raise InvalidModel(f"a network of rule evidence has 1 to {MAX_LAYERS} layers, not {len(self.widths) - 1}")
        if not all(1 <= width <= MAX_WIDTH for width in self.widths):
            raise InvalidModel(f"a layer of rule evidence is 1 to {MAX_WIDTH} wide, not {max(self.widths)}")
        if self.widths[-1] < 2:
            raise InvalidModel("rule evidence judges classifiers: two labels at least")
        if self.weight_count > MAX_WEIGHTS:
            raise InvalidModel(f"rule evidence judges at most {MAX_WEIGHTS} weights, not {self.weight_count}")
        if len(self.exponents) != 2 * self.layer_count:
            raise InvalidModel(
                f"{self.layer_count} layers have {2 * self.layer_count} tensors, not {len(self.exponents)}"
            )
        if not all(0 <= exponent <= MAX_EXPONENT for exponent in self.exponents):
            raise InvalidModel(f"rule evidence takes exponents in 0..{MAX_EXPONENT}, not {self.exponents}")
        if not 0 <= self.input_exponent <= MAX_INPUT_EXPONENT:
            raise InvalidModel(f"an input exponent lies in 0..{MAX_INPUT_EXPONENT}, not at {self.input_exponent}")

    @classmethod
    def of_shape(cls, shape: Shape, input_exponent: int) -> IntegerNetwork:
        """The one perceptron whose tensors have the lengths of the shape's. Raises InvalidModel where they are of none."""
        lengths = [tensor.length for tensor in shape.tensors]
        biases = lengths[1::2]
        if len(lengths) % 2 or not lengths or lengths[0] % biases[0]:
            raise InvalidModel("rule evidence takes perceptrons: tensors W1, b1, W2, b2, …")
        widths = (lengths[0] // biases[0], *biases)
        if any(length != a * b for length, (a, b) in zip(lengths[::2], pairwise(widths), strict=True)):
            raise InvalidModel(f"tensors of {lengths} weights are not those of a perceptron with layers {widths}")
        return cls(widths, tuple(tensor.exponent for tensor in shape.tensors), input_exponent)

    @property
    def layer_count(self) -> int:
        return len(self.widths) - 1

    @cached_property
    def weight_count(self) -> int:
        """N."""
        return sum(a * b + b for a, b in pairwise(self.widths))

    @property
    def tensor_lengths(self) -> tuple[int, ...]:
        return tuple(length for a, b in pairwise(self.widths) for length in (a * b, b))

    @property
    def multiply_adds(self) -> int:
        """Of one example's forward pass, the biases' additions not counted."""
        return sum(a * b for a, b in pairwise(self.widths))

    def logits(self, weights: NDArray[np.int16], inputs: NDArray[np.int16]) -> NDArray[np.int64]:
        """The forward pass of several examples, by one or several flat vectors.

        weights: (…, N) int16. inputs: (K, D) int16. Returns (…, K, C) int64, Q12. Raises InvalidInput for other dimensions or types.
        """
        if weights.dtype != np.int16 or weights.shape[-1:] != (self.weight_count,):
            raise InvalidInput(
                f"the network has {self.weight_count} int16 weights, not {weights.shape} {weights.dtype}"
            )
        if inputs.dtype != np.int16 or inputs.ndim != 2 or inputs.shape[1] != self.widths[0]:
            raise InvalidInput(f"an example has {self.widths[0]} int16 numbers, not {inputs.shape} {inputs.dtype}")
        values = inputs.astype(np.float64)
        totals = np.empty(0, dtype=np.int64)
        at = 0
        for layer, (before, width) in enumerate(pairwise(self.widths)):
            matrix = weights[..., at : at + before * width].reshape(*weights.shape[:-1], width, before)
            at += before * width
            biases = weights[..., None, at : at + width].astype(np.int64)
            at += width
            fine = self.input_exponent - ACTIVATION_BITS if layer == 0 else 0
            q_matrix, q_biases = self.exponents[2 * layer : 2 * layer + 2]
            sums = (values @ np.swapaxes(matrix, -1, -2).astype(np.float64)).astype(np.int64)
            totals = _shifted(sums, fine + q_matrix) + _shifted(biases, q_biases - ACTIVATION_BITS)
            values = np.clip(totals, 0, MAX_ACTIVATION).astype(np.float64)
        return totals


def _shifted(values: NDArray[np.int64], places: int) -> NDArray[np.int64]:
    return values >> places if places >= 0 else values << -places


def quantise_inputs(scaled: NDArray[np.floating], input_exponent: int) -> NDArray[np.int16]:
    """Scaled samples as the examples of a task hold them: (K, D) to int16, to nearest, ties away from zero, saturating."""
    whole = round_half_away(np.ldexp(scaled.astype(np.float64), input_exponent))
    return np.clip(whole, INT16_MIN, INT16_MAX).astype(np.int16)


def exponents_of(widths: Sequence[int], exponent: int) -> tuple[int, ...]:
    """The same exponent for every tensor."""
    return (exponent,) * (2 * (len(widths) - 1))
