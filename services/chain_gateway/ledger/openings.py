"""Tasks of our accounts: opened with their first weights, and closed."""

from __future__ import annotations

from linklearner.chain.contracts import POOL
from linklearner.domain import gas
from linklearner.domain.tasks import Closed, Opened
from services.chain_gateway.chain import Call
from services.chain_gateway.ledger.sending import Sending
from services.chain_gateway.ledger.tasks import Tasks
from services.chain_gateway.ledger.values import mined
from services.chain_gateway.opening import NewTask, Opening
from services.chain_gateway.outbox import Outcome, Prepare, Request


class Openings:
    """Each request of the outbox is a step of one of the caller's."""

    def __init__(self, tasks: Tasks, sending: Sending) -> None:
        self._tasks = tasks
        self._views = tasks.views
        self._sending = sending

    async def open(self, request_id: str, account: bytes, new: NewTask) -> Opened:
        """Opens a task and loads its weights, or goes on with it. Raises Refused with the pool's reason."""

        async def send(step: str, contents: bytes, prepare: Prepare) -> Outcome:
            request = Request(request_id=f"{request_id}/{step}", account=account, kind="open task", contents=contents)
            return await self._sending.send(request, prepare)

        opening = Opening(
            self._views.chain,
            self._views.deployment.pool,
            new,
            send,
            lambda step: self._sending.state(f"{request_id}/{step}"),
        )
        task = await opening.open()
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
