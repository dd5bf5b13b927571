"""What blocks show of our nonces. Only this ends a request whose bytes exist."""

from __future__ import annotations

import contextlib

import structlog

from linklearner.chain.answers import Receipt
from linklearner.domain.errors import LinkLearnerError, Refused, Unavailable
from services.chain_gateway.chain import Chain
from services.chain_gateway.outbox.requests import Outcome
from services.chain_gateway.outbox.states import State
from services.chain_gateway.outbox.store import OutboxStore

log = structlog.get_logger()


class Evidence:
    """Looks, and writes down what it has seen. Raises what the node answers instead."""

    def __init__(self, store: OutboxStore, chain: Chain) -> None:
        self._store = store
        self._chain = chain

    async def look(self, account: bytes, nonce: int) -> bool:
        """Whether the nonce is decided: a transaction that we have signed at it has a receipt. Its request ends, the others are free."""
        for request_id, attempt in self._store.attempts_at(account, nonce):
            receipt = await self._chain.receipt(attempt.hash)
            if receipt is None or receipt.transaction_hash != attempt.hash:
                continue
            await self._believed(receipt)
            if receipt.succeeded:
                self._store.landed(attempt, request_id, Outcome(receipt, len(attempt.raw)))
                return True
            reason = await self._chain.why_failed(receipt, account, attempt.call)
            facts = {
                "transaction": "0x" + receipt.transaction_hash.hex(),
                "block": receipt.block_number,
                "gas_used": receipt.gas_used,
            }
            refused = Refused(reason.message, reason=reason.reason, facts=reason.facts | facts)
            self._store.reverted(attempt, request_id, refused)
            return True
        return False

    async def _believed(self, receipt: Receipt) -> None:
        """Raises Unavailable for a receipt of a block that is not there: written down, whoever asks for its request would wait for that
        block from then on."""
        heads = self._chain.heads
        if receipt.block_number <= heads.number or receipt.block_number <= await self._chain.head_number():
            return
        newest = heads.number
        heads.forget()
        raise Unavailable(
            f"the chain at {self._chain.shown_url} shows a receipt of block {receipt.block_number} and tells of block {newest} as its "
            "newest; retry",
            facts={"block": receipt.block_number, "head": newest},
        )

    async def used_by_another(self, request_id: str, account: bytes, nonce: int, head: int) -> bool:
        """Whether a block up to `head` is seen to hold a transaction at our nonce that is none of ours: all signed at it is void then."""
        first = self._store.first_block()
        assert first is not None
        found = await self._chain.transaction_at(account, nonce, first, head)
        if found is None or self._store.knows(found):
            return False
        log.warning("nonce_used_by_another", request_id=request_id, nonce=nonce, transaction="0x" + found.hex())
        self._store.used_by_another(account, nonce)
        return True

    async def give_up(self, request_id: str, account: bytes, nonce: int) -> None:
        """The nonce is used and, for long, no node has shown by what. Here alone absence decides, and only what the caller hears:
        Refused (NoReceipt). The request is never sent again, and a receipt that shows up later is believed."""
        if await self.look(account, nonce):  # the receipt may have come between the last look and the nonce
            return
        if not self._store.is_active(request_id):
            return
        refused = Refused(
            f"nonce {nonce} is used and the transaction has no receipt: the node failed on it, or another program used the key; "
            "it is not sent again. Make a new request if it should be tried again",
            reason="NoReceipt",
            facts={"nonce": nonce},
        )
        self._store.lost(request_id, refused)

    async def review(self) -> None:
        """Looks once for all that nobody watches: held requests, and those that were given up. Without news they stay as they are."""
        for request_id, account, nonce in self._store.unwatched():
            with contextlib.suppress(
                LinkLearnerError
            ):  # the others are looked for all the same, and this one the next time
                if await self._decided(request_id, account, nonce):
                    state = self._store.state(request_id)
                    log.info("request_found", request_id=request_id, nonce=nonce, state=state.value if state else None)

    async def _decided(self, request_id: str, account: bytes, nonce: int) -> bool:
        if await self.look(account, nonce):
            return True
        if self._store.state(request_id) is not State.HELD or await self._chain.nonce(account) <= nonce:
            return False
        return await self.used_by_another(request_id, account, nonce, await self._chain.head_number())
