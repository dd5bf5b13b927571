"""A running gateway, from settings to graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import structlog

from linklearner.chain.contracts import CONTRACTS
from linklearner.domain.errors import InvalidConfig, LinkLearnerError, NotFound, Unavailable
from linklearner.keyfile import read_password
from linklearner.rpc.access import Access, CallerEntrance, Role, entrances
from linklearner.rpc.server import RpcServer
from linklearner.v1.chain_gateway_pb2_grpc import add_ChainGatewayServiceServicer_to_server
from services.chain_gateway.chain import Chain
from services.chain_gateway.config import GatewayConfig
from services.chain_gateway.deployment import Deployment
from services.chain_gateway.events import EventIndex
from services.chain_gateway.example_store import ExampleStore
from services.chain_gateway.keeper import Keeper
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.ledger import Ledger
from services.chain_gateway.outbox import Outbox, Patience
from services.chain_gateway.outbox.fees import GWEI
from services.chain_gateway.servicer import ROLES, SERVICE, ChainGatewayServicer

QUIET: Final = (f"/{SERVICE}/GetChain", f"/{SERVICE}/GetBalance")
"""Asked by model servers every few seconds."""

FOLLOW_RETRY_S: Final = 1.0
"""After a look at the chain's history that failed."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Gateway:
    """address: host:port of the gRPC server."""

    address: str
    ledger: Ledger
    server: RpcServer
    jobs: tuple[asyncio.Task[NoReturn], ...]

    async def broken(self) -> None:
        """Returns never, but raises what ended a background job that must not end: then let the process end, a new one starts clean."""
        done, _ = await asyncio.wait(self.jobs, return_when=asyncio.FIRST_COMPLETED)
        for job in done:
            job.result()

    @staticmethod
    @contextlib.asynccontextmanager
    async def start(config: GatewayConfig, *, patience: Patience | None = None) -> AsyncIterator[Gateway]:
        """Serves for the length of the block; ready once the chain has answered and its history is known.

        Raises InvalidConfig for settings, files, passwords, a port in use or a deployment on another chain; Unavailable if nobody answers
        at the chain's URLs within `start_wait_s`.
        """
        keystore = Keystore.unlock(config.keystore, read_password(config.password_file))
        deployment = Deployment.load(config.deployment)
        access = Access.open(config.access)
        async with contextlib.AsyncExitStack() as stack:

            async def connected(rpc_url: str) -> Chain:
                chain = await stack.enter_async_context(Chain.connect(rpc_url, CONTRACTS, wait_s=config.start_wait_s))
                await _check_deployment(chain, deployment)
                return chain

            chain = await connected(config.rpc_url)
            witness = await connected(config.witness_rpc_url) if config.witness_rpc_url else None
            patience = patience or Patience(receipt_s=config.receipt_s)
            max_gas_price = round(config.max_gas_price_gwei * GWEI)
            outbox = await stack.enter_async_context(
                Outbox.open(config.outbox, chain, keystore, patience, max_gas_price=max_gas_price)
            )
            events = stack.enter_context(
                EventIndex.open(config.outbox, chain, deployment.pool, first_block=deployment.block, witness=witness)
            )
            ledger = Ledger(
                chain,
                outbox,
                events,
                deployment,
                max_head_age_s=config.max_head_age_s,
                on_demand=config.on_demand,
                store=ExampleStore(config.examples),
            )
            servicer = ChainGatewayServicer(ledger)
            server = RpcServer(
                config.listen,
                lambda grpc_server: add_ChainGatewayServiceServicer_to_server(servicer, grpc_server),
                (SERVICE,),
                quiet=QUIET,
                entrances=entrances(access, ROLES),
                entrance=CallerEntrance(access, Role.SPEND),
            )
            await stack.enter_async_context(server)
            jobs = {"follow": _follow(ledger, server, config.poll_s)}
            if config.auto_settle:
                jobs["settle"] = Keeper(ledger).run()
            work = tuple(_background(server, job, name) for name, job in jobs.items())
            stack.push_async_callback(_cancel, work)
            log.info(
                "gateway_started",
                address=server.address,
                chain_id=chain.chain_id,
                pool="0x" + deployment.pool.hex(),
                accounts=["0x" + account.hex() for account in keystore.addresses],
            )
            yield Gateway(server.address, ledger, server, work)


async def _check_deployment(chain: Chain, deployment: Deployment) -> None:
    if chain.chain_id != deployment.chain_id:
        raise InvalidConfig(
            f"the deployment is on chain {deployment.chain_id}, {chain.shown_url} is chain {chain.chain_id}; choose the right one"
        )
    for name in ("pool", "vault", "token"):
        try:
            await chain.expect_code(getattr(deployment, name))
        except NotFound:
            raise InvalidConfig(
                f"there is no contract at the {name}'s address 0x{getattr(deployment, name).hex()} on {chain.shown_url}; "
                "the deployment file belongs to another chain, or to one that began anew: deploy again"
            ) from None


async def _follow(ledger: Ledger, server: RpcServer, poll_s: float) -> NoReturn:
    """Keeps the history up to date, and says ready while the chain answers, is not stale, and all of its history is known here.

    Whatever the chain answers, and a file that cannot be read or written, is a reason to be not ready and to look again.
    """
    said: str | None = None
    while True:
        looks = ledger.events.follow(poll_s)
        try:
            async for trouble in looks:
                if not trouble and ledger.events.head is not None:
                    try:
                        ledger.views.check_age(ledger.events.head)
                    except Unavailable as error:
                        trouble = error.message
                said = await _say(server, trouble, said)
        except (LinkLearnerError, sqlite3.OperationalError, OSError) as error:
            said = await _say(server, f"the history cannot be read on: {error}", said)
        await asyncio.sleep(FOLLOW_RETRY_S)


async def _say(server: RpcServer, trouble: str, before: str | None) -> str:
    """Ready or not, and why. Says it once. Returns what is said now."""
    if trouble != before:
        log.info("not_ready" if trouble else "ready", detail=trouble)
        await server.set_ready(not trouble)
    return trouble


def _background(server: RpcServer, work: Coroutine[Any, Any, NoReturn], name: str) -> asyncio.Task[NoReturn]:
    """Runs for as long as the gateway. If it ends by itself that is a bug: said loudly, the gateway is not ready any more and `broken`."""

    def ended(task: asyncio.Task[NoReturn]) -> None:
        if not task.cancelled():
            log.error("background_died", task=name, exc_info=task.exception())
            deaths.append(asyncio.ensure_future(server.set_ready(False)))

    deaths: list[asyncio.Future[None]] = []
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(ended)
    return task


async def _cancel(tasks: tuple[asyncio.Task[NoReturn], ...]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
