"""An InferenceEscrow on an in-process devchain, driven by signed transactions, and vouchers for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from eth_abi.abi import encode
from eth_account.signers.local import LocalAccount

from bench.contracts import built
from bench.pool import CREATOR, TERMS, PoolChain, Reverted, account, address_of
from bench.pool_rounds import FLAT, PlayedRound, some_weights
from devchain.chain.blocks import StoredReceipt
from linklearner import artifacts
from linklearner.chain.abi import Decoded, Interface
from linklearner.domain.notation import LL_WEI
from linklearner.domain.voucher import Voucher, domain_separator

ESCROW = Interface(artifacts.contract("InferenceEscrow").abi)
TOKEN = Interface(built()["contracts"]["PlainToken"]["abi"])
DELAY_S = 3600
CLIENTS = 8
"""Accounts 1 to 8 have 10,000 $LL and an allowance for the escrow; servers are the accounts after them and have nothing."""


class Tasks(Protocol):
    """A pool as the escrow's tests and benches need it: tasks by their server's share, and what they got."""

    def deploy(self, world: PoolChain) -> None:
        """Sets `world.pool` and `world.token`; clients have their $LL then."""

    def open(self, world: PoolChain, server_bps: int) -> int:
        """A task of that share; its number."""

    def close(self, world: PoolChain, task: int) -> None:
        """For good."""

    def held(self, world: PoolChain) -> int:
        """Wei of fees that the pool and its vault hold or have paid out."""


class FeePool:
    """bench/contracts/FeePool.sol: shares fees like the true pool, and does nothing else."""

    def __init__(self, token: str = "PlainToken", supply: int = 10**9 * LL_WEI) -> None:
        self._token, self._supply = token, supply
        self.abi = Interface(built()["contracts"]["FeePool"]["abi"])

    def deploy(self, world: PoolChain) -> None:
        owner = account(0)
        world.token = create(world, self._token, encode(["address", "uint256"], [owner.address, self._supply]))
        world.pool = create(world, "FeePool", encode(["address"], ["0x" + world.token.hex()]))
        for index in range(1, CLIENTS + 1):
            world.send(owner, world.token, TOKEN.encode_call("transfer", account(index).address, 10_000 * LL_WEI))

    def open(self, world: PoolChain, server_bps: int) -> int:
        task = self.read(world, "nextTask")["0"]
        world.send(account(0), world.pool, self.abi.encode_call("openTask", server_bps))
        return int(task)

    def close(self, world: PoolChain, task: int) -> None:
        world.send(account(0), world.pool, self.abi.encode_call("closeTask", task))

    def held(self, world: PoolChain) -> int:
        return world.balance(world.pool)

    def set_totals(self, world: PoolChain, task: int, shares: int, stake: int) -> None:
        world.send(account(0), world.pool, self.abi.encode_call("setTotals", task, shares, stake))

    def read(self, world: PoolChain, function: str, *arguments: Any) -> dict[str, Any]:
        return self.abi.decode_result(function, world.ask(world.pool, self.abi.encode_call(function, *arguments)))


class TruePool:
    """TrainingPool with its vault, token and Aspect. Each task has stake, and shares if a round is settled before it is handed over."""

    STAKER = 20
    """Locks stake in every task, and contributes."""

    def __init__(self, earned: bool = False) -> None:
        """earned: contributors have shares in each task, so that a fee is split in halves and nothing goes to the pot."""
        self._earned = earned
        self._before = 0

    def deploy(self, world: PoolChain) -> None:
        owner = account(0)
        world.create_pool(owner)
        world.aspect = world.deploy_aspect(owner)
        world.bind(owner, world.pool)
        world.transact(owner, "setAspect", world.aspect)
        for index in (*range(1, CLIENTS + 1), self.STAKER):
            world.send(owner, world.token, TOKEN.encode_call("transfer", account(index).address, 10_000 * LL_WEI))

    def open(self, world: PoolChain, server_bps: int) -> int:
        before = self._balances(world)
        stakes = [0] * (self.STAKER - 1) + [1000]
        terms = replace(TERMS, server_bps=server_bps)
        pot = 10_000 * LL_WEI if self._earned else 0
        task = world.open_task(FLAT, some_weights(FLAT), stakes, terms, pot=pot)
        world.transact_vault(account(self.STAKER), "mature", task)
        if self._earned:
            round_ = PlayedRound(world, task, FLAT)
            round_.submit(self.STAKER)
            world.wait(TERMS.round_seconds)
            round_.settle(self.STAKER)
        self._before += self._balances(world) - before
        return task

    def close(self, world: PoolChain, task: int) -> None:
        world.transact(account(CREATOR), "closeTask", task)

    def held(self, world: PoolChain) -> int:
        return self._balances(world) - self._before

    def _balances(self, world: PoolChain) -> int:
        """Of pool and vault, and of whom the pool pays what a closed task gets."""
        return sum(world.balance(who) for who in (world.pool, world.vault, address_of(account(CREATOR))))


def create(world: PoolChain, name: str, arguments: bytes = b"") -> bytes:
    """Deploys a contract of bench/contracts."""
    return world.create(account(0), bytes.fromhex(built()["contracts"][name]["bytecode"][2:]) + arguments)


class EscrowReverted(Exception):
    """A transaction to the escrow failed; by name, the escrow's error, the token's or the pool's."""

    def __init__(self, reverted: Reverted) -> None:
        output = reverted.receipt.output
        error = ESCROW.decode_error(output) or TOKEN.decode_error(output)
        self.name = error.name if error else reverted.name
        self.values: dict[str, Any] = error.values if error else {}
        super().__init__(f"{self.name} {self.values} {reverted.text}")


@dataclass
class EscrowChain:
    """treasury: account 0; clients and servers: see CLIENTS. Tasks: 1 gives its servers a half, 2 a tenth, 3 nothing."""

    world: PoolChain
    tasks: Tasks
    escrow: bytes

    @classmethod
    def deployed(cls, tasks: Tasks | None = None) -> EscrowChain:
        world = PoolChain.begin()
        tasks = tasks or FeePool()
        tasks.deploy(world)
        chain = cls(world, tasks, deploy_escrow(world))
        for server_bps in (5000, 1000, 0):
            tasks.open(world, server_bps)
        for index in range(CLIENTS + 1):
            chain.approve(account(index))
        return chain

    # -- transactions

    def transact(self, signer: LocalAccount, function: str, *arguments: Any, **options: Any) -> StoredReceipt:
        """A transaction to the escrow. Raises EscrowReverted."""
        try:
            return self.world.send(signer, self.escrow, ESCROW.encode_call(function, *arguments), **options)
        except Reverted as reverted:
            raise EscrowReverted(reverted) from reverted

    def approve(self, signer: LocalAccount, amount: int = 2**256 - 1) -> None:
        self.world.send(signer, self.world.token, TOKEN.encode_call("approve", "0x" + self.escrow.hex(), amount))

    def deposit(self, client: int, server: int, amount: int) -> StoredReceipt:
        return self.transact(account(client), "deposit", account(server).address, amount)

    def redeem(self, server: int, signed: Sequence[tuple[Voucher, bytes]], **options: Any) -> StoredReceipt:
        """Of vouchers with their signatures."""
        return self.transact(account(server), "redeem", *redemption(signed), **options)

    # -- vouchers

    @property
    def separator(self) -> bytes:
        return domain_separator(self.world.chain.config.chain_id, self.escrow)

    def voucher(self, client: int, server: int, amount: int, task: int = 1, **changes: Any) -> tuple[Voucher, bytes]:
        """A voucher with its client's signature. changes: other fields, before it is signed."""
        fields = {"client": address_of(account(client)), "server": address_of(account(server))}
        expiry = self.world.chain.head.timestamp + 10**6
        voucher = replace(Voucher(**fields, task=task, amount=amount, expiry=expiry), **changes)
        return voucher, self.sign(client, voucher)

    def sign(self, signer: int, voucher: Voucher, separator: bytes | None = None) -> bytes:
        return bytes(account(signer).unsafe_sign_hash(voucher.digest(separator or self.separator)).signature)

    # -- reading

    def read(self, function: str, *arguments: Any) -> dict[str, Any]:
        return ESCROW.decode_result(function, self.world.ask(self.escrow, ESCROW.encode_call(function, *arguments)))

    def channel(self, client: int | bytes, server: int) -> tuple[int, int]:
        """What is deposited, and from when on it can be withdrawn (0: not asked)."""
        address = client if isinstance(client, bytes) else address_of(account(client))
        values = self.read("channelOf", "0x" + address.hex(), account(server).address)
        return values["deposit_"], values["withdrawableAt"]

    def redeemed(self, client: int, server: int, task: int = 1) -> int:
        return int(self.read("redeemedOf", account(client).address, account(server).address, task)["0"])

    def balance(self, index: int) -> int:
        return self.world.balance(address_of(account(index)))

    def held(self) -> int:
        """Wei of $LL that the escrow has."""
        return self.world.balance(self.escrow)

    def events(self, receipt: StoredReceipt) -> list[Decoded]:
        """The escrow's events of a transaction."""
        found = [ESCROW.decode_log(log.topics, log.data) for log in receipt.logs if log.address == self.escrow]
        return [event for event in found if event is not None]

    def pass_time(self, seconds: int) -> None:
        """The next block is that much later than the last one."""
        self.world.chain.set_next_timestamp(self.world.chain.head.timestamp + seconds)


def deploy_escrow(world: PoolChain, delay_s: int = DELAY_S) -> bytes:
    code = artifacts.contract("InferenceEscrow").bytecode
    return world.create(account(0), code + ESCROW.encode_constructor("0x" + world.pool.hex(), delay_s))


def redemption(signed: Sequence[tuple[Voucher, bytes]]) -> tuple[list[tuple[Any, ...]], list[bytes]]:
    """The arguments of `redeem`."""
    return [voucher_tuple(voucher) for voucher, _ in signed], [signature for _, signature in signed]


def voucher_tuple(voucher: Voucher) -> tuple[Any, ...]:
    """As the contract's struct is encoded."""
    return ("0x" + voucher.client.hex(), "0x" + voucher.server.hex(), voucher.task, voucher.amount, voucher.expiry)
