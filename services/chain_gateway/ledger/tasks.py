"""Tasks, their versions and their weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

import numpy as np

from linklearner.domain.digest import model_digest
from linklearner.domain.errors import DataLoss, InvalidInput, NotFound
from linklearner.domain.events import ModelUpdated, TaskOpened
from linklearner.domain.model import ModelVersion
from linklearner.domain.rules.table import rule_of
from linklearner.domain.shape import Shape
from linklearner.domain.tasks import Task
from services.chain_gateway.aspect import read_weights
from services.chain_gateway.events import EventIndex
from services.chain_gateway.ledger.kept import Kept
from services.chain_gateway.ledger.views import TaskState, Views

WEIGHT_BYTES: Final = 256 << 20
"""Weights of verified versions kept in memory, so that five trainers cost one read."""
AT_ONCE: Final = 8
"""Tasks about which the chain is asked at the same time."""
WATCH_S: Final = 60.0
"""A look for new versions at least so often."""


class Tasks:
    """What the history and the contracts say of each task."""

    def __init__(self, views: Views, events: EventIndex) -> None:
        self.views = views
        self.events = events
        self._weights = Kept[tuple[int, int], bytes](WEIGHT_BYTES, len)
        self._shapes: dict[int, Shape] = {}

    async def task(self, task: int) -> Task:
        """Raises NotFound for an unknown task."""
        block = (await self.views.head()).number
        state = await self.views.task(task, block)
        await self.events.sync(block)
        return self._task(task, await self._sealed(task, state, block))

    async def _sealed(self, task: int, state: TaskState, block: int) -> TaskState:
        """With what there is of commitments to updates, where the task's rule has any."""
        if not rule_of(self.opened(task).terms.rule).looks_back:
            return state
        sealing = await self.views.sealing(task, block)
        round = replace(state.round, reveal_seconds=sealing.reveal_seconds, committed=sealing.committed)
        if sealing.committed:
            round = replace(round, first_update_s=sealing.reveals_s - self.opened(task).terms.round_seconds)
        return replace(state, round=round)

    def _task(self, task: int, state: TaskState) -> Task:
        opened = self.opened(task)
        return Task(
            task=task,
            creator=state.creator,
            model=opened.model,
            shape=self.shape(task),
            terms=opened.terms,
            pot=state.pot,
            shares=state.shares,
            closing=state.closing,
            version=state.version,
            announced=self.announced(task, state.version) if state.version else None,
            round=state.round,
        )

    async def page(self, creator: bytes, above: int, most: int, most_bytes: int) -> tuple[list[Task], bool]:
        """Tasks with a number above `above`, oldest first, and whether there are more.

        creator: 20 bytes; empty: everybody's. most: tasks; most_bytes: of what their creators wrote, but always one task.
        """
        block = (await self.views.head()).number
        await self.events.sync(block)
        numbers = self.events.tasks(creator=creator, above=above, limit=most + 1)
        places, known = asyncio.Semaphore(AT_ONCE), list[int]()
        size = 0
        for number in numbers[:most]:
            opened = self.opened(number)
            size += len(opened.model.encode()) + len(opened.shape)
            if known and size > most_bytes:
                break
            known.append(number)

        async def described(number: int) -> Task:
            async with places:
                state = await self.views.task(number, block)
                return self._task(number, await self._sealed(number, state, block))

        found = list(await asyncio.gather(*map(described, known)))
        return found, len(found) < len(numbers)

    def opened(self, task: int) -> TaskOpened:
        """How a task began, if that is known. Raises NotFound."""
        found = self.events.find(TaskOpened, task)
        if not found:
            raise NotFound(f"there is no task {task} at this pool", reason="UnknownTask", facts={"task": task})
        return found[0]

    async def require(self, task: int) -> None:
        """Its opening is known afterwards. Raises NotFound if the task does not exist."""
        if not self.events.find(TaskOpened, task):
            await self.views.require_task(task)
            await self.events.sync()

    def shape(self, task: int) -> Shape:
        """Of a task whose opening is known. Raises NotFound; DataLoss for one that the pool cannot have taken."""
        if task not in self._shapes:
            opened = self.opened(task)
            try:
                self._shapes[task] = Shape.decode(opened.shape)
            except InvalidInput as error:
                raise DataLoss(
                    f"transaction 0x{opened.transaction.hex()} opened task {task} with a shape that is none: {error.message}"
                ) from error
        return self._shapes[task]

    def announced(self, task: int, version: int) -> ModelVersion:
        """A version, if it is known; 0: the newest. Raises NotFound."""
        found = self.events.find(ModelUpdated, task, second=version or None)
        if not found:
            newest = len(self.events.find(ModelUpdated, task))
            raise NotFound(
                f"task {task} has versions 1 to {newest}, not {version}"
                if newest
                else f"task {task} has no version yet: its first weights are being loaded",
                reason="UnknownVersion",
                facts={"task": task, "version": version, "newest": newest},
            )
        return _version(found[-1])

    def versions(self, task: int) -> list[ModelVersion]:
        """All that are known, oldest first."""
        return list(map(_version, self.events.find(ModelUpdated, task)))

    def made_by(self, task: int, round: int) -> ModelVersion | None:
        """The version that a round made; None if that is not known, or the round made none."""
        return next((version for version in self.versions(task) if version.round == round), None)

    async def model(self, task: int, version: int) -> tuple[ModelVersion, bytes]:
        """A version (0: the newest) and its weights, little-endian int16, whose digest has been checked.

        Raises NotFound for an unknown version or one whose state the node no longer has, DataLoss if the weights are others than announced.
        """
        head = (await self.views.head()).number
        await self.events.sync(head)
        self.opened(task)
        announced = self.announced(task, version)
        key = (task, announced.version)
        data = self._weights.get(key)
        if data is None:
            data = await self._read_weights(announced, head)
            self._weights.put(key, data)
        return announced, data

    async def _read_weights(self, announced: ModelVersion, head: int) -> bytes:
        shape, aspect = self.shape(announced.task), self.views.deployment.aspect
        # At the newest block if that still is this version (old state may be pruned), else at the block that announced it.
        for block in (head, announced.block_number):
            weights = await read_weights(self.views.chain, aspect, announced.task, shape, block)
            if (weights.version, weights.merged_groups) == (announced.version, 0):
                break
        else:
            raise NotFound(
                f"version {announced.version} of task {announced.task} stands at the end of no block: the next one began in the same",
                reason="StateGone",
            )
        digest = await asyncio.to_thread(model_digest, np.frombuffer(weights.data, "<i2"), shape)
        if digest != announced.digest:
            raise DataLoss(
                f"the chain's weights of task {announced.task}, version {announced.version}, do not give the announced digest",
                facts={"announced": "0x" + announced.digest.hex(), "actual": "0x" + digest.hex(), "block": block},
            )
        return weights.data

    async def watch_versions(self, task: int, after: int) -> AsyncIterator[ModelVersion]:
        """Every version above `after`, oldest first, without end. Raises NotFound for an unknown task."""
        await self.events.sync()
        self.opened(task)
        while True:
            generation = self.events.generation
            for event in self.events.find(ModelUpdated, task, above=after):
                announced = _version(event)
                after = announced.version
                yield announced
            await self.events.wait(generation, WATCH_S)


def _version(event: ModelUpdated) -> ModelVersion:
    return ModelVersion(
        task=event.task,
        version=event.version,
        digest=event.digest,
        round=event.round,
        block_number=event.block,
        accepted_count=event.accepted,
        saturated_count=event.saturated,
    )
