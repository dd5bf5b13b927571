"""An ONNX model of whatever exporter as a graph of ours: weights out, shapes worked out, what is constant folded.

Exporters write how a shape is computed (Shape, Gather, Concat …); a graph of ours states it. Such chains are followed here with the batch
as a symbol, and everything else that depends on constants alone is folded by ONNX's reference implementation. Operators that say the same
in other words (axes as attributes, Split, Dropout, CastLike, alpha and beta of Gemm) are written in the words of `domain.operators`.
What is left over and unknown is refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from linklearner.domain.errors import InvalidModel
from linklearner.domain.graph import Constant, Frozen, Graph, Node, Signature, TensorSpec
from linklearner.domain.operators import BATCH, ONNX_CODES, OPERATORS, Datatype, Dimensions, Value, infer

BY_VALUE: Final = 4096
"""Numbers of a frozen tensor that is still written into the graph; larger ones go into a file."""
_CODES: Final = {datatype: code for code, datatype in ONNX_CODES.items()}
_FLOAT32: Final = np.finfo(np.float32)
_END: Final = 2**31
"""Beyond the end of any dimension, which Slice allows."""


@dataclass(frozen=True, slots=True)
class Batch:
    """times * B, in an array of a shape's numbers."""

    times: int


@dataclass(frozen=True, slots=True)
class Imported:
    """graph, and the first weights of its parameters, (N,) float32 in their order. frozen: what goes into the file that it names."""

    graph: Graph
    weights: NDArray[np.float32]
    frozen: Mapping[str, NDArray[np.float32]]


def imported(
    model: onnx.ModelProto,
    *,
    trained: Callable[[str], bool],
    ranges: Mapping[str, tuple[float, float]] | None = None,
    file_digest: Callable[[Mapping[str, NDArray[np.float32]]], bytes],
) -> Imported:
    """The graph of `model`, whose first dimension of inputs and outputs is the batch.

    trained: whether an initialiser of this name is trained. ranges: of inputs, by name. file_digest: SHA-256 of the safetensors file that
    will hold the frozen tensors. Raises InvalidModel for what our operators cannot say.
    """
    reader = _Reader(model, trained)
    reader.read()
    return reader.finish(dict(ranges or {}), file_digest)


@dataclass
class _Reader:
    model: onnx.ModelProto
    trained: Callable[[str], bool]
    known: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Constants by ONNX's names: numbers, or objects where Batch is among them."""
    alias: dict[str, str] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    """Of every value of the graph so far."""
    parameters: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    inputs: list[Signature] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def read(self) -> None:
        for initialiser in self.model.graph.initializer:
            if initialiser.data_location == onnx.TensorProto.EXTERNAL:
                raise InvalidModel(f"tensor {initialiser.name!r:.80} lies in another file: save the model as one file")
            array = numpy_helper.to_array(initialiser)
            if self.trained(initialiser.name):
                self.parameters[initialiser.name] = array.astype(np.float32)
                self.values[initialiser.name] = Value(Datatype.FP32, array.shape)
            else:
                self.known[initialiser.name] = array
        given = {one.name for one in self.model.graph.initializer}
        for one in self.model.graph.input:
            if one.name not in given:
                self._input(one)
        for node in self.model.graph.node:
            try:
                self._node(node)
            except InvalidModel as error:
                raise InvalidModel(
                    f"node {node.name or node.output[0]!r:.60} ({node.op_type}): {error.message}"
                ) from None

    def finish(
        self,
        ranges: dict[str, tuple[float, float]],
        file_digest: Callable[[Mapping[str, NDArray[np.float32]]], bytes],
    ) -> Imported:
        outputs = []
        for one in self.model.graph.output:
            name = self._name(one.name)
            if name != one.name:  # an output that is another value by another name
                self._emit("Identity", [name], one.name)
            value = self.values[one.name]
            if value.dimensions[:1] != (BATCH,):
                raise InvalidModel(f"output {one.name!r:.60} is {value}: its first dimension must be the batch")
            outputs.append(Signature(one.name, value.datatype, value.dimensions[1:]))
        nodes = self._needed({one.name for one in outputs})
        used = {name for node in nodes for name in node.inputs}
        idle = [name for name in self.parameters if name not in used]
        if idle:
            raise InvalidModel(
                f"{', '.join(idle)!s:.200} is trained, but nothing depends on it: leave it out, or freeze it (requires_grad_(False))"
            )
        small, frozen = [], {}
        for name, array in self.constants.items():
            if name in used:
                if array.dtype == np.float32 and array.size > BY_VALUE:
                    frozen[name] = array
                else:
                    small.append(Constant.of(name, array))
        digest = file_digest(frozen) if frozen else b""
        graph = Graph(
            inputs=tuple(self._ranged(one, ranges, nodes) for one in self.inputs),
            outputs=tuple(outputs),
            parameters=tuple(TensorSpec(name, array.shape) for name, array in self.parameters.items()),
            constants=tuple(small),
            nodes=tuple(nodes),
            frozen=tuple(Frozen(name, array.shape, digest, name) for name, array in frozen.items()),
        )
        weights = np.concatenate([array.ravel() for array in self.parameters.values()])
        return Imported(graph, weights.astype(np.float32), frozen)

    def _ranged(self, one: Signature, ranges: dict[str, tuple[float, float]], nodes: list[Node]) -> Signature:
        """An input that chooses rows of a table counts from 0 to the last of them, whatever its author forgot to say."""
        span = ranges.get(one.name)
        if span is None and one.datatype in (Datatype.INT64, Datatype.INT32):
            tables = [
                self.values[node.inputs[0]].dimensions[_axis(node)]
                for node in nodes
                if node.operator == "Gather" and node.inputs[1] == one.name
            ]
            if tables and min(tables) > 1:
                span = (0.0, float(min(tables) - 1))
        return Signature(one.name, one.datatype, one.dimensions, span)

    def _needed(self, wanted: set[str]) -> list[Node]:
        kept = []
        for node in reversed(self.nodes):
            if node.output in wanted:
                kept.append(node)
                wanted |= set(node.inputs)
        return kept[::-1]

    # -- reading

    def _input(self, one: onnx.ValueInfoProto) -> None:
        kind = one.type.tensor_type
        datatype = ONNX_CODES.get(kind.elem_type)
        if datatype is None:
            raise InvalidModel(
                f"input {one.name!r:.60} has an element type that no task has; {', '.join(Datatype)} are known (in torch: .float())"
            )
        first, *rest = kind.shape.dim or [None]
        if first is None or first.HasField("dim_value"):
            raise InvalidModel(
                f"the first dimension of input {one.name!r:.60} is not free: export it with a dynamic batch"
            )
        if not all(length.HasField("dim_value") and length.dim_value > 0 for length in rest):
            raise InvalidModel(f"input {one.name!r:.60} has more free dimensions than the batch: fix their lengths")
        dimensions = tuple(int(length.dim_value) for length in rest)
        self.inputs.append(Signature(one.name, datatype, dimensions))
        self.values[one.name] = Value(datatype, (BATCH, *dimensions))

    def _node(self, node: onnx.NodeProto) -> None:
        if node.domain not in ("", "ai.onnx"):
            raise InvalidModel(f"it is of the domain {node.domain!r:.40}, which no runtime has by itself")
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        inputs = list(node.input)
        while inputs and not inputs[-1]:
            inputs.pop()
        read = _RULES.get(node.op_type)
        if all(not name or self.alias.get(name, name) in self.known for name in inputs):
            self._fold(node, attributes, [self._known(name) if name else None for name in inputs])
        elif read is not None:
            read(self, inputs, list(node.output), attributes)
        elif node.op_type in OPERATORS:
            self._emit(node.op_type, [self._name(name) for name in inputs], node.output[0], _plain(attributes))
        else:
            raise InvalidModel(f"no task knows this operator; {', '.join(sorted({*OPERATORS, *_RULES}))} are known")

    def _known(self, name: str) -> NDArray[Any]:
        return self.known[self.alias.get(name, name)]

    def _maybe(self, inputs: list[str], place: int) -> NDArray[Any] | None:
        """An input that must be constant; None if it is left out."""
        if place >= len(inputs) or not inputs[place]:
            return None
        name = self.alias.get(inputs[place], inputs[place])
        if name not in self.known:
            raise InvalidModel(f"its input {inputs[place]!r:.60} must be constant")
        return self.known[name]

    def _name(self, name: str) -> str:
        """Of the value, with a constant written down if it is one."""
        name = self.alias.get(name, name)
        if name in self.known:
            array = self.known[name]
            if array.dtype == object:
                raise InvalidModel(f"{name!r:.60} is the number of samples, with which a task's graph does not compute")
            return self._constant(array, name)
        if name not in self.values:
            raise InvalidModel(f"nothing before it gives {name!r:.60}")
        return name

    def _constant(self, array: NDArray[Any], name: str | None = None) -> str:
        array = _narrow(array)
        for other, values in self.constants.items():
            if (
                values.dtype == array.dtype
                and values.shape == array.shape
                and array.size <= 64
                and np.array_equal(values, array)
            ):
                return other
        name = name if name and name not in self.values else self._fresh("constant")
        self.constants[name] = array
        datatype = next((one for one in Datatype if one.dtype == array.dtype), None)
        if datatype is None:
            raise InvalidModel(f"constant {name!r:.60} is {array.dtype}; {', '.join(Datatype)} are known")
        constant = tuple(array.ravel().tolist()) if array.size <= BY_VALUE else None
        self.values[name] = Value(datatype, array.shape, constant)
        return name

    def _row(self, numbers: list[int]) -> str:
        return self._constant(np.array(numbers, np.int64))

    def _fresh(self, stem: str) -> str:
        return next(name for n in range(1 << 20) if (name := f"{stem}_{n}") not in self.values)

    def _emit(self, operator: str, inputs: list[str], output: str, attributes: Mapping[str, Any] | None = None) -> str:
        given = {name: value for name, value in (attributes or {}).items() if not _says_nothing(name, value)}
        self.values[output] = infer(operator, [self.values[name] for name in inputs], given)
        self.nodes.append(Node(operator, tuple(inputs), output, given))
        return output

    # -- folding

    def _fold(self, node: onnx.NodeProto, attributes: dict[str, Any], inputs: list[NDArray[Any] | None]) -> None:
        if any(one is not None and one.dtype == object for one in inputs):
            self.known[node.output[0]] = _settled(_symbolic(node.op_type, attributes, inputs))
            return
        outputs = _reference(node, self.model, inputs)
        for name, array in zip(node.output, outputs, strict=False):
            if name:
                self.known[name] = np.asarray(array)


def _axis(node: Node) -> int:
    axis = node.attributes.get("axis", 0)
    assert isinstance(axis, int)
    return axis


def _reference(node: onnx.NodeProto, model: onnx.ModelProto, inputs: list[NDArray[Any] | None]) -> list[NDArray[Any]]:
    names = [name for name in node.input if name]
    arrays = dict(zip(names, [one for one in inputs if one is not None], strict=True))
    graph = helper.make_graph(
        [node],
        "fold",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in arrays.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in node.output if name],
    )
    try:
        folded: list[NDArray[Any]] = ReferenceEvaluator(helper.make_model(graph, opset_imports=model.opset_import)).run(
            None, arrays
        )
    except (TypeError, ValueError, IndexError, KeyError, NotImplementedError, RuntimeError) as error:
        raise InvalidModel(f"its constants cannot be computed: {error!s:.120}") from error
    return folded


def _symbolic(operator: str, attributes: dict[str, Any], inputs: list[NDArray[Any] | None]) -> NDArray[Any]:
    """Arithmetic on a shape's numbers, with B among them."""
    first, *more = [one for one in inputs if one is not None]
    match operator:
        case "Gather":
            return np.take(first, more[0].astype(int), axis=int(attributes.get("axis", 0)))
        case "Squeeze" | "Identity":
            return first.reshape(()) if operator == "Squeeze" else first
        case "Unsqueeze":
            return first.reshape(1)
        case "Reshape":
            return first.reshape(more[0].astype(int))
        case "Concat":
            return np.concatenate([first, *more]).astype(object)
        case "Cast" | "CastLike":
            if operator == "Cast" and attributes["to"] in (6, 7):
                return first
        case "Slice":
            start, end = int(more[0][0]), int(more[1][0])
            step = int(more[3][0]) if len(more) > 3 else 1
            return first[start:end:step]
        case "Mul":
            return np.asarray(np.frompyfunc(_times, 2, 1)(first, more[0]), dtype=object)
        case "Div":
            return np.asarray(np.frompyfunc(_over, 2, 1)(first, more[0]), dtype=object)
        case "Equal":
            return np.asarray(np.frompyfunc(lambda a, b: a == b, 2, 1)(first, more[0]), dtype=object)
        case "Where":
            return np.where(first.astype(bool), more[0], more[1])
    raise InvalidModel("it computes with the number of samples, which a task's graph does not know")


def _settled(array: NDArray[Any]) -> NDArray[Any]:
    """Plain numbers, if the batch is not among them any more."""
    if any(isinstance(one, Batch) for one in array.ravel()):
        return array
    return array.astype(bool if array.size and isinstance(array.ravel()[0], bool) else np.int64)


def _times(a: Any, b: Any) -> Any:
    if isinstance(a, Batch) and isinstance(b, Batch):
        raise InvalidModel("it multiplies the number of samples with itself")
    if isinstance(a, Batch):
        return Batch(a.times * int(b))
    return Batch(b.times * int(a)) if isinstance(b, Batch) else a * b


def _over(a: Any, b: Any) -> Any:
    if isinstance(a, Batch) and not isinstance(b, Batch) and a.times % int(b) == 0:
        return Batch(a.times // int(b))
    raise InvalidModel("it divides by the number of samples")


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    """float64 and float16 become float32; infinities (masks) the greatest number that float32 holds."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = np.clip(array.astype(np.float32), _FLOAT32.min, _FLOAT32.max)
    return np.ascontiguousarray(array).reshape(array.shape)


def _says_nothing(name: str, value: Any) -> bool:
    """What an attribute says by being left out, too: no padding, steps of one. Bytes of calldata, and other spellings of one thing."""
    return (
        (name == "pads" and not any(value))
        or (name in ("strides", "dilations") and all(number == 1 for number in value))
        or (name == "group" and value == 1)
    )


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """As our graphs write them."""
    return {name: _attribute(value) for name, value in attributes.items()}


def _attribute(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple):
        return tuple(int(one) for one in value)
    return value


# -- operators in other words

Inputs = list[str]
Outputs = list[str]
Given = dict[str, Any]
Rule = Callable[[_Reader, Inputs, Outputs, Given], None]


def _same(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    """What an operator lets through: another name for it."""
    reader.alias[outputs[0]] = reader.alias.get(inputs[0], inputs[0])


def _shape(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    numbers = [Batch(-n) if n < 0 else n for n in reader.values[reader._name(inputs[0])].dimensions]
    array = np.empty(len(numbers), dtype=object)
    array[:] = numbers
    array = array[given.get("start", 0) : given.get("end", len(numbers))]
    reader.known[outputs[0]] = _settled(array)


def _reshape(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    name, target = reader._name(inputs[0]), reader._maybe(inputs, 1)
    assert target is not None
    x = reader.values[name]
    wanted: list[Any] = list(target.ravel())
    if not given.get("allowzero", 0):
        wanted = [_length(x.dimensions[place]) if _is(n, 0) else n for place, n in enumerate(wanted)]
    _reshaped(reader, name, wanted, outputs[0])


def _length(dimension: int) -> Any:
    return Batch(-dimension) if dimension < 0 else dimension


def _is(n: Any, number: int) -> bool:
    return not isinstance(n, Batch) and int(n) == number


def _reshaped(reader: _Reader, name: str, wanted: list[Any], output: str) -> None:
    """wanted: lengths, Batch, and at most one -1, which is what is left."""
    x = reader.values[name]
    free = [place for place, n in enumerate(wanted) if _is(n, -1)]
    if free:
        known = prod(n.times if isinstance(n, Batch) else int(n) for place, n in enumerate(wanted) if place not in free)
        batched = any(isinstance(n, Batch) for n in wanted)
        left, rest = divmod(x.length, known)
        if rest or len(free) > 1:
            raise InvalidModel(f"{x} does not become {wanted}")
        wanted[free[0]] = Batch(left) if x.batched and not batched else left
    target = [-1 if isinstance(n, Batch) else int(n) for n in wanted]
    found = tuple(-n.times if isinstance(n, Batch) else int(n) for n in wanted)
    if found == x.dimensions:
        reader.alias[output] = name
        return
    if len(found) == 2 and found[0] == x.dimensions[0] == BATCH:
        reader._emit("Flatten", [name], output, {"axis": 1})
        return
    reader._emit("Reshape", [name, reader._row(target)], output)
    if reader.values[output].dimensions != found:
        raise InvalidModel(f"{x} does not become {found}")


def _flatten(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    name = reader._name(inputs[0])
    x, axis = reader.values[name].dimensions, given.get("axis", 1)
    axis %= max(len(x), 1)
    if axis == 1 and x[:1] == (BATCH,):
        reader._emit("Flatten", [name], outputs[0], {"axis": 1})
        return
    lead, rest = x[:axis], x[axis:]
    _reshaped(reader, name, [_length(prod(lead)) if lead else 1, _length(prod(rest))], outputs[0])


def _axes(reader: _Reader, inputs: Inputs, given: Given) -> list[int] | None:
    """As an input, or before opset 13 or 18 as an attribute."""
    array = reader._maybe(inputs, 1)
    axes = given.get("axes") if array is None else array.ravel().tolist()
    return None if axes is None else [int(axis) for axis in axes]


def _reduce(operator: str) -> Rule:
    def read(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
        name, axes = reader._name(inputs[0]), _axes(reader, inputs, given)
        if not axes:
            if given.get("noop_with_empty_axes", 0):
                _same(reader, inputs, outputs, given)
                return
            raise InvalidModel("it reduces over everything, the batch too: name the dimensions")
        reader._emit(operator, [name, reader._row(axes)], outputs[0], {"keepdims": given.get("keepdims", 1)})

    return read


def _squeeze(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    name, axes = reader._name(inputs[0]), _axes(reader, inputs, given)
    if axes is None:
        axes = [place for place, length in enumerate(reader.values[name].dimensions) if length == 1]
    reader._emit("Squeeze", [name, reader._row(axes)], outputs[0])


def _unsqueeze(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    axes = _axes(reader, inputs, given)
    assert axes is not None
    reader._emit("Unsqueeze", [reader._name(inputs[0]), reader._row(axes)], outputs[0])


def _slice(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    name = reader._name(inputs[0])
    x = reader.values[name].dimensions
    numbers = [reader._maybe(inputs, place) for place in range(1, 5)]
    if numbers[0] is None:
        numbers = [None if key not in given else np.array(given[key]) for key in ("starts", "ends", "axes")] + [None]
    starts, ends, axes, steps = (None if one is None else [int(n) for n in one.ravel()] for one in numbers)
    assert starts is not None and ends is not None
    axes = [axis % len(x) for axis in axes] if axes else list(range(len(starts)))
    steps = steps or [1] * len(starts)
    kept = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise InvalidModel("it cuts backwards")
        if x[axis] < 0:
            if start == 0 and end >= _END and step == 1:
                continue  # all samples
            raise InvalidModel("it cuts samples out of the batch")
        first, last, step = slice(start, end, step).indices(x[axis])
        if (first, last, step) != (0, x[axis], 1):
            kept.append((first, last, axis, step))
    if not kept:
        reader.alias[outputs[0]] = name
        return
    reader._emit("Slice", [name, *(reader._row([one[place] for one in kept]) for place in range(4))], outputs[0])


def _split(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    name = reader._name(inputs[0])
    x, axis = reader.values[name].dimensions, given.get("axis", 0)
    axis %= len(x)
    array = reader._maybe(inputs, 1)
    sizes = given.get("split") if array is None else array.ravel().tolist()
    if sizes is None:
        each = -(-x[axis] // len(outputs))
        sizes = [min(each, x[axis] - each * place) for place in range(len(outputs))]
    begin = 0
    for output, size in zip(outputs, sizes, strict=True):
        rows = [reader._row([n]) for n in (begin, begin + int(size), axis, 1)]
        reader._emit("Slice", [name, *rows], output)
        begin += int(size)


def _gather(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    data, axis = reader._name(inputs[0]), given.get("axis", 0)
    places = reader.alias.get(inputs[1], inputs[1])
    if places in reader.known and reader.known[places].dtype != object:
        length = reader.values[data].dimensions[axis]
        index = reader.known[places].astype(np.int64)
        indices = reader._constant(np.where(index < 0, index + length, index))
    else:
        indices = reader._name(inputs[1])
    reader._emit("Gather", [data, indices], outputs[0], {"axis": axis})


def _gemm(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    a, b = reader._name(inputs[0]), reader._name(inputs[1])
    if given.get("transA", 0):
        a = reader._emit("Transpose", [a], reader._fresh("turned"), {"perm": (1, 0)})
    alpha, beta = float(given.get("alpha", 1.0)), float(given.get("beta", 1.0))
    attributes = {"transB": int(given.get("transB", 0))}
    c = reader._name(inputs[2]) if len(inputs) == 3 else None
    b_shape = reader.values[b].dimensions
    columns = b_shape[0] if attributes["transB"] else b_shape[1]
    if alpha == beta == 1.0 and (c is None or reader.values[c].dimensions == (columns,)):
        reader._emit("Gemm", [a, b] if c is None else [a, b, c], outputs[0], attributes)
        return
    product = reader._emit(
        "Gemm", [a, b], outputs[0] if c is None and alpha == 1.0 else reader._fresh("product"), attributes
    )
    if alpha != 1.0:
        scaled = outputs[0] if c is None else reader._fresh("scaled")
        product = reader._emit("Mul", [product, reader._constant(np.array(alpha, np.float32))], scaled)
    if c is not None:
        if beta != 1.0:
            c = reader._emit("Mul", [c, reader._constant(np.array(beta, np.float32))], reader._fresh("scaled"))
        reader._emit("Add", [product, c], outputs[0])


def _matmul(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    a, b = reader._name(inputs[0]), reader._name(inputs[1])
    if len(reader.values[b].dimensions) == 1:  # a vector: a column, which then goes
        axis = reader._row([-1])
        column = reader._emit("Unsqueeze", [b, axis], reader._fresh("column"))
        product = reader._emit("MatMul", [a, column], reader._fresh("product"))
        reader._emit("Squeeze", [product, axis], outputs[0])
        return
    reader._emit("MatMul", [a, b], outputs[0])


def _clip(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    low, high = reader._maybe(inputs, 1), reader._maybe(inputs, 2)
    least = given.get("min", _FLOAT32.min) if low is None else low
    most = given.get("max", _FLOAT32.max) if high is None else high
    bounds = [reader._constant(np.asarray(one, np.float32).reshape(())) for one in (least, most)]
    reader._emit("Clip", [reader._name(inputs[0]), *bounds], outputs[0])


def _conv(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    names = [reader._name(name) for name in inputs]
    attributes = _slid(reader, names[0], given, reader.values[names[1]].dimensions[2:])
    attributes |= {"dilations": tuple(given.get("dilations", ())), "group": int(given.get("group", 1))}
    reader._emit("Conv", names, outputs[0], attributes)


def _pool(operator: str) -> Rule:
    def read(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
        name, kernel = reader._name(inputs[0]), tuple(given["kernel_shape"])
        attributes = _slid(reader, name, given, kernel)
        if any(n != 1 for n in given.get("dilations", ())):
            raise InvalidModel("it skips between the numbers of a window (dilations)")
        if given.get("ceil_mode", 0):
            strides, pads = attributes["strides"] or (1,) * len(kernel), attributes["pads"] or (0,) * 2 * len(kernel)
            for place, (length, k, stride) in enumerate(
                zip(reader.values[name].dimensions[2:], kernel, strides, strict=True)
            ):
                if (length + pads[place] + pads[place + len(kernel)] - k) % stride:
                    raise InvalidModel("it rounds up (ceil_mode) where a window is not full")
        if operator == "AveragePool":
            attributes["count_include_pad"] = int(given.get("count_include_pad", 0))
        reader._emit(operator, [name], outputs[0], attributes)

    return read


def _slid(reader: _Reader, name: str, given: Given, kernel: Dimensions) -> dict[str, Any]:
    auto = given.get("auto_pad", b"NOTSET").decode()
    if auto not in ("NOTSET", "VALID"):
        raise InvalidModel(f"its padding is {auto}: name the numbers")
    pads = tuple(given.get("pads", ())) if auto == "NOTSET" else ()
    return {"kernel_shape": kernel, "strides": tuple(given.get("strides", ())), "pads": pads}


def _batch_normalization(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    if given.get("training_mode", 0):
        raise InvalidModel("it measures its statistics while it runs: export the module in eval mode")
    names = [reader._name(name) for name in inputs]
    reader._emit("BatchNormalization", names, outputs[0], {"epsilon": float(given.get("epsilon", 1e-5))})


def _layer_normalization(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    attributes = {"axis": int(given.get("axis", -1)), "epsilon": float(given.get("epsilon", 1e-5))}
    names = [reader._name(name) for name in inputs]
    reader._emit("LayerNormalization", names, outputs[0], attributes)


def _instance_normalization(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    """(B, c, …), and with it torch's GroupNorm: by its definition, over all dimensions behind the channels."""
    x, scale, offset = (reader._name(name) for name in inputs)
    rank = len(reader.values[x].dimensions)
    axes, columns = reader._row(list(range(2, rank))), reader._row(list(range(1, rank - 1)))
    epsilon = reader._constant(np.array(given.get("epsilon", 1e-5), np.float32))

    def emit(operator: str, *names: str) -> str:
        return reader._emit(operator, list(names), reader._fresh("normal"))

    centred = emit("Sub", x, emit("ReduceMean", x, axes))
    variance = emit("ReduceMean", emit("Mul", centred, centred), axes)
    normal = emit("Div", centred, emit("Sqrt", emit("Add", variance, epsilon)))
    turned = [emit("Unsqueeze", one, columns) if rank > 2 else one for one in (scale, offset)]
    reader._emit("Add", [emit("Mul", normal, turned[0]), turned[1]], outputs[0])


def _cast(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    name, to = reader._name(inputs[0]), given["to"]
    to = 1 if to in (10, 11, 16) else to  # float16, float64 and bfloat16 are float32 here
    if _CODES[reader.values[name].datatype] == to:
        reader.alias[outputs[0]] = name
    else:
        reader._emit("Cast", [name], outputs[0], {"to": to})


def _cast_like(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    other = reader.alias.get(inputs[1], inputs[1])
    datatype = reader.values[other].datatype if other in reader.values else reader.values[reader._name(other)].datatype
    first = reader.alias.get(inputs[0], inputs[0])
    if first in reader.known and reader.known[first].dtype != object:
        reader.known[outputs[0]] = reader.known[first].astype(datatype.dtype)
        return
    _cast(reader, inputs, outputs, {"to": _CODES[datatype]})


def _pow(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    base, exponent = reader._name(inputs[0]), reader.alias.get(inputs[1], inputs[1])
    if exponent in reader.known:
        power = reader._constant(reader.known[exponent].astype(np.float32))
        reader._emit("Pow", [base, power], outputs[0])
    else:
        reader._emit("Pow", [base, reader._name(inputs[1])], outputs[0])


def _sum(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    total = reader._name(inputs[0])
    for place, name in enumerate(inputs[1:], start=2):
        total = reader._emit(
            "Add", [total, reader._name(name)], outputs[0] if place == len(inputs) else reader._fresh("sum")
        )
    if len(inputs) == 1:
        reader.alias[outputs[0]] = total


def _expand(reader: _Reader, inputs: Inputs, outputs: Outputs, given: Given) -> None:
    """Along the batch (a class token): by adding nothing to it, once for each sample."""
    name, target = reader._name(inputs[0]), reader._maybe(inputs, 1)
    assert target is not None
    x = reader.values[name].dimensions
    wanted = [-n.times if isinstance(n, Batch) else int(n) for n in target.ravel()]
    x = (1,) * (len(wanted) - len(x)) + x
    wanted = [1] * (len(x) - len(wanted)) + wanted
    found = tuple(own if n in (1, own) else n for own, n in zip(x, wanted, strict=True))
    if found == reader.values[name].dimensions:
        reader.alias[outputs[0]] = name
        return
    if reader.values[name].datatype is not Datatype.FP32:
        raise InvalidModel("it repeats integers")
    zeros = reader._constant(np.zeros([1 if n < 0 else n for n in found], np.float32))
    if BATCH in found and BATCH not in x:
        zeros = reader._emit(
            "Add", [_nothing_a_sample(reader, len(found), found.index(BATCH)), zeros], reader._fresh("zeros")
        )
    reader._emit("Add", [name, zeros], outputs[0])


def _nothing_a_sample(reader: _Reader, rank: int, place: int) -> str:
    """Zeros (1, …, B, …, 1), made of the first input: of its comparison with itself, so that not even infinity times zero comes out."""
    first = reader.inputs[0]
    name = first.name
    if first.datatype in (
        Datatype.FP32,
        Datatype.INT64,
        Datatype.INT32,
    ):  # what Equal takes; the others have no infinity
        name = reader._emit("Equal", [name, name], reader._fresh("same"))
    name = reader._emit("Cast", [name], reader._fresh("ones"), {"to": 1})
    axes = list(range(1, len(first.dimensions) + 1))
    if axes:
        name = reader._emit("ReduceMax", [name, reader._row(axes)], reader._fresh("most"), {"keepdims": 0})
    name = reader._emit("Mul", [name, reader._constant(np.array(0, np.float32))], reader._fresh("nothing"))
    target = [1] * rank
    target[place] = -1
    return reader._emit("Reshape", [name, reader._row(target)], reader._fresh("nothing"))


_RULES: Final[Mapping[str, Rule]] = {
    "Identity": _same,
    "Dropout": _same,
    "Shape": _shape,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "ReduceMean": _reduce("ReduceMean"),
    "ReduceSum": _reduce("ReduceSum"),
    "ReduceMax": _reduce("ReduceMax"),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Clip": _clip,
    "Conv": _conv,
    "MaxPool": _pool("MaxPool"),
    "AveragePool": _pool("AveragePool"),
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "InstanceNormalization": _instance_normalization,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Pow": _pow,
    "Sum": _sum,
    "Expand": _expand,
}
