"""A task's weights as an ONNX model: the same graph for the trainer's export and the server's sessions, built with `onnx` alone.

    <input> (batch, in) float32 -> Mul input_scale -> Gemm W1, b1 -> Relu -> … -> Gemm -> logits (batch, out) -> Softmax -> probabilities

The initialisers are the dequantised weights, w * 2**-q, which float32 holds exactly: the graph computes what torch computes from the
same integers, up to the order of float32 sums.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from linklearner.domain.errors import InvalidModel
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.model import ModelSpec
from linklearner.domain.shape import Shape

OPSET = 17
IR_VERSION = 8
"""Of ONNX 1.12, which introduced opset 17: readable by every onnxruntime since 1.12 (2022)."""

LOGITS = "logits"
PROBABILITIES = "probabilities"


def onnx_model(
    spec: ModelSpec, shape: Shape, weights: NDArray[np.int16], metadata: Mapping[str, str] | None = None
) -> bytes:
    """A serialised onnx.ModelProto; the same arguments give the same bytes.

    weights: (N,) int16. Input `spec.input_name`: (batch, in) float32, unscaled. Outputs `logits` and `probabilities`: (batch, out)
    float32. metadata goes into the model's metadata_props, beside `model`, the architecture's JSON. Raises InvalidInput for weights of
    another length, InvalidModel for an input that is named as a part of the graph is.
    """
    tensors = spec.split(dequantise_weights(weights, shape))
    scale = numpy_helper.from_array(np.array(spec.input_scale, dtype=np.float32), "input_scale")
    initialisers = [scale] + [
        numpy_helper.from_array(np.ascontiguousarray(values), tensor.name)
        for tensor, values in zip(spec.tensors(), tensors, strict=True)
    ]
    nodes = [helper.make_node("Mul", [spec.input_name, "input_scale"], ["scaled"], "scale")]
    current, last = "scaled", len(spec.layers) - 1
    for layer in range(1, last + 1):
        gemm = LOGITS if layer == last else f"layer{layer}"
        nodes.append(helper.make_node("Gemm", [current, f"W{layer}", f"b{layer}"], [gemm], f"gemm{layer}", transB=1))
        current = gemm
        if layer < last:
            nodes.append(helper.make_node("Relu", [gemm], [f"relu{layer}"], f"relu{layer}"))
            current = f"relu{layer}"
    nodes.append(helper.make_node("Softmax", [LOGITS], [PROBABILITIES], "softmax", axis=1))
    taken = {name for node in nodes for name in (*node.input[1:], *node.output)}
    if spec.input_name in taken:
        raise InvalidModel(
            f"an input cannot be named {spec.input_name!r}: the graph uses it; others are {sorted(taken)}"
        )
    float32 = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        spec.name,
        [helper.make_tensor_value_info(spec.input_name, float32, ["batch", spec.layers[0]])],
        [helper.make_tensor_value_info(name, float32, ["batch", spec.layers[-1]]) for name in (LOGITS, PROBABILITIES)],
        initialisers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="linklearner", ir_version=IR_VERSION
    )
    helper.set_model_props(model, {"model": spec.to_json(), **(metadata or {})})
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised
