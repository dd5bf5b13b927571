"""HTTP and WebSocket around the method table."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from devchain.chain.blocks import Block
from devchain.rpc import codec
from devchain.rpc.codec import RpcError
from devchain.rpc.subscriptions import Subscriptions

BODY_LIMIT: Final = 5 * 1024 * 1024
"""Bytes of a request; more is HTTP 413, as on the node."""
BATCH_LIMIT: Final = 1000
_BACKLOG: Final = 20_000
"""Messages that may wait for one slow WebSocket reader."""

Dispatch = Callable[[str, list[Any]], Awaitable[Any]]
"""Runs one method on the chain's thread. Raises RpcError."""

log = structlog.get_logger("devchain.rpc")


class RpcServer:
    """Answers JSON-RPC on `/`; a WebSocket there speaks the same and can subscribe."""

    def __init__(self, dispatch: Dispatch, *, strict: bool) -> None:
        self._dispatch = dispatch
        self._strict = strict
        self._connections: set[_Connection] = set()

    def application(self) -> web.Application:
        application = web.Application(client_max_size=BODY_LIMIT)
        application.router.add_post("/", self._post)
        application.router.add_get("/", self._get)
        application.router.add_options("/", self._options)
        application.on_shutdown.append(self._close_connections)
        return application

    async def _close_connections(self, _: web.Application) -> None:
        for connection in list(self._connections):
            await connection.socket.close(code=WSCloseCode.GOING_AWAY, message=b"devchain stops")

    # -- what the chain tells

    def block(self, block: Block) -> None:
        """Tell the subscribers. On the server's loop."""
        for connection in self._connections:
            for notification in connection.subscriptions.block(block):
                connection.send(notification)

    def transaction(self, transaction_hash: bytes) -> None:
        for connection in self._connections:
            for notification in connection.subscriptions.transaction(transaction_hash):
                connection.send(notification)

    # -- what clients ask

    async def _options(self, request: web.Request) -> web.Response:
        return web.Response(headers=_CORS)

    async def _post(self, request: web.Request) -> web.Response:
        answer = await self.answer_text(await request.read())
        return web.Response(body=b"" if answer is None else answer, content_type="application/json", headers=_CORS)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(text="LinkLearner devchain: POST JSON-RPC here, or open a WebSocket.\n", headers=_CORS)
        socket = web.WebSocketResponse(max_msg_size=BODY_LIMIT)
        await socket.prepare(request)
        connection = _Connection(socket, Subscriptions(plain_numbers=self._strict))
        self._connections.add(connection)
        writing = asyncio.create_task(connection.write())
        try:
            async for message in socket:
                # clients send text or binary frames; answers are text, as every node's
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    raw = message.data.encode() if isinstance(message.data, str) else message.data
                    answer = await self.answer_text(raw, connection.subscriptions)
                    if answer is not None:
                        connection.send_raw(answer.decode())
        finally:
            self._connections.discard(connection)
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
        return socket

    async def answer_text(self, body: bytes, subscriptions: Subscriptions | None = None) -> bytes | None:
        """The answer to a request or a batch; None where nothing is due (notifications only)."""
        try:
            request = json.loads(body)
        except ValueError:
            return _encode(_failure(None, RpcError(-32700, "parse error")))
        if not isinstance(request, list):
            single = await self._answer(request, subscriptions)
            return None if single is None else _encode(single)
        if not request:
            return _encode(_failure(None, RpcError(codec.INVALID_REQUEST, "empty batch")))
        if len(request) > BATCH_LIMIT:
            return _encode(_failure(None, RpcError(codec.INVALID_REQUEST, f"batch too large: at most {BATCH_LIMIT}")))
        answers = [answer for item in request if (answer := await self._answer(item, subscriptions)) is not None]
        return _encode(answers) if answers else None

    async def _answer(self, request: Any, subscriptions: Subscriptions | None) -> dict[str, Any] | None:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _failure(None, RpcError(codec.INVALID_REQUEST, "invalid request"))
        params = request.get("params")
        identifier = request.get("id")
        try:
            if params is not None and not isinstance(params, list):
                raise RpcError(codec.INVALID_PARAMS, "non-array args")
            result = await self._run(request["method"], params or [], subscriptions)
        except RpcError as error:
            answer = _failure(identifier, error)
        except Exception:  # the outermost loop: a bug must not take the other clients' chain away
            log.exception("rpc_failed", method=request["method"])
            answer = _failure(
                identifier, RpcError(codec.INTERNAL, "internal error; the devchain's log has the traceback")
            )
        else:
            answer = {"jsonrpc": "2.0", "id": identifier, "result": result}
        return answer if "id" in request else None

    async def _run(self, method: str, params: list[Any], subscriptions: Subscriptions | None) -> Any:
        if method in ("eth_subscribe", "eth_unsubscribe"):
            if subscriptions is None:
                raise RpcError(codec.SERVER_ERROR, "notifications not supported")
            return subscriptions.subscribe(params) if method == "eth_subscribe" else subscriptions.unsubscribe(params)
        return await self._dispatch(method, params)


class _Connection:
    """One WebSocket: answers and notifications go out in order through one queue."""

    def __init__(self, socket: web.WebSocketResponse, subscriptions: Subscriptions) -> None:
        self.socket = socket
        self.subscriptions = subscriptions
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()

    def send(self, message: dict[str, Any]) -> None:
        self.send_raw(_encode(message).decode())

    def send_raw(self, text: str) -> None:
        if self._outgoing.qsize() < _BACKLOG:
            self._outgoing.put_nowait(text)
        elif not self.socket.closed:
            # a reader that slow would fill the memory; it finds out by the closed connection
            self._closing = asyncio.ensure_future(self.socket.close(code=WSCloseCode.TRY_AGAIN_LATER))

    async def write(self) -> None:
        while True:
            text = await self._outgoing.get()
            try:
                await self.socket.send_str(text)
            except ConnectionError:
                return


_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
    "Access-Control-Allow-Headers": "*",
}


def _failure(identifier: Any, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "error": error.as_json()}


def _encode(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
