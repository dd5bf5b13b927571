"""A running devchain and a wallet for it, for every test below."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from eth_account import Account

from devchain import Devchain
from tests.devchain.wallet import Wallet


@pytest.fixture
def devchain() -> Iterator[Devchain]:
    with Devchain.running() as running:
        yield running


@pytest.fixture
def wallet(devchain: Devchain) -> Wallet:
    return Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))
