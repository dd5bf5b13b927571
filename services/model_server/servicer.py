"""gRPC on one side, the admission and the handler on the other. Errors go through: `linklearner.rpc` maps them."""

import asyncio
from collections.abc import Hashable
from contextvars import ContextVar
from hashlib import sha256
from time import perf_counter

from linklearner.domain.errors import LinkLearnerError
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.entrance import Context, Entrance, Places
from linklearner.rpc.status import code_of
from services.model_server import wire
from services.model_server.admission.admission import Admission, InferenceCall
from services.model_server.inference import Inference
from services.model_server.metrics import Metrics

INFERENCE = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
INFER = f"/{INFERENCE}/ModelInfer"

_call: ContextVar[InferenceCall] = ContextVar("call")
"""The one that is being answered in this task."""


class InferenceServicer(oip_grpc.GRPCInferenceServiceServicer):
    """inference.GRPCInferenceService. Only ModelInfer needs admission: readiness and metadata are for everybody."""

    def __init__(self, inference: Inference, admission: Admission, metrics: Metrics) -> None:
        self._inference = inference
        self._admission = admission
        self._metrics = metrics

    async def ServerLive(self, request: oip.ServerLiveRequest, context: Context) -> oip.ServerLiveResponse:  # noqa: N802
        return self._inference.server_live()

    async def ServerReady(self, request: oip.ServerReadyRequest, context: Context) -> oip.ServerReadyResponse:  # noqa: N802
        return self._inference.server_ready()

    async def ModelReady(self, request: oip.ModelReadyRequest, context: Context) -> oip.ModelReadyResponse:  # noqa: N802
        return self._inference.model_ready(request)

    async def ServerMetadata(  # noqa: N802
        self, request: oip.ServerMetadataRequest, context: Context
    ) -> oip.ServerMetadataResponse:
        return self._inference.server_metadata()

    async def ModelMetadata(  # noqa: N802
        self, request: oip.ModelMetadataRequest, context: Context
    ) -> oip.ModelMetadataResponse:
        return self._inference.model_metadata(request)

    async def ModelInfer(self, request: oip.ModelInferRequest, context: Context) -> oip.ModelInferResponse:  # noqa: N802
        call = _call.get()
        call.request = request
        async with self._admission.admit(call):
            began = perf_counter()
            response = await self._inference.infer(request)
        self._metrics.rows.inc(response.outputs[0].shape[0])
        self._metrics.seconds.observe(perf_counter() - began)
        return response


class InferenceEntrance(Entrance):
    """In front of ModelInfer: the metadata is judged before a byte of the message is read, and the bytes before they become objects.

    The message is read and answered in the task that has entered, so the servicer finds the call there.
    """

    def __init__(self, admission: Admission, metrics: Metrics, *, bodies: Places) -> None:
        super().__init__(bodies=bodies)
        self._admission = admission
        self._metrics = metrics

    async def enter(self, context: Context) -> Hashable:
        metadata = context.invocation_metadata() or ()
        try:
            party = await self._admission.enter(metadata)
        except (LinkLearnerError, asyncio.CancelledError) as error:
            self._count(error)
            raise
        _call.set(InferenceCall(party, metadata))
        return party

    def leave(self, party: Hashable, error: BaseException | None) -> None:
        self._admission.leave(party)
        self._count(error)

    def check(self, message: bytes) -> None:
        wire.check(message)
        if self._admission.takes_digest:
            _call.get().digest = sha256(message).digest()

    def _count(self, error: BaseException | None) -> None:
        if error is None:
            code = "OK"
        elif isinstance(error, LinkLearnerError):
            code = code_of(error).name
        else:
            code = "CANCELLED" if isinstance(error, asyncio.CancelledError) else "INTERNAL"
        self._metrics.answered[code].inc()
