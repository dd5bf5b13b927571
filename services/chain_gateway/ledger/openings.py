"""Tasks of our accounts: opened with their first weights, and closed."""

from __future__ import annotations

import asyncio

from linklearner.chain.contracts import POOL
from linklearner.domain import gas
from linklearner.domain.errors import Refused
from linklearner.domain.tasks import Closed, Opened
from services.chain_gateway.chain import Call
from services.chain_gateway.example_store import ExampleStore
from services.chain_gateway.ledger.sending import Sending
from services.chain_gateway.ledger.tasks import Tasks
from services.chain_gateway.ledger.values import mined
from services.chain_gateway.opening import NewTask, Opening
from services.chain_gateway.outbox import Outcome, Prepare, Request


class Openings:
    """Each request of the outbox is a step of one of the caller's."""

    def __init__(self, tasks: Tasks, sending: Sending, store: ExampleStore | None) -> None:
        self._tasks = tasks
        self._views = tasks.views
        self._sending = sending
        self._store = store

    async def open(self, request_id: str, account: bytes, new: NewTask) -> Opened:
        """Opens a task, commits to its examples if it has any, and loads its weights, or goes on with it.

        The examples are on the disk before anything is sent: a task whose examples are lost can never be judged. Raises Refused with the
        pool's reason, Unavailable where they cannot be kept.
        """
        if new.examples is not None:
            if self._store is None:
                raise Refused("no examples are kept here", reason="NoExamples")
            await asyncio.to_thread(self._store.keep, new.examples)

        async def send(step: str, contents: bytes, prepare: Prepare) -> Outcome:
            request = Request(request_id=f"{request_id}/{step}", account=account, kind="open task", contents=contents)
            return await self._sending.send(request, prepare)

        opening = Opening(
            self._views.chain,
            self._views.deployment.pool,
            account,
            new,
            send,
            lambda step: self._sending.state(f"{request_id}/{step}"),
        )
        task = await opening.open()
        await opening.commit(task)
        version = await opening.load(task)
        await self._tasks.events.sync(version.block_number)
        return Opened(task, tuple(map(mined, opening.outcomes)), version)

    async def close(self, request_id: str, account: bytes, task: int) -> Closed:
        """Raises Refused: NotCreator, TaskIsClosing."""
        await self._tasks.require(task)
        call = Call(self._views.deployment.pool, POOL.encode_call("closeTask", task), known_gas=gas.CLOSE)
        request = Request(request_id=request_id, account=account, kind="close task", contents=task.to_bytes(8, "big"))
        outcome = await self._sending.send(request, call)
        self._tasks.events.poke()
        return Closed(mined(outcome), (await self._views.newest(task)).closed)
