"""HTTP and WebSocket around the method table."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import WSMsgType, web

from services.devchain.rpc import codec
from services.devchain.rpc.codec import RpcError

BODY_LIMIT: Final = 5 * 1024 * 1024
"""Bytes of a request; more is HTTP 413, as on the node."""
BATCH_LIMIT: Final = 1000

Dispatch = Callable[[str, list[Any]], Awaitable[Any]]
"""Runs one method on the chain's thread. Raises RpcError."""

log = structlog.get_logger("devchain.rpc")


class RpcServer:
    """Answers JSON-RPC on `/`; a WebSocket there speaks the same."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    def application(self) -> web.Application:
        application = web.Application(client_max_size=BODY_LIMIT)
        application.router.add_post("/", self._post)
        application.router.add_get("/", self._get)
        application.router.add_options("/", self._options)
        return application

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
        async for message in socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                raw = message.data.encode() if isinstance(message.data, str) else message.data
                answer = await self.answer_text(raw)
                if answer is not None:
                    await socket.send_str(answer.decode())
        return socket

    async def answer_text(self, body: bytes) -> bytes | None:
        """The answer to a request or a batch; None where nothing is due (notifications only)."""
        try:
            request = json.loads(body)
        except ValueError:
            return _encode(_failure(None, RpcError(-32700, "parse error")))
        if not isinstance(request, list):
            single = await self._answer(request)
            return None if single is None else _encode(single)
        if not request:
            return _encode(_failure(None, RpcError(codec.INVALID_REQUEST, "empty batch")))
        if len(request) > BATCH_LIMIT:
            return _encode(_failure(None, RpcError(codec.INVALID_REQUEST, f"batch too large: at most {BATCH_LIMIT}")))
        answers = [answer for item in request if (answer := await self._answer(item)) is not None]
        return _encode(answers) if answers else None

    async def _answer(self, request: Any) -> dict[str, Any] | None:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _failure(None, RpcError(codec.INVALID_REQUEST, "invalid request"))
        params = request.get("params")
        identifier = request.get("id")
        try:
            if params is not None and not isinstance(params, list):
                raise RpcError(codec.INVALID_PARAMS, "non-array args")
            result = await self._dispatch(request["method"], params or [])
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


_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
    "Access-Control-Allow-Headers": "*",
}


def _failure(identifier: Any, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "error": error.as_json()}


def _encode(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
