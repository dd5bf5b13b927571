"""A small convolutional network for images: blocks of convolution, ReLU and 2 x 2 max pooling, then one linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

from linklearner.domain.errors import InvalidModel
from linklearner.domain.fields import demand, several
from linklearner.domain.graph import Node, TensorSpec
from linklearner.domain.operators import Dimensions

MAX_BLOCKS = 16
MAX_LENGTH = 2**16
"""Of a side, and of channels."""
MAX_KERNEL = 31


@dataclass(frozen=True, slots=True)
class Cnn:
    """Tensors K1, b1, K2, b2, …, W, b; K is (out, in, kernel, kernel), W is (outputs, what is left of the image)."""

    image: tuple[int, int, int]
    """Channels, rows and columns of a sample."""
    channels: tuple[int, ...]
    """That each block's convolution gives; a block halves rows and columns, rounded down."""
    kernel: int
    """Rows and columns of every kernel, odd: the image is padded so that a convolution keeps its size."""
    outputs: int

    KIND: ClassVar[str] = "cnn"
    FIELDS: ClassVar[frozenset[str]] = frozenset({"image", "channels", "kernel", "activation", "outputs"})

    def __post_init__(self) -> None:
        if len(self.image) != 3 or not all(1 <= length <= MAX_LENGTH for length in self.image):
            raise InvalidModel(f"an image is channels, rows and columns of 1 to {MAX_LENGTH}, not {self.image!s:.200}")
        if not 1 <= len(self.channels) <= MAX_BLOCKS or not all(1 <= count <= MAX_LENGTH for count in self.channels):
            raise InvalidModel(
                f"a CNN has 1 to {MAX_BLOCKS} blocks of 1 to {MAX_LENGTH} channels, not {self.channels!s:.200}"
            )
        if not 1 <= self.kernel <= MAX_KERNEL or self.kernel % 2 == 0:
            raise InvalidModel(f"a kernel is an odd number from 1 to {MAX_KERNEL}, not {self.kernel!s:.40}")
        if not 1 <= self.outputs <= 2**20:
            raise InvalidModel(f"a CNN has 1 to 2**20 outputs, not {self.outputs!s:.40}")
        if min(self.image[1:]) >> len(self.channels) == 0:
            raise InvalidModel(
                f"{len(self.channels)} blocks leave nothing of an image of {self.image[1]} x {self.image[2]}"
            )

    @property
    def input_dimensions(self) -> Dimensions:
        return self.image

    @property
    def output_dimensions(self) -> Dimensions:
        return (self.outputs,)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        if fields["activation"] != "relu":
            raise InvalidModel(f"a cnn with {fields['activation']!r:.40} is unknown; one with relu is known")
        for name in ("kernel", "outputs"):
            demand(fields[name], int, name)
        image = several(fields["image"], int, "image", "a length of the image")
        if len(image) != 3:
            raise InvalidModel("an image is channels, rows and columns")
        return cls(
            image=image,
            channels=several(fields["channels"], int, "channels", "a number of channels"),
            kernel=fields["kernel"],
            outputs=fields["outputs"],
        )

    def parameters(self) -> tuple[TensorSpec, ...]:
        tensors = []
        for block, (before, after) in enumerate(pairwise((self.image[0], *self.channels)), start=1):
            tensors.append(TensorSpec(f"K{block}", (after, before, self.kernel, self.kernel)))
            tensors.append(TensorSpec(f"b{block}", (after,)))
        rows, columns = (length >> len(self.channels) for length in self.image[1:])
        tensors.append(TensorSpec("W", (self.outputs, self.channels[-1] * rows * columns)))
        return (*tensors, TensorSpec("b", (self.outputs,)))

    def nodes(self, source: str, result: str) -> tuple[Node, ...]:
        margin = self.kernel // 2
        conv = {"kernel_shape": (self.kernel,) * 2, "pads": (margin,) * 4, "strides": (1, 1)}
        nodes = []
        for block in range(1, len(self.channels) + 1):
            names = f"conv{block}", f"relu{block}", f"pool{block}"
            nodes.append(Node("Conv", (source, f"K{block}", f"b{block}"), names[0], conv))
            nodes.append(Node("Relu", names[:1], names[1]))
            nodes.append(Node("MaxPool", names[1:2], names[2], {"kernel_shape": (2, 2), "strides": (2, 2)}))
            source = names[2]
        nodes.append(Node("Flatten", (source,), "flat", {"axis": 1}))
        return (*nodes, Node("Gemm", ("flat", "W", "b"), result, {"transB": 1}))
