"""Sealed updates (rule `evidence`): committed in one transaction, revealed in a second one once nobody can commit any more.

The salt of a commitment is a keyed hash, by the account's own key, of what it is for. So nothing needs to be kept between the two: whoever
repeats the request, after a crash too, goes on where it was. Who does not repeat it in time loses the account's record in the task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from linklearner.chain import contracts
from linklearner.chain.contracts import RevealUpdate, decode_event
from linklearner.domain import gas
from linklearner.domain.errors import DataLoss
from linklearner.domain.events import ExamplesCommitted, UpdateCommitted
from linklearner.domain.rounds import commitment, running_seed
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update
from services.chain_gateway.chain import Call
from services.chain_gateway.ledger.sending import Sending
from services.chain_gateway.ledger.tasks import Tasks
from services.chain_gateway.outbox import Outcome, Request

LOOK_S: Final = 1.0
"""A look at the clock at least so often while reveals have not begun."""

Salt = Callable[[bytes, bytes], bytes]
"""Of an account, and of what it is for: 32 bytes that nobody else can compute."""


class Sealing:
    """Of all tasks."""

    def __init__(self, tasks: Tasks, sending: Sending, salt: Salt, clock: Callable[[], float]) -> None:
        self._tasks = tasks
        self._views = tasks.views
        self._sending = sending
        self._salt = salt
        self._clock = clock

    def is_sealed(self, task: int) -> bool:
        """Whether the task's updates are sealed. Of a task whose opening is known."""
        committed = self._tasks.events.find(ExamplesCommitted, task)
        return bool(committed) and committed[0].reveal_seconds > 0

    async def submit(self, request: Request, update: Update, shape: Shape) -> Outcome:
        """Commits to the update, waits until updates are revealed, and reveals it: the outcome of that.

        Raises Refused: PhaseOver where the round takes no more commitments, or no more reveals (the gateway was away for too long);
        RoundFull; NoBond, and what `submit` raises otherwise.
        """
        sealed = await self._commit(request, update, shape)
        await self._reveals(update.task, sealed.round)
        digest = update.digest(shape)
        call = RevealUpdate(
            task=update.task,
            digest=digest,
            header=update.header(shape),
            groups=update.groups(shape),
            salt=self._salt(request.account, self._seed(update.task, sealed.round) + digest),
        )
        data = contracts.reveal_update(call)
        revealing = Call(self._views.deployment.pool, data, known_gas=gas.reveal_limit(data, update, shape))

        async def prepare() -> Call:
            return revealing

        return await self._sending.send_when_due(request, prepare)

    async def _commit(self, request: Request, update: Update, shape: Shape) -> UpdateCommitted:
        """The account is bound to the update, in a round that was open when this was asked for first."""
        digest, pool = update.digest(shape), self._views.deployment.pool

        async def prepare() -> Call:
            state, sealing, last = await asyncio.gather(
                self._views.newest(update.task),
                self._views.sealing(update.task),
                self._views.submitted_in(request.account, update.task),
            )
            number = state.round.round
            seed = self._seed(update.task, number)
            sealed = commitment(seed, request.account, digest, self._salt(request.account, seed + digest))
            limit = gas.commit_limit(first=not sealing.committed, new=not last)
            return Call(pool, contracts.commit_update(update.task, number, sealed), known_gas=limit)

        first = Request(
            request_id=f"{request.request_id}/commit",
            account=request.account,
            kind="commit",
            contents=request.contents,
        )
        outcome = await self._sending.send(first, prepare)
        self._tasks.events.poke()
        for log in outcome.receipt.logs:
            event = decode_event(log) if log.address == pool else None
            if isinstance(event, UpdateCommitted):
                return event
        raise DataLoss(
            f"the node's receipt of the commitment 0x{outcome.receipt.transaction_hash.hex()} says nothing of one"
        )

    async def _reveals(self, task: int, number: int) -> None:
        """Returns once updates of the round are revealed, or it is over."""
        sealing, state = await asyncio.gather(self._views.sealing(task), self._views.newest(task))
        if state.round.round != number:
            return  # the pool says what is wrong
        while True:
            head = await self._views.chain.head()
            left = sealing.reveals_s - max(self._clock(), head.time_s)  # a chain's clock may be ahead of ours
            if left <= 0:
                return
            await asyncio.sleep(min(left, LOOK_S))

    def _seed(self, task: int, number: int) -> bytes:
        return running_seed(self._views.chain.chain_id, self._views.deployment.pool, task, number)
