"""Keeping rounds going without being asked: nobody has to watch the chain, and five gateways do not pay five times.

It keeps the tasks in which its accounts have a part: those that they opened, and those that they have locked stake in. Anyone may open
tasks, and settling costs coin, so whoever wants his task kept going by others has to make it worth their stake. A task that is closed is
never asked about again.

What comes next, and from when on, the task's rule says (`linklearner.domain.rules`); the keeper waits for that time and for its turn, and
sends the transaction. A few of the accounts that took part in a round take turns; they are drawn by stake, as everybody computes alike, and
anew each round, so many small accounts come up no sooner than one large one, and however many there are, delay nothing. The first one goes
at once, each further one a turn later, and after the last turn everybody may, only if the round is still open then: so the next one steps
in where a gateway is gone, and gas is wasted only in a race. Who comes too late learns it from asking the chain, not from a failed
transaction.

The turns are a courtesy: the pool pays whoever's transaction comes first, and a settler's calldata, which anybody can make from the chain's
history, can be copied out of a node's mempool and overtaken. What is merged and what contributors earn is the same whoever hands it in;
the one who is overtaken loses the settler's share and pays gas for a call that fails at its first check (an Artela node charges half of the
limit at least). That is the price of one settlement at most, for which the copier pays a whole one. It changes nothing of the model, and
what a settler is after, the next round, has come.

A task by rule `evidence` is judged by examples that only its creator has. Where they are here, the next batch is opened as soon as the
round takes no more updates, by the creator's account if that is one of ours, without turns: nobody else can. Others wait until it is
opened, and settle then; or until the round may be dropped, which pays nobody: a creator who opens nothing gets no work, and everybody
sees it.

A round that can never be settled, merged in part or not at all, is dropped when its rule allows it. Dropping takes their pay from all who
contributed, so no node's word is enough for it: that no block can hold the settlement must follow from its own bytes, or the chain must
have said so at every look for hours, a time in which the next keeper, with another node, would have done it. A round without updates is
dropped as soon as stake of one of our accounts has become ripe, so that it counts in the next one; nobody's work is lost by that. Stake of
strangers is theirs to pay for: who locks a unit every minute would otherwise have us pay for a transaction every minute.

Nothing that a node says, no disk and no database ends the keeper: it logs what was wrong and looks again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, NoReturn

import structlog
from eth_hash.auto import keccak

from linklearner.domain.errors import LinkLearnerError, Refused
from linklearner.domain.events import StakeLocked, TaskClosed, TaskOpened, UpdateAccepted
from linklearner.domain.rounds import Due, Standing, Step
from linklearner.domain.rules.table import rule_of
from linklearner.domain.tasks import Task
from linklearner.log import of_round
from services.chain_gateway.ledger import Ledger
from services.chain_gateway.ledger.views import standing as standing_of

TURN_S: Final = 3.0
"""For each turn: several blocks of a node that makes one a second."""
TURNS: Final = 4
"""Accounts that come one after another; then everybody."""
IDLE_S: Final = 5.0
"""A look at the clock of a round that is collecting at least so often, though nothing happens on the chain."""
QUIET_S: Final = 60.0
"""The same while there is nothing to do; an update wakes us."""
SOON_S: Final = 0.05
"""The shortest pause."""
TOO_LARGE: Final = ("GasLimitTooHigh", "TransactionTooLarge")
"""What a node, or a proxy before it, says of a settlement that no block could hold; it says so of many others."""
DOUBT_S: Final = 6 * 3600.0
"""For so long it must have said GasLimitTooHigh and nothing else before it is believed."""
RETRY_S: Final = 2.0
SLOW_RETRY_S: Final = 30.0
"""After a refusal that will hardly pass in seconds."""
UNABLE_S: Final = 600.0
"""An account that could not pay is tried again after so long at the latest."""

log = structlog.get_logger()


def standing(task: Task) -> Standing:
    """What a rule needs to know of the task's open round."""
    return standing_of(task.version, task.round)


def turns(weights: Mapping[bytes, int], seed: bytes) -> list[bytes]:
    """The accounts, at most TURNS of them, that end a round one after another: drawn by weight, without putting back.

    weights: of their updates, positive. Whoever has several accounts has their chances added up, and no more.
    """
    left, drawn = dict(sorted(weights.items())), list[bytes]()
    while left and len(drawn) < TURNS:
        at = int.from_bytes(keccak(seed + len(drawn).to_bytes(1, "big")), "big") % sum(left.values())
        for account, weight in left.items():
            at -= weight
            if at < 0:
                drawn.append(account)
                break
        del left[drawn[-1]]
    return drawn


class Keeper:
    """Takes the next step of every task of a ledger, by the ledger's accounts."""

    def __init__(self, ledger: Ledger, *, turn_s: float = TURN_S, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._turn_s = turn_s
        self._clock = clock
        self._over_since: dict[tuple[int, int], float] = {}
        self._unable: dict[bytes, tuple[int, float]] = {}
        """Accounts that could not pay for a settlement, what they had and when; never all of ours."""
        self._too_large_since: dict[tuple[int, int], float] = {}

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            generation = self._ledger.events.generation
            await self._ledger.events.wait(generation, await self._look())

    async def _look(self) -> float:
        """Considers every task. Returns in how many seconds to look again at the latest. No error of one task is another's."""
        pause = QUIET_S
        try:
            tasks = self._tasks()
        except (LinkLearnerError, sqlite3.OperationalError, OSError) as error:
            log.warning("not_settled", detail=str(error))
            return RETRY_S
        for task in tasks:
            try:
                pause = min(pause, await self._consider(task))
            except LinkLearnerError as error:
                log.info("not_settled", task=task, reason=error.reason, detail=error.message)
                pause = min(pause, RETRY_S)
            except (sqlite3.OperationalError, OSError) as error:
                log.warning("not_settled", task=task, detail=str(error))
                pause = min(pause, RETRY_S)
            except Exception:  # the outermost loop: what somebody put into one task must not end the others
                log.exception("keeper_bug", task=task)
                pause = min(pause, SLOW_RETRY_S)
        return pause

    def _tasks(self) -> list[int]:
        """Those in which our accounts have a part, or whose examples are here, and that are not closed; from the history alone."""
        events, found = self._ledger.events, set[int]()
        for account in self._ledger.accounts:
            for kind in (TaskOpened, StakeLocked):
                found |= events.tasks_with(kind, account)
        closed = {event.task for event in events.find(TaskClosed)}
        return sorted(found | self._ledger.disclosures.tasks() - closed)

    async def _consider(self, number: int) -> float:
        """Takes the round's next step if it is due and our turn. Returns in how many seconds to look again at the latest."""
        task = await self._ledger.tasks.task(number)
        head = self._ledger.events.head
        now = max(self._clock(), 0.0 if head is None else float(head.time_s))  # a chain's clock may be ahead of ours
        at, wait, newcomer = standing(task), QUIET_S, b""
        if task.version and not task.closed and not task.round.accepted and not task.round.committed:
            wait, newcomer, ours = await self._newcomer(task, now)
            at = replace(at, ripe=ours)
        rule = rule_of(task.terms.rule)
        opens = next((one for one in rule.due(task.terms, at) if one.step is Step.EXAMPLES_OPENED), None)
        if opens is not None and int(now) < opens.until_s and self._ledger.disclosures.of(number) is not None:
            with of_round(number, task.round.round):
                return await self._open_examples(task, opens, now)
        due = rule.next_step(task.terms, at)
        if due is None:
            return wait
        if due.step is Step.DROPPED and newcomer:
            with of_round(number, task.round.round):
                return await self._renew(task, newcomer)
        take = {Step.SETTLED: self._settle, Step.DROPPED: self._drop}[due.step]
        if due.from_s > int(now):
            return min(
                IDLE_S if task.round.accepted or task.round.committed else QUIET_S, max(due.from_s - now, SOON_S)
            )
        # turns and patience are told by our own clock: what a node says of its newest block's time, once, must not cut them short or
        # stretch them without end
        await self._forgive(self._clock())
        wait, account = self._turn(task, self._clock())
        if wait > 0:
            return wait
        with of_round(number, task.round.round):
            return await take(task, account, now)

    async def _newcomer(self, task: Task, now: float) -> tuple[float, bytes, int]:
        """Of a round without updates: in how many seconds to look again, which of our accounts has stake that would count if another round
        opened now, and how much, units.

        By the clock, not by the newest block: a chain that makes blocks on demand only waits for us.
        """
        pause, round = QUIET_S, task.round
        for account in self._ledger.accounts:
            locks = self._ledger.events.find(StakeLocked, task.task, second=int.from_bytes(account, "big"))
            if not locks or locks[-1].matures_at <= round.opened_s:
                continue  # each lock starts all that is fresh anew
            if locks[-1].matures_at > now:
                pause = min(pause, max(locks[-1].matures_at - now, SOON_S))
                continue
            stake = await self._ledger.views.stake(account, task.task)
            waiting = stake.locked - stake.eligible
            if waiting and stake.locked >= task.terms.floor(round.eligible):
                return pause, account, waiting
        return pause, b"", 0

    async def _renew(self, task: Task, account: bytes) -> float:
        """Has the next round count the account's stake. Returns in how many seconds to look again."""
        number, round = task.task, task.round.round
        stake = await self._ledger.views.stake(account, number)
        try:
            await self._ledger.drops.renew(
                f"auto/{number}/{round}/{account.hex()}/renew", account, number, round, stake.matures_s
            )
        except Refused as refused:
            if refused.reason not in ("NotYetDroppable", "WrongRound"):
                raise
            return RETRY_S  # the chain's clock is behind, or somebody else was faster
        log.info("round_renewed", task=number, round=round, account="0x" + account.hex())
        return 0.0

    async def _open_examples(self, task: Task, due: Due, now: float) -> float:
        """Opens the examples that judge the round, once it takes no more updates. Returns in how many seconds to look again."""
        number, round = task.task, task.round.round
        if due.from_s > int(now):
            return min(IDLE_S, max(due.from_s - now, SOON_S))
        await self._forgive(self._clock())
        able = [account for account in self._ledger.accounts if account not in self._unable]
        account = task.creator if task.creator in able else min(able)
        try:
            mined = await self._ledger.disclosures.open(
                f"auto/{number}/{round}/{account.hex()}/examples", account, number, round
            )
        except Refused as refused:
            if refused.reason == "InsufficientFunds" and len(self._unable) + 1 < len(self._ledger.accounts):
                return await self._cannot_pay(account, refused)
            if refused.reason == "ExamplesUsedUp":
                log.warning("examples_used_up", task=number, round=round, detail=refused.message)
                return min(QUIET_S, max(due.until_s - now, SOON_S))  # then it is dropped
            if refused.reason not in ("ExamplesOpen", "WrongRound", "PhaseOver", "NoUpdates"):
                raise
            return RETRY_S  # somebody else was faster, or the chain's clock is ahead
        log.info("examples_opened", task=number, round=round, gas=mined.gas_used, account="0x" + account.hex())
        return 0.0

    async def _cannot_pay(self, account: bytes, refused: Refused) -> float:
        log.warning("account_cannot_settle", account="0x" + account.hex(), detail=refused.message)
        self._unable[account] = (await self._ledger.chain.balance(account), self._clock())
        return SOON_S

    async def _settle(self, task: Task, account: bytes, now: float) -> float:
        """Settles the round, or gives it up where that is impossible."""
        number, status = task.task, task.round
        try:
            await self._send_settlement(number, status.round, account)
        except Refused as refused:
            if refused.reason == "InsufficientFunds" and len(self._unable) + 1 < len(self._ledger.accounts):
                return await self._cannot_pay(account, refused)
            way_out = _way_out(task)
            if refused.reason not in TOO_LARGE or way_out is None:
                self._too_large_since.pop((number, status.round), None)
                raise
            if not await self._is_too_large(task, refused, self._clock()):
                log.warning("not_settled", task=number, reason=refused.reason, detail=refused.message)
                return SLOW_RETRY_S
            log.warning("round_too_large", task=number, round=status.round, detail=refused.message)
            if way_out.from_s > now:
                return min(QUIET_S, max(way_out.from_s - now, SOON_S))
            return await self._drop(task, account, now)
        self._too_large_since.pop((number, status.round), None)
        return 0.0

    async def _is_too_large(self, task: Task, refused: Refused, now: float) -> bool:
        """Whether no block will ever hold this round's settlement, by its own bytes or, in the end, by what the chain keeps saying.

        now: by our own clock."""
        number, round, most = task.task, task.round.round, self._ledger.chain.profile
        for group in range(task.round.merged_groups, task.shape.group_count):
            try:
                call = await self._ledger.settlements.call(number, round, group)
            except Refused as ours:
                if ours.reason != "GasLimitTooHigh":
                    raise
                return True  # by our own computation
            if len(call.data) > most.transaction_bytes or call.intrinsic_gas() > most.transaction_gas:
                return True
        if refused.reason != "GasLimitTooHigh":
            return False  # a proxy that takes no large bodies says nothing about blocks
        key = (number, round)
        if key not in self._too_large_since:
            self._too_large_since = {k: t for k, t in self._too_large_since.items() if k[0] != number} | {key: now}
        return now - self._too_large_since[key] >= DOUBT_S

    async def _forgive(self, now: float) -> None:
        """Accounts that have been funded, or have waited long, may settle again."""
        for account, (had, since) in list(self._unable.items()):
            if now - since >= UNABLE_S or await self._ledger.chain.balance(account) > had:
                del self._unable[account]

    async def _send_settlement(self, number: int, round: int, account: bytes) -> None:
        """Settles, or learns that somebody else was faster. Raises what `Settlements.settle` raises otherwise."""
        try:
            settled = await self._ledger.settlements.settle(
                f"auto/{number}/{round}/{account.hex()}", account, number, round
            )
        except Refused as refused:
            if refused.reason != "WrongRound":
                raise
            log.info("settled_by_others", task=number, round=round)
        else:
            log.info(
                "round_settled",
                task=number,
                round=round,
                version=settled.version.version,
                gas=sum(mined.gas_used for mined in settled.mined),
                account="0x" + account.hex(),
            )

    async def _drop(self, task: Task, account: bytes, now: float) -> float:
        """Gives up a round that cannot go on."""
        number = task.round.round
        with of_round(task.task, number):
            await self._ledger.drops.drop(f"auto/{task.task}/{number}/{account.hex()}/drop", account, task.task, number)
            log.info("round_dropped", task=task.task, round=number, account="0x" + account.hex())
        return 0.0

    def _turn(self, task: Task, now: float) -> tuple[float, bytes]:
        """In how many seconds we may end this round, and by which account. Who was not drawn comes after those who were."""
        accepted = self._ledger.events.find(UpdateAccepted, task.task, second=task.round.round)
        seed = task.task.to_bytes(8, "big") + task.round.round.to_bytes(8, "big")
        order = turns({event.contributor: event.weight for event in accepted}, seed)
        turn, account = min(
            (order.index(account) if account in order else len(order), account)
            for account in self._ledger.accounts
            if account not in self._unable
        )
        key = (task.task, task.round.round)
        if key not in self._over_since:
            self._over_since = {k: since for k, since in self._over_since.items() if k[0] != task.task} | {key: now}
        return self._over_since[key] + turn * self._turn_s - now, account


def _way_out(task: Task) -> Due | None:
    """When the open round may be dropped; None: never."""
    due = rule_of(task.terms.rule).due(task.terms, standing(task))
    return next((one for one in due if one.step is Step.DROPPED), None)
