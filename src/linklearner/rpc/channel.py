"""Channels to other services: message limits, and the request id handed on."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import structlog

from linklearner.rpc.server import MAX_MESSAGE_BYTES, REQUEST_ID_KEY

# What asks and changes nothing, so that it may be asked again where the service was away for a moment. Transport and service
# alike answer UNAVAILABLE then. Together the pauses stay below a second: a model server gives its questions two.
IDEMPOTENT: Mapping[str, tuple[str, ...]] = {
    "linklearner.v1.ChainGatewayService": (
        "GetChain", "ListAccounts", "GetTask", "GetModel", "GetRound", "GetBalance", "WatchVersions",
    ),
    "linklearner.v1.TrainerService": ("GetTrainer", "Evaluate", "ExportModel"),
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


def _with_request_id(details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
    request = structlog.contextvars.get_contextvars().get("request")
    if request is None:
        return details
    metadata = grpc.aio.Metadata(*(details.metadata or ()), (REQUEST_ID_KEY, request))
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )


class _UnaryRequestId(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[..., Awaitable[Any]], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_with_request_id(client_call_details), request)


class _StreamRequestId(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(  # type: ignore[override]  # grpc-stubs forgets the async
        self, continuation: Callable[..., Awaitable[Any]], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_with_request_id(client_call_details), request)


def channel(address: str) -> grpc.aio.Channel:
    """An insecure channel to host:port (control network or loopback). Reconnects within two seconds of a server's return."""
    return grpc.aio.insecure_channel(
        address,
        interceptors=(_UnaryRequestId(), _StreamRequestId()),
        options=(
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.service_config", _SERVICE_CONFIG),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ),
    )
