"""The outsider's example does what its text says, in processes of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from web3 import Web3
from web3.exceptions import ContractLogicError, Web3RPCError

from bench.process import DevchainProcess
from devchain import Devchain
from devchain.accounts import key_file

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "aspect"
FINNEY = 10**15
SYSTEM = "0x0000000000000000000000000000000000A27E14"


@pytest.mark.parametrize("strictness", [(), ("--strict-rpc",)], ids=["wallet-friendly", "strict"])
def test_the_script_deploys_binds_and_is_stopped(tmp_path: Path, strictness: tuple[str, ...]) -> None:
    with DevchainProcess(tmp_path / "chain.sqlite", *strictness) as devchain:
        command = [sys.executable, str(EXAMPLE / "run.py"), devchain.url, str(key_file(devchain.state))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "withdrawn: True",
        "may still leave: 250000000000000 wei",
        "stopped: execution reverted: breaker: 500000000000000 wei now and 750000000000000 before "
        "are above the limit of 1000000000000000",
    ]


def test_the_script_is_as_short_as_the_readme_says() -> None:
    lines = (EXAMPLE / "run.py").read_text().splitlines()
    statements = [line for line in lines if line and not line.startswith(("import ", "from ", '"""'))]
    assert len(statements) <= 30


@pytest.mark.skipif(
    shutil.which("node") is None or not (ROOT / "tools/node_modules").exists(), reason="needs tools/'s compilers"
)
def test_the_committed_build_is_what_the_sources_give(tmp_path: Path) -> None:
    subprocess.run(["node", str(EXAMPLE / "build.mjs"), str(tmp_path)], check=True, timeout=120, capture_output=True)
    for name in ("breaker.wasm", "vault.json"):
        assert (tmp_path / name).read_bytes() == (EXAMPLE / name).read_bytes(), f"{name}: run build.mjs"


class Bank:
    """A vault with its breaker, on a devchain in this process."""

    def __init__(self, devchain: Devchain) -> None:
        self.web3 = Web3(Web3.HTTPProvider(devchain.url))
        self.owner, self.stranger = (Account.from_key(account.key) for account in devchain.accounts[:2])
        self.artela = self.web3.eth.contract(SYSTEM, abi=json.loads((EXAMPLE / "system_contract.json").read_text()))
        vault = self.web3.eth.contract(**json.loads((EXAMPLE / "vault.json").read_text()))
        self.vault = self.web3.eth.contract(self.send(vault.constructor())["contractAddress"], abi=vault.abi)

    def send(self, call: Any, sender: Any = None, **fields: Any) -> Any:
        sender = sender or self.owner
        nonce = self.web3.eth.get_transaction_count(sender.address)
        base = {"from": sender.address, "nonce": nonce, "gas": 3_000_000, "gasPrice": 10**9}
        signed = sender.sign_transaction(call.build_transaction(base | fields))
        return self.web3.eth.wait_for_transaction_receipt(self.web3.eth.send_raw_transaction(signed.raw_transaction))

    def deploy(self, limit: int = FINNEY, window: int = 100) -> Any:
        settings = {
            "owner": bytes.fromhex(self.owner.address[2:]),
            "limit": limit.to_bytes(8, "big"),
            "window": window.to_bytes(8, "big"),
        }
        code = (EXAMPLE / "breaker.wasm").read_bytes()
        return self.send(self.artela.functions.deploy(code, b"", list(settings.items()), self.owner.address, b"", 4))

    def bind(self, aspect: str, sender: Any = None) -> int:
        return int(self.send(self.artela.functions.bind(aspect, 0, self.vault.address, 0), sender)["status"])

    def withdraw(self, amount: int) -> int:
        return int(self.send(self.vault.functions.withdraw(amount))["status"])

    def left(self, aspect: str) -> int:
        answer = self.artela.functions.entrypoint(aspect, bytes.fromhex(self.vault.address[2:])).call()
        return int.from_bytes(answer, "big")


@pytest.fixture
def bank() -> Iterator[Bank]:
    with Devchain.running() as devchain:
        yield Bank(devchain)


def test_the_limit_holds_to_the_wei_and_comes_back_with_the_next_window(bank: Bank) -> None:
    aspect = bank.deploy(window=20)["contractAddress"]
    assert bank.bind(aspect) == 1
    bank.send(bank.vault.functions.deposit(), value=10 * FINNEY)
    # begin with a fresh window, so that the next transactions share it
    while bank.web3.eth.block_number % 20 != 19:
        bank.web3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]
    assert bank.withdraw(FINNEY + 1) == 0
    assert bank.withdraw(FINNEY - 5) == 1
    assert (bank.left(aspect), bank.withdraw(6), bank.withdraw(5), bank.withdraw(1)) == (5, 0, 1, 0)
    for _ in range(20):
        bank.web3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]
    assert (bank.left(aspect), bank.withdraw(FINNEY)) == (FINNEY, 1)


def test_only_the_owners_may_bind_and_upgrade_and_a_wrong_window_is_refused_at_deploy(bank: Bank) -> None:
    aspect = bank.deploy()["contractAddress"]
    assert bank.bind(aspect, bank.stranger) == 0
    code = (EXAMPLE / "breaker.wasm").read_bytes()
    upgrade = bank.artela.functions.upgrade(aspect, code, [("limit", (7).to_bytes(8, "big"))], 4)
    assert bank.send(upgrade, bank.stranger)["status"] == 0
    assert bank.send(upgrade)["status"] == 1
    assert bank.artela.functions.versionOf(aspect).call() == 2
    assert bank.bind(aspect) == 1
    assert bank.artela.functions.aspectsOf(bank.vault.address).call() == [(aspect, 2, 0)]
    assert bank.artela.functions.boundAddressesOf(aspect).call() == [bank.vault.address]
    assert bank.left(aspect) == 7
    assert bank.deploy(window=0)["status"] == 0


def test_a_client_reads_why_it_was_stopped(bank: Bank) -> None:
    aspect = bank.deploy()["contractAddress"]
    bank.bind(aspect)
    with pytest.raises(ContractLogicError, match="breaker: 2000000000000000 wei now and 0 before are above the limit"):
        bank.vault.functions.withdraw(2 * FINNEY).call({"from": bank.owner.address})
    with pytest.raises((ContractLogicError, Web3RPCError), match="breaker: ask with the address of a vault"):
        bank.artela.functions.entrypoint(aspect, b"").call()
