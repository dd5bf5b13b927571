"""What a task's weights mean: a small JSON text that the chain keeps, and the graph that it stands for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.fields import demand, exactly, number, several
from linklearner.domain.graph import Constant, Datatype, Graph, Node, Signature, TensorSpec
from linklearner.domain.kinds import KINDS, Architecture
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.strictjson import NotJson

FORMAT = 1
MAX_JSON_BYTES = 16384
MAX_JSON_DEPTH = 4

LOGITS: Final = "logits"
"""The name of every model's output: one number a label."""
SCALE, SCALED = "input_scale", "scaled"

_COMMON = frozenset({"format", "name", "kind", "input", "labels"})


@dataclass(frozen=True)
class ModelSpec:
    """A classifier of one input: x * input_scale, then what the architecture makes of it; the last layer gives logits, one a label.

    Its graph is made with it: a description that exists can be run. Raises InvalidModel.
    """

    name: str
    architecture: Architecture
    labels: tuple[str, ...]
    """One per output."""
    input_name: str = "x"
    input_scale: float = 1.0
    """Inputs are multiplied by this first (1/16 for pixels 0..16)."""
    input_range: tuple[float, float] | None = None
    """Least and greatest value of an unscaled input that the task was made for; None if its author did not say."""

    def __post_init__(self) -> None:
        if self.architecture.output_dimensions != (len(self.labels),):
            outputs = prod(self.architecture.output_dimensions)
            raise InvalidModel(f"{outputs} outputs need as many labels, not {len(self.labels)}")
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
        _ = self.graph

    @cached_property
    def graph(self) -> Graph:
        """What the weights are weights of."""
        dimensions = self.architecture.input_dimensions
        return Graph(
            inputs=(Signature(self.input_name, Datatype.FP32, dimensions, self.input_range),),
            outputs=(Signature(LOGITS, Datatype.FP32, self.architecture.output_dimensions),),
            parameters=self.architecture.parameters(),
            constants=(Constant(SCALE, (), (self.input_scale,)),),
            nodes=(
                Node("Mul", "scale", (self.input_name, SCALE), SCALED),
                *self.architecture.nodes(SCALED, LOGITS),
            ),
        )

    @property
    def input(self) -> Signature:
        """The graph's one input, unscaled."""
        (signature,) = self.graph.inputs
        return signature

    def tensors(self) -> tuple[TensorSpec, ...]:
        """The trainable tensors in the order of the flat vector."""
        return self.graph.parameters

    @property
    def weight_count(self) -> int:
        """N."""
        return self.graph.weight_count

    def shape(self, exponent: int, page_length: int, group_pages: int, norm_bound: int) -> Shape:
        """The task shape of this model with the same exponent for every tensor."""
        return Shape(
            tuple(Tensor(spec.length, exponent) for spec in self.tensors()), page_length, group_pages, norm_bound
        )

    def fits(self, shape: Shape) -> bool:
        """Whether a task's shape has this model's tensors, one by one."""
        return tuple(spec.length for spec in self.tensors()) == tuple(tensor.length for tensor in shape.tensors)

    def initial(self, seed: int) -> NDArray[np.float32]:
        """(N,) float32: He initialisation (normal, variance 2 / fan-in), biases 0; the same seed gives the same weights."""
        generator = np.random.Generator(np.random.PCG64(seed))
        parts = [
            generator.normal(0.0, np.sqrt(2.0 / prod(spec.dimensions[1:])), spec.length)
            if len(spec.dimensions) >= 2
            else np.zeros(spec.length)
            for spec in self.tensors()
        ]
        return np.concatenate(parts).astype(np.float32)

    def split(self, weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Views of the flat vector as the tensors, in order. Raises InvalidInput for another length."""
        return self.graph.split(weights)

    def forward(self, weights: NDArray[np.float32], inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The reference forward pass, of the (N,) float32 weights. Returns (B, labels) float32 logits.

        inputs: (B, *input.dimensions) float32, unscaled.
        """
        return self.graph.run(weights, {self.input_name: inputs.astype(np.float32)})[LOGITS]

    def to_json(self) -> str:
        """The text that the chain keeps: compact, keys in a fixed order."""
        return json.dumps(
            {
                "format": FORMAT,
                "name": self.name,
                "kind": self.architecture.KIND,
                **self.architecture.to_fields(),
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
        demand(fields, dict, "the description")
        demand(fields.get("kind"), str, "kind")
        kind = KINDS.get(fields["kind"])
        if kind is None:
            raise InvalidModel(f"a {fields['kind']!r:.40} is unknown; {', '.join(KINDS)} are known")
        exactly(fields, _COMMON | kind.FIELDS, "the description")
        demand(fields["format"], int, "format")
        if fields["format"] != FORMAT:
            raise InvalidModel(f"model format {fields['format']!r} is unknown; this program knows {FORMAT}")
        demand(fields["name"], str, "name")
        demand(fields["input"], dict, "input")
        exactly(fields["input"], {"name", "scale"}, "input", may={"range"})
        demand(fields["input"]["name"], str, "input.name")
        span = fields["input"].get("range")
        if span is not None and (not isinstance(span, list) or len(span) != 2):
            raise InvalidModel("input.range is the least and the greatest input, two numbers")
        return cls(
            name=fields["name"],
            architecture=kind.from_fields({name: fields[name] for name in kind.FIELDS}),
            labels=several(fields["labels"], str, "labels", "a label"),
            input_name=fields["input"]["name"],
            input_scale=number(fields["input"]["scale"], "input.scale"),
            input_range=None if span is None else (number(span[0], "input.range"), number(span[1], "input.range")),
        )


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
