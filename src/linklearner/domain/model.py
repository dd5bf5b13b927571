"""What a task's weights mean: a network's architecture as a small JSON text that the chain keeps, and its reference forward pass."""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.strictjson import NotJson

FORMAT = 1
MAX_JSON_BYTES = 16384
MAX_JSON_DEPTH = 4
MAX_LAYERS = 64


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named tensor; `dimensions` row-major."""

    name: str
    dimensions: tuple[int, ...]

    @property
    def length(self) -> int:
        return int(np.prod(self.dimensions))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A multilayer perceptron: x * input_scale, then per layer y = W x + b, with ReLU between layers; the last layer gives logits."""

    name: str
    layers: tuple[int, ...]
    """Widths from input to output."""
    labels: tuple[str, ...]
    """One per output."""
    input_name: str = "x"
    input_scale: float = 1.0
    """Inputs are multiplied by this first (1/16 for pixels 0..16)."""
    input_range: tuple[float, float] | None = None
    """Least and greatest value of an unscaled input that the task was made for; None if its author did not say."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.layers) <= MAX_LAYERS or not all(1 <= width <= 2**20 for width in self.layers):
            raise InvalidModel(f"an MLP has 2 to {MAX_LAYERS} layer widths of 1 to 2**20, not {list(self.layers)}")
        if len(self.labels) != self.layers[-1]:
            raise InvalidModel(f"{self.layers[-1]} outputs need as many labels, not {len(self.labels)}")
        if not isfinite(self.input_scale) or self.input_scale <= 0:
            raise InvalidModel(f"the input scale is a positive number, not {self.input_scale}")
        if self.input_range is not None:
            low, high = self.input_range
            if not (isfinite(low) and isfinite(high) and low < high):
                raise InvalidModel(f"an input range is two numbers, the lower one first, not {low} and {high}")
        if not self.name or not self.input_name:
            raise InvalidModel("a model and its input have names")
        try:
            "".join((self.name, self.input_name, *self.labels)).encode()
        except UnicodeEncodeError:  # JSON can spell half a surrogate pair; no protocol carries one
            raise InvalidModel("names and labels are text that UTF-8 can write") from None

    def tensors(self) -> tuple[TensorSpec, ...]:
        """W1, b1, W2, b2, … in the order of the flat vector; W is (out, in)."""
        return tuple(
            spec
            for layer, (width_in, width_out) in enumerate(pairwise(self.layers), start=1)
            for spec in (TensorSpec(f"W{layer}", (width_out, width_in)), TensorSpec(f"b{layer}", (width_out,)))
        )

    @property
    def weight_count(self) -> int:
        """N."""
        return sum(spec.length for spec in self.tensors())

    def shape(self, exponent: int, page_length: int, group_pages: int, norm_bound: int) -> Shape:
        """The task shape of this model with the same exponent for every tensor."""
        return Shape(
            tuple(Tensor(spec.length, exponent) for spec in self.tensors()), page_length, group_pages, norm_bound
        )

    def initial(self, seed: int) -> NDArray[np.float32]:
        """(N,) float32: He initialisation (normal, variance 2 / fan-in), biases 0; the same seed gives the same weights."""
        generator = np.random.Generator(np.random.PCG64(seed))
        parts = [
            generator.normal(0.0, np.sqrt(2.0 / spec.dimensions[1]), spec.length)
            if len(spec.dimensions) == 2
            else np.zeros(spec.length)
            for spec in self.tensors()
        ]
        return np.concatenate(parts).astype(np.float32)

    def split(self, weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Views of the flat vector as the tensors, in order. Raises InvalidInput for another length."""
        if weights.shape != (self.weight_count,):
            raise InvalidInput(f"model {self.name} has {self.weight_count} weights, not {weights.shape}")
        views, start = [], 0
        for spec in self.tensors():
            views.append(weights[start : start + spec.length].reshape(spec.dimensions))
            start += spec.length
        return tuple(views)

    def forward(self, weights: NDArray[np.float32], inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The reference forward pass. weights: (N,) float32, inputs: (B, in) float32, unscaled. Returns (B, out) float32 logits."""
        if inputs.ndim != 2 or inputs.shape[1] != self.layers[0]:
            raise InvalidInput(f"model {self.name} takes inputs (B, {self.layers[0]}), not {inputs.shape}")
        tensors = self.split(weights)
        activations = inputs.astype(np.float32) * np.float32(self.input_scale)
        last = len(tensors) // 2 - 1
        for layer in range(last + 1):
            activations = activations @ tensors[2 * layer].T + tensors[2 * layer + 1]  # (B, in) -> (B, out)
            if layer < last:
                activations = np.maximum(activations, np.float32(0))
        return activations

    def to_json(self) -> str:
        """The text that the chain keeps: compact, keys in a fixed order."""
        return json.dumps(
            {
                "format": FORMAT,
                "name": self.name,
                "kind": "mlp",
                "layers": list(self.layers),
                "activation": "relu",
                "input": {
                    "name": self.input_name,
                    "scale": self.input_scale,
                    **({} if self.input_range is None else {"range": list(self.input_range)}),
                },
                "labels": list(self.labels),
            },
            separators=(",", ":"),
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Raises InvalidModel for anything but a description that this version can run exactly as written."""
        try:
            fields = strictjson.loads(
                text, max_bytes=MAX_JSON_BYTES, max_values=MAX_JSON_BYTES, max_depth=MAX_JSON_DEPTH
            )
        except NotJson as error:
            raise InvalidModel(
                f"a model description is JSON of at most {MAX_JSON_BYTES} bytes: {error.message}"
            ) from None
        _demand(fields, dict, "the description")
        _keys(fields, {"format", "name", "kind", "layers", "activation", "input", "labels"}, "the description")
        _demand(fields["format"], int, "format")
        if fields["format"] != FORMAT:
            raise InvalidModel(f"model format {fields['format']!r} is unknown; this program knows {FORMAT}")
        if fields["kind"] != "mlp" or fields["activation"] != "relu":
            raise InvalidModel(f"a {fields['kind']!r} with {fields['activation']!r} is unknown; mlp with relu is known")
        _demand(fields["input"], dict, "input")
        _keys(fields["input"], {"name", "scale"}, "input", may={"range"})
        for value, kind, what in (
            (fields["name"], str, "name"),
            (fields["layers"], list, "layers"),
            (fields["labels"], list, "labels"),
            (fields["input"]["name"], str, "input.name"),
        ):
            _demand(value, kind, what)
        for width in fields["layers"]:
            _demand(width, int, "a layer's width")
        for label in fields["labels"]:
            _demand(label, str, "a label")
        span = fields["input"].get("range")
        if span is not None and (not isinstance(span, list) or len(span) != 2):
            raise InvalidModel("input.range is the least and the greatest input, two numbers")
        return cls(
            name=fields["name"],
            layers=tuple(fields["layers"]),
            labels=tuple(fields["labels"]),
            input_name=fields["input"]["name"],
            input_scale=_number(fields["input"]["scale"], "input.scale"),
            input_range=None if span is None else (_number(span[0], "input.range"), _number(span[1], "input.range")),
        )


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidModel(f"{what} is a number")
    try:
        return float(value)
    except OverflowError:  # JSON has integers of any length
        raise InvalidModel(f"{what} is a number that a double holds") from None


def _demand(value: Any, kind: type, what: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidModel(f"{what} is a {kind.__name__}, not {value!r:.60}")


def _keys(fields: dict[str, Any], expected: set[str], what: str, *, may: Set[str] = frozenset()) -> None:
    if set(fields) - may != expected:
        raise InvalidModel(f"{what} has the keys {sorted(expected)}, not {sorted(fields)}")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a task's weights, as the chain announced it."""

    task: int
    version: int
    """Monotonic, from 1; one more per settled round."""
    digest: bytes
    """32 bytes, `digest.model_digest` of the weights."""
    round: int
    """The round that made it; 0 for the first weights."""
    block_number: int
    accepted_count: int = 0
    saturated_count: int = 0

    def __post_init__(self) -> None:
        if len(self.digest) != 32:
            raise InvalidInput(f"a digest has 32 bytes, not {len(self.digest)}")
