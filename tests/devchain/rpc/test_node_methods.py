"""Headers, raw transactions, the pool, access lists, proofs, signing and traces: in go-ethereum's shapes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from web3 import Web3

from devchain import Devchain
from tests.devchain.wallet import COUNTER, Wallet, initcode

EXAMPLE = Path(__file__).parents[3] / "examples" / "aspect"
CALLER = bytes.fromhex("600060006000600060006000355af1600055600060006000600060203560405afa00")


@pytest.fixture(scope="module")
def devchain() -> Iterator[Devchain]:
    with Devchain.running(mining="manual") as running:
        yield running


@pytest.fixture(scope="module")
def wallet(devchain: Devchain) -> Wallet:
    return Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))


@pytest.fixture(scope="module")
def counter(wallet: Wallet) -> str:
    sent = wallet.ask("eth_sendRawTransaction", wallet.sign(data=initcode(COUNTER)))
    wallet.ask("evm_mine")
    return str(Web3.to_checksum_address(wallet.ask("eth_getTransactionReceipt", sent)["contractAddress"]))


def mined(wallet: Wallet, **fields: Any) -> dict[str, Any]:
    sent = wallet.ask("eth_sendRawTransaction", wallet.sign(**fields))
    wallet.ask("evm_mine")
    receipt = wallet.ask("eth_getTransactionReceipt", sent)
    assert receipt is not None
    return dict(receipt)


def test_a_header_is_its_block_without_transactions(wallet: Wallet, counter: str) -> None:
    receipt = mined(wallet, to=counter)
    block = wallet.ask("eth_getBlockByHash", receipt["blockHash"], False)
    header = {key: value for key, value in block.items() if key not in ("transactions", "uncles")}
    assert wallet.ask("eth_getHeaderByHash", receipt["blockHash"]) == header
    assert wallet.ask("eth_getHeaderByNumber", receipt["blockNumber"]) == header
    assert wallet.ask("eth_getHeaderByHash", "0x" + "00" * 32) is None


def test_raw_transactions_are_the_bytes_that_were_sent(wallet: Wallet, counter: str) -> None:
    raw = wallet.sign(to=counter)
    sent = wallet.ask("eth_sendRawTransaction", raw)
    assert wallet.ask("eth_getRawTransactionByHash", sent) == raw, "while it waits"
    assert [t["hash"] for t in wallet.ask("eth_pendingTransactions")] == [sent]
    wallet.ask("evm_mine")
    receipt = wallet.ask("eth_getTransactionReceipt", sent)
    assert wallet.ask("eth_getRawTransactionByHash", sent) == raw
    for method, block in (
        ("eth_getRawTransactionByBlockHashAndIndex", receipt["blockHash"]),
        ("eth_getRawTransactionByBlockNumberAndIndex", receipt["blockNumber"]),
    ):
        assert wallet.ask(method, block, "0x0") == raw
        assert wallet.ask(method, block, "0x1") is None
    assert wallet.ask("eth_getRawTransactionByHash", "0x" + "11" * 32) is None
    assert wallet.ask("eth_pendingTransactions") == []


def test_the_pool_tells_what_can_go_and_what_waits_behind_a_gap(wallet: Wallet, counter: str) -> None:
    nonce = wallet.web3.eth.get_transaction_count(wallet.account.address)
    now = wallet.ask("eth_sendRawTransaction", wallet.sign(to=counter, nonce=nonce))
    later = wallet.ask("eth_sendRawTransaction", wallet.sign(data=initcode(COUNTER), nonce=nonce + 2))
    me = wallet.account.address
    assert wallet.ask("txpool_status") == {"pending": "0x1", "queued": "0x1"}
    content = wallet.ask("txpool_content")
    assert content["pending"][me][str(nonce)]["hash"] == now
    assert content["queued"][me][str(nonce + 2)]["hash"] == later
    assert wallet.ask("txpool_contentFrom", me) == {kind: content[kind][me] for kind in ("pending", "queued")}
    assert wallet.ask("txpool_contentFrom", counter) == {"pending": {}, "queued": {}}
    assert wallet.ask("txpool_inspect") == {
        "pending": {me: {str(nonce): f"{counter}: 0 wei + 200000 gas × 1000000000 wei"}},
        "queued": {me: {str(nonce + 2): "contract creation: 0 wei + 200000 gas × 1000000000 wei"}},
    }
    wallet.ask("eth_sendRawTransaction", wallet.sign(to=counter, nonce=nonce + 1))
    wallet.ask("evm_mine")
    assert wallet.ask("txpool_status") == {"pending": "0x0", "queued": "0x0"}


def test_an_access_list_names_what_a_call_touches(wallet: Wallet, counter: str) -> None:
    me = wallet.account.address
    answer = wallet.ask("eth_createAccessList", {"from": me, "to": counter}, "latest")
    assert answer["accessList"] == [{"address": counter.lower(), "storageKeys": ["0x" + "00" * 32]}]
    # what it says it uses is what a transaction with that list needs, to the unit
    gas = int(answer["gasUsed"], 16)
    accesses = [{"address": counter, "storageKeys": ["0x" + "00" * 32]}]
    # a refund is paid after; the counter refunds nothing
    receipt = mined(
        wallet, to=counter, gas=gas, accessList=accesses, maxFeePerGas=10**9, maxPriorityFeePerGas=0, type=2
    )
    assert (receipt["status"], receipt["gasUsed"]) == ("0x1", hex(gas))
    assert wallet.ask("eth_createAccessList", {"from": me, "to": me}, "latest")["accessList"] == []


def test_a_proof_has_the_values_and_does_not_pretend_to_prove_them(wallet: Wallet, counter: str) -> None:
    answer = wallet.ask("eth_getProof", counter, ["0x0", "0x" + "00" * 31 + "05"], "latest")
    assert answer["accountProof"] == [] == answer["storageProof"][0]["proof"]
    assert answer["nonce"] == "0x1"
    assert answer["codeHash"] == Web3.to_hex(Web3.keccak(COUNTER))
    values = [wallet.ask("eth_getStorageAt", counter, slot, "latest") for slot in ("0x0", "0x5")]
    assert [int(entry["value"], 16) for entry in answer["storageProof"]] == [int(value, 16) for value in values]
    too_many = wallet.raw("eth_getProof", counter, ["0x0"] * 1025, "latest")["error"]
    assert too_many["code"] == -32602


def test_messages_are_signed_as_wallets_sign_them(wallet: Wallet) -> None:
    for text in (b"", b"hello", b"\x19\x01" + bytes(64)):
        signature = wallet.ask("eth_sign", wallet.account.address, Web3.to_hex(text))
        signer = Account.recover_message(encode_defunct(text), signature=bytes.fromhex(signature[2:]))
        assert signer == wallet.account.address
    stranger = wallet.raw("eth_sign", "0x" + "11" * 20, "0x")["error"]
    assert stranger["message"].startswith("unknown account")


def test_transactions_are_filled_and_signed_without_being_sent(wallet: Wallet, counter: str) -> None:
    me = wallet.account.address
    filled = wallet.ask("eth_fillTransaction", {"from": me, "to": counter})["tx"]
    asked = {key: filled[key] for key in ("from", "to", "gas", "nonce", "maxFeePerGas", "maxPriorityFeePerGas")}
    signed = wallet.ask("eth_signTransaction", asked)
    assert signed["tx"]["from"] == me.lower()
    assert wallet.ask("txpool_status")["pending"] == "0x0"
    assert Account.recover_transaction(signed["raw"]) == me
    assert wallet.ask("eth_sendRawTransaction", signed["raw"]) == signed["tx"]["hash"]
    wallet.ask("evm_mine")
    for left_out, text in (
        ("gas", "gas not specified"),
        ("nonce", "nonce not specified"),
        ("maxFeePerGas", "missing gasPrice or maxFeePerGas/maxPriorityFeePerGas"),
    ):
        incomplete = {key: value for key, value in asked.items() if key != left_out}
        assert wallet.raw("eth_signTransaction", incomplete)["error"]["message"] == text
    foreign = wallet.raw("eth_signTransaction", asked | {"chainId": "0x1"})["error"]["message"]
    assert foreign == "chainId does not match node's (have=1, want=7105636)"


def test_what_waits_is_sent_again_at_a_better_price(wallet: Wallet, counter: str) -> None:
    nonce = wallet.web3.eth.get_transaction_count(wallet.account.address)
    old = wallet.ask("eth_sendRawTransaction", wallet.sign(to=counter, nonce=nonce))
    again = {"from": wallet.account.address, "to": counter, "nonce": hex(nonce)}
    cheap = wallet.raw("eth_resend", again, hex(10**9 + 1))["error"]["message"]
    assert cheap == "replacement transaction underpriced"
    new = wallet.ask("eth_resend", again, hex(2 * 10**9), hex(150_000))
    wallet.ask("evm_mine")
    assert wallet.ask("eth_getTransactionByHash", old) is None
    landed = wallet.ask("eth_getTransactionByHash", new)
    assert (landed["gas"], landed["gasPrice"], landed["to"]) == (hex(150_000), hex(2 * 10**9), counter.lower())
    gone = wallet.raw("eth_resend", again, hex(3 * 10**9))["error"]["message"]
    assert gone == f"transaction of nonce {nonce} not found"


# -- traces


def test_a_struct_log_accounts_for_all_gas_of_the_execution(wallet: Wallet, counter: str) -> None:
    receipt = mined(wallet, to=counter, gas=60_000)
    trace = wallet.ask("debug_traceTransaction", receipt["transactionHash"], {"enableMemory": True})
    assert (trace["failed"], trace["gas"]) == (False, int(receipt["gasUsed"], 16))
    steps = trace["structLogs"]
    assert [step["op"] for step in steps[:2]] == ["PUSH1", "SLOAD"]
    assert steps[-1]["op"] == "RETURN"
    for step, following in itertools.pairwise(steps):
        assert step["gas"] - step["gasCost"] == following["gas"]
    assert steps[1]["gasCost"] == 2100
    count = int(trace["returnValue"], 16)
    stored = next(step for step in steps if step["op"] == "SSTORE")
    assert stored["storage"] == {"00" * 32: f"{count:064x}"}
    assert steps[-1]["memory"] == [f"{count:064x}"]
    plain = wallet.ask(
        "debug_traceTransaction", receipt["transactionHash"], {"disableStack": True, "disableStorage": True, "limit": 3}
    )["structLogs"]
    assert [set(step) for step in plain] == [{"pc", "op", "gas", "gasCost", "depth"}] * 3


def test_a_call_tree_shows_nested_calls_and_refuses_what_it_is_not(wallet: Wallet, counter: str) -> None:
    caller = mined(wallet, data=initcode(CALLER))["contractAddress"]
    data = "0x" + counter[2:].lower().rjust(64, "0") * 2
    receipt = mined(wallet, to=Web3.to_checksum_address(caller), data=data)
    tree = wallet.ask("debug_traceTransaction", receipt["transactionHash"], {"tracer": "callTracer"})
    assert (tree["type"], tree["to"], tree["gas"], tree["gasUsed"]) == (
        "CALL",
        caller,
        hex(200_000),
        receipt["gasUsed"],
    )
    inner = tree["calls"]
    assert inner[0]["type"] == "CALL"
    assert (inner[0]["from"], inner[0]["to"]) == (caller, counter.lower())
    top = wallet.ask(
        "debug_traceTransaction",
        receipt["transactionHash"],
        {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}},
    )
    assert "calls" not in top
    steps = wallet.ask("debug_traceTransaction", receipt["transactionHash"])["structLogs"]
    call = next(step for step in steps if step["op"] == "CALL")
    first = next(step for step in steps if step["depth"] == 2)
    assert call["gasCost"] >= first["gas"], "what is given along is part of the cost"
    assert (
        "prestateTracer"
        in wallet.raw("debug_traceTransaction", receipt["transactionHash"], {"tracer": "prestateTracer"})["error"][
            "message"
        ]
    )
    assert wallet.raw("debug_traceTransaction", "0x" + "22" * 32)["error"]["message"] == "transaction not found"
    assert wallet.ask("debug_traceCall", {"to": counter}, "latest", {"tracer": "callTracer"})["to"] == counter.lower()


def test_a_creation_and_a_revert(wallet: Wallet) -> None:
    receipt = mined(wallet, data=initcode(COUNTER))
    tree = wallet.ask("debug_traceTransaction", receipt["transactionHash"], {"tracer": "callTracer"})
    assert (tree["type"], tree["to"], tree["output"]) == ("CREATE", receipt["contractAddress"], "0x" + COUNTER.hex())
    failing = mined(wallet, data="0x60006000fd")
    tree = wallet.ask("debug_traceTransaction", failing["transactionHash"], {"tracer": "callTracer"})
    assert tree["error"] == "execution reverted"
    steps = wallet.ask("debug_traceTransaction", failing["transactionHash"])
    assert steps["failed"] is True


def test_an_aspects_calls_are_entries_of_their_own() -> None:
    """The example's breaker around its vault."""
    with Devchain.running() as devchain:
        wallet = Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))
        web3 = wallet.web3
        vault_json = json.loads((EXAMPLE / "vault.json").read_text())
        system_json = json.loads((EXAMPLE / "system_contract.json").read_text())
        vault_made = wallet.send(data=web3.eth.contract(**vault_json).constructor().data_in_transaction, gas=2_000_000)
        vault = web3.eth.contract(Web3.to_checksum_address(vault_made["contractAddress"]), abi=vault_json["abi"])
        system = web3.eth.contract(Web3.to_checksum_address("0x" + "00" * 17 + "a27e14"), abi=system_json)
        settings = {
            "owner": bytes.fromhex(wallet.account.address[2:]),
            "limit": (10**15).to_bytes(8, "big"),
            "window": (100).to_bytes(8, "big"),
        }
        code = (EXAMPLE / "breaker.wasm").read_bytes()
        deploy = system.encode_abi("deploy", [code, b"", list(settings.items()), wallet.account.address, b"", 4])
        aspect = wallet.send(to=system.address, data=deploy, gas=2_000_000)["contractAddress"]
        wallet.send(
            to=system.address,
            data=system.encode_abi("bind", [Web3.to_checksum_address(aspect), 0, vault.address, 0]),
            gas=300_000,
        )
        wallet.send(to=vault.address, data=vault.encode_abi("deposit"), value=10**16)
        receipt = wallet.send(to=vault.address, data=vault.encode_abi("withdraw", [10**14]))
        assert receipt["status"] == "0x1"
        tree = wallet.ask("debug_traceTransaction", receipt["transactionHash"], {"tracer": "callTracer"})
        first = tree["calls"][0]
        assert (first["type"], first["to"], first["joinPoint"]) == ("ASPECT", aspect, "preContractCall")
        assert first["aspectVersion"] == "0x1"
        parts = wallet.ask("linklearner_gasParts", receipt["transactionHash"])
        assert int(first["gasUsed"], 16) == next(part["gas"] for part in parts if part["part"] == "aspect")
        steps = wallet.ask("debug_traceTransaction", receipt["transactionHash"])["structLogs"]
        entry = steps[0]
        assert (entry["op"], entry["to"], entry["joinPoint"]) == ("ASPECT", aspect, "preContractCall")
        # too much at once: the Aspect stops it, and the trace says where
        stopped = wallet.send(to=vault.address, data=vault.encode_abi("withdraw", [5 * 10**15]))
        assert stopped["status"] == "0x0"
        tree = wallet.ask("debug_traceTransaction", stopped["transactionHash"], {"tracer": "callTracer"})
        assert tree["calls"][0]["error"] == "execution reverted"
        assert tree["calls"][0]["revertReason"]
