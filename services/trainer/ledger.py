"""What a trainer has given away of its samples, kept on disk: the privacy budget's ledger, one SQLite file beside the journal.

    reserve    before the first noised number of a training is made: its mechanism is on disk, counted as spent
    close      before its update can leave: the training has had its one update, and this is its digest
    closed_by  asked before anything is sent, after a crash above all: an update whose digest is not here does not leave

The ledger only grows. What ended between reserve and close (a crash, a full disk, a caller who left) showed nobody anything: the
reservation stays counted, and the next training with the same mechanism takes it over instead of counting once more. A reservation can
be closed once, and only what closed one is sent: so there are never more updates than mechanisms counted, wherever a process dies.

It is a file of its own because losing the journal loses rounding, and losing this file loses what protects the samples: where it is
damaged nothing is trained, and no fresh one is begun in its place. `place` names chain, pool and task, not the account: the samples are
the same whoever contributes them.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import DataLoss, InvalidConfig, Unavailable
from linklearner.storage import may_pass, sqlite_errors
from services.trainer import accountant
from services.trainer.accountant import Mechanism

FORMAT = 1
BUDGET_SPENT = "PrivacyBudgetSpent"
_SCHEMA = """
CREATE TABLE spending (
  number INTEGER PRIMARY KEY AUTOINCREMENT, place TEXT NOT NULL, sample_rate REAL NOT NULL, noise_multiplier REAL NOT NULL,
  steps INTEGER NOT NULL, base_version INTEGER NOT NULL, digest BLOB
);
CREATE TABLE label_counts (place TEXT PRIMARY KEY, counts BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """(epsilon, delta) that one task may learn of one sample, in all."""

    epsilon: float
    delta: float


@dataclass(frozen=True, slots=True)
class Reservation:
    """One training's share, counted. epsilon: what is spent in all, this share included."""

    number: int
    epsilon: float


class Overspent(Exception):
    """Nothing was reserved. spent: epsilon so far; wanted: what it would be."""

    def __init__(self, spent: float, wanted: float) -> None:
        super().__init__(f"{wanted} of a budget that has {spent} spent")
        self.spent = spent
        self.wanted = wanted


class PrivacyLedger:
    """The file of one state folder, whose journal keeps other trainers out. Each call is one transaction, on disk when it returns.

    Raises Unavailable on a full or failing disk, DataLoss if the file is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The ledger of a folder that exists, made if absent. Raises InvalidConfig for one that is damaged or of another version."""
        ledger = cls(folder / "privacy.db")
        try:
            with ledger._transaction() as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    for statement in _SCHEMA.split(";")[:-1]:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {FORMAT}")
                elif version != FORMAT:
                    raise InvalidConfig(
                        f"{ledger._path} was written by another version of the trainer (format {version}): what is spent of the "
                        "privacy budget cannot be told, and nothing is trained with it"
                    )
                (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if sound != "ok":
                    raise ledger._damaged(sound)
        except DataLoss as error:
            raise InvalidConfig(error.message, reason=error.reason) from error
        return ledger

    def spent(self, place: str) -> tuple[Mechanism, ...]:
        """All that is counted, oldest first."""
        with self._transaction() as connection:
            return self._spent(connection, place)

    def has_open(self, place: str, mechanism: Mechanism) -> bool:
        """Whether a training like this would take over a share that is counted already."""
        with self._transaction() as connection:
            return self._open(connection, place, mechanism) is not None

    def reserve(self, place: str, mechanism: Mechanism, budget: Budget, base_version: int) -> Reservation:
        """Counts a training before it begins; takes over the share of one that made no update. Raises Overspent."""
        with self._transaction() as connection:
            before = self._spent(connection, place)
            number = self._open(connection, place, mechanism)
            after = accountant.epsilon(before if number else (*before, mechanism), budget.delta)
            if not after <= budget.epsilon:
                raise Overspent(accountant.epsilon(before, budget.delta), after)
            return Reservation(number or self._add(connection, place, mechanism, base_version), after)

    def close(self, reservation: Reservation, digest: bytes) -> None:
        """This training has made its update. Raises DataLoss if it has made one before: a share is good for one."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE spending SET digest = ? WHERE number = ? AND digest IS NULL", (digest, reservation.number)
            ).rowcount
            if changed != 1:
                raise self._damaged(f"share {reservation.number} is not open")

    def closed_by(self, place: str, digest: bytes) -> bool:
        """Whether this update has a share of its own, and may leave."""
        with self._transaction() as connection:
            found = connection.execute("SELECT 1 FROM spending WHERE place = ? AND digest = ?", (place, digest))
            return found.fetchone() is not None

    def label_counts(
        self, place: str, counts: NDArray[np.float64], noise_multiplier: float, budget: Budget
    ) -> NDArray[np.float64]:
        """(labels,) float64: the noised counts that this task was given first, for good. Later ones, of whatever noise, cost nothing.

        counts: what to keep if there are none yet; they are counted and kept in one step. Raises Overspent.
        """
        with self._transaction() as connection:
            row = connection.execute("SELECT counts FROM label_counts WHERE place = ?", (place,)).fetchone()
            if row is not None:
                return self._counts(row[0], len(counts))
            before, mechanism = self._spent(connection, place), Mechanism(1.0, noise_multiplier, 1)
            after = accountant.epsilon((*before, mechanism), budget.delta)
            if not after <= budget.epsilon:
                raise Overspent(accountant.epsilon(before, budget.delta), after)
            self._add(connection, place, mechanism, -1)
            connection.execute("INSERT INTO label_counts VALUES (?, ?)", (place, counts.astype("<f8").tobytes()))
            return counts

    def _open(self, connection: sqlite3.Connection, place: str, mechanism: Mechanism) -> int | None:
        row = connection.execute(
            "SELECT number FROM spending WHERE place = ? AND sample_rate = ? AND noise_multiplier = ? AND steps = ? "
            "AND base_version >= 0 AND digest IS NULL ORDER BY number LIMIT 1",
            (place, mechanism.sample_rate, mechanism.noise_multiplier, mechanism.steps),
        ).fetchone()
        return None if row is None else int(row[0])

    def _add(self, connection: sqlite3.Connection, place: str, mechanism: Mechanism, base_version: int) -> int:
        """base_version: -1 of what no training takes over."""
        row = (place, mechanism.sample_rate, mechanism.noise_multiplier, mechanism.steps, base_version)
        number = connection.execute(
            "INSERT INTO spending (place, sample_rate, noise_multiplier, steps, base_version) VALUES (?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        assert number is not None
        return number

    def _spent(self, connection: sqlite3.Connection, place: str) -> tuple[Mechanism, ...]:
        rows = connection.execute(
            "SELECT sample_rate, noise_multiplier, steps FROM spending WHERE place = ? ORDER BY number", (place,)
        ).fetchall()
        for rate, noise, steps in rows:
            if (type(rate), type(noise), type(steps)) != (float, float, int) or not (
                0 < rate <= 1 and noise > 0 and steps > 0
            ):
                raise self._damaged(f"{rate!r:.40}, {noise!r:.40}, {steps!r:.40} is no training")
        return tuple(Mechanism(*row) for row in rows)

    def _counts(self, data: object, label_count: int) -> NDArray[np.float64]:
        if not isinstance(data, bytes) or len(data) != 8 * label_count:
            raise self._damaged(f"counts of {label_count} labels that are something else")
        counts = np.frombuffer(data, dtype="<f8").astype(np.float64)
        if not np.isfinite(counts).all():
            raise self._damaged("counts that are no numbers")
        return counts

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction, undone if what is inside raises."""
        with (
            sqlite_errors(self._away, self._damaged),
            closing(sqlite3.connect(self._path, timeout=5, isolation_level=None)) as connection,
        ):
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection

    def _away(self, error: sqlite3.OperationalError) -> InvalidConfig | Unavailable:
        if not may_pass(error) and not self._path.parent.is_dir():
            return InvalidConfig(f"cannot keep the privacy budget in {self._path.parent}: {error}")
        return Unavailable(
            f"cannot keep the privacy budget in {self._path} ({error}): make room there or make it writable; nothing is trained before",
            reason="StateUnavailable",
        )

    def _damaged(self, why: str) -> DataLoss:
        return DataLoss(
            f"{self._path} is damaged ({why}): what is spent of the privacy budget cannot be told, and nothing is trained. Bring back a "
            "copy that is no older than the last update, or train other samples in another state folder "
            "(LINKLEARNER_TRAINER_STATE_DIR)",
            reason="PrivacyLedgerDamaged",
        )
