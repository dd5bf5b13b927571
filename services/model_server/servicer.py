"""gRPC on one side, the gate and the handler on the other. Errors go through: `linklearner.rpc` maps them."""

import asyncio
from time import perf_counter

from linklearner.domain.errors import Exhausted, LinkLearnerError
from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.entrance import Context, Entrance, Places
from linklearner.rpc.status import code_of
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc
from services.model_server import wire
from services.model_server.gate import Admission, Caller, Gate
from services.model_server.inference import Inference
from services.model_server.metrics import Metrics

INFERENCE = "inference.GRPCInferenceService"
SESSIONS = "linklearner.v1.SessionService"
INFER = f"/{INFERENCE}/ModelInfer"


class InferenceServicer(oip_grpc.GRPCInferenceServiceServicer):
    """inference.GRPCInferenceService. Only ModelInfer is gated: readiness and metadata are for everybody."""

    def __init__(self, inference: Inference, metrics: Metrics) -> None:
        self._inference = inference
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
        began = perf_counter()
        response = self._inference.infer(request)
        self._metrics.rows.inc(response.outputs[0].shape[0])
        self._metrics.seconds.observe(perf_counter() - began)
        return response


class InferenceEntrance(Entrance):
    """In front of ModelInfer: the token is looked at before a byte of the message is read, and the bytes before they become objects.

    max_calls: that one caller may have open at once.
    """

    def __init__(self, admission: Admission, metrics: Metrics, *, bodies: Places, max_calls: int) -> None:
        super().__init__(bodies=bodies)
        self._admission = admission
        self._metrics = metrics
        self._max_calls = max_calls

    async def enter(self, context: Context) -> Caller:
        try:
            caller = await self._admission.admit(context.invocation_metadata() or ())
            if caller.calls >= self._max_calls:
                raise Exhausted(
                    f"this session has {caller.calls} calls open, the most there may be: wait for answers",
                    reason="TooManyCalls",
                    facts={"calls": caller.calls},
                )
        except (LinkLearnerError, asyncio.CancelledError) as error:
            self._count(error)
            raise
        caller.calls += 1
        return caller

    def leave(self, party: Caller, error: BaseException | None) -> None:
        party.calls -= 1
        self._count(error)

    def check(self, message: bytes) -> None:
        wire.check(message)

    def _count(self, error: BaseException | None) -> None:
        if error is None:
            code = "OK"
        elif isinstance(error, LinkLearnerError):
            code = code_of(error).name
        else:
            code = "CANCELLED" if isinstance(error, asyncio.CancelledError) else "INTERNAL"
        self._metrics.answered[code].inc()


class SessionServicer(session_grpc.SessionServiceServicer):
    """linklearner.v1.SessionService."""

    def __init__(self, gate: Gate, inference: Inference, metrics: Metrics, terms: session.GetTermsResponse) -> None:
        self._gate = gate
        self._inference = inference
        self._metrics = metrics
        self._terms = terms

    async def GetTerms(self, request: session.GetTermsRequest, context: Context) -> session.GetTermsResponse:  # noqa: N802
        spec, max_rows = self._inference.terms()
        low, high = spec.input_range or (0.0, 0.0)
        terms = session.GetTermsResponse(
            model=spec.name,
            input_name=spec.input_name,
            input_count=spec.input.length,
            input_min=low,
            input_max=high,
            labels=spec.labels,
            max_rows=max_rows,
        )
        terms.MergeFrom(self._terms)
        return terms

    async def CreateChallenge(  # noqa: N802
        self, request: session.CreateChallengeRequest, context: Context
    ) -> session.CreateChallengeResponse:
        sign_in = self._gate.challenge(request.address, request.nonce)
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
