"""From a plan to a node's hands: one account's transactions, in the order of their nonces.

One lock per account, its lane, owns its nonces: they are taken, signed, committed and sent under it. Waiting for the receipt needs no lock.

What an Artela node does to a sender, and the answer here (`docs/artela.md`, §6):
- it queues and replaces nothing, so a nonce is only ever the next one, and fees cannot be raised later;
- "already in mempool" comes also after the transaction was mined: it means known, look for the receipt;
- a transaction that was taken may be lost: if the node holds nothing at its nonce for a while, the same nonce is signed anew with a
  slightly different gas limit (the same bytes would be refused as known). Whichever lands, the nonce is used once;
- a transaction that makes the node panic never gets a receipt, but its nonce is used (`watch`, `Evidence.give_up`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import structlog

from linklearner.domain.errors import LinkLearnerError, Refused, Unavailable
from services.chain_gateway.chain import Call, Chain, NonceRefused, SendResult
from services.chain_gateway.outbox.attempts import Attempt
from services.chain_gateway.outbox.evidence import Evidence
from services.chain_gateway.outbox.patience import Patience
from services.chain_gateway.outbox.requests import Prepare, Request
from services.chain_gateway.outbox.signing import MAX_ATTEMPTS, Signer
from services.chain_gateway.outbox.states import State
from services.chain_gateway.outbox.store import OutboxStore

log = structlog.get_logger()


class Troubles:
    """What keeps each request waiting just now. Callers hear it where their patience ends first."""

    def __init__(self, retry_s: float) -> None:
        self._retry_s = retry_s
        self._errors: dict[str, LinkLearnerError] = {}

    async def wait(self, request: Request, error: LinkLearnerError) -> None:
        """A pause, after which it may be tried again."""
        if request.request_id not in self._errors:
            log.warning("chain_unavailable", request_id=request.request_id, detail=error.message)
        self._errors[request.request_id] = error
        await asyncio.sleep(self._retry_s)

    def over(self, request_id: str) -> None:
        self._errors.pop(request_id, None)

    def of(self, request_id: str) -> LinkLearnerError | None:
        return self._errors.get(request_id)


class Delivery:
    """Whatever returns "handed in": True if the node has it, or something else is at its nonce: watch. False: not yet, hand it in again."""

    def __init__(
        self,
        store: OutboxStore,
        chain: Chain,
        signer: Signer,
        evidence: Evidence,
        patience: Patience,
        troubles: Troubles,
        driven: Counter[bytes],
    ) -> None:
        """driven: how many requests of each account are being driven."""
        self._store = store
        self._chain = chain
        self._signer = signer
        self._evidence = evidence
        self._patience = patience
        self._troubles = troubles
        self._driven = driven
        self._lanes: dict[bytes, asyncio.Lock] = {}

    async def send_new(self, request: Request, prepare: Prepare) -> bool:
        """Plans, signs, commits, hands in. Raises Refused and the like."""
        async with self._lane(request):
            try:
                call = await self._judged(request, prepare)
                pending = await self._chain.nonce(request.account, pending=True)
                nonce = self._store.free_nonce(request.account, pending)
                attempt = await self._signer.sign(request.account, call, nonce)
            except Refused as refused:
                self._store.refused(request.request_id, refused)
                raise
            self._store.signed(request.request_id, attempt)
            return await self._hand_in(request, attempt)

    async def take_up(self, request: Request, prepare: Prepare) -> bool | None:
        """A held request is repeated: judged and handed in again at its nonce. None if that is decided or another is tried there."""
        name, account = request.request_id, request.account
        nonce = self._store.nonce(name)
        if await self._evidence.look(account, nonce):
            return None
        async with self._lane(request):
            if self._store.state(name) is not State.HELD:
                return None  # decided meanwhile, as it may be after every await
            if not self._store.active_at(account, nonce):
                passed = await self._chain.nonce(account) > nonce
                if self._store.state(name) is not State.HELD:
                    return None
                if passed:
                    self._store.resent(name)  # something landed there: watch until it is clear what
                    return True
                return await self._send_held(request, prepare, nonce)
        await asyncio.sleep(self._patience.retry_s)
        return None

    async def send_again(self, request: Request) -> bool:
        """The bytes that are there. True if the request is not active any more."""
        async with self._lane(request):
            if not self._store.is_active(request.request_id):
                return True
            return await self._hand_in(request, self._store.attempts(request.request_id)[-1])

    async def sign_anew(self, request: Request) -> bool:
        """The same nonce again in other bytes, so that the node does not know them yet. True if the request is not active any more."""
        async with self._lane(request):
            if not self._store.is_active(request.request_id):
                return True
            attempts = self._store.attempts(request.request_id)
            attempt = attempts[-1]
            if len(attempts) < MAX_ATTEMPTS:
                log.warning(
                    "transaction_signed_anew",
                    request_id=request.request_id,
                    nonce=attempt.nonce,
                    attempt=len(attempts) + 1,
                )
                attempt = await self._signer.sign(request.account, attempt.call, attempt.nonce)
                if not self._store.is_active(request.request_id):
                    return False
                self._store.signed(request.request_id, attempt)
            return await self._hand_in(request, attempt)

    # -- under the account's lock

    def _lane(self, request: Request) -> asyncio.Lock:
        return self._lanes.setdefault(request.account, asyncio.Lock())

    async def _judged(self, request: Request, prepare: Prepare) -> Call:
        """The call with its gas limit. Raises what the chain would refuse it with now."""
        call = await prepare()
        return replace(call, gas_limit=call.gas_limit or await self._chain.gas_limit(request.account, call))

    async def _send_held(self, request: Request, prepare: Prepare, nonce: int) -> bool:
        attempts = self._store.attempts(request.request_id)
        attempt = attempts[-1]
        try:
            call = await self._judged(request, prepare)
            if not await self._signer.still_fits(attempt, call) and len(attempts) < MAX_ATTEMPTS:
                attempt = await self._signer.sign(request.account, call, nonce)
        except Refused as refused:
            if self._store.state(request.request_id) is State.HELD:
                self._store.refused(request.request_id, refused)
                raise
        if self._store.state(request.request_id) is not State.HELD:
            return False
        if attempt is attempts[-1]:
            self._store.resent(request.request_id)
        else:
            self._store.signed(request.request_id, attempt)
        return await self._hand_in(request, attempt)

    async def _hand_in(self, request: Request, attempt: Attempt) -> bool:
        """Raises Refused if the node says no and the account's nonce does not show otherwise, Unavailable if the node breaks off and
        others wait; then the request is held."""
        name = request.request_id
        began = _now()
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
                await self._troubles.wait(request, error)
                others_wait = self._driven[request.account] > 1 and _now() - began >= self._patience.lost_at_most_s
                if not others_wait or not await self._answers(request):
                    continue
                # this transaction alone is what the node, or what stands before it, cannot bear
                no = Unavailable(f"the node answers questions, but not this transaction: {error.message}")
            else:
                if taken is SendResult.ALREADY_KNOWN:
                    log.info("transaction_known", request_id=name)
                self._troubles.over(name)
                if self._store.knows(attempt.hash):  # else its nonce was decided while we asked
                    self._store.taken(name)
                return True
            if await self._has_arrived(request, attempt) or not self._store.knows(attempt.hash):
                return True
            self._store.held(name, no)
            raise type(no)(
                f"{no.message}; the transaction was handed in: repeat the same request_id, it keeps its nonce {attempt.nonce}",
                reason=no.reason,
                facts=no.facts | {"handed_in": "0x" + attempt.hash.hex(), "nonce": attempt.nonce},
            )

    async def _has_arrived(self, request: Request, attempt: Attempt) -> bool:
        """Whether the node knows of a transaction at our nonce."""
        while True:
            try:
                if await self._chain.nonce(request.account, pending=True) > attempt.nonce:
                    return True
                return await self._chain.receipt(attempt.hash) is not None
            except LinkLearnerError as error:
                await self._troubles.wait(request, error)

    async def _answers(self, request: Request) -> bool:
        try:
            await self._chain.nonce(request.account, pending=True)
        except LinkLearnerError:
            return False
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
