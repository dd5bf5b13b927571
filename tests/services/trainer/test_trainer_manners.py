"""A good neighbour: when training may go on, how it is interrupted, and what it costs others."""

import os
import sys
import threading
from collections import namedtuple
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.errors import InvalidConfig, InvalidInput
from services.trainer import machine as machine_module
from services.trainer import pace as pace_module
from services.trainer.config import TrainerConfig
from services.trainer.machine import Machine, make_nice
from services.trainer.manners import (
    DAY_MINUTES,
    MEMORY_SHORT,
    MIB,
    NOT_MEASURED,
    ON_BATTERY,
    OTHERS_BUSY,
    OUTSIDE_HOURS,
    TOO_HOT,
    TOO_LARGE,
    Conditions,
    Hours,
    Readings,
    reason_to_wait,
    rest_s,
)
from services.trainer.obstacles import Obstacle
from services.trainer.pace import Abandoned, Pace, pause_s

NOON = datetime(2026, 3, 1, 12, 0, 30, tzinfo=timezone(timedelta(hours=2)))
Times = namedtuple("Times", "user system idle iowait guest guest_nice", defaults=(0.0,) * 6)


# --- hours ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("", ()),
        ("  ", ()),
        ("22:00-07:00", ((1320, 420),)),
        ("22-7", ((1320, 420),)),
        ("0-6, 12:30-13", ((0, 360), (750, 780))),
        ("0-24", ((0, 1440),)),
        ("18-24", ((1080, 1440),)),
        ("23:59-0", ((1439, 0),)),
    ],
)
def test_hours_are_read_as_people_write_them(text: str, spans: tuple[tuple[int, int], ...]) -> None:
    assert Hours.parse(text, "hours").spans == spans


@pytest.mark.parametrize(
    "text",
    [
        *("night", "22", "22-", "22-25", "24-6", "22:60-7", "22-7:99", "22.00-7.00", "7-7", "24:30-1", "0-0", "-1-5"),
        *("1-2,", ",", "22-7;1-2", "\u0661-2", "1-2," * 24 + "1-2", "1" * 5000 + "-2"),
    ],
)
def test_what_is_no_span_of_the_day_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^hours must"):
        Hours.parse(text, "hours")
    with pytest.raises(InvalidConfig, match=r"^hours must"):
        TrainerConfig(hours=text)


@given(
    st.lists(st.tuples(st.integers(0, 1439), st.integers(1, 1440)).filter(lambda one: one[0] != one[1]), max_size=4),
    st.integers(0, 1439),
)
def test_the_minutes_until_they_open_are_the_fewest_after_which_they_contain_the_time(
    spans: list[tuple[int, int]], minute: int
) -> None:
    hours = Hours(tuple(spans))
    expected = next(wait for wait in range(DAY_MINUTES) if hours.contain((minute + wait) % DAY_MINUTES))
    assert hours.minutes_until_open(minute) == expected
    assert Hours.parse(str(hours) if spans else "", "hours") == hours


# --- the decision --------------------------------------------------------------------------------------------------------------


def reason(conditions: Conditions, waiting: str = "", **seen: Any) -> str:
    found = reason_to_wait(conditions, Readings(**{"now": NOON, **seen}), waiting)
    return "" if found is None else found.reason


def test_without_conditions_there_is_no_reason_to_wait() -> None:
    everything_wrong = {
        "others_cpu": 100.0,
        "on_battery": True,
        "temperature_c": 120.0,
        "available": 0,
        "resident": 2**40,
    }
    assert reason(Conditions(), **everything_wrong) == ""
    assert not Conditions().any_reading and not Conditions(cpu_cap=1, nice=19).any_reading


def test_each_condition_is_a_reason_of_its_own_from_its_bound_on() -> None:
    others = Conditions(others_cpu=25)
    assert [reason(others, others_cpu=used) for used in (25.0, 25.1, None)] == ["", OTHERS_BUSY, NOT_MEASURED]
    mains = Conditions(on_battery=False)
    assert [reason(mains, on_battery=seen) for seen in (None, False, True)] == ["", "", ON_BATTERY]
    cool = Conditions(temperature_c=80)
    assert [reason(cool, temperature_c=seen) for seen in (None, 80.0, 80.5)] == ["", "", TOO_HOT]
    room = Conditions(free_memory=1000 * MIB)
    assert [reason(room, available=seen * MIB) for seen in (1000, 999)] == ["", MEMORY_SHORT]
    small = Conditions(memory=500 * MIB)
    assert [reason(small, resident=seen * MIB) for seen in (500, 501)] == ["", TOO_LARGE]
    night = Conditions(hours=Hours(((22 * 60, 7 * 60),)))
    assert reason(night) == OUTSIDE_HOURS and reason(night, now=NOON.replace(hour=6, minute=59)) == ""
    assert all(one.any_reading for one in (others, mains, cool, room, small, night))


def test_what_was_the_reason_must_be_gone_by_a_margin() -> None:
    cool, room = Conditions(temperature_c=80), Conditions(free_memory=1000 * MIB)
    assert [reason(cool, TOO_HOT, temperature_c=seen) for seen in (79.0, 75.5, 75.0)] == [TOO_HOT, TOO_HOT, ""]
    assert [reason(room, MEMORY_SHORT, available=seen * MIB) for seen in (1050, 1100)] == [MEMORY_SHORT, ""]
    assert reason(cool, OTHERS_BUSY, temperature_c=79.0) == ""  # another reason's end asks for nothing of this one


def test_a_reason_says_figures_and_when_the_hours_begin() -> None:
    night = reason_to_wait(Conditions(hours=Hours(((22 * 60 + 30, 7 * 60),))), Readings(now=NOON))
    assert night is not None and night.detail == "it is 12:00, and this trainer works at 22:30-07:00"
    assert datetime.fromtimestamp(night.from_s, NOON.tzinfo) == NOON.replace(hour=22, minute=30, second=0)
    seen = Readings(now=NOON, on_battery=True, battery_percent=41.4)
    battery = reason_to_wait(Conditions(on_battery=False), seen)
    assert battery is not None and "on its battery (41 % left)" in battery.detail
    large = reason_to_wait(Conditions(memory=500 * MIB), Readings(now=NOON, resident=700 * MIB))
    assert large is not None and "700 MiB" in large.detail and "LINKLEARNER_TRAINER_MEMORY_MB" in large.detail


@given(st.floats(0, 100), st.floats(1, 100))
def test_work_is_the_capped_share_of_work_and_rest(worked_s: float, cap: float) -> None:
    assert worked_s == pytest.approx((worked_s + rest_s(worked_s, cap)) * cap / 100)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOURS", "late"),
        ("ON_BATTERY", "maybe"),
        ("OTHERS_CPU", "101"),
        ("OTHERS_CPU", "-1"),
        ("CPU_CAP", "0"),
        ("CPU_CAP", "nan"),
        ("NICE", "20"),
        ("NICE", "-5"),
        ("TEMPERATURE_C", "121"),
        ("FREE_MEMORY_MB", "-1"),
        ("MEMORY_MB", "1073741824"),
        ("TURNS", "random"),
    ],
)
def test_manners_out_of_range_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidConfig, match=f"^LINKLEARNER_TRAINER_{name} must"):
        TrainerConfig.from_environment({f"LINKLEARNER_TRAINER_{name}": value})


def test_settings_become_conditions() -> None:
    given = {
        "OTHERS_CPU": "25",
        "ON_BATTERY": "false",
        "HOURS": "22-7",
        "TEMPERATURE_C": "85",
        "FREE_MEMORY_MB": "1024",
    }
    given |= {"MEMORY_MB": "2048", "CPU_CAP": "50", "NICE": "19"}
    config = TrainerConfig.from_environment({f"LINKLEARNER_TRAINER_{name}": text for name, text in given.items()})
    assert config.conditions() == Conditions(
        others_cpu=25,
        on_battery=False,
        hours=Hours(((1320, 420),)),
        temperature_c=85,
        free_memory=1024 * MIB,
        memory=2048 * MIB,
        cpu_cap=50,
        nice=19,
    )
    assert TrainerConfig().conditions() == Conditions()


# --- what psutil says ----------------------------------------------------------------------------------------------------------


class Clock:
    """time.monotonic that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(machine_module, "time", found)
    return found


def test_others_use_what_is_used_and_not_ours(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two cores; a guest's time is in the user's already, and waiting for a disk is no use of the processor."""
    spent = Times(user=100.0, idle=500.0)
    own = SimpleNamespace(user=10.0, system=0.0)
    monkeypatch.setattr(machine_module.psutil, "cpu_times", lambda: spent)
    monkeypatch.setattr(machine_module.psutil.Process, "cpu_times", lambda self: own)
    machine = Machine(Conditions(others_cpu=25))
    clock.now += 0.1
    assert machine.readings().others_cpu is None  # too soon to say
    clock.now += 1
    spent = Times(user=101.1, system=0.3, idle=500.4, iowait=0.2, guest=0.9)
    own = SimpleNamespace(user=10.9, system=0.1)
    assert machine.readings().others_cpu == pytest.approx(100 * (1.4 - 1.0) / 2.0)
    clock.now += 0.1
    assert machine.readings().others_cpu == pytest.approx(20)  # the same answer again
    clock.now += 31
    assert machine.readings().others_cpu is None  # what happened before says nothing of now
    clock.now += 1
    own = SimpleNamespace(user=99.0, system=0.1)  # counters are not read at the same moment
    spent = Times(user=101.2, system=0.3, idle=502.4, iowait=0.2)
    assert machine.readings().others_cpu == 0


def test_mains_is_whatever_is_no_battery_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(Conditions(on_battery=False))
    for battery, expected in (
        (None, (None, None)),
        (SimpleNamespace(percent=50, secsleft=1, power_plugged=True), (False, 50.0)),
        (SimpleNamespace(percent=49.6, secsleft=1, power_plugged=False), (True, 49.6)),
        (SimpleNamespace(percent=50, secsleft=1, power_plugged=None), (None, None)),
    ):
        monkeypatch.setattr(machine_module.psutil, "sensors_battery", lambda one=battery: one, raising=False)
        seen = machine.readings()
        assert (seen.on_battery, seen.battery_percent) == expected


def test_the_processor_s_hottest_sensor_counts_and_broken_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def sensors(**chips: list[float | None]) -> dict[str, list[SimpleNamespace]]:
        return {name: [SimpleNamespace(current=degrees) for degrees in found] for name, found in chips.items()}

    found = sensors(nvme=[95.0], coretemp=[60.0, 71.0, 0.0, 255.0, None])
    monkeypatch.setattr(machine_module.psutil, "sensors_temperatures", lambda: found, raising=False)
    machine = Machine(Conditions(temperature_c=80))
    assert machine.readings().temperature_c == 71.0
    found = sensors(acpitz=[40.0], nvme=[95.0])
    assert machine.readings().temperature_c == 95.0 and machine.obstacle() is not None
    found = sensors(coretemp=[255.0])
    assert machine.readings().temperature_c is None
    with pytest.raises(InvalidConfig, match="temperature_c: this machine shows no temperature"):
        Machine(Conditions(temperature_c=80))  # a setting that could never be in force
    monkeypatch.delattr(machine_module.psutil, "sensors_temperatures")
    with pytest.raises(InvalidConfig, match="temperature_c"):
        Machine(Conditions(temperature_c=80))


def test_a_look_at_this_machine_gives_what_was_asked_for_and_nothing_else() -> None:
    every = Conditions(others_cpu=50, on_battery=False, free_memory=1, memory=1)
    seen = Machine(every).readings()
    assert seen.available is not None and seen.available > 0 and seen.resident is not None and seen.resident > MIB
    assert seen.temperature_c is None and seen.others_cpu is None
    alone = Machine(Conditions(hours=Hours(((0, 1440),)))).readings()
    assert (alone.available, alone.resident, alone.on_battery, alone.others_cpu) == (None,) * 4
    assert Machine(Conditions()).obstacle() is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority belongs to the process")
def test_only_the_training_thread_gives_way_and_what_it_starts() -> None:
    found: list[int] = []

    def look() -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    def training() -> None:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        make_nice(0)
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
        make_nice(19)
        make_nice(5)  # never back: that would take rights
        look()
        helper = threading.Thread(target=look)
        helper.start()
        helper.join()

    mine = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=training)
    thread.start()
    thread.join()
    assert found == [19, 19] and os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine


# --- between two steps -----------------------------------------------------------------------------------------------------------


class Moods:
    """A machine that says what a test wants it to say, look after look; the last one again and again."""

    def __init__(self, *reasons: str, cpu_cap: float = 100.0) -> None:
        self.conditions = Conditions(cpu_cap=cpu_cap)
        self._reasons = list(reasons)
        self.asked: list[str] = []

    def obstacle(self, waiting: str = "") -> Obstacle | None:
        self.asked.append(waiting)
        reason = self._reasons.pop(0) if len(self._reasons) > 1 else self._reasons[0]
        return Obstacle(reason, f"because of {reason}") if reason else None


class Stop(threading.Event):
    """Waits by moving a clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.waited: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waited.append(timeout)
        self._clock.now += timeout
        return self.is_set()


@pytest.fixture
def pacing(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(pace_module, "time", SimpleNamespace(monotonic=found.monotonic, time=lambda: 1000.0))
    return found


def test_a_machine_is_looked_at_every_half_second_and_not_between_every_two_steps(pacing: Clock) -> None:
    moods = Moods("")
    pace = Pace(moods, Stop(pacing), pytest.fail)  # type: ignore[arg-type]
    for _ in range(80):  # ten seconds
        pace.between(pytest.fail)
        pacing.now += 0.125
    assert len(moods.asked) == 20


def test_a_training_waits_for_as_long_as_there_is_a_reason_and_its_state_is_kept_first(pacing: Clock) -> None:
    moods, stop = Moods(OTHERS_BUSY, OTHERS_BUSY, TOO_HOT, ""), Stop(pacing)
    said: list[Any] = []
    pace = Pace(moods, stop, lambda why: said.append(why and why.reason))  # type: ignore[arg-type]
    pace.between(lambda: said.append("kept"))
    assert said == ["kept", OTHERS_BUSY, OTHERS_BUSY, TOO_HOT, None]
    assert moods.asked == ["", OTHERS_BUSY, OTHERS_BUSY, TOO_HOT] and stop.waited == [pace_module.AGAIN_S] * 3


def test_who_gives_a_training_up_ends_its_wait_at_once_and_its_state_is_kept() -> None:
    stop, began = threading.Event(), threading.Event()
    kept: list[str] = []

    def train() -> None:
        pace = Pace(Moods(ON_BATTERY), stop, lambda why: began.set())  # type: ignore[arg-type]
        with pytest.raises(Abandoned):
            pace.between(lambda: kept.append("kept"))
        kept.append("ended")

    thread = threading.Thread(target=train)
    thread.start()
    assert began.wait(30)
    stop.set()
    thread.join(30)  # not AGAIN_S: a look later it would say that it waits
    assert kept == ["kept", "kept", "ended"]


def test_a_cap_makes_it_rest_for_the_remainder_in_pieces_that_a_system_can_sleep(pacing: Clock) -> None:
    stop = Stop(pacing)
    pace = Pace(Moods("", cpu_cap=25.0), stop, pytest.fail)  # type: ignore[arg-type]
    start = pacing.now
    for _ in range(1000):
        pace.between(pytest.fail)
        pacing.now += 0.001
    assert min(stop.waited) >= pace_module.LEAST_REST_S
    assert 1.0 / (pacing.now - start) == pytest.approx(0.25, rel=0.02)
    uncapped = Stop(pacing)
    pace = Pace(Moods(""), uncapped, pytest.fail)  # type: ignore[arg-type]
    for _ in range(100):
        pace.between(pytest.fail)
        pacing.now += 1
    assert not uncapped.waited


def test_a_pause_ends_when_the_hours_begin_and_is_never_longer_than_a_minute() -> None:
    asleep = Obstacle(OUTSIDE_HOURS, "", 10_000)
    assert pause_s(asleep, 9_990) == 10 and pause_s(asleep, 0) == 60 and pause_s(asleep, 20_000) == pace_module.LOOK_S
    assert pause_s(replace(asleep, from_s=0), 0) == pace_module.AGAIN_S
    assert pause_s(Obstacle(NOT_MEASURED, ""), 0) == pace_module.MEASURE_S
