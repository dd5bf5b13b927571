"""The operators that a graph may use: what each gives for which dimensions, and its reference implementation in NumPy.

Names, inputs and attributes are ONNX's (opset 17), of which each entry takes the part that it names. A model that needs another one adds
it here and to torch's table (`services/trainer/network.py`); ONNX needs no third, and a test holds the tables together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidModel

Dimensions = tuple[int, ...]
Attributes = Mapping[str, int | Dimensions]
Arrays = Sequence[NDArray[np.float32]]

BATCH: Final = -1
"""Stands first in the dimensions of whatever depends on the request: as many as there are samples."""
MAX_PATCHES: Final = 2**26
"""Numbers of the patches of one sample that a convolution multiplies: runtimes lay them out in memory (im2col), as float32 256 MiB."""


@dataclass(frozen=True, slots=True)
class Operator:
    """infer: dimensions of the output from those of the inputs; raises InvalidModel. compute: the same for arrays of those dimensions."""

    infer: Callable[[Sequence[Dimensions], Attributes], Dimensions]
    compute: Callable[[Arrays, Attributes], NDArray[np.float32]]


def pair(attributes: Attributes, name: str, least: int) -> tuple[int, int]:
    """An attribute of two numbers, one for rows and one for columns."""
    value = attributes.get(name)
    if not (isinstance(value, tuple) and len(value) == 2 and all(least <= number <= 2**20 for number in value)):
        raise InvalidModel(f"{name} is two numbers from {least}, not {value!r:.40}")
    return value[0], value[1]


def padding(attributes: Attributes) -> tuple[int, int]:
    """`pads` of rows and columns; ONNX names the beginnings, then the ends, which are the same here."""
    value = attributes.get("pads")
    if not (isinstance(value, tuple) and len(value) == 4 and value[:2] == value[2:] and min(value) >= 0):
        raise InvalidModel(f"pads are two numbers from 0, twice, not {value!r:.40}")
    return value[0], value[1]


def _only(attributes: Attributes, *names: str) -> None:
    if attributes.keys() != set(names):
        raise InvalidModel(f"the attributes are {list(names)}, not {sorted(attributes)}")


def _expect(holds: bool, operator: str, dimensions: Sequence[Dimensions]) -> None:
    if not holds:
        raise InvalidModel(
            f"{operator} cannot take inputs of the dimensions {[list(one) for one in dimensions]!s:.200}"
        )


def _infer_mul(inputs: Sequence[Dimensions], attributes: Attributes) -> Dimensions:
    _only(attributes)
    _expect(len(inputs) == 2 and inputs[1] == (), "Mul", inputs)  # by one number
    return inputs[0]


def _infer_relu(inputs: Sequence[Dimensions], attributes: Attributes) -> Dimensions:
    _only(attributes)
    _expect(len(inputs) == 1, "Relu", inputs)
    return inputs[0]


def _infer_gemm(inputs: Sequence[Dimensions], attributes: Attributes) -> Dimensions:
    """(B, in), (out, in), (out,) -> (B, out)."""
    if attributes != {"transB": 1}:
        raise InvalidModel(f"Gemm takes its weights as (out, in), with transB 1, not with {dict(attributes)!s:.60}")
    fits = len(inputs) == 3 and len(inputs[0]) == len(inputs[1]) == 2
    _expect(fits and inputs[0][1] == inputs[1][1] and inputs[2] == inputs[1][:1], "Gemm", inputs)
    return (inputs[0][0], inputs[1][0])


def _infer_flatten(inputs: Sequence[Dimensions], attributes: Attributes) -> Dimensions:
    """(B, …) -> (B, n)."""
    if attributes != {"axis": 1}:
        raise InvalidModel(f"Flatten keeps the batch, with axis 1, not with {dict(attributes)!s:.60}")
    _expect(len(inputs) == 1 and len(inputs[0]) >= 2, "Flatten", inputs)
    return (inputs[0][0], prod(inputs[0][1:]))


def _infer_conv(inputs: Sequence[Dimensions], attributes: Attributes) -> Dimensions:
    """(B, in, H, W), (out, in, h, w), (out,) -> (B, out, H', W')."""
    _only(attributes, "kernel_shape", "pads", "strides")
    kernel, pads, strides = pair(attributes, "kernel_shape", 1), padding(attributes), pair(attributes, "strides", 1)
    fits = len(inputs) == 3 and len(inputs[0]) == len(inputs[1]) == 4
    fits = fits and inputs[0][1] == inputs[1][1] and inputs[1][2:] == kernel and inputs[2] == inputs[1][:1]
    _expect(fits, "Conv", inputs)
    size = tuple((n + 2 * p - k) // s + 1 for n, p, k, s in zip(inputs[0][2:], pads, kernel, strides, strict=True))
    _expect(min(size) >= 1, "Conv", inputs)
    if prod(inputs[1][1:]) * prod(size) > MAX_PATCHES:
        raise InvalidModel(f"a Conv of one sample reads at most {MAX_PATCHES} numbers, those read twice counted twice")
    return (inputs[0][0], inputs[1][0], *size)


def _infer_max_pool(inputs: Sequence[Dimensions], attributes: Attributes) -> Dimensions:
    """(B, c, H, W) -> (B, c, H', W'); what does not fill a window is left out."""
    _only(attributes, "kernel_shape", "strides")
    kernel, strides = pair(attributes, "kernel_shape", 1), pair(attributes, "strides", 1)
    _expect(len(inputs) == 1 and len(inputs[0]) == 4, "MaxPool", inputs)
    size = tuple((n - k) // s + 1 for n, k, s in zip(inputs[0][2:], kernel, strides, strict=True))
    _expect(min(size) >= 1, "MaxPool", inputs)
    return (*inputs[0][:2], *size)


def _windows(x: NDArray[np.float32], attributes: Attributes) -> NDArray[np.float32]:
    """(B, c, H, W) -> a view (B, c, H', W', h, w)."""
    down, right = pair(attributes, "strides", 1)
    return sliding_window_view(x, pair(attributes, "kernel_shape", 1), axis=(2, 3))[:, :, ::down, ::right]


def _gemm(inputs: Arrays, attributes: Attributes) -> NDArray[np.float32]:
    x, weight, bias = inputs
    return x @ weight.T + bias


def _conv(inputs: Arrays, attributes: Attributes) -> NDArray[np.float32]:
    x, weight, bias = inputs
    rows, columns = padding(attributes)
    x = np.pad(x, ((0, 0), (0, 0), (rows, rows), (columns, columns)))
    summed = np.tensordot(_windows(x, attributes), weight, axes=((1, 4, 5), (1, 2, 3)))  # (B, H', W', out)
    return np.ascontiguousarray(np.moveaxis(summed + bias, 3, 1))


def _max_pool(inputs: Arrays, attributes: Attributes) -> NDArray[np.float32]:
    pooled: NDArray[np.float32] = _windows(inputs[0], attributes).max(axis=(4, 5))
    return pooled


OPERATORS: Final[Mapping[str, Operator]] = {
    "Mul": Operator(_infer_mul, lambda inputs, _: inputs[0] * inputs[1]),
    "Gemm": Operator(_infer_gemm, _gemm),
    "Relu": Operator(_infer_relu, lambda inputs, _: np.maximum(inputs[0], np.float32(0))),
    "Conv": Operator(_infer_conv, _conv),
    "MaxPool": Operator(_infer_max_pool, _max_pool),
    "Flatten": Operator(_infer_flatten, lambda inputs, _: inputs[0].reshape(len(inputs[0]), -1)),
}
