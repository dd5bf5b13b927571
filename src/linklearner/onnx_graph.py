"""A task's weights as an ONNX model: the same graph for the trainer's export and the server's sessions, built with `onnx` alone.

    <inputs> (batch, …) -> the nodes of the model's graph, one by one -> logits (batch, labels) -> Softmax -> probabilities

The initialisers are the dequantised weights, w * 2**-q, which float32 holds exactly: the graph computes what torch computes from the
same integers, up to the order of float32 sums.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ValueInfoProto, helper, numpy_helper

from linklearner.domain.errors import InvalidModel
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.graph import Signature
from linklearner.domain.model import LOGITS, ModelSpec
from linklearner.domain.shape import Shape

OPSET = 17
IR_VERSION = 8
"""Of ONNX 1.12, which introduced opset 17: readable by every onnxruntime since 1.12 (2022)."""

PROBABILITIES = "probabilities"


def onnx_model(
    spec: ModelSpec, shape: Shape, weights: NDArray[np.int16], metadata: Mapping[str, str] | None = None
) -> bytes:
    """A serialised onnx.ModelProto; the same arguments give the same bytes.

    weights: (N,) int16. Inputs: those of the graph, unscaled. Outputs: `logits` and `probabilities`, (batch, labels) float32. metadata
    goes into the model's metadata_props, beside `model`, the architecture's JSON, and `graph`, the graph's digest. Raises InvalidInput for
    weights of another length, InvalidModel for an input that is named as the softmax is.
    """
    tensors = spec.split(dequantise_weights(weights, shape))
    if PROBABILITIES in spec.graph.dimensions:
        raise InvalidModel(f"an input cannot be named {PROBABILITIES!r}: the exported graph has an output of that name")
    initialisers = [numpy_helper.from_array(constant.array(), constant.name) for constant in spec.graph.constants] + [
        numpy_helper.from_array(np.ascontiguousarray(values), tensor.name)
        for tensor, values in zip(spec.tensors(), tensors, strict=True)
    ]
    nodes = [
        helper.make_node(node.operator, node.inputs, [node.output], node.name, **node.attributes)
        for node in spec.graph.nodes
    ]
    nodes.append(helper.make_node("Softmax", [LOGITS], [PROBABILITIES], "softmax", axis=1))
    (logits,) = spec.graph.outputs
    graph = helper.make_graph(
        nodes,
        spec.name,
        [_value_info(signature.name, signature) for signature in spec.graph.inputs],
        [_value_info(name, logits) for name in (LOGITS, PROBABILITIES)],
        initialisers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="linklearner", ir_version=IR_VERSION
    )
    properties = {"model": spec.to_json(), "graph": spec.graph.digest.hex(), **(metadata or {})}
    helper.set_model_props(model, properties)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _value_info(name: str, signature: Signature) -> ValueInfoProto:
    element_type = helper.np_dtype_to_tensor_dtype(signature.datatype.dtype)
    return helper.make_tensor_value_info(name, element_type, ["batch", *signature.dimensions])
