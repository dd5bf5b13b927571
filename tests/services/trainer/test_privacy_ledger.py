"""The budget is on disk before anything can leave, and no crash makes it forget: what left is never more than what is counted."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linklearner.domain.errors import DataLoss, Exhausted, InvalidConfig, Unavailable
from services.trainer.accountant import Mechanism, epsilon
from services.trainer.ledger import Budget, Overspent, PrivacyLedger, Reservation
from services.trainer.privacy import COUNT_NOISE, DpSgd, DpUpdate, Privacy
from services.trainer.recipe import Recipe

PLACE = "1/aa/1"
ONE = Mechanism(0.25, 4.0, 20)
BUDGET = Budget(3.0, 1e-5)


def fill(ledger: PrivacyLedger, budget: Budget = BUDGET, mechanism: Mechanism = ONE) -> int:
    """Trains until the budget is spent; how often that was."""
    for done in range(1000):
        try:
            ledger.close(ledger.reserve(PLACE, mechanism, budget, done), bytes([done % 256]) * 32)
        except Overspent:
            return done
    raise AssertionError("a budget without an end")


def test_a_budget_has_an_end_and_a_fresh_ledger_does_not_move_it(tmp_path: Path) -> None:
    done = fill(PrivacyLedger.open(tmp_path))
    assert epsilon([ONE] * done, BUDGET.delta) <= BUDGET.epsilon < epsilon([ONE] * (done + 1), BUDGET.delta)
    assert fill(PrivacyLedger.open(tmp_path)) == 0
    # other settings spend of the same budget: with more noise, or less sampling, a little may still fit
    quiet = Mechanism(0.25, 50.0, 20)
    more = fill(PrivacyLedger.open(tmp_path), mechanism=quiet)
    assert epsilon([*[ONE] * done, *[quiet] * more], BUDGET.delta) <= BUDGET.epsilon
    # a smaller one is spent at once, a greater one goes on from where it was
    assert fill(PrivacyLedger.open(tmp_path), Budget(1.0, 1e-5)) == 0
    assert fill(PrivacyLedger.open(tmp_path), Budget(3.0, 1e-9)) == 0
    assert fill(PrivacyLedger.open(tmp_path), Budget(6.0, 1e-5)) > 0


def test_each_task_has_a_budget_of_its_own(tmp_path: Path) -> None:
    ledger = PrivacyLedger.open(tmp_path)
    fill(ledger)
    assert ledger.spent("1/aa/2") == ()
    assert ledger.reserve("1/aa/2", ONE, BUDGET, 1).epsilon == epsilon([ONE], BUDGET.delta)


def test_a_training_that_made_no_update_is_counted_once_however_often_it_is_begun(tmp_path: Path) -> None:
    ledger = PrivacyLedger.open(tmp_path)
    first = ledger.reserve(PLACE, ONE, BUDGET, 1)
    assert ledger.spent(PLACE) == (ONE,), "on disk before the training begins"
    for version in range(2, 6):
        ledger = PrivacyLedger.open(tmp_path)
        assert ledger.reserve(PLACE, ONE, BUDGET, version) == first
        assert ledger.spent(PLACE) == (ONE,)
    other = Mechanism(0.25, 4.0, 21)
    ledger.reserve(PLACE, other, BUDGET, 7)
    assert ledger.spent(PLACE) == (ONE, other), "what was counted for another training stays counted"


def test_a_share_is_good_for_one_update(tmp_path: Path) -> None:
    ledger = PrivacyLedger.open(tmp_path)
    share = ledger.reserve(PLACE, ONE, BUDGET, 1)
    assert not ledger.closed_by(PLACE, b"\x01" * 32)
    ledger.close(share, b"\x01" * 32)
    assert ledger.closed_by(PLACE, b"\x01" * 32) and not ledger.closed_by("1/aa/2", b"\x01" * 32)
    for again in (share, Reservation(99, 0.0)):
        with pytest.raises(DataLoss, match="not open"):
            PrivacyLedger.open(tmp_path).close(again, b"\x02" * 32)
    assert PrivacyLedger.open(tmp_path).reserve(PLACE, ONE, BUDGET, 1).number != share.number


def test_label_counts_are_noised_once_and_counted(tmp_path: Path) -> None:
    ledger = PrivacyLedger.open(tmp_path)
    first = ledger.label_counts(PLACE, np.array([1.5, -2.0]), 8.0, BUDGET)
    assert ledger.spent(PLACE) == (Mechanism(1.0, 8.0, 1),)
    again = PrivacyLedger.open(tmp_path).label_counts(PLACE, np.array([3.0, 4.0]), 8.0, BUDGET)
    np.testing.assert_array_equal(first, again)
    assert ledger.spent(PLACE) == (Mechanism(1.0, 8.0, 1),)
    assert not ledger.has_open(PLACE, Mechanism(1.0, 8.0, 1)), "no training takes the counts' share over"
    with pytest.raises(Overspent):
        ledger.label_counts("other", np.zeros(2), 0.1, BUDGET)
    assert ledger.spent("other") == ()
    with pytest.raises(DataLoss, match="3 labels"):
        ledger.label_counts(PLACE, np.zeros(3), 8.0, BUDGET)


# --- crashes


class Killed(BaseException):
    """The process is gone: nothing after this runs, and nothing is undone but what SQLite undoes."""


class Fuse:
    """Burns at each point at which a process may die; kills at the chosen one."""

    def __init__(self) -> None:
        self.left = -1

    def burn(self) -> None:
        if self.left == 0:
            self.left = -1
            raise Killed
        self.left -= 1


class Connection(sqlite3.Connection):
    """Dies before or after any statement, of which a commit is one."""

    fuse = Fuse()

    def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
        self.fuse.burn()
        found = super().execute(sql, *rest)  # type: ignore[arg-type]
        self.fuse.burn()
        return found


@contextmanager
def mortal(fuse: Fuse) -> Iterator[None]:
    connect = sqlite3.connect
    Connection.fuse = fuse
    with mock.patch.object(sqlite3, "connect", lambda *given, **named: connect(*given, factory=Connection, **named)):
        yield


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 60), max_size=12),
    st.lists(st.sampled_from([0.0, 4.0, 6.0]), min_size=1, max_size=4),
    st.sampled_from(["sgd", "update"]),
)
def test_wherever_a_process_dies_no_more_leaves_than_was_counted_and_no_more_is_counted_than_allowed(
    crashes: list[int], noises: list[float], kind: str
) -> None:
    """A trainer that is killed at the chosen points, restarted with the chosen settings, and trains as often as it is let."""
    fuse, left, held, drawn = Fuse(), dict[bytes, Mechanism](), dict[bytes, Mechanism](), 0
    recipe, counts, numbers = Recipe(step_count=20, batch_size=25), np.full(10, 10), count(1)
    with TemporaryDirectory() as folder:

        def send(privacy: Privacy) -> None:
            """What is held leaves, if it may; `left` knows before anybody else does."""
            for digest, mechanism in held.items():
                if privacy.may_leave(PLACE, digest):
                    left[digest] = mechanism
                    fuse.burn()
            held.clear()

        for life in range(len(crashes) + 1):
            noise = noises[life % len(noises)]
            plan: DpSgd | DpUpdate = (
                DpSgd(dp_epsilon=3.0, dp_noise_multiplier=noise, dp_rounds=4)
                if kind == "sgd"
                else DpUpdate(dp_epsilon=3.0, dp_noise_multiplier=noise, dp_rounds=4)
            )
            fuse.left = crashes[life] if life < len(crashes) else -1
            with mortal(fuse):
                try:
                    fuse.burn()
                    privacy = Privacy(plan, PrivacyLedger.open(Path(folder)), 100)
                    for version in range(60):
                        send(privacy)  # what a crash left behind
                        round = privacy.begin(PLACE, counts, recipe, version)
                        if round.steps is not None and round.steps.label_counts is not None:
                            drawn = 1  # noised counts are used: theirs must be counted, too
                        fuse.burn()  # in the middle of the training
                        digest, (rate, steps) = next(numbers).to_bytes(32, "big"), plan.sampling(100, recipe)
                        held[digest] = Mechanism(rate, round.spent.noise_multiplier, steps)
                        fuse.burn()
                        privacy.close(round, digest)
                        fuse.burn()
                        send(privacy)
                except Killed:
                    pass
                except Exhausted as spent:
                    assert spent.reason == "PrivacyBudgetSpent"
            fuse.left = -1
            counted = PrivacyLedger.open(Path(folder)).spent(PLACE)
            gone = epsilon([*left.values(), *[Mechanism(1.0, COUNT_NOISE, 1)] * drawn], 1e-5)
            assert gone <= epsilon(counted, 1e-5) <= 3.0
            # and hardly anything is counted that did not leave: a share for each change of settings, and the counts
            assert len(left) + drawn <= len(counted) <= len(left) + len(set(noises)) + 1 + len(held)
        assert left, "in its last life it trains until the budget is spent"


KILLED_CHILD = """
import sys
from pathlib import Path
from services.trainer.ledger import Budget, Overspent, PrivacyLedger
from services.trainer.accountant import Mechanism
ledger = PrivacyLedger.open(Path(sys.argv[1]))
print("open", flush=True)
try:
    while True:
        share = ledger.reserve("1/aa/1", Mechanism(0.25, 40.0, 20), Budget(3.0, 1e-5), 1)
        ledger.close(share, bytes(32))
        print("left", share.number, flush=True)
except Overspent:
    print("spent", flush=True)
"""


def test_kill_9_forgets_nothing(tmp_path: Path) -> None:
    left, generator = set[str](), random.Random(4)
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED_CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env={**os.environ}
        )
        assert child.stdout is not None
        patience = threading.Timer(240, child.kill)
        patience.start()
        for _ in range(generator.randrange(1, 12)):
            line = child.stdout.readline().strip()
            if line.startswith("left"):
                assert line not in left, "one share, two updates"
                left.add(line)
        child.send_signal(signal.SIGKILL)
        left |= {line.strip() for line in child.stdout if line.startswith("left")}
        child.wait()
        patience.cancel()
        assert len(PrivacyLedger.open(tmp_path).spent("1/aa/1")) >= len(left)
    assert left


# --- disks and files


def test_a_full_disk_lets_no_training_begin(tmp_path: Path) -> None:
    ledger = PrivacyLedger.open(tmp_path)
    ledger.reserve(PLACE, ONE, BUDGET, 1)

    class Full(sqlite3.Connection):
        def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
            if sql.startswith(("INSERT", "UPDATE")):
                super().execute("PRAGMA query_only = 1")
            return super().execute(sql, *rest)  # type: ignore[arg-type]

    connect = sqlite3.connect
    with mock.patch.object(sqlite3, "connect", lambda *given, **named: connect(*given, factory=Full, **named)):
        for use in (
            lambda: ledger.reserve(PLACE, Mechanism(0.1, 9.0, 3), BUDGET, 1),
            lambda: ledger.close(Reservation(1, 0.0), bytes(32)),
            lambda: ledger.label_counts(PLACE, np.zeros(2), 8.0, BUDGET),
        ):
            with pytest.raises(Unavailable, match="nothing is trained"):
                use()
    assert ledger.spent(PLACE) == (ONE,)
    assert ledger.has_open(PLACE, ONE)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE spending SET noise_multiplier = 'much'",
        "UPDATE spending SET steps = -5",
        "UPDATE spending SET sample_rate = 0.0",
        "UPDATE spending SET sample_rate = 1.5",
        "UPDATE label_counts SET counts = 'five'",
        "UPDATE label_counts SET counts = x'00'",
        "DROP TABLE spending",
    ],
)
def test_a_ledger_that_is_not_what_was_written_trains_nothing(tmp_path: Path, change: str) -> None:
    ledger = PrivacyLedger.open(tmp_path)
    ledger.label_counts(PLACE, np.zeros(2), 8.0, BUDGET)
    ledger.reserve(PLACE, ONE, BUDGET, 1)
    with sqlite3.connect(tmp_path / "privacy.db") as connection:
        connection.execute(change)
    connection.close()
    with pytest.raises((DataLoss, Unavailable), match="nothing is trained"):
        ledger.label_counts(PLACE, np.zeros(2), 8.0, BUDGET)
        ledger.reserve(PLACE, ONE, BUDGET, 1)


def test_a_file_that_is_no_ledger_or_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "privacy.db"
    path.write_bytes(b"this is no database, and it is long enough to be taken for one" * 100)
    before = path.read_bytes()
    with pytest.raises(InvalidConfig, match="damaged"):
        PrivacyLedger.open(tmp_path)
    assert path.read_bytes() == before
    path.unlink()
    PrivacyLedger.open(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(InvalidConfig, match="format 9"):
        PrivacyLedger.open(tmp_path)
