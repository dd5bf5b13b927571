"""From handed in to decided: a transaction that a node may have is watched until a block shows what became of its nonce."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from linklearner.domain.errors import LinkLearnerError
from services.chain_gateway.chain import Chain
from services.chain_gateway.outbox.delivery import Delivery, Troubles
from services.chain_gateway.outbox.evidence import Evidence
from services.chain_gateway.outbox.patience import NonceSigns, Patience, Sign
from services.chain_gateway.outbox.requests import Request
from services.chain_gateway.outbox.store import OutboxStore, StoreUnavailable


class Watch:
    """predecessors: waits for what holds a lower nonce; fill: sends something at the lowest nonce that nobody is trying."""

    def __init__(
        self,
        store: OutboxStore,
        chain: Chain,
        evidence: Evidence,
        delivery: Delivery,
        patience: Patience,
        troubles: Troubles,
        predecessors: Callable[[Request], Awaitable[None]],
        fill: Callable[[bytes], None],
    ) -> None:
        self._store = store
        self._chain = chain
        self._evidence = evidence
        self._delivery = delivery
        self._patience = patience
        self._troubles = troubles
        self._predecessors = predecessors
        self._fill = fill

    async def until_decided(self, request: Request, *, handed_in: bool) -> None:
        """Until the request is not active any more: its nonce is decided, or (raising that) a node refused it.

        handed_in: just now; otherwise it is handed in first.
        """
        name, patience = request.request_id, self._patience
        if not self._store.is_active(name):
            return
        loop = asyncio.get_running_loop()
        pause, checked = patience.first_poll_s, loop.time()
        nonce = self._store.nonce(name)
        signs = NonceSigns(patience, nonce)
        while True:
            block_seen = self._chain.heads.number  # before looking: a block that comes meanwhile is looked at
            try:
                if await self._evidence.look(request.account, nonce):
                    return
                if not handed_in:
                    handed_in = await self._delivery.send_again(request)
                    if not self._store.is_active(name):
                        return
                if loop.time() - checked >= patience.check_s:  # only where the quick answer did not come
                    checked = loop.time()
                    handed_in = await self._check(request, nonce, signs, handed_in)
                self._troubles.over(name)
            except StoreUnavailable:
                raise
            except LinkLearnerError as error:
                if not self._store.is_active(name):
                    raise
                # whatever the node refuses to tell, the transaction is out there: to give up now could have it sent twice
                await self._troubles.wait(request, error)
            if not self._store.is_active(name):
                return
            if handed_in:
                await self._next_block(block_seen, pause)
                pause = min(pause * patience.poll_growth, patience.longest_poll_s)
            else:
                await self._predecessors(request)

    async def _check(self, request: Request, nonce: int, signs: NonceSigns, handed_in: bool) -> bool:
        """Looks at the account's nonce, and acts on what it suggests. Returns whether the transaction is handed in."""
        name, account = request.request_id, request.account
        latest = await self._chain.nonce(account)
        pending = await self._chain.nonce(account, pending=True)
        block = await self._chain.head_number()
        match signs.look(latest, pending, block, asyncio.get_running_loop().time()):
            case Sign.JUST_USED:
                await self._evidence.used_by_another(name, account, nonce, block)
            case Sign.LONG_USED:
                if not await self._evidence.used_by_another(name, account, nonce, block) and signs.unexplained():
                    await self._evidence.give_up(name, account, nonce)
            case Sign.LONG_MISSING:
                signs.sent_anew()
                return await self._revive(request, nonce, pending)
        return handed_in

    async def _revive(self, request: Request, nonce: int, pending: int) -> bool:
        """The node has held nothing at our nonce for a while. Returns whether the transaction is handed in."""
        if self._store.free_nonce(request.account, pending) < nonce:
            self._fill(request.account)
            return False
        if pending < nonce:
            return False  # what we have below is on its way
        return await self._delivery.sign_anew(request)

    async def _next_block(self, seen: int, pause_s: float) -> None:
        try:
            await self._chain.heads.after(seen, pause_s)
        except LinkLearnerError:  # the look that follows meets the same trouble, and reports it
            await asyncio.sleep(pause_s)
