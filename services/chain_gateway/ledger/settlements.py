"""Ending rounds by merging their updates, group after group."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial, reduce

import numpy as np

from linklearner.chain import contracts
from linklearner.domain import gas
from linklearner.domain.errors import InvalidUpdate, LinkLearnerError, Refused, Unavailable
from linklearner.domain.events import ContributionPaid, RoundDropped, Settlement
from linklearner.domain.rules.evidence.batches import decode_batch
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import Examples, judge, steps_of
from linklearner.domain.rules.rule import Contribution, Merged
from linklearner.domain.rules.table import rule_of
from linklearner.domain.tasks import Mined, Settled
from linklearner.domain.update import part_in_group
from services.chain_gateway.chain import Call
from services.chain_gateway.ledger.sending import Sending
from services.chain_gateway.ledger.submissions import Submissions
from services.chain_gateway.ledger.tasks import Tasks
from services.chain_gateway.ledger.values import mined as mined_by
from services.chain_gateway.ledger.views import TaskState
from services.chain_gateway.outbox import Request, State


class Settlements:
    """Of all tasks."""

    def __init__(self, tasks: Tasks, submissions: Submissions, sending: Sending) -> None:
        self._tasks = tasks
        self._views = tasks.views
        self._submissions = submissions
        self._sending = sending

    async def settle(self, request_id: str, account: bytes, task: int, number: int) -> Settled:
        """Settles a round, group after group; groups that others merge meanwhile are theirs.

        Raises Refused: WrongRound if it is not the open one, RoundNotOver, NoUpdates.
        """
        await self._tasks.require(task)
        steps = [f"{request_id}/group/{group}" for group in range(self._tasks.shape(task).group_count)]
        ours = [self._sending.state(step) not in (None, State.PLANNED, State.REFUSED) for step in steps]
        merged = await self._merged(task, number)
        if merged is None and not any(ours):
            raise await self._wrong_round(task, number)
        mined: list[Mined] = []
        for group, step in enumerate(steps):
            if not ours[group] and (merged is None or group < merged):
                continue  # somebody else did this one
            request = Request(request_id=step, account=account, kind="settle", contents=_contents(task, number))
            try:
                outcome = await self._sending.send_when_due(request, partial(self.call, task, number, group))
            except Refused as refused:
                if refused.reason not in ("WrongGroup", "WrongRound"):
                    raise
                merged = await self._merged(task, number)
                if merged is not None and merged <= group:
                    raise
                continue  # somebody else was faster
            mined.append(mined_by(outcome))
            self._submissions.remember(mined[-1])
        await self._tasks.events.sync(max((part.block for part in mined), default=0))
        made = self._tasks.made_by(task, number)
        if made is not None and self._tasks.events.find(RoundDropped, task, second=number):
            raise await self._wrong_round(task, number)
        if made is None:
            raise Unavailable(f"round {number} of task {task} is merged in part; repeat the request to go on")
        if not mined:
            raise await self._wrong_round(task, number)
        return Settled(tuple(mined), made)

    async def _merged(self, task: int, number: int) -> int | None:
        """Groups of a round that are merged; None if it is not the open one."""
        status = (await self._views.newest(task)).round
        return status.merged_groups if status.round == number else None

    async def _wrong_round(self, task: int, number: int) -> Refused:
        current = (await self._views.newest(task)).round.round
        return Refused(
            f"round {number} of task {task} is not the open one, round {current} is",
            reason="WrongRound",
            facts={"given": number, "current": current},
        )

    async def call(self, task: int, number: int, group: int) -> Call:
        """The transaction that merges one group of a round, from the chain's history. Raises Refused (WrongRound)."""
        await self._tasks.events.sync()
        if await self._merged(task, number) is None:
            raise await self._wrong_round(task, number)
        updates = await self.of_group(task, number, group)
        call = self.call_with(task, number, group, updates)
        return replace(call, known_gas=await self._gas(call.data, task, number, group, updates))

    async def _gas(
        self, data: bytes, task: int, number: int, group: int, settlements: Sequence[Settlement]
    ) -> int | None:
        """A limit for a settlement, None if the updates are not such as we can read: then the node is to say.

        Raises Refused (GasLimitTooHigh) if no block holds it.
        """
        shape, terms = self._tasks.shape(task), self._tasks.opened(task).terms
        rule = rule_of(terms.rule)
        state = await self._views.newest(task)
        try:
            _, weights = await self._tasks.model(task, 0)
        except LinkLearnerError:
            weights = None  # the base is not to be had: then every page is taken to change
        paid = {event.contributor for event in self._tasks.events.find(ContributionPaid, task) if event.amount}
        newly_paid = len({one.contributor for one in settlements} - paid) + 1
        if rule.looks_back:
            return await self._judging_gas(data, task, settlements, state, weights, newly_paid)

        def computed() -> int | None:
            merged: Merged | None = None
            try:
                parts = [part_in_group(one.header, one.pages, group, shape) for one in settlements]
            except InvalidUpdate:
                return None
            if weights is not None:
                contributions = [
                    Contribution(one.contributor, one.weight, one.effective, part)
                    for one, part in zip(settlements, parts, strict=True)
                ]
                with suppress(LinkLearnerError):
                    merged = rule.merge(np.frombuffer(weights, "<i2"), contributions, state.round.eligible, shape)
            return gas.settle_limit(
                data, rule, parts, shape, group,
                merged=merged, rewarded=terms.reward > 0, newly_paid=newly_paid, closing=state.closing,
            )  # fmt: skip

        return await asyncio.to_thread(computed)

    async def _judging_gas(
        self,
        data: bytes,
        task: int,
        settlements: Sequence[Settlement],
        state: TaskState,
        weights: bytes | None,
        newly_paid: int,
    ) -> int | None:
        """The same by rule `evidence`: what judging costs depends on what comes of it, so the round is judged here first."""
        shape, committed = self._tasks.shape(task), self._tasks.examples.committed(task)
        if weights is None or committed is None:
            return None
        base = np.frombuffer(weights, "<i2").astype(np.int16)
        try:
            batches = [one.examples async for one in self._tasks.examples.opened(task)]
            records = await asyncio.gather(*(self._views.record(one.contributor, task) for one in settlements))
        except LinkLearnerError:
            return None

        def computed() -> int | None:
            try:
                network = IntegerNetwork.of_shape(shape, committed.input_exponent)
                parts = [part_in_group(one.header, one.pages, 0, shape) for one in settlements]
                opened = [decode_batch(batch, network) for batch in batches]
                found = judge(
                    network,
                    base,
                    np.stack([steps_of(part, shape) for part in parts]),
                    records,
                    [one.weight for one in settlements],
                    state.round.eligible,
                    reduce(Examples.joined, opened),
                    len(opened[-1]),
                )
            except (LinkLearnerError, LookupError, TypeError):  # nothing opened yet, or not what this program judges
                return None
            moved = np.flatnonzero(found.weights != base)
            return gas.judging_limit(
                data, shape, network, len(parts), sum(map(len, opened)), found, sorted(set(moved // shape.page_length)),
                newly_paid=newly_paid, new_records=records.count(0), closing=state.closing,
            )  # fmt: skip

        return await asyncio.to_thread(computed)

    async def of_group(self, task: int, number: int, group: int) -> list[Settlement]:
        """The accepted updates of a round that is known here, in their order, with the bytes of one group."""
        return [
            Settlement(
                contributor=event.contributor,
                weight=event.weight,
                effective=event.effective,
                header=submission.header,
                digests=submission.digests,
                pages=submission.groups[group],
            )
            for event, submission in await self._submissions.of_round(task, number)
        ]

    def call_with(self, task: int, number: int, group: int, updates: Sequence[Settlement]) -> Call:
        """The transaction that hands in these updates, whatever they are."""
        return Call(self._views.deployment.pool, contracts.settle(task, number, group, updates))


def _contents(task: int, number: int) -> bytes:
    return task.to_bytes(8, "big") + number.to_bytes(8, "big")
