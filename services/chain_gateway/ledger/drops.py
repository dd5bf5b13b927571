"""Ending rounds without merging them: what nobody settles, and what nobody takes part in."""

from __future__ import annotations

from linklearner.chain.contracts import POOL
from linklearner.domain import gas
from linklearner.domain.errors import Refused
from linklearner.domain.tasks import Mined
from services.chain_gateway.chain import Call
from services.chain_gateway.ledger.sending import Sending
from services.chain_gateway.ledger.tasks import Tasks
from services.chain_gateway.ledger.values import mined as mined_by
from services.chain_gateway.outbox import Request


class Drops:
    """Of all tasks."""

    def __init__(self, tasks: Tasks, sending: Sending) -> None:
        self._tasks = tasks
        self._views = tasks.views
        self._sending = sending

    async def drop(self, request_id: str, account: bytes, task: int, number: int) -> Mined:
        """Gives up a round that nobody settled in time. Raises Refused: WrongRound, NotYetDroppable."""
        request = self._request(request_id, account, task, number)
        outcome = await self._sending.send_when_due(request, lambda: self._call(task, number))
        self._tasks.events.poke()
        return mined_by(outcome)

    async def renew(self, request_id: str, account: bytes, task: int, number: int, matures_s: int) -> None:
        """Has a round without updates followed by one that counts what is ripe; matures_s: of the account's own stake, Unix seconds.

        Raises Refused: NotYetDroppable if nothing is ripe, or the round has got an update; WrongRound if it is over.
        """
        request = self._request(request_id, account, task, number)
        await self._sending.reached(request, matures_s)
        await self._sending.send(request, lambda: self._call(task, number))
        self._tasks.events.poke()

    async def _call(self, task: int, number: int) -> Call:
        status = (await self._views.newest(task)).round
        current = status.round
        if current != number:
            raise Refused(
                f"round {number} of task {task} is not the open one, round {current} is",
                reason="WrongRound",
                facts={"given": number, "current": current},
            )
        return Call(
            self._views.deployment.pool,
            POOL.encode_call("drop", task),
            known_gas=gas.drop_limit(self._tasks.shape(task), status.merged_groups),
        )

    def _request(self, request_id: str, account: bytes, task: int, number: int) -> Request:
        contents = task.to_bytes(8, "big") + number.to_bytes(8, "big")
        return Request(request_id=request_id, account=account, kind="drop", contents=contents)
