"""Channels to other services: message limits, and the request id handed on."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog

from linklearner.rpc.server import MAX_MESSAGE_BYTES, REQUEST_ID_KEY


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


def channel(address: str, *, receive_bytes: int = MAX_MESSAGE_BYTES) -> grpc.aio.Channel:
    """An insecure channel to host:port (control network or loopback). Reconnects within two seconds of a server's return.

    receive_bytes: of one message from the server at most.
    """
    return grpc.aio.insecure_channel(
        address,
        interceptors=(_UnaryRequestId(), _StreamRequestId()),
        options=(
            ("grpc.max_receive_message_length", receive_bytes),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ),
    )
