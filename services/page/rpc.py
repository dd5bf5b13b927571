"""/rpc: the part of a node that pages and wallets need. What acts for a node's own accounts, or rules it, is not in the list."""

import asyncio
import json
from typing import Any, Final

import httpx

from linklearner.domain import strictjson
from linklearner.domain.strictjson import NotJson

ALLOWED: Final = frozenset(
    {
        "eth_blockNumber", "eth_call", "eth_chainId", "eth_estimateGas", "eth_feeHistory", "eth_gasPrice", "eth_getBalance",
        "eth_getBlockByHash", "eth_getBlockByNumber", "eth_getCode", "eth_getLogs", "eth_getStorageAt", "eth_getTransactionByHash",
        "eth_getTransactionCount", "eth_getTransactionReceipt", "eth_maxPriorityFeePerGas", "eth_sendRawTransaction", "eth_syncing",
        "net_version", "web3_clientVersion",
    }
)  # fmt: skip
EMPTY: Final = frozenset({"eth_accounts", "eth_requestAccounts"})
"""What wallets ask at every start: here are no accounts."""
MAX_BODY: Final = 5 << 19
"""A transaction of a mebibyte, in hex, and what is around it."""
MAX_ANSWER: Final = 64 << 20
"""Bytes of a node's answers to one request, a batch altogether."""
MAX_ANSWER_VALUES: Final = 1_000_000
"""Numbers, texts, objects in one answer: ten thousand events have a fifth of that."""
MAX_BATCH: Final = 50
MAX_DEPTH: Final = 12
CALL_S: Final = 30.0


class Node:
    """A node behind URLs of which the first that answers is asked."""

    def __init__(self, urls: tuple[str, ...], client: httpx.AsyncClient) -> None:
        self._urls, self._client = urls, client

    async def answer(self, body: bytes) -> tuple[bytes, int]:
        """JSON of a JSON-RPC answer or batch of them, and how many questions it was."""
        try:
            asked = strictjson.loads(body, max_bytes=MAX_BODY, max_values=100_000, max_depth=MAX_DEPTH)
        except NotJson as error:
            return _encoded(_error(None, -32700, f"parse error: {error.message}")), 1
        if not isinstance(asked, list):
            return _encoded((await self._one(asked, MAX_ANSWER))[0]), 1
        if not 0 < len(asked) <= MAX_BATCH:
            return _encoded(_error(None, -32600, f"a batch has 1 to {MAX_BATCH} requests")), 1
        answers, room = list[dict[str, Any]](), MAX_ANSWER
        for one in asked:
            answer, taken = await self._one(one, room)
            answers.append(answer)
            room -= taken
        return _encoded(answers), len(asked)

    async def _one(self, request: Any, room: int) -> tuple[dict[str, Any], int]:
        """room: bytes that a node's answer may have. The answer, and how many of them it took."""
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, -32600, "invalid request"), 0
        identifier, method = request.get("id"), request["method"]
        if isinstance(identifier, dict | list):
            return _error(None, -32600, "invalid request"), 0
        if method in EMPTY:
            return {"jsonrpc": "2.0", "id": identifier, "result": []}, 0
        if method not in ALLOWED:
            return _error(identifier, -32601, f"{method[:64]} is not open to pages and wallets here"), 0
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": request.get("params", [])}
        for url in self._urls:
            try:
                raw = await self._asked(url, question, room)
                told = strictjson.loads(raw, max_bytes=room, max_values=MAX_ANSWER_VALUES)
            except (httpx.HTTPError, TimeoutError, _NoAnswer, NotJson):
                continue
            if isinstance(told, dict) and ("result" in told or "error" in told):
                part = "error" if "error" in told else "result"
                return {"jsonrpc": "2.0", "id": identifier, part: told[part]}, len(raw)
        return _error(identifier, -32000, "the chain does not answer just now: try again"), 0

    async def _asked(self, url: str, question: dict[str, Any], room: int) -> bytes:
        """What a node answers, read no further than it may be long. Raises _NoAnswer."""
        async with asyncio.timeout(CALL_S), self._client.stream("POST", url, json=question, timeout=CALL_S) as reply:
            if reply.status_code >= 500 or reply.status_code == 429:
                raise _NoAnswer
            found = bytearray()
            async for part in reply.aiter_bytes():
                found += part
                if len(found) > room:
                    raise _NoAnswer
            return bytes(found)


class _NoAnswer(Exception):
    """A node that is out of order, or talks too much."""


def _error(identifier: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "error": {"code": code, "message": message}}


def _encoded(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
