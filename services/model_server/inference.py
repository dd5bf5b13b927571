"""Open Inference Protocol messages ↔ numpy ↔ onnxruntime: what an answer is, however a request arrived.

Nothing here knows gRPC's transport: `Inference` takes and gives messages and raises the error tree, so another front (raw HTTP/2, a
browser protocol) can stand on the same object.

Refusals use the words of the servers that clients of this protocol know (Triton's core and gRPC front; KServe's for the number of raw
tensors), so tools that read them keep working.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, InvalidModel, NotFinite, NotFound, Unavailable
from linklearner.domain.inputs import check_rows
from linklearner.domain.model import ModelSpec, ModelVersion
from linklearner.oip import open_inference_grpc_pb2 as oip

SERVER_NAME = "linklearner"
PLATFORM = "onnx_onnxv1"
PROVENANCE = "linklearner_provenance"
"""The extension that answers carry the parameters `digest`, `round` and `task`."""
LOGITS, LABEL = "logits", "label"
"""The outputs: FP32 [N, labels], and INT64 [N], the index of the greatest logit."""

MAX_REQUEST_BYTES = 4 << 20
"""A batch of 1,024 rows of 1,000 numbers."""
MAX_LAYER_BYTES = 64 << 20
"""Of the activations of one layer for one request."""

_FETCHES = (LOGITS,)
_UNSUPPORTED = ("shared_memory_region", "classification")
"""Parameters of Triton's extensions that change what an answer means; ignoring them would give a wrong one."""


class Model:
    """One version of a task's model, ready to answer.

    graph: a serialised ONNX model with input `spec.input_name` FP32 [N, layers[0]] and output `logits`, as `onnx_graph` makes it.
    Building one compiles the graph and answers a first request, which takes milliseconds to seconds: do it off the event loop.
    Raises InvalidModel if the graph cannot run or does not give what the description says.
    """

    def __init__(self, spec: ModelSpec, version: ModelVersion, graph: bytes) -> None:
        self.spec = spec
        self.version = version
        self.input_shape = (-1, spec.layers[0])
        self.outputs = {LOGITS: ("FP32", (-1, spec.layers[-1])), LABEL: ("INT64", (-1,))}
        options = ort.SessionOptions()
        # One thread: a request costs microseconds, and threads that wake for it cost more. Spinning would burn a core between requests.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            logits = self.logits(np.zeros((2, spec.layers[0]), np.float32))
        except _RUNTIME_ERRORS as error:
            raise InvalidModel(f"onnxruntime cannot run version {version.version}: {error}") from error
        if logits.shape != (2, spec.layers[-1]) or logits.dtype != np.float32:
            raise InvalidModel(f"version {version.version} gives logits {logits.shape} {logits.dtype}")
        if not np.isfinite(logits).all():
            raise InvalidModel(f"version {version.version} answers a blank input with NaN or infinity")
        self._heads: dict[tuple[str, ...], bytes] = {}

    @property
    def weight_bytes(self) -> int:
        """What the weights take as float32."""
        return 4 * self.spec.weight_count

    def rows_at_once(self, most: int) -> int:
        """Rows of one request, of those `most` that the operator allows: no layer of a wide model may outgrow the memory or the message."""
        fitting = min(
            MAX_LAYER_BYTES // (4 * max(self.spec.layers)), (MAX_REQUEST_BYTES - 4096) // (4 * self.spec.layers[0])
        )
        return max(min(most, fitting), 1)

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """inputs: (B, layers[0]) float32. Returns (B, layers[-1]) float32."""
        answers: list[NDArray[np.float32]] = self._session.run(_FETCHES, {self.spec.input_name: inputs})
        return answers[0]

    def infer(self, request: oip.ModelInferRequest, max_rows: int) -> oip.ModelInferResponse:
        """The answer, raw tensors always. Raises InvalidInput for anything that does not fit the model's metadata."""
        inputs = self._read(request, self.rows_at_once(max_rows))
        check_rows(
            inputs,
            name=self.spec.input_name,
            input_range=self.spec.input_range,
            allow_range="allow_range" in request.parameters and request.parameters["allow_range"].bool_param,
        )
        names = self._requested(request)
        response = oip.ModelInferResponse.FromString(self._heads.get(names) or self._head(names))
        response.id = request.id
        logits = self.logits(inputs)
        if not np.isfinite(logits).all():
            row = int(np.argmin(np.isfinite(logits).all(axis=1)))
            raise NotFinite(
                f"row {row} of input '{self.spec.input_name}' leads model '{self.spec.name}' beyond what FP32 holds: it has an answer of "
                f"infinity or NaN. Its inputs reach {np.abs(inputs[row]).max():.6g}",
                facts={"row": row},
            )
        raw = response.raw_output_contents
        for tensor in response.outputs:
            tensor.shape[0] = len(logits)
            raw.append(
                logits.tobytes() if tensor.name == LOGITS else logits.argmax(axis=1).astype("<i8", copy=False).tobytes()
            )
        return response

    def _head(self, names: tuple[str, ...]) -> bytes:
        """What all answers with these outputs have in common, serialised; the number of rows is filled in later."""
        head = oip.ModelInferResponse(model_name=self.spec.name, model_version=str(self.version.version))
        head.parameters["digest"].string_param = f"0x{self.version.digest.hex()}"
        head.parameters["round"].int64_param = self.version.round
        head.parameters["task"].int64_param = self.version.task
        for name in names:
            datatype, shape = self.outputs[name]
            head.outputs.add(name=name, datatype=datatype, shape=shape)
        return self._heads.setdefault(names, head.SerializeToString())

    def _requested(self, request: oip.ModelInferRequest) -> tuple[str, ...]:
        if not request.outputs:
            return (LOGITS, LABEL)
        for output in request.outputs:
            if output.name not in self.outputs:
                raise InvalidInput(f"unexpected inference output '{output.name}' for model '{self.spec.name}'")
            if output.parameters:
                _refuse_extensions(output.parameters, output.name)
        return tuple(dict.fromkeys(output.name for output in request.outputs))

    def _read(self, request: oip.ModelInferRequest, max_rows: int) -> NDArray[np.float32]:
        """The request's one input, (B, layers[0]) float32."""
        name, expected = self.spec.name, self.spec.input_name
        if len(request.inputs) != 1:
            given = ",".join(f"'{tensor.name}'" for tensor in request.inputs)
            missing = f"'{expected}'" if all(tensor.name != expected for tensor in request.inputs) else ""
            raise InvalidInput(
                f"expected 1 inputs but got {len(request.inputs)} inputs for model '{name}'. Got input(s) [{given}], but missing "
                f"required input(s) [{missing}]. Please provide all required input(s)."
            )
        tensor = request.inputs[0]
        if tensor.name != expected:
            raise InvalidInput(f"unexpected inference input '{tensor.name}' for model '{name}'")
        if tensor.parameters:
            _refuse_extensions(tensor.parameters, expected)
        if tensor.datatype != "FP32":
            raise InvalidInput(
                f"inference input '{expected}' data-type is '{tensor.datatype}', but model '{name}' expects 'FP32'"
            )
        shape = tuple(tensor.shape)
        width = self.spec.layers[0]
        if len(shape) != 2 or shape[1] != width or shape[0] < 1:
            raise InvalidInput(
                f"unexpected shape for input '{expected}' for model '{name}'. Expected [-1,{width}], got "
                f"[{','.join(map(str, shape))}]"
            )
        if shape[0] > max_rows:
            raise InvalidInput(f"inference request batch-size must be <= {max_rows} for '{name}'")
        raw = request.raw_input_contents
        if raw:
            if len(raw) != 1:
                raise InvalidInput(
                    f"the number of inputs (1) does not match the expected number of raw input contents ({len(raw)}) for "
                    f"model '{name}'."
                )
            if tensor.HasField("contents"):
                raise InvalidInput(
                    f"contents field must not be specified when using raw_input_contents for '{expected}' for model '{name}'"
                )
            data = raw[0]
            if len(data) != shape[0] * width * 4:
                raise self._size_mismatch(shape[0] * width * 4, len(data))
            return np.frombuffer(data, "<f4").reshape(shape)
        for field, _ in tensor.contents.ListFields():
            if field.name != "fp32_contents":
                raise InvalidInput(
                    f"unexpected explicit tensor data for input tensor '{expected}' for model '{name}' of type "
                    f"'{field.name.removesuffix('_contents').upper()}', expected datatype 'FP32'"
                )
        values = np.array(tensor.contents.fp32_contents, dtype=np.float32)
        if values.size != shape[0] * width:
            raise self._size_mismatch(shape[0] * width * 4, values.size * 4)
        return values.reshape(shape)

    def _size_mismatch(self, expected: int, got: int) -> InvalidInput:
        return InvalidInput(
            f"input byte size mismatch for input '{self.spec.input_name}' for model '{self.spec.name}'. "
            f"Expected {expected}, got {got}"
        )

    def metadata(self, versions: list[str]) -> oip.ModelMetadataResponse:
        """versions: all that answer just now."""
        tensor = oip.ModelMetadataResponse.TensorMetadata
        return oip.ModelMetadataResponse(
            name=self.spec.name,
            versions=versions,
            platform=PLATFORM,
            inputs=[tensor(name=self.spec.input_name, datatype="FP32", shape=self.input_shape)],
            outputs=[
                tensor(name=name, datatype=datatype, shape=shape) for name, (datatype, shape) in self.outputs.items()
            ],
        )


_RUNTIME_ERRORS = (
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
    ort.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    ort.capi.onnxruntime_pybind11_state.NotImplemented,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
)


def _refuse_extensions(parameters: Any, tensor: str) -> None:
    for name in _UNSUPPORTED:
        if name in parameters:
            raise InvalidInput(f"this server has no extension '{name}', which tensor '{tensor}' asks for: leave it out")


def _no_model_yet() -> Unavailable:
    return Unavailable("no version of the model has arrived from the chain yet: retry in a moment", reason="NoModelYet")


class LoadedModels:
    """The live model, and those it replaced, which answer to their number a little longer: so many seconds, versions and bytes.

    Swapping is one assignment: a call that has taken its model finishes with it, and every later call takes the new one.
    """

    def __init__(
        self,
        keep_s: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        keep_versions: int = 8,
        keep_bytes: int = 256 << 20,
    ) -> None:
        self._keep_s = keep_s
        self._keep_versions = keep_versions
        self._keep_bytes = keep_bytes
        self._clock = clock
        self.live: Model | None = None
        self._replaced: dict[int, tuple[Model, float]] = {}

    def put(self, model: Model) -> None:
        """Makes `model` the live one."""
        before = self.live
        self.live = model
        if before is not None:
            self._replaced[before.version.version] = (before, self._clock() + self._keep_s)
        self.forget_expired()

    def forget_expired(self) -> None:
        """Lets go of models whose time is over."""
        now = self._clock()
        for version in [version for version, (_, until) in self._replaced.items() if until <= now]:
            del self._replaced[version]
        while self._replaced and (
            len(self._replaced) > self._keep_versions
            or sum(model.weight_bytes for model, _ in self._replaced.values()) > self._keep_bytes
        ):
            del self._replaced[next(iter(self._replaced))]

    def versions(self) -> list[int]:
        """All that answer, newest first."""
        if self.live is None:
            return []
        now = self._clock()
        kept = [version for version, (_, until) in self._replaced.items() if until > now]
        return [self.live.version.version, *sorted(kept, reverse=True)]

    def find(self, name: str, version: str) -> Model:
        """The model of that name; version: its number, or empty for the live one. Raises NotFound, InvalidInput, Unavailable."""
        live = self.live
        if live is None:
            raise _no_model_yet()
        if name != live.spec.name:
            raise NotFound(f"Request for unknown model: '{name}' is not found")
        if not version or version == str(live.version.version):
            return live
        if not (version.isdecimal() and version.isascii() and len(version) <= 20):
            raise InvalidInput(
                f"failed to get model version from specified version string '{version}' (details: not a number), version should "
                "be an integral value > 0"
            )
        kept = self._replaced.get(int(version))
        if kept is None or kept[1] <= self._clock():
            raise NotFound(f"Request for unknown model: '{name}' version {int(version)} is not found")
        return kept[0]


class Inference:
    """The six calls of the Open Inference Protocol, without a transport, and what they take. extensions: what else ServerMetadata names."""

    def __init__(
        self, loaded: LoadedModels, *, max_rows: int, server_version: str, extensions: Sequence[str] = ()
    ) -> None:
        self._loaded = loaded
        self._max_rows = max_rows
        self._server_version = server_version
        self._extensions = (PROVENANCE, *extensions)

    def infer(self, request: oip.ModelInferRequest) -> oip.ModelInferResponse:
        return self._loaded.find(request.model_name, request.model_version).infer(request, self._max_rows)

    def terms(self) -> tuple[ModelSpec, int]:
        """What is asked for, and rows at once. Raises Unavailable while no version is live."""
        live = self._loaded.live
        if live is None:
            raise _no_model_yet()
        return live.spec, live.rows_at_once(self._max_rows)

    def server_live(self) -> oip.ServerLiveResponse:
        return oip.ServerLiveResponse(live=True)

    def server_ready(self) -> oip.ServerReadyResponse:
        return oip.ServerReadyResponse(ready=self._loaded.live is not None)

    def model_ready(self, request: oip.ModelReadyRequest) -> oip.ModelReadyResponse:
        """Not ready, rather than an error, for a model or version that is not here."""
        try:
            self._loaded.find(request.name, request.version)
        except (NotFound, Unavailable):
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=True)

    def server_metadata(self) -> oip.ServerMetadataResponse:
        return oip.ServerMetadataResponse(name=SERVER_NAME, version=self._server_version, extensions=self._extensions)

    def model_metadata(self, request: oip.ModelMetadataRequest) -> oip.ModelMetadataResponse:
        return self._loaded.find(request.name, request.version).metadata([str(n) for n in self._loaded.versions()])
