"""The page's server as one value: start it, open its address, leave the block. One origin for everything that the page needs:

GET  /…                          the page's files
GET  /page.json                  what the page begins with
POST /package.Service/Method     gRPC by Connect's JSON (`bridge`)
POST /rpc                        the chain (`rpc`): also what wallets are given as its address
POST /faucet                     money for newcomers, where it is worth nothing (`faucet`)
"""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import structlog
from aiohttp import web

from linklearner.client.gateway import GatewayClient
from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidConfig, InvalidInput, LinkLearnerError
from linklearner.domain.notation import Endpoint, address, node_urls
from linklearner.domain.strictjson import NotJson
from linklearner.rpc.access import Credential
from linklearner.rpc.channel import channel
from linklearner.rpc.status import code_of
from services.page import bridge as connect
from services.page import rpc
from services.page.access import NotServed, Visitors
from services.page.bridge import Bridge, ConnectError
from services.page.config import ORIGINS, PageConfig
from services.page.faucet import Faucet
from services.page.files import HEADERS, static_files
from services.page.limits import Allowance, network_of

FAUCET_A_CLIENT, FAUCET_EVERY_S = 5, 20.0
"""Gifts that one client may ask for at once, and seconds until it may ask for one more."""
WEI = 10**18

log = structlog.get_logger()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageServer:
    """address: host:port. url: what a person opens."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.url = f"http://{address}"

    @classmethod
    @asynccontextmanager
    async def start(cls, config: PageConfig, listening: socket.socket | None = None) -> AsyncIterator[Self]:
        """listening: a bound socket in place of `listen`. Raises InvalidConfig for settings, files, a port in use.

        Gateway, model server and chain need not be there yet.
        """
        async with AsyncExitStack() as stack:
            reader = Credential.read(Path(config.credential)) if config.credential else None
            channels = {connect.GATEWAY: await stack.enter_async_context(channel(config.gateway, reader))}
            if config.model_server:
                channels[connect.MODEL_SERVER] = await stack.enter_async_context(channel(config.model_server))
            client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
            faucet = None
            if config.faucet:
                spender = Credential.read(Path(config.faucet))
                if spender.caller.account is None:
                    raise InvalidConfig(
                        f"{config.faucet} may spend from every account: the faucet takes one that is bound to one"
                    )
                gateway = await stack.enter_async_context(GatewayClient.connect(config.gateway, spender))
                faucet = Faucet(
                    gateway,
                    spender.caller.account,
                    coin=round(config.faucet_coin * WEI),
                    token=round(config.faucet_ll * WEI),
                    a_day=config.faucet_a_day,
                )
            site = Site(config, Bridge(channels), rpc.Node(node_urls(config.rpc_url, "rpc_url"), client), faucet)
            runner = web.AppRunner(site.application(), access_log=None, shutdown_timeout=1.0, auto_decompress=False)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            listening = listening or bound(config.listen)
            host, port = listening.getsockname()[:2]
            await web.SockSite(runner, listening).start()
            server = cls(str(Endpoint(host, port)))
            log.info("page_started", url=server.url)
            yield server


def bound(listen: str) -> socket.socket:
    """A socket at host:port. Raises InvalidConfig if the port is in use."""
    where = Endpoint.parse(listen, any_port=True)
    try:
        return socket.create_server(
            (where.host, where.port), family=socket.AF_INET6 if ":" in where.host else socket.AF_INET
        )
    except OSError as error:
        raise InvalidConfig(f"cannot listen on {listen}: {error.strerror or error}; choose another port") from error


class Site:
    """What is answered."""

    def __init__(self, config: PageConfig, bridge: Bridge, node: rpc.Node, faucet: Faucet | None) -> None:
        self._bridge, self._node, self._faucet = bridge, node, faucet
        self._visitors = Visitors(ORIGINS.read(config.origins))
        self._files = static_files()
        self._calls = Allowance(config.calls_a_second, 10 * config.calls_a_second)
        self._gifts = Allowance(1 / FAUCET_EVERY_S, FAUCET_A_CLIENT)
        self._start = {
            "task": str(config.task),
            "modelServer": bool(config.model_server),
            "faucet": None if faucet is None else {"coinWei": str(faucet.coin), "tokenWei": str(faucet.token)},
        }

    def application(self) -> web.Application:
        application = web.Application(client_max_size=rpc.MAX_BODY, middlewares=[self._rim])
        application.router.add_post("/rpc", self._rpc)
        application.router.add_post("/faucet", self._give)
        application.router.add_post("/{service}/{method}", self._connect)
        application.router.add_get("/page.json", self._page)
        application.router.add_get("/{path:.*}", self._file)
        return application

    @web.middleware
    async def _rim(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Who may ask, how much, and the headers of every answer."""
        try:
            if request.method in ("GET", "HEAD"):
                self._visitors.check_host(request.headers)
            else:
                self._visitors.check_sender(request.headers, wallets=request.path == "/rpc")
                if not self._calls.take(network_of(request.remote)):
                    raise web.HTTPTooManyRequests(headers={"Retry-After": "1"}, text="too many calls: wait a second\n")
                if request.content_type != "application/json":
                    raise web.HTTPUnsupportedMediaType(text="calls are application/json\n")
                if request.headers.get("Content-Encoding", "identity") != "identity":
                    raise web.HTTPUnsupportedMediaType(text="calls are not compressed\n")
            answer: web.StreamResponse = await handler(request)
        except NotServed as refused:
            answer = web.Response(status=403, text=f"{refused}\n")
            answer.force_close()
        except ConnectError as error:
            answer = _json(error.as_json(), status=error.status)
        except web.HTTPException as error:
            answer = web.Response(status=error.status, text=error.text, headers=_kept(error))
        except ConnectionError:
            answer = web.Response()  # to nobody: who was asking has left
        answer.headers.update(HEADERS)
        return answer

    async def _file(self, request: web.Request) -> web.Response:
        found = self._files.get(request.path)
        if found is None:
            raise web.HTTPNotFound(text="there is no such file\n")
        if request.headers.get("If-None-Match") == found.headers["ETag"]:
            return web.Response(status=304, headers=found.headers)
        if found.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=found.packed, headers={**found.headers, "Content-Encoding": "gzip"})
        return web.Response(body=found.body, headers=found.headers)

    async def _page(self, request: web.Request) -> web.Response:
        return _json(self._start)

    async def _connect(self, request: web.Request) -> web.Response:
        body = await request.read()
        if len(body) > connect.MAX_BODY:
            raise ConnectError("resource_exhausted", f"a call has at most {connect.MAX_BODY} bytes")
        answer = await self._bridge.call(
            request.path,
            body,
            bearer=request.headers.get("Authorization", ""),
            timeout_ms=request.headers.get("Connect-Timeout-Ms", ""),
        )
        return web.Response(text=answer, content_type="application/json", headers={"Cache-Control": "no-store"})

    async def _rpc(self, request: web.Request) -> web.Response:
        answer, questions = await self._node.answer(await request.read())
        self._calls.charge(network_of(request.remote), questions - 1)  # the first is paid for at the rim
        return web.Response(body=answer, content_type="application/json", headers={"Cache-Control": "no-store"})

    async def _give(self, request: web.Request) -> web.Response:
        if self._faucet is None:
            raise web.HTTPNotImplemented(text="there is no faucet here\n")
        try:
            asked = strictjson.loads(await request.read(), max_bytes=200, max_values=4, max_depth=1)
            account = address(asked["account"])
        except (NotJson, InvalidInput, KeyError, TypeError):
            raise web.HTTPBadRequest(text='the faucet takes {"account": "0x…"}\n') from None
        if not self._gifts.take(network_of(request.remote)):
            raise web.HTTPTooManyRequests(
                headers={"Retry-After": f"{FAUCET_EVERY_S:.0f}"},
                text="the faucet has just given to you: wait a little\n",
            )
        try:
            gift = await self._faucet.fill(account)
        except LinkLearnerError as error:
            raise ConnectError(code_of(error).name.lower(), error.message) from error
        return _json({"coinWei": str(gift.coin), "tokenWei": str(gift.token)})


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(
        text=json.dumps(value), status=status, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _kept(error: web.HTTPException) -> dict[str, str]:
    return {name: error.headers[name] for name in ("Retry-After", "Allow") if name in error.headers}
