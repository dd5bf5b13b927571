"""A chain in a hundred lines whose node lies: what the outbox's state machine is tried on.

The chain itself is honest (each nonce of an account is used once, in order). Its node may take a transaction or not and say anything about
it, cut the connection, answer late or from an old block, lose what it has taken, and mine whenever it likes; it invents no receipts.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from linklearner.chain.answers import Receipt
from linklearner.chain.profile import ARTELA, Profile
from linklearner.domain.errors import LinkLearnerError, NotFound, Refused, Unavailable
from services.chain_gateway.chain import Call, Head, NonceRefused, SendResult
from services.chain_gateway.outbox.attempts import Attempt


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sleeps take no time: when nothing is ready, the clock jumps to the next timer."""

    _virtual = 0.0

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._virtual = max(self._virtual, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


@dataclass(frozen=True)
class Entry:
    """A transaction as the chain sees it. owner: the request it was signed for; "" for a stranger's."""

    hash: bytes
    account: bytes
    nonce: int
    owner: str


@dataclass
class ModelChain:
    """The node's truth, shared by every connection to it."""

    blocks: list[list[tuple[Entry, bool]]] = field(default_factory=lambda: [[]])
    """Each with its transactions and whether they succeeded."""
    pool: list[Entry] = field(default_factory=list)
    panicked: set[bytes] = field(default_factory=set)
    """Hashes that used their nonce and are in no block."""
    used: dict[bytes, list[int]] = field(default_factory=dict)
    """For each account, the block at which each of its nonces was used."""

    def nonce(self, account: bytes, block: int | None = None) -> int:
        at = self.used.get(account, [])
        return len(at) if block is None else sum(number <= block for number in at)

    def pending(self, account: bytes) -> int:
        nonce = self.nonce(account)
        while any((entry.account, entry.nonce) == (account, nonce) for entry in self.pool):
            nonce += 1
        return nonce

    def mine(self, *, choice: int = 0, succeed: bool = True, panic: bool = False) -> None:
        """A block of all that can be in it. choice: which of several at one nonce."""
        number, block = len(self.blocks), []
        while ready := [entry for entry in self.pool if entry.nonce == self.nonce(entry.account)]:
            entry = ready[choice % len(ready)]
            self.used.setdefault(entry.account, []).append(number)
            self.pool = [
                one for one in self.pool if one.nonce >= self.nonce(one.account) or one.account != entry.account
            ]
            if panic:
                self.panicked.add(entry.hash)
            else:
                block.append((entry, succeed))
        self.blocks.append(block)

    def landed(self) -> list[tuple[Entry, bool, int]]:
        return [(entry, ok, number) for number, block in enumerate(self.blocks) for entry, ok in block]


ANSWERS = ("new", "known", "nonce", "funds", "fee", "unheard", "cut", "full", "gone")
"""What may be said of a transaction that was handed in."""


class OnDemand:
    """The heads of a chain that makes blocks when it likes: a waiting request looks again after its pause."""

    number: int = 0

    async def after(self, number: int, pause_s: float) -> None:
        await asyncio.sleep(pause_s)


@dataclass
class Connection:
    """What the outbox of one life holds for a `Chain`. owner: request and account that signed these bytes, from the outbox's file."""

    truth: ModelChain
    owner: Callable[[bytes], tuple[str, bytes]]
    sends: deque[tuple[bool, str, float]] = field(default_factory=deque)
    """For each next sending: whether it is taken, what is said, after how many seconds. When empty: the truth."""
    reads: deque[str] = field(default_factory=deque)
    """For each next question: "stale", "high", "cut", "error" or "true"."""
    every_send: tuple[bool, str, float] | None = None
    every_read: str = "true"
    """What happens to those for which nothing else is said."""
    profile: Profile = ARTELA
    hide_receipts: bool = False
    poison: bool = False
    """Every sending is cut and not taken."""
    dies_in: int | None = None
    """After so many more questions and sendings …"""
    dies_after_effect: bool = True
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    on_death: Callable[[], object] = field(default=lambda: None)
    chain_id: int = 7
    shown_url: str = "http://model"
    price_wei: int = 10
    heads: OnDemand = field(default_factory=OnDemand)

    async def _lives(self) -> None:
        if self.dead.is_set():
            await asyncio.Event().wait()  # a dead process asks nothing

    async def _die(self) -> None:
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                self.on_death()
                self.dead.set()
        await self._lives()

    async def _lie(self) -> str:
        await self._lives()
        await asyncio.sleep(0)
        lie = self.reads.popleft() if self.reads else self.every_read
        if not self.dies_after_effect:
            await self._die()
        if lie == "cut":
            raise Unavailable("cut")
        if lie == "error":
            raise Refused("Internal: something broke", reason="NodeRefused")
        if self.dies_after_effect:
            await self._die()
        return lie

    def _block(self, lie: str) -> int:
        newest = len(self.truth.blocks) - 1
        return max(newest - 3, 0) if lie == "stale" else newest

    async def head(self) -> Head:
        number = self._block(await self._lie())
        return Head(number, number, 7, number.to_bytes(32, "big"))

    async def head_number(self) -> int:
        return self._block(await self._lie())

    async def block_hash(self, number: int) -> bytes:
        return number.to_bytes(32, "big")

    async def price(self) -> int:
        await self._lie()
        return self.price_wei

    async def gas_limit(self, sender: bytes, call: Call) -> int:
        await self._lie()
        return 21_000

    async def nonce(self, account: bytes, *, pending: bool = False) -> int:
        lie = await self._lie()
        if lie == "stale":
            return self.truth.nonce(account, self._block(lie))
        return (self.truth.pending(account) if pending else self.truth.nonce(account)) + (lie == "high")

    async def receipt(self, transaction_hash: bytes) -> Receipt | None:
        lie = await self._lie()
        if self.hide_receipts:
            return None
        for entry, succeeded, number in self.truth.landed():
            if entry.hash == transaction_hash and number <= self._block(lie):
                return Receipt(transaction_hash, number, succeeded, 21_000, None, ())
        return None

    async def why_failed(self, receipt: Receipt, sender: bytes, call: Call) -> LinkLearnerError:
        await self._lie()
        return Refused("it failed", reason="Failed")

    async def transaction_at(self, account: bytes, nonce: int, first: int, last: int) -> bytes | None:
        lie = await self._lie()
        for entry, _, number in self.truth.landed():
            if (entry.account, entry.nonce) == (account, nonce) and first <= number <= min(last, self._block(lie)):
                return entry.hash
        return None

    async def send(self, raw: bytes) -> SendResult:
        await self._lives()
        attempt = Attempt.of(raw)
        owner, account = self.owner(attempt.hash)  # fails unless the bytes are on disk already
        entry = Entry(attempt.hash, account, attempt.nonce, owner)
        take, answer, delay = self.sends.popleft() if self.sends else self.every_send or self._honest(entry)
        if self.poison:
            take, answer = False, "cut"
        if not self.dies_after_effect:
            await self._die()
        known = entry in self.truth.pool or any(entry.hash == one.hash for one, _, _ in self.truth.landed())
        if take and not known and entry.nonce >= self.truth.nonce(account):
            self.truth.pool.append(entry)
        await self._die()
        await asyncio.sleep(delay)
        await self._lives()
        match answer:
            case "new":
                return SendResult.ACCEPTED
            case "known":
                return SendResult.ALREADY_KNOWN
            case "nonce":
                raise NonceRefused("invalid nonce")
            case "funds":
                raise Refused("insufficient funds", reason="InsufficientFunds")
            case "fee":
                raise Refused("insufficient fee", reason="FeeTooLow")
            case "unheard":
                raise Refused("something new", reason="NodeRefused")
            case "gone":
                raise NotFound("block not found", reason="StateGone")
            case "full":
                raise Unavailable("mempool is full")
            case _:
                raise Unavailable("cut")

    def _honest(self, entry: Entry) -> tuple[bool, str, float]:
        if entry in self.truth.pool or any(entry.hash == one.hash for one, _, _ in self.truth.landed()):
            return False, "known", 0.0
        if entry.nonce != self.truth.pending(entry.account):
            return False, "nonce", 0.0
        return True, "new", 0.0

    def stranger(self, account: bytes) -> None:
        """Another program with the same key sends a transaction."""
        self.truth.pool.append(Entry(secrets.token_bytes(32), account, self.truth.pending(account), ""))


def outcome_of(task: "asyncio.Task[Any]") -> Any:
    """A caller's answer: an Outcome, an error, or None if there was none."""
    if not task.done() or task.cancelled():
        return None
    return task.exception() or task.result()
