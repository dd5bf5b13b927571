"""Between two steps of a local training: whether it may go on, how long it rests, and what is written down meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from services.trainer.machine import Machine
from services.trainer.manners import NOT_MEASURED, rest_s
from services.trainer.obstacles import Obstacle

LOOK_S: Final = 0.5
"""Seconds between two looks at the machine while it trains: with the step under way, what a pause takes to begin."""
AGAIN_S: Final = 5.0
"""While it waits: over these seconds, others' use of the processor is measured."""
MEASURE_S: Final = 1.0
"""Over these, where it was not measured just before."""
LEAST_REST_S: Final = 0.02
"""Shorter rests are saved up: a system sleeps no shorter with any precision."""


class Abandoned(Exception):
    """Nobody waits for this training any more."""


class Pace:
    """Of one local training; called between its steps, in its thread."""

    def __init__(self, machine: Machine, stop: threading.Event, waits: Callable[[Obstacle | None], None]) -> None:
        """stop: set by whoever gives the training up. waits: told, from this thread, why it waits (again at each further look, with
        `from_s` the next one unless something better is known) and, with None, that it goes on."""
        self._machine = machine
        self._stop = stop
        self._waits = waits
        self._looked = float("-inf")
        self._began: float | None = None
        self._owed_s = 0.0

    def between(self, pausing: Callable[[], None]) -> None:
        """Returns when the next step may begin. pausing: called before it waits or gives up. Raises Abandoned."""
        now = time.monotonic()
        if self._began is not None:
            self._owed_s += rest_s(now - self._began, self._machine.conditions.cpu_cap)
        if self._owed_s >= LEAST_REST_S:
            self._stop.wait(self._owed_s)
            self._owed_s = 0.0
            now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._wait(pausing)
        if self._stop.is_set():
            pausing()
            raise Abandoned
        self._began = time.monotonic()

    def _wait(self, pausing: Callable[[], None]) -> None:
        waiting = ""
        while (obstacle := self._machine.obstacle(waiting)) is not None and not self._stop.is_set():
            if not waiting:
                pausing()
            waiting = obstacle.reason
            self._waits(obstacle)
            self._stop.wait(pause_s(obstacle, time.time()))
        if waiting and not self._stop.is_set():
            self._waits(None)


def pause_s(obstacle: Obstacle, now_s: float) -> float:
    """Seconds until the next look at the machine. now_s: Unix time."""
    if obstacle.reason == NOT_MEASURED:
        return MEASURE_S
    # A machine that slept, or whose clock was set, is looked at no later than a minute after it wakes.
    return min(max(obstacle.from_s - now_s, LOOK_S), 60.0) if obstacle.from_s else AGAIN_S
