"""A pool with its Aspect on an in-process devchain, driven by signed transactions; `gasUsed` is exactly what was used.

Time stands still unless `wait` moves it, and goes back with the chain when that is rewound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from eth_abi.abi import decode, encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address
from numpy.typing import NDArray

from devchain.chain.blocks import StoredReceipt
from devchain.chain.chain import EmbeddedChain
from devchain.chain.questions import CallFailed, Question
from devchain.config import ChainConfig
from linklearner import artifacts
from linklearner.chain.abi import Decoded, error_string
from linklearner.chain.contracts import POOL, TOKEN, VAULT
from linklearner.domain.digest import weight_bytes
from linklearner.domain.notation import LL_WEI
from linklearner.domain.rounds import Terms
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update

SYSTEM = bytes.fromhex("0000000000000000000000000000000000a27e14")
PRE_CONTRACT_CALL = 4
GAS = 19_000_000
BASE_FEE = 7

CREATOR = 99
"""The account that opens the tasks: nobody special."""
START = 1_800_000_000
"""Unix seconds of the first block: the start of an epoch of every `stake_seconds` used here."""
GENESIS, CAP = 10**9 * LL_WEI, 11 * 10**8 * LL_WEI
EMISSION = LL_WEI
"""Wei of $LL a second."""
POT = 10**6 * LL_WEI

TERMS = Terms(
    quorum_bps=5_000, max_updates=20, min_round_seconds=10, round_seconds=60, drop_seconds=600, stake_seconds=100,
    min_stake=1, settler_bps=500, server_bps=2_000, reward=100 * LL_WEI,
)  # fmt: skip


class Reverted(Exception):
    """A transaction failed: the contract's custom error or the Aspect's reason, by name."""

    def __init__(self, receipt: StoredReceipt) -> None:
        found = (interface.decode_error(receipt.output) for interface in (POOL, VAULT, TOKEN))
        error = next((error for error in found if error), None)
        text = error_string(receipt.output) or receipt.error or ""
        self.name = error.name if error else text.partition(":")[0]
        self.values: dict[str, Any] = error.values if error else {}
        self.text = text
        self.receipt = receipt
        super().__init__(f"{self.name} {self.values} {text}")


def account(index: int) -> LocalAccount:
    signer: LocalAccount = Account.from_key(keccak(b"test account %d" % index))
    return signer


def address_of(signer: LocalAccount) -> bytes:
    return bytes.fromhex(signer.address[2:])


def selector(signature: str) -> bytes:
    return bytes(keccak(signature.encode())[:4])


def terms_tuple(terms: Terms) -> tuple[int, ...]:
    """As the contract's struct is encoded."""
    return astuple(terms)


@dataclass
class PoolChain:
    """owner and treasury: account 0; contributors: accounts 1 and up; account CREATOR opens the tasks."""

    chain: EmbeddedChain
    pool: bytes = b""
    vault: bytes = b""
    token: bytes = b""
    aspect: bytes = b""

    @classmethod
    def begin(cls, accounts: int = 24) -> PoolChain:
        alloc = {address_of(account(index)): 10**24 for index in (*range(accounts), CREATOR)}
        config = ChainConfig(alloc=alloc, min_gas_multiplier=Fraction(0))
        return cls(EmbeddedChain(config, None, lambda: START))

    @classmethod
    def deployed(
        cls, accounts: int = 24, aspect: bytes | None = None, cap: int = CAP, emission: int = EMISSION
    ) -> PoolChain:
        """Pool, vault, token and Aspect through real transactions, bound; every contributor has 10,000 LL.

        aspect: other code than today's.
        """
        world = cls.begin(accounts)
        owner = account(0)
        world.create_pool(owner, cap, emission)
        world.aspect = world.deploy_aspect(owner, aspect)
        world.bind(owner, world.pool)  # the pool lets its owner bind until it knows its Aspect
        world.transact(owner, "setAspect", world.aspect)
        for index in range(1, accounts):
            world.send(owner, world.token, TOKEN.encode_call("transfer", account(index).address, 10_000 * LL_WEI))
        return world

    def create_pool(self, owner: LocalAccount, cap: int = CAP, emission: int = EMISSION) -> None:
        code = artifacts.contract("TrainingPool").bytecode
        room = self.create(owner, artifacts.contract("EvidenceRoom").bytecode)
        arguments = POOL.encode_constructor(owner.address, owner.address, GENESIS, cap, emission, room)
        self.pool = self.create(owner, code + arguments)
        (self.vault,) = self.read("vault").values()
        (self.token,) = self.read("token").values()

    # -- time

    @property
    def now(self) -> int:
        """Unix seconds of the newest block; the next one has the same unless somebody waits."""
        return self.chain.head.timestamp

    def wait(self, seconds: int) -> None:
        self.wait_until(self.now + seconds)

    def wait_until(self, time_s: int) -> None:
        """An empty block at that time, if it is not over."""
        if time_s > self.now:
            self.chain.set_next_timestamp(time_s)
            self.chain.mine()

    # -- transactions

    def send(
        self, signer: LocalAccount, to: bytes | None, data: bytes, *, value: int = 0, gas: int = GAS
    ) -> StoredReceipt:
        """One transaction in a block of its own. Raises Reverted."""
        receipt = self.try_send(signer, to, data, value=value, gas=gas)
        if receipt.status != 1:
            raise Reverted(receipt)
        return receipt

    def try_send(
        self, signer: LocalAccount, to: bytes | None, data: bytes, *, value: int = 0, gas: int = GAS
    ) -> StoredReceipt:
        sender = address_of(signer)
        fields: dict[str, Any] = {
            "nonce": self.chain.pending_nonce(sender),
            "gas": gas,
            "gasPrice": max(BASE_FEE, self.chain.next_base_fee()),
            "value": value,
            "data": data,
            "chainId": self.chain.config.chain_id,
        }
        if to is not None:
            fields["to"] = to_checksum_address(to)
        signed = signer.sign_transaction(fields)
        self.chain.submit(bytes(signed.raw_transaction))
        block = self.chain.mine()
        (receipt,) = block.receipts
        return receipt

    def create(self, signer: LocalAccount, code: bytes) -> bytes:
        receipt = self.send(signer, None, code)
        assert receipt.contract_address is not None
        return receipt.contract_address

    def transact(self, signer: LocalAccount, function: str, *arguments: Any, gas: int = GAS) -> StoredReceipt:
        """A transaction to the pool."""
        return self.send(signer, self.pool, POOL.encode_call(function, *arguments), gas=gas)

    def transact_vault(self, signer: LocalAccount, function: str, *arguments: Any) -> StoredReceipt:
        """A transaction to the vault."""
        return self.send(signer, self.vault, VAULT.encode_call(function, *arguments))

    def deploy_aspect(self, signer: LocalAccount, code: bytes | None = None, owner: bytes = bytes(20)) -> bytes:
        """owner: who may upgrade it; nobody."""
        data = selector("deploy(bytes,bytes,(string,bytes)[],address,bytes,uint256)") + encode(
            ["bytes", "bytes", "(string,bytes)[]", "address", "bytes", "uint256"],
            [
                artifacts.aspect("aggregator") if code is None else code,
                b"",
                [("owner", owner), ("pool", self.pool), ("vault", self.vault)],
                signer.address,
                b"",
                PRE_CONTRACT_CALL,
            ],
        )
        receipt = self.send(signer, SYSTEM, data)
        assert receipt.contract_address is not None
        return receipt.contract_address

    def bind(self, signer: LocalAccount, contract: bytes) -> StoredReceipt:
        data = selector("bind(address,uint256,address,int8)") + encode(
            ["address", "uint256", "address", "int8"], [self.aspect, 0, contract, 0]
        )
        return self.send(signer, SYSTEM, data)

    def open_task(
        self,
        shape: Shape,
        weights: NDArray[np.int16],
        stakes: Sequence[int],
        terms: Terms = TERMS,
        model: str = "{}",
        pages_per_call: int = 1024,
        pot: int = POT,
    ) -> int:
        """Opens a task and fills its pot; contributor i locks stakes[i] units meanwhile, so that they count in round 1."""
        creator = account(CREATOR)
        task = self.number("nextTask")
        self.transact(creator, "openTask", task, shape.encode(), model, terms_tuple(terms))
        for index, units in enumerate(stakes):
            if units:
                self.transact_vault(account(index + 1), "lock", task, units)
        if pot:
            self.transact(account(0), "fund", task, pot)
        for first in range(0, shape.page_count, pages_per_call):
            last = min(first + pages_per_call, shape.page_count)
            part = weights[first * shape.page_length : last * shape.page_length]
            self.transact(creator, "loadPages", task, first, weight_bytes(part))
        return task

    def submit(self, contributor: int, update: Update, shape: Shape) -> StoredReceipt:
        return self.send(account(contributor), self.pool, self.submission(update, shape))

    @staticmethod
    def submission(update: Update, shape: Shape) -> bytes:
        """Calldata of a submit."""
        return POOL.encode_call(
            "submit", update.task, update.digest(shape), update.header(shape), list(update.groups(shape))
        )

    def settlements(self, task: int, group: int, shape: Shape, updates: dict[bytes, Update]) -> list[tuple[Any, ...]]:
        """The round's accepted updates as settle wants them, from the events since the round opened."""
        round_number = self.status(task)["round"]
        found = []
        for event in self.events():
            if event.name == "UpdateAccepted" and (event.values["task"], event.values["round"]) == (task, round_number):
                update = updates[event.values["digest"]]
                groups = update.groups(shape)
                found.append(
                    (
                        event.values["contributor"],
                        event.values["weight"],
                        event.values["effective"],
                        update.header(shape),
                        [keccak(part) for part in groups],
                        groups[group],
                    )
                )
        return found

    # -- reading

    def ask(self, to: bytes, data: bytes, sender: bytes = bytes(20)) -> bytes:
        return self.chain.call(Question(sender=sender, to=to, data=data), self.chain.head.number)

    def read(self, function: str, *arguments: Any) -> dict[str, Any]:
        """A view of the pool."""
        return POOL.decode_result(function, self.ask(self.pool, POOL.encode_call(function, *arguments)))

    def number(self, function: str, *arguments: Any) -> int:
        (value,) = self.read(function, *arguments).values()
        return int(value)

    def status(self, task: int) -> dict[str, Any]:
        (value,) = self.read("taskOf", task).values()
        return dict(value)

    def read_vault(self, function: str, *arguments: Any) -> dict[str, Any]:
        """A view of the vault."""
        return VAULT.decode_result(function, self.ask(self.vault, VAULT.encode_call(function, *arguments)))

    def read_token(self, function: str, *arguments: Any) -> int:
        (value,) = TOKEN.decode_result(function, self.ask(self.token, TOKEN.encode_call(function, *arguments))).values()
        return int(value)

    def balance(self, who: bytes) -> int:
        return self.read_token("balanceOf", "0x" + who.hex())

    def supply(self) -> int:
        return self.read_token("totalSupply")

    def earned(self, task: int, contributor: int) -> int:
        """All that the account has earned by updates in the task, claimed or not, wei."""
        return self.number("earnedBy", task, account(contributor).address)

    def operation(self, question: bytes) -> bytes:
        """What the Aspect answers. Raises CallFailed."""
        data = selector("entrypoint(address,bytes)") + encode(["address", "bytes"], [self.aspect, question])
        return bytes(decode(["bytes"], self.ask(SYSTEM, data))[0])

    def weights(self, task: int, shape: Shape) -> NDArray[np.int16]:
        question = b"\2" + task.to_bytes(8, "big") + bytes(4) + shape.page_count.to_bytes(4, "big")
        return np.frombuffer(self.operation(question)[12:], "<i2").astype(np.int16)

    def page_digests(self, task: int, shape: Shape) -> tuple[bytes, ...]:
        question = b"\3" + task.to_bytes(8, "big") + bytes(4) + shape.page_count.to_bytes(4, "big")
        answer = self.operation(question)[12:]
        return tuple(answer[i : i + 32] for i in range(0, len(answer), 32))

    def events(self, receipt: StoredReceipt | None = None) -> list[Decoded]:
        """The pool's and the vault's events, of one receipt or of all blocks."""
        if receipt is None:
            numbers = range(1, self.chain.head.number + 1)
            receipts = [one for number in numbers for one in self.chain.store.receipts(number)]
        else:
            receipts = [receipt]
        decoded = []
        for one in receipts:
            for log in one.logs:
                if log.address in (self.pool, self.vault):
                    interface = POOL if log.address == self.pool else VAULT
                    event = interface.decode_log(log.topics, log.data)
                    assert event is not None
                    decoded.append(event)
        return decoded


__all__ = [
    "CREATOR",
    "GAS",
    "POOL",
    "POT",
    "SYSTEM",
    "TERMS",
    "TOKEN",
    "VAULT",
    "CallFailed",
    "PoolChain",
    "Reverted",
    "account",
    "address_of",
    "selector",
    "terms_tuple",
]
