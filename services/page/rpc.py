"""/rpc: the part of a node that pages and wallets need. What acts for a node's own accounts, or rules it, is not in the list."""

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
            return _encoded(await self._one(asked)), 1
        if not 0 < len(asked) <= MAX_BATCH:
            return _encoded(_error(None, -32600, f"a batch has 1 to {MAX_BATCH} requests")), 1
        return _encoded([await self._one(one) for one in asked]), len(asked)

    async def _one(self, request: Any) -> dict[str, Any]:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, -32600, "invalid request")
        identifier, method = request.get("id"), request["method"]
        if isinstance(identifier, dict | list):
            return _error(None, -32600, "invalid request")
        if method in EMPTY:
            return {"jsonrpc": "2.0", "id": identifier, "result": []}
        if method not in ALLOWED:
            return _error(identifier, -32601, f"{method[:64]} is not open to pages and wallets here")
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": request.get("params", [])}
        for url in self._urls:
            try:
                reply = await self._client.post(url, json=question, timeout=CALL_S)
            except httpx.HTTPError:
                continue
            if reply.status_code >= 500 or reply.status_code == 429 or len(reply.content) > MAX_ANSWER:
                continue
            try:
                told = json.loads(reply.content)
            except ValueError:
                continue
            if isinstance(told, dict) and ("result" in told or "error" in told):
                part = "error" if "error" in told else "result"
                return {"jsonrpc": "2.0", "id": identifier, part: told[part]}
        return _error(identifier, -32000, "the chain does not answer just now: try again")


def _error(identifier: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "error": {"code": code, "message": message}}


def _encoded(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
