"""The examples by which tasks of rule `evidence` are judged: what their creators committed to, and what has been opened of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from linklearner.chain.contracts import OpenExamples, decode_call
from linklearner.domain.errors import DataLoss, InvalidInput, Refused
from linklearner.domain.events import ExamplesCommitted, ExamplesOpened
from linklearner.domain.rules.evidence.batches import is_committed
from linklearner.domain.tasks import ExampleSet, Mined, OpenedBatch, RoundExamples
from services.chain_gateway.chain import Chain
from services.chain_gateway.events import EventIndex
from services.chain_gateway.ledger.kept import Kept

BATCH_BYTES: Final = 64 << 20
"""Of opened batches, kept in memory."""
COUNTED: Final = 100_000
"""Batches of which it is remembered how many examples they have."""
AT_ONCE: Final = 8
"""Transactions that are read at the same time."""


class Examples:
    """Of all tasks, from the history."""

    def __init__(self, chain: Chain, pool: bytes, events: EventIndex) -> None:
        self._chain = chain
        self._pool = pool
        self._events = events
        self._batches = Kept[bytes, OpenedBatch](BATCH_BYTES, lambda batch: len(batch.examples))
        self._counts = Kept[bytes, int](COUNTED, lambda _: 1)

    async def of(self, task: int, width: int) -> ExampleSet | None:
        """As far as it is known here; None before the creator has committed to one. width: bytes of an example."""
        committed = self.committed(task)
        if committed is None:
            return None
        counts = await self._counted(self._events.find(ExamplesOpened, task), committed, width)
        return ExampleSet(
            root=committed.root,
            batches=committed.batches,
            examples=committed.examples,
            input_exponent=committed.input_exponent,
            opened_batches=len(counts),
            opened_examples=sum(counts),
        )

    def all_committed(self) -> list[ExamplesCommitted]:
        """Of every task of the pool."""
        return self._events.find(ExamplesCommitted)

    def committed(self, task: int) -> ExamplesCommitted | None:
        return next(iter(self._events.find(ExamplesCommitted, task)), None)

    async def of_round(
        self, task: int, round: int, width: int, mined: Callable[[bytes], Awaitable[Mined]]
    ) -> RoundExamples | None:
        """What was opened for a round; None if nothing was. mined: what is known of a transaction."""
        committed, opened = self.committed(task), self._events.find(ExamplesOpened, task)
        until = next((at for at, event in enumerate(opened, 1) if event.round == round), 0)
        if committed is None or not until:
            return None
        counts = await self._counted(opened[:until], committed, width)
        event = opened[until - 1]
        return RoundExamples(event.batch, counts[-1], sum(counts), await mined(event.transaction))

    async def opened(self, task: int, first_batch: int = 0) -> AsyncIterator[OpenedBatch]:
        """The batches from that one on, as far as they are known here. Raises Refused (NoExamples) for a task that has none."""
        committed = self.committed(task)
        if committed is None:
            raise Refused(f"task {task} has no examples: its rule judges by none", reason="NoExamples")
        for event in self._events.find(ExamplesOpened, task):
            if event.batch >= first_batch:
                yield await self._batch(event, committed)

    async def _counted(self, opened: list[ExamplesOpened], committed: ExamplesCommitted, width: int) -> list[int]:
        """How many examples each batch has. Another task's creator may have opened thousands: a few are read at once."""
        places = asyncio.Semaphore(AT_ONCE)

        async def count(event: ExamplesOpened) -> int:
            known = self._counts.get(event.transaction)
            if known is None:
                async with places:
                    batch = await self._batch(event, committed)
                known = len(batch.examples) // width
                self._counts.put(event.transaction, known)
            return known

        return list(await asyncio.gather(*map(count, opened)))

    async def _batch(self, event: ExamplesOpened, committed: ExamplesCommitted) -> OpenedBatch:
        """Raises DataLoss unless it is the committed one at its place."""
        kept = self._batches.get(event.transaction)
        if kept is not None:
            return kept
        name = f"transaction 0x{event.transaction.hex()}"
        found = await self._chain.transaction(event.transaction)
        if found.call.to != self._pool:
            raise DataLoss(f"{name} made the pool open examples and does not go to it")
        try:
            call = decode_call(OpenExamples, found.call.data)
        except InvalidInput as error:
            raise DataLoss(f"{name} made the pool open examples and is no such call: {error.message}") from error
        if not is_committed(committed.root, event.batch, call.examples, call.proof):
            raise DataLoss(f"what the node tells of {name} is not the batch that the task's creator committed to")
        batch = OpenedBatch(event.batch, event.round, call.examples, call.proof)
        self._batches.put(event.transaction, batch)
        return batch
