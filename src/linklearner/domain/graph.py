"""What a model computes, as data: named tensors, signatures of inputs and outputs, and nodes of ONNX's operators between them.

A graph holds no weights and runs no code of its own. Two interpreters execute the same nodes: torch in the trainer
(`services/trainer/network.py`), so that autograd can differentiate them, and onnxruntime, for which `linklearner.onnx_graph` writes them
down unchanged.

Every value in a graph has an element type and dimensions (`operators`). They are worked out and checked when a graph is made, by integers
alone: a graph that exists fits together, and a hostile one has allocated nothing.

A graph travels as compact JSON (`to_json`), not as ONNX's protobuf: it has one spelling only, a browser reads it without a library, and
what reads strangers' bytes is the bounded parser that everything else here uses. It says what a stripped ONNX file would say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Final

import numpy as np
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.fields import demand, exactly, number, several
from linklearner.domain.operators import BATCH, MAX_RANK, Attribute, Attributes, Datatype, Dimensions, Value, infer
from linklearner.domain.shape import MAX_WEIGHTS
from linklearner.domain.strictjson import NotJson

MAX_NODES: Final = 4096
MAX_SAMPLE_LENGTH: Final = 2**24
"""Numbers of one value for one sample: 64 MiB of float32."""
MAX_COMPUTED_BYTES: Final = 2**30
"""Of all values together that a graph computes for one sample: 4,096 of them, each as long as one may be, would be 256 GiB."""
MAX_WORK: Final = 2**36
"""Multiply-adds (or as much) of all that a graph computes for one sample: seconds of a processor's time."""
MAX_CONSTANT_LENGTH: Final = 2**16
"""Numbers of all constants together; more belong into a file (`Frozen`)."""
MAX_FROZEN_LENGTH: Final = 2**31
"""Numbers of all frozen tensors together: 8 GiB of float32."""
MAX_NAME: Final = 256
MAX_JSON_BYTES: Final = 1 << 20
MAX_JSON_VALUES: Final = 1 << 18
MAX_JSON_DEPTH: Final = 5
_LAYERS: Final = frozenset({"Gemm", "MatMul", "Conv", "Gather"})
_KEYS: Final = frozenset({"constants", "frozen", "inputs", "nodes", "outputs", "parameters"})


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
    """A named tensor whose values are part of the graph; `dimensions` () is one number. FP32 values are those that float32 holds."""

    name: str
    dimensions: Dimensions
    values: tuple[float, ...]
    datatype: Datatype = Datatype.FP32

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> Constant:
        """Raises InvalidModel for an element type that no value of a graph has."""
        for datatype in Datatype:
            if datatype.dtype == array.dtype:
                return cls(name, array.shape, tuple(array.ravel().tolist()), datatype)
        raise InvalidModel(f"constant {name!r:.80} is {array.dtype}; {', '.join(Datatype)} are known")

    def array(self) -> NDArray[Any]:
        """(*dimensions) of the datatype."""
        return np.array(self.values, dtype=self.datatype.dtype).reshape(self.dimensions)


@dataclass(frozen=True, slots=True)
class Frozen:
    """A tensor of float32 that nobody trains, in a file that everybody fetches: `tensor` in the safetensors file with this SHA-256."""

    name: str
    dimensions: Dimensions
    file: bytes
    """32 bytes."""
    tensor: str

    @property
    def length(self) -> int:
        return prod(self.dimensions)


@dataclass(frozen=True, slots=True)
class Signature:
    """One input or output: what a batch of it looks like."""

    name: str
    datatype: Datatype
    dimensions: Dimensions
    """Of one sample, row-major; an array of B samples is (B, *dimensions)."""
    range: tuple[float, float] | None = None
    """Least and greatest value that the task was made for; None if its author did not say. Of integers no other is taken."""

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
        kind = "numbers" if self.datatype is Datatype.FP32 else self.datatype
        span = "of unstated range" if self.range is None else "from {:g} to {:g}".format(*self.range)
        return f"{size} {kind} {span}, called {self.name}".lstrip()


@dataclass(frozen=True, slots=True)
class Node:
    """One operator, as ONNX spells it: its inputs are names of values, its output is a new one, after which the node is called."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """`parameters` in the order of the flat weight vector; `nodes` in an order in which they can be executed. Raises InvalidModel."""

    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    parameters: tuple[TensorSpec, ...]
    constants: tuple[Constant, ...] = ()
    nodes: tuple[Node, ...] = ()
    frozen: tuple[Frozen, ...] = ()

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs or not self.parameters:
            raise InvalidModel("a graph has inputs, outputs and parameters")
        if len(self.nodes) > MAX_NODES:
            raise InvalidModel(f"a graph has at most {MAX_NODES} nodes, not {len(self.nodes)}")
        for signature in (*self.inputs, *self.outputs):
            self._check_range(signature)
        for output in self.outputs:
            found = self.values.get(output.name)
            if found is None or (found.datatype, found.dimensions) != (output.datatype, output.shape):
                wanted = Value(output.datatype, output.shape)
                raise InvalidModel(f"output {output.name!r:.80} is {wanted}, the graph gives {found}")
        if self.computed_bytes > MAX_COMPUTED_BYTES:
            raise InvalidModel(
                f"all that a graph computes for one sample has {MAX_COMPUTED_BYTES:,} bytes at most, not {self.computed_bytes:,}"
            )
        if self.work > MAX_WORK:
            raise InvalidModel(f"a graph takes {MAX_WORK:,} multiply-adds for one sample at most, not {self.work:,}")
        if len({output.name for output in self.outputs}) != len(self.outputs):
            raise InvalidModel("the outputs of a graph have names of their own")

    @staticmethod
    def _check_range(signature: Signature) -> None:
        if signature.range is not None:
            low, high = signature.range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise InvalidModel(f"an input range is two numbers, the lower one first, not {low} and {high}")

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """Every value by its name: element type and dimensions."""
        known: dict[str, Value] = {}

        def add(name: str, value: Value, most: int) -> None:
            if not name or len(name) > MAX_NAME:
                raise InvalidModel(f"every value of a graph has a name of at most {MAX_NAME} characters")
            if name in known:
                raise InvalidModel(f"a value of a graph cannot be named {name!r:.80}: another one is")
            sample = tuple(map(abs, value.dimensions))
            if len(sample) > MAX_RANK or min(sample, default=1) < 1 or prod(sample) > most:
                raise InvalidModel(
                    f"{name!r:.80} has 1 to {most} numbers, not {'x'.join(map(str, value.dimensions)):.80}"
                )
            known[name] = value

        for parameter in self.parameters:
            self._static(parameter.name, parameter.dimensions)
            add(parameter.name, Value(Datatype.FP32, parameter.dimensions), MAX_WEIGHTS)
        for tensor in self.frozen:
            self._static(tensor.name, tensor.dimensions)
            if len(tensor.file) != 32 or not tensor.tensor:
                raise InvalidModel(
                    f"frozen tensor {tensor.name!r:.80} needs a SHA-256 of 32 bytes and a name in that file"
                )
            add(tensor.name, Value(Datatype.FP32, tensor.dimensions), MAX_FROZEN_LENGTH)
        for constant in self.constants:
            self._static(constant.name, constant.dimensions)
            if len(constant.values) != prod(constant.dimensions):
                raise InvalidModel(f"constant {constant.name!r:.80} does not have as many values as its dimensions say")
            if not all(map(math.isfinite, constant.values)):
                raise InvalidModel(f"constant {constant.name!r:.80} has NaN or infinity among its values")
            add(
                constant.name,
                Value(constant.datatype, constant.dimensions, constant.values),
                MAX_CONSTANT_LENGTH,
            )
        for what, total, most in (
            ("parameters", sum(one.length for one in self.parameters), MAX_WEIGHTS),
            ("frozen tensors", sum(one.length for one in self.frozen), MAX_FROZEN_LENGTH),
            ("constants", sum(len(one.values) for one in self.constants), MAX_CONSTANT_LENGTH),
        ):
            if total > most:
                raise InvalidModel(f"the {what} of a graph are {most} numbers at most, not {total}")
        produced = {node.output for node in self.nodes}
        for signature in self.inputs:
            if signature.name in known or signature.name in produced:
                names = sorted(known.keys() | produced)
                raise InvalidModel(
                    f"an input cannot be named {signature.name!r:.80}: the graph uses it; others are {names!s:.200}"
                )
            self._static(signature.name, signature.dimensions)
            add(signature.name, Value(signature.datatype, signature.shape), MAX_SAMPLE_LENGTH)
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in known]
            if missing:
                raise InvalidModel(f"node {node.output!r:.40} reads {missing!s:.80}, which nothing before it gives")
            try:
                value = infer(node.operator, [known[name] for name in node.inputs], node.attributes)
            except InvalidModel as error:
                raise InvalidModel(f"node {node.output!r:.40}: {error.message}") from None
            add(node.output, value, MAX_SAMPLE_LENGTH if value.batched else MAX_WEIGHTS)
        return known

    @staticmethod
    def _static(name: str, dimensions: Dimensions) -> None:
        if any(length < 1 for length in dimensions):
            raise InvalidModel(f"{name!r:.80} has dimensions from 1, not {'x'.join(map(str, dimensions)):.80}")

    @cached_property
    def weight_count(self) -> int:
        """N."""
        return sum(parameter.length for parameter in self.parameters)

    @cached_property
    def widest(self) -> int:
        """Numbers of the longest value that a graph computes for one sample, its inputs among them."""
        return max(value.length for value in self.values.values() if value.batched)

    @cached_property
    def computed_bytes(self) -> int:
        """Of all values that a graph computes for one sample, its inputs among them: in memory if none is given up before the last."""
        return sum(map(self._bytes_of, (*(one.name for one in self.inputs), *(node.output for node in self.nodes))))

    @cached_property
    def peak_bytes(self) -> int:
        """The same if each value is given up after the last node that reads it; outputs stay."""
        last = {one.name: 0 for one in self.inputs}
        for place, node in enumerate(self.nodes):
            last |= {name: place for name in node.inputs if name in last}
            last[node.output] = place
        last |= {output.name: len(self.nodes) for output in self.outputs}
        given_up = [0] * (len(self.nodes) + 1)
        for name in last.keys() - {one.name for one in self.parameters}:
            given_up[last[name]] += self._bytes_of(name)
        held = peak = sum(self._bytes_of(one.name) for one in self.inputs)
        for place, node in enumerate(self.nodes):
            held += self._bytes_of(node.output)
            peak = max(peak, held)
            held -= given_up[place]
        return peak

    @cached_property
    def work(self) -> int:
        """About how many multiply-adds one sample takes; of operators that do none, as many as there are numbers."""
        return sum(map(self._work_of, self.nodes))

    def _work_of(self, node: Node) -> int:
        made, taken = self.values[node.output], [self.values[name] for name in node.inputs]
        match node.operator:
            case "Gemm" | "MatMul":
                each = taken[0].dimensions[-1]
            case "Conv":
                each = prod(taken[1].dimensions[1:])
            case "MaxPool" | "AveragePool":
                kernel = node.attributes["kernel_shape"]
                assert isinstance(kernel, tuple)
                each = prod(kernel)
            case _:
                each = 1
        return max(made.length * each, *(one.length for one in taken))

    def _bytes_of(self, name: str) -> int:
        value = self.values[name]
        return value.datatype.dtype.itemsize * value.length

    @cached_property
    def text(self) -> str:
        """Compact JSON with sorted keys: one spelling of everything that the graph says. Weights are no part of it."""
        said = {
            "inputs": [[one.name, one.datatype, one.dimensions, one.range] for one in self.inputs],
            "outputs": [[one.name, one.datatype, one.dimensions] for one in self.outputs],
            "parameters": [[one.name, one.dimensions] for one in self.parameters],
            "constants": [[one.name, one.datatype, one.dimensions, one.values] for one in self.constants],
            "frozen": [[one.name, one.dimensions, one.file.hex(), one.tensor] for one in self.frozen],
            "nodes": [[n.operator, n.inputs, n.output, dict(n.attributes)] for n in self.nodes],
        }
        return json.dumps(said, separators=(",", ":"), sort_keys=True, allow_nan=False)

    @cached_property
    def digest(self) -> bytes:
        """32 bytes: Keccak-256 of `text`."""
        return bytes(keccak(self.text.encode()))

    @classmethod
    def from_text(cls, text: bytes | str) -> Graph:
        """Raises InvalidModel for anything but the text of a graph that this version runs exactly as written."""
        try:
            fields = strictjson.loads(
                text, max_bytes=MAX_JSON_BYTES, max_values=MAX_JSON_VALUES, max_depth=MAX_JSON_DEPTH
            )
        except NotJson as error:
            raise InvalidModel(f"a graph is JSON of at most {MAX_JSON_BYTES} bytes: {error.message}") from None
        demand(fields, dict, "a graph")
        exactly(fields, _KEYS, "a graph")
        graph = cls(
            inputs=tuple(_input(row) for row in _rows(fields["inputs"], 4, "an input")),
            outputs=tuple(
                Signature(_text(name), _datatype(kind), _dimensions(sizes))
                for name, kind, sizes in _rows(fields["outputs"], 3, "an output")
            ),
            parameters=tuple(
                TensorSpec(_text(name), _dimensions(sizes))
                for name, sizes in _rows(fields["parameters"], 2, "a parameter")
            ),
            constants=tuple(_constant(row) for row in _rows(fields["constants"], 4, "a constant")),
            frozen=tuple(
                Frozen(_text(name), _dimensions(sizes), _hex(file), _text(tensor))
                for name, sizes, file, tensor in _rows(fields["frozen"], 4, "a frozen tensor")
            ),
            nodes=tuple(_node(row) for row in _rows(fields["nodes"], 4, "a node")),
        )
        if graph.text != (text if isinstance(text, str) else text.decode()):
            raise InvalidModel("a graph is written in one way only: compact, with sorted keys, as Graph.text writes it")
        return graph

    def __str__(self) -> str:
        """What people read: the operators in order, layers with the size of what they give for a sample, repeats counted."""
        runs: list[list[Any]] = []
        for node in self.nodes:
            name = node.operator
            if name in _LAYERS:
                name += " " + "x".join(str(length) for length in self.values[node.output].dimensions if length > 0)
            if runs and runs[-1][0] == name:
                runs[-1][1] += 1
            else:
                runs.append([name, 1])
        shown = [name if count == 1 else f"{count} {name}" for name, count in runs]
        if len(shown) > 12:
            shown = [*shown[:6], f"… {len(shown) - 11} more …", *shown[-5:]]
        return ", ".join(shown)

    def split(self, weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Views of the flat vector as the parameters, in order. Raises InvalidInput for another length."""
        if weights.shape != (self.weight_count,):
            raise InvalidInput(f"the model has {self.weight_count} weights, not {weights.shape}")
        views, start = [], 0
        for parameter in self.parameters:
            views.append(weights[start : start + parameter.length].reshape(parameter.dimensions))
            start += parameter.length
        return tuple(views)


def _rows(value: Any, length: int, what: str) -> list[list[Any]]:
    demand(value, list, f"the list of which {what} is one")
    for row in value:
        if not isinstance(row, list) or len(row) != length:
            raise InvalidModel(f"{what} is a list of {length}, not {row!r:.60}")
    return list(value)


def _text(value: Any) -> str:
    demand(value, str, "a name")
    return str(value)


def _datatype(value: Any) -> Datatype:
    try:
        return Datatype(value)
    except ValueError:
        raise InvalidModel(f"an element type is one of {', '.join(Datatype)}, not {value!r:.40}") from None


def _dimensions(value: Any) -> Dimensions:
    return several(value, int, "dimensions", "a dimension")


def _hex(value: Any) -> bytes:
    try:
        return bytes.fromhex(_text(value))
    except ValueError:
        raise InvalidModel(f"a SHA-256 is 64 hex digits, not {value!r:.70}") from None


def _input(row: list[Any]) -> Signature:
    name, kind, sizes, span = row
    if span is not None and (not isinstance(span, list) or len(span) != 2):
        raise InvalidModel("an input's range is the least and the greatest value, two numbers, or null")
    limits = None if span is None else (number(span[0], "a range"), number(span[1], "a range"))
    return Signature(_text(name), _datatype(kind), _dimensions(sizes), limits)


def _constant(row: list[Any]) -> Constant:
    name, kind, sizes, values = row
    datatype = _datatype(kind)
    demand(values, list, "a constant's values")
    what = f"a value of constant {name!r:.40}"
    match datatype:
        case Datatype.FP32:
            for value in values:
                demand(value, float, what)
            with np.errstate(over="ignore"):
                held = np.array(values, dtype=np.float64).astype(np.float32).astype(np.float64).tolist()
            if held != values or not np.isfinite(held).all():
                raise InvalidModel(f"{what} is a number that float32 holds")
        case Datatype.BOOL:
            if not all(isinstance(value, bool) for value in values):
                raise InvalidModel(f"{what} is true or false")
        case _:
            for value in values:
                demand(value, int, what)
            limits = np.iinfo(datatype.dtype)
            if not all(limits.min <= value <= limits.max for value in values):
                raise InvalidModel(f"{what} lies between {limits.min} and {limits.max}")
    return Constant(_text(name), _dimensions(sizes), tuple(values), datatype)


def _node(row: list[Any]) -> Node:
    operator, inputs, output, attributes = row
    demand(attributes, dict, "a node's attributes")
    return Node(
        _text(operator),
        several(inputs, str, "a node's inputs", "an input's name"),
        _text(output),
        {name: _attribute(name, value) for name, value in attributes.items()},
    )


def _attribute(name: str, value: Any) -> Attribute:
    if isinstance(value, list):
        return several(value, int, f"attribute {name:.40}", "a number of it")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidModel(f"attribute {name!r:.40} is a number, a text or a list of integers, not {value!r:.40}")
    return value
