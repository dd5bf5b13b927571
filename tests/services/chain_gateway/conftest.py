from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from eth_account import Account
from quirky_node import QuirkyNode

from services.chain_gateway.chain import Chain
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.outbox import Outbox, Patience
from services.devchain import Devchain
from services.devchain.config import ChainConfig

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


def keystore_of(devchain: Devchain, *positions: int) -> Keystore:
    """Development accounts as an unlocked keystore; all of them by default."""
    chosen = [devchain.accounts[p] for p in positions] or list(devchain.accounts)
    return Keystore({account.address: Account.from_key(account.key) for account in chosen})


@pytest.fixture(scope="session")
def shared_devchain() -> Iterator[Devchain]:
    """A strict chain with instant blocks that answers from a thread of its own."""
    with Devchain.running(config=ChainConfig(strict=True)) as devchain:
        yield devchain


@pytest.fixture
async def devchain() -> AsyncIterator[Devchain]:
    async with Devchain.start(config=ChainConfig(strict=True)) as devchain:
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
