import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_account import Account

from devchain import Devchain
from devchain.config import ChainConfig
from linklearner.chain.contracts import CONTRACTS
from linklearner.domain.encodings import TWO_BITS, Encoding
from linklearner.domain.plan import USUAL_TERMS, TaskPlan
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rounds import Terms
from linklearner.keyfile import read_password
from linklearner.rpc.access import OPERATOR, Credential, Role
from services.chain_gateway.chain import Chain
from services.chain_gateway.config import GatewayConfig
from services.chain_gateway.deploy import DeploymentPlan, deploy
from services.chain_gateway.deployment import Deployment
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.outbox import Outbox, Patience
from tests.services.chain_gateway.quirky_node import QuirkyNode

HURRY = Patience(
    receipt_s=8.0,
    lost_blocks=3,
    lost_at_least_s=0.2,
    lost_at_most_s=0.4,
    check_s=0.05,
    longest_poll_s=0.05,
    retry_s=0.05,
)
"""As patient as a chain of instant blocks deserves."""
STRICT = ChainConfig(strict=True)
CONTRIBUTORS = 3
ROUND_SECONDS = 3600


def small_task() -> TaskPlan:
    """Two settlement groups of 2,410 weights, so that a settlement takes two transactions.

    Two of three equal stakes are the quorum: each counts a quarter.
    """
    own = {
        "quorum_bps": 5000,
        "max_updates": 4,
        "round_seconds": ROUND_SECONDS,
        "drop_seconds": 7200,
        "stake_seconds": 1,
    }
    return TaskPlan(terms=Terms(**{**USUAL_TERMS, **own}), page_length=1024, group_pages=2)


def keystore_of(devchain: Devchain, *positions: int) -> Keystore:
    """Development accounts as an unlocked keystore; all of them by default."""
    chosen = [devchain.accounts[p] for p in positions] or list(devchain.accounts)
    return Keystore({account.address: Account.from_key(account.key) for account in chosen})


@pytest.fixture
async def devchain() -> AsyncIterator[Devchain]:
    async with Devchain.start(config=STRICT) as devchain:
        yield devchain


@pytest.fixture
async def node(devchain: Devchain) -> AsyncIterator[QuirkyNode]:
    async with QuirkyNode.start(devchain.url) as node:
        yield node


@pytest.fixture
async def chain(node: QuirkyNode) -> AsyncIterator[Chain]:
    async with Chain.connect(node.url) as chain:
        yield chain


@pytest.fixture
async def outbox(tmp_path: Path, chain: Chain, devchain: Devchain) -> AsyncIterator[Outbox]:
    async with Outbox.open(tmp_path / "outbox.sqlite", chain, keystore_of(devchain), HURRY) as outbox:
        yield outbox


@dataclass
class World:
    """A chain of its own with the pool, the Aspect, a loaded task and three contributors, and a node in front of it that can misbehave."""

    folder: Path
    devchain: Devchain
    node: QuirkyNode
    deployment: Deployment
    accounts: tuple[bytes, ...]
    task: TaskPlan

    def config(self, **changes: Any) -> GatewayConfig:
        config = GatewayConfig(
            rpc_url=self.node.url,
            deployment=self.folder / "deployment.json",
            keystore=self.folder / "keys",
            password_file=self.folder / "keys/password",
            outbox=self.folder / "outbox.sqlite",
            access=self.folder / "access",
            listen="127.0.0.1:0",
            auto_settle=False,
            poll_s=0.05,
        )
        return replace(config, **changes)

    @property
    def operator(self) -> Credential:
        return Credential.kept(self.folder / "access" / OPERATOR, Role.SPEND)

    @asynccontextmanager
    async def gateway(self, **changes: Any) -> AsyncIterator[Gateway]:
        assert self.operator  # there before the gateway reads who may call
        async with Gateway.start(self.config(**changes), patience=HURRY) as gateway:
            yield gateway

    def keystore_with(self, *accounts: bytes) -> Path:
        """A folder with the keys of some of the accounts only."""
        folder = self.folder / ("keys-" + "-".join(account.hex()[:6] for account in accounts))
        folder.mkdir()
        for account in accounts:
            shutil.copy(self.folder / "keys" / f"{account.hex()}.json", folder)
        return folder

    async def later(self, seconds: int) -> None:
        """The chain's clock goes on by so much, and a block says so."""

        def pass_time() -> None:
            self.devchain.chain.increase_time(seconds)
            self.devchain.chain.mine()

        await self.devchain.thread.run(pass_time)

    def update(self, version: int = 1, *, seed: int = 0, encoding: Encoding = TWO_BITS) -> bytes:
        shape = self.task.shape
        delta = np.random.default_rng(seed).normal(0.0, 0.01, shape.weight_count)
        return quantise_delta(delta, shape, 1, version, encoding).update.encode(shape)


async def make_deployment(folder: Path, task: TaskPlan | None = None) -> None:
    """A chain's state, keys and a deployment in `folder`; the small task unless another is given."""
    password = Keystore.new_password(folder / "keys" / "password")
    for _ in range(CONTRIBUTORS):
        Keystore.create(folder / "keys", password, random_password=True)
    contributors = Keystore.unlock(folder / "keys", password)
    plan = DeploymentPlan(task=task or small_task(), contributors=contributors.addresses)
    async with (
        Devchain.start(state=folder / "chain.sqlite", config=STRICT) as devchain,
        Chain.connect(devchain.url, CONTRACTS) as chain,
    ):
        await deploy(
            chain,
            keystore_of(devchain, 0),
            folder / "deploy.sqlite",
            plan,
            creator=keystore_of(devchain, 1),
            contributors=contributors,
            deployment_path=folder / "deployment.json",
        )


@asynccontextmanager
async def world_in(folder: Path, task: TaskPlan | None = None) -> AsyncIterator[World]:
    """The deployment of a folder at work; the small task unless another was deployed."""
    keystore = Keystore.unlock(folder / "keys", read_password(folder / "keys" / "password"))
    async with (
        Devchain.start(state=folder / "chain.sqlite", config=STRICT) as devchain,
        QuirkyNode.start(devchain.url) as node,
    ):
        deployment = Deployment.load(folder / "deployment.json")
        yield World(folder, devchain, node, deployment, keystore.addresses, task or small_task())


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a chain's state, keys and a deployment, made once; tests work on copies."""
    folder = tmp_path_factory.mktemp("deployed")
    asyncio.run(make_deployment(folder))
    return folder


@pytest.fixture
async def world(deployed: Path, tmp_path: Path) -> AsyncIterator[World]:
    folder = tmp_path / "world"
    shutil.copytree(deployed, folder)
    async with world_in(folder) as world:
        yield world


@pytest.fixture(autouse=True)
def _quiet_logs() -> Iterator[None]:
    from linklearner import log

    log.configure(service="test", level="error")
    yield
