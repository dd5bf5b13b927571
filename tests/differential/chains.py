"""Two chains that get the same transactions and must give the same receipts."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpx
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3

from linklearner import artifacts

CHAIN_ID: Final = 11820
BLOCK_GAS_LIMIT: Final = 20_000_000
WEALTH: Final = 1000 * 10**18
PRICE: Final = 10**9


@cache
def keys() -> tuple[LocalAccount, ...]:
    """Three accounts; keys of play money, the same on every run so that addresses are too."""
    return tuple(Account.from_key(bytes([number]) * 32) for number in (1, 2, 3))


@cache
def init_bytes() -> list[int]:
    """Lengths of the init codes with which the pool's constructor creates its vault and its token: code and arguments."""
    made = [artifacts.contract(name) for name in ("StakeVault", "LinkLearnerToken")]
    arguments = [next(entry["inputs"] for entry in one.abi if entry["type"] == "constructor") for one in made]
    return [len(one.bytecode) + 32 * len(inputs) for one, inputs in zip(made, arguments, strict=True)]


class RpcFailed(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message"))
        self.data = error.get("data")


class Chain:
    """JSON-RPC without a library in between."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)
        self._identifiers = itertools.count(1)

    def ask(self, method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": next(self._identifiers), "method": method, "params": params}
        answer = self._http.post("/", json=request).json()
        if "error" in answer:
            raise RpcFailed(answer["error"])
        return answer["result"]

    def receipt(self, transaction_hash: str) -> dict[str, Any]:
        """anvil answers a transaction before its block is there."""
        deadline = time.monotonic() + 10
        while (found := self.ask("eth_getTransactionReceipt", transaction_hash)) is None:
            assert time.monotonic() < deadline, "no receipt within 10 s"
            time.sleep(0.001)
        answer: dict[str, Any] = found
        return answer

    def close(self) -> None:
        self._http.close()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What both chains must agree upon, and nothing else (hashes of blocks are each chain's own)."""

    status: int
    gas_used: int
    contract: str | None
    logs: tuple[tuple[str, tuple[str, ...], str], ...]


class Pair:
    def __init__(self, devchain_url: str, anvil_url: str) -> None:
        self.devchain = Chain(devchain_url)
        self.anvil = Chain(anvil_url)
        self._clock = itertools.count(2_000_000_000, 12)
        self._nonces: dict[str, int] = {}
        self._surcharges: dict[str, int] = {}
        """wei that accounts paid on anvil only, for words of init code."""

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self.devchain.close()
        self.anvil.close()

    def send(self, account: LocalAccount, **fields: Any) -> tuple[Receipt, Receipt]:
        """The same signed transaction to both, in a block of the same number and time; (devchain's, anvil's) receipt."""
        nonce = self._nonces.get(account.address, 0)
        self._nonces[account.address] = nonce + 1
        price = {} if "maxFeePerGas" in fields else {"gasPrice": PRICE}
        transaction = {"nonce": nonce, "gas": 5_000_000, "value": 0, "chainId": CHAIN_ID} | price | fields
        raw = account.sign_transaction(transaction).raw_transaction.to_0x_hex()
        timestamp = next(self._clock)
        return self._land(self.devchain, raw, timestamp), self._land(self.anvil, raw, timestamp)

    def _land(self, chain: Chain, raw: str, timestamp: int) -> Receipt:
        chain.ask("evm_setNextBlockTimestamp", timestamp if chain is self.anvil else hex(timestamp))
        receipt = chain.receipt(chain.ask("eth_sendRawTransaction", raw))
        contract_address = receipt["contractAddress"]
        return Receipt(
            status=int(receipt["status"], 16),
            gas_used=int(receipt["gasUsed"], 16),
            contract=None if contract_address is None else contract_address.lower(),
            logs=tuple((log["address"].lower(), tuple(log["topics"]), log["data"]) for log in receipt["logs"]),
        )

    def same(self, account: LocalAccount, **fields: Any) -> Receipt:
        """`send`, and the receipts are equal."""
        ours, theirs = self.send(account, **fields)
        assert ours == theirs
        return ours

    def create(self, account: LocalAccount, code: bytes, inner_code_bytes: tuple[int, ...] = ()) -> str:
        """Create a contract on both. Anvil charges 2 gas per word of init code (EIP-3860), Artela does not; also for the
        contracts that the constructor creates, whose init code has `inner_code_bytes`."""
        ours, theirs = self.send(account, data=code, gas=15_000_000)
        words = sum((size + 31) // 32 for size in (len(code), *inner_code_bytes))
        assert (ours.status, ours.contract, ours.logs) == (1, theirs.contract, theirs.logs)
        assert theirs.gas_used - ours.gas_used == 2 * words
        self._surcharges[account.address] = self._surcharges.get(account.address, 0) + 2 * words * PRICE
        assert ours.contract is not None
        return Web3.to_checksum_address(ours.contract)

    def call(self, sender: LocalAccount, to: str, data: str) -> str:
        """`eth_call` on both: the same result, or the same revert data (RpcFailed)."""
        request = {"from": sender.address, "to": to, "data": data}
        answers: list[tuple[str, str]] = []
        for chain in (self.devchain, self.anvil):
            try:
                answers.append(("result", chain.ask("eth_call", request, "latest")))
            except RpcFailed as failed:
                answers.append(("reverted", failed.data))
        assert answers[0] == answers[1]
        kind, data = answers[0]
        if kind == "reverted":
            raise RpcFailed({"data": data})
        return data

    def assert_same_state(self, addresses: tuple[str, ...], slots: tuple[int, ...] = tuple(range(24))) -> None:
        """Balance, nonce, code and the first storage slots of each address."""
        for address in addresses:
            ours, theirs = (
                int(chain.ask("eth_getBalance", address, "latest"), 16) for chain in (self.devchain, self.anvil)
            )
            assert ours - theirs == self._surcharges.get(address, 0)
            for method in ("eth_getTransactionCount", "eth_getCode"):
                answers = [chain.ask(method, address, "latest") for chain in (self.devchain, self.anvil)]
                assert answers[0] == answers[1], (method, address)
            for slot in slots:
                answers = [
                    chain.ask("eth_getStorageAt", address, hex(slot), "latest") for chain in (self.devchain, self.anvil)
                ]
                assert answers[0] == answers[1], (address, slot)
