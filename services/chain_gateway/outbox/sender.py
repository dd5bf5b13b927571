"""Each request is driven to its end by one task, whoever waits for it; what was signed is driven on after a start."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import structlog

from linklearner.domain.errors import LinkLearnerError, TimedOut, Unavailable
from services.chain_gateway.chain import Call, Chain
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.outbox.delivery import Delivery, Troubles
from services.chain_gateway.outbox.evidence import Evidence
from services.chain_gateway.outbox.fees import MAX_GAS_PRICE
from services.chain_gateway.outbox.patience import Patience
from services.chain_gateway.outbox.requests import Outcome, Prepare, Request, always
from services.chain_gateway.outbox.signing import Signer
from services.chain_gateway.outbox.states import ENDED, State
from services.chain_gateway.outbox.store import OutboxStore, StoreUnavailable
from services.chain_gateway.outbox.watch import Watch

log = structlog.get_logger()


class Outbox:
    """Sends each request exactly once. Made by `Outbox.open`."""

    def __init__(
        self, store: OutboxStore, chain: Chain, keystore: Keystore, patience: Patience, max_gas_price: int
    ) -> None:
        self._store = store
        self._keystore = keystore
        self._patience = patience
        self._drivers: dict[str, asyncio.Task[Outcome]] = {}
        self._driven: Counter[bytes] = Counter()
        self._fillers: dict[bytes, Request] = {}
        self._troubles = Troubles(patience.retry_s)
        self._evidence = Evidence(store, chain)
        self._delivery = Delivery(
            store,
            chain,
            Signer(chain, keystore, max_gas_price, store.knows),
            self._evidence,
            patience,
            self._troubles,
            self._driven,
        )
        self._watch = Watch(
            store, chain, self._evidence, self._delivery, patience, self._troubles, self._predecessors, self._fill
        )

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
        with OutboxStore.open(path) as store:
            await store.check_chain(path, chain)
            outbox = cls(store, chain, keystore, patience or Patience(), max_gas_price)
            outbox._resume()
            review = asyncio.create_task(outbox._review(), name="outbox review")
            try:
                yield outbox
            finally:
                tasks = [review, *outbox._drivers.values()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def accounts(self) -> tuple[bytes, ...]:
        """Whose keys are held, 20 bytes each."""
        return self._keystore.addresses

    def salt(self, account: bytes, purpose: bytes) -> bytes:
        """`Keystore.salt`. Raises NotFound for an account without a key."""
        return self._keystore.salt(account, purpose)

    def state(self, request_id: str) -> State | None:
        """None for a request that was never made."""
        return self._store.state(request_id)

    async def fulfil(self, request: Request, prepare: Prepare) -> Outcome:
        """Drives a request to its end and answers it, however often it is repeated.

        Raises RequestIdReused if the request_id stands for something else; NotFound for an account without a key; Refused with the
        chain's reason (repeat the same request_id, if the reason may pass: the request never becomes a second transaction); Unavailable or
        TimedOut where the end is not known yet (repeat it).
        """
        name = request.request_id
        self._keystore.require(request.account)
        state = self._store.claim(request)
        if state is State.MINED or (state is State.FAILED and not self._store.hashes(name)):
            return self._store.ending(name)
        driver = self._drivers.get(name) or self._start(request, prepare)
        done, _ = await asyncio.wait({driver}, timeout=self._patience.receipt_s)
        if done:
            return driver.result()
        trouble = self._troubles.of(name)
        if trouble is not None:
            raise Unavailable(trouble.message)
        hashes = self._store.hashes(name)
        raise TimedOut(
            f"no receipt within {self._patience.receipt_s:g} s; the transaction is kept and watched: repeat the same request_id",
            facts={"transaction": "0x" + hashes[-1].hex()} if hashes else {},
        )

    # -- drivers

    def _resume(self) -> None:
        for request in self._store.active():  # by nonce, so that the lanes are entered in order
            if request.account not in self._keystore:
                log.warning("key_missing", request_id=request.request_id, account="0x" + request.account.hex())
                continue
            log.info("request_resumed", request_id=request.request_id, kind=request.kind)
            # if it has to be sent at another nonce, it is the same call, judged anew
            call = replace(self._store.attempts(request.request_id)[-1].call, gas_limit=None)
            with structlog.contextvars.bound_contextvars(request=request.request_id):
                self._start(request, always(call))

    def _start(self, request: Request, prepare: Prepare) -> asyncio.Task[Outcome]:
        driver = asyncio.create_task(self._drive(request, prepare), name=f"outbox {request.request_id}")
        self._drivers[request.request_id] = driver
        driver.add_done_callback(lambda done: self._ended(request, done))
        return driver

    def _ended(self, request: Request, driver: asyncio.Task[Outcome]) -> None:
        self._drivers.pop(request.request_id, None)
        self._troubles.over(request.request_id)
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
        """From wherever the request stands to its end."""
        self._driven[request.account] += 1
        try:
            while True:
                try:
                    outcome = await self._advance(request, prepare)
                except (
                    StoreUnavailable
                ) as error:  # each step is one transaction of the file: the last that was written counts
                    await self._troubles.wait(request, error)
                else:
                    if outcome is not None:
                        return outcome
        finally:
            self._driven[request.account] -= 1

    async def _advance(self, request: Request, prepare: Prepare) -> Outcome | None:
        """One stretch of the way. Where it begins is read from the file: other requests, and blocks, decide too."""
        name = request.request_id
        match self._store.state(name):
            case State.SIGNED | State.SENT:
                await self._watch.until_decided(request, handed_in=False)
            case State.HELD:
                handed_in = await self._delivery.take_up(request, prepare)
                if handed_in is not None:
                    await self._watch.until_decided(request, handed_in=handed_in)
            case State.FAILED if self._store.hashes(name):
                with contextlib.suppress(LinkLearnerError):  # no news: it stays as it is
                    await self._evidence.look(request.account, self._store.nonce(name))
                return self._store.ending(name)
            case State.MINED | State.FAILED:
                return self._store.ending(name)
            case _:
                handed_in = await self._delivery.send_new(request, prepare)
                await self._watch.until_decided(request, handed_in=handed_in)
        return None

    async def _predecessors(self, request: Request) -> None:
        """The node wants a lower nonce first: wait for our transactions that hold one, or for whoever else uses this key."""
        ahead = [
            self._drivers[other.request_id]
            for other in self._store.active()
            if other.account == request.account
            and other.request_id != request.request_id
            and other.request_id in self._drivers
        ]
        if ahead:
            await asyncio.wait(ahead, return_when=asyncio.FIRST_COMPLETED, timeout=self._patience.retry_s)
        else:
            await asyncio.sleep(self._patience.retry_s)

    def _fill(self, account: bytes) -> None:
        """Fills the lowest nonce that nobody is trying, so that what waits above it can land."""
        filler = self._fillers.get(account)
        if filler is not None and filler.request_id in self._drivers:
            return
        if filler is None or self._store.state(filler.request_id) in ENDED:
            name = f"fill/{account.hex()}/{secrets.token_hex(16)}"  # nobody else can name it
            filler = self._fillers[account] = Request(request_id=name, account=account, kind="fill", contents=b"")
            self._store.claim(filler)
        log.warning("nonce_filled", account="0x" + account.hex(), request_id=filler.request_id)
        self._start(filler, always(Call(account)))

    async def _review(self) -> NoReturn:
        """What nobody drives may land unseen: it is looked for at a start and from then on now and again, so that the file is true."""
        while True:
            with contextlib.suppress(LinkLearnerError):  # the node or the file is away: the next time
                await self._evidence.review()
            await asyncio.sleep(self._patience.review_s)
