"""The outbox: what this gateway owes the chain, on disk before anything is sent.

A request is one transaction, named by its caller (`request_id`). It goes

    planned ──► signed ──► sent ──► mined       in a block, status 1
       │           │         └────► failed      in a block with status 0, or its nonce is used and no receipt ever comes
       └► refused ◄┘                            refused before it had any effect: its nonce is free again, the request may be repeated

The signed bytes are committed (SQLite, WAL, synchronous=FULL) before they are sent, so after `kill -9` at any point the same request ends
in exactly one transaction: what is on disk is sent again, and its nonce keeps it from landing twice.

One lock per account owns its nonces: they are taken, signed, committed and sent under it, in order. Waiting for the receipt needs no lock.

What an Artela node does to a sender, and the answer here (`artela.md` §6):
- it queues and replaces nothing, so a nonce is only ever the next one, and fees cannot be raised later;
- "already in mempool" comes also after the transaction was mined: it means known, look for the receipt;
- a transaction that was taken may be lost: if the node holds nothing at its nonce for a while, the same nonce is signed anew with a
  slightly different gas limit (the same bytes would be refused as known). Whichever lands, the nonce is used once;
- a transaction that makes the node panic never gets a receipt, but its nonce is used: that means failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

import rlp  # type: ignore[import-untyped]
import structlog
from eth_hash.auto import keccak
from web3 import AsyncWeb3

from linklearner.domain import strictjson
from linklearner.domain.errors import (
    InvalidConfig,
    InvalidInput,
    LinkLearnerError,
    NotFound,
    Refused,
    RequestIdReused,
    TimedOut,
    Unavailable,
)
from services.chain_gateway.chain import BLOCK_GAS, FEE_CAP, Call, Chain, Log, NonceRefused, Receipt, Taken
from services.chain_gateway.keystore import Keystore

KEPT_BYTES: Final = 64 << 20
"""JSON of one receipt or refusal in the file: as much as a node's answer may be."""
MAX_REQUEST_ID: Final = 192
"""Characters: a caller's 128, and what a use case of several transactions puts behind them."""

log = structlog.get_logger()


class State(Enum):
    """Where a request stands."""

    PLANNED = "planned"
    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    FAILED = "failed"
    REFUSED = "refused"


OPEN: Final = (State.SIGNED, State.SENT)
"""A transaction exists and its end is not known."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a request_id stands for. contents: whatever makes it this request and no other; only its digest is kept."""

    request_id: str
    account: bytes
    kind: str
    contents: bytes

    def __post_init__(self) -> None:
        if not 1 <= len(self.request_id) <= MAX_REQUEST_ID:
            raise InvalidInput(f"a request_id has 1 to {MAX_REQUEST_ID} characters, not {len(self.request_id)}")

    @property
    def digest(self) -> bytes:
        kind = self.kind.encode()
        return bytes(keccak(len(kind).to_bytes(2, "big") + kind + self.account + self.contents))


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for a chain that may be slow, lossy or broken."""

    receipt_s: float = 60.0
    """A caller is told TimedOut after this; the request goes on without him."""
    lost_blocks: int = 10
    """A transaction of which the node knows nothing is lost (or, with its nonce used, failed) after so many blocks …"""
    lost_at_least_s: float = 5.0
    """… and this time, …"""
    lost_at_most_s: float = 30.0
    """… or after this time alone: a chain without traffic may make no blocks."""
    first_poll_s: float = 0.02
    longest_poll_s: float = 0.25
    check_s: float = 1.0
    """How often the account's nonce is looked at while there is no receipt."""
    retry_s: float = 0.5
    """Pause before an unreachable node is tried again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A transaction that succeeded. length: bytes as signed."""

    receipt: Receipt
    length: int


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One signing of a request's transaction; several attempts of one request share its nonce."""

    hash: bytes
    nonce: int
    raw: bytes

    @classmethod
    def of(cls, raw: bytes) -> _Attempt:
        return cls(bytes(keccak(raw)), int.from_bytes(_fields(raw)[1], "big"), raw)

    @property
    def call(self) -> Call:
        """What was signed, its gas limit included."""
        fields = _fields(self.raw)
        return Call(fields[5] or None, fields[7], int.from_bytes(fields[6], "big"), int.from_bytes(fields[4], "big"))


def _fields(raw: bytes) -> list[bytes]:
    """chain id, nonce, tip, fee, gas, to, value, data, access list, signature: of a type 2 transaction."""
    fields: list[bytes] = rlp.decode(raw[1:])
    return fields


Prepare = Callable[[], Awaitable[Call]]
"""Makes the call that a request sends; asked only while nothing is signed. May raise what the caller should see."""


def always(call: Call) -> Prepare:
    """For a request that knows its call beforehand."""

    async def prepare() -> Call:
        return call

    return prepare


class Outbox:
    """Sends each request exactly once. Made by `Outbox.open`."""

    def __init__(self, database: _Database, chain: Chain, keystore: Keystore, patience: Patience) -> None:
        self._database = database
        self._chain = chain
        self._keystore = keystore
        self._patience = patience
        self._lanes: dict[bytes, asyncio.Lock] = {}
        self._drivers: dict[str, asyncio.Task[Outcome]] = {}
        self._trouble: dict[str, LinkLearnerError] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, path: Path, chain: Chain, keystore: Keystore, patience: Patience | None = None
    ) -> AsyncIterator[Outbox]:
        """Opens or creates the outbox and takes up every transaction that is still open.

        Raises InvalidConfig if another process uses the file, or it belongs to another chain.
        """
        with _Database.open(path) as database:
            await _same_chain(path, database, chain)
            outbox = cls(database, chain, keystore, patience or Patience())
            for request in database.open_requests():  # by nonce, so that the lanes are entered in order
                if request.account not in keystore:
                    log.warning("key_missing", request_id=request.request_id, account="0x" + request.account.hex())
                    continue
                log.info("request_resumed", request_id=request.request_id, kind=request.kind)
                # if it has to be sent at another nonce, it is the same call, judged anew
                call = replace(database.attempts(request.request_id)[-1].call, gas_limit=None)
                with structlog.contextvars.bound_contextvars(request=request.request_id):
                    outbox._start(request, always(call))
            try:
                yield outbox
            finally:
                drivers = list(outbox._drivers.values())
                for driver in drivers:
                    driver.cancel()
                await asyncio.gather(*drivers, return_exceptions=True)

    @property
    def accounts(self) -> tuple[bytes, ...]:
        """Whose keys are held, 20 bytes each."""
        return self._keystore.addresses

    def state(self, request_id: str) -> State | None:
        """None for a request that was never made."""
        return self._database.state(request_id)

    async def fulfil(self, request: Request, prepare: Prepare) -> Outcome:
        """Drives a request to its end and answers it, however often it is repeated.

        Raises RequestIdReused if the request_id stands for something else; NotFound for an account without a key; Refused with the
        chain's reason (repeat it, if the reason may pass: it is judged anew unless a transaction has landed); Unavailable or TimedOut
        where the end is not known yet (repeat it).
        """
        self._keystore.require(request.account)
        state = self._database.claim(request)
        if state in (State.MINED, State.FAILED):
            return self._database.ending(request.request_id)
        driver = self._drivers.get(request.request_id) or self._start(request, prepare)
        done, _ = await asyncio.wait({driver}, timeout=self._patience.receipt_s)
        if done:
            return driver.result()
        if request.request_id in self._trouble:
            raise Unavailable(self._trouble[request.request_id].message)
        hashes = self._database.hashes(request.request_id)
        raise TimedOut(
            f"no receipt within {self._patience.receipt_s:g} s; the transaction is kept and watched: repeat the same request_id",
            facts={"transaction": "0x" + hashes[-1].hex()} if hashes else {},
        )

    def _start(self, request: Request, prepare: Prepare) -> asyncio.Task[Outcome]:
        driver = asyncio.create_task(self._drive(request, prepare), name=f"outbox {request.request_id}")
        self._drivers[request.request_id] = driver
        driver.add_done_callback(lambda done: self._ended(request, done))
        return driver

    def _ended(self, request: Request, driver: asyncio.Task[Outcome]) -> None:
        self._drivers.pop(request.request_id, None)
        self._trouble.pop(request.request_id, None)
        if driver.cancelled():
            return
        error = driver.exception()  # marks it as seen: the caller may have gone
        facts: dict[str, Any] = {"request_id": request.request_id, "kind": request.kind}
        if error is None:
            receipt = driver.result().receipt
            log.info(
                "transaction_mined",
                transaction="0x" + receipt.transaction_hash.hex(),
                block=receipt.block_number,
                gas=receipt.gas_used,
                **facts,
            )
        elif isinstance(error, LinkLearnerError):
            log.info("transaction_ended", reason=error.reason, detail=error.message, **facts)
        else:
            log.error("outbox_bug", exc_info=error, **facts)

    async def _drive(self, request: Request, prepare: Prepare) -> Outcome:
        while True:
            async with self._lane(request.account):
                if self._database.state(request.request_id) in OPEN:
                    delivered = await self._send_again(request)
                else:
                    delivered = await self._send_new(request, prepare)
            if delivered:
                return await self._watch(request)
            await self._predecessors(request)

    def _lane(self, account: bytes) -> asyncio.Lock:
        return self._lanes.setdefault(account, asyncio.Lock())

    async def _predecessors(self, request: Request) -> None:
        """The node wants a lower nonce first: wait for our transactions that hold one, or for whoever else uses this key."""
        ahead = [
            driver
            for request_id, driver in self._drivers.items()
            if request_id != request.request_id and self._database.holds_nonce(request_id, request.account)
        ]
        if ahead:
            await asyncio.wait(ahead, return_when=asyncio.FIRST_COMPLETED, timeout=self._patience.retry_s)
        else:
            await asyncio.sleep(self._patience.retry_s / 10)

    # -- under the account's lock

    async def _send_new(self, request: Request, prepare: Prepare) -> bool:
        """Plans, signs, commits, sends. False if the nonce turned out not to be the next one. Raises Refused and the like."""
        try:
            call = await prepare()
            gas_limit = call.gas_limit or await self._chain.gas_limit(request.account, call)
            pending = await self._chain.nonce(request.account, pending=True)
            nonce = max(pending, self._database.next_nonce(request.account))
            attempt = await self._signed(request.account, replace(call, gas_limit=gas_limit), nonce)
            self._database.signed(request.request_id, attempt)
            await self._deliver(request, attempt, fresh=True)
        except NonceRefused:
            self._database.freed(request.request_id)
            return False
        except Refused as refused:
            self._database.refused(request.request_id, refused)
            raise
        return True

    async def _send_again(self, request: Request) -> bool:
        """Hands in what an earlier life had signed. False if other nonces come first, or somebody else has used this one."""
        attempt = self._database.attempts(request.request_id)[-1]
        try:
            await self._deliver(request, attempt, fresh=False)
        except NonceRefused:
            if not self._database.holds_below(request.account, attempt.nonce):
                self._database.freed(request.request_id)
            return False
        except Refused as refused:
            self._database.refused(request.request_id, refused)
            raise
        return True

    async def _sign_anew(self, request: Request) -> None:
        """The same nonce again, one unit of gas apart, so that the node does not know it yet."""
        attempts = self._database.attempts(request.request_id)
        call, nonce = attempts[-1].call, attempts[-1].nonce
        limit = call.gas_limit or 0
        call = replace(call, gas_limit=limit + 1 if limit < BLOCK_GAS else limit - len(attempts))
        log.warning("transaction_signed_anew", request_id=request.request_id, nonce=nonce, attempt=len(attempts) + 1)
        try:
            attempt = await self._signed(request.account, call, nonce)
            self._database.signed(request.request_id, attempt)
            await self._deliver(request, attempt, fresh=False)
        except (NonceRefused, Refused) as error:
            # an earlier attempt may still land, so this refusal decides nothing: go on watching
            log.warning("signed_anew_refused", request_id=request.request_id, detail=error.message)

    async def _signed(self, account: bytes, call: Call, nonce: int) -> _Attempt:
        head, price = await asyncio.gather(self._chain.head(), self._chain.price())
        gas_limit = call.gas_limit or 0
        # The fee cannot be raised later: twice the present price outlasts five full blocks. What is paid is the base fee and the tip.
        fee = min(2 * max(price, head.base_fee, 1), (FEE_CAP - 1) // gas_limit)
        if fee < head.base_fee:
            raise Refused(
                f"{gas_limit} gas at {head.base_fee} wei cost more than the node's RPC takes (1 ART); wait for a lower price",
                reason="FeeCap",
                facts={"gas": gas_limit, "base_fee": head.base_fee},
            )
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": self._chain.chain_id,
            "nonce": nonce,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": min(max(price - head.base_fee, 0), fee),
            "gas": gas_limit,
            "value": call.value,
            "data": call.data,
        }
        if call.to is not None:
            transaction["to"] = AsyncWeb3.to_checksum_address(call.to)
        return _Attempt.of(self._keystore.sign_transaction(account, transaction))

    async def _deliver(self, request: Request, attempt: _Attempt, *, fresh: bool) -> None:
        """Hands the signed transaction to the node until it takes it. Raises NonceRefused and Refused.

        fresh: it has never been handed in, so a refusal is final. Otherwise, or if the refusal is of no kind we know, it may be about our
        own transaction that did arrive; the account's nonce tells.
        """
        while True:
            try:
                taken = await self._chain.send(attempt.raw)
            except Unavailable as error:
                fresh = False
                await self._pause(request, error)
                continue
            except (NonceRefused, Refused) as error:
                if (not fresh or error.reason == "NodeRefused") and await self._has_arrived(request, attempt):
                    break
                raise
            if taken is Taken.KNOWN:
                log.info("transaction_known", request_id=request.request_id)
            break
        self._trouble.pop(request.request_id, None)
        self._database.sent(request.request_id)

    async def _has_arrived(self, request: Request, attempt: _Attempt) -> bool:
        while True:
            try:
                return await self._chain.nonce(request.account, pending=True) > attempt.nonce
            except LinkLearnerError as error:
                await self._pause(request, error)

    async def _pause(self, request: Request, error: LinkLearnerError) -> None:
        if request.request_id not in self._trouble:
            log.warning("chain_unavailable", request_id=request.request_id, detail=error.message)
        self._trouble[request.request_id] = error
        await asyncio.sleep(self._patience.retry_s)

    # -- waiting

    async def _watch(self, request: Request) -> Outcome:
        """Until one of the attempts has a receipt, or none ever will."""
        patience = self._patience
        pause = patience.first_poll_s
        checked = time.monotonic()
        missing = used = _Timer(patience)
        while True:
            try:
                ended = await self._look(request)
                if ended is not None:
                    return ended
                if time.monotonic() - checked >= patience.check_s:  # only where the quick answer did not come
                    checked = time.monotonic()
                    nonce = self._database.nonce(request.request_id)
                    latest = await self._chain.nonce(request.account)
                    pending = await self._chain.nonce(request.account, pending=True)
                    block = await self._chain.head_number()
                    used = used.next(latest > nonce, block)
                    missing = missing.next(pending <= nonce, block)
                    if used.expired(block):
                        return await self._failed_without_receipt(request, nonce)
                    if missing.expired(block):
                        async with self._lane(request.account):
                            await self._sign_anew(request)
                        missing = _Timer(patience)
                self._trouble.pop(request.request_id, None)
            except LinkLearnerError as error:
                if self._database.state(request.request_id) not in OPEN:
                    raise
                # whatever the node refuses to tell, the transaction is out there: to give up now could have it sent twice
                await self._pause(request, error)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, patience.longest_poll_s)

    async def _look(self, request: Request) -> Outcome | None:
        """The end, if there is a receipt. Raises Refused for one with status 0."""
        for position, transaction_hash in enumerate(self._database.hashes(request.request_id)):
            receipt = await self._chain.receipt(transaction_hash)
            if receipt is None:
                continue
            attempt = self._database.attempts(request.request_id)[position]
            if receipt.succeeded:
                return self._database.mined(request.request_id, receipt, len(attempt.raw))
            reason = await self._chain.why_failed(receipt, request.account, attempt.call)
            refused = Refused(
                reason.message,
                reason=reason.reason,
                facts=reason.facts
                | {
                    "transaction": "0x" + receipt.transaction_hash.hex(),
                    "block": receipt.block_number,
                    "gas_used": receipt.gas_used,
                },
            )
            self._database.failed(request.request_id, refused)
            raise refused
        return None

    async def _failed_without_receipt(self, request: Request, nonce: int) -> Outcome:
        ended = await self._look(request)  # the receipt may have come between the last look and the nonce
        if ended is not None:
            return ended
        refused = Refused(
            f"nonce {nonce} is used and the transaction has no receipt: the node failed on it, or another program used the key; "
            "it can never land. Make a new request if it should be tried again",
            reason="NoReceipt",
            facts={"nonce": nonce},
        )
        self._database.failed(request.request_id, refused)
        raise refused


@dataclass(frozen=True, slots=True)
class _Timer:
    """Since when something has been so, in blocks and seconds."""

    patience: Patience
    since: tuple[int, float] | None = None

    def next(self, holds: bool, block: int) -> _Timer:
        if not holds:
            return _Timer(self.patience)
        return self if self.since is not None else _Timer(self.patience, (block, time.monotonic()))

    def expired(self, block: int) -> bool:
        if self.since is None:
            return False
        blocks, seconds = block - self.since[0], time.monotonic() - self.since[1]
        patience = self.patience
        return (
            blocks >= patience.lost_blocks and seconds >= patience.lost_at_least_s
        ) or seconds >= patience.lost_at_most_s


_SCHEMA = """
CREATE TABLE IF NOT EXISTS home (chain_id INTEGER NOT NULL, block_number INTEGER NOT NULL, block_hash BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS request (
    request_id TEXT PRIMARY KEY,
    account BLOB NOT NULL,
    kind TEXT NOT NULL,
    digest BLOB NOT NULL,
    state TEXT NOT NULL,
    nonce INTEGER,
    ending TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS request_open ON request (nonce) WHERE state IN ('signed', 'sent');
CREATE TABLE IF NOT EXISTS attempt (
    position INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    raw BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS attempt_of ON attempt (request_id);
"""


class _Database:
    """The outbox's file. Every method is one durable transaction of a few milliseconds at most, so it runs on the event loop."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[_Database]:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two senders with the same keys would race for nonces. The lock dies with its process, also with kill -9.
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InvalidConfig(f"another process uses the outbox {path}; stop it or choose another file") from None
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                    connection.execute("PRAGMA synchronous=FULL")
                    connection.executescript(_SCHEMA)
                except sqlite3.DatabaseError as error:
                    raise InvalidConfig(f"{path} is no outbox: {error}") from None
                yield cls(connection)
        finally:
            os.close(lock)

    def home(self) -> tuple[int, int, bytes] | None:
        """Chain id, number and hash of a block of the chain that the file belongs to."""
        row: tuple[int, int, bytes] | None = self._connection.execute("SELECT * FROM home").fetchone()
        return row

    def move_in(self, chain_id: int, block_number: int, block_hash: bytes) -> None:
        self._connection.execute("INSERT INTO home VALUES (?, ?, ?)", (chain_id, block_number, block_hash))

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def claim(self, request: Request) -> State:
        """Books the request_id for these contents. Raises RequestIdReused if it stands for others."""
        with self._write() as connection:
            row = connection.execute(
                "SELECT digest, state FROM request WHERE request_id = ?", (request.request_id,)
            ).fetchone()
            if row is None:
                connection.execute(
                    "INSERT INTO request (request_id, account, kind, digest, state) VALUES (?, ?, ?, ?, 'planned')",
                    (request.request_id, request.account, request.kind, request.digest),
                )
                return State.PLANNED
        if row[0] != request.digest:
            raise RequestIdReused(
                f"request_id {request.request_id!r} stands for another request already; choose a new one",
                facts={"request_id": request.request_id},
            )
        return State(row[1])

    def state(self, request_id: str) -> State | None:
        row = self._connection.execute("SELECT state FROM request WHERE request_id = ?", (request_id,)).fetchone()
        return None if row is None else State(row[0])

    def holds_nonce(self, request_id: str, account: bytes) -> bool:
        row = self._connection.execute(
            "SELECT 1 FROM request WHERE request_id = ? AND account = ? AND state IN ('signed', 'sent')",
            (request_id, account),
        ).fetchone()
        return row is not None

    def holds_below(self, account: bytes, nonce: int) -> bool:
        """Whether an open transaction of the account has a lower nonce."""
        row = self._connection.execute(
            "SELECT 1 FROM request WHERE account = ? AND nonce < ? AND state IN ('signed', 'sent')", (account, nonce)
        ).fetchone()
        return row is not None

    def next_nonce(self, account: bytes) -> int:
        """Above every nonce of a transaction whose end is not known; 0 if there is none."""
        row = self._connection.execute(
            "SELECT MAX(nonce) FROM request WHERE account = ? AND state IN ('signed', 'sent')", (account,)
        ).fetchone()
        return 0 if row[0] is None else int(row[0]) + 1

    def open_requests(self) -> list[Request]:
        rows = self._connection.execute(
            "SELECT request_id, account, kind FROM request WHERE state IN ('signed', 'sent') ORDER BY nonce"
        ).fetchall()
        return [Request(request_id=row[0], account=row[1], kind=row[2], contents=b"") for row in rows]

    def attempts(self, request_id: str) -> list[_Attempt]:
        rows = self._connection.execute(
            "SELECT raw FROM attempt WHERE request_id = ? ORDER BY position", (request_id,)
        ).fetchall()
        return [_Attempt.of(row[0]) for row in rows]

    def hashes(self, request_id: str) -> list[bytes]:
        rows = self._connection.execute(
            "SELECT hash FROM attempt WHERE request_id = ? ORDER BY position", (request_id,)
        ).fetchall()
        return [row[0] for row in rows]

    def nonce(self, request_id: str) -> int:
        """Of a request that is open."""
        row = self._connection.execute("SELECT nonce FROM request WHERE request_id = ?", (request_id,)).fetchone()
        return int(row[0])

    def signed(self, request_id: str, attempt: _Attempt) -> None:
        with self._write() as connection:
            connection.execute(
                "INSERT INTO attempt (request_id, hash, raw) VALUES (?, ?, ?)", (request_id, attempt.hash, attempt.raw)
            )
            self._become(request_id, State.SIGNED, nonce=attempt.nonce)

    def sent(self, request_id: str) -> None:
        with self._write():
            self._become(request_id, State.SENT)

    def freed(self, request_id: str) -> None:
        """Refused for its nonce: it never was in a mempool and never will be."""
        with self._write() as connection:
            connection.execute("DELETE FROM attempt WHERE request_id = ?", (request_id,))
            self._become(request_id, State.PLANNED, nonce=None)

    def refused(self, request_id: str, refused: Refused) -> None:
        with self._write() as connection:
            connection.execute("DELETE FROM attempt WHERE request_id = ?", (request_id,))
            self._become(request_id, State.REFUSED, nonce=None, ending=_told(refused))

    def failed(self, request_id: str, refused: Refused) -> None:
        with self._write() as connection:
            connection.execute("DELETE FROM attempt WHERE request_id = ?", (request_id,))
            self._become(request_id, State.FAILED, ending=_told(refused))

    def mined(self, request_id: str, receipt: Receipt, length: int) -> Outcome:
        with self._write() as connection:
            connection.execute("DELETE FROM attempt WHERE request_id = ?", (request_id,))
            self._become(request_id, State.MINED, ending=_kept(receipt, length))
        return Outcome(receipt, length)

    def _become(self, request_id: str, state: State, **columns: Any) -> None:
        columns["state"] = state.value
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._connection.execute(
            f"UPDATE request SET {assignments} WHERE request_id = ?", (*columns.values(), request_id)
        )

    def ending(self, request_id: str) -> Outcome:
        """How a request ended. Raises what it was refused with."""
        row = self._connection.execute(
            "SELECT state, ending FROM request WHERE request_id = ?", (request_id,)
        ).fetchone()
        if State(row[0]) is not State.MINED:
            raise self.refusal(request_id)
        return _outcome(row[1])

    def refusal(self, request_id: str) -> Refused:
        row = self._connection.execute("SELECT ending FROM request WHERE request_id = ?", (request_id,)).fetchone()
        told = strictjson.loads(row[0], max_bytes=KEPT_BYTES, max_values=KEPT_BYTES)
        return Refused(told["message"], reason=told["reason"], facts=told["facts"])


async def _same_chain(path: Path, database: _Database, chain: Chain) -> None:
    """A file of nonces and signed transactions makes no sense on another chain, nor on one that began anew."""
    home = database.home()
    if home is None:
        head = await chain.head()
        database.move_in(chain.chain_id, head.number, head.hash)
        return
    chain_id, number, block_hash = home
    try:
        same = chain_id == chain.chain_id and await chain.block_hash(number) == block_hash
    except NotFound:  # pruned, or a chain that has not come that far
        same = await chain.head_number() >= number
    if not same:
        raise InvalidConfig(
            f"the outbox {path} belongs to another chain (id {chain_id}, with another block {number}); choose another file"
        )


def _told(refused: Refused) -> str:
    return json.dumps({"message": refused.message, "reason": refused.reason, "facts": refused.facts})


def _kept(receipt: Receipt, length: int) -> str:
    return json.dumps(
        {
            "hash": receipt.transaction_hash.hex(),
            "block": receipt.block_number,
            "gas_used": receipt.gas_used,
            "contract": None if receipt.contract is None else receipt.contract.hex(),
            "logs": [
                [entry.address.hex(), [topic.hex() for topic in entry.topics], entry.data.hex(), entry.index]
                for entry in receipt.logs
            ],
            "length": length,
        }
    )


def _outcome(text: str) -> Outcome:
    kept = strictjson.loads(text, max_bytes=KEPT_BYTES, max_values=KEPT_BYTES)
    transaction_hash = bytes.fromhex(kept["hash"])
    logs = tuple(
        Log(
            bytes.fromhex(address),
            tuple(bytes.fromhex(topic) for topic in topics),
            bytes.fromhex(data),
            kept["block"],
            index,
            transaction_hash,
        )
        for address, topics, data, index in kept["logs"]
    )
    contract = None if kept["contract"] is None else bytes.fromhex(kept["contract"])
    return Outcome(Receipt(transaction_hash, kept["block"], True, kept["gas_used"], contract, logs), kept["length"])
