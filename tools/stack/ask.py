"""An off-the-shelf inference client in a process of its own: tritonclient registers the protocol's messages itself, and one process
cannot hold two copies of them.

    python -m tools.stack.ask host:port < pixels as little-endian float32, rows of 64

LINKLEARNER_TOKEN in the environment: the session to ask with; arguments would show it to every user of the machine. Prints one JSON object.
"""

import json
import os
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException


def main(address: str) -> dict[str, object]:
    pixels = np.frombuffer(sys.stdin.buffer.read(), "<f4").reshape(-1, 64)
    token = os.environ.get("LINKLEARNER_TOKEN")
    # this machine's own server: never by way of a proxy
    client = triton.InferenceServerClient(address, channel_args=[("grpc.enable_http_proxy", 0)])
    described = client.get_model_metadata("digits", as_json=True)["inputs"][0]
    tensor = triton.InferInput(described["name"], pixels.shape, described["datatype"])
    tensor.set_data_from_numpy(pixels)
    try:
        answer = client.infer("digits", [tensor], headers={"authorization": f"Bearer {token}"} if token else {})
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    response = answer.get_response()
    return {
        "status": "OK",
        "labels": answer.as_numpy("logits").argmax(axis=1).tolist(),
        "version": int(response.model_version),
        "digest": response.parameters["digest"].string_param,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
