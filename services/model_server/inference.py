"""Open Inference Protocol messages ↔ numpy ↔ onnxruntime: what an answer is, however a request arrived.

Nothing here knows gRPC's transport: `Inference` takes and gives messages and raises the error tree, so another front (raw HTTP/2, a
browser protocol) can stand on the same object.

Refusals use the words of the servers that clients of this protocol know (Triton's core and gRPC front; KServe's for the number of raw
tensors), so tools that read them keep working.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, InvalidModel, NotFinite, NotFound, Unavailable
from linklearner.domain.graph import Signature
from linklearner.domain.inputs import check_rows, check_whole
from linklearner.domain.model import Loss, ModelSpec, ModelVersion
from linklearner.domain.operators import Datatype
from linklearner.oip import open_inference_grpc_pb2 as oip

SERVER_NAME = "linklearner"
PLATFORM = "onnx_onnxv1"
PROVENANCE = "linklearner_provenance"
"""The extension that answers carry the parameters `digest`, `round` and `task`."""
LABEL = "label"
"""An output beside those of the graph: INT64 [N], the index of the greatest logit."""

MAX_REQUEST_BYTES = 4 << 20
"""A batch of 1,024 rows of 1,000 numbers."""
MAX_LAYER_BYTES = 64 << 20
"""Of the activations of one layer for one request."""
MAX_REQUEST_WORK = 2**36
"""Multiply-adds of one request of several rows: seconds of a processor's time."""
INLINE_WORK = 2**22
"""The same up to which a request is computed at once, in milliseconds, and not in the worker thread."""
BLANK_ROWS = 2
"""Of the request with which a version is tried."""
MAX_PEAK_BYTES = 512 << 20
"""Of all activations that are needed at once for one request."""

_CONTENTS = {
    Datatype.FP32: "fp32_contents",
    Datatype.INT64: "int64_contents",
    Datatype.INT32: "int_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.BOOL: "bool_contents",
}
_UNSUPPORTED = ("shared_memory_region", "classification")
"""Parameters of Triton's extensions that change what an answer means; ignoring them would give a wrong one."""


class Model:
    """One version of a task's model, ready to answer.

    graph: a serialised ONNX model with the inputs and outputs of `spec.graph`, as `onnx_graph` makes it.
    Building one compiles the graph and answers a first request, which takes milliseconds to seconds: do it off the event loop.
    Raises InvalidModel if the graph cannot run or does not give what the description says.
    """

    def __init__(self, spec: ModelSpec, version: ModelVersion, graph: bytes) -> None:
        self.spec = spec
        self.version = version
        self.inputs = {signature.name: signature for signature in spec.graph.inputs}
        self._row_bytes = {name: one.datatype.dtype.itemsize * one.length for name, one in self.inputs.items()}
        in_message = (MAX_REQUEST_BYTES - 4096) // sum(self._row_bytes.values())
        in_memory = MAX_PEAK_BYTES // spec.graph.peak_bytes
        if in_memory < BLANK_ROWS:
            raise InvalidModel(
                f"version {version.version} needs {spec.graph.peak_bytes:,} bytes of memory for one row at its widest, and this server has "
                f"{MAX_PEAK_BYTES // BLANK_ROWS:,}"
            )
        in_time = MAX_REQUEST_WORK // max(1, spec.graph.work)
        self._fitting_rows = max(min(MAX_LAYER_BYTES // (4 * spec.graph.widest), in_memory, in_time, in_message), 1)
        computed = {signature.name: signature for signature in spec.graph.outputs}
        self._computed = tuple(computed)
        self.outputs = dict(computed)
        if spec.loss is Loss.CROSS_ENTROPY and LABEL not in computed:
            self.outputs[LABEL] = Signature(LABEL, Datatype.INT64, ())
        self._all_outputs = tuple(self.outputs)
        options = ort.SessionOptions()
        # One thread: a request costs microseconds, and threads that wake for it cost more. Spinning would burn a core between requests.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            answers = self.run({name: _blank(one) for name, one in self.inputs.items()})
        except _RUNTIME_ERRORS as error:
            raise InvalidModel(f"onnxruntime cannot run version {version.version}: {error}") from error
        for name, signature in computed.items():
            answer = answers[name]
            if answer.shape != (BLANK_ROWS, *signature.dimensions) or answer.dtype != signature.datatype.dtype:
                raise InvalidModel(f"version {version.version} gives {name} {answer.shape} {answer.dtype}")
            if not np.isfinite(answer).all():
                raise InvalidModel(f"version {version.version} answers a blank input with NaN or infinity")
        self._heads: dict[tuple[str, ...], bytes] = {}

    @property
    def weight_bytes(self) -> int:
        """What the weights take as float32."""
        return 4 * self.spec.weight_count

    def rows_at_once(self, most: int) -> int:
        """Rows of one request, of those `most` that the operator allows: no layer of a wide model may outgrow the memory or the message."""
        return min(most, self._fitting_rows)

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """inputs: (B, *dimensions) of each input. Returns the graph's outputs, (B, *dimensions) of each."""
        return dict(zip(self._computed, self._session.run(self._computed, inputs), strict=True))

    def infer(self, request: oip.ModelInferRequest, max_rows: int) -> oip.ModelInferResponse:
        """The answer, raw tensors always. Raises InvalidInput for anything that does not fit the model's metadata."""
        inputs = self._read(request, self.rows_at_once(max_rows))
        allow_range = "allow_range" in request.parameters and request.parameters["allow_range"].bool_param
        for name, values in inputs.items():
            signature = self.inputs[name]
            if signature.datatype is Datatype.FP32:
                check_rows(values, name=name, input_range=signature.range, allow_range=allow_range)
            elif signature.range is not None:
                check_whole(values, name=name, input_range=signature.range)
        names = self._requested(request)
        response = oip.ModelInferResponse.FromString(self._heads.get(names) or self._head(names))
        response.id = request.id
        try:
            answers = self.run(inputs)
        except (
            ort.capi.onnxruntime_pybind11_state.InvalidArgument
        ) as error:  # an index that an embedding does not have, say
            raise InvalidInput(f"model '{self.spec.name}' cannot take these inputs: {error!s:.200}") from error
        for answer in answers.values():
            if not np.isfinite(answer).all():
                raise self._beyond(inputs, answer)
        if LABEL in names and LABEL not in answers:
            answers[LABEL] = answers[self.spec.answer.name].argmax(axis=1).astype("<i8", copy=False)
        raw = response.raw_output_contents
        for name, tensor in zip(names, response.outputs, strict=True):
            answer = answers[name]
            tensor.shape[0] = len(answer)
            raw.append(answer.tobytes())
        return response

    def _beyond(self, inputs: dict[str, NDArray[Any]], answer: NDArray[Any]) -> NotFinite:
        row = int(np.argwhere(~np.isfinite(answer))[0, 0])
        names = ", ".join(f"'{name}'" for name in inputs)
        reach = max(float(np.abs(values[row]).max()) for values in inputs.values())
        return NotFinite(
            f"row {row} of input {names} leads model '{self.spec.name}' beyond what FP32 holds: it has an answer of infinity or NaN. "
            f"Its inputs reach {reach:.6g}",
            facts={"row": row},
        )

    def _head(self, names: tuple[str, ...]) -> bytes:
        """What all answers with these outputs have in common, serialised; the number of rows is filled in later."""
        head = oip.ModelInferResponse(model_name=self.spec.name, model_version=str(self.version.version))
        head.parameters["digest"].string_param = f"0x{self.version.digest.hex()}"
        head.parameters["round"].int64_param = self.version.round
        head.parameters["task"].int64_param = self.version.task
        for name in names:
            head.outputs.add(name=name, datatype=self.outputs[name].datatype, shape=self.outputs[name].shape)
        return self._heads.setdefault(names, head.SerializeToString())

    def _requested(self, request: oip.ModelInferRequest) -> tuple[str, ...]:
        if not request.outputs:
            return self._all_outputs
        for output in request.outputs:
            if output.name not in self.outputs:
                raise InvalidInput(f"unexpected inference output '{output.name}' for model '{self.spec.name}'")
            if output.parameters:
                _refuse_extensions(output.parameters, output.name)
        return tuple(dict.fromkeys(output.name for output in request.outputs))

    def _read(self, request: oip.ModelInferRequest, max_rows: int) -> dict[str, NDArray[Any]]:
        """The request's inputs by name, (B, *dimensions) each."""
        tensors = request.inputs
        if len(tensors) != len(self.inputs):
            raise self._wrong_inputs([tensor.name for tensor in tensors])
        values: dict[str, NDArray[Any]] = {}
        for place, tensor in enumerate(tensors):
            name = tensor.name
            signature = self.inputs.get(name)
            if signature is None:
                raise InvalidInput(f"unexpected inference input '{name}' for model '{self.spec.name}'")
            if name in values:
                raise InvalidInput(f"input '{name}' already exists in request for model '{self.spec.name}'")
            values[name] = self._tensor(request, place, tensor, signature, max_rows)
        if len(values) > 1 and len({len(one) for one in values.values()}) > 1:
            raise InvalidInput(
                f"the inputs of one request have the same number of rows each, for model '{self.spec.name}'"
            )
        return values

    def _wrong_inputs(self, names: list[str]) -> InvalidInput:
        given = ",".join(f"'{name}'" for name in names)
        missing = ",".join(f"'{name}'" for name in self.inputs if name not in names)
        return InvalidInput(
            f"expected {len(self.inputs)} inputs but got {len(names)} inputs for model '{self.spec.name}'. Got input(s) [{given}], but "
            f"missing required input(s) [{missing}]. Please provide all required input(s)."
        )

    def _tensor(
        self, request: oip.ModelInferRequest, place: int, tensor: Any, signature: Signature, max_rows: int
    ) -> NDArray[Any]:
        """The tensor at `place`: says of itself what the signature says, and holds as many bytes."""
        model, name, datatype = self.spec.name, signature.name, signature.datatype
        if tensor.parameters:
            _refuse_extensions(tensor.parameters, name)
        if tensor.datatype != datatype:
            raise InvalidInput(
                f"inference input '{name}' data-type is '{tensor.datatype}', but model '{model}' expects '{datatype}'"
            )
        shape = tuple(tensor.shape)
        if shape[1:] != signature.dimensions or not shape or shape[0] < 1:
            raise InvalidInput(
                f"unexpected shape for input '{name}' for model '{model}'. Expected [{','.join(map(str, signature.shape))}], got "
                f"[{','.join(map(str, shape))}]"
            )
        if shape[0] > max_rows:
            raise InvalidInput(f"inference request batch-size must be <= {max_rows} for '{model}'")
        expected = shape[0] * self._row_bytes[name]
        raw = request.raw_input_contents
        if raw:
            if len(raw) != len(request.inputs):
                raise InvalidInput(
                    f"the number of inputs ({len(request.inputs)}) does not match the expected number of raw input contents "
                    f"({len(raw)}) for model '{model}'."
                )
            if tensor.HasField("contents"):
                raise InvalidInput(
                    f"contents field must not be specified when using raw_input_contents for '{name}' for model '{model}'"
                )
            data = raw[place]
            if len(data) != expected:
                raise self._size_mismatch(name, expected, len(data))
            return np.frombuffer(data, datatype.dtype).reshape(shape)
        wanted = _CONTENTS[datatype]
        for field, _ in tensor.contents.ListFields():
            if field.name != wanted:
                raise InvalidInput(
                    f"unexpected explicit tensor data for input tensor '{name}' for model '{model}' of type "
                    f"'{field.name.removesuffix('_contents').upper()}', expected datatype '{datatype}'"
                )
        try:
            values = np.array(getattr(tensor.contents, wanted), dtype=datatype.dtype)
        except OverflowError:
            raise InvalidInput(f"input '{name}' of model '{model}' has a number that is no {datatype}") from None
        if values.nbytes != expected:
            raise self._size_mismatch(name, expected, values.nbytes)
        return values.reshape(shape)

    def _size_mismatch(self, name: str, expected: int, got: int) -> InvalidInput:
        return InvalidInput(
            f"input byte size mismatch for input '{name}' for model '{self.spec.name}'. Expected {expected}, got {got}"
        )

    def metadata(self, versions: list[str]) -> oip.ModelMetadataResponse:
        """versions: all that answer just now."""
        tensor = oip.ModelMetadataResponse.TensorMetadata
        return oip.ModelMetadataResponse(
            name=self.spec.name,
            versions=versions,
            platform=PLATFORM,
            inputs=[tensor(name=one.name, datatype=one.datatype, shape=one.shape) for one in self.inputs.values()],
            outputs=[tensor(name=one.name, datatype=one.datatype, shape=one.shape) for one in self.outputs.values()],
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


def _blank(signature: Signature) -> NDArray[Any]:
    """BLANK_ROWS rows that any model takes: zeros, or the least number that the range names."""
    low, high = signature.range or (0.0, 0.0)
    return np.full((BLANK_ROWS, *signature.dimensions), low if low > 0 or high < 0 else 0, signature.datatype.dtype)


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
        self._worker = ThreadPoolExecutor(1, "inference")  # one: each request may take MAX_PEAK_BYTES

    async def infer(self, request: oip.ModelInferRequest) -> oip.ModelInferResponse:
        """What a task's creator made large must not keep everybody else waiting: only what takes milliseconds is computed at once."""
        model = self._loaded.find(request.model_name, request.model_version)
        rows = max((one.shape[0] for one in request.inputs if one.shape), default=0)
        if rows * model.spec.graph.work <= INLINE_WORK:
            return model.infer(request, self._max_rows)
        return await asyncio.get_running_loop().run_in_executor(self._worker, model.infer, request, self._max_rows)

    def close(self) -> None:
        """Nothing that waits for the worker is computed any more."""
        self._worker.shutdown(wait=False, cancel_futures=True)

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
