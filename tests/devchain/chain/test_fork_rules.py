"""`--fork-rules`: what the node's EVM does differently from Ethereum's, and that the other setting is Ethereum's."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest
from eth_account import Account

from devchain.__main__ import arguments
from devchain.chain.chain import EmbeddedChain
from devchain.chain.evm import Evm
from devchain.chain.transactions import TransactionRefused, intrinsic_gas
from devchain.config import ChainConfig, ForkRules
from devchain.server import ChainThread
from tests.devchain.wallet import initcode

ME = Account.from_key(b"\x01" * 32)


class Ethereum:
    """A chain with the rules, and one account."""

    def __init__(self, rules: ForkRules) -> None:
        alloc = {bytes.fromhex(ME.address[2:]): 10**24}
        self.chain = EmbeddedChain(ChainConfig(alloc=alloc, fork_rules=rules), None, lambda: 1_700_000_000.0)

    def send(self, to: bytes | None, data: bytes = b"", gas: int = 10_000_000) -> Any:
        nonce = self.chain.pending_nonce(bytes.fromhex(ME.address[2:]))
        fields: dict[str, Any] = {
            "nonce": nonce,
            "gas": gas,
            "gasPrice": 10**9,
            "data": data,
            "value": 0,
            "chainId": 7105636,
        }
        if to is not None:
            fields["to"] = to
        self.chain.submit(bytes(ME.sign_transaction(fields).raw_transaction))
        receipts = self.chain.mine().receipts
        return receipts[0] if receipts else None

    def returned(self, code: str) -> int | None:
        """What code leaves on the stack."""
        contract = self.send(None, initcode(bytes.fromhex(code + "5f5260205ff3"))).contract_address
        receipt = self.send(contract)
        return None if receipt is None or not receipt.status else int.from_bytes(receipt.output, "big")

    def code(self, address: bytes) -> bytes:
        return self.chain.world_at(self.chain.head.number).get_code(address)


@pytest.fixture(params=list(ForkRules))
def both(request: pytest.FixtureRequest) -> tuple[bool, Ethereum]:
    """(whether these are the node's rules, a chain with them)."""
    return request.param is ForkRules.ARTELA, Ethereum(request.param)


def test_each_rule_that_differs(both: tuple[bool, Ethereum]) -> None:
    artela, chain = both
    assert chain.returned("44") == (None if artela else 0), "PREVRANDAO"
    assert chain.returned("5f49") == (None if artela else 0), "BLOBHASH"
    assert chain.returned("4a") == (None if artela else 1), "BLOBBASEFEE"
    # a call with data to 0x64 costs 5,000 on the node; elsewhere nobody is there
    price = chain.returned("5a5f5f60145f5f60646175305af1505a9003")
    assert (price is not None and (price > 5000) is artela) or not artela
    # 0x0a without its 192 bytes fails where it exists
    assert chain.returned("5f5f5f5f5f600a620186a0f1") == (1 if artela else 0)


def test_the_coinbase_is_warm_on_ethereum_only(both: tuple[bool, Ethereum]) -> None:
    artela, chain = both
    # GAS, COINBASE, BALANCE, POP, GAS; the difference is on top
    used = chain.returned("5a4131505a9003")
    assert used is not None
    assert (used > 2600) is artela


@pytest.mark.parametrize("size", [0, 1, 32, 33, 1000])
def test_init_code_costs_two_a_word_on_ethereum_only(both: tuple[bool, Ethereum], size: int) -> None:
    artela, chain = both
    receipt = chain.send(None, b"\0" * size, gas=100_000)
    words = (size + 31) // 32
    assert receipt.parts[0].gas == 53_000 + 4 * size + (0 if artela else 2 * words)


@pytest.mark.parametrize("size", [49_152, 49_153])
def test_init_code_is_limited_on_ethereum_only(both: tuple[bool, Ethereum], size: int) -> None:
    artela, chain = both
    if artela or size == 49_152:
        assert chain.send(None, bytes(size)).status == 1
    else:
        with pytest.raises(TransactionRefused, match="max initcode size exceeded: code size 49153 limit 49152"):
            chain.send(None, bytes(size))


def test_selfdestruct_deletes_old_contracts_on_the_node_and_only_new_ones_on_ethereum(
    both: tuple[bool, Ethereum],
) -> None:
    artela, chain = both
    old = chain.send(None, initcode(bytes.fromhex("5fff"))).contract_address
    assert chain.send(old).status == 1
    assert (chain.code(old) == b"") is artela
    # creates a contract from the init code `SELFDESTRUCT(0)` and keeps its address in slot 0
    maker = chain.send(None, initcode(bytes.fromhex("615fff5f526002601e5ff05f5500"))).contract_address
    assert chain.send(maker).status == 1
    world = chain.chain.world_at(chain.chain.head.number)
    born = world.get_storage(maker, 0).to_bytes(32, "big")[12:]
    assert any(born) and not world.account_exists(born)


def test_the_switch_takes_the_two_names() -> None:
    assert arguments([]).fork_rules is ForkRules.ARTELA
    assert arguments(["--fork-rules", "cancun"]).fork_rules is ForkRules.CANCUN
    with pytest.raises(SystemExit):
        arguments(["--fork-rules", "london"])


def test_cancun_is_cancun_for_any_program(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyrevm", reason="pyrevm has no wheel for this platform")
    from tests.differential import machines
    from tests.differential.programs import program

    monkeypatch.setattr(machines, "Evm", partial(Evm, rules=ForkRules.CANCUN))
    monkeypatch.setattr(machines, "intrinsic_gas", partial(intrinsic_gas, rules=ForkRules.CANCUN))
    thread, statuses = ChainThread(), Counter[str]()

    def compare(seed: int) -> None:
        candidate = program(seed, frozenset())
        try:
            ours, places = machines.on_devchain(candidate)
        except machines.NotEvenBegun:
            return
        theirs = machines.on_revm(candidate, "Cancun", places)
        assert ours == theirs, f"seed {seed}: {ours.differences(theirs)}\n{candidate}"
        statuses[ours.status] += 1

    try:
        for seed in range(300):
            thread.run_blocking(compare, seed)
    finally:
        thread.stop()
    assert min(statuses[status] for status in ("success", "revert", "halt")) > 10
