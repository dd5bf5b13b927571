"""Whose turn it is: the tasks of one trainer work one after the other, in the order in which they come or by what they pay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from linklearner.domain.pay import round_pay
from linklearner.domain.tasks import StakeStatus, Task

MOST_PASSED: Final = 4
"""Times that others go first because they pay more; who was passed over so often is next, whatever it pays."""
ASKED: Final = float("inf")
"""The bid of who was asked for: somebody waits for the answer."""
UNKNOWN: Final = float("inf")
"""The bid of a task whose training has never been measured: it is measured first."""


@dataclass(slots=True, eq=False)
class _Waiting:
    bid: float
    passed: int = 0
    go: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Turns:
    """One at a time. The highest bid goes next, among equal ones who came first."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[_Waiting] = []

    @property
    def taken(self) -> bool:
        """Somebody has it."""
        return self._taken

    @asynccontextmanager
    async def turn(self, bid: float) -> AsyncIterator[None]:
        """Waits for its turn and holds it. bid: wei a processor second, or anything that all of them are compared by."""
        if self._taken:
            one = _Waiting(bid)
            self._waiting.append(one)
            try:
                await one.go
            except asyncio.CancelledError:
                if one in self._waiting:
                    self._waiting.remove(one)
                if not one.go.cancelled():  # it was given the turn, and nobody is there to take it
                    self._pass_on()
                raise
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        """The turn stays taken from one to the next, so that nobody who comes just now slips in between."""
        self._waiting = [
            one for one in self._waiting if not one.go.cancelled()
        ]  # given up, and not yet noticed by itself
        if not self._waiting:
            self._taken = False
            return
        chosen = max(
            self._waiting, key=lambda one: (one.passed >= MOST_PASSED, 0.0 if one.passed >= MOST_PASSED else one.bid)
        )
        self._waiting.remove(chosen)
        for one in self._waiting:
            one.passed += 1
        chosen.go.set_result(None)


def expected_pay(task: Task, stake: StakeStatus) -> int:
    """Wei that the open round pays an account with this stake if everybody whose stake counts contributes, and it lasts as long as it is
    meant to: less than it will be if some stay away."""
    everybody = max(task.round.eligible, stake.eligible, 1)
    pay = round_pay(task.terms, task.pot, task.terms.round_seconds, everybody, everybody)
    return pay.shared * stake.eligible // everybody


def bid(task: Task, stake: StakeStatus, cpu_seconds: float) -> float:
    """Wei a processor second. cpu_seconds: of the task's last training, 0 if there was none."""
    return expected_pay(task, stake) / cpu_seconds if cpu_seconds else UNKNOWN
