"""Finds out about a task: from any JSON-RPC node alone, replaying its history on the way; how good its versions are, from a trainer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from linklearner.chain.history import History
from linklearner.client.trainer import TrainerClient
from linklearner.domain import events
from linklearner.domain.errors import Divergence, InvalidInput, LinkLearnerError, NotFound
from linklearner.domain.events import Event
from linklearner.domain.model import ModelSpec
from linklearner.domain.notation import shown_urls
from linklearner.domain.replay import Replay
from linklearner.domain.rules.evidence.course import OUTCOMES
from linklearner.domain.rules.evidence.verdicts import Outcome
from linklearner.domain.shape import Shape
from linklearner.report.facts import (
    ContributorFacts,
    Measured,
    RefusedFacts,
    RoundFacts,
    TaskFacts,
    VerdictFacts,
    VersionFacts,
)
from linklearner.rpc.access import Credential
from linklearner.verification import HistoryOf, emission_of

SCANNED_BLOCKS = 20_000
"""Of a history up to which every block is looked through for failed transactions, unless it is asked for."""
MEASURED_VERSIONS = 100
"""At most; of more, as many that lie evenly between the first and the newest."""
ANSWER_S = 5.0
"""Seconds in which a trainer says that it is there."""

Step = Callable[[str, int, int], None]
"""Called with what is being done, how far it is and how far it goes."""


async def facts_of(what: HistoryOf, step: Step, *, failures: bool | None = None) -> TaskFacts:
    """Everything that the chain says of a task. failures: whether to look through every block for failed transactions; None: if there
    are not too many.

    A history that breaks the rules is reported, too, with what diverges first. Raises NotFound for an unknown task, Unavailable, DataLoss.
    """
    async with History(what.rpc_url, what.pool, what.from_block) as history:
        head, chain_id = await history.head(), await history.chain_id()
        replay = Replay(chain_id, what.pool, await emission_of(history, what.pool, head))
        found = _Gathering(what.task, replay)
        async for event in history.events(lambda block, last: step("replaying", block, last), head):
            found.feed(event)
        found.finish()
        facts = found.facts(chain_id, what, head)
        if history.deployment is None:
            raise NotFound(f"pool 0x{what.pool.hex()} has no history from block {what.from_block} on")
        step("gas", 0, 1)
        receipts = await history.receipts(list(found.transactions))
        found.charge({one: receipt.gas_used for one, receipt in receipts.items()}, facts)
        if failures is False or (failures is None and head - what.from_block > SCANNED_BLOCKS):
            facts.refused_why = (
                f"{head - what.from_block:,} blocks were not looked through for failed transactions: --refusals does"
                if failures is None
                else "nobody looked for failed transactions (--no-refusals)"
            )
        else:
            facts.refused = []
            async for failure in history.failures(head, lambda block, last: step("failed transactions", block, last)):
                if failure.sent.task == what.task:
                    sent = failure.sent
                    found.refuse(
                        RefusedFacts(
                            sent.block, sent.time_s, sent.transaction, sent.sender, sent.function, failure.reason, failure.gas_used
                        ),
                        facts,
                    )  # fmt: skip
        facts.contributors = found.ranked()
    return facts


async def measure(facts: TaskFacts, trainers: Sequence[tuple[str, Credential | None]], step: Step) -> None:
    """Adds accuracy and loss of the versions, by the first of the trainers that answers and trains this task, and what all of them say of
    their privacy. Whatever keeps one from answering is said in the report, not raised."""
    measurer: TrainerClient | None = None
    by_account = {one.account: one for one in facts.contributors}
    async with AsyncExitStack() as stack:
        for where, credential in trainers:
            trainer = await stack.enter_async_context(TrainerClient.connect(where, credential))
            try:
                status = await trainer.status(timeout_s=ANSWER_S)
            except LinkLearnerError as error:
                facts.measured_why = f"the trainer at {where} does not answer ({error.message})"
                continue
            if status.task != facts.task:
                facts.measured_why = f"the trainer at {where} is one of task {status.task}"
                continue
            if status.account in by_account:
                by_account[status.account].privacy = status.privacy
            if measurer is None:
                measurer = trainer
                facts.measured_by = f"the trainer at {where}, on {status.held_out:,} held-out samples"
        if measurer is None:
            facts.measured_why = facts.measured_why or "no trainer was named (--trainer)"
            return
        chosen = spread(facts.versions, MEASURED_VERSIONS)
        for done, version in enumerate(chosen):
            step("measuring", done, len(chosen))
            try:
                score = await measurer.evaluate(version.version)
            except LinkLearnerError as error:
                facts.measured_why = f"version {version.version} could not be measured ({error.message})"
                return
            if score.version.digest == version.digest:  # of another chain or pool otherwise
                version.measured = Measured(score.metric, score.value, score.loss)
            else:
                facts.measured_by = ""
                facts.measured_why = f"{measurer.address} trains a task {facts.task} of another pool"
                return


def spread(versions: Sequence[VersionFacts], count: int) -> list[VersionFacts]:
    """At most `count` of them, evenly, the first and the last among them."""
    if len(versions) <= count:
        return list(versions)
    last = len(versions) - 1
    return [versions[round(i * last / (count - 1))] for i in range(count)]


class _Gathering:
    """One task's events, put together; the replay of all tasks beside it, as long as the history follows the rules."""

    def __init__(self, task: int, replay: Replay) -> None:
        self._task = task
        self._replay = replay
        self._opened: events.TaskOpened | None = None
        self._versions: list[VersionFacts] = []
        self._rounds: dict[int, RoundFacts] = {}
        self._contributors: dict[bytes, ContributorFacts] = {}
        self._examples: dict[int, int] = {}
        self._verdicts: dict[tuple[int, bytes], VerdictFacts] = {}
        self._closed = False
        self._divergence = ""
        self.transactions: dict[bytes, tuple[int, bytes]] = {}
        """What a transaction was for: a submission of a round and its contributor, or a settlement (no account); round 0: the opening."""

    def feed(self, event: Event) -> None:
        if not self._divergence:
            try:
                self._replay.feed(event)
            except Divergence as error:
                self._divergence = error.message
        if event.task == self._task:
            self._take(event)

    def finish(self) -> None:
        if not self._divergence:
            try:
                self._replay.finish()
            except Divergence as error:
                self._divergence = error.message

    def _take(self, event: Event) -> None:
        match event:
            case events.TaskOpened():
                self._opened = event
                self.transactions[event.transaction] = (0, b"")
            case events.WeightsLoaded():
                self.transactions[event.transaction] = (0, b"")
            case events.UpdateSubmitted():
                size = len(event.header) + sum(map(len, event.groups))
                one, who = self._round(event.round), self._who(event.contributor)
                one.accepted += 1
                one.update_bytes += size
                who.accepted += 1
                who.scaled += event.effective < event.weight
                who.update_bytes += size
                self.transactions[event.transaction] = (event.round, event.contributor)
            case events.GroupSettled():
                self.transactions[event.transaction] = (event.round, b"")
            case events.ModelUpdated():
                self._versions.append(
                    VersionFacts(
                        event.version, event.round, event.digest, event.block, event.time_s, event.accepted, event.saturated
                    )
                )  # fmt: skip
                if event.round:
                    one = self._round(event.round)
                    one.version, one.ended_s, one.pot = event.version, event.time_s, self._pot()
            case events.RoundDropped():
                one = self._round(event.round)
                one.dropped, one.ended_s, one.pot = True, event.time_s, self._pot()
            case events.BatchOpened():
                # inputs as int16 and a label each: as many as the replay has counted
                replayed = self._replay.tasks.get(self._task)
                self._examples[event.round] = replayed.course.fresh if replayed and replayed.course else 0
                self.transactions[event.transaction] = (event.round, b"")
            case events.ExamplesCommitted():
                self.transactions[event.transaction] = (0, b"")
            case events.UpdateJudged():
                outcome = OUTCOMES.get(event.outcome)
                who = self._who(event.contributor)
                who.record, who.merged = event.record, who.merged + (outcome is Outcome.MERGED)
                self._verdicts[event.round, event.contributor] = VerdictFacts(
                    event.round,
                    event.contributor,
                    outcome,
                    event.gain,
                    event.record,
                    self._examples.get(event.round, 0),
                )
            case events.ContributionPaid():
                self._round(event.round).paid += event.amount
                judged = self._verdicts.get((event.round, event.contributor))
                if judged is not None:
                    self._verdicts[event.round, event.contributor] = replace(judged, paid=event.amount)
                self._who(event.contributor).earned += event.amount
            case events.SettlerPaid():
                one = self._round(event.round)
                one.settler, one.settler_paid = event.settler, event.amount
                self._who(event.settler).settled += event.amount
            case events.StakeLocked():
                self._who(event.account).stake += event.units
            case events.StakeUnlocked():
                self._who(event.account).stake -= event.units
            case events.TaskClosed():
                self._closed = True

    def _pot(self) -> int | None:
        task = self._replay.tasks.get(self._task)
        return None if self._divergence or task is None else task.pot

    def _round(self, number: int) -> RoundFacts:
        return self._rounds.setdefault(number, RoundFacts(number))

    def _who(self, account: bytes) -> ContributorFacts:
        return self._contributors.setdefault(account, ContributorFacts(account))

    def facts(self, chain_id: int, what: HistoryOf, head: int) -> TaskFacts:
        """Raises NotFound for a task that was never opened."""
        opened = self._opened
        if opened is None:
            raise NotFound(
                f"the history of pool 0x{what.pool.hex()} from block {what.from_block} on opens no task {what.task}: "
                "are pool, --from-block and --task right?"
            )
        weights, pages = _sizes(opened.shape)
        facts = TaskFacts(
            chain_id=chain_id, pool=what.pool, rpc=shown_urls(what.rpc_url), task=what.task, creator=opened.creator,
            name=_name(opened.model), weights=weights, pages=pages, terms=opened.terms, head=head, opened_s=opened.time_s,
            versions=self._versions, rounds=[self._rounds[number] for number in sorted(self._rounds)], closed=self._closed,
            divergence=self._divergence, verdicts=list(self._verdicts.values()),
        )  # fmt: skip
        task = self._replay.tasks.get(self._task)
        if task is not None and not self._divergence:
            facts.flows, facts.pot, facts.stake = task.flows, task.pot, task.ledger.total
            ledger = copy.deepcopy(task.ledger)
            for who in self._contributors.values():
                who.claimable = sum(task.shares.claimable_by(who.account)) + ledger.claim(who.account)
        return facts

    def charge(self, gas: dict[bytes, int], facts: TaskFacts) -> None:
        """Adds what each transaction took."""
        for transaction, (number, account) in self.transactions.items():
            used = gas[transaction]
            if not number:
                facts.opening_gas += used
            elif account:
                self._rounds[number].submission_gas += used
                self._who(account).gas += used
            else:
                self._rounds[number].settlement_gas += used

    def refuse(self, refused: RefusedFacts, facts: TaskFacts) -> None:
        assert facts.refused is not None
        facts.refused.append(refused)
        who = self._who(refused.sender)
        who.refused[refused.reason] += 1
        who.refused_gas += refused.gas

    def ranked(self) -> list[ContributorFacts]:
        """Those who earned most first."""
        return sorted(
            self._contributors.values(),
            key=lambda one: (-one.earned, -one.accepted, -one.stake, -one.settled, one.account),
        )


def _name(model: str) -> str:
    """Anyone opens tasks, also of models that this program cannot read."""
    try:
        return ModelSpec.from_json(model).name
    except InvalidInput:
        return "a model unknown to this program"


def _sizes(shape: bytes) -> tuple[int, int]:
    """Weights and pages; zeros of a shape that cannot be read."""
    try:
        decoded = Shape.decode(shape)
    except InvalidInput:
        return 0, 0
    return decoded.weight_count, decoded.page_count
