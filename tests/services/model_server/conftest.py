"""A gateway with one published version, a model server that follows it, and callers who sign."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields, replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from linklearner.rpc.channel import channel
from linklearner.testing.gateway import FakeGateway, weights_of
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc
from services.model_server.admission.stake import StakeSettings
from services.model_server.config import ModelServerConfig
from services.model_server.server import ModelServer

QUICK_STAKE = StakeSettings(required_units=1000, stake_refresh_s=0.05, stake_stale_s=0.6)
QUICK = ModelServerConfig(
    admission=QUICK_STAKE,
    credential="",
    listen="127.0.0.1:0",
    metrics_listen="127.0.0.1:0",
    poll_s=0.2,
)
"""Short waits; everything else as by default."""


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    chain = FakeGateway()
    chain.publish(weights_of(0))
    async with chain.served() as address:
        chain.address = address  # type: ignore[attr-defined]
        yield chain


@pytest.fixture
async def start(gateway: Any) -> AsyncIterator[Callable[..., Any]]:
    """start(**settings), its and its admission's, gives a ready model server that follows `gateway`."""
    async with AsyncExitStack() as stack:

        async def begin(*, ready: bool = True, **settings: Any) -> ModelServer:
            admission = settings.pop("admission", QUICK_STAKE)
            its = {field.name: settings.pop(field.name) for field in fields(admission) if field.name in settings}
            config = replace(QUICK, **{"gateway": gateway.address, "admission": replace(admission, **its), **settings})
            server = await stack.enter_async_context(ModelServer.start(config))
            if ready:
                await asyncio.wait_for(server.ready(), 10)
            return server

        yield begin


@pytest.fixture
async def server(start: Callable[..., Any]) -> ModelServer:
    return await start()


@pytest.fixture
def caller(gateway: FakeGateway) -> LocalAccount:
    """An account with exactly enough locked."""
    account: LocalAccount = Account.create()
    gateway.set_stake(address_of(account), 1000)
    return account


def address_of(account: LocalAccount) -> bytes:
    return bytes.fromhex(account.address[2:])


@asynccontextmanager
async def sessions_at(address: str) -> AsyncIterator[session_grpc.SessionServiceStub]:
    async with channel(address) as wire:
        yield session_grpc.SessionServiceStub(wire)


def sign(account: LocalAccount, message: str) -> bytes:
    return bytes(account.sign_message(encode_defunct(text=message)).signature)


async def token_for(account: LocalAccount, address: str) -> str:
    """A session at the model server there."""
    async with sessions_at(address) as stub:
        challenge = await stub.CreateChallenge(session.CreateChallengeRequest(address=address_of(account)))
        opened = await stub.OpenSession(
            session.OpenSessionRequest(message=challenge.message, signature=sign(account, challenge.message))
        )
    return str(opened.token)


async def eventually(condition: Callable[[], Any], within_s: float = 10.0) -> None:
    """Waits until `condition()` holds; fails if it does not within the time."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)
