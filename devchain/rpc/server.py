"""HTTP and WebSocket around the method table."""

from __future__ import annotations

import asyncio
import contextlib
import json
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from devchain import strictjson
from devchain.chain.blocks import Block
from devchain.chain.store import StoreUnavailable
from devchain.rpc import bounds, codec
from devchain.rpc.access import NO_ACCOUNTS, HttpAccess, NotServed, Requester, check_content_type, cross_origin_headers
from devchain.rpc.bounds import MemoryAccount
from devchain.rpc.codec import RpcError
from devchain.rpc.subscriptions import Subscriptions
from devchain.strictjson import NotJson

Dispatch = Callable[[str, list[Any]], Awaitable[Any]]
"""Runs one method on the chain's thread. Raises RpcError."""

PROGRAM: Final = Requester()
"""Who has no headers: a test, this process itself."""

_LOGGED: Final = 64
"""Characters of a method's name that are logged; no method's is longer."""
_OVERHEAD: Final = 256
"""Bytes that a waiting message takes beside its text."""
_RESPONSE_TOO_LARGE: Final = "response too large"

log = structlog.get_logger("devchain.rpc")


class JsonRpcServer:
    """Answers JSON-RPC on `/`; a WebSocket there speaks the same and can subscribe."""

    def __init__(self, dispatch: Dispatch, *, strict: bool, access: HttpAccess | None = None) -> None:
        self._dispatch = dispatch
        self._strict = strict
        self._access = access or HttpAccess()
        self._held = MemoryAccount()
        self._connections: set[_Connection] = set()

    def application(self) -> web.Application:
        application = web.Application(client_max_size=bounds.BODY_BYTES)
        application.router.add_post("/", self._post)
        application.router.add_get("/", self._get)
        application.router.add_options("/", self._options)
        application.on_shutdown.append(self._close_connections)
        return application

    async def _close_connections(self, _: web.Application) -> None:
        for connection in list(self._connections):
            if connection.socket.prepared:
                await connection.socket.close(code=WSCloseCode.GOING_AWAY, message=b"devchain stops")

    # -- news from the chain

    def block(self, block: Block) -> None:
        """Inform the subscribers. On the server's loop."""
        for connection in self._connections:
            for notification in connection.subscriptions.block(block):
                connection.send(_encode(notification))

    def transaction(self, transaction_hash: bytes) -> None:
        for connection in self._connections:
            for notification in connection.subscriptions.transaction(transaction_hash):
                connection.send(_encode(notification))

    # -- what clients ask

    async def _options(self, request: web.Request) -> web.StreamResponse:
        try:
            caller = self._access.caller(request.headers)
        except NotServed as refused:
            return _not_served(refused)
        return web.Response(status=204, headers=cross_origin_headers(caller, request.headers))

    async def _post(self, request: web.Request) -> web.StreamResponse:
        held = 0
        try:
            caller = self._access.caller(request.headers)
            check_content_type(request.headers)
            if (request.content_length or 0) > bounds.BODY_BYTES:
                raise _too_large()
            body = bytearray()
            async for chunk in request.content.iter_any():
                if len(body) + len(chunk) > bounds.BODY_BYTES:
                    raise _too_large()
                if not self._held.take(len(chunk)):
                    raise _busy()
                held += len(chunk)
                body += chunk
            answer = await self.answer_text(bytes(body), caller) or b""
            if not self._held.take(len(answer)):
                raise _busy()
            held += len(answer)
            response = web.Response(body=answer, content_type="application/json", headers=cross_origin_headers(caller))
            await response.prepare(request)
            await response.write_eof()  # here, not by the server: what waits for a slow reader is still held
        except NotServed as refused:
            return _not_served(refused)
        except ConnectionError:
            return web.Response()  # to nobody: who was asking has left
        finally:
            self._held.give_back(held)
        return response

    async def _get(self, request: web.Request) -> web.StreamResponse:
        try:
            caller = self._access.caller(request.headers)
            if request.headers.get("Upgrade", "").lower() == "websocket" and len(self._connections) >= bounds.SOCKETS:
                raise _busy()
        except NotServed as refused:
            return _not_served(refused)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            text = "LinkLearner devchain: POST JSON-RPC here, or open a WebSocket.\n"
            return web.Response(text=text, headers=cross_origin_headers(caller))
        # without compression: a kilobyte of it may be a megabyte of message
        socket = web.WebSocketResponse(max_msg_size=bounds.BODY_BYTES, compress=False)
        connection = _Connection(socket, Subscriptions(plain_numbers=self._strict), self._held)
        self._connections.add(connection)
        writing: asyncio.Task[None] | None = None
        try:
            await socket.prepare(request)
            writing = asyncio.create_task(connection.write())
            async for message in socket:
                # clients send text or binary frames; answers are text, as every node's
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    answer = await self.answer_text(message.data, caller, connection.subscriptions)
                    if answer is not None:
                        connection.send(answer)
        finally:
            self._connections.discard(connection)
            if writing is not None:
                writing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await writing
            connection.forget()
        return socket

    async def answer_text(
        self, body: bytes | str, caller: Requester = PROGRAM, subscriptions: Subscriptions | None = None
    ) -> bytes | None:
        """The answer to a request or a batch; None where nothing is due (notifications only)."""
        try:
            request = strictjson.loads(
                body, max_bytes=bounds.BODY_BYTES, max_values=bounds.BODY_VALUES, max_depth=bounds.BODY_DEPTH
            )
        except NotJson as error:
            return _encode(_failure(None, RpcError(-32700, f"parse error: {error}")))
        if not isinstance(request, list):
            single = await self._answer(request, caller, subscriptions)
            return None if single is None else _encode(single)
        if not request:
            return _encode(_failure(None, RpcError(codec.INVALID_REQUEST, "empty batch")))
        if len(request) > bounds.BATCH_ITEMS:
            text = f"batch too large: at most {bounds.BATCH_ITEMS}"
            return _encode(_failure(None, RpcError(codec.INVALID_REQUEST, text)))
        answers: list[bytes] = []
        length = 0
        for item in request:
            if length > bounds.ANSWER_BYTES:
                # asked no further: what the rest would do and answer, nobody wants to hold
                answer = _refused_as_too_large(item)
            else:
                answer = await self._answer(item, caller, subscriptions)
            if answer is not None:
                encoded = _encode(answer)
                if length + len(encoded) > bounds.ANSWER_BYTES and "result" in answer:
                    encoded = _encode(_failure(answer["id"], RpcError(bounds.TOO_LARGE, _RESPONSE_TOO_LARGE)))
                    length = bounds.ANSWER_BYTES + 1
                answers.append(encoded)
                length += len(encoded)
        return b"[" + b",".join(answers) + b"]" if answers else None

    async def _answer(
        self, request: Any, caller: Requester, subscriptions: Subscriptions | None
    ) -> dict[str, Any] | None:
        if not _is_request(request):
            return _failure(None, RpcError(codec.INVALID_REQUEST, "invalid request"))
        method, params, identifier = request["method"], request.get("params"), request.get("id")
        try:
            if params is not None and not isinstance(params, list):
                raise RpcError(codec.INVALID_PARAMS, "non-array args")
            result = await self._run(method, params or [], caller, subscriptions)
        except RpcError as error:
            answer = _failure(identifier, error)
        except StoreUnavailable as error:  # the store has logged it, once
            answer = _failure(identifier, RpcError(codec.INTERNAL, str(error)))
        except Exception:  # noqa: BLE001  # the outermost loop: a bug must not take the other clients' chain away
            # the traceback without values, and its end only: callers choose how long a value is
            log.error("rpc_failed", method=method[:_LOGGED], traceback=traceback.format_exc()[-4000:])
            answer = _failure(
                identifier, RpcError(codec.INTERNAL, "internal error; the devchain's log has the traceback")
            )
        else:
            answer = {"jsonrpc": "2.0", "id": identifier, "result": result}
        return answer if "id" in request else None

    async def _run(self, method: str, params: list[Any], caller: Requester, subscriptions: Subscriptions | None) -> Any:
        refused = caller.refusal(method)
        if refused is not None:
            if method in NO_ACCOUNTS:
                return []
            raise refused
        if method in ("eth_subscribe", "eth_unsubscribe"):
            if subscriptions is None:
                raise RpcError(codec.SERVER_ERROR, "notifications not supported")
            return subscriptions.subscribe(params) if method == "eth_subscribe" else subscriptions.unsubscribe(params)
        if len(method) > _LOGGED:
            raise RpcError(codec.METHOD_NOT_FOUND, "the method does not exist/is not available")
        return await self._dispatch(method, params)


class _Connection:
    """One WebSocket: answers and notifications go out in order through one queue."""

    def __init__(self, socket: web.WebSocketResponse, subscriptions: Subscriptions, held: MemoryAccount) -> None:
        self.socket = socket
        self.subscriptions = subscriptions
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._held = held
        self._waiting = 0
        """Bytes in the queue and in the one message that is being written."""

    def send(self, text: bytes) -> None:
        size = len(text) + _OVERHEAD
        # one answer may be as large as it is; a backlog may not
        if (self._waiting and self._waiting + size > bounds.BACKLOG_BYTES) or not self._held.take(size):
            if not self.socket.closed:
                # a reader that slow would fill the memory; it finds out by the closed connection
                self._closing = asyncio.ensure_future(self.socket.close(code=WSCloseCode.TRY_AGAIN_LATER))
            return
        self._waiting += size
        self._outgoing.put_nowait(text)

    async def write(self) -> None:
        while True:
            text = await self._outgoing.get()
            try:
                await self.socket.send_str(text.decode())
            except (ConnectionError, RuntimeError):  # closed by the reader; closed by us
                return
            self._waiting -= len(text) + _OVERHEAD
            self._held.give_back(len(text) + _OVERHEAD)

    def forget(self) -> None:
        """The connection is over: what was never read waits no longer."""
        self._held.give_back(self._waiting)
        self._waiting = 0


def _is_request(request: Any) -> bool:
    return (
        isinstance(request, dict)
        and isinstance(request.get("method"), str)
        and isinstance(request.get("id"), str | int | float | None)
    )


def _refused_as_too_large(request: Any) -> dict[str, Any] | None:
    if not _is_request(request):
        return _failure(None, RpcError(codec.INVALID_REQUEST, "invalid request"))
    return _failure(request["id"], RpcError(bounds.TOO_LARGE, _RESPONSE_TOO_LARGE)) if "id" in request else None


def _not_served(refused: NotServed) -> web.Response:
    # without reading the body, so without another request on this connection
    response = web.Response(status=refused.status, text=str(refused))
    response.force_close()
    return response


def _too_large() -> NotServed:
    return NotServed(413, f"content length too large: at most {bounds.BODY_BYTES} bytes\n")


def _busy() -> NotServed:
    return NotServed(503, "too much is being asked at once: try again later\n")


def _failure(identifier: Any, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "error": error.as_json()}


def _encode(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()
