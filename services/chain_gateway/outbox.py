"""The outbox: what this gateway owes the chain, on disk before anything is sent.

A request is one transaction, named by its caller (`request_id`): whatever a node answers, at most one transaction of it lands. The rule
that gives this is about nonces, because the chain takes each of them once:

    Bytes that are on disk may be in a node's hands. A request whose bytes exist keeps its nonce, and every repetition uses that nonce,
    until a block is *seen* to hold another transaction of the account at it.

Only what a node shows is evidence: a receipt of one of our hashes, a block with a transaction at our nonce. What it does not show proves
nothing (one URL may be many backends, some of them behind), and what it says when it refuses proves nothing either: "invalid nonce" is also
the second backend's answer to bytes that the first one has just mined, "insufficient funds" may be said of a transaction that was taken.
Assumed is that a node does not invent blocks, receipts or transactions; a node that does can only make us believe in an end that is none.

                 SIGN                     TAKE
    planned ───────────► signed ──────────────────► sent            bytes exist; both are *active*: handed in, watched, taken up at a start
      │  ▲                 │ ▲                       │
      │  └── FREE ─────────┤ └── SIGN, RESEND ──┐    │
      │ REFUSE             ├── HOLD ─────────► held ◄┘              bytes exist and a node said no: the caller is answered Refused
      ▼                    │                    │ FREE
    refused ◄──────────────┼────────────────────┘                   no bytes exist (any more): repeat it, it is judged anew
                           ├── LAND ──────► mined                   in a block, status 1
                           └── REVERT, LOSE ► failed                in a block, status 0; or its nonce is used and no receipt is shown

`TRANSITIONS` is this picture as a table; the database refuses to write any other step (a trigger made from the same table), and two active
requests at one nonce of an account (a unique index).

A held request keeps nonce and bytes. Repeated, it is judged anew and handed in again: the same bytes, or, if its fee or its call no
longer fit, others at the same nonce. It does not block its account: the next request takes the lowest nonce without an active request,
which is the held one's if the chain has not passed it. From then on both hope for the same nonce and one of them gets it. The receipt of
one is the proof that the other never landed and never will: FREE. (Their bytes always differ, so a hash belongs to one request.) Where
requests with higher nonces wait and none comes to fill the hole, the outbox fills it itself with a transfer of nothing to the account.

The signed bytes are committed (SQLite, WAL, synchronous=FULL) before they are sent, so after `kill -9` at any point the same request ends
in one transaction: whether bytes on disk were handed in nobody knows, so they are taken for handed in, and sent again.

One lock per account owns its nonces: they are taken, signed, committed and sent under it, in order. Waiting for the receipt needs no lock.

What an Artela node does to a sender, and the answer here (`docs/artela.md` §6):
- it queues and replaces nothing, so a nonce is only ever the next one, and fees cannot be raised later;
- "already in mempool" comes also after the transaction was mined: it means known, look for the receipt;
- a transaction that was taken may be lost: if the node holds nothing at its nonce for a while, the same nonce is signed anew with a
  slightly different gas limit (the same bytes would be refused as known). Whichever lands, the nonce is used once;
- a transaction that makes the node panic never gets a receipt, but its nonce is used. Here alone absence decides, so it is asked for
  `Patience.lost_blocks` three times over, and what it decides is only what the caller hears (Refused, NoReceipt): the request is never
  sent again, and a receipt that shows up later is believed when the request is repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
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
from services.chain_gateway.chain import BLOCK_GAS, FEE_CAP, RAW_LIMIT, Call, Chain, Log, NonceRefused, Receipt, Taken
from services.chain_gateway.keystore import Keystore

KEPT_BYTES: Final = 64 << 20
"""JSON of one receipt or refusal in the file: as much as a node's answer may be."""
MAX_REQUEST_ID: Final = 192
"""Characters: a caller's 128, its namespace, and what a use case of several transactions puts behind them."""

MAX_ATTEMPTS: Final = 32
"""Signings of one request at its nonce; after that the last bytes are sent again."""
GWEI: Final = 10**9
MAX_GAS_PRICE: Final = 500 * GWEI
"""Wei per gas that are paid at most unless told otherwise: 25 times what the newest Artela node asks when it is idle."""

log = structlog.get_logger()


class _FileAway(Unavailable):
    """The outbox's file cannot be read or written just now: a full disk, a lost volume, somebody else's lock."""


class State(Enum):
    """Where a request stands."""

    PLANNED = "planned"
    SIGNED = "signed"
    SENT = "sent"
    HELD = "held"
    MINED = "mined"
    FAILED = "failed"
    REFUSED = "refused"


class Step(Enum):
    """What moves a request on."""

    REFUSE = "the chain says no before anything is signed"
    SIGN = "signed bytes are on disk, at the request's one nonce"
    RESEND = "the bytes that are there are handed in again"
    TAKE = "a node says that it has them"
    HOLD = "a node refused the bytes; they may be there all the same"
    LAND = "a receipt with status 1"
    REVERT = "a receipt with status 0"
    LOSE = "its nonce is used, and no node shows a receipt"
    FREE = "a block holds another transaction at its nonce"


ACTIVE: Final = (State.SIGNED, State.SENT)
"""Handed in, watched, and taken up again at a start. One for each nonce of an account."""

_ENDS: Final = {Step.LAND: State.MINED, Step.REVERT: State.FAILED}
_OPEN: Final = _ENDS | {Step.SIGN: State.SIGNED, Step.TAKE: State.SENT, Step.HOLD: State.HELD, Step.LOSE: State.FAILED}

TRANSITIONS: Final[Mapping[State, Mapping[Step, State]]] = {
    State.PLANNED: {Step.SIGN: State.SIGNED, Step.REFUSE: State.REFUSED},
    State.REFUSED: {Step.SIGN: State.SIGNED, Step.REFUSE: State.REFUSED},
    State.SIGNED: _OPEN | {Step.FREE: State.PLANNED},
    State.SENT: _OPEN | {Step.FREE: State.PLANNED},
    State.HELD: _ENDS
    | {Step.SIGN: State.SIGNED, Step.RESEND: State.SIGNED, Step.REFUSE: State.HELD, Step.FREE: State.REFUSED},
    # only after LOSE are there bytes left whose receipt may still be shown
    State.FAILED: _ENDS | {Step.FREE: State.FAILED},
    State.MINED: {},
}


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
    check_s: float = 2.5
    """How often the account's nonce is looked at while there is no receipt."""
    retry_s: float = 0.5
    """Pause before an unreachable node is tried again."""
    proofs: int = 3
    """How often in a row the first three must have passed before a used nonce without a receipt means failed."""


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

    @property
    def max_fee(self) -> int:
        """Wei per gas."""
        return int.from_bytes(_fields(self.raw)[3], "big")


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


def check_price(asked: int, limit: int, node: str) -> None:
    """asked, limit: wei per gas. Raises Refused where the node's word for the price is more than we believe."""
    if asked > limit:
        raise Refused(
            f"the node at {node} asks {asked / GWEI:g} gwei per gas and at most {limit / GWEI:g} are paid "
            "(LINKLEARNER_GATEWAY_MAX_GAS_PRICE_GWEI): wait, ask another node, or raise that setting if the price is right",
            reason="GasPriceTooHigh",
            facts={"asked": asked, "limit": limit},
        )


class Outbox:
    """Sends each request exactly once. Made by `Outbox.open`."""

    def __init__(
        self, database: _Database, chain: Chain, keystore: Keystore, patience: Patience, max_gas_price: int
    ) -> None:
        self._database = database
        self._chain = chain
        self._keystore = keystore
        self._patience = patience
        self._max_gas_price = max_gas_price
        self._lanes: dict[bytes, asyncio.Lock] = {}
        self._drivers: dict[str, asyncio.Task[Outcome]] = {}
        self._trouble: dict[str, LinkLearnerError] = {}
        self._fillers: dict[bytes, Request] = {}
        self._busy: Counter[bytes] = Counter()
        """Requests of each account that are being driven."""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        path: Path,
        chain: Chain,
        keystore: Keystore,
        patience: Patience | None = None,
        *,
        max_gas_price: int = MAX_GAS_PRICE,
    ) -> AsyncIterator[Outbox]:
        """Opens or creates the outbox and takes up every transaction that is still open.

        max_gas_price: wei per gas; nothing is signed that could cost more, whatever the node asks.
        Raises InvalidConfig if another process uses the file, or it belongs to another chain.
        """
        with _Database.open(path) as database:
            await _same_chain(path, database, chain)
            outbox = cls(database, chain, keystore, patience or Patience(), max_gas_price)
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
        chain's reason (repeat the same request_id, if the reason may pass: the request never becomes a second transaction); Unavailable or
        TimedOut where the end is not known yet (repeat it).
        """
        self._keystore.require(request.account)
        state = self._database.claim(request)
        if state is State.MINED or (state is State.FAILED and not self._database.hashes(request.request_id)):
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
        """From wherever the request stands to its end. What it does is read from the database at every turn: others decide, too."""
        self._busy[request.account] += 1
        try:
            return await self._driven(request, prepare)
        finally:
            self._busy[request.account] -= 1

    async def _driven(self, request: Request, prepare: Prepare) -> Outcome:
        name = request.request_id
        while True:
            try:
                match self._database.state(name):
                    case State.SIGNED | State.SENT:
                        await self._watch(request, delivered=False)
                    case State.HELD:
                        await self._take_up(request, prepare)
                    case State.FAILED if self._database.hashes(name):
                        with contextlib.suppress(LinkLearnerError):  # no news: it stays as it is
                            await self._look(request.account, self._database.nonce(name))
                        return self._database.ending(name)
                    case State.MINED | State.FAILED:
                        return self._database.ending(name)
                    case _:
                        async with self._lane(request.account):
                            delivered = await self._send_new(request, prepare)
                        await self._watch(request, delivered=delivered)
            except (
                _FileAway
            ) as error:  # every step is one transaction of the file: the last one that was written counts
                await self._pause(request, error)

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
            await asyncio.sleep(self._patience.retry_s)

    # -- under the account's lock

    async def _send_new(self, request: Request, prepare: Prepare) -> bool:
        """Plans, signs, commits, sends. False if the node does not take it yet. Raises Refused and the like."""
        try:
            call = await self._judged(request, prepare)
            pending = await self._chain.nonce(request.account, pending=True)
            nonce = self._database.free_nonce(request.account, pending)
            attempt = await self._signed(request.account, call, nonce)
        except Refused as refused:
            self._database.refused(request.request_id, refused)
            raise
        self._database.signed(request.request_id, attempt)
        return await self._deliver(request, attempt)

    async def _judged(self, request: Request, prepare: Prepare) -> Call:
        """The call with its gas limit. Raises what the chain would refuse it with now."""
        call = await prepare()
        return replace(call, gas_limit=call.gas_limit or await self._chain.gas_limit(request.account, call))

    async def _take_up(self, request: Request, prepare: Prepare) -> None:
        """A held request is repeated: judged and handed in again at its nonce, unless that is decided or another is tried there."""
        name, account = request.request_id, request.account
        nonce = self._database.nonce(name)
        if await self._look(account, nonce):
            return
        async with self._lane(account):
            if self._database.state(name) is not State.HELD:
                return  # decided meanwhile, as it may be after every await
            taken_by_another = self._database.is_active(account, nonce)
            if not taken_by_another:
                passed = await self._chain.nonce(account) > nonce
                if self._database.state(name) is not State.HELD:
                    return
                if passed:
                    self._database.resent(name)  # something landed there: watch until it is clear what
                    delivered = True
                else:
                    delivered = await self._send_held(request, prepare, nonce)
        if taken_by_another:
            await asyncio.sleep(self._patience.retry_s)
        else:
            await self._watch(request, delivered=delivered)

    async def _send_held(self, request: Request, prepare: Prepare, nonce: int) -> bool:
        attempts = self._database.attempts(request.request_id)
        attempt = attempts[-1]
        try:
            call = await self._judged(request, prepare)
            head, price = await asyncio.gather(self._chain.head(), self._chain.price())
            limit, needed = attempt.call.gas_limit or 0, call.gas_limit or 0
            fits = (
                replace(attempt.call, gas_limit=None) == replace(call, gas_limit=None)
                and limit >= needed
                and attempt.max_fee >= max(head.base_fee, price)
            )
            if not fits and len(attempts) < MAX_ATTEMPTS:
                attempt = await self._signed(request.account, call, nonce)
        except Refused as refused:
            if self._database.state(request.request_id) is State.HELD:
                self._database.refused(request.request_id, refused)
                raise
        if self._database.state(request.request_id) is not State.HELD:
            return False
        if attempt is attempts[-1]:
            self._database.resent(request.request_id)
        else:
            self._database.signed(request.request_id, attempt)
        return await self._deliver(request, attempt)

    async def _sign_anew(self, request: Request) -> bool:
        """The same nonce again in other bytes, so that the node does not know them yet. As `_deliver`."""
        attempts = self._database.attempts(request.request_id)
        attempt = attempts[-1]
        if len(attempts) < MAX_ATTEMPTS:
            log.warning(
                "transaction_signed_anew",
                request_id=request.request_id,
                nonce=attempt.nonce,
                attempt=len(attempts) + 1,
            )
            attempt = await self._signed(request.account, attempt.call, attempt.nonce)
            if self._database.state(request.request_id) not in ACTIVE:
                return False
            self._database.signed(request.request_id, attempt)
        return await self._deliver(request, attempt)

    async def _signed(self, account: bytes, call: Call, nonce: int) -> _Attempt:
        """Bytes that no request has yet: one unit of gas apart from those that are there. Raises Refused; nothing is kept yet."""
        head, price = await asyncio.gather(self._chain.head(), self._chain.price())
        gas_limit = call.gas_limit or 0
        asked = max(price, head.base_fee, 1)
        check_price(asked, self._max_gas_price, self._chain.shown_url)
        # The fee cannot be raised later: twice the present price outlasts five full blocks. What is paid is the base fee and the tip.
        fee = min(2 * asked, self._max_gas_price, (FEE_CAP - 1) // gas_limit)
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
        apart = 1 if gas_limit + MAX_ATTEMPTS <= BLOCK_GAS else -1
        while True:
            attempt = _Attempt.of(self._keystore.sign_transaction(account, transaction))
            if len(attempt.raw) > RAW_LIMIT:
                raise Refused(
                    f"the signed transaction has {len(attempt.raw)} bytes and the chain takes {RAW_LIMIT}; send fewer pages",
                    reason="TransactionTooLarge",
                    facts={"bytes": len(attempt.raw), "limit": RAW_LIMIT},
                )
            if not self._database.knows(attempt.hash):
                return attempt
            transaction["gas"] += apart

    async def _deliver(self, request: Request, attempt: _Attempt) -> bool:
        """Hands the signed transaction to the node.

        True: it has it, or something else is at its nonce: watch. False: it does not take it yet, hand it in again later. Raises Refused
        if it says no and the account's nonce does not tell otherwise, Unavailable if it breaks off and others wait; then it is held.
        """
        name = request.request_id
        began = self._now()
        while True:
            no: Refused | Unavailable
            try:
                taken = await self._chain.send(attempt.raw)
            except NonceRefused as error:
                log.info("nonce_refused", request_id=name, nonce=attempt.nonce, detail=error.message)
                return await self._has_arrived(request, attempt)
            except Refused as error:
                no = error
            except LinkLearnerError as error:
                await self._pause(request, error)
                others_wait = self._busy[request.account] > 1 and self._now() - began >= self._patience.lost_at_most_s
                if not others_wait or not await self._answers(request):
                    continue
                # this transaction alone is what the node, or what stands before it, cannot bear
                no = Unavailable(f"the node answers questions, but not this transaction: {error.message}")
            else:
                if taken is Taken.KNOWN:
                    log.info("transaction_known", request_id=name)
                self._trouble.pop(name, None)
                if self._database.knows(attempt.hash):  # else its nonce was decided while we asked
                    self._database.taken(name)
                return True
            if await self._has_arrived(request, attempt) or not self._database.knows(attempt.hash):
                return True
            self._database.held(name, no)
            raise type(no)(
                f"{no.message}; the transaction was handed in: repeat the same request_id, it keeps its nonce {attempt.nonce}",
                reason=no.reason,
                facts=no.facts | {"handed_in": "0x" + attempt.hash.hex(), "nonce": attempt.nonce},
            )

    async def _has_arrived(self, request: Request, attempt: _Attempt) -> bool:
        """Whether the node knows of a transaction at our nonce."""
        while True:
            try:
                if await self._chain.nonce(request.account, pending=True) > attempt.nonce:
                    return True
                return await self._chain.receipt(attempt.hash) is not None
            except LinkLearnerError as error:
                await self._pause(request, error)

    async def _answers(self, request: Request) -> bool:
        try:
            await self._chain.nonce(request.account, pending=True)
        except LinkLearnerError:
            return False
        return True

    async def _pause(self, request: Request, error: LinkLearnerError) -> None:
        if request.request_id not in self._trouble:
            log.warning("chain_unavailable", request_id=request.request_id, detail=error.message)
        self._trouble[request.request_id] = error
        await asyncio.sleep(self._patience.retry_s)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    # -- waiting

    async def _watch(self, request: Request, *, delivered: bool) -> None:
        """Until the request is not active any more: its nonce is decided, or (raising that) a node refused it.

        delivered: handed in just now; otherwise it is handed in first.
        """
        patience = self._patience
        if self._database.state(request.request_id) not in ACTIVE:
            return
        pause = patience.first_poll_s
        checked = self._now()
        nonce = self._database.nonce(request.request_id)
        missing = used = _Timer(patience)
        proofs = 0
        while True:
            block_seen = self._chain.heads.number  # before looking: a block that comes meanwhile is looked at
            try:
                if await self._look(request.account, nonce):
                    return
                if not delivered:
                    async with self._lane(request.account):
                        if self._database.state(request.request_id) not in ACTIVE:
                            return
                        delivered = await self._deliver(request, self._database.attempts(request.request_id)[-1])
                if self._now() - checked >= patience.check_s:  # only where the quick answer did not come
                    checked = self._now()
                    latest = await self._chain.nonce(request.account)
                    pending = await self._chain.nonce(request.account, pending=True)
                    block = await self._chain.head_number()
                    first_seen = latest > nonce and used.since is None
                    used = used.next(latest > nonce, block)
                    missing = missing.next(pending <= nonce, block)
                    if first_seen and await self._used_by_another(request, nonce, block):
                        return
                    if used.expired(block):
                        if await self._used_by_another(request, nonce, block):
                            return
                        used, proofs = _Timer(patience), proofs + 1
                        if proofs >= patience.proofs:
                            await self._failed_without_receipt(request, nonce)
                    elif missing.expired(block):
                        missing = _Timer(patience)
                        delivered = await self._revive(request, nonce, pending)
                    if latest <= nonce:
                        proofs = 0
                self._trouble.pop(request.request_id, None)
            except _FileAway:
                raise
            except LinkLearnerError as error:
                if self._database.state(request.request_id) not in ACTIVE:
                    raise
                # whatever the node refuses to tell, the transaction is out there: to give up now could have it sent twice
                await self._pause(request, error)
            if self._database.state(request.request_id) not in ACTIVE:
                return
            if delivered:
                await self._next_block(block_seen, pause)
                pause = min(pause * 1.5, patience.longest_poll_s)
            else:
                await self._predecessors(request)

    async def _next_block(self, seen: int, pause_s: float) -> None:
        try:
            await self._chain.heads.after(seen, pause_s)
        except LinkLearnerError:  # the look that follows meets the same trouble, and tells of it
            await asyncio.sleep(pause_s)

    async def _revive(self, request: Request, nonce: int, pending: int) -> bool:
        """The node has held nothing at our nonce for a while. As `_deliver`."""
        if self._database.free_nonce(request.account, pending) < nonce:
            self._fill(request.account)
            return False
        if pending < nonce:
            return False  # what we have below is on its way
        async with self._lane(request.account):
            if self._database.state(request.request_id) not in ACTIVE:
                return True
            return await self._sign_anew(request)

    def _fill(self, account: bytes) -> None:
        """Fills the lowest nonce that nobody is trying, so that what waits above it can land."""
        filler = self._fillers.get(account)
        if filler is not None and filler.request_id in self._drivers:
            return
        if filler is None or self._database.state(filler.request_id) in (State.MINED, State.FAILED):
            name = f"fill/{account.hex()}/{secrets.token_hex(16)}"  # nobody else can name it
            filler = self._fillers[account] = Request(request_id=name, account=account, kind="fill", contents=b"")
            self._database.claim(filler)
        log.warning("nonce_filled", account="0x" + account.hex(), request_id=filler.request_id)
        self._start(filler, always(Call(account)))

    async def _look(self, account: bytes, nonce: int) -> bool:
        """Whether the nonce is decided: a transaction that we have signed at it has a receipt. Its request ends, the others are free."""
        for request_id, attempt in self._database.attempts_at(account, nonce):
            receipt = await self._chain.receipt(attempt.hash)
            if receipt is None or receipt.transaction_hash != attempt.hash:
                continue
            if receipt.succeeded:
                self._database.decided(attempt, request_id, Step.LAND, _kept(receipt, len(attempt.raw)))
                return True
            reason = await self._chain.why_failed(receipt, account, attempt.call)
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
            self._database.decided(attempt, request_id, Step.REVERT, _told(refused))
            return True
        return False

    async def _used_by_another(self, request: Request, nonce: int, head: int) -> bool:
        """Whether a block is seen to hold a transaction at our nonce that is none of ours: then everything signed at it is void."""
        home = self._database.home()
        assert home is not None
        found = await self._chain.transaction_at(request.account, nonce, home[1], head)
        if found is None or self._database.knows(found):
            return False
        log.warning("nonce_used_by_another", request_id=request.request_id, nonce=nonce, transaction="0x" + found.hex())
        self._database.used_by_another(request.account, nonce)
        return True

    async def _failed_without_receipt(self, request: Request, nonce: int) -> None:
        if await self._look(request.account, nonce):  # the receipt may have come between the last look and the nonce
            return
        if self._database.state(request.request_id) not in ACTIVE:
            return
        refused = Refused(
            f"nonce {nonce} is used and the transaction has no receipt: the node failed on it, or another program used the key; "
            "it is not sent again. Make a new request if it should be tried again",
            reason="NoReceipt",
            facts={"nonce": nonce},
        )
        self._database.lost(request.request_id, refused)


@dataclass(frozen=True, slots=True)
class _Timer:
    """Since when something has been so, in blocks and seconds."""

    patience: Patience
    since: tuple[int, float] | None = None

    def next(self, holds: bool, block: int) -> _Timer:
        if not holds:
            return _Timer(self.patience)
        return self if self.since is not None else _Timer(self.patience, (block, asyncio.get_running_loop().time()))

    def expired(self, block: int) -> bool:
        if self.since is None:
            return False
        blocks, seconds = block - self.since[0], asyncio.get_running_loop().time() - self.since[1]
        patience = self.patience
        return (
            blocks >= patience.lost_blocks and seconds >= patience.lost_at_least_s
        ) or seconds >= patience.lost_at_most_s


_ALLOWED: Final = ", ".join(
    sorted({f"('{state.value}', '{after.value}')" for state, steps in TRANSITIONS.items() for after in steps.values()})
)
# The first four statements are what files of earlier versions hold, too: their states and columns mean the same.
_SCHEMA = f"""
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
CREATE TABLE IF NOT EXISTS attempt (
    position INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    raw BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS attempt_of ON attempt (request_id);
DROP INDEX IF EXISTS request_open;
CREATE UNIQUE INDEX IF NOT EXISTS request_active ON request (account, nonce) WHERE state IN ('signed', 'sent');
CREATE INDEX IF NOT EXISTS request_at ON request (account, nonce) WHERE nonce IS NOT NULL;
DROP TRIGGER IF EXISTS request_step;
CREATE TRIGGER request_step BEFORE UPDATE ON request
WHEN (OLD.state, NEW.state) NOT IN (VALUES {_ALLOWED})
    OR (NEW.nonce IS NOT OLD.nonce AND NOT (OLD.nonce IS NULL OR NEW.nonce IS NULL))
    OR (NEW.nonce IS NULL AND NEW.state NOT IN ('planned', 'refused'))
BEGIN SELECT RAISE(ABORT, 'the outbox has no such step'); END;
"""


class _Database:
    """The outbox's file. Every method is one durable transaction of a few milliseconds at most, so it runs on the event loop.

    Raises _FileAway while the file cannot be read or written; nothing of that transaction is kept then.
    """

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
        row: tuple[int, int, bytes] | None = self._one("SELECT * FROM home")
        return row

    def move_in(self, chain_id: int, block_number: int, block_hash: bytes) -> None:
        with self._write() as connection:
            connection.execute("INSERT INTO home VALUES (?, ?, ?)", (chain_id, block_number, block_hash))

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with _file_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")  # may fail, too: a full disk is noticed here
            except BaseException:
                if self._connection.in_transaction:  # SQLite has ended it already after some errors
                    self._connection.execute("ROLLBACK")
                raise

    def _all(self, query: str, *parameters: object) -> list[Any]:
        with _file_errors():
            return self._connection.execute(query, parameters).fetchall()

    def _one(self, query: str, *parameters: object) -> Any:
        with _file_errors():
            return self._connection.execute(query, parameters).fetchone()

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
        row = self._one("SELECT state FROM request WHERE request_id = ?", request_id)
        return None if row is None else State(row[0])

    def holds_nonce(self, request_id: str, account: bytes) -> bool:
        return (
            self._one(
                "SELECT 1 FROM request WHERE request_id = ? AND account = ? AND state IN ('signed', 'sent')",
                request_id,
                account,
            )
            is not None
        )

    def is_active(self, account: bytes, nonce: int) -> bool:
        """Whether a request is being sent at this nonce."""
        return (
            self._one(
                "SELECT 1 FROM request WHERE account = ? AND nonce = ? AND state IN ('signed', 'sent')", account, nonce
            )
            is not None
        )

    def free_nonce(self, account: bytes, pending: int) -> int:
        """The lowest nonce at which nothing of ours has landed or is being sent.

        pending: what the node would take next; it may be behind what we have seen ourselves.
        """
        landed = self._one(
            "SELECT nonce FROM request WHERE account = ? AND nonce IS NOT NULL AND state IN ('mined', 'failed') "
            "AND request_id NOT IN (SELECT request_id FROM attempt) ORDER BY nonce DESC LIMIT 1",
            account,
        )
        nonce = pending if landed is None else max(pending, int(landed[0]) + 1)
        active = self._all(
            "SELECT nonce FROM request WHERE account = ? AND nonce >= ? AND state IN ('signed', 'sent') ORDER BY nonce",
            account,
            nonce,
        )
        for (taken,) in active:
            if taken != nonce:
                break
            nonce += 1
        return nonce

    def open_requests(self) -> list[Request]:
        rows = self._all(
            "SELECT request_id, account, kind FROM request WHERE state IN ('signed', 'sent') ORDER BY nonce"
        )
        return [Request(request_id=row[0], account=row[1], kind=row[2], contents=b"") for row in rows]

    def attempts(self, request_id: str) -> list[_Attempt]:
        rows = self._all("SELECT raw FROM attempt WHERE request_id = ? ORDER BY position", request_id)
        return [_Attempt.of(row[0]) for row in rows]

    def attempts_at(self, account: bytes, nonce: int) -> list[tuple[str, _Attempt]]:
        """All that was ever signed at a nonce that is not decided, and whose it is."""
        rows = self._all(
            "SELECT request_id, raw FROM attempt JOIN request USING (request_id) WHERE account = ? AND nonce = ? "
            "ORDER BY position DESC",
            account,
            nonce,
        )
        return [(row[0], _Attempt.of(row[1])) for row in rows]

    def hashes(self, request_id: str) -> list[bytes]:
        rows = self._all("SELECT hash FROM attempt WHERE request_id = ? ORDER BY position", request_id)
        return [row[0] for row in rows]

    def knows(self, transaction_hash: bytes) -> bool:
        """Whether we have signed this transaction, at a nonce that is not decided."""
        return self._one("SELECT 1 FROM attempt WHERE hash = ?", transaction_hash) is not None

    def nonce(self, request_id: str) -> int:
        """Of a request that has one."""
        return int(self._one("SELECT nonce FROM request WHERE request_id = ?", request_id)[0])

    def signed(self, request_id: str, attempt: _Attempt) -> None:
        with self._write() as connection:
            connection.execute(
                "INSERT INTO attempt (request_id, hash, raw) VALUES (?, ?, ?)", (request_id, attempt.hash, attempt.raw)
            )
            self._step(request_id, Step.SIGN, nonce=attempt.nonce)

    def resent(self, request_id: str) -> None:
        with self._write():
            self._step(request_id, Step.RESEND)

    def taken(self, request_id: str) -> None:
        with self._write():
            self._step(request_id, Step.TAKE)

    def refused(self, request_id: str, refused: Refused) -> None:
        """Before anything new was signed."""
        with self._write():
            self._step(request_id, Step.REFUSE, ending=_told(refused))

    def held(self, request_id: str, refused: LinkLearnerError) -> None:
        with self._write():
            self._step(request_id, Step.HOLD, ending=_told(refused))

    def lost(self, request_id: str, refused: Refused) -> None:
        """The bytes are kept: their receipt may be shown later."""
        with self._write():
            self._step(request_id, Step.LOSE, ending=_told(refused))

    def decided(self, attempt: _Attempt, request_id: str, step: Step, ending: str) -> None:
        """A block holds this attempt: its request ends, all others at its nonce are free. Nothing if that is known already."""
        with self._write() as connection:
            row = connection.execute(
                "SELECT account FROM attempt JOIN request USING (request_id) WHERE hash = ?", (attempt.hash,)
            ).fetchone()
            if row is None:
                return
            connection.execute("DELETE FROM attempt WHERE request_id = ?", (request_id,))
            self._step(request_id, step, ending=ending)
            self._free(row[0], attempt.nonce)

    def used_by_another(self, account: bytes, nonce: int) -> None:
        """A block holds a transaction at this nonce that is none of ours."""
        with self._write():
            self._free(account, nonce)

    def _free(self, account: bytes, nonce: int) -> None:
        rows = self._connection.execute(
            "SELECT DISTINCT request_id, state FROM request JOIN attempt USING (request_id) WHERE account = ? AND nonce = ?",
            (account, nonce),
        ).fetchall()
        for request_id, state in rows:
            self._connection.execute("DELETE FROM attempt WHERE request_id = ?", (request_id,))
            keeps = {"nonce": nonce} if State(state) is State.FAILED else {"nonce": None}
            self._step(request_id, Step.FREE, **keeps)

    def _step(self, request_id: str, step: Step, **columns: Any) -> None:
        state = State(
            self._connection.execute("SELECT state FROM request WHERE request_id = ?", (request_id,)).fetchone()[0]
        )
        if step not in TRANSITIONS[state]:
            raise RuntimeError(f"a request that is {state.value} has no step {step.name}")
        columns["state"] = TRANSITIONS[state][step].value
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._connection.execute(
            f"UPDATE request SET {assignments} WHERE request_id = ?", (*columns.values(), request_id)
        )

    def ending(self, request_id: str) -> Outcome:
        """How a request ended. Raises what it was refused with."""
        row = self._one("SELECT state, ending FROM request WHERE request_id = ?", request_id)
        if State(row[0]) is not State.MINED:
            told = strictjson.loads(row[1], max_bytes=KEPT_BYTES, max_values=KEPT_BYTES)
            raise Refused(told["message"], reason=told["reason"], facts=told["facts"])
        return _outcome(row[1])


@contextlib.contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _FileAway(
            f"the outbox cannot be read or written ({error}): is its disk full or gone? It is tried again",
            reason="DatabaseAway",
        ) from error


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


def _told(refused: LinkLearnerError) -> str:
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
