"""Opening examples: the next batch of a task whose set is here, once its round takes no more updates."""

from __future__ import annotations

from linklearner.chain import contracts
from linklearner.chain.contracts import OpenExamples
from linklearner.domain import gas
from linklearner.domain.errors import Refused
from linklearner.domain.events import ExamplesOpened
from linklearner.domain.rules.evidence.sets import ExampleBatches
from linklearner.domain.tasks import Mined
from services.chain_gateway.chain import Call
from services.chain_gateway.example_store import ExampleStore
from services.chain_gateway.ledger.sending import Sending
from services.chain_gateway.ledger.tasks import Tasks
from services.chain_gateway.ledger.values import mined as mined_by
from services.chain_gateway.outbox import Request


class Disclosures:
    """Of all tasks."""

    def __init__(self, tasks: Tasks, sending: Sending, store: ExampleStore | None) -> None:
        self._tasks = tasks
        self._views = tasks.views
        self._sending = sending
        self.store = store
        """Of the sets that are not opened yet; None: none are kept here."""

    def tasks(self) -> set[int]:
        """The tasks whose examples are here, whoever opened them."""
        if self.store is None:
            return set()
        committed = self._tasks.examples.all_committed()
        here = self.store.among({event.root for event in committed})
        return {event.task for event in committed if event.root in here}

    def of(self, task: int) -> ExampleBatches | None:
        """All examples of the task; None where they are not here."""
        committed = self._tasks.examples.committed(task)
        return None if committed is None or self.store is None else self.store.of(committed.root)

    async def open(self, request_id: str, account: bytes, task: int, round: int) -> Mined:
        """Opens the next batch for a round: one transaction, however often it is asked for.

        Raises Refused: NoExamples where they are not here, ExamplesUsedUp, RoundNotOver, PhaseOver from when on the round may be dropped,
        ExamplesOpen and WrongRound where others were faster.
        """
        await self._tasks.require(task)
        contents = task.to_bytes(8, "big") + round.to_bytes(8, "big")
        request = Request(request_id=request_id, account=account, kind="open examples", contents=contents)
        outcome = await self._sending.send_when_due(request, lambda: self._call(task, round))
        self._tasks.events.poke()
        return mined_by(outcome)

    async def _call(self, task: int, round: int) -> Call:
        await self._tasks.events.sync((await self._views.head()).number)
        examples = self.of(task)
        if examples is None:
            raise Refused(
                f"the examples of task {task} are not here: whoever opened the task has them", reason="NoExamples"
            )
        batch = len(self._tasks.events.find(ExamplesOpened, task))
        if batch >= len(examples.batches):
            raise Refused(
                f"all {batch} batches of the examples of task {task} are opened: no round can be judged any more",
                reason="ExamplesUsedUp",
            )
        data = examples.batches[batch]
        call = contracts.open_examples(
            OpenExamples(task=task, round=round, examples=data, proof=examples.tree.proof(batch))
        )
        return Call(self._views.deployment.pool, call, known_gas=gas.open_examples_limit(call, len(data)))
