"""Settling rounds without being asked: nobody has to watch the chain, and five gateways do not pay five times.

The accounts that took part in a round settle it, in an order that everybody computes alike and that changes from round to round. The first
one goes at once, each further one a turn later, and only if the round is still open then: so the next one steps in where a gateway is gone,
and gas is wasted only in a race. Who comes too late learns it from asking the chain, not from a failed transaction.

A round that can never be settled, or in which nobody may take part, is dropped when its terms allow it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog
from eth_hash.auto import keccak

from linklearner.domain.errors import LinkLearnerError, Refused
from linklearner.domain.rounds import may_settle
from linklearner.log import of_round
from services.chain_gateway.ledger import Ledger, Task

TURN_S: Final = 3.0
"""For each turn: several blocks of a node that makes one a second."""
IDLE_S: Final = 5.0
"""A look at the clock of a round that is collecting at least so often, though nothing happens on the chain."""
QUIET_S: Final = 60.0
"""The same while there is nothing to settle; an update wakes us."""
TOO_LARGE: Final = ("GasLimitTooHigh", "TransactionTooLarge")
"""No block will ever hold this round's settlement."""
RETRY_S: Final = 2.0

log = structlog.get_logger()


class AutoSettler:
    """Settles every task of a ledger, by the ledger's accounts."""

    def __init__(self, ledger: Ledger, *, turn_s: float = TURN_S, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._turn_s = turn_s
        self._clock = clock
        self._over_since: dict[tuple[int, int], float] = {}
        self._unable: set[bytes] = set()
        """Accounts that could not pay for a settlement; never all of ours."""

    async def run(self) -> None:
        """For ever."""
        while True:
            pause, generation = QUIET_S, self._ledger.events.generation
            for task in self._ledger.tasks():
                try:
                    pause = min(pause, await self._consider(task))
                except LinkLearnerError as error:
                    log.info("not_settled", task=task, reason=error.reason, detail=error.message)
                    pause = min(pause, RETRY_S)
            await self._ledger.events.wait(generation, pause)

    async def _consider(self, number: int) -> float:
        """Ends the open round if it is over and it is our turn. Returns in how many seconds to look again at the latest."""
        task = await self._ledger.task(number)
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
        wait, account = self._turn(task, now)
        if wait > 0:
            return wait
        with of_round(number, status.round):
            try:
                await self._settle(number, status.round, account)
            except Refused as refused:
                if refused.reason == "InsufficientFunds" and len(self._unable) + 1 < len(self._ledger.accounts):
                    log.warning("account_cannot_settle", account="0x" + account.hex(), detail=refused.message)
                    self._unable.add(account)
                    return 0.05
                if refused.reason not in TOO_LARGE or status.merged_groups:
                    raise
                log.warning("round_too_large", task=number, round=status.round, detail=refused.message)
                return await self._drop(task, droppable_in)
        return 0.0

    async def _settle(self, number: int, round: int, account: bytes) -> None:
        """Settles, or learns that somebody else was faster. Raises what `Ledger.settle` raises otherwise."""
        try:
            settled = await self._ledger.settle(f"auto/{number}/{round}/{account.hex()}", account, number, round)
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
            await self._ledger.drop(f"auto/{task.task}/{number}/{account.hex()}/drop", account, task.task, number)
            log.info("round_dropped", task=task.task, round=number, account="0x" + account.hex())
        return 0.0

    def _turn(self, task: Task, now: float) -> tuple[float, bytes]:
        """In how many seconds we may end this round, and by which account. Strangers come after all who took part."""
        accepted = self._ledger.events.find("UpdateAccepted", task.task, second=task.round.round)
        seed = task.task.to_bytes(8, "big") + task.round.round.to_bytes(8, "big")
        order = sorted((event.values["contributor"] for event in accepted), key=lambda who: keccak(seed + who))
        turn, account = min(
            (order.index(account) if account in order else len(order), account)
            for account in self._ledger.accounts
            if account not in self._unable
        )
        key = (task.task, task.round.round)
        if key not in self._over_since:
            self._over_since = {k: since for k, since in self._over_since.items() if k[0] != task.task} | {key: now}
        return self._over_since[key] + turn * self._turn_s - now, account
