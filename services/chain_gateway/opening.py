"""A task from nothing to version 1: several transactions of one account, each a request of the outbox.

`openTask` names the number that the task is to have, the pool's next one, so that the Aspect and the pool speak of the same task. Others
open tasks, too: if somebody took the number first, our transaction failed, changed nothing, and the next attempt, which is a request of its
own, names the next one. A request that is repeated finds the attempt that succeeded, and goes on behind it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from eth_hash.auto import keccak

from linklearner.chain import contracts
from linklearner.chain.contracts import POOL, TOKEN, LoadPages, decode_event
from linklearner.domain import gas
from linklearner.domain.addresses import token_of
from linklearner.domain.errors import DataLoss, Refused
from linklearner.domain.events import Event, ModelUpdated, TaskOpened
from linklearner.domain.model import ModelVersion
from linklearner.domain.notation import amount_text
from linklearner.domain.rounds import Terms
from linklearner.domain.rules.evidence.course import least_bond
from linklearner.domain.rules.evidence.sets import ExampleBatches
from linklearner.domain.shape import Shape
from services.chain_gateway.chain import Call, Chain
from services.chain_gateway.outbox import Outcome, Prepare, State, always

LOAD_BYTES: Final = 80_000
"""Weights loaded by one transaction: 175 gas a byte (156.25 for state, 16 for calldata) make 14 of a block's 20 million."""
ATTEMPTS: Final = 8
"""Numbers that others may take before us until the caller has to repeat the request. Each costs them no less than us."""

TAKEN: Final = ("TaskExists", "WrongTaskId")
"""Of a number that somebody took before us: the Aspect's word, which comes first, and the pool's."""

E = TypeVar("E", bound=Event)
Send = Callable[[str, bytes, Prepare], Awaitable[Outcome]]
"""Of a step's name, its contents and the call that it is."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """weights: little-endian int16, as many as the shape has."""

    model: str
    shape: Shape
    terms: Terms
    weights: bytes = field(repr=False)
    examples: ExampleBatches | None = field(default=None, repr=False)
    """By which rule `evidence` judges. Its creator puts down the least bond that they will be opened."""
    reveal_seconds: int = 0
    """By rule `evidence`: 0 where updates are not sealed."""

    @property
    def contents(self) -> bytes:
        """What makes it this task and no other: 32 bytes."""
        parts = [self.model.encode(), self.shape.encode(), repr(self.terms).encode(), self.weights]
        if self.examples is not None:
            parts += [self.examples.encode(), str(self.reveal_seconds).encode()]
        return bytes(keccak(b"".join(bytes(keccak(part)) for part in parts)))


class Opening:
    """Of one task, by one account. send: to the outbox. state: what the outbox has of a step."""

    def __init__(
        self,
        chain: Chain,
        pool: bytes,
        account: bytes,
        new: NewTask,
        send: Send,
        state: Callable[[str], State | None],
    ) -> None:
        self._chain = chain
        self._pool = pool
        self._account = account
        self._new = new
        self._send = send
        self._state = state
        self.outcomes: list[Outcome] = []
        """Of the steps that have succeeded so far."""

    async def open(self) -> int:
        """The task's number. Raises Refused with the pool's reason: BadTerms, …; TaskExists if others took number after number."""
        attempt = lost = 0
        while True:
            step = f"open/{attempt}"
            before = self._state(step)
            try:
                outcome = await self._send(step, self._new.contents, self._open_call)
            except Refused as refused:
                if refused.reason not in TAKEN:
                    raise
                attempt += self._state(step) is State.FAILED  # it was in a block: another try is another request
                lost += before is not State.FAILED
                if lost >= ATTEMPTS:
                    raise
            else:
                self.outcomes.append(outcome)
                return self._told(outcome, TaskOpened).task

    async def _open_call(self) -> Call:
        answer = await self._chain.call(self._pool, POOL.encode_call("nextTask"))
        number = int(POOL.decode_result("nextTask", answer)["0"])
        new = self._new
        if new.examples is not None:
            await self._require_bond(least_bond(new.terms))
        data = contracts.open_task(number, new.shape.encode(), new.model, new.terms)
        return Call(self._pool, data, known_gas=gas.open_limit(data, new.shape, new.model))

    async def _require_bond(self, bond: int) -> None:
        """Raises Refused (ERC20InsufficientBalance) before a task is open to which its creator could not put the bond."""
        answer = await self._chain.call(token_of(self._pool), TOKEN.encode_call("balanceOf", self._account))
        held = int(TOKEN.decode_result("balanceOf", answer)["0"])
        if held < bond:
            raise Refused(
                f"the creator puts down a bond of {amount_text(bond)} $LL, and has {amount_text(held)}: send it some",
                reason="ERC20InsufficientBalance",
                facts={"balance": str(held), "needed": str(bond)},
            )

    async def commit(self, task: int) -> None:
        """By rule `evidence`: binds the task to its examples, before its weights are loaded. Raises Refused: BadTerms, NotAPerceptron."""
        if self._new.examples is None:
            return
        data = contracts.commit_examples(
            task, self._new.examples, self._new.reveal_seconds, least_bond(self._new.terms)
        )
        call = Call(self._pool, data, known_gas=gas.COMMIT_EXAMPLES)
        self.outcomes.append(await self._send("examples", data, always(call)))

    async def load(self, task: int) -> ModelVersion:
        """Loads all weights of the task, which becomes version 1. Raises Refused: TaskIsClosing, InsufficientFunds."""
        shape = self._new.shape
        for first, place in loads(shape):
            weights = self._new.weights[2 * place.start : 2 * place.stop]
            data = contracts.load_pages(LoadPages(task=task, first_page=first, weights=weights))
            after = first + -(-(place.stop - place.start) // shape.page_length)
            call = Call(self._pool, data, known_gas=gas.load_limit(data, shape, first, after))
            self.outcomes.append(await self._send(f"load/{first}", data, always(call)))
        made = self._told(self.outcomes[-1], ModelUpdated)
        return ModelVersion(
            task=made.task,
            version=made.version,
            digest=made.digest,
            round=made.round,
            block_number=made.block,
            accepted_count=made.accepted,
            saturated_count=made.saturated,
        )

    def _told(self, outcome: Outcome, kind: type[E]) -> E:
        """The event of that kind which a step made. Raises DataLoss for a receipt that tells of none."""
        for log in outcome.receipt.logs:
            event = decode_event(log) if log.address == self._pool else None
            if isinstance(event, kind):
                return event
        raise DataLoss(f"the node's receipt of 0x{outcome.receipt.transaction_hash.hex()} tells of no {kind.__name__}")


def loads(shape: Shape) -> list[tuple[int, slice]]:
    """The transactions that load all weights: first page and where its weights lie, whole pages of about 80 kB together."""
    at_once = max(1, LOAD_BYTES // (2 * shape.page_length))
    found = []
    for first in range(0, shape.page_count, at_once):
        last = min(first + at_once, shape.page_count) - 1
        found.append((first, slice(shape.page_slice(first).start, shape.page_slice(last).stop)))
    return found
