"""Settling rounds without being asked: nobody has to watch the chain, and five gateways do not pay five times.

The accounts that took part in a round settle it, in an order that everybody computes alike and that changes from round to round. The first
one goes at once, each further one a turn later, and only if the round is still open then: so the next one steps in where a gateway is gone,
and gas is wasted only in a race. Who comes too late learns it from asking the chain, not from a failed transaction.

A round that can never be settled, or in which nobody may take part, is dropped when its terms allow it. Dropping takes their pay from all
who contributed, so no node's word is enough for it: that no block can hold the settlement must follow from its own bytes, or the chain must
have said so at every look for hours, a time in which the next settler, with another node, would have done it.

Nothing that a node tells, no disk and no database ends the settler: it says what was wrong and looks again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Final, NoReturn

import structlog
from eth_hash.auto import keccak

from linklearner.domain.errors import LinkLearnerError, Refused
from linklearner.domain.events import UpdateAccepted
from linklearner.domain.rounds import may_settle
from linklearner.domain.tasks import Task
from linklearner.log import of_round
from services.chain_gateway.ledger import Ledger

TURN_S: Final = 3.0
"""For each turn: several blocks of a node that makes one a second."""
IDLE_S: Final = 5.0
"""A look at the clock of a round that is collecting at least so often, though nothing happens on the chain."""
QUIET_S: Final = 60.0
"""The same while there is nothing to settle; an update wakes us."""
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


class AutoSettler:
    """Settles every task of a ledger, by the ledger's accounts."""

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
            tasks = self._ledger.tasks.numbers()
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
                log.exception("settler_bug", task=task)
                pause = min(pause, SLOW_RETRY_S)
        return pause

    async def _consider(self, number: int) -> float:
        """Ends the open round if it is over and it is our turn. Returns in how many seconds to look again at the latest."""
        task = await self._ledger.tasks.task(number)
        now = self._clock()
        status, terms = task.round, task.terms
        if not task.version:
            return QUIET_S
        droppable_in = (status.first_update_s or status.opened_s) + terms.drop_seconds - now
        if not status.accepted:
            # Without stake that counts no update can come. Whoever locked some meanwhile waits for the next round.
            return await self._drop(task, droppable_in) if not status.eligible else QUIET_S
        if not may_settle(status.accepted, terms.quorum, status.first_update_s, terms.round_seconds, int(now)):
            return min(IDLE_S, max(status.first_update_s + terms.round_seconds - now, 0.05))
        await self._forgive(now)
        wait, account = self._turn(task, now)
        if wait > 0:
            return wait
        with of_round(number, status.round):
            try:
                await self._settle(number, status.round, account)
            except Refused as refused:
                if refused.reason == "InsufficientFunds" and len(self._unable) + 1 < len(self._ledger.accounts):
                    log.warning("account_cannot_settle", account="0x" + account.hex(), detail=refused.message)
                    self._unable[account] = (await self._ledger.chain.balance(account), now)
                    return 0.05
                if refused.reason not in TOO_LARGE or status.merged_groups:
                    self._too_large_since.pop((number, status.round), None)
                    raise
                if not await self._is_too_large(task, refused, now):
                    log.warning("not_settled", task=number, reason=refused.reason, detail=refused.message)
                    return SLOW_RETRY_S
                log.warning("round_too_large", task=number, round=status.round, detail=refused.message)
                return await self._drop(task, droppable_in)
            self._too_large_since.pop((number, status.round), None)
        return 0.0

    async def _is_too_large(self, task: Task, refused: Refused, now: float) -> bool:
        """Whether no block will ever hold this round's settlement, by its own bytes or, in the end, by what the chain keeps saying."""
        number, round, most = task.task, task.round.round, self._ledger.chain.profile
        for group in range(task.shape.group_count):
            call = await self._ledger.settlements.call(number, round, group)
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

    async def _settle(self, number: int, round: int, account: bytes) -> None:
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

    async def _drop(self, task: Task, droppable_in: float) -> float:
        """Gives up a round that cannot go on, when its time has come."""
        wait, account = self._turn(task, self._clock())
        if droppable_in > 0 or wait > 0:
            return min(QUIET_S, max(droppable_in, wait, 0.05))
        number = task.round.round
        with of_round(task.task, number):
            await self._ledger.settlements.drop(
                f"auto/{task.task}/{number}/{account.hex()}/drop", account, task.task, number
            )
            log.info("round_dropped", task=task.task, round=number, account="0x" + account.hex())
        return 0.0

    def _turn(self, task: Task, now: float) -> tuple[float, bytes]:
        """In how many seconds we may end this round, and by which account. Strangers come after all who took part."""
        accepted = self._ledger.events.find(UpdateAccepted, task.task, second=task.round.round)
        seed = task.task.to_bytes(8, "big") + task.round.round.to_bytes(8, "big")
        order = sorted((event.contributor for event in accepted), key=lambda who: keccak(seed + who))
        turn, account = min(
            (order.index(account) if account in order else len(order), account)
            for account in self._ledger.accounts
            if account not in self._unable
        )
        key = (task.task, task.round.round)
        if key not in self._over_since:
            self._over_since = {k: since for k, since in self._over_since.items() if k[0] != task.task} | {key: now}
        return self._over_since[key] + turn * self._turn_s - now, account
