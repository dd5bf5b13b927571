"""A JSON-RPC proxy that is as far away, and as unreliable, as a public endpoint; it counts what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web


@dataclass
class Proxy:
    """Forwards everything, but for what it loses."""

    upstream: str
    delay_s: float = 0.0
    """Before each request is forwarded."""
    loss: float = 0.0
    """The part of the requests that is lost: half of them before they are forwarded, half after; half by 502, half by a cut connection."""
    seed: int = 0
    url: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    """By method; each entry of a batch is one."""
    lost: Counter[str] = field(default_factory=Counter)
    """By "before" and "after" forwarding."""
    lost_sends: int = 0
    """Of `lost`: transactions handed in."""

    _session: aiohttp.ClientSession = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Transactions have a chance of their own: how many questions come between them is a matter of time, what is lost of them is not.
        self._chance = {sends: random.Random(2 * self.seed + sends) for sends in (False, True)}

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        questions = json.loads(body)
        methods = [one["method"] for one in (questions if isinstance(questions, list) else [questions])]
        self.calls.update(methods)
        chance = self._chance["eth_sendRawTransaction" in methods]
        loses, after, cuts = (chance.random() < bound for bound in (self.loss, 0.5, 0.5))
        await asyncio.sleep(self.delay_s)
        if loses:
            self.lost["after" if after else "before"] += 1
            self.lost_sends += "eth_sendRawTransaction" in methods
            if after:
                await self._forward(body)
            if cuts:
                assert request.transport is not None
                request.transport.abort()
            return web.Response(status=502, text="<html>Bad Gateway</html>")
        return web.Response(body=await self._forward(body), content_type="application/json")

    async def _forward(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self.upstream, data=body, headers=headers) as response:
            answer: bytes = await response.read()
        return answer

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls, upstream: str, *, delay_s: float = 0.0, loss: float = 0.0, seed: int = 0
    ) -> AsyncIterator[Proxy]:
        """On a free port of the loopback interface, for the length of the block."""
        proxy = cls(upstream, delay_s, loss, seed)
        # A connection of its own for each request: one kept alive may be closed by the chain just as it is used again.
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as proxy._session,
            posted_to(proxy._handle) as proxy.url,
        ):
            yield proxy


@contextlib.asynccontextmanager
async def posted_to(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """The URL of a JSON-RPC node on a free port of the loopback interface that answers by `handle`."""
    application = web.Application(client_max_size=5 << 20)
    application.router.add_post("/", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
