"""Channels to other services: message limits, the caller's credential, and the request id handed on."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import structlog

from linklearner.domain.notation import is_loopback
from linklearner.rpc.access import AUTHORIZATION, Credential
from linklearner.rpc.server import MAX_MESSAGE_BYTES, REQUEST_ID_KEY

# What asks and changes nothing, so that it may be asked again where the service was away for a moment. Transport and service
# alike answer UNAVAILABLE then. Together the pauses stay below a second: a model server gives its questions two.
IDEMPOTENT: Mapping[str, tuple[str, ...]] = {
    "linklearner.v1.ChainGatewayService": (
        "GetChain", "ListAccounts", "ListTasks", "GetTask", "GetEarnings", "GetModel", "GetRound", "GetBalance", "WatchVersions",
    ),
    "linklearner.v1.TrainerService": ("GetTrainer", "GetLastUpdate", "Evaluate", "ExportModel"),
}  # fmt: skip
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [
                    {"service": service, "method": method} for service, names in IDEMPOTENT.items() for method in names
                ],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


class _CallMetadata:
    """What every call carries beside its message."""

    def __init__(self, credential: Credential | None) -> None:
        self._fixed = () if credential is None else ((AUTHORIZATION, f"Bearer {credential.token}"),)

    def added_to(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        request = structlog.contextvars.get_contextvars().get("request")
        more = self._fixed if request is None else (*self._fixed, (REQUEST_ID_KEY, request))
        if not more:
            return details
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *more)
        return grpc.aio.ClientCallDetails(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
        )


class _UnaryMetadata(_CallMetadata, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[..., Awaitable[Any]], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(self.added_to(client_call_details), request)


class _StreamMetadata(_CallMetadata, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(  # type: ignore[override]  # grpc-stubs forgets the async
        self, continuation: Callable[..., Awaitable[Any]], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(self.added_to(client_call_details), request)


class _SentStreamMetadata(_CallMetadata, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self,
        continuation: Callable[..., Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        return await continuation(self.added_to(client_call_details), request_iterator)


def _direct(address: str) -> tuple[tuple[str, int], ...]:
    return (("grpc.enable_http_proxy", 0),) if is_loopback(address.rpartition(":")[0]) else ()


def channel(
    address: str, credential: Credential | None = None, *, receive_bytes: int = MAX_MESSAGE_BYTES
) -> grpc.aio.Channel:
    """An insecure channel to host:port (control network or loopback). Reconnects within two seconds of a server's return.

    This very machine is never reached through a proxy, others as http_proxy and no_proxy say (gRPC reads them).
    credential: proves who calls; it travels in clear text. receive_bytes: of one message from the server at most.
    """
    return grpc.aio.insecure_channel(
        address,
        interceptors=(_UnaryMetadata(credential), _StreamMetadata(credential), _SentStreamMetadata(credential)),
        options=(
            *_direct(address),
            ("grpc.max_receive_message_length", receive_bytes),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.service_config", _SERVICE_CONFIG),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ),
    )
