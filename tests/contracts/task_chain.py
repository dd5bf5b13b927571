"""Pool, vault, token and Aspect on an in-process devchain whose clock the test holds, and whole rounds of tasks of anyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from fractions import Fraction
from types import MappingProxyType
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
from devchain.chain.questions import Question
from devchain.config import ChainConfig
from linklearner import artifacts
from linklearner.chain.abi import Interface, error_string
from linklearner.chain.answers import Log
from linklearner.chain.contracts import COMPLETED, POOL, TOKEN, VAULT, completed, decode_event
from linklearner.domain.addresses import token_of, vault_of
from linklearner.domain.digest import model_digest, weight_bytes
from linklearner.domain.encodings import TWO_BITS, Encoding
from linklearner.domain.events import Event
from linklearner.domain.notation import LL_WEI
from linklearner.domain.replay import Emission, Replay
from linklearner.domain.rounds import Terms
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update

SYSTEM = bytes.fromhex("0000000000000000000000000000000000a27e14")
PRE_CONTRACT_CALL = 4
GAS = 20_000_000
PEOPLE = 9
BEGIN_S = 1_800_000_000
GENESIS = 10**6 * LL_WEI
CAP = 2 * GENESIS
PER_SECOND = LL_WEI
TERMS = Terms(
    quorum_bps=6_667,
    max_updates=20,
    min_round_seconds=10,
    round_seconds=60,
    drop_seconds=600,
    stake_seconds=100,
    min_stake=1,
    settler_bps=500,
    server_bps=2_000,
    reward=100 * LL_WEI,
)


class Reverted(Exception):
    """A transaction failed: the contract's custom error or the Aspect's reason, by name."""

    def __init__(self, receipt: StoredReceipt) -> None:
        errors = (one.decode_error(receipt.output) for one in (POOL, VAULT, TOKEN))
        error = next((one for one in errors if one), None)
        text = error_string(receipt.output) or receipt.error or ""
        self.name = error.name if error else text.partition(":")[0]
        super().__init__(f"{self.name} {error.values if error else ''} {text}")


def account(index: int) -> LocalAccount:
    signer: LocalAccount = Account.from_key(keccak(b"test account %d" % index))
    return signer


def address_of(index: int) -> bytes:
    return bytes.fromhex(account(index).address[2:])


def selector(signature: str) -> bytes:
    return bytes(keccak(signature.encode())[:4])


def some_weights(shape: Shape, seed: int = 1) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1000, 1000, shape.weight_count).astype(np.int16)


def some_update(
    shape: Shape,
    task: int,
    base_version: int,
    seed: int,
    encoding: Encoding = TWO_BITS,
    pages: Sequence[int] | None = None,
    shift: int = 3,
) -> Update:
    """A dense update, or one with just these pages."""
    generator = np.random.default_rng(seed)
    present = range(shape.page_count) if pages is None else pages
    touched = {tensor for page in present for tensor, _, _ in shape.segments(page)}
    shifts = tuple(shift if tensor in touched else 0 for tensor in range(len(shape.tensors)))
    values = np.array(encoding.values, dtype=np.int8)
    parts = tuple(
        (page, chosen if chosen.any() else chosen + values[-1])  # a page of zeros is no page
        for page in present
        for chosen in (generator.choice(values, shape.page_weights(page)),)
    )
    return Update(task, base_version, encoding, shifts, parts)


@dataclass
class Clock:
    """Unix seconds; only the test moves it."""

    now_s: int = BEGIN_S

    def __call__(self) -> float:
        return self.now_s


@dataclass
class TaskChain:
    """owner and treasury: account 0; everybody else: accounts 1 and up, each with 10,000 $LL."""

    chain: EmbeddedChain
    clock: Clock
    pool: bytes = b""
    aspect: bytes = b""
    sent: dict[int, list[tuple[bytes, Update]]] = field(default_factory=dict)
    """The accepted updates of each task's open round."""

    @classmethod
    def deployed(cls, accounts: int = PEOPLE) -> TaskChain:
        alloc = {address_of(index): 10**24 for index in range(accounts)}
        config = ChainConfig(alloc=alloc, min_gas_multiplier=Fraction(0))
        clock = Clock()
        world = cls(EmbeddedChain(config, None, clock), clock)
        owner = account(0).address
        room = world.send(0, None, artifacts.contract("EvidenceRoom").bytecode).contract_address
        arguments = POOL.encode_constructor(owner, owner, GENESIS, CAP, PER_SECOND, room)
        created = world.send(0, None, artifacts.contract("TrainingPool").bytecode + arguments)
        assert created.contract_address is not None
        world.pool = created.contract_address
        properties = [("pool", world.pool), ("vault", world.vault), ("owner", bytes(20))]
        deployed = world.send(
            0,
            SYSTEM,
            selector("deploy(bytes,bytes,(string,bytes)[],address,bytes,uint256)")
            + encode(
                ["bytes", "bytes", "(string,bytes)[]", "address", "bytes", "uint256"],
                [artifacts.aspect("aggregator"), b"", properties, owner, b"", PRE_CONTRACT_CALL],
            ),
        )
        assert deployed.contract_address is not None
        world.aspect = deployed.contract_address
        bind = selector("bind(address,uint256,address,int8)")
        world.send(
            0, SYSTEM, bind + encode(["address", "uint256", "address", "int8"], [world.aspect, 0, world.pool, 0])
        )
        world.call(0, POOL, "setAspect", world.aspect)
        for index in range(1, accounts):
            world.call(0, TOKEN, "transfer", address_of(index), 10_000 * LL_WEI)
        return world

    @property
    def vault(self) -> bytes:
        return vault_of(self.pool)

    @property
    def token(self) -> bytes:
        return token_of(self.pool)

    def _address(self, interface: Interface) -> bytes:
        return self.pool if interface is POOL else self.vault if interface is VAULT else self.token

    # -- transactions

    def wait(self, seconds: int) -> None:
        """Later blocks are so much later."""
        self.clock.now_s += seconds

    def send(self, who: int, to: bytes | None, data: bytes, *, gas: int = GAS) -> StoredReceipt:
        """One transaction in a block of its own. Raises Reverted."""
        fields: dict[str, Any] = {
            "nonce": self.chain.pending_nonce(address_of(who)),
            "gas": gas,
            "gasPrice": max(7, self.chain.next_base_fee()),
            "value": 0,
            "data": data,
            "chainId": self.chain.config.chain_id,
        }
        if to is not None:
            fields["to"] = to_checksum_address(to)
        self.chain.submit(bytes(account(who).sign_transaction(fields).raw_transaction))
        (receipt,) = self.chain.mine().receipts
        if receipt.status != 1:
            raise Reverted(receipt)
        return receipt

    def call(self, who: int, interface: Interface, function: str, *arguments: Any) -> StoredReceipt:
        """A transaction to pool, vault or token."""
        return self.send(who, self._address(interface), interface.encode_call(function, *arguments))

    def open_task(
        self,
        creator: int,
        shape: Shape,
        terms: Terms = TERMS,
        *,
        stakes: Sequence[int] = (),
        pot: int = 0,
        model: str = "{}",
        weights: NDArray[np.int16] | None = None,
        pages_per_call: int = 1024,
    ) -> int:
        """Account i locks stakes[i - 1] units before the weights are loaded, so that they count in round 1."""
        task = self.number(POOL, "nextTask")
        self.call(creator, POOL, "openTask", task, shape.encode(), model, astuple(terms))
        for index, units in enumerate(stakes, 1):
            if units:
                self.call(index, VAULT, "lock", task, units)
        weights = some_weights(shape) if weights is None else weights
        for first in range(0, shape.page_count, pages_per_call):
            part = weights[first * shape.page_length : (first + pages_per_call) * shape.page_length]
            self.call(creator, POOL, "loadPages", task, first, weight_bytes(part))
        if pot:
            self.call(creator, POOL, "fund", task, pot)
        return task

    def update(self, task: int, shape: Shape, seed: int, **options: Any) -> Update:
        return some_update(shape, task, self.status(task)["version"], seed, **options)

    def submit(self, who: int, update: Update, shape: Shape) -> StoredReceipt:
        receipt = self.call(
            who, POOL, "submit", update.task, update.digest(shape), update.header(shape), list(update.groups(shape))
        )
        self.sent.setdefault(update.task, []).append((address_of(who), update))
        return receipt

    def settle_group(self, settler: int, task: int, shape: Shape, group: int) -> StoredReceipt:
        return self.send(settler, self.pool, self.settlement(task, shape, group))

    def settlement(self, task: int, shape: Shape, group: int) -> bytes:
        """Calldata that settles a group of the open round."""
        number = self.status(task)["round"]
        weights = {
            event.values["contributor"]: (event.values["weight"], event.values["effective"])
            for _, log, _ in self.logs()
            if log.address == self.pool
            and (event := POOL.decode_log(log.topics, log.data)) is not None
            and event.name == "UpdateAccepted"
            and (event.values["task"], event.values["round"]) == (task, number)
        }
        updates = []
        for who, update in self.sent[task]:
            groups = update.groups(shape)
            digests = [keccak(part) for part in groups]
            updates.append((who, *weights[who], update.header(shape), digests, groups[group]))
        return POOL.encode_call("settle", task, number, group, updates)

    def settle(self, settler: int, task: int, shape: Shape) -> list[StoredReceipt]:
        receipts = [self.settle_group(settler, task, shape, group) for group in range(shape.group_count)]
        self.sent[task] = []
        return receipts

    def drop(self, who: int, task: int) -> StoredReceipt:
        receipt = self.call(who, POOL, "drop", task)
        self.sent[task] = []
        return receipt

    # -- reading

    def ask(self, to: bytes, data: bytes) -> bytes:
        return self.chain.call(Question(sender=bytes(20), to=to, data=data), self.chain.head.number)

    def read(self, interface: Interface, function: str, *arguments: Any) -> dict[str, Any]:
        answer = self.ask(self._address(interface), interface.encode_call(function, *arguments))
        return interface.decode_result(function, answer)

    def number(self, interface: Interface, function: str, *arguments: Any) -> int:
        (value,) = self.read(interface, function, *arguments).values()
        return int(value)

    def status(self, task: int) -> dict[str, Any]:
        (value,) = self.read(POOL, "taskOf", task).values()
        return dict(value)

    def balance(self, who: bytes) -> int:
        return self.number(TOKEN, "balanceOf", to_checksum_address(who))

    def weights(self, task: int, shape: Shape) -> NDArray[np.int16]:
        """What the Aspect holds."""
        question = b"\2" + task.to_bytes(8, "big") + bytes(4) + shape.page_count.to_bytes(4, "big")
        data = selector("entrypoint(address,bytes)") + encode(["address", "bytes"], [self.aspect, question])
        answer = bytes(decode(["bytes"], self.ask(SYSTEM, data))[0])
        return np.frombuffer(answer[12:], "<i2").astype(np.int16)

    def logs(self, first: int = 1) -> list[tuple[StoredReceipt, Log, int]]:
        """All logs of the chain from block `first` on: receipt, log, the block's time."""
        found = []
        for number in range(first, self.chain.head.number + 1):
            header = self.chain.store.header(number)
            assert header is not None
            for receipt in self.chain.store.receipts(number):
                for index, log in enumerate(receipt.logs):
                    as_read = Log(log.address, tuple(log.topics), log.data, number, index, receipt.transaction.hash)
                    found.append((receipt, as_read, header.timestamp))
        return found

    def history(self, first: int = 1) -> list[Event]:
        """As `linklearner.chain.history` gives it, from block `first` on."""
        events = []
        for receipt, log, time_s in self.logs(first):
            interface = {self.pool: POOL, self.vault: VAULT}.get(log.address)
            event = decode_event(log, interface) if interface else None
            if event is not None:
                whole = completed(event, receipt.transaction.data) if type(event) in COMPLETED else event
                events.append(replace(whole, time_s=time_s))
        return events

    def emission(self) -> Emission:
        return Emission(GENESIS, CAP, PER_SECOND, self.number(TOKEN, "emissionStart"))

    def replay(self) -> Replay:
        """Nothing fed yet."""
        return Replay(self.chain.config.chain_id, self.pool, self.emission())


def agrees(world: TaskChain, result: Replay, given: Mapping[str, int] = MappingProxyType({})) -> None:
    """What replaying knows is what pool, vault and Aspect say. given: wei that somebody transferred to "pool" or "vault" unasked."""
    for number, task in result.tasks.items():
        status = world.status(number)
        assert (
            task.version,
            task.ledger.round,
            task.ledger.eligible,
            task.ledger.opened_s,
            task.pot,
            task.shares.total,
        ) == tuple(status[name] for name in ("version", "round", "eligible", "openedAt", "pot", "shares"))
        assert (task.creator, task.closing, task.running) == (status["creator"], status["closing"], status["running"])
        if (
            task.version and not task.merged_groups
        ):  # while a round is being merged, the Aspect holds some of the next version
            assert np.array_equal(task.weights, world.weights(number, task.shape))
            assert task.digest == model_digest(task.weights, task.shape)
        for who in range(PEOPLE):
            stake = task.ledger.of(address_of(who))
            told = world.read(VAULT, "stakeOf", number, address_of(who))
            assert task.ledger.eligible_of(address_of(who)) == told["counting"]
            assert stake.amount == told["counting"] + told["fresh"]
            assert (stake.matures_s, stake.unlocking, stake.withdrawable_s) == (
                told["maturesAt"],
                told["unlocking"],
                told["withdrawableAt"],
            )
            assert stake.submitted == world.number(VAULT, "submittedIn", number, address_of(who))
            assert task.ledger.fees_of(address_of(who)) == world.number(VAULT, "feesOf", number, address_of(who))
            assert task.shares.of(address_of(who)).earned == world.number(POOL, "earnedBy", number, address_of(who))
            claimable = world.read(POOL, "claimable", number, address_of(who))
            assert task.shares.claimable_by(address_of(who)) == tuple(claimable.values())
    tasks = result.tasks.values()
    assert sum(task.flows.pool for task in tasks) + given.get("pool", 0) == world.balance(world.pool)
    assert sum(task.vault_owes for task in tasks) + given.get("vault", 0) == world.balance(world.vault)
    for task in tasks:
        assert 0 <= task.flows.pool - task.pool_owes <= task.flows.roundings
    assert world.number(TOKEN, "totalSupply") == GENESIS + result.emitted
