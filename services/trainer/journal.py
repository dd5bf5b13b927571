"""What a trainer must remember over a crash: what quantising left over, the update on its way, and the requests it has answered.

Error feedback adds the residual of each update to the next delta. The residual r' that an update leaves over is worth carrying only
if that update became part of the weights; if it did not, the residual r from before it is still the right one. So the journal keeps
both until the chain has decided:

    hold(r', update)   before anything is sent: r stays the residual, r' waits with the update's bytes and digest
    accept             the update is in a round; its request has an outcome. r' still waits: the round may yet be dropped
    promote            the round was settled with it: r := r', exactly once, in one SQLite transaction with forgetting the update
    discard            refused, dropped, or too late: r' is forgotten with the update and r is kept. The delta itself is not carried:
                       it was made from weights that have moved on, and the samples that it came from are still here to train on

Which of the last two applies is never guessed from what this process saw; `contributor` reads it from the chain's own record of the
round before it trains again. A crash before `hold` repeats a training that nobody saw; a crash after it leaves the update, under
the submission id that a gateway knows it by, to be sent again or looked up. At most one update is held, so nothing is applied twice.

A full or read-only disk is Unavailable: nothing was written, and what was to follow (a submission above all) does not happen; the same
call may succeed later. A file that is no longer what was written is DataLoss, which says what to do.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import DataLoss, InvalidConfig, Unavailable
from linklearner.domain.tasks import Mined, Submitted
from linklearner.storage import may_pass, sqlite_errors

SCHEMA_VERSION = 2

_SCHEMA = """
CREATE TABLE residual (scope TEXT PRIMARY KEY, residual BLOB NOT NULL);
CREATE TABLE held (
  scope TEXT PRIMARY KEY, request_id TEXT NOT NULL, contents TEXT NOT NULL, submission_id TEXT NOT NULL, round INTEGER NOT NULL,
  base_version INTEGER NOT NULL, payload BLOB NOT NULL, digest BLOB NOT NULL, residual BLOB NOT NULL
);
"""
_OUTCOME = """
CREATE TABLE outcome (
  scope TEXT NOT NULL, request_id TEXT NOT NULL, contents TEXT NOT NULL, round INTEGER NOT NULL, digest BLOB NOT NULL,
  weight INTEGER NOT NULL, effective INTEGER NOT NULL, transaction_hash BLOB NOT NULL, block INTEGER NOT NULL,
  gas_used INTEGER NOT NULL, transaction_bytes INTEGER NOT NULL, PRIMARY KEY (scope, request_id)
);
"""
_RENAMED = "".join(f"ALTER TABLE {table} RENAME COLUMN book TO scope;" for table in ("residual", "held"))
_STEPS = {0: _SCHEMA + _OUTCOME, 1: "DROP TABLE outcome;" + _RENAMED + _OUTCOME}
"""What makes the present format of an older one. Format 1 kept outcomes as messages of the wire: they are forgotten, residuals are not."""


@dataclass(frozen=True, slots=True)
class Held:
    """An update on its way: whether it becomes part of the weights is open, as far as this trainer knows."""

    request_id: str
    contents: str
    """The settings that came with the request_id, to notice its reuse."""
    submission_id: str
    """The request_id under which the gateway knows the update: a fresh one for each update that is held, since the same training may
    well be repeated, and must not meet the answer that its first attempt got."""
    round: int
    """The round that was open when its base weights were pulled: it was accepted in this round or a later one."""
    base_version: int
    payload: bytes
    """The update's byte string."""
    digest: bytes
    residual: NDArray[np.float64]
    """(N,) float64 in real units: what to carry if it is merged."""


@dataclass(frozen=True, slots=True)
class RecordedOutcome:
    """How a request ended."""

    contents: str
    submitted: Submitted


class Journal:
    """One SQLite file, for one trainer at a time. `scope` names whose memory it is: one account in one task of one chain."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        # A cancelled round leaves its worker thread behind, in the middle of a statement: SQLite must not be closed, nor asked
        # anything else, under it.
        self._alone = threading.Lock()
        self._closed = False

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The journal of a state folder, made if absent, mode 0700.

        Raises InvalidConfig if it cannot be used or another trainer does, Unavailable on a full or failing disk.
        """
        path = folder / "trainer.db"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Worker threads write large residuals; `_alone` keeps them apart.
            connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            if may_pass(error):
                raise _no_room(folder, error) from error
            raise InvalidConfig(f"cannot keep state in {folder}: {error}") from error
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN EXCLUSIVE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version in _STEPS:
                for statement in _STEPS[version].split(";")[:-1]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
            (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                raise sqlite3.DatabaseError(sound)
        except (sqlite3.Error, TypeError) as error:
            connection.close()
            if "locked" in str(error):
                raise InvalidConfig(f"another trainer uses {folder}: give each its own state folder") from error
            if isinstance(error, sqlite3.OperationalError):
                if may_pass(error):
                    raise _no_room(folder, error) from error
                raise InvalidConfig(
                    f"cannot keep state in {folder} ({error}): make it writable, or name another folder "
                    "(LINKLEARNER_TRAINER_STATE_DIR)"
                ) from error
            raise InvalidConfig(
                f"{path} is damaged ({error}); without it only what rounding left over is lost: move it away"
            ) from error
        if version not in (*_STEPS, SCHEMA_VERSION):
            connection.close()
            raise InvalidConfig(f"{path} was written by another version of the trainer (format {version})")
        return cls(connection, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Waits for a statement under way. What a worker thread asks later is Unavailable."""
        with self._alone:
            self._closed = True
            self._connection.close()

    def residual(self, scope: str, weight_count: int) -> NDArray[np.float64]:
        """(N,) float64 in real units: what to add to the next delta; zeros at first."""
        with self._file():
            row = self._connection.execute("SELECT residual FROM residual WHERE scope = ?", (scope,)).fetchone()
            return np.zeros(weight_count) if row is None else self._array(row[0], weight_count)

    def held(self, scope: str, weight_count: int) -> Held | None:
        """The update on its way, if there is one."""
        with self._file():
            row = self._connection.execute(
                "SELECT request_id, contents, submission_id, round, base_version, payload, digest, residual FROM held "
                "WHERE scope = ?",
                (scope,),
            ).fetchone()
            if row is None:
                return None
            self._kinds(row, (str, str, str, int, int, bytes, bytes, bytes))
            request_id, contents, submission_id, round, base_version, payload, digest, residual = row
            kept = self._array(residual, weight_count)
            return Held(request_id, contents, submission_id, round, base_version, payload, digest, kept)

    def hold(self, scope: str, held: Held) -> None:
        """Remembers an update before it is sent. One at a time: what became of the last one must be known."""
        with self._file():
            self._connection.execute(
                "INSERT INTO held VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    scope,
                    held.request_id,
                    held.contents,
                    held.submission_id,
                    held.round,
                    held.base_version,
                    held.payload,
                    held.digest,
                    held.residual.astype("<f8").tobytes(),
                ),
            )

    def accept(self, scope: str, request_id: str, outcome: RecordedOutcome) -> None:
        """Records how a request ended. Repeating it is harmless."""
        submitted = outcome.submitted
        with self._file():
            self._connection.execute(
                "INSERT OR REPLACE INTO outcome VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    scope,
                    request_id,
                    outcome.contents,
                    submitted.round,
                    submitted.digest,
                    submitted.weight,
                    submitted.effective,
                    submitted.mined.transaction,
                    submitted.mined.block,
                    submitted.mined.gas_used,
                    submitted.mined.length,
                ),
            )

    def outcome(self, scope: str, request_id: str) -> RecordedOutcome | None:
        """How a request ended, if it has. Raises DataLoss (JournalDamaged) for what was never written."""
        with self._file():
            row = self._connection.execute(
                "SELECT contents, round, digest, weight, effective, transaction_hash, block, gas_used, transaction_bytes "
                "FROM outcome WHERE scope = ? AND request_id = ?",
                (scope, request_id),
            ).fetchone()
            if row is None:
                return None
            if tuple(map(type, row)) != (str, int, bytes, int, int, bytes, int, int, int):
                raise DataLoss(
                    "the journal's answer to this request is damaged: call again with a new request_id",
                    reason="JournalDamaged",
                )
            contents, round, digest, weight, effective, *mined = row
            return RecordedOutcome(contents, Submitted(Mined(*mined), digest, round, weight, effective))

    def promote(self, scope: str) -> None:
        """The held update was merged: carry what it left over. Without a held update nothing happens, so it cannot count twice."""
        with self._file(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "INSERT OR REPLACE INTO residual SELECT scope, residual FROM held WHERE scope = ?", (scope,)
            )
            self._connection.execute("DELETE FROM held WHERE scope = ?", (scope,))

    def discard(self, scope: str) -> None:
        """The held update will never be merged: forget it, keep the residual from before it."""
        with self._file():
            self._connection.execute("DELETE FROM held WHERE scope = ?", (scope,))

    @contextmanager
    def _file(self) -> Iterator[None]:
        """One statement at a time."""
        with sqlite_errors(self._away, self._damaged), self._alone:
            if self._closed:
                raise Unavailable("the trainer is stopping; call again when it is back", reason="Stopping")
            yield

    def _away(self, error: sqlite3.OperationalError) -> Unavailable:
        return Unavailable(
            f"cannot keep state in {self._path} ({error}): make room there or make it writable; it is tried again",
            reason="StateUnavailable",
        )

    def _damaged(self, why: str) -> DataLoss:
        return DataLoss(
            f"{self._path} is damaged ({why}): stop the trainer and move the file away; only what rounding left over is lost"
        )

    def _kinds(self, row: tuple[object, ...], kinds: tuple[type, ...]) -> None:
        for value, kind in zip(row, kinds, strict=True):
            if type(value) is not kind:
                raise self._damaged(f"{type(value).__name__} where {kind.__name__} was written")

    def _array(self, data: object, weight_count: int) -> NDArray[np.float64]:
        if not isinstance(data, bytes) or len(data) % 8:
            raise self._damaged("a residual that is no row of numbers")
        array = np.frombuffer(data, dtype="<f8").astype(np.float64)
        if array.shape != (weight_count,) or not np.isfinite(array).all():
            raise DataLoss(
                f"{self._path} holds a residual of {array.size} weights, the task has {weight_count}: move the file away"
            )
        return array


def _no_room(folder: Path, error: Exception) -> Unavailable:
    return Unavailable(
        f"cannot keep state in {folder} ({error}): make room there, then start again", reason="StateUnavailable"
    )
