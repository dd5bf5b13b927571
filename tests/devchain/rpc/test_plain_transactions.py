"""A devchain without Aspects, as web3.py sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3

from devchain import Devchain

ECHO_FIRST_WORD = bytes.fromhex("600035600055" + "60003560005260206000f3")
"""Stores its first argument word in slot 0 and returns it."""


def deploying(code: bytes) -> bytes:
    return bytes.fromhex(f"61{len(code):04x}80600a5f395ff3").ljust(10, b"\0") + code


@pytest.fixture
def devchain() -> Iterator[Devchain]:
    with Devchain.running() as running:
        yield running


@pytest.fixture
def web3(devchain: Devchain) -> Web3:
    return Web3(Web3.HTTPProvider(devchain.url))


@pytest.fixture
def rich(devchain: Devchain) -> LocalAccount:
    return Account.from_key(devchain.accounts[0].key)


def send(web3: Web3, account: LocalAccount, **fields: object) -> dict[str, object]:
    transaction = {
        "nonce": web3.eth.get_transaction_count(account.address),
        "gas": 200_000,
        "value": 0,
        "chainId": web3.eth.chain_id,
        **fields,
    }
    signed = account.sign_transaction(transaction)
    return dict(web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(signed.raw_transaction)))


@pytest.mark.parametrize(
    "price",
    [
        {"gasPrice": 10**9},
        {"gasPrice": 10**9, "type": 1, "accessList": []},
        {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": 10**8, "type": 2},
    ],
    ids=["legacy", "access list", "dynamic fee"],
)
def test_every_transaction_type_moves_value_and_pays_for_gas(
    web3: Web3, rich: LocalAccount, price: dict[str, int]
) -> None:
    other = Account.create().address
    before = web3.eth.get_balance(rich.address)
    receipt = send(web3, rich, to=other, value=5, gas=21_000, **price)
    paid = receipt["gasUsed"] * receipt["effectiveGasPrice"]
    assert (receipt["status"], receipt["gasUsed"]) == (1, 21_000)
    assert web3.eth.get_balance(other) == 5
    assert web3.eth.get_balance(rich.address) == before - 5 - paid


def test_a_contract_keeps_what_it_stored_and_a_call_sees_old_blocks(web3: Web3, rich: LocalAccount) -> None:
    address = send(web3, rich, data=deploying(ECHO_FIRST_WORD), gasPrice=10**9)["contractAddress"]
    assert web3.eth.get_code(address) == ECHO_FIRST_WORD
    first = send(web3, rich, to=address, data=(1).to_bytes(32, "big"), gasPrice=10**9)
    send(web3, rich, to=address, data=(2).to_bytes(32, "big"), gasPrice=10**9)
    assert web3.eth.get_storage_at(address, 0)[-1] == 2
    assert web3.eth.get_storage_at(address, 0, first["blockNumber"])[-1] == 1
    assert web3.eth.call({"to": address, "data": (7).to_bytes(32, "big")})[-1] == 7
    assert web3.eth.get_storage_at(address, 0)[-1] == 2


def test_at_least_half_of_the_gas_limit_is_charged(web3: Web3, rich: LocalAccount) -> None:
    receipt = send(web3, rich, to=rich.address, gas=100_001, gasPrice=10**9)
    assert receipt["gasUsed"] == 50_000
    parts = web3.provider.make_request("linklearner_gasParts", [web3.to_hex(receipt["transactionHash"])])["result"]
    assert parts == [{"part": "intrinsic", "gas": 21_000}, {"part": "evm", "gas": 0}, {"part": "floor", "gas": 29_000}]


def test_the_chain_is_the_same_after_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "chain.db"
    with Devchain.running(state=state) as devchain:
        web3 = Web3(Web3.HTTPProvider(devchain.url))
        account = Account.from_key(devchain.accounts[0].key)
        receipt = send(web3, account, to="0x" + "09" * 20, value=3, gasPrice=10**9)
        head = web3.eth.get_block("latest")
    with Devchain.running(state=state) as devchain:
        web3 = Web3(Web3.HTTPProvider(devchain.url))
        assert devchain.accounts[0].address.hex() == account.address[2:].lower()
        assert web3.eth.get_block("latest") == head
        assert web3.eth.get_transaction_receipt(receipt["transactionHash"]) == receipt
        assert web3.eth.get_balance(Web3.to_checksum_address("0x" + "09" * 20)) == 3
        assert web3.eth.get_transaction_count(account.address) == 1


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    state = tmp_path / "chain.db"
    with Devchain.running(state=state) as devchain:
        assert devchain.accounts[0].key.hex() not in repr(devchain.accounts)
    assert (tmp_path / "chain.db.keys.json").stat().st_mode & 0o777 == 0o600


def test_two_devchains_in_one_process_share_nothing() -> None:
    with Devchain.running(chain_id=1001) as one, Devchain.running(chain_id=1002) as other:
        left, right = Web3(Web3.HTTPProvider(one.url)), Web3(Web3.HTTPProvider(other.url))
        account = Account.from_key(one.accounts[0].key)
        send(left, account, to=account.address, gasPrice=10**9)
        assert (left.eth.chain_id, right.eth.chain_id) == (1001, 1002)
        assert (left.eth.block_number, right.eth.block_number) == (1, 0)
        assert right.eth.get_balance(account.address) == 0
