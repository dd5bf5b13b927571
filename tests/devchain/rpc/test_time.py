"""What takes long ends, and holds up nobody else."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from eth_account import Account
from web3 import Web3

from devchain import Devchain
from devchain.chain import chain as module
from devchain.chain import questions
from devchain.config import ChainConfig, InvalidChainConfig
from devchain.watch import TimeUp
from tests.devchain.wallet import COUNTER, Wallet, initcode

FOR_EVER = bytes.fromhex("5b600056")
"""JUMPDEST PUSH1 0 JUMP"""
BLAKE = bytes.fromhex("3660006000376000600060d5600060095afa00")
"""STATICCALL of blake2F with the calldata."""
PRECOMPILE_ROUNDS = (2**32 - 1).to_bytes(4, "big") + bytes(208) + b"\x01"


def wallet_of(devchain: Devchain) -> Wallet:
    return Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))


def test_a_question_ends_at_its_deadline_in_defined_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devchain.chain.chain.QUESTION_SECONDS", 0.0)
    with Devchain.running() as devchain:
        wallet = wallet_of(devchain)
        contract = wallet.deploy(FOR_EVER)
        call = {"to": contract, "data": "0x00"}
        for method, prefix in (("eth_call", "Internal"), ("eth_estimateGas", "Unknown")):
            error = wallet.raw(method, call, "latest")["error"]
            text = f"rpc error: code = {prefix} desc = execution aborted (timeout = 5s)"
            assert error == {"code": -32000, "message": text}
        assert (
            wallet.raw("eth_createAccessList", call, "latest")["error"]["message"] == "execution aborted (timeout = 5s)"
        )
        assert wallet.raw("debug_traceCall", call, "latest")["error"]["message"] == "execution timeout"
    assert questions.QUESTION_SECONDS == 5.0, "the node's"


def test_blocks_are_made_while_a_question_runs() -> None:
    """A question that could run for a minute and a half is under way; a transaction lands, and another question is answered."""
    with Devchain.running() as devchain:
        wallet, other = wallet_of(devchain), Wallet(devchain.url, Account.from_key(devchain.accounts[1].key))
        contract = wallet.deploy(FOR_EVER)
        answers: list[dict[str, object]] = []
        asking = threading.Thread(
            target=lambda: answers.append(
                other.raw("eth_call", {"to": contract, "data": "0x00", "gas": "0x17d7840"}, "latest")
            )
        )
        asking.start()
        time.sleep(0.3)  # it is on its way; were it done already, nothing below would be wrong
        receipt = wallet.send(to=wallet.account.address)
        assert receipt["status"] == "0x1"
        assert wallet.ask("eth_call", {"to": wallet.account.address}, "latest") == "0x"
        asking.join()
        assert "error" in answers[0]


def test_a_transaction_that_takes_too_long_fails_pays_its_limit_and_stays_so_after_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "chain.sqlite"
    # nothing is done in no time
    config = ChainConfig(transaction_seconds=1e-9)
    with Devchain.running(state=state) as devchain:
        wallet = wallet_of(devchain)
        contract = wallet.deploy(FOR_EVER)
        counter = wallet.deploy(COUNTER)
    with Devchain.running(state=state, config=config) as devchain:
        wallet = wallet_of(devchain)
        receipt = wallet.send(to=contract, gas=150_000)
        assert (receipt["status"], receipt["gasUsed"], receipt["logs"]) == ("0x0", hex(150_000), [])
        assert wallet.ask("linklearner_gasParts", receipt["transactionHash"]) == [{"part": "time", "gas": 150_000}]
        assert wallet.ask("eth_getTransactionCount", wallet.account.address, "latest") == "0x3"
        refused = wallet.raw("debug_traceTransaction", receipt["transactionHash"])["error"]["message"]
        assert refused.startswith("execution took too long")
        head = wallet.ask("eth_getBlockByNumber", "latest", True)
        balance = wallet.ask("eth_getBalance", wallet.account.address, "latest")
    with Devchain.running(state=state) as devchain:
        wallet = wallet_of(devchain)
        assert wallet.ask("eth_getBlockByNumber", "latest", True) == head
        assert wallet.ask("eth_getBalance", wallet.account.address, "latest") == balance
        assert wallet.ask("eth_getTransactionReceipt", receipt["transactionHash"]) == receipt
        assert wallet.send(to=counter)["status"] == "0x1"


def test_one_that_is_ended_leaves_those_beside_it_in_the_block_alone_and_they_can_be_traced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Devchain.running(mining="manual") as devchain:
        wallet, other = wallet_of(devchain), Wallet(devchain.url, Account.from_key(devchain.accounts[1].key))
        for code in (FOR_EVER, COUNTER):
            wallet.ask("eth_sendRawTransaction", wallet.sign(data=initcode(code)))
        wallet.ask("evm_mine")
        made = [receipt["contractAddress"] for receipt in wallet.ask("eth_getBlockReceipts", "latest")]
        long = other.ask("eth_sendRawTransaction", other.sign(to=Web3.to_checksum_address(made[0])))
        short = wallet.ask("eth_sendRawTransaction", wallet.sign(to=Web3.to_checksum_address(made[1])))
        honest = module.run_transaction

        def slow(world, runtime, transaction, *rest):  # type: ignore[no-untyped-def]
            if "0x" + transaction.hash.hex() == long:
                raise TimeUp
            return honest(world, runtime, transaction, *rest)

        monkeypatch.setattr(module, "run_transaction", slow)
        wallet.ask("evm_mine")
        receipts = {r["transactionHash"]: r for r in wallet.ask("eth_getBlockReceipts", "latest")}
        assert (receipts[long]["status"], receipts[short]["status"]) == ("0x0", "0x1")
        tree = wallet.ask("debug_traceTransaction", short, {"tracer": "callTracer"})
        assert tree["output"] == "0x" + (1).to_bytes(32, "big").hex()
        assert tree["gasUsed"] == receipts[short]["gasUsed"]


def test_rounds_beyond_any_gas_are_not_run_and_rounds_within_it_are_fast_enough_to_end_by_gas() -> None:
    with Devchain.running() as devchain:
        wallet = wallet_of(devchain)
        contract = wallet.deploy(BLAKE)
        receipt = wallet.send(to=contract, data="0x" + PRECOMPILE_ROUNDS.hex(), gas=20_000_000)
        assert receipt["status"] == "0x1", "the inner call failed for its gas, the contract went on"
        affordable = (19_000_000).to_bytes(4, "big") + PRECOMPILE_ROUNDS[4:]
        receipt = wallet.send(to=contract, data="0x" + affordable.hex(), gas=20_000_000)
        assert int(receipt["gasUsed"], 16) > 19_000_000
        assert receipt["status"] == "0x1"


@pytest.mark.parametrize("seconds", [0, -1, 3601, float("nan")])
def test_the_limit_is_a_sensible_number(seconds: float) -> None:
    with pytest.raises(InvalidChainConfig, match="transaction_seconds"):
        ChainConfig(transaction_seconds=seconds)
