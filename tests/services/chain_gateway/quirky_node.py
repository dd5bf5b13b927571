"""A small real HTTP proxy in front of a devchain that misbehaves as an Artela node was seen to."""

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from eth_hash.auto import keccak

from bench.proxy import posted_to


@dataclass
class QuirkyNode:
    """Forwards everything, but for what is switched on."""

    upstream: str
    url: str = ""
    swallow: int = 0
    """So many next transactions are taken without an error and never mined."""
    panic: int = 0
    """So many next transactions use their nonce and never get a receipt."""
    lose_answers: int = 0
    """So many next transactions arrive, but the connection breaks before the answer."""
    break_sends: int = 0
    """So many next transactions do not arrive: the connection breaks."""
    refuse_sends: int = 0
    """So many next transactions are refused for a reason nobody has heard of."""
    lie_about_sends: list[tuple[bool, str]] = field(default_factory=list)
    """For each next transaction: whether it is handed on, and the error that is answered in any case."""
    stale_nonces: int = 0
    """So many next questions for a pending nonce are answered with the one of the first question of all."""
    down: bool = False
    fail_methods: set[str] = field(default_factory=set)
    """Questions that end in an error of the node's own."""
    hide_receipts: int = 0
    """So many next questions for receipts find none."""
    estimate_extra: int = 0
    """Gas added to every estimate."""
    fail_estimates: bool = False
    """Every estimate fails, whatever it is of."""
    cheap_questions: bool = False
    """Questions need no more gas than transactions, as on other EVM chains."""
    log_limit: int = 10_000
    """More logs than these are refused, as on the node."""
    drop_logs: bool = False
    """Answers no events at all."""
    alter: Callable[[str, Any], Any] | None = None
    """Given method and result of every other answer, gives what is answered instead."""
    calls: Counter[str] = field(default_factory=Counter)
    on_header: Callable[[Mapping[str, str]], object] = field(default=lambda headers: None)
    raw: list[bytes] = field(default_factory=list)
    """Every transaction handed in, in order."""
    _seen: set[bytes] = field(default_factory=set)
    _hidden: set[str] = field(default_factory=set)
    _first_nonce: dict[str, str] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return web.Response(status=503)
        body = await request.json()
        if isinstance(body, list):
            return web.json_response([await self._altered(one) for one in body])
        method, params = body["method"], body.get("params", [])
        self.calls[method] += 1
        self.on_header(request.headers)
        if method in self.fail_methods:
            return web.json_response(_error(body, "rpc error: code = Internal desc = something broke"))
        if method == "eth_sendRawTransaction":
            return await self._send(request, body, bytes.fromhex(params[0][2:]))
        if method == "eth_getTransactionReceipt":
            if params[0] in self._hidden:
                return _answer(body, None)
            if self.hide_receipts:
                self.hide_receipts -= 1
                return _answer(body, None)
        if method == "eth_estimateGas" and self.fail_estimates:
            return web.json_response(_error(body, "rpc error: code = Internal desc = out of gas"))
        if method == "eth_call" and self.cheap_questions and "gas" in params[0]:
            params[0]["gas"] = hex(int(params[0]["gas"], 16) + 150_000)
        if method == "eth_getLogs" and self.drop_logs:
            return _answer(body, [])
        answer = await self._altered(body)
        if method == "eth_getTransactionCount" and params[1] == "pending":
            first = self._first_nonce.setdefault(params[0], answer["result"])
            if self.stale_nonces:
                self.stale_nonces -= 1
                answer["result"] = first
        if method == "eth_estimateGas" and "result" in answer:
            answer["result"] = hex(int(answer["result"], 16) + self.estimate_extra)
        return web.json_response(answer)

    async def _send(self, request: web.Request, body: dict[str, Any], raw: bytes) -> web.StreamResponse:
        transaction_hash = "0x" + keccak(raw).hex()
        self.raw.append(raw)
        if self.lie_about_sends:
            arrives, message = self.lie_about_sends.pop(0)
            if arrives:
                await self._forward(body)
            return web.json_response(_error(body, message))
        if self.break_sends:
            self.break_sends -= 1
            return _break(request)
        if self.refuse_sends:
            self.refuse_sends -= 1
            return web.json_response(_error(body, "codespace sdk code 38: something new"))
        if raw in self._seen:
            return web.json_response(_error(body, ": tx already in mempool"))
        if self.swallow:
            self.swallow -= 1
            self._seen.add(raw)
            return _answer(body, transaction_hash)
        answer = await self._forward(body)
        if "result" in answer:
            self._seen.add(raw)
            if self.panic:
                self.panic -= 1
                self._hidden.add(transaction_hash)
        if self.lose_answers:
            self.lose_answers -= 1
            return _break(request)
        return web.json_response(answer)

    async def _altered(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._forward(body)
        if self.alter is not None and "result" in answer:
            answer["result"] = self.alter(body["method"], answer["result"])
        if body["method"] == "eth_getLogs" and len(answer.get("result", [])) > self.log_limit:
            return _error(body, f"query returned more than {self.log_limit} results")
        return answer

    async def _forward(self, body: dict[str, Any]) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.post(self.upstream, json=body) as response:
            answer: dict[str, Any] = json.loads(await response.read())
            return answer

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, upstream: str) -> AsyncIterator["QuirkyNode"]:
        node = cls(upstream)
        async with posted_to(node.handle) as node.url:
            yield node


def _answer(body: dict[str, Any], result: Any) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": result})


def _error(body: dict[str, Any], message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": body["id"], "error": {"code": -32000, "message": message}}


def _break(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
