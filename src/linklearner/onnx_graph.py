"""A task's weights as an ONNX model: the same graph for the trainer's export and the server's sessions, built with `onnx` alone.

    <inputs> (batch, …) -> the nodes of the model's graph, one by one -> <outputs> (batch, …); of a classifier's logits also probabilities

The initialisers are the weights; those of a chain, dequantised (w * 2**-q), float32 holds exactly: the graph computes what torch
computes from the same integers, up to the order of float32 sums.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ValueInfoProto, helper, numpy_helper

from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.graph import Signature
from linklearner.domain.model import Loss, ModelSpec
from linklearner.domain.operators import ONNX_CODES

OPSET = 20
IR_VERSION = 9
"""Of ONNX 1.15, which introduced opset 20: readable by every onnxruntime since 1.17 (2024)."""

PROBABILITIES = "probabilities"
_CODES = {datatype: code for code, datatype in ONNX_CODES.items()}
_PROBABILITY_OF = {Loss.CROSS_ENTROPY: ("Softmax", {"axis": 1}), Loss.BINARY_CROSS_ENTROPY: ("Sigmoid", {})}


def onnx_model(
    spec: ModelSpec,
    weights: NDArray[np.float32],
    metadata: Mapping[str, str] | None = None,
    frozen: Mapping[str, NDArray[np.float32]] | None = None,
) -> bytes:
    """A serialised onnx.ModelProto; the same arguments give the same bytes.

    weights: (N,) float32. frozen: values of the graph's frozen tensors, by name. Inputs are those of the graph, unscaled; outputs, too, and
    of a model that is trained on labels `probabilities` of the first one. metadata goes into the model's metadata_props, beside `model`,
    the description's JSON, `graph`, the graph's digest, and `input_range`, where the first input has one. Raises InvalidInput for weights
    of another length and for frozen tensors that are missing, InvalidModel for a value that is named as the probabilities are.
    """
    tensors = spec.split(weights)
    initialisers = [numpy_helper.from_array(constant.array(), constant.name) for constant in spec.graph.constants]
    for tensor in spec.graph.frozen:
        values = (frozen or {}).get(tensor.name)
        if values is None or values.shape != tensor.dimensions:
            raise InvalidInput(
                f"the model needs frozen tensor {tensor.name!r:.60} from the file with SHA-256 {tensor.file.hex()}",
                reason="FrozenMissing",
            )
        initialisers.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), tensor.name))
    initialisers += [
        numpy_helper.from_array(np.ascontiguousarray(values), tensor.name)
        for tensor, values in zip(spec.tensors(), tensors, strict=True)
    ]
    nodes = [
        helper.make_node(node.operator, node.inputs, [node.output], node.output, **node.attributes)
        for node in spec.graph.nodes
    ]
    outputs = [_value_info(one.name, one) for one in spec.graph.outputs]
    if spec.loss in _PROBABILITY_OF:
        if PROBABILITIES in spec.graph.values:
            raise InvalidModel(
                f"a value cannot be named {PROBABILITIES!r}: the exported graph has an output of that name"
            )
        operator, attributes = _PROBABILITY_OF[spec.loss]
        nodes.append(helper.make_node(operator, [spec.answer.name], [PROBABILITIES], PROBABILITIES, **attributes))
        outputs.append(_value_info(PROBABILITIES, spec.answer))
    graph = helper.make_graph(
        nodes, spec.name, [_value_info(one.name, one) for one in spec.graph.inputs], outputs, initialisers
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="linklearner", ir_version=IR_VERSION
    )
    properties = {"model": spec.to_json(), "graph": spec.graph.digest.hex(), **(metadata or {})}
    if spec.inputs[0].range is not None:
        properties["input_range"] = "{:g} {:g}".format(*spec.inputs[0].range)
    helper.set_model_props(model, properties)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def reference(model: bytes, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What ONNX's own reference implementation, in NumPy, makes of the inputs: the outputs by name. Slow; to compare others with."""
    # a model server, which only writes graphs, needs none of its hundred modules
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load_from_string(model))
    return dict(zip(evaluator.output_names, evaluator.run(None, dict(inputs)), strict=True))


def _value_info(name: str, signature: Signature) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, _CODES[signature.datatype], ["batch", *signature.dimensions])
