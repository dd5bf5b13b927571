"""The life of one gRPC server: bind, health, reflection, one log line a call, errors by the table, graceful stop."""

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from linklearner.domain.errors import InvalidConfig, InvalidInput, LinkLearnerError
from linklearner.log import clip
from linklearner.rpc.entrance import Context, Entrance
from linklearner.rpc.status import DETAILS_KEY, code_of, details_of

REQUEST_ID_KEY = "x-request-id"
MAX_MESSAGE_BYTES = 64 << 20
"""A model of 30 million weights in one message; larger ones are streamed."""
MIN_PING_INTERVAL_MS = 5000
"""Between two pings of one client; the usual keepalive of 10 s and more is inside."""
MAX_STREAMS = 1024
"""Calls open at once on one connection. A client that knows holds further ones back; one that sends more before it has heard of the
bound has them refused, so it is generous."""
MAX_MESSAGE_CHARACTERS = 1024
"""Of a refusal on the wire: HTTP/2 peers take 8 KiB of headers in all."""

_REQUEST_ID = re.compile(r"[!-~]{1,64}")
Receive = Callable[[Context, Hashable], Awaitable[Any]]

log = structlog.get_logger()


class _Boundary(grpc.aio.ServerInterceptor):
    """Lets calls in, binds the request id, turns domain errors into statuses and logs one canonical line per call."""

    def __init__(self, quiet: frozenset[str], entrances: Mapping[str, Entrance], entrance: Entrance) -> None:
        self._quiet = quiet
        self._entrances = entrances
        self._entrance = entrance
        self._wrapped: dict[str, grpc.RpcMethodHandler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)  # made once a method: making it costs a tenth of a call
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return handler
            wrapped = self._wrapped[method] = self._wrap(handler, method)
        return wrapped

    def _wrap(self, handler: grpc.RpcMethodHandler, method: str) -> grpc.RpcMethodHandler:
        entrance = self._entrances.get(method, self._entrance)
        if method.startswith("/grpc."):
            return _bounded(handler, entrance)
        if handler.request_streaming and handler.response_streaming:
            raise TypeError(f"{method}: streaming both ways is not part of linklearner.v1")
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(_received(handler, entrance), handler.unary_stream, entrance, method),
                response_serializer=handler.response_serializer,
            )
        receive, behaviour = (
            (_streamed(handler, entrance), handler.stream_unary)
            if handler.request_streaming
            else (_received(handler, entrance), handler.unary_unary)
        )
        return grpc.stream_unary_rpc_method_handler(
            self._unary(receive, behaviour, entrance, method),
            response_serializer=handler.response_serializer,
        )

    def _unary(
        self, receive: Receive, behaviour: Callable[..., Awaitable[Any]], entrance: Entrance, method: str
    ) -> Callable[..., Awaitable[Any]]:
        quiet = method in self._quiet

        async def call(_: object, context: Context) -> Any:
            started = time.perf_counter()
            if not quiet:
                self._bind(context)
            try:
                party = await entrance.enter(context)
                try:
                    answer = await behaviour(await receive(context, party), context)
                except BaseException as error:
                    entrance.leave(party, error)
                    raise
                entrance.leave(party, None)
            except LinkLearnerError as error:
                if quiet:
                    self._bind(context)
                await self._refuse(context, method, error, started)
                raise  # abort() has raised already; this line only says so to a reader
            except asyncio.CancelledError:
                raise
            except grpc.aio.AbortError:
                raise
            except Exception:
                if quiet:
                    self._bind(context)
                await self._fail(context, method, started)
                raise
            self._done(method, started)
            return answer

        return call

    def _streaming(
        self, receive: Receive, behaviour: Callable[..., AsyncIterator[Any]], entrance: Entrance, method: str
    ) -> Callable[..., AsyncIterator[Any]]:
        async def call(_: object, context: Context) -> AsyncIterator[Any]:
            started = time.perf_counter()
            self._bind(context)
            try:
                party = await entrance.enter(context)
                try:
                    request = await receive(context, party)
                    async for message in behaviour(request, context):
                        yield message
                except BaseException as error:
                    entrance.leave(party, error)
                    raise
                entrance.leave(party, None)
            except LinkLearnerError as error:
                await self._refuse(context, method, error, started)
            except asyncio.CancelledError:
                raise
            except grpc.aio.AbortError:
                raise
            except Exception:  # noqa: BLE001  # the outermost loop of a call: INTERNAL on the wire, traceback in the log
                await self._fail(context, method, started)
            else:
                self._done(method, started)

        return call

    @staticmethod
    def _bind(context: Context) -> None:
        given = next((value for key, value in context.invocation_metadata() or () if key == REQUEST_ID_KEY), None)
        good = isinstance(given, str) and _REQUEST_ID.fullmatch(given)
        structlog.contextvars.bind_contextvars(request=given if good else uuid.uuid4().hex[:16])

    def _done(self, method: str, started: float) -> None:
        if method not in self._quiet:
            log.info("rpc", method=method, code="OK", ms=round((time.perf_counter() - started) * 1e3, 2))

    async def _refuse(self, context: Context, method: str, error: LinkLearnerError, started: float) -> None:
        code = code_of(error)
        say = (
            log.debug if method in self._quiet else log.info
        )  # whoever may call without a session may not fill the disk
        say(
            "rpc",
            method=method,
            code=code.name,
            reason=error.reason,
            detail=error.message,
            ms=round((time.perf_counter() - started) * 1e3, 2),
        )
        await context.abort(
            code, clip(error.message, MAX_MESSAGE_CHARACTERS), trailing_metadata=((DETAILS_KEY, details_of(error)),)
        )

    @staticmethod
    async def _fail(context: Context, method: str, started: float) -> None:
        log.exception("rpc_failed", method=method, ms=round((time.perf_counter() - started) * 1e3, 2))
        await context.abort(
            grpc.StatusCode.INTERNAL, "a bug in this service; its log has the traceback under this request id"
        )


def _received(handler: grpc.RpcMethodHandler, entrance: Entrance) -> Receive:
    """Reads and parses the one message of a call to a unary handler."""
    parse = handler.request_deserializer or bytes

    async def receive(context: Context, party: Hashable) -> Any:
        message = await entrance.message(context, party)
        try:
            return parse(message)
        except DecodeError:
            raise InvalidInput("these bytes are not a message of this call", reason="NotAMessage") from None

    return receive


def _streamed(handler: grpc.RpcMethodHandler, entrance: Entrance) -> Receive:
    """What a handler that takes a stream reads from: each message is taken off the transport and parsed when it is asked for."""
    parse = handler.request_deserializer or bytes

    async def messages(context: Context, party: Hashable) -> AsyncIterator[Any]:
        async for message in entrance.messages(context, party):
            try:
                yield parse(message)
            except DecodeError:
                raise InvalidInput("these bytes are not a message of this call", reason="NotAMessage") from None

    async def receive(context: Context, party: Hashable) -> Any:
        return messages(context, party)

    return receive


def _bounded(handler: grpc.RpcMethodHandler, entrance: Entrance) -> grpc.RpcMethodHandler:
    """gRPC's own services (health, reflection) behind the same entrance, without a log line each."""
    answer: Any = handler.stream_stream or handler.unary_stream or handler.unary_unary
    if entrance.bodies is None:
        return handler

    async def refuse(context: Context, error: LinkLearnerError) -> None:
        await context.abort(code_of(error), clip(error.message, MAX_MESSAGE_CHARACTERS))

    if not handler.request_streaming:
        receive = _received(handler, entrance)

        async def unary(_: object, context: Context) -> Any:
            try:
                party = await entrance.enter(context)
                request = await receive(context, party)
                if not handler.response_streaming:
                    return await answer(request, context)
                async with contextlib.nullcontext() if entrance.streams is None else entrance.streams.taken(party):
                    return await answer(request, context)
            except LinkLearnerError as error:
                await refuse(context, error)

        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(unary, response_serializer=handler.response_serializer)

    async def streaming(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        try:
            party = await entrance.enter(context)
            async with contextlib.nullcontext() if entrance.streams is None else entrance.streams.taken(party):
                async for message in answer(requests, context):
                    yield message
        except LinkLearnerError as error:
            await refuse(context, error)

    return grpc.stream_stream_rpc_method_handler(
        streaming, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
    )


class RpcServer:
    """One listening gRPC server, from `async with` to graceful stop.

    listen: "host:port"; port 0 takes a free one, see `.port`. Raises InvalidConfig if the port is in use.
    register: adds servicers to the server. services: their full names, for health and reflection.
    quiet: full method names that are too frequent for a log line each; they get a request id only when they fail.
    options: channel arguments, before our own: the first of a name counts.
    entrances: by full method name, what decides about a call before its message is read; entrance: that of all other methods.
    """

    def __init__(
        self,
        listen: str,
        register: Callable[[grpc.aio.Server], None],
        services: Sequence[str],
        *,
        quiet: Sequence[str] = (),
        grace_s: float = 2.0,
        options: Sequence[tuple[str, int]] = (),
        entrances: Mapping[str, Entrance] | None = None,
        entrance: Entrance | None = None,
    ) -> None:
        self._listen = listen
        self._grace_s = grace_s
        self._services = tuple(services)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # re-exported without a stub
        self._server = grpc.aio.server(
            interceptors=(_Boundary(frozenset(quiet), entrances or {}, entrance or Entrance()),),
            options=(
                *options,
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                # Clients behind address translators ping so that their idle connections live. gRPC's default is to cut off whoever pings
                # oftener than every five minutes; whoever does so oftener than this, three times running, is still cut off.
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
                ("grpc.http2.max_ping_strikes", 2),
                ("grpc.max_concurrent_streams", MAX_STREAMS),
            ),
        )
        register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        self.port = 0

    async def __aenter__(self) -> Self:
        try:
            self.port = self._server.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise InvalidConfig(
                f"cannot listen on {self._listen}: the port is in use or not ours to take; choose another one",
                facts={"listen": self._listen},
            ) from error
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._grace_s)

    @property
    def address(self) -> str:
        """host:port as clients reach it."""
        return f"{self._listen.rpartition(':')[0]}:{self.port}"

    async def set_ready(self, ready: bool) -> None:
        """Answers SERVING or NOT_SERVING to health checks, for the server as a whole and for each service."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._services):
            await self._health.set(name, status)

    async def wait(self) -> None:
        """Until the server stops."""
        await self._server.wait_for_termination()
