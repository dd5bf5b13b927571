"""gRPC for browsers: the Connect protocol's unary JSON calls, of the methods below and no others.

A call is `POST /package.Service/Method` with a message as JSON (uint64 as text, bytes as base64, as protobuf's own JSON has it); an error
is `{"code", "message", "details"}` with the details of the gRPC status (ErrorInfo) as Connect writes them. The official connect-web client
works with it. The protocol's GET, compression and streams are not there: nothing in the page needs them.

The gateway is asked with a credential that may read. What would spend somebody's money, or make a trainer train, is not in the table, and
would be refused by the gateway if it were.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from linklearner.oip import open_inference_grpc_pb2 as oip
from linklearner.rpc.status import DETAILS_KEY
from linklearner.v1 import chain_gateway_pb2 as gateway_pb
from linklearner.v1 import session_pb2 as session

GATEWAY, MODEL_SERVER = "gateway", "model_server"
CALL_S: Final = 15.0
"""Of one call, unless the caller's `Connect-Timeout-Ms` is shorter."""
MAX_BODY: Final = 1 << 20

_MILLISECONDS: Final = re.compile("[0-9]{1,10}", re.ASCII)
"""Of `Connect-Timeout-Ms`, as the protocol has it."""
_HEADER: Final = re.compile("[ -~]*")
"""What gRPC carries as text; of anything else it makes an error that is none of its statuses."""

_GATEWAY = gateway_pb.DESCRIPTOR.services_by_name["ChainGatewayService"]
_SESSIONS = session.DESCRIPTOR.services_by_name["SessionService"]
_INFERENCE = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"]
ALLOWED: Final[tuple[tuple[str, Any, tuple[str, ...]], ...]] = (
    (GATEWAY, _GATEWAY, ("GetChain", "ListTasks", "GetTask", "GetRound", "GetBalance", "GetEarnings")),
    (MODEL_SERVER, _SESSIONS, ("GetTerms", "CreateChallenge", "OpenSession", "CloseSession")),
    (MODEL_SERVER, _INFERENCE, ("ServerReady", "ModelReady", "ModelMetadata", "ModelInfer")),
)
"""What answers, its service, and the methods that pages may call."""

HTTP_STATUS: Final[Mapping[str, int]] = {
    "canceled": 499, "invalid_argument": 400, "deadline_exceeded": 504, "not_found": 404, "already_exists": 409,
    "permission_denied": 403, "resource_exhausted": 429, "failed_precondition": 400, "aborted": 409, "out_of_range": 400,
    "unimplemented": 501, "unavailable": 503, "unauthenticated": 401,
}  # fmt: skip
"""Of Connect's codes, which are gRPC's in lower case (and one l in canceled); others are 500."""


@dataclass(slots=True)
class ConnectError(Exception):
    """What a page is answered instead of a message."""

    code: str
    message: str
    details: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> int:
        return HTTP_STATUS.get(self.code, 500)

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, **({"details": self.details} if self.details else {})}


@dataclass(frozen=True, slots=True)
class Method:
    """One that may be called. path: as in HTTP and gRPC, `/package.Service/Method`."""

    path: str
    backend: str
    request: type[Message]
    response: type[Message]


def methods() -> dict[str, Method]:
    """All that may be called, by path."""
    found = {}
    for backend, service, names in ALLOWED:
        for name in names:
            described = service.methods_by_name[name]
            path = f"/{service.full_name}/{name}"
            found[path] = Method(
                path, backend, GetMessageClass(described.input_type), GetMessageClass(described.output_type)
            )
    return found


class Bridge:
    """Calls backends on behalf of pages. channels: by backend; what is not there is unimplemented."""

    def __init__(self, channels: Mapping[str, grpc.aio.Channel]) -> None:
        self._methods = {path: one for path, one in methods().items() if one.backend in channels}
        self._calls = {
            path: channels[one.backend].unary_unary(
                path, request_serializer=one.request.SerializeToString, response_deserializer=one.response.FromString
            )
            for path, one in self._methods.items()
        }

    async def call(self, path: str, body: bytes, *, bearer: str, timeout_ms: str) -> str:
        """The answer as JSON. bearer: the page's `Authorization`, handed to the model server alone. Raises ConnectError."""
        method = self._methods.get(path)
        if method is None:
            raise ConnectError("unimplemented", "this is not open to pages")
        request = method.request()
        try:
            if not body.lstrip().startswith(b"{"):  # protobuf would read an empty list as an empty message
                raise ValueError("a message is a JSON object")
            json_format.Parse(body, request, max_recursion_depth=16)
        except (json_format.ParseError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise ConnectError("invalid_argument", f"not a {request.DESCRIPTOR.name} as JSON: {error!s:.200}") from None
        if not _HEADER.fullmatch(bearer):
            raise ConnectError("unauthenticated", "the authorization is no token: it has characters that no header has")
        metadata = (("authorization", bearer),) if bearer and method.backend == MODEL_SERVER else ()
        seconds = min(CALL_S, int(timeout_ms) / 1000) if _MILLISECONDS.fullmatch(timeout_ms) else CALL_S
        try:
            answer = await self._calls[path](request, timeout=seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise ConnectError(
                error.code().name.lower().replace("cancelled", "canceled"),
                error.details() or error.code().name,
                _details(error.trailing_metadata() or ()),
            ) from None
        return str(json_format.MessageToJson(answer, indent=None, always_print_fields_with_no_presence=True))


def _details(trailers: Iterable[Any]) -> list[dict[str, Any]]:
    """Of a gRPC status, as Connect has them: type, base64 of the message without padding, and the message as JSON for people."""
    for key, value in trailers:
        if key != DETAILS_KEY:
            continue
        found: list[dict[str, Any]] = []
        try:
            status = status_pb2.Status.FromString(value)
            told = [error_details_pb2.ErrorInfo.FromString(one.value) for one in status.details if _is_info(one)]
        except DecodeError:
            return found
        for detail in status.details:
            name = detail.type_url.rpartition("/")[2]
            shown: dict[str, Any] = {"type": name, "value": base64.b64encode(detail.value).decode().rstrip("=")}
            if _is_info(detail):
                shown["debug"] = json_format.MessageToDict(told.pop(0))
            found.append(shown)
        return found
    return []


def _is_info(detail: Any) -> bool:
    return bool(detail.type_url.rpartition("/")[2] == "google.rpc.ErrorInfo")
