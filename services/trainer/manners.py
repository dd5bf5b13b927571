"""When a trainer may use the machine that it is a guest on: what its owner has laid down, what the machine is like, and whether they agree.

Nothing here looks at a machine (`machine` does) or waits (`pace` does).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from linklearner.domain.errors import InvalidInput
from linklearner.domain.notation import shown
from services.trainer.obstacles import Obstacle

DAY_MINUTES: Final = 24 * 60
MAX_SPANS: Final = 24
COOLER_C: Final = 5.0
"""A machine that was too hot must be so much cooler before training goes on: it would be too hot again at once."""
ROOMIER: Final = 1.1
"""So many times the memory that must be left to others has to be free again, for the same reason."""
MIB: Final = 2**20

_SPAN = re.compile(r"([0-9]{1,2})(?::([0-9]{2}))?-([0-9]{1,2})(?::([0-9]{2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Hours:
    """Spans of the day, (from, until) in minutes after midnight of local time; one whose end is not after its start goes over midnight.
    None: the whole day."""

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str, name: str) -> Hours:
        """`22:00-07:00`, `22-7`, `0:30-6, 12-13`; empty: the whole day. Raises InvalidInput with a sentence that begins with `name`."""
        spans = []
        for part in text.split(",") if text.strip(" ") else ():
            found = _SPAN.fullmatch(part.strip(" "))
            if found is None:
                raise InvalidInput(f"{name} must be hours of the day such as 22:00-07:00, got {shown(part)}")
            start, end = (
                60 * int(hour) + int(minute or 0) for hour, minute in (found.groups()[:2], found.groups()[2:])
            )
            minutes = [int(minute or 0) for minute in found.groups()[1::2]]
            if start >= DAY_MINUTES or end > DAY_MINUTES or max(minutes) > 59:
                raise InvalidInput(f"{name} must be hours from 00:00 to 24:00, got {shown(part)}")
            if start == end % DAY_MINUTES and (start, end) != (0, DAY_MINUTES):
                raise InvalidInput(f"{name} must not begin and end at once (0-24 is the whole day), got {shown(part)}")
            spans.append((start, end))
        if len(spans) > MAX_SPANS:
            raise InvalidInput(f"{name} must be at most {MAX_SPANS} spans, got {len(spans)}")
        return cls(tuple(spans))

    def contain(self, minute: int) -> bool:
        """minute: after midnight, 0 to 1439."""
        return not self.spans or any(
            start <= minute < end if start < end else minute >= start or minute < end for start, end in self.spans
        )

    def minutes_until_open(self, minute: int) -> int:
        """0 if they contain it."""
        if self.contain(minute):
            return 0
        return min((start - minute) % DAY_MINUTES for start, _ in self.spans)

    def __str__(self) -> str:
        return ", ".join(f"{_clock(start)}-{_clock(end)}" for start, end in self.spans) or "the whole day"


@dataclass(frozen=True, slots=True)
class HoursOfDay:
    """The rule of a setting: what `Hours.parse` reads."""

    def check(self, value: Any, name: str) -> None:
        """Raises InvalidInput."""
        Hours.parse(str(value), name)

    def __str__(self) -> str:
        return "HH:MM-HH:MM, separated by commas, or empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the machine's owner has laid down; the defaults allow everything.

    others_cpu: percent of all cores together that others may use at most while it trains. temperature_c: the hottest that the processor
    may be, 0: whatever it is. free_memory, memory: bytes that must be left to others, and that this process may take; 0: any.
    cpu_cap: percent of the time in which it computes. nice: of the training thread, 0 to 19.
    """

    others_cpu: float = 100.0
    on_battery: bool = True
    hours: Hours = Hours()
    temperature_c: float = 0.0
    free_memory: int = 0
    memory: int = 0
    cpu_cap: float = 100.0
    nice: int = 0

    @property
    def any_reading(self) -> bool:
        """Whether anything has to be looked at."""
        return (
            self.others_cpu < 100
            or not self.on_battery
            or bool(self.hours.spans)
            or bool(self.temperature_c or self.free_memory or self.memory)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """One look at the machine. None: not looked at, since no condition asks for it, or not known.

    now: local time. others_cpu: percent of all cores together that other processes used since the last look; available: bytes that could be
    taken without swapping, resident: that this process takes.
    """

    now: datetime
    others_cpu: float | None = None
    on_battery: bool | None = None
    battery_percent: float | None = None
    temperature_c: float | None = None
    available: int | None = None
    resident: int | None = None


OUTSIDE_HOURS: Final = "OutsideHours"
ON_BATTERY: Final = "OnBattery"
TOO_HOT: Final = "TooHot"
MEMORY_SHORT: Final = "MemoryShort"
TOO_LARGE: Final = "TooLarge"
OTHERS_BUSY: Final = "OthersBusy"
NOT_MEASURED: Final = "CpuNotMeasured"


def reason_to_wait(conditions: Conditions, seen: Readings, waiting: str = "") -> Obstacle | None:
    """Why training must not go on; None: it may. waiting: the reason for which it is waiting already, whose end takes a little more than
    its absence, so that nothing starts and stops in turn. What changes slowest is named first."""
    if not conditions.hours.contain(minute := 60 * seen.now.hour + seen.now.minute):
        opens = seen.now.replace(second=0, microsecond=0) + timedelta(
            minutes=conditions.hours.minutes_until_open(minute)
        )
        return Obstacle(
            OUTSIDE_HOURS,
            f"it is {seen.now:%H:%M}, and this trainer works at {conditions.hours}",
            int(opens.timestamp()),
        )
    if not conditions.on_battery and seen.on_battery:
        left = "" if seen.battery_percent is None else f" ({seen.battery_percent:.0f} % left)"
        return Obstacle(
            ON_BATTERY, f"the machine runs on its battery{left}, and this trainer works on mains power only"
        )
    if conditions.temperature_c and seen.temperature_c is not None:
        limit = conditions.temperature_c - (COOLER_C if waiting == TOO_HOT else 0.0)
        if seen.temperature_c > limit:
            return Obstacle(TOO_HOT, f"the processor has {seen.temperature_c:.0f} °C, more than {limit:.0f}")
    if conditions.memory and seen.resident is not None and seen.resident > conditions.memory:
        return Obstacle(
            TOO_LARGE,
            f"this process takes {seen.resident // MIB:,} MiB of memory, more than the {conditions.memory // MIB:,} that it may: "
            "allow more (LINKLEARNER_TRAINER_MEMORY_MB), or give it less data",
        )
    if conditions.free_memory and seen.available is not None:
        least = int(conditions.free_memory * (ROOMIER if waiting == MEMORY_SHORT else 1.0))
        if seen.available < least:
            return Obstacle(
                MEMORY_SHORT,
                f"{seen.available // MIB:,} MiB of memory are free, and {least // MIB:,} are left to others",
            )
    if conditions.others_cpu < 100:
        if seen.others_cpu is None:
            return Obstacle(NOT_MEASURED, "what others use of the processor has not been measured yet")
        if seen.others_cpu > conditions.others_cpu:
            return Obstacle(
                OTHERS_BUSY,
                f"others use {seen.others_cpu:.0f} % of the processor, and this trainer works while it is at most "
                f"{conditions.others_cpu:g}",
            )
    return None


def rest_s(worked_s: float, cpu_cap: float) -> float:
    """Seconds to rest after so many of work, so that work is `cpu_cap` percent of both."""
    return worked_s * (100.0 - cpu_cap) / cpu_cap


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
