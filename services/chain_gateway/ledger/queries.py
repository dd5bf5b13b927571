"""Rounds as they were, and as they stand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from linklearner.domain.errors import DataLoss, NotFound
from linklearner.domain.events import ContributionPaid, GroupMerged, RoundDropped, SettlerPaid, UpdateJudged
from linklearner.domain.rules.evidence.course import OUTCOMES
from linklearner.domain.tasks import Contribution, Judged, OpenedBatch, Round
from services.chain_gateway.ledger.submissions import Submissions
from services.chain_gateway.ledger.tasks import Tasks


class Queries:
    """What is put together from several events."""

    def __init__(self, tasks: Tasks, submissions: Submissions) -> None:
        self._tasks = tasks
        self._submissions = submissions

    async def examples(self, task: int, first_batch: int) -> AsyncIterator[OpenedBatch]:
        """What a task by rule `evidence` has opened, from that batch on. Raises NotFound, Refused (NoExamples) for one that has none."""
        await self._tasks.require(task)
        await self._tasks.events.sync((await self._tasks.views.head()).number)
        async for batch in self._tasks.examples.opened(task, first_batch):
            yield batch

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
        verdicts = {event.contributor: _judged(event) for event in events.find(UpdateJudged, task, second=number)}
        examples = None
        if self._tasks.examples.committed(task) is not None:
            width = self._tasks.example_bytes(task)
            examples = await self._tasks.examples.of_round(task, number, width, self._submissions.mined)
        fee = next(iter(events.find(SettlerPaid, task, second=number)), None)
        contributions = tuple(
            Contribution(
                event.contributor,
                event.digest,
                event.weight,
                event.effective,
                submission.mined,
                len(submission.header) + sum(map(len, submission.groups)),
                paid.get(event.contributor) if made is not None and not dropped else None,
                verdicts.get(event.contributor) if made is not None and not dropped else None,
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
            examples,
        )


def _judged(event: UpdateJudged) -> Judged:
    """Raises DataLoss for an outcome that the rule does not have."""
    outcome = OUTCOMES.get(event.outcome)
    if outcome is None:
        raise DataLoss(
            f"transaction 0x{event.transaction.hex()} gives an update outcome {event.outcome}, which is none"
        )
    return Judged(event.gain, event.record, outcome)
