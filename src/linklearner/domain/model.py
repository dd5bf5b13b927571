"""What a task's weights mean: a short JSON text that the chain keeps, and the graph that it holds.

    {"format":2,"name":"digits","loss":"cross-entropy","labels":["0",…],"advice":{"learning_rate":0.01},"digest":"…","graph":"…"}

`graph` is Base64 of zlib of the graph's own text (`graph.Graph.text`), `digest` the Keccak-256 of that text. Everybody who joins the task
trains and serves it from this text, without running anybody's code.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.fields import demand, exactly, number, several
from linklearner.domain.graph import MAX_JSON_BYTES as MAX_GRAPH_BYTES
from linklearner.domain.graph import Graph, Signature, TensorSpec
from linklearner.domain.operators import Datatype
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.strictjson import NotJson

FORMAT: Final = 2
MAX_JSON_BYTES: Final = 1 << 18
"""Of the text: 24 gas a byte, 6.3 M in all."""
MAX_LABELS: Final = 1 << 16
MAX_NAME: Final = 256

LOGITS: Final = "logits"
"""What our own builders call the output of a classifier."""

_KEYS: Final = frozenset({"format", "name", "loss", "labels", "advice", "digest", "graph"})
ADVICE: Final[Mapping[str, tuple[float, float]]] = {
    "learning_rate": (1e-9, 1.0),
    "steps": (10, 1_000_000),
    "batch_size": (1, 2**20),
}
"""What a task's creator may advise its trainers, each between these numbers; each trainer's own settings win."""


class Loss(StrEnum):
    """What training makes small, of the graph's first output beside the samples' targets; a mean over samples and numbers."""

    CROSS_ENTROPY = "cross-entropy"
    """Logits (B, labels) beside one label each, int64 (B,)."""
    BINARY_CROSS_ENTROPY = "binary-cross-entropy"
    """Logits (B, …) beside as many numbers of 0 to 1."""
    MEAN_SQUARED_ERROR = "mean-squared-error"
    """Numbers (B, …) beside as many."""

    @property
    def metric(self) -> str:
        """What people read beside the loss: the share of right answers; of regressions R², the share of the variance that is explained."""
        return "R²" if self is Loss.MEAN_SQUARED_ERROR else "accuracy"


@dataclass(frozen=True)
class ModelSpec:
    """A graph, what its first output is judged by, and what people call its parts. Raises InvalidModel.

    labels: of cross-entropy one for each logit; otherwise one for each number of the first output, or none. advice: some of ADVICE.
    """

    name: str
    graph: Graph
    loss: Loss = Loss.CROSS_ENTROPY
    labels: tuple[str, ...] = ()
    advice: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.advice.items():
            if name not in ADVICE:
                raise InvalidModel(f"a task advises {', '.join(ADVICE)}, not {name!r:.40}")
            low, high = ADVICE[name]
            if not low <= value <= high or (low >= 1 and value != int(value)):
                raise InvalidModel(f"{name} must be between {low:g} and {high:g}, got {value!r:.40}")
        answer = self.answer
        if answer.datatype is not Datatype.FP32:
            raise InvalidModel(f"the first output of a graph is what is trained: FP32, not {answer.datatype}")
        if self.loss is Loss.CROSS_ENTROPY and answer.dimensions != (len(self.labels),):
            size = "x".join(map(str, answer.dimensions)) or "one number"
            raise InvalidModel(f"an output of {size} needs as many labels, not {len(self.labels)}")
        if self.labels and len(self.labels) != prod(answer.dimensions):
            raise InvalidModel(f"{prod(answer.dimensions)} outputs have as many names, not {len(self.labels)}")
        if len(self.labels) > MAX_LABELS:
            raise InvalidModel(f"a model has at most {MAX_LABELS} labels")
        if not 1 <= len(self.name) <= MAX_NAME:
            raise InvalidModel(f"a model has a name of 1 to {MAX_NAME} characters")
        try:
            "".join((self.name, *self.labels, *self.graph.values)).encode()
        except UnicodeEncodeError:  # JSON can spell half a surrogate pair; no protocol carries one
            raise InvalidModel("names and labels are text that UTF-8 can write") from None

    @property
    def inputs(self) -> tuple[Signature, ...]:
        """The graph's inputs, unscaled: what of scaling there is, is part of the graph."""
        return self.graph.inputs

    @property
    def answer(self) -> Signature:
        """The output that the loss is about."""
        return self.graph.outputs[0]

    def tensors(self) -> tuple[TensorSpec, ...]:
        """The trainable tensors in the order of the flat vector."""
        return self.graph.parameters

    @property
    def weight_count(self) -> int:
        """N."""
        return self.graph.weight_count

    def shape(self, exponents: int | tuple[int, ...], page_length: int, group_pages: int, norm_bound: int) -> Shape:
        """The task shape of this model. exponents: of each tensor, or one for all."""
        each = (exponents,) * len(self.tensors()) if isinstance(exponents, int) else exponents
        if len(each) != len(self.tensors()):
            raise InvalidModel(f"{len(self.tensors())} tensors have an exponent each, not {len(each)}")
        tensors = tuple(Tensor(spec.length, exponent) for spec, exponent in zip(self.tensors(), each, strict=True))
        return Shape(tensors, page_length, group_pages, norm_bound)

    def fits(self, shape: Shape) -> bool:
        """Whether a task's shape has this model's tensors, one by one."""
        return tuple(spec.length for spec in self.tensors()) == tuple(tensor.length for tensor in shape.tensors)

    def initial(self, seed: int) -> NDArray[np.float32]:
        """(N,) float32: He initialisation (normal, variance 2 / fan-in), biases 0; the same seed gives the same weights.

        For graphs of our own builders: a model that somebody wrote in torch comes with the first weights that torch gave it.
        """
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

    def to_json(self) -> str:
        """The text that the chain keeps. Raises InvalidModel if it is longer than any task's may be."""
        packed = base64.b64encode(zlib.compress(self.graph.text.encode(), 9)).decode()
        said = {
            "format": FORMAT,
            "name": self.name,
            "loss": self.loss,
            "labels": list(self.labels),
            "advice": dict(self.advice),
            "digest": self.graph.digest.hex(),
            "graph": packed,
        }
        text = json.dumps(said, separators=(",", ":"), ensure_ascii=False)
        if len(text.encode()) > MAX_JSON_BYTES or len(self.graph.text) > MAX_GRAPH_BYTES:
            raise InvalidModel(
                f"the description of model {self.name:.60} has {len(text.encode())} bytes ({len(self.graph.text)} unpacked), more than "
                f"{MAX_JSON_BYTES} ({MAX_GRAPH_BYTES}): put large constants into a file (frozen tensors)"
            )
        return text

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Raises InvalidModel for anything but a description that this version can run exactly as written."""
        try:
            fields = strictjson.loads(text, max_bytes=MAX_JSON_BYTES, max_values=MAX_LABELS + 16, max_depth=2)
        except NotJson as error:
            raise InvalidModel(
                f"a model description is JSON of at most {MAX_JSON_BYTES} bytes: {error.message}"
            ) from None
        demand(fields, dict, "the description")
        demand(fields.get("format"), int, "format")
        if fields["format"] != FORMAT:
            raise InvalidModel(f"model format {fields['format']!r:.40} is unknown; this program knows {FORMAT}")
        exactly(fields, _KEYS, "the description")
        for name in ("name", "loss", "digest", "graph"):
            demand(fields[name], str, name)
        try:
            loss = Loss(fields["loss"])
        except ValueError:
            raise InvalidModel(f"a loss is one of {', '.join(Loss)}, not {fields['loss']!r:.40}") from None
        graph = Graph.from_text(_unpacked(fields["graph"]))
        if fields["digest"] != graph.digest.hex():
            raise InvalidModel(f"the graph has the digest {graph.digest.hex()}, not {fields['digest']!r:.70}")
        demand(fields["advice"], dict, "advice")
        advice = {name: number(value, f"advice {name:.40}") for name, value in fields["advice"].items()}
        return cls(fields["name"], graph, loss, several(fields["labels"], str, "labels", "a label"), advice)


def _unpacked(text: str) -> bytes:
    """Never more than MAX_GRAPH_BYTES, whatever the compressed bytes would give."""
    try:
        packed = base64.b64decode(text, validate=True)
        machine = zlib.decompressobj()
        graph = machine.decompress(packed, MAX_GRAPH_BYTES + 1)
        if len(graph) > MAX_GRAPH_BYTES:
            raise InvalidModel(f"a graph has at most {MAX_GRAPH_BYTES} bytes, unpacked")
        if not machine.eof or machine.unused_data:
            raise InvalidModel("the packed graph is cut off, or has something behind it")
    except (binascii.Error, ValueError, zlib.error) as error:
        raise InvalidModel(f"a graph is packed as Base64 of zlib: {error!s:.80}") from None
    return graph


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
