"""gRPC on one side, the gate and the handler on the other. Errors go through: `linklearner.rpc` maps them."""

import asyncio
from time import perf_counter
from typing import Any

import grpc

from linklearner.domain.errors import LinkLearnerError
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.status import code_of
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc
from services.model_server.gate import Admission, Gate
from services.model_server.inference import Inference
from services.model_server.metrics import Metrics

Context = grpc.aio.ServicerContext[Any, Any]

INFERENCE = "inference.GRPCInferenceService"
SESSIONS = "linklearner.v1.SessionService"
INFER = f"/{INFERENCE}/ModelInfer"


class InferenceServicer(oip_grpc.GRPCInferenceServiceServicer):
    """inference.GRPCInferenceService. Only ModelInfer is gated: readiness and metadata are for everybody."""

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
        metrics = self._metrics
        began = perf_counter()
        code = "INTERNAL"
        try:
            await self._admission.admit(context.invocation_metadata() or ())
            response = self._inference.infer(request)
            code = "OK"
        except LinkLearnerError as error:
            code = code_of(error).name
            raise
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        finally:
            metrics.answered[code].inc()
        metrics.rows.inc(response.outputs[0].shape[0])
        metrics.seconds.observe(perf_counter() - began)
        return response


class SessionServicer(session_grpc.SessionServiceServicer):
    """linklearner.v1.SessionService."""

    def __init__(self, gate: Gate, metrics: Metrics) -> None:
        self._gate = gate
        self._metrics = metrics

    async def CreateChallenge(  # noqa: N802
        self, request: session.CreateChallengeRequest, context: Context
    ) -> session.CreateChallengeResponse:
        sign_in = self._gate.challenge(request.address, context.peer())
        return session.CreateChallengeResponse(message=sign_in.text(), expires_s=sign_in.expires_s)

    async def OpenSession(  # noqa: N802
        self, request: session.OpenSessionRequest, context: Context
    ) -> session.OpenSessionResponse:
        try:
            opened = await self._gate.open(request.message, request.signature)
        except LinkLearnerError as error:
            self._metrics.opened.labels(code=code_of(error).name).inc()
            raise
        self._metrics.opened.labels(code="OK").inc()
        return session.OpenSessionResponse(
            token=opened.token,
            expires_s=opened.expires_s,
            locked_units=opened.locked_units,
            required_units=opened.required_units,
        )

    async def CloseSession(  # noqa: N802
        self, request: session.CloseSessionRequest, context: Context
    ) -> session.CloseSessionResponse:
        self._gate.close(request.token)
        return session.CloseSessionResponse()
