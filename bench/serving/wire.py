"""The one request that all callers send, and what an answer to it looks like."""

import numpy as np

from linklearner.oip import open_inference_grpc_pb2 as oip

SERVICE = "inference.GRPCInferenceService"
METHOD = f"/{SERVICE}/ModelInfer"
PIXELS = np.random.default_rng(0).integers(0, 17, (1, 64)).astype("<f4")
REQUEST: bytes = oip.ModelInferRequest(
    model_name="digits",
    inputs=[oip.ModelInferRequest.InferInputTensor(name="pixels", datatype="FP32", shape=[1, 64])],
    raw_input_contents=[PIXELS.tobytes()],
).SerializeToString()


def _response() -> bytes:
    response = oip.ModelInferResponse(model_name="digits", model_version="1")
    response.parameters["digest"].string_param = "0x" + 64 * "0"
    response.parameters["round"].int64_param = 0
    response.parameters["task"].int64_param = 1
    response.outputs.add(name="logits", datatype="FP32", shape=[1, 10])
    response.outputs.add(name="label", datatype="INT64", shape=[1])
    response.raw_output_contents.extend([bytes(40), bytes(8)])
    return response.SerializeToString()


RESPONSE = _response()
"""As long as a real answer; the floor sends it back whatever it is asked."""
