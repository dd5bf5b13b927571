"""Requests to the outbox, on a chain that has not stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from linklearner.domain.errors import Refused
from services.chain_gateway.chain import Call
from services.chain_gateway.ledger.views import Views
from services.chain_gateway.outbox import Outbox, Outcome, Prepare, Request, State, always

STANDSTILL_S: Final = 2.0
"""A chain without a new block for so long makes none unless asked; Artela makes one a second at least."""
DUE: Final = {
    "RoundNotOver": "settleableAt",
    "NotYetDroppable": "droppableAt",
    "StakeStillLocked": "withdrawableAt",
    "RevealsNotBegun": "from",
}
"""Refusals that time alone may end, and the fact that says when, Unix seconds."""


class Sending:
    """The outbox, as the use cases use it."""

    def __init__(self, outbox: Outbox, views: Views, clock: Callable[[], float], *, on_demand: bool = False) -> None:
        self._outbox = outbox
        self._views = views
        self._clock = clock
        self._on_demand = on_demand
        """Whether the chain is known, or was seen, to make no block unless asked."""

    def state(self, request_id: str) -> State | None:
        """None for a request that was never made."""
        return self._outbox.state(request_id)

    async def send(self, request: Request, call: Call | Prepare) -> Outcome:
        """call: known, or made when nothing is signed yet. Raises what `Outbox.fulfil` does; Unavailable on a chain that has stopped."""
        prepare = always(call) if isinstance(call, Call) else call

        async def prepared() -> Call:
            await self._views.head()
            return await prepare()

        return await self._outbox.fulfil(request, prepared)

    async def send_when_due(self, request: Request, prepare: Prepare) -> Outcome:
        """For what the chain refuses before its time: that time may have passed without a block to say so."""
        try:
            return await self.send(request, prepare)
        except Refused as refused:
            due_s = int(refused.facts.get(DUE.get(refused.reason, ""), 0))
            if not due_s or not await self.reached(request, due_s):
                raise
        return await self.send(request, prepare)

    async def reached(self, request: Request, time_s: int) -> bool:
        """Whether the chain's clock has come to that time.

        A chain that makes blocks on demand only stands still in time, too: its clock moves with the block that we cause, in the name of
        the request that waits for it.
        """
        before = await self._views.chain.head()
        if before.time_s >= time_s:
            return True
        if self._clock() < time_s:
            return False
        if not self._on_demand:
            await asyncio.sleep(STANDSTILL_S)
            after = await self._views.chain.head()
            if after.number != before.number:
                return after.time_s >= time_s
            self._on_demand = True
        tick = Request(request_id=f"{request.request_id}/{time_s}", account=request.account, kind="tick", contents=b"")
        await self.send(tick, Call(request.account))
        return True
