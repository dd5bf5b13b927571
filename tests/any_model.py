"""Any small model of any kind, for tests that hold for all of them; and a kind that only tests have, in as much code as a kind takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from linklearner.domain.classifier import classifier
from linklearner.domain.fields import demand, several
from linklearner.domain.graph import Node, TensorSpec
from linklearner.domain.kinds.cnn import Cnn
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import ModelSpec
from linklearner.domain.operators import Dimensions
from linklearner.onnx_graph import onnx_model, reference


@dataclass(frozen=True, slots=True)
class Strided:
    """One convolution of two rows and columns that moves by two, then one linear layer; no ReLU, no pooling."""

    image: tuple[int, int, int]
    outputs: int

    KIND: ClassVar[str] = "strided"
    FIELDS: ClassVar[frozenset[str]] = frozenset({"image", "outputs"})

    @property
    def input_dimensions(self) -> Dimensions:
        return self.image

    @property
    def output_dimensions(self) -> Dimensions:
        return (self.outputs,)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        demand(fields["outputs"], int, "outputs")
        return cls(several(fields["image"], int, "image", "a length"), fields["outputs"])

    def parameters(self) -> tuple[TensorSpec, ...]:
        channels, rows, columns = self.image
        left = 4 * (rows // 2) * (columns // 2)
        return (
            TensorSpec("kernel", (4, channels, 2, 2)),
            TensorSpec("offset", (4,)),
            TensorSpec("W", (self.outputs, left)),
            TensorSpec("b", (self.outputs,)),
        )

    def nodes(self, source: str, result: str) -> tuple[Node, ...]:
        conv = {"kernel_shape": (2, 2), "pads": (0, 0, 0, 0), "strides": (2, 2)}
        return (
            Node("Conv", (source, "kernel", "offset"), "patches", conv),
            Node("Flatten", ("patches",), "flat", {"axis": 1}),
            Node("Gemm", ("flat", "W", "b"), result, {"transB": 1}),
        )


@st.composite
def mlps(draw: st.DrawFn) -> Mlp:
    return Mlp(tuple(draw(st.lists(st.integers(1, 12), min_size=2, max_size=5))))


@st.composite
def cnns(draw: st.DrawFn) -> Cnn:
    channels = draw(st.lists(st.integers(1, 5), min_size=1, max_size=2))
    least = 2 ** len(channels)
    image = draw(st.tuples(st.integers(1, 3), st.integers(least, 9), st.integers(least, 9)))
    return Cnn(image, tuple(channels), draw(st.sampled_from((1, 3, 5))), draw(st.integers(1, 6)))


@st.composite
def strided(draw: st.DrawFn) -> Strided:
    return Strided(draw(st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9))), draw(st.integers(1, 6)))


ARCHITECTURES = {Mlp.KIND: mlps(), Cnn.KIND: cnns(), Strided.KIND: strided()}
"""Small ones of every kind: whoever adds a kind adds a row, and every test of any model is a test of it."""


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    """Called "any", with the input "x"."""
    architecture = draw(st.one_of(*ARCHITECTURES.values()))
    labels = tuple(map(str, range(architecture.output_dimensions[0])))
    return classifier("any", architecture, labels, "x", draw(st.sampled_from((1.0, 1 / 16, 1 / 255))))


def reference_logits(spec: ModelSpec, weights: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of a model of one input, by ONNX's reference implementation. weights: (N,) float32, x: (B, *dimensions)."""
    (signature,) = spec.inputs
    answer: NDArray[np.float32] = reference(onnx_model(spec, weights), {signature.name: x.astype(np.float32)})[
        spec.answer.name
    ]
    return answer
