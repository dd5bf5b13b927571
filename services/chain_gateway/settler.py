"""Settling rounds without being asked: nobody has to watch the chain, and five gateways do not pay five times.

The accounts that took part in a round settle it, in an order that everybody computes alike and that changes from round to round. The first
one goes at once, each further one a turn later, and only if the round is still open then: so the next one steps in where a gateway is gone,
and gas is wasted only in a race. Who comes too late learns it from asking the chain, not from a failed transaction.
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
RETRY_S: Final = 2.0

log = structlog.get_logger()


class AutoSettler:
    """Settles every task of a ledger, by the ledger's accounts."""

    def __init__(self, ledger: Ledger, *, turn_s: float = TURN_S, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._turn_s = turn_s
        self._clock = clock
        self._seen_since: dict[tuple[int, int], float] = {}

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
        """Settles the open round if it is over and it is our turn. Returns in how many seconds to look again at the latest."""
        if not self._is_collecting(number):
            return QUIET_S
        task = await self._ledger.task(number)
        now = self._clock()
        status, terms = task.round, task.terms
        if not task.version or not status.accepted:
            return QUIET_S
        if not may_settle(status.accepted, terms.quorum, status.first_update_s, terms.round_seconds, int(now)):
            return min(IDLE_S, max(status.first_update_s + terms.round_seconds - now, 0.05))
        since = self._seen_since.setdefault((number, status.round), now)
        turn, account = self._turn(task)
        wait = since + turn * self._turn_s - now
        if wait > 0:
            return wait
        with of_round(number, status.round):
            await self._settle(number, status.round, account)
        self._seen_since.pop((number, status.round), None)
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

    def _is_collecting(self, number: int) -> bool:
        """Whether an update was accepted in a round that is not over, as far as is known; costs no question to the chain."""
        accepted = self._ledger.events.newest("UpdateAccepted", number)
        over = [self._ledger.events.newest(name, number) for name in ("ModelUpdated", "RoundDropped")]
        return accepted is not None and all(e is None or e.values["round"] < accepted.values["round"] for e in over)

    def _turn(self, task: Task) -> tuple[int, bytes]:
        """Which of our accounts comes first in this round, and how many others come before it. Strangers come after all who took part."""
        accepted = self._ledger.events.find("UpdateAccepted", task.task, second=task.round.round)
        seed = task.task.to_bytes(8, "big") + task.round.round.to_bytes(8, "big")
        order = sorted((event.values["contributor"] for event in accepted), key=lambda who: keccak(seed + who))
        ours = [
            (order.index(account) if account in order else len(order), account) for account in self._ledger.accounts
        ]
        return min(ours)
