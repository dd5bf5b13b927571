"""`--node rollkit`: where the newest node differs from the one that was recorded (shared notes, last section)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from eth_account import Account

from devchain import Devchain
from devchain.chain.questions import block_facts
from devchain.config import ChainConfig, NodeKind
from tests.devchain.wallet import Wallet, initcode

GWEI = 10**9
PARENT_HASH = bytes.fromhex("6001430340600055" + "600160005260206000f3")
"""BLOCKHASH of the parent into slot 0."""


@pytest.fixture(scope="module")
def wallet() -> Iterator[Wallet]:
    with Devchain.running(config=ChainConfig(node=NodeKind.ROLLKIT)) as devchain:
        yield Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))


def test_gas_costs_20_gwei_at_least(wallet: Wallet) -> None:
    assert wallet.ask("eth_gasPrice") == hex(20 * GWEI)
    assert wallet.ask("eth_getBlockByNumber", "latest", False)["baseFeePerGas"] == hex(20 * GWEI)
    cheap = wallet.raw("eth_sendRawTransaction", wallet.sign(to=wallet.account.address, gasPrice=20 * GWEI - 1))[
        "error"
    ]
    assert cheap["code"] == -32000
    assert cheap["message"].startswith("provided fee < minimum global fee (")
    assert cheap["message"].endswith(": insufficient fee")
    for fees in ({"gasPrice": 20 * GWEI}, {"maxFeePerGas": 20 * GWEI, "maxPriorityFeePerGas": 0, "type": 2}):
        assert wallet.send(to=wallet.account.address, **fees)["status"] == "0x1"


def test_the_parents_hash_is_zero_for_contracts_and_aspects(wallet: Wallet) -> None:
    receipt = wallet.send(data=initcode(PARENT_HASH), gasPrice=20 * GWEI)
    contract = wallet.web3.to_checksum_address(receipt["contractAddress"])
    wallet.send(to=contract, gasPrice=20 * GWEI)
    assert int(wallet.ask("eth_getStorageAt", contract, "0x0", "latest"), 16) == 0
    facts = block_facts(ChainConfig(node=NodeKind.ROLLKIT), 5, 1, b"\x01" * 32, bytes(20))
    assert (facts.parent_hash, facts.max_gas, facts.max_bytes) == (bytes(32), None, None)
    known = block_facts(ChainConfig(), 5, 1, b"\x01" * 32, bytes(20))
    assert (known.parent_hash, known.max_gas) == (b"\x01" * 32, 20_000_000)


def test_its_words(wallet: Wallet) -> None:
    foreign = wallet.raw("eth_sendRawTransaction", wallet.sign(to=wallet.account.address, chainId=1))["error"]
    assert foreign["message"] == "invalid chain id for signer: have 1 want 7105636"
    block = wallet.raw("eth_getBlockByNumber", "0x3e8", False)["error"]
    assert block["message"] == "failed to load block hash for height 1000: datastore: key not found"
    for method, params in (("eth_getBalance", []), ("eth_getStorageAt", ["0x0"]), ("eth_getTransactionCount", [])):
        answer = wallet.raw(method, wallet.account.address, *params, "0x3e8")["error"]
        assert answer["message"].startswith("cannot query with height in the future")
        assert answer["code"] == -32000
