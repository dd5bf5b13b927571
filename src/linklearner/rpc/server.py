"""The life of one gRPC server: bind, health, reflection, one log line a call, errors by the table, graceful stop."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from linklearner.domain.errors import InvalidConfig, LinkLearnerError
from linklearner.rpc.access import Access, AccessCheck, Role
from linklearner.rpc.status import DETAILS_KEY, code_of, details_of

REQUEST_ID_KEY = "x-request-id"
MAX_MESSAGE_BYTES = 64 << 20
"""A model of 30 million weights in one message; larger ones are streamed."""

log = structlog.get_logger()


class _Boundary(grpc.aio.ServerInterceptor):
    """Binds the request id, turns domain errors into statuses and logs one canonical line per call."""

    def __init__(self, quiet: frozenset[str]) -> None:
        self._quiet = quiet
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
            if handler is None or method.startswith("/grpc."):
                return handler
            wrapped = self._wrapped[method] = self._wrap(handler, method)
        return wrapped

    def _wrap(self, handler: grpc.RpcMethodHandler, method: str) -> grpc.RpcMethodHandler:
        if handler.request_streaming:
            raise TypeError(f"{method}: client streaming is not part of linklearner.v1")
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(handler.unary_stream, method),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(handler.unary_unary, method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _unary(self, behaviour: Callable[..., Awaitable[Any]], method: str) -> Callable[..., Awaitable[Any]]:
        quiet = method in self._quiet

        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            started = time.perf_counter()
            if not quiet:
                self._bind(context, method)
            try:
                answer = await behaviour(request, context)
            except LinkLearnerError as error:
                if quiet:
                    self._bind(context, method)
                await self._refuse(context, method, error, started)
                raise  # abort() has raised already; this line only says so to a reader
            except asyncio.CancelledError:
                raise
            except grpc.aio.AbortError:
                raise
            except Exception:
                if quiet:
                    self._bind(context, method)
                await self._fail(context, method, started)
                raise
            self._done(method, started)
            return answer

        return call

    def _streaming(
        self, behaviour: Callable[..., AsyncIterator[Any]], method: str
    ) -> Callable[..., AsyncIterator[Any]]:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            started = time.perf_counter()
            self._bind(context, method)
            try:
                async for message in behaviour(request, context):
                    yield message
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
    def _bind(context: grpc.aio.ServicerContext, method: str) -> None:
        given = next((value for key, value in context.invocation_metadata() or () if key == REQUEST_ID_KEY), None)
        structlog.contextvars.bind_contextvars(request=given or uuid.uuid4().hex[:16])

    def _done(self, method: str, started: float) -> None:
        if method not in self._quiet:
            log.info("rpc", method=method, code="OK", ms=round((time.perf_counter() - started) * 1e3, 2))

    async def _refuse(
        self, context: grpc.aio.ServicerContext, method: str, error: LinkLearnerError, started: float
    ) -> None:
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
        await context.abort(code, error.message, trailing_metadata=((DETAILS_KEY, details_of(error)),))

    @staticmethod
    async def _fail(context: grpc.aio.ServicerContext, method: str, started: float) -> None:
        log.exception("rpc_failed", method=method, ms=round((time.perf_counter() - started) * 1e3, 2))
        await context.abort(
            grpc.StatusCode.INTERNAL, "a bug in this service; its log has the traceback under this request id"
        )


class RpcServer:
    """One listening gRPC server, from `async with` to graceful stop.

    listen: "host:port"; port 0 takes a free one, see `.port`. Raises InvalidConfig if the port is in use.
    register: adds servicers to the server. services: their full names, for health and reflection.
    quiet: full method names that are too frequent for a log line each; they get a request id only when they fail.
    options: channel arguments, before our own: the first of a name counts.
    access: whose calls are answered, and `roles`: what each method needs. Without it anybody who reaches the port may call.
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
        access: Access | None = None,
        roles: Mapping[str, Role] | None = None,
    ) -> None:
        self._listen = listen
        self._grace_s = grace_s
        self._services = tuple(services)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # re-exported without a stub
        checks = () if access is None else (AccessCheck(access, roles or {}),)
        self._server = grpc.aio.server(
            interceptors=(*checks, _Boundary(frozenset(quiet))),
            options=(
                *options,
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
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
