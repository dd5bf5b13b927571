"""Replaying a task's history: the chain's own words in order, and after each of them, is that what the rules give?

`linklearner.chain.history` turns a chain's transactions and their events into the dataclasses of `linklearner.domain.events`, in the order
of the chain; whoever verifies feeds them to `Replay`. Each weight, digest, verdict, running hash, stake and payment is computed anew by the
modules beside this one; the first thing that differs raises `Divergence` with the block, the transaction and the name of the field. Nothing
that the chain says is taken as given but who sent what: signatures are the node's business.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.domain.digest import model_digest
from linklearner.domain.errors import Divergence, InvalidModel, LinkLearnerError
from linklearner.domain.events import (
    ContributionPaid,
    Event,
    GroupSettled,
    ModelUpdated,
    RoundDropped,
    SettlerPaid,
    StakeLocked,
    StakeUnlocked,
    StakeWithdrawn,
    TaskOpened,
    UpdateSubmitted,
    WeightsLoaded,
)
from linklearner.domain.model import ModelSpec
from linklearner.domain.rounds import Phase, Step, Terms, advance, running_next, running_seed
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.rules.table import RULES, rule_of
from linklearner.domain.shape import Shape
from linklearner.domain.stakes import StakeLedger, influence
from linklearner.domain.update import Update, join


@dataclass(slots=True)
class _Accepted:
    event: UpdateSubmitted
    update: Update
    group_digests: tuple[bytes, ...]


@dataclass(slots=True)
class TaskReplay:
    """What replaying knows of one task after the events fed so far."""

    shape: Shape
    model: ModelSpec | None
    """None where the text is no description of these weights that this program can read."""
    terms: Terms
    running: bytes
    phase: Phase = Phase.LOADING
    version: int = 0
    weights: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, dtype=np.int16))
    """(N,) int16 of `version`; while loading, the pages loaded so far."""
    digest: bytes = b""
    ledger: StakeLedger = field(default_factory=StakeLedger)
    merged_groups: int = 0
    saturated: int = 0
    paid: int = 0
    """All that the task has minted, wei."""
    accepted: list[_Accepted] = field(default_factory=list)
    due: list[Event] = field(default_factory=list)
    """The events that must follow before anything else of this task, computed here."""


class Replay:
    """Feed every event of one pool in the order of the chain. After `finish`, all of it is what the rules give."""

    def __init__(self, chain_id: int, pool: bytes) -> None:
        self._chain_id = chain_id
        self._pool = pool
        self.tasks: dict[int, TaskReplay] = {}

    def feed(self, event: Event) -> None:
        """Raises Divergence naming block, transaction and field; the replay is of no use after that."""
        task = self.tasks.get(event.task)
        if isinstance(event, TaskOpened):
            self._open(event)
            return
        if task is None:
            _diverge(event, "task", "a task that was opened", event.task)
        if task.due:
            self._expect(task, event)
            return
        match event:
            case WeightsLoaded():
                self._load(task, event)
            case StakeLocked() | StakeUnlocked() | StakeWithdrawn():
                self._stake(task, event)
            case UpdateSubmitted():
                self._submit(task, event)
            case GroupSettled():
                self._settle(task, event)
            case RoundDropped():
                _compare(event, "round", task.ledger.round, event.round)
                self._advance(task, event, Step.DROPPED)
                self._next_round(task, event.task)
            case _:
                _diverge(event, "event", "no such event here", type(event).__name__)

    def finish(self) -> None:
        """Raises Divergence if an event that had to come has not come."""
        for task in self.tasks.values():
            if task.due:
                _diverge(task.due[0], "event", type(task.due[0]).__name__, "the end of the history")

    def _open(self, event: TaskOpened) -> None:
        _compare(event, "task", len(self.tasks) + 1, event.task)
        try:
            shape = Shape.decode(event.shape)
        except LinkLearnerError as error:
            _diverge(event, "shape", "a task that can be read", error.message)
        model: ModelSpec | None = None
        with suppress(InvalidModel):  # the chain keeps any text, and no rule of it reads the model
            model = ModelSpec.from_json(event.model)
        if model is not None and model.weight_count != shape.weight_count:
            model = None
        if event.terms.rule not in RULES:
            _diverge(event, "terms.rule", " or ".join(map(str, RULES)), event.terms.rule)
        self.tasks[event.task] = TaskReplay(shape, model, event.terms, self._seed(event.task, 0))

    def _load(self, task: TaskReplay, event: WeightsLoaded) -> None:
        if task.phase is not Phase.LOADING:
            _diverge(event, "phase", Phase.LOADING.value, task.phase.value)
        _compare(event, "first_page", -(-task.weights.size // task.shape.page_length), event.first_page)
        if not event.weights or len(event.weights) % 2:
            _diverge(event, "weights", "whole int16 numbers", f"{len(event.weights)} bytes")
        task.weights = np.concatenate([task.weights, np.frombuffer(event.weights, "<i2").astype(np.int16)])
        if task.weights.size > task.shape.weight_count or (
            task.weights.size < task.shape.weight_count and task.weights.size % task.shape.page_length
        ):
            _diverge(event, "weights", "whole pages of the task", f"{len(event.weights)} bytes")
        _compare(event, "next_page", -(-task.weights.size // task.shape.page_length), event.next_page)
        if task.weights.size == task.shape.weight_count:
            self._advance(task, event, Step.LOADED)
            task.version = 1
            task.digest = model_digest(task.weights, task.shape)
            self._next_round(task, event.task)
            task.due = [
                ModelUpdated(
                    block=event.block,
                    transaction=event.transaction,
                    task=event.task,
                    version=1,
                    digest=task.digest,
                    round=0,
                    accepted=0,
                    saturated=0,
                )
            ]

    def _stake(self, task: TaskReplay, event: StakeLocked | StakeUnlocked | StakeWithdrawn) -> None:
        ledger = task.ledger
        try:
            if isinstance(event, StakeWithdrawn):
                _compare(event, "units", ledger.withdraw(event.account), event.units)
                return
            _compare(event, "round", ledger.round, event.round)
            if isinstance(event, StakeLocked):
                ledger.lock(event.account, event.units)
            else:
                _compare(event, "matured", 0, ledger.unlock(event.account, event.units))
        except Divergence:
            raise
        except LinkLearnerError as error:
            _diverge(event, "units", error.message, event.units)

    def _submit(self, task: TaskReplay, event: UpdateSubmitted) -> None:
        shape, ledger, terms = task.shape, task.ledger, task.terms
        _compare(event, "round", ledger.round, event.round)
        self._advance(task, event, Step.ACCEPTED)
        try:
            update = Update.decode(join(event.header, event.groups), shape)
            norm = update.squared_norm(shape)
            weight = influence(ledger.eligible_of(event.contributor), ledger.eligible)
            effective = rule_of(terms.rule).verdict(weight, norm, shape.norm_bound)
        except LinkLearnerError as error:
            _diverge(event, "update", "an update that the rules accept", error.message)
        _compare(event, "header", update.header(shape), event.header)
        _compare(event, "groups", update.groups(shape), event.groups)
        _compare(event, "update.task", event.task, update.task)
        _compare(event, "update.base_version", task.version, update.base_version)
        _compare(event, "digest", update.digest(shape), event.digest)
        _compare(event, "weight", weight, event.weight)
        _compare(event, "effective", effective, event.effective)
        if weight == 0 or ledger.eligible_of(event.contributor) < terms.min_stake:
            _diverge(event, "stake", f"at least {max(terms.min_stake, 1)}", ledger.eligible_of(event.contributor))
        if ledger.of(event.contributor).submitted == ledger.round:
            _diverge(event, "contributor", "one update a round", "a second one")
        if len(task.accepted) >= terms.max_updates:
            _diverge(event, "accepted", f"at most {terms.max_updates}", len(task.accepted) + 1)
        ledger.record_update(event.contributor)
        task.running = running_next(task.running, event.digest, event.contributor, event.weight, event.effective)
        task.accepted.append(_Accepted(event, update, tuple(bytes(keccak(group)) for group in event.groups)))

    def _settle(self, task: TaskReplay, event: GroupSettled) -> None:
        shape = task.shape
        _compare(event, "round", task.ledger.round, event.round)
        _compare(event, "group", task.merged_groups, event.group)
        _compare(event, "updates", len(task.accepted), len(event.updates))
        running = self._seed(event.task, event.round)
        for index, (settled, accepted) in enumerate(zip(event.updates, task.accepted, strict=True)):
            submitted = accepted.event
            for name, ours, theirs in (
                ("contributor", submitted.contributor, settled.contributor),
                ("weight", submitted.weight, settled.weight),
                ("effective", submitted.effective, settled.effective),
                ("header", submitted.header, settled.header),
                ("digests", accepted.group_digests, settled.digests),
                ("pages", submitted.groups[event.group], settled.pages),
            ):
                _compare(event, f"updates[{index}].{name}", ours, theirs)
            running = running_next(running, submitted.digest, settled.contributor, settled.weight, settled.effective)
        _compare(event, "running hash", task.running, running)
        task.merged_groups += 1
        if task.merged_groups < shape.group_count:
            self._advance(task, event, Step.GROUP_MERGED)
            return
        self._advance(task, event, Step.SETTLED)
        merged = rule_of(task.terms.rule).merge(
            task.weights,
            [Contribution(a.event.contributor, a.event.weight, a.event.effective, a.update) for a in task.accepted],
            task.ledger.eligible,
            shape,
        )
        task.weights = merged.weights
        task.version += 1
        task.digest = model_digest(task.weights, shape)
        fee, shares = rule_of(task.terms.rule).pay(
            task.terms, [a.event.weight for a in task.accepted], task.ledger.eligible
        )
        where: dict[str, Any] = {"block": event.block, "transaction": event.transaction, "task": event.task}
        task.due = [
            ModelUpdated(
                **where,
                version=task.version,
                digest=task.digest,
                round=event.round,
                accepted=len(task.accepted),
                saturated=merged.saturated,
            ),
            *(
                ContributionPaid(**where, round=event.round, contributor=a.event.contributor, amount=share)
                for a, share in zip(task.accepted, shares, strict=True)
            ),
        ]
        if fee:
            task.due.append(SettlerPaid(**where, round=event.round, settler=b"", amount=fee))
        self._next_round(task, event.task)

    def _expect(self, task: TaskReplay, event: Event) -> None:
        expected = task.due.pop(0)
        if type(event) is not type(expected):
            _diverge(event, "event", type(expected).__name__, type(event).__name__)
        for name in type(expected).__dataclass_fields__:
            if name != "settler":  # whoever sent the settlement
                _compare(event, name, getattr(expected, name), getattr(event, name))
        if isinstance(event, ContributionPaid | SettlerPaid):
            task.paid += event.amount

    def _advance(self, task: TaskReplay, event: Event, step: Step) -> None:
        try:
            task.phase = advance(rule_of(task.terms.rule).transitions, task.phase, step)
        except LinkLearnerError as error:
            _diverge(event, "phase", "a step that the round allows", error.message)

    def _next_round(self, task: TaskReplay, number: int) -> None:
        task.ledger.next_round()
        task.accepted = []
        task.merged_groups = 0
        task.running = self._seed(number, task.ledger.round)

    def _seed(self, task: int, round_number: int) -> bytes:
        return running_seed(self._chain_id, self._pool, task, round_number)


def _compare(event: Event, name: str, ours: object, theirs: object) -> None:
    if ours != theirs:
        _diverge(event, name, ours, theirs)


def _diverge(event: Event, name: str, ours: object, theirs: object) -> NoReturn:
    ours_text, theirs_text = (v.hex() if isinstance(v, bytes) else str(v) for v in (ours, theirs))
    raise Divergence(
        f"block {event.block}, transaction 0x{event.transaction.hex()}: {name} should be {ours_text:.200}, "
        f"the chain says {theirs_text:.200}",
        facts={"block": event.block, "transaction": "0x" + event.transaction.hex(), "field": name},
    )
