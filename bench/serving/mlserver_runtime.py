"""MLServer's side of the comparison: the same ONNX file behind its custom-runtime seam, in its in-process mode.

Runs in an environment that has mlserver and onnxruntime and nothing of ours:  python mlserver_runtime.py FOLDER
FOLDER holds model.onnx; the address is printed when it listens.
"""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Onnx(MLModel):  # type: ignore[misc,unused-ignore]
    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = ort.InferenceSession(self.settings.parameters.uri, options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        pixels = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        (logits,) = self._session.run(("logits",), {payload.inputs[0].name: pixels})
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output("logits", logits),
                NumpyCodec.encode_output("label", logits.argmax(axis=1)),
            ],
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def main(folder: Path) -> None:
    port = free_port()
    settings = Settings(
        host="127.0.0.1",
        http_port=free_port(),
        grpc_port=port,
        metrics_port=free_port(),
        parallel_workers=0,
        debug=False,
        load_models_at_startup=False,
    )
    server = MLServer(settings)
    model = ModelSettings(name="digits", implementation=Onnx, parameters={"uri": str(folder / "model.onnx")})
    print(f"127.0.0.1:{port}", flush=True)
    await server.start([model])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
