"""What has been seen of a task, and what is new in each look at it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from linklearner.domain.notation import UNIT_WEI, address_text, amount_text
from linklearner.domain.rounds import BPS, Phase
from linklearner.domain.tasks import AcceptedUpdate, Round, Task
from linklearner.domain.training import Activity, Evaluation, TrainerStatus
from linklearner.report.numbers import money_text

EVENTS_KEPT = 200
DOING = {
    Activity.IDLE: "is idle",
    Activity.WAITING: "waits",
    Activity.TRAINING: "trains",
    Activity.SUBMITTING: "submits",
}
SCORES_KEPT = 400


@dataclass(frozen=True, slots=True)
class Happened:
    """One event: a name and facts for programs, a sentence for people. at_s: Unix seconds when it was seen."""

    at_s: float
    event: str
    text: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scored:
    """A version on a trainer's held-out samples. value: of the task's metric, 1 is perfect."""

    version: int
    metric: str
    value: float
    loss: float


@dataclass(slots=True)
class Watched:
    """One task. Each `saw_…` takes a look at something and gives what is new in it."""

    task: Task | None = None
    open: Round | None = None
    """The open round, with its contributions."""
    scores: deque[Scored] = field(default_factory=lambda: deque(maxlen=SCORES_KEPT))
    trainers: dict[str, TrainerStatus | None] = field(default_factory=dict)
    """By host:port; None: does not answer."""
    events: deque[Happened] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    trouble: str = ""
    """Why the gateway cannot be asked just now."""
    _reported: set[bytes] = field(default_factory=set)
    """Digests of the open round's contributions that were told."""
    _opened: set[tuple[int, int]] = field(default_factory=set)
    """Rounds and batches whose opening was told."""

    def saw_task(self, task: Task, now_s: float) -> Iterator[Happened]:
        before, self.task = self.task, task
        if self.trouble:
            self.trouble = ""
            yield self._new(now_s, "reached", "the gateway answers again")
        if before is None:
            yield self._new(
                now_s, "watching", f"task {task.task}: version {task.version}, round {task.round.round} {_phase(task)}",
                task=task.task, version=task.version, round=task.round.round, phase=_phase(task), pot_wei=str(task.pot),
            )  # fmt: skip
            return
        if task.pot > before.pot:
            yield self._new(
                now_s, "funded", f"the pot grew by {money_text(task.pot - before.pot)} $LL to {money_text(task.pot)}",
                pot_wei=str(task.pot),
            )  # fmt: skip
        if task.closing and not before.closing and not task.closed:
            yield self._new(now_s, "closing", "the creator closes the task: this round is the last one")
        if task.round.phase is Phase.SETTLING and task.round.merged_groups > before.round.merged_groups:
            yield self._new(
                now_s, "merging", f"round {task.round.round}: {task.round.merged_groups} of {task.shape.group_count} groups merged",
                round=task.round.round, merged_groups=task.round.merged_groups,
            )  # fmt: skip
        if task.closed and not before.closed:
            yield self._new(now_s, "closed", "the task is closed: no round follows", task=task.task)
        elif task.round.round > before.round.round:
            yield self._new(
                now_s, "opened", f"round {task.round.round} opened on version {task.version}",
                round=task.round.round, version=task.version, eligible_units=task.round.eligible,
            )  # fmt: skip

    def saw_round(self, found: Round, now_s: float) -> Iterator[Happened]:
        """The open one, or one that is over since it was the open one."""
        for one in found.contributions:
            if one.digest not in self._reported:
                self._reported.add(one.digest)
                yield self._new(
                    now_s, "contribution",
                    f"round {found.round}: {address_text(one.contributor)} contributed {one.update_bytes:,} bytes, "
                    f"{amount_text(one.weight * UNIT_WEI)} $LL of influence{_scaled(one)}",
                    round=found.round, contributor=address_text(one.contributor), bytes=one.update_bytes, weight=one.weight,
                    effective=one.effective, gas=one.mined.gas_used, digest="0x" + one.digest.hex(),
                )  # fmt: skip
        if found.examples is not None and (found.round, found.examples.batch) not in self._opened:
            self._opened.add((found.round, found.examples.batch))
            yield self._new(
                now_s, "examples",
                f"round {found.round}: {found.examples.examples} examples opened, {found.examples.opened} so far; it takes no more updates",
                round=found.round, batch=found.examples.batch, examples=found.examples.examples, opened=found.examples.opened,
            )  # fmt: skip
        if not found.dropped and found.version is None:
            self.open = found
            return
        self._reported -= {one.digest for one in found.contributions}
        self._opened -= {one for one in self._opened if one[0] < found.round}
        if found.dropped:
            yield self._new(now_s, "dropped", f"round {found.round} was dropped: nobody is paid", round=found.round)
        elif found.version is not None:
            paid = sum(one.paid or 0 for one in found.contributions)
            yield self._new(
                now_s, "settled",
                f"round {found.round} settled by {address_text(found.settler) if found.settler else 'somebody'}: version "
                f"{found.version.version} of {len(found.contributions)} updates, {money_text(paid)} $LL earned",
                round=found.round, version=found.version.version, updates=len(found.contributions), paid_wei=str(paid),
                settler_wei=str(found.settler_paid), gas=sum(one.gas_used for one in found.settlements),
            )  # fmt: skip
            for one in found.contributions:
                if one.verdict is not None and found.examples is not None:
                    yield self._new(
                        now_s, "verdict",
                        f"round {found.round}: {address_text(one.contributor)} {one.verdict.text(found.examples.examples)}; paid "
                        f"{money_text(one.paid or 0)} $LL",
                        round=found.round, contributor=address_text(one.contributor), outcome=one.verdict.outcome.name.lower(),
                        gain=one.verdict.gain, record=one.verdict.record, paid_wei=str(one.paid or 0),
                    )  # fmt: skip

    def saw_skipped(self, first: int, last: int, now_s: float) -> Iterator[Happened]:
        """Rounds that came and went between two looks, too many to ask for each."""
        yield self._new(now_s, "skipped", f"rounds {first} to {last} passed meanwhile", first=first, last=last)

    def saw_score(self, found: Evaluation, now_s: float) -> Iterator[Happened]:
        self.scores.append(Scored(found.version.version, found.metric, found.value, found.loss))
        yield self._new(
            now_s, "measured",
            f"version {found.version.version}: {found.metric} {found.value:.4f}, loss {found.loss:.4g} on {found.samples:,} samples",
            version=found.version.version, metric=found.metric, value=found.value, loss=found.loss, samples=found.samples,
        )  # fmt: skip

    def saw_trainer(self, where: str, status: TrainerStatus | None, now_s: float) -> Iterator[Happened]:
        known, before = where in self.trainers, self.trainers.get(where)
        self.trainers[where] = status
        if not known:
            return
        said, said_before = (None if one is None else self.doing(one) for one in (status, before))
        if said == said_before:
            return
        if status is None:
            text = "does not answer any more"
        elif before is None:
            text = f"answers again: {said}"
        else:
            text = str(said)
        yield self._new(
            now_s, "trainer", f"trainer {where} {text}", trainer=where, reached=status is not None, does=said
        )

    def doing(self, status: TrainerStatus) -> str:
        """What a trainer does for the task, and what it waits for."""
        for one in status.tasks:
            if self.task is not None and one.task == self.task.task:
                return DOING[one.activity] + (f": {one.detail}" if one.detail else "")
        return "trains" if status.busy else "is idle"

    def saw_trouble(self, why: str, now_s: float) -> Iterator[Happened]:
        """The gateway, or its chain, could not be asked; told once."""
        before, self.trouble = self.trouble, why
        if not before:
            yield self._new(now_s, "unreachable", why)

    @property
    def quorum_share(self) -> float:
        """Present stake over eligible stake, 0 to 1."""
        status = None if self.task is None else self.task.round
        return status.present / status.eligible if status and status.eligible else 0.0

    @property
    def quorum(self) -> float:
        """The share from which on the round may be settled before its time is up."""
        return 0.0 if self.task is None else self.task.terms.quorum_bps / BPS

    def _new(self, at_s: float, event: str, text: str, **facts: Any) -> Happened:
        happened = Happened(at_s, event, text, facts)
        self.events.append(happened)
        return happened


def _phase(task: Task) -> str:
    return "" if task.round.phase is None else task.round.phase.value


def _scaled(one: AcceptedUpdate) -> str:
    return "" if one.effective == one.weight else f" scaled down to {amount_text(one.effective * UNIT_WEI)}"
