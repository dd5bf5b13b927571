"""A pool's history over plain JSON-RPC, as the events that `linklearner.domain.replay` takes: what anybody needs to check everything.

Logs come in ranges of as many blocks as the node answers at once, and calldata in batches, both only up to the block
that was the head at the start. Nothing is read from the node but logs and transactions: what they mean is computed here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import httpx

from linklearner.chain.answers import WORD_BITS, Log, Malformed, data, fields, logs, quantity
from linklearner.chain.contracts import COMPLETED, completed, decode_event, is_known
from linklearner.chain.endpoints import Endpoints, Lost, Persistence, Reply
from linklearner.chain.logs import block_ranges, in_parts
from linklearner.chain.profile import ARTELA, Profile
from linklearner.domain import strictjson
from linklearner.domain.errors import DataLoss, InvalidConfig, Unavailable
from linklearner.domain.events import Event
from linklearner.domain.notation import is_loopback_url
from linklearner.domain.strictjson import NotJson

BATCH: Final = 16
"""Transactions in one request: sixteen of a megabyte are what a patient node answers at once."""
TIMEOUT_S: Final = 60.0
ANSWER_BYTES: Final = 128 << 20
"""Of one answer: a batch of transactions has 35 MB, ten thousand events 20."""
ANSWER_VALUES: Final = 1_000_000
"""Numbers, texts, objects in one answer: ten thousand events have a fifth of that."""
BLOCK_BITS: Final = 32
"""A number of the newest block beyond them is no chain's: whoever believes it asks about empty blocks without end."""

P = ParamSpec("P")
T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Called with the block that is read and the last one."""


class History:
    """One pool's events on one chain. Use as `async with`.

    Raises Unavailable if the node cannot be reached or refuses, DataLoss if what it answers does not fit together,
    InvalidConfig if there is no JSON-RPC node at the URL, or URLs of different chains.
    """

    def __init__(self, rpc_url: str, pool: bytes, from_block: int, profile: Profile = ARTELA) -> None:
        """rpc_url: one or several of the same chain, separated by commas. Raises InvalidConfig for what is none."""
        self._endpoints = Endpoints(rpc_url, self._post, Persistence(attempt_s=TIMEOUT_S, total_s=2 * TIMEOUT_S))
        self._pool = pool
        self._from_block = from_block
        self._profile = profile
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Self:
        # proxies as http_proxy and no_proxy say, but never to this very machine
        self._direct = self._proxied = httpx.AsyncClient(trust_env=False)
        if not all(is_loopback_url(url) for url in self._endpoints.urls):
            try:
                self._proxied = httpx.AsyncClient()
            # SOCKS without its package, a scheme or port that is none
            except (ImportError, ValueError, httpx.InvalidURL) as error:
                await self._close()
                raise InvalidConfig(
                    f"a proxy that the environment names (http_proxy, https_proxy, all_proxy) cannot be used: {error!s:.200}"
                ) from error
        try:
            await self._endpoints.check()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        await asyncio.gather(self._direct.aclose(), self._proxied.aclose())

    async def chain_id(self) -> int:
        return self._read(quantity, await self._ask("eth_chainId"), "chain id", WORD_BITS)

    async def events(self, progress: Progress = lambda block, last: None) -> AsyncIterator[Event]:
        """Every event of the pool in the order of the chain, up to the head as it is now; those of COMPLETED with their calldata."""
        last = self._read(quantity, await self._ask("eth_blockNumber"), "block number", BLOCK_BITS)
        for first, until in block_ranges(self._from_block, last, self._profile):
            progress(first, last)
            found = [
                (event, type(event) in COMPLETED)
                for event in map(_event, await in_parts(self._logs, first, until))
                if event
            ]
            for part in _batched(found, BATCH):
                calldata = await self._calldata([event.transaction for event, short in part if short])
                for event, short in part:
                    progress(event.block, last)
                    yield completed(event, calldata[event.transaction]) if short else event
        progress(last, last)

    async def _logs(self, first: int, last: int) -> list[Log]:
        wanted = {"address": "0x" + self._pool.hex(), "fromBlock": hex(first), "toBlock": hex(last)}
        return self._read(logs, await self._ask("eth_getLogs", wanted), self._pool, first, last)

    async def _calldata(self, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """Of transactions, all asked for at once."""
        wanted = list(dict.fromkeys(hashes))
        answers = await self._batch([("eth_getTransactionByHash", ["0x" + one.hex()]) for one in wanted])
        calldata = {}
        for one, answer in zip(wanted, answers, strict=True):
            if answer is None:
                raise DataLoss(
                    f"the node reports events of transaction 0x{one.hex()} and no longer has it: ask one that keeps its history"
                )
            calldata[one] = self._read(data, self._read(fields, answer, "transaction").get("input"), "calldata")
        return calldata

    def _read(self, parse: Callable[Concatenate[Any, P], T], answer: Any, *arguments: P.args, **named: P.kwargs) -> T:
        """What an answer means. Raises DataLoss if it means nothing."""
        try:
            return parse(answer, *arguments, **named)
        except Malformed as error:
            raise DataLoss(f"{error} ({self._endpoints.shown})") from error

    async def _ask(self, method: str, *parameters: Any) -> Any:
        [answer] = await self._batch([(method, list(parameters))])
        return answer

    async def _batch(self, questions: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """One HTTP request for all questions; the answers in their order."""
        if not questions:
            return []
        asked = [
            {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": parameters}
            for method, parameters in questions
        ]
        body = await self._endpoints.ask(json.dumps(asked).encode())
        try:
            found = strictjson.loads(body, max_bytes=ANSWER_BYTES, max_values=ANSWER_VALUES)
            answers = {one["id"]: one for one in found}
            for question, (method, _) in zip(asked, questions, strict=True):
                if "error" in answers[question["id"]]:
                    refusal = answers[question["id"]]["error"]
                    raise Unavailable(f"the node refuses {method}: {refusal.get('message', refusal)!s:.500}")
            return [answers[question["id"]]["result"] for question in asked]
        except (NotJson, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidConfig(f"what answers at {self._endpoints.shown} does not speak JSON-RPC: {error}") from error

    async def _post(self, url: str, body: bytes, seconds: float) -> Reply:
        headers = {"Content-Type": "application/json"}
        client = self._direct if is_loopback_url(url) else self._proxied
        try:
            # httpx bounds each part of a request, not all of it
            async with (
                asyncio.timeout(seconds),
                client.stream("POST", url, content=body, headers=headers, timeout=seconds) as response,
            ):
                answer = bytearray()
                async for part in response.aiter_bytes():
                    answer += part
                    if len(answer) > ANSWER_BYTES:
                        raise Lost(f"an answer of more than {ANSWER_BYTES} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise Lost(str(error) or type(error).__name__) from error
        return Reply(response.status_code, bytes(answer), response.headers.get("Retry-After", ""))


def _batched(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _event(log: Log) -> Event | None:
    """None for what changes no task (AspectSet)."""
    if not is_known(log):
        raise DataLoss(
            f"transaction 0x{log.transaction_hash.hex()} made an event that this version of the pool does not know"
        )
    return decode_event(log)
