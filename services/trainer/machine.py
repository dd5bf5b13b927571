"""What psutil says of this machine, as far as the owner's conditions ask for it."""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import datetime
from typing import Final

import psutil

from linklearner.domain.errors import InvalidConfig
from services.trainer.manners import Conditions, Readings, reason_to_wait
from services.trainer.obstacles import Obstacle

SHORTEST_S: Final = 0.25
"""Shares of a processor's time mean little over less; a look that comes sooner gives the last answer again."""
LONGEST_S: Final = 30.0
"""What happened longer ago says nothing of now."""
PROCESSOR_SENSORS: Final = ("coretemp", "k10temp", "zenpower", "cpu", "soc", "package")
"""What the sensors of processors are called, or begin with. A machine that has none of them is as hot as its hottest sensor."""
POSSIBLE_C: Final = (1.0, 130.0)
"""A sensor that says less or more is broken, or not connected."""


class Machine:
    """This machine, for one trainer. May be looked at from any thread."""

    def __init__(self, conditions: Conditions) -> None:
        """Raises InvalidConfig for a condition that cannot be observed here: it would be believed to be in force."""
        self.conditions = conditions
        self._process = psutil.Process()
        self._alone = threading.Lock()
        self._share: float | None = None
        self._at, self._spent = time.monotonic(), self._cpu_seconds()
        if conditions.temperature_c and _hottest() is None:
            raise InvalidConfig(
                "temperature_c: this machine shows no temperature of its processor; leave LINKLEARNER_TRAINER_TEMPERATURE_C at 0",
                facts={"setting": "temperature_c"},
            )

    def obstacle(self, waiting: str = "") -> Obstacle | None:
        """Why training must not go on just now; None: it may. waiting: the reason for which it is waiting already."""
        if not self.conditions.any_reading:
            return None
        return reason_to_wait(self.conditions, self.readings(), waiting)

    def readings(self) -> Readings:
        """Takes well under a millisecond, with temperatures a few."""
        asked = self.conditions
        with self._alone:
            battery = None if asked.on_battery else _battery()
            return Readings(
                now=datetime.now().astimezone(),
                others_cpu=self._others_cpu() if asked.others_cpu < 100 else None,
                on_battery=None if battery is None else not battery[0],
                battery_percent=None if battery is None else battery[1],
                temperature_c=_hottest() if asked.temperature_c else None,
                available=psutil.virtual_memory().available if asked.free_memory else None,
                resident=self._process.memory_info().rss if asked.memory else None,
            )

    def _others_cpu(self) -> float | None:
        now = time.monotonic()
        if now - self._at < SHORTEST_S:
            return self._share
        if now - self._at > LONGEST_S:
            self._at, self._spent, self._share = now, self._cpu_seconds(), None
            return None
        total, busy, own = self._cpu_seconds()
        (total_before, busy_before, own_before), self._spent, self._at = self._spent, (total, busy, own), now
        if total > total_before:
            others = (busy - busy_before) - (own - own_before)
            self._share = min(max(100.0 * others / (total - total_before), 0.0), 100.0)
        return self._share

    def _cpu_seconds(self) -> tuple[float, float, float]:
        """Of all cores: that passed, that were used, and that this process used."""
        spent = psutil.cpu_times()
        # Linux counts guests under user, too
        total = sum(spent) - getattr(spent, "guest", 0.0) - getattr(spent, "guest_nice", 0.0)
        own = self._process.cpu_times()
        return total, total - spent.idle - getattr(spent, "iowait", 0.0), own.user + own.system


def make_nice(nice: int) -> None:
    """Lets the calling thread, and threads that it starts, give way to others. Where a priority belongs to the whole process, lets that."""
    if nice:
        who = threading.get_native_id() if sys.platform == "linux" else 0
        # never to a higher priority than it has: that takes rights, and the owner may have started it nicer still
        os.setpriority(os.PRIO_PROCESS, who, max(nice, os.getpriority(os.PRIO_PROCESS, who)))


def _battery() -> tuple[bool, float] | None:
    """Whether it is plugged in, and percent that are left; None: there is none, or its state is not known."""
    found = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return None if found is None or found.power_plugged is None else (bool(found.power_plugged), float(found.percent))


def _hottest() -> float | None:
    """Degrees Celsius; None where nothing is measured."""
    found = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    low, high = POSSIBLE_C
    by_chip = {
        name.lower(): [one.current for one in sensors if one.current is not None and low <= one.current <= high]
        for name, sensors in found.items()
    }
    processor = [degrees for name, one in by_chip.items() if name.startswith(PROCESSOR_SENSORS) for degrees in one]
    return max(processor or [degrees for one in by_chip.values() for degrees in one], default=None)
