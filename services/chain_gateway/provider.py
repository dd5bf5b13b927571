"""web3.py's way to a node, over the endpoints that everybody here shares."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp
import structlog
from eth_typing import URI
from web3 import AsyncHTTPProvider
from web3.exceptions import BadResponseFormat
from web3.types import RPCEndpoint, RPCResponse

from linklearner.chain.endpoints import Endpoints, Lost, Persistence, Reply
from linklearner.domain import strictjson
from linklearner.domain.notation import is_loopback_url
from linklearner.domain.strictjson import NotJson

SEND: Final = "eth_sendRawTransaction"
ANSWER_BYTES: Final = 64 << 20
"""Of one answer of the node: ten thousand events have 20 MB."""
ANSWER_VALUES: Final = 1_000_000
"""Numbers, texts, objects in one answer: ten thousand events have a fifth of that."""


class Provider(AsyncHTTPProvider):
    """web3's, with a session of our own and our request id as an HTTP header.

    web3's session cache sits behind a thread lock that a cancelled call can leave locked for good (its `async_lock`), and opens a
    connection for every request. Its silent retries go, too: questions are repeated by `Endpoints`, sending by the outbox alone.
    """

    def __init__(self, urls: str, timeout_s: float) -> None:
        persistence = Persistence(total_s=timeout_s, attempt_s=min(timeout_s, Persistence.attempt_s))
        self.endpoints = Endpoints(urls, self._post, persistence)
        super().__init__(URI(self.endpoints.shown), exception_retry_configuration=None)
        # proxies as http_proxy and no_proxy say, but never to this very machine
        self._direct = aiohttp.ClientSession()
        self._proxied = aiohttp.ClientSession(trust_env=True)

    async def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:
        if method == SEND:
            return await self.endpoints.hand_in(request_data)
        return await self.endpoints.ask(request_data)

    async def _post(self, url: str, body: bytes, seconds: float) -> Reply:
        headers = {"Content-Type": "application/json"}
        request = structlog.contextvars.get_contextvars().get("request")
        if request is not None:
            headers["X-Request-Id"] = str(request)
        timeout = aiohttp.ClientTimeout(total=seconds)
        session = self._direct if is_loopback_url(url) else self._proxied
        try:
            async with session.post(url, data=body, headers=headers, timeout=timeout) as response:
                answer = bytearray()
                async for part in response.content.iter_any():
                    answer += part
                    if len(answer) > ANSWER_BYTES:
                        raise Lost(f"an answer of more than {ANSWER_BYTES} bytes")
                return Reply(response.status, bytes(answer), response.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Lost(type(error).__name__) from error
        except ValueError as error:  # the environment's proxy is no URL
            raise Lost(f"its URL or the proxy's is none: {error!s:.100}") from error

    @staticmethod
    def decode_rpc_response(raw_response: bytes) -> RPCResponse:
        """web3's parser goes as deep as a node nests its answer."""
        try:
            answer: RPCResponse = strictjson.loads(raw_response, max_bytes=ANSWER_BYTES, max_values=ANSWER_VALUES)
        except NotJson as error:
            raise BadResponseFormat(f"an answer that is no JSON: {error.message}") from error
        return answer

    async def disconnect(self) -> None:
        await asyncio.gather(self._direct.close(), self._proxied.close())

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        response = await super().make_request(method, params)
        if not isinstance(response, dict):  # web3 itself trips over it
            raise BadResponseFormat(f"the answer to {method} is no JSON object")
        return response
