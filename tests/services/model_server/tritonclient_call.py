"""What an off-the-shelf client does, as a program of its own: tritonclient registers the protocol's messages itself, and one process
cannot hold two copies of them.

    python tritonclient_call.py host:port TOKEN|- [MODEL] < pixels as little-endian float32, row after row

Prints one JSON object.
"""

import json
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException


def main(address: str, token: str, model: str = "digits") -> dict[str, object]:
    headers = {} if token == "-" else {"authorization": f"Bearer {token}"}
    client = triton.InferenceServerClient(address)
    metadata = client.get_model_metadata(model, as_json=True)
    shape = [int(length) for length in metadata["inputs"][0]["shape"]]
    pixels = np.frombuffer(sys.stdin.buffer.read(), "<f4").reshape(shape)
    tensor = triton.InferInput(metadata["inputs"][0]["name"], pixels.shape, metadata["inputs"][0]["datatype"])
    tensor.set_data_from_numpy(pixels)
    described = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(model),
        "other_ready": client.is_model_ready("letters"),
        "server": client.get_server_metadata(as_json=True),
        "metadata": metadata,
    }
    try:
        result = client.infer(model, [tensor], request_id="7", headers=headers)
        one = client.infer(
            model,
            [tensor],
            outputs=[triton.InferRequestedOutput("label")],
            model_version=result.get_response().model_version,
            headers=headers,
        )
    except InferenceServerException as error:
        return {**described, "status": error.status(), "message": error.message()}
    response = result.get_response()
    return {
        **described,
        "status": "OK",
        "logits": result.as_numpy("logits").tolist(),
        "label": result.as_numpy("label").tolist(),
        "label_alone": one.as_numpy("label").tolist(),
        "logits_alone": one.as_numpy("logits"),
        "id": response.id,
        "version": response.model_version,
        "digest": response.parameters["digest"].string_param,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
