"""Replaying a pool's history: the chain's own words in order, and after each of them, is that what the rules give?

`linklearner.chain.history` turns a chain's transactions and their events into the dataclasses of `linklearner.domain.events`, in the
order of the chain; whoever verifies feeds them to `Replay`. Each weight, digest, verdict, running hash, stake, date and payment is
computed anew by the modules beside this one; the first thing that differs raises `Divergence` with the block, the transaction and the
name of the field. Nothing that the chain says is taken as given but who sent what and the times of its blocks: signatures and clocks are
the node's business.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.domain import terms as task_terms
from linklearner.domain.digest import model_digest
from linklearner.domain.errors import Divergence, InvalidModel, LinkLearnerError
from linklearner.domain.events import (
    BatchOpened,
    BondClaimed,
    BondForfeited,
    BondPut,
    BondReturned,
    ContributionPaid,
    EarningsClaimed,
    Event,
    ExamplesCommitted,
    FeesShared,
    GroupSettled,
    ModelUpdated,
    PayNamed,
    PayReturned,
    PaySetAside,
    PotFunded,
    PotGranted,
    RoundDropped,
    RoundsHandedIn,
    SettledRound,
    SettlerPaid,
    StakeFeesClaimed,
    StakeLocked,
    StakeMatured,
    StakeUnlocked,
    StakeWithdrawn,
    TaskClosed,
    TaskClosing,
    TaskOpened,
    UpdateCommitted,
    UpdateCredited,
    UpdateJudged,
    UpdateSubmitted,
    WeightsLoaded,
)
from linklearner.domain.model import ModelSpec
from linklearner.domain.notation import UNIT_WEI
from linklearner.domain.pay import ContributionShares, RoundPay, round_pay, share_fee
from linklearner.domain.rounds import Phase, Standing, Step, Terms, advance, commitment, running_next, running_seed
from linklearner.domain.rules.evidence.course import CODES, Course, least_bond
from linklearner.domain.rules.evidence.credit import gain_share
from linklearner.domain.rules.evidence.ledger import Owed, PayLedger
from linklearner.domain.rules.evidence.rule import EVIDENCE
from linklearner.domain.rules.evidence.verdicts import Judgement
from linklearner.domain.rules.rule import Contribution, Merged
from linklearner.domain.rules.table import rule_of
from linklearner.domain.shape import Shape
from linklearner.domain.stakes import StakeLedger, influence
from linklearner.domain.update import Update, join


@dataclass(frozen=True, slots=True)
class Emission:
    """What bounds the supply of $LL: read from the token, which cannot change any of it. Wei; start_s: Unix seconds."""

    genesis: int
    cap: int
    per_second: int
    start_s: int

    def emittable(self, emitted: int, now_s: int) -> int:
        """What may be emitted at `now_s`: what the schedule has released and nobody has asked for, as far as the cap has room."""
        released = self.per_second * (now_s - self.start_s)
        return min(max(released - emitted, 0), self.cap - self.genesis - emitted)


@dataclass(slots=True)
class Flows:
    """All $LL that went into a task and out of it, wei. Pool and vault hold the difference."""

    funded: int = 0
    granted: int = 0
    fees_to_contributors: int = 0
    fees_to_stake: int = 0
    fees_to_pot: int = 0
    """Of a closed task they went to the creator: they are in `refunded`, too."""
    earned: int = 0
    """Credited for updates: stays in the pool until it is claimed."""
    settlers: int = 0
    refunded: int = 0
    """To the task's creator."""
    pay_claimed: int = 0
    fees_claimed: int = 0
    stake_fees_claimed: int = 0
    bonds: int = 0
    """Put down by creators, or by others for them."""
    bonds_returned: int = 0
    bonds_claimed: int = 0
    """Forfeited, and taken by contributors."""
    roundings: int = 0
    """Divisions of fees so far: each leaves less than a wei with pool or vault."""

    @property
    def pool(self) -> int:
        """What of the pool's $LL is the task's."""
        fees = self.fees_to_contributors + self.fees_to_stake + self.fees_to_pot
        claimed = self.pay_claimed + self.fees_claimed + self.stake_fees_claimed + self.bonds_claimed
        return (
            self.funded
            + self.granted
            + fees
            + self.bonds
            - self.settlers
            - self.refunded
            - self.bonds_returned
            - claimed
        )


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
    creator: bytes
    running: bytes
    ledger: StakeLedger
    phase: Phase = Phase.LOADING
    version: int = 0
    weights: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, dtype=np.int16))
    """(N,) int16 of `version`; empty while they are being loaded."""
    loading: list[NDArray[np.int16]] = field(default_factory=list)
    """The parts loaded so far; put together once, when all are there."""
    loaded: int = 0
    """Weights in them."""
    digest: bytes = b""
    pot: int = 0
    """What the task can still pay, wei."""
    shares: ContributionShares = field(default_factory=ContributionShares)
    closing: bool = False
    flows: Flows = field(default_factory=Flows)
    first_s: int = 0
    """Of the first accepted update of the open round, or of its first commitment, Unix seconds; 0 while there is none."""
    committed: int = 0
    """Commitments to updates of the open round, revealed or not."""
    idle_s: int = 0
    """Seconds of the rounds without updates just before the open one: they are paid with it."""
    merged_groups: int = 0
    accepted: list[_Accepted] = field(default_factory=list)
    course: Course | None = None
    """What a rule that looks back keeps."""
    handed_in: dict[int, SettledRound] = field(default_factory=dict)
    """Where the task pays later: settled rounds, by the version that they began with, as who pays hands them in; the last eight paid ones,
    too."""
    judgement: Judgement | None = None
    """Of the round that is being settled by such a rule."""

    @property
    def present(self) -> int:
        """S, units."""
        return sum(one.event.weight for one in self.accepted)

    @property
    def pool_owes(self) -> int:
        """Wei of the pool's $LL that somebody will be paid or can claim: the pot, what is set aside for later, all that was earned, the
        fees of stake, and bonds."""
        set_aside = self.pay_ledger.set_aside if self.pay_ledger is not None else 0
        bonds = 0 if self.course is None else self.course.bond + self.course.forfeited
        return self.pot + set_aside + self.shares.claimable + self.ledger.fees_owed + bonds

    @property
    def pay_ledger(self) -> PayLedger | None:
        """Where the task pays later."""
        return self.course.ledger if self.course is not None else None

    @property
    def vault_owes(self) -> int:
        """Wei of the vault's $LL that is the task's: all of it, and nothing else, can be unlocked and withdrawn."""
        return self.ledger.held * UNIT_WEI

    def standing(self, now_s: int) -> Standing:
        return Standing(
            version=self.version,
            accepted=len(self.accepted),
            present=self.present,
            eligible=self.ledger.eligible,
            merged_groups=self.merged_groups,
            opened_s=self.ledger.opened_s,
            first_s=self.first_s,
            ripe=self.ledger.ripe(now_s),
            examples_opened=self.phase is Phase.OPENED,
            reveal_seconds=0 if self.course is None else self.course.reveal_seconds,
            committed=self.committed,
        )


class Replay:
    """Feed every event of one pool and its vault in the order of the chain. After `finish`, all of it is what the rules give."""

    def __init__(self, chain_id: int, pool: bytes, emission: Emission) -> None:
        self._chain_id = chain_id
        self._pool = pool
        self._emission = emission
        self._now_s = 0
        self._due: list[Event] = []
        """The events that must follow in the same transaction before anything else, computed here."""
        self.tasks: dict[int, TaskReplay] = {}

    @property
    def emitted(self) -> int:
        """$LL granted to pots so far, wei."""
        return sum(task.flows.granted for task in self.tasks.values())

    def feed(self, event: Event) -> None:
        """Raises Divergence naming block, transaction and field; the replay is of no use after that."""
        if event.time_s < self._now_s:
            _diverge(event, "time_s", f"{self._now_s} or later", event.time_s)
        self._now_s = event.time_s
        if self._due:
            self._expect(event)
            return
        if isinstance(event, TaskOpened):
            self._open(event)
            return
        task = self.tasks.get(event.task)
        if task is None:
            _diverge(event, "task", "a task that was opened", event.task)
        match event:
            case WeightsLoaded():
                self._load(task, event)
            case PotFunded() | PotGranted():
                self._fund(task, event)
            case StakeLocked() | StakeUnlocked() | StakeWithdrawn() | StakeMatured() | StakeFeesClaimed():
                self._stake(task, event)
            case UpdateSubmitted():
                self._submit(task, event)
            case UpdateCommitted():
                self._commit_update(task, event)
            case BondPut():
                self._put_bond(task, event)
            case BondForfeited():
                self._forfeit_bond(task, event)
            case BondClaimed():
                self._claim_bond(task, event)
            case ExamplesCommitted():
                self._commit_examples(task, event)
            case PayNamed():
                self._name_pay(task, event)
            case BatchOpened():
                self._open_batch(task, event)
            case RoundsHandedIn():
                self._pay_later(task, event)
            case GroupSettled():
                self._settle(task, event)
            case ModelUpdated():
                self._drop_half_merged(task, event)
            case RoundDropped():
                self._drop(task, event)
            case TaskClosing():
                self._close(task, event)
            case FeesShared():
                self._share_fees(task, event)
            case EarningsClaimed():
                self._claim(task, event)
            case _:
                _diverge(event, "event", "no such event here", type(event).__name__)

    def finish(self) -> None:
        """Raises Divergence if an event that had to come has not come."""
        if self._due:
            _diverge(self._due[0], "event", type(self._due[0]).__name__, "the end of the history")

    # -- a task, its first weights, its pot

    def _open(self, event: TaskOpened) -> None:
        _compare(event, "task", len(self.tasks) + 1, event.task)
        try:
            shape = Shape.decode(event.shape)
        except LinkLearnerError as error:
            _diverge(event, "shape", "a task that can be read", error.message)
        try:
            task_terms.check(event.terms, shape)
        except LinkLearnerError as error:
            _diverge(event, "terms", error.message, event.terms)
        model: ModelSpec | None = None
        with suppress(InvalidModel):  # the chain keeps any text, and no rule of it reads the model
            model = ModelSpec.from_json(event.model)
        if model is not None and model.weight_count != shape.weight_count:
            model = None
        ledger = StakeLedger(event.terms.stake_seconds)
        self.tasks[event.task] = TaskReplay(shape, model, event.terms, event.creator, self._seed(event.task, 0), ledger)

    def _load(self, task: TaskReplay, event: WeightsLoaded) -> None:
        if task.phase is not Phase.LOADING:
            _diverge(event, "phase", Phase.LOADING.value, task.phase.value)
        _compare(event, "first_page", -(-task.loaded // task.shape.page_length), event.first_page)
        if not event.weights or len(event.weights) % 2:
            _diverge(event, "weights", "whole int16 numbers", f"{len(event.weights)} bytes")
        task.loading.append(np.frombuffer(event.weights, "<i2").astype(np.int16))
        task.loaded += task.loading[-1].size
        if task.loaded > task.shape.weight_count or (
            task.loaded < task.shape.weight_count and task.loaded % task.shape.page_length
        ):
            _diverge(event, "weights", "whole pages of the task", f"{len(event.weights)} bytes")
        _compare(event, "next_page", -(-task.loaded // task.shape.page_length), event.next_page)
        if task.loaded == task.shape.weight_count:
            if rule_of(task.terms.rule).looks_back and task.course is None:
                _diverge(event, "examples", "committed before the last page is loaded", "none")
            task.weights, task.loading = np.concatenate(task.loading), []
            self._advance(task, event, Step.LOADED)
            self._due = [self._new_version(task, event, 0, 0, 0)]
            self._next_round(task, event)

    def _commit_examples(self, task: TaskReplay, event: ExamplesCommitted) -> None:
        if not rule_of(task.terms.rule).looks_back or task.phase is not Phase.LOADING or task.course is not None:
            _diverge(event, "event", "no such event here", ExamplesCommitted.__name__)
        if task.closing:
            _diverge(event, "task", "a task that is not closing", event.task)
        reveal_s = event.reveal_seconds
        if task.terms.round_seconds + reveal_s >= task.terms.drop_seconds:
            _diverge(event, "reveal_seconds", f"below {task.terms.drop_seconds - task.terms.round_seconds}", reveal_s)
        try:
            task.course = Course(task.shape, event.root, event.batches, event.examples, event.input_exponent, reveal_s)
        except LinkLearnerError as error:
            _diverge(event, "examples", error.message, event.root)

    def _name_pay(self, task: TaskReplay, event: PayNamed) -> None:
        if task.phase is not Phase.LOADING or task.course is None or task.course.ledger is not None:
            _diverge(event, "event", "no such event here", PayNamed.__name__)
        try:
            task.course.name_pay(event.pay, event.full, task.terms.max_updates)
        except LinkLearnerError as error:
            _diverge(event, "pay", error.message, event.pay)

    def _put_bond(self, task: TaskReplay, event: BondPut) -> None:
        if task.course is None or task.course.bond or task.closing:
            _diverge(event, "event", "no such event here", BondPut.__name__)
        least = least_bond(task.terms)
        if event.amount < least:
            _diverge(event, "amount", f"at least {least}", event.amount)
        task.course.bond = event.amount
        task.flows.bonds += event.amount

    def _forfeit_bond(self, task: TaskReplay, event: BondForfeited) -> None:
        """The examples of a round that is dropped now were not opened."""
        _compare(event, "round", task.ledger.round, event.round)
        if task.course is None or not self._is_void(task):
            _diverge(event, "event", "no such event here", BondForfeited.__name__)
        weights = [(one.event.contributor, one.event.weight) for one in task.accepted]
        _compare(event, "amount", task.course.forfeit(event.round, weights), event.amount)
        self._drop(task, RoundDropped(**_where(event), round=event.round))
        self._due.insert(0, RoundDropped(**_where(event), round=event.round))

    def _is_void(self, task: TaskReplay) -> bool:
        """Whether dropping the open round costs the creator's bond: there are updates, and no examples were opened for them."""
        course = task.course
        return course is not None and course.bond > 0 and bool(task.accepted) and task.phase is not Phase.OPENED

    def _claim_bond(self, task: TaskReplay, event: BondClaimed) -> None:
        forfeit = None if task.course is None else task.course.forfeits.get(event.round)
        if forfeit is None:
            _diverge(event, "round", "one whose bond was forfeited", event.round)
        try:
            amount = forfeit.claim(event.contributor)
        except LinkLearnerError as error:
            _diverge(event, "contributor", error.message, event.contributor)
        _compare(event, "amount", amount, event.amount)
        task.flows.bonds_claimed += amount

    def _fund(self, task: TaskReplay, event: PotFunded | PotGranted) -> None:
        if task.closing:
            _diverge(event, "task", "a task that is not closing", event.task)
        if event.amount <= 0:
            _diverge(event, "amount", "more than 0", event.amount)
        if isinstance(event, PotFunded):
            task.flows.funded += event.amount
        else:
            most = self._emission.emittable(self.emitted, event.time_s)
            if event.amount > most:
                _diverge(event, "amount", f"at most {most}, by the schedule", event.amount)
            task.flows.granted += event.amount
        task.pot += event.amount

    def _close(self, task: TaskReplay, event: TaskClosing) -> None:
        if task.closing:
            _diverge(event, "task", "a task that is not closing", event.task)
        task.closing = True
        if not task.accepted and not task.committed:
            self._next_round(task, event)

    # -- stake

    def _stake(
        self,
        task: TaskReplay,
        event: StakeLocked | StakeUnlocked | StakeWithdrawn | StakeMatured | StakeFeesClaimed,
    ) -> None:
        ledger = task.ledger
        try:
            match event:
                case StakeLocked():
                    _compare(
                        event, "matures_at", ledger.lock(event.account, event.units, event.time_s), event.matures_at
                    )
                case StakeUnlocked():
                    until = ledger.unlock(event.account, event.units, event.time_s)
                    _compare(event, "withdrawable_at", until, event.withdrawable_at)
                case StakeWithdrawn():
                    if task.pay_ledger is not None and task.pay_ledger.is_unpaid(event.account):
                        _diverge(event, "units", "0 until the account's last update is paid", event.units)
                    _compare(event, "units", ledger.withdraw(event.account, event.time_s), event.units)
                case StakeMatured():
                    _compare(event, "units", ledger.mature(event.account), event.units)
                case StakeFeesClaimed():
                    _compare(event, "amount", ledger.claim(event.account), event.amount)
                    task.flows.stake_fees_claimed += event.amount
        except Divergence:
            raise
        except LinkLearnerError as error:
            _diverge(event, "units", error.message, getattr(event, "units", 0))
        task.flows.roundings += 1

    # -- a round

    def _submit(self, task: TaskReplay, event: UpdateSubmitted) -> None:
        shape, ledger, terms = task.shape, task.ledger, task.terms
        _compare(event, "round", ledger.round, event.round)
        if task.course is not None and not task.course.bond:
            _diverge(event, "bond", "a bond of the creator's", "none")
        if task.course is not None and task.course.reveal_seconds:
            self._reveal(task, task.course, event)
        elif event.salt is not None:
            _diverge(event, "salt", "a task whose updates are sealed", event.salt)
        elif task.course is not None:
            closed_s = EVIDENCE.closed_s(terms, task.standing(event.time_s))
            if closed_s is not None and event.time_s >= closed_s:
                _diverge(event, "time_s", f"before {closed_s}, when the examples may be opened", event.time_s)
        self._advance(task, event, Step.ACCEPTED)
        counting = ledger.eligible_of(event.contributor)
        try:
            update = Update.decode(join(event.header, event.groups), shape)
            norm = update.checked_norm(shape)
            weight = influence(counting, ledger.eligible)
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
        least = max(terms.floor(ledger.eligible), 1)
        if weight == 0 or (counting < least and event.salt is None):
            _diverge(event, "stake", f"at least {least}", counting)
        if event.salt is None:
            self._take_part(task, event)
        if len(task.accepted) >= terms.max_updates:
            _diverge(event, "accepted", f"at most {terms.max_updates}", len(task.accepted) + 1)
        task.running = running_next(task.running, event.digest, event.contributor, event.weight, event.effective)
        if not task.first_s:
            task.first_s = event.time_s
        task.accepted.append(_Accepted(event, update, tuple(bytes(keccak(group)) for group in event.groups)))

    def _take_part(self, task: TaskReplay, event: UpdateSubmitted | UpdateCommitted) -> None:
        """One update an account and round, or commitment to one; its stake stays in the round."""
        if task.ledger.of(event.contributor).submitted == task.ledger.round:
            _diverge(event, "contributor", "one update a round", "a second one")
        task.ledger.record_update(event.contributor)
        task.flows.roundings += 1

    def _commit_update(self, task: TaskReplay, event: UpdateCommitted) -> None:
        ledger, course = task.ledger, task.course
        _compare(event, "round", ledger.round, event.round)
        if course is None or not course.reveal_seconds or not course.bond:
            _diverge(event, "event", "no such event here", UpdateCommitted.__name__)
        if task.committed:
            until_s, _ = EVIDENCE.reveals_s(task.terms, task.standing(event.time_s))
            if event.time_s >= until_s:
                _diverge(event, "time_s", f"before {until_s}, when updates are revealed", event.time_s)
        else:
            task.first_s = event.time_s
        self._advance(task, event, Step.COMMITTED)
        _compare(event, "record_lost", course.loses_record(event.contributor), event.record_lost)
        course.commit(event.contributor, event.round, event.commitment)
        least = task.terms.floor(ledger.eligible)
        if ledger.eligible_of(event.contributor) < least:
            _diverge(event, "stake", f"at least {least}", ledger.eligible_of(event.contributor))
        if task.committed >= task.terms.max_updates:
            _diverge(event, "committed", f"at most {task.terms.max_updates}", task.committed + 1)
        self._take_part(task, event)
        task.committed += 1

    def _reveal(self, task: TaskReplay, course: Course, event: UpdateSubmitted) -> None:
        """The update is what its contributor has committed to, and it is time."""
        if event.salt is None:
            _diverge(event, "salt", "an update that was committed to", "none")
        begin_s, until_s = EVIDENCE.reveals_s(task.terms, task.standing(event.time_s))
        if not begin_s <= event.time_s < until_s:
            _diverge(event, "time_s", f"from {begin_s} to before {until_s}", event.time_s)
        sealed = commitment(self._seed(event.task, event.round), event.contributor, event.digest, event.salt)
        try:
            course.reveal(event.contributor, event.round, sealed)
        except LinkLearnerError as error:
            _diverge(event, "salt", error.message, event.salt)

    def _open_batch(self, task: TaskReplay, event: BatchOpened) -> None:
        _compare(event, "round", task.ledger.round, event.round)
        if task.course is None:
            _diverge(event, "event", "no such event here", BatchOpened.__name__)
        self._in_time(task, event, Step.EXAMPLES_OPENED)
        until_s = task.first_s + task.terms.drop_seconds
        if event.time_s >= until_s:
            _diverge(event, "time_s", f"before {until_s}, when the round may be dropped", event.time_s)
        try:
            task.course.open(event.batch, event.examples, event.proof)
        except LinkLearnerError as error:
            _diverge(event, "examples", error.message, event.batch)
        self._advance(task, event, Step.EXAMPLES_OPENED)
        if task.course.opened_batches == task.course.batches and not task.closing:
            task.closing = True  # no later round could be judged
            self._due = [TaskClosing(**_where(event))]

    def _settle(self, task: TaskReplay, event: GroupSettled) -> None:
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
        self._in_time(task, event, Step.SETTLED)
        task.merged_groups += 1
        task.ledger.merging = True
        if task.merged_groups < task.shape.group_count:
            self._advance(task, event, Step.GROUP_MERGED)
            return
        self._advance(task, event, Step.SETTLED)
        base = task.weights
        merged = self._merge(task)
        verdicts = () if task.judgement is None else task.judgement.verdicts
        self._due = [
            UpdateJudged(
                **_where(event),
                round=event.round,
                contributor=one.event.contributor,
                gain=verdict.gain,
                record=verdict.record,
                outcome=CODES[verdict.outcome],
            )
            for one, verdict in zip(task.accepted, verdicts, strict=bool(verdicts))
        ]
        before = task.digest
        self._due.append(self._new_version(task, event, event.round, len(task.accepted), merged.saturated))
        if task.pay_ledger is None:
            self._pay(task, event)
        else:
            self._set_aside(task, event, base, before)
        self._next_round(task, event)

    def _drop(self, task: TaskReplay, event: RoundDropped) -> None:
        _compare(event, "round", task.ledger.round, event.round)
        if task.merged_groups:
            _diverge(event, "event", ModelUpdated.__name__, RoundDropped.__name__)
        if self._is_void(task):
            _diverge(event, "event", BondForfeited.__name__, RoundDropped.__name__)
        self._in_time(task, event, Step.DROPPED)
        self._advance(task, event, Step.DROPPED)
        idle_s = 0 if task.accepted else task.idle_s + event.time_s - task.ledger.opened_s
        self._next_round(task, event)
        task.idle_s = idle_s

    def _drop_half_merged(self, task: TaskReplay, event: ModelUpdated) -> None:
        """A version that no settlement has just made: of a round that is dropped after some of its groups were merged."""
        if not task.merged_groups:
            _diverge(event, "event", "no such event here", ModelUpdated.__name__)
        self._in_time(task, event, Step.DROPPED)
        self._advance(task, event, Step.DROPPED)
        merged = self._merge(task)
        _compare_all(event, self._new_version(task, event, task.ledger.round, len(task.accepted), merged.saturated))
        self._due = [RoundDropped(**_where(event), round=task.ledger.round)]
        self._next_round(task, event)

    def _merge(self, task: TaskReplay) -> Merged:
        """Of the groups that are merged: all of them, unless the round is dropped half-way."""
        shape = task.shape
        pages = range(min(task.merged_groups * shape.group_pages, shape.page_count))
        contributions = [
            Contribution(one.event.contributor, one.event.weight, one.event.effective, one.update.within(pages, shape))
            for one in task.accepted
        ]
        eligible = task.ledger.eligible
        if task.course is not None:
            merged, task.judgement = task.course.settle(task.weights, contributions, eligible)
        else:
            merged = rule_of(task.terms.rule).merge(task.weights, contributions, eligible, shape)
        task.weights = merged.weights
        return merged

    def _new_version(
        self, task: TaskReplay, event: Event, round_number: int, accepted: int, saturated: int
    ) -> ModelUpdated:
        task.version += 1
        task.digest = model_digest(task.weights, task.shape)
        return ModelUpdated(
            **_where(event),
            version=task.version,
            digest=task.digest,
            round=round_number,
            accepted=accepted,
            saturated=saturated,
        )

    def _set_aside(self, task: TaskReplay, event: GroupSettled, base: NDArray[np.int16], before: bytes) -> None:
        """The round is paid later: what it shares waits. base, before: what it began with, and the digest of that."""
        course, judgement = task.course, task.judgement
        assert course is not None and course.ledger is not None and judgement is not None
        pay = self._round_pay(task, event)
        owed = Owed(
            version=task.version - 1,
            round=event.round,
            accounts=tuple(one.event.contributor for one in task.accepted),
            weights=tuple(one.event.weight for one in task.accepted),
            steps=course.steps(one.update for one in task.accepted),
            merged=tuple(verdict.merged for verdict in judgement.verdicts),
            base=base,
            after=task.weights,
            shared=pay.shared,
            eligible=task.ledger.eligible,
            batch=course.opened_batches - 1,
            settled_s=event.time_s,
        )
        course.ledger.owe(owed)
        task.handed_in[owed.version] = SettledRound(
            before=before,
            digest=task.digest,
            shared=owed.shared,
            merged=owed.merged_bits,
            round=owed.round,
            eligible=owed.eligible,
            batch=owed.batch,
            settled_at=owed.settled_s,
            kept=b"",
            updates=event.updates,
        )
        self._due.append(PaySetAside(**_where(event), round=event.round, amount=pay.shared))
        if pay.fee:
            self._due.append(SettlerPaid(**_where(event), round=event.round, settler=b"", amount=pay.fee))
        task.pot -= pay.fee + pay.shared
        task.flows.settlers += pay.fee

    def _pay_later(self, task: TaskReplay, event: RoundsHandedIn) -> None:
        course, ledger = task.course, task.pay_ledger
        if course is None or ledger is None:
            _diverge(event, "event", "no such event here", RoundsHandedIn.__name__)
        _compare(event, "first", ledger.next_version, event.first)
        versions = range(ledger.first_version, event.first + event.count)
        _compare(event, "rounds", len(versions), len(event.rounds))
        _compare(event, "base", ledger.base_of(versions.start).astype("<i2").tobytes(), event.base)
        for version, given in zip(versions, event.rounds, strict=True):
            if version not in task.handed_in:
                _diverge(event, "rounds", "settled rounds", f"one of version {version}")
            _compare(event, f"rounds of version {version}", task.handed_in[version], given)
        for version in versions[event.first - versions.start :]:
            due_s = ledger.due_s(course.opened_batches, course.batches, task.ledger.closed, task.terms)
            if due_s is None or event.time_s < due_s:
                _diverge(event, "time_s", f"{due_s} or later", event.time_s)
            self._pay_round(task, course, ledger, version, event)

    def _pay_round(
        self, task: TaskReplay, course: Course, ledger: PayLedger, version: int, event: RoundsHandedIn
    ) -> None:
        owed, where = ledger.owed[version], _where(event)
        paid = ledger.pay(course.network, course.later(owed.batch), task.terms)
        for account, one, amount in zip(owed.accounts, paid.parts, paid.amounts, strict=True):
            credit, counts = one
            self._due.append(
                UpdateCredited(
                    **where,
                    round=owed.round,
                    contributor=account,
                    gain=credit.gain,
                    direct=credit.direct,
                    novel=credit.novel,
                )
            )
            if not counts:
                continue
            self._due.append(ContributionPaid(**where, round=owed.round, contributor=account, amount=amount))
            task.shares.credit(account, amount)
            task.flows.roundings += 1
        task.flows.earned += sum(paid.amounts)
        task.flows.settlers += paid.fee
        if paid.fee:
            self._due.append(SettlerPaid(**where, round=owed.round, settler=b"", amount=paid.fee))
        if paid.back:
            self._due.append(PayReturned(**where, round=owed.round, amount=paid.back))
            if task.ledger.closed:
                task.flows.refunded += paid.back
            else:
                task.pot += paid.back
        task.handed_in[version] = replace(task.handed_in[version], kept=ledger.kept_of_last)
        task.handed_in.pop(ledger.first_version - 1, None)

    def _round_pay(self, task: TaskReplay, event: GroupSettled) -> RoundPay:
        elapsed_s = event.time_s - task.ledger.opened_s + task.idle_s
        return round_pay(task.terms, task.pot, elapsed_s, task.present, task.ledger.eligible)

    def _pay(self, task: TaskReplay, event: GroupSettled) -> None:
        pay = self._round_pay(task, event)
        weights = [one.event.weight for one in task.accepted]
        if task.judgement is not None:
            earned = tuple(
                gain_share(pay.shared, weight, task.ledger.eligible, verdict.gain, verdict.merged)
                for weight, verdict in zip(weights, task.judgement.verdicts, strict=True)
            )
        else:
            effective = [one.event.effective for one in task.accepted]
            earned = rule_of(task.terms.rule).divide(task.terms, pay.shared, weights, effective)
        where = _where(event)
        for one, amount in zip(task.accepted, earned, strict=True):
            contributor = one.event.contributor
            self._due.append(ContributionPaid(**where, round=event.round, contributor=contributor, amount=amount))
            task.shares.credit(contributor, amount)
            task.flows.roundings += 1
        if pay.fee:
            self._due.append(SettlerPaid(**where, round=event.round, settler=b"", amount=pay.fee))
        task.pot -= pay.fee + sum(earned)
        task.flows.settlers += pay.fee
        task.flows.earned += sum(earned)

    def _next_round(self, task: TaskReplay, event: Event) -> None:
        """The open round is over, or the first one begins; a task that is closing has no other."""
        if task.closing:
            self._advance(task, event, Step.CLOSED)
            self._due.append(TaskClosed(**_where(event), refund=task.pot))
            task.flows.refunded += task.pot
            task.pot = 0
            if task.course is not None and task.course.bond:
                self._due.append(BondReturned(**_where(event), amount=task.course.bond))
                task.flows.bonds_returned += task.course.bond
                task.course.bond = 0
        task.ledger.next_round(event.time_s, closing=task.closing)
        task.accepted = []
        task.judgement = None
        task.merged_groups = 0
        task.first_s = 0
        task.committed = 0
        task.idle_s = 0
        task.running = self._seed(event.task, task.ledger.round)

    # -- fees and earnings

    def _share_fees(self, task: TaskReplay, event: FeesShared) -> None:
        amount = event.to_contributors + event.to_stake + event.to_pot
        shared = share_fee(amount, task.shares.total, task.ledger.sharing)
        _compare(event, "to_contributors", shared.to_contributors, event.to_contributors)
        _compare(event, "to_stake", shared.to_stake, event.to_stake)
        _compare(event, "to_pot", shared.to_pot, event.to_pot)
        if shared.to_stake:
            task.ledger.share_fees(shared.to_stake)
        if shared.to_contributors:
            task.shares.share_fees(shared.to_contributors)
        task.flows.fees_to_stake += shared.to_stake
        task.flows.fees_to_contributors += shared.to_contributors
        task.flows.fees_to_pot += shared.to_pot
        task.flows.roundings += 2
        if task.ledger.closed:
            task.flows.refunded += shared.to_pot
        else:
            task.pot += shared.to_pot

    def _claim(self, task: TaskReplay, event: EarningsClaimed) -> None:
        pay, fees = task.shares.claim(event.account)
        _compare(event, "pay", pay, event.pay)
        _compare(event, "fees", fees, event.fees)
        if not pay + fees:
            _diverge(event, "pay", "more than 0, or no claim", 0)
        task.flows.pay_claimed += pay
        task.flows.fees_claimed += fees
        task.flows.roundings += 1

    # -- what must be so

    def _expect(self, event: Event) -> None:
        expected = self._due.pop(0)
        if type(event) is not type(expected):
            _diverge(event, "event", type(expected).__name__, type(event).__name__)
        if isinstance(event, SettlerPaid) and isinstance(expected, SettlerPaid):
            expected = replace(expected, settler=event.settler)  # whoever sent the settlement
        _compare_all(event, expected)

    def _in_time(self, task: TaskReplay, event: Event, step: Step) -> None:
        """The rule lets the round take this step by now."""
        due = rule_of(task.terms.rule).due(task.terms, task.standing(event.time_s))
        from_s = next((one.from_s for one in due if one.step is step), None)
        if from_s is None:
            _diverge(event, "phase", "a step that the round allows", step.value)
        if event.time_s < from_s:
            _diverge(event, "time_s", f"{from_s} or later", event.time_s)

    def _advance(self, task: TaskReplay, event: Event, step: Step) -> None:
        try:
            task.phase = advance(rule_of(task.terms.rule).transitions, task.phase, step)
        except LinkLearnerError as error:
            _diverge(event, "phase", "a step that the round allows", error.message)

    def _seed(self, task: int, round_number: int) -> bytes:
        return running_seed(self._chain_id, self._pool, task, round_number)


def _where(event: Event) -> dict[str, Any]:
    """What an event shares with all others of its call."""
    return {"block": event.block, "transaction": event.transaction, "task": event.task, "time_s": event.time_s}


def _compare_all(event: Event, expected: Event) -> None:
    for name in type(expected).__dataclass_fields__:
        _compare(event, name, getattr(expected, name), getattr(event, name))


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
