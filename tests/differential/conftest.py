from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction

import pytest

from bench.anvil import AnvilUnavailable, anvil
from devchain import Devchain
from devchain.config import ChainConfig
from tests.differential.chains import BLOCK_GAS_LIMIT, CHAIN_ID, WEALTH, Pair, keys


@pytest.fixture(scope="session")
def anvil_url() -> Iterator[str]:
    with ExitStack() as stack:
        try:
            yield stack.enter_context(
                anvil(
                    "--hardfork", "cancun", "--chain-id", str(CHAIN_ID), "--gas-limit", str(BLOCK_GAS_LIMIT),
                    "--block-base-fee-per-gas", "7", "--accounts", "1",
                )
            )  # fmt: skip
        except AnvilUnavailable as error:
            pytest.skip(str(error))


@pytest.fixture
def pair(anvil_url: str) -> Iterator[Pair]:
    """Both chains at their first block, the same accounts with the same wealth on both."""
    config = ChainConfig(chain_id=CHAIN_ID, min_gas_multiplier=Fraction(0))
    accounts = {account.address: WEALTH for account in keys()}
    with Devchain.running(config=config, accounts=accounts) as devchain, Pair(devchain.url, anvil_url) as both:
        snapshot = both.anvil.ask("evm_snapshot")
        for account in keys():
            both.anvil.ask("anvil_setBalance", account.address, hex(WEALTH))
        yield both
        both.anvil.ask("evm_revert", snapshot)
