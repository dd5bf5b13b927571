"""The JSON-RPC endpoints of one chain, asked so that a lost call is only a late one.

A public endpoint answers 502, cuts the connection, or says 429, once in a while. A question is idempotent, so it is asked
again: a few times, with growing pauses that jitter keeps apart, at the next of several URLs if there are some, as long as one
deadline for all of it allows. A transaction is handed in once: whether it goes out again is for the outbox to decide.

What is an answer is never asked again: a revert, an error of the node's own. Neither is, of the same URL, what it refuses with
a status of 400 to 499 (but for "try later": 408, 425, 429).

Several URLs must be one chain. Each is asked for its chain id and its first block (and for what code it has at addresses that
must be there) before it is first used; one that answers otherwise is left out for good.

Who can harm us here is the node, or whoever sits between: by wrong answers (not judged here), by a Retry-After of a year
(bounded by the deadline), by never ending (bounded for each attempt and for all).
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

import structlog

from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidConfig, InvalidInput, Refused, Unavailable
from linklearner.domain.notation import node_urls, shown_url
from linklearner.domain.strictjson import NotJson

BLOCK_BYTES: Final = 4 << 20
"""Of the answers that tell one chain from another: a block with its transactions' hashes, the code of a contract."""

TRY_LATER: Final = (408, 425, 429)
FIRST_BLOCK: Final = "0x1"
"""Of the block that tells chains with one id apart. Not 0, which Artela's node takes for the newest."""

_RATE = re.compile(rb"rate.?limit|too many requests|requests? per second|daily request count", re.IGNORECASE)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came over HTTP. retry_after: the header, as it came."""

    status: int
    body: bytes = field(default=b"", repr=False)
    retry_after: str = ""


class Lost(Exception):
    """No reply, or not all of it. The text says what went wrong, without the URL."""


Post = Callable[[str, bytes, float], Awaitable[Reply]]
"""One HTTP POST of a JSON body: url, body, seconds. Raises Lost."""


@dataclass(frozen=True, kw_only=True)
class Persistence:
    """How hard to try. Six attempts make of one lost call in ten one in a million."""

    attempts: int = 6
    """Of one question, at all URLs together."""
    first_pause_s: float = 0.05
    """Before the second attempt; doubled for each further one, and between half of that and all of it."""
    longest_pause_s: float = 2.0
    attempt_s: float = 20.0
    """One POST: a slow node estimates gas for 11 s."""
    total_s: float = 30.0
    """All attempts and pauses of one question."""


@dataclass(slots=True)
class _Endpoint:
    url: str
    shown: str
    admitted: bool = False
    barred: str = ""
    """Why it is left out for good."""
    rests_until: float = 0.0


class Endpoints:
    """One chain behind one or several URLs. Every method raises Unavailable when none answers in time."""

    def __init__(
        self,
        urls: str,
        post: Post,
        persistence: Persistence | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """urls: separated by commas. Raises InvalidConfig unless all are http:// or https:// URLs."""
        self._endpoints = [_Endpoint(url, shown_url(url)) for url in split_urls(urls)]
        self._post = post
        self._persistence = persistence or Persistence()
        self._monotonic, self._sleep, self._jitter = monotonic, sleep, jitter
        self._current = 0
        self._identity: dict[str, Any] = {}
        self._must_match: list[tuple[str, list[Any]]] = [
            ("eth_chainId", []),
            ("eth_getBlockByNumber", [FIRST_BLOCK, False]),
        ]

    @property
    def urls(self) -> tuple[str, ...]:
        """All of them, secrets included."""
        return tuple(endpoint.url for endpoint in self._endpoints)

    @property
    def shown(self) -> str:
        """Where questions go at present, without what may be a secret."""
        return self._endpoints[self._current].shown

    async def check(self) -> None:
        """Looks at every URL that answers now. Raises InvalidConfig if two of them are different chains."""
        if len(self._endpoints) == 1:
            return
        for endpoint in self._endpoints:
            try:
                await self._admit(endpoint, self._persistence.attempt_s)
            except (Lost, _NotYet) as error:
                log.warning("endpoint_away", url=endpoint.shown, detail=str(error))
            if endpoint.barred:
                raise InvalidConfig(endpoint.barred)

    def expect_code(self, address: str) -> None:
        """Every URL must have the same code at an address (0x…) as the first that is asked."""
        self._must_match.append(("eth_getCode", [address, "latest"]))
        for endpoint in self._endpoints:
            endpoint.admitted = False

    async def ask(self, body: bytes) -> bytes:
        """The answer to a question (or a batch of them). Raises Unavailable; Refused (TransactionTooLarge) for HTTP 413."""
        persistence = self._persistence
        deadline = self._monotonic() + persistence.total_s
        trouble, odd = "", b""
        hopeless: set[str] = set()
        for attempt in range(persistence.attempts):
            if attempt:
                pause = min(persistence.first_pause_s * 2 ** (attempt - 1), persistence.longest_pause_s)
                await self._sleep(min(self._jitter(pause / 2, pause), max(deadline - self._monotonic(), 0)))
            endpoint = await self._rested(deadline)
            left = deadline - self._monotonic()
            if endpoint is None or left <= 0:
                break
            try:
                reply = await self._reply(endpoint, body, min(left, persistence.attempt_s))
            except _NotYet as error:
                trouble = f"{endpoint.shown} {error}"
                if error.forever:
                    hopeless.add(endpoint.url)
                self._turn(endpoint)
                if len(hopeless) == len(self._endpoints):
                    break
                continue
            except Lost as error:
                trouble = f"{endpoint.shown} cannot be reached ({error}); is it running, is the URL right?"
                self._turn(endpoint)
                continue
            if not _is_odd(reply.body):
                return reply.body
            odd = reply.body
            self._turn(endpoint)
        if odd:
            return odd  # whoever asked says what is wrong with it
        raise Unavailable(f"the chain at {trouble or self._resting()}", facts={"rpc_url": self.shown})

    async def hand_in(self, body: bytes) -> bytes:
        """Posts once. Raises as `ask` does; after Unavailable it may or may not have arrived."""
        persistence = self._persistence
        endpoint = await self._rested(self._monotonic() + persistence.total_s)
        if endpoint is None:
            raise Unavailable(f"the chain at {self._resting()}", facts={"rpc_url": self.shown})
        try:
            return (await self._reply(endpoint, body, persistence.attempt_s)).body
        except _NotYet as error:
            self._turn(endpoint)
            raise Unavailable(f"the chain at {endpoint.shown} {error}", facts={"rpc_url": endpoint.shown}) from error
        except Lost as error:
            self._turn(endpoint)
            raise Unavailable(
                f"the chain at {endpoint.shown} cannot be reached ({error}); is it running, is the URL right?",
                facts={"rpc_url": endpoint.shown},
            ) from error

    async def _reply(self, endpoint: _Endpoint, body: bytes, seconds: float) -> Reply:
        if len(self._endpoints) > 1 and not endpoint.admitted:
            await self._admit(endpoint, seconds)
            if endpoint.barred:
                raise _NotYet(f"is left out: {endpoint.barred}", forever=True)
        return await self._posted(endpoint, body, seconds)

    async def _posted(self, endpoint: _Endpoint, body: bytes, seconds: float) -> Reply:
        reply = await self._post(endpoint.url, body, seconds)
        if reply.status == 413:
            raise Refused("the node takes no request that large; send fewer pages", reason="TransactionTooLarge")
        if reply.status in TRY_LATER:
            pause = retry_after_s(reply.retry_after, time.time())
            endpoint.rests_until = self._monotonic() + pause
            raise _NotYet(f"answered HTTP {reply.status} (too many requests, or too early); retry later")
        if not 200 <= reply.status < 300:
            raise _NotYet(f"answered HTTP {reply.status}{_remedy(reply.status)}", forever=400 <= reply.status < 500)
        return reply

    async def _admit(self, endpoint: _Endpoint, seconds: float) -> None:
        """Compares an endpoint with those before it, where both know; bars it if it is another chain."""
        found: dict[str, Any] = {}
        for method, parameters in self._must_match:
            question = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
            reply = await self._posted(endpoint, question.encode(), seconds)
            try:
                result = strictjson.loads(reply.body, max_bytes=BLOCK_BYTES, max_values=BLOCK_BYTES).get("result")
            except (NotJson, AttributeError):
                raise Lost("it does not answer as a JSON-RPC node does") from None
            if isinstance(result, dict):
                result = result.get("hash")
            if isinstance(result, str) and result != "0x":
                found[f"{method} {parameters}"] = result.lower()
        for question_, answer in found.items():
            if self._identity.setdefault(question_, answer) != answer:
                endpoint.barred = (
                    f"{endpoint.shown} is another chain than the other RPC URLs: {question_.partition(' ')[0]} gives "
                    f"{answer[:70]}, not {self._identity[question_][:70]}; name URLs of one chain"
                )
                log.error("endpoint_barred", url=endpoint.shown, detail=endpoint.barred)
                return
        endpoint.admitted = True

    async def _rested(self, deadline: float) -> _Endpoint | None:
        """The endpoint whose turn it is; waits for the first that may be asked again. None if that is after the deadline."""
        usable = [e for e in self._endpoints if not e.barred]
        if not usable:
            raise InvalidConfig(self._endpoints[0].barred)
        now = self._monotonic()
        order = self._endpoints[self._current :] + self._endpoints[: self._current]
        for endpoint in order:
            if not endpoint.barred and endpoint.rests_until <= now:
                self._current = self._endpoints.index(endpoint)
                return endpoint
        first = min(usable, key=lambda endpoint: endpoint.rests_until)
        if first.rests_until > deadline:
            return None
        await self._sleep(first.rests_until - now)
        self._current = self._endpoints.index(first)
        return first

    def _turn(self, failed: _Endpoint) -> None:
        """On to the next, unless somebody has turned already."""
        if self._endpoints[self._current] is failed:
            self._current = (self._current + 1) % len(self._endpoints)

    def _resting(self) -> str:
        return f"{self.shown} asks for more patience than we have (HTTP 429); use fewer calls or another endpoint"


class _NotYet(Exception):
    """A status instead of an answer. forever: it will not change by asking again."""

    def __init__(self, message: str, *, forever: bool = False) -> None:
        super().__init__(message)
        self.forever = forever


def _remedy(status: int) -> str:
    """What to do about a status that is none of success; most often the URL is not that of a node, or lacks its key."""
    if status in (401, 402, 403, 407):
        return ": it wants a key, or another one; check the key and the address in the endpoint's URL"
    if 300 <= status < 400:
        return ": it sends us elsewhere, and nobody follows; give the URL that it leads to"
    if 400 <= status < 500:
        return ": nothing there takes JSON-RPC by POST; check the address and the key in the endpoint's URL"
    return "; retry later"


def split_urls(urls: str) -> list[str]:
    """The URLs of a setting, separated by commas. Raises InvalidConfig unless each is one of http:// or https:// with a host."""
    try:
        return list(node_urls(urls))
    except InvalidInput as error:
        raise InvalidConfig(error.message) from None


def retry_after_s(header: str, now: float) -> float:
    """Seconds that a Retry-After header asks for, 1 where it says nothing that can be understood; never below 0. now: Unix seconds."""
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (ValueError, TypeError, OverflowError):
        return 1.0


def _is_odd(body: bytes) -> bool:
    """No JSON at all (a gateway's page), cut off, or "too many requests" dressed as an answer."""
    start = body[:64].lstrip()
    if start[:1] not in (b"{", b"[") or body[-64:].rstrip()[-1:] not in (b"}", b"]"):
        return True
    return len(body) < 1000 and b'"error"' in body and _RATE.search(body) is not None


def waited_for(why: str) -> None:
    """A line in the log."""
    log.warning("waiting_for_chain", detail=why)


async def wait_for_chain(
    connect: Callable[[], Awaitable[None]],
    wait_s: float,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    monotonic: Callable[[], float] = time.monotonic,
    tell: Callable[[str], object] = waited_for,
) -> None:
    """Tries until it succeeds, for `wait_s` seconds, and tells what is waited for. Raises the last Unavailable."""
    deadline, pause, said = monotonic() + wait_s, 0.5, ""
    while True:
        try:
            await connect()
            return
        except Unavailable as error:
            left = deadline - monotonic()
            if left <= 0:
                raise
            if error.message != said:
                said = error.message
                tell(f"{error.message}; waiting up to {left:.0f} s for it")
        await sleep(min(pause, left))
        pause = min(2 * pause, 5.0)
