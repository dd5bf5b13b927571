"""Rounds as they were, and as they stand."""

from __future__ import annotations

import asyncio

from linklearner.domain.errors import NotFound
from linklearner.domain.events import ContributionPaid, GroupMerged, RoundDropped, SettlerPaid
from linklearner.domain.tasks import AcceptedUpdate, Round
from services.chain_gateway.ledger.submissions import Submissions
from services.chain_gateway.ledger.tasks import Tasks


class Queries:
    """What is put together from several events."""

    def __init__(self, tasks: Tasks, submissions: Submissions) -> None:
        self._tasks = tasks
        self._submissions = submissions

    async def round(self, task: int, number: int) -> Round:
        """A round with its contributions; 0: the open one. Raises NotFound for a round that has not begun."""
        events = self._tasks.events
        head = (await self._tasks.views.head()).number
        state = await self._tasks.views.task(task, head)
        status = state.round
        await events.sync(head)
        number = number or status.round
        if not 1 <= number <= status.round:
            raise NotFound(
                f"task {task} has rounds 1 to {status.round}, not {number}"
                if status.round
                else f"task {task} has no round yet: its first weights are being loaded"
            )
        merges = events.find(GroupMerged, task, second=number)
        made = self._tasks.made_by(task, number)
        dropped = events.find(RoundDropped, task, second=number)
        if made is not None:
            base = made.version - 1
        else:
            end = dropped[0].block if dropped else head
            base = max((one.version for one in self._tasks.versions(task) if one.block_number <= end), default=0)
        paid = {event.contributor: event.amount for event in events.find(ContributionPaid, task, second=number)}
        fee = next(iter(events.find(SettlerPaid, task, second=number)), None)
        contributions = tuple(
            AcceptedUpdate(
                event.contributor,
                event.digest,
                event.weight,
                event.effective,
                submission.mined,
                len(submission.header) + sum(map(len, submission.groups)),
                paid.get(event.contributor) if made is not None and not dropped else None,
            )
            for event, submission in await self._submissions.of_round(task, number)
        )
        settlements = tuple(await asyncio.gather(*(self._submissions.mined(event.transaction) for event in merges)))
        settler = b""
        if made is not None and not dropped:
            # the fee may be 0, and then there is no event
            settler = (
                fee.settler
                if fee is not None
                else (await self._tasks.views.chain.transaction(merges[-1].transaction)).sender
            )
        return Round(
            number,
            base,
            contributions,
            made,
            settlements,
            settler,
            0 if fee is None else fee.amount,
            bool(dropped),
        )
