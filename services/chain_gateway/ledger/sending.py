"""Requests to the outbox, on a chain that has not stopped."""

from __future__ import annotations

from services.chain_gateway.chain import Call
from services.chain_gateway.ledger.views import Views
from services.chain_gateway.outbox import Outbox, Outcome, Prepare, Request, State, always


class Sending:
    """The outbox, as the use cases use it."""

    def __init__(self, outbox: Outbox, views: Views) -> None:
        self._outbox = outbox
        self._views = views

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
