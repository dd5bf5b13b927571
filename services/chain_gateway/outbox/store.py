"""The outbox's file: requests, the bytes that were signed for them, and how they ended.

SQLite, one process each. Every write is one step of the transition table and one durable transaction; a trigger made from the same table
refuses all others, whoever writes them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from linklearner.domain.errors import InvalidConfig, LinkLearnerError, NotFound, Refused, RequestIdReused, Unavailable
from services.chain_gateway.chain import Chain
from services.chain_gateway.outbox import endings
from services.chain_gateway.outbox.attempts import Attempt
from services.chain_gateway.outbox.requests import Outcome, Request
from services.chain_gateway.outbox.states import ACTIVE, ENDED, WITHOUT_NONCE, Move, State, after, changes


def _listed(states: Iterable[State]) -> str:
    """As SQL."""
    return "(" + ", ".join(f"'{state.value}'" for state in states) + ")"


_ACTIVE: Final = _listed(ACTIVE)
_ENDED: Final = _listed(ENDED)
_CHANGES: Final = ", ".join(sorted(_listed(change) for change in changes()))
# The first four statements are what files of earlier versions hold, too: their states and columns mean the same.
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS home (chain_id INTEGER NOT NULL, block_number INTEGER NOT NULL, block_hash BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS request (
    request_id TEXT PRIMARY KEY,
    account BLOB NOT NULL,
    kind TEXT NOT NULL,
    digest BLOB NOT NULL,
    state TEXT NOT NULL,
    nonce INTEGER,
    ending TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempt (
    position INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    raw BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS attempt_of ON attempt (request_id);
DROP INDEX IF EXISTS request_open;
CREATE UNIQUE INDEX IF NOT EXISTS request_active ON request (account, nonce) WHERE state IN {_ACTIVE};
CREATE INDEX IF NOT EXISTS request_at ON request (account, nonce) WHERE nonce IS NOT NULL;
DROP TRIGGER IF EXISTS request_step;
CREATE TRIGGER request_step BEFORE UPDATE ON request
WHEN (OLD.state, NEW.state) NOT IN (VALUES {_CHANGES})
    OR (NEW.nonce IS NOT OLD.nonce AND NOT (OLD.nonce IS NULL OR NEW.nonce IS NULL))
    OR (NEW.nonce IS NULL AND NEW.state NOT IN {_listed(WITHOUT_NONCE)})
BEGIN SELECT RAISE(ABORT, 'the outbox has no such step'); END;
"""


class StoreUnavailable(Unavailable):
    """The outbox's file cannot be read or written just now: a full disk, a lost volume, somebody else's lock."""


class OutboxStore:
    """The outbox's file. Every method is one durable transaction of a few milliseconds at most, so it runs on the event loop.

    Raises StoreUnavailable while the file cannot be read or written; nothing of that transaction is kept then.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[OutboxStore]:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two senders with the same keys would race for nonces. The lock dies with its process, also with kill -9.
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InvalidConfig(f"another process uses the outbox {path}; stop it or choose another file") from None
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                    connection.execute("PRAGMA synchronous=FULL")
                    connection.executescript(_SCHEMA)
                except sqlite3.DatabaseError as error:
                    raise InvalidConfig(f"{path} is no outbox: {error}") from None
                yield cls(connection)
        finally:
            os.close(lock)

    # -- which chain it belongs to

    async def check_chain(self, path: Path, chain: Chain) -> None:
        """Binds a new file to the chain. Raises InvalidConfig if it is bound to another, or to one that has begun anew: nonces and
        signed transactions make no sense there."""
        if self.first_block() is None:
            head = await chain.head()
            with self._write() as connection:
                connection.execute("INSERT INTO home VALUES (?, ?, ?)", (chain.chain_id, head.number, head.hash))
            return
        chain_id, number, block_hash = self._one("SELECT * FROM home")
        try:
            same = chain_id == chain.chain_id and await chain.block_hash(number) == block_hash
        except NotFound:  # pruned, or a chain that has not come that far
            same = await chain.head_number() >= number
        if not same:
            raise InvalidConfig(
                f"the outbox {path} belongs to another chain (id {chain_id}, with another block {number}); choose another file"
            )

    def first_block(self) -> int | None:
        """The chain's newest block when the file was bound to it: what is signed here lands above. None before that."""
        row = self._one("SELECT block_number FROM home")
        return None if row is None else int(row[0])

    # -- one request

    def claim(self, request: Request) -> State:
        """Books the request_id for these contents. Raises RequestIdReused if it stands for others."""
        with self._write() as connection:
            row = connection.execute(
                "SELECT digest, state FROM request WHERE request_id = ?", (request.request_id,)
            ).fetchone()
            if row is None:
                connection.execute(
                    "INSERT INTO request (request_id, account, kind, digest, state) VALUES (?, ?, ?, ?, ?)",
                    (request.request_id, request.account, request.kind, request.digest, State.PLANNED.value),
                )
                return State.PLANNED
        if row[0] != request.digest:
            raise RequestIdReused(
                f"request_id {request.request_id!r} stands for another request already; choose a new one",
                facts={"request_id": request.request_id},
            )
        return State(row[1])

    def state(self, request_id: str) -> State | None:
        row = self._one("SELECT state FROM request WHERE request_id = ?", request_id)
        return None if row is None else State(row[0])

    def is_active(self, request_id: str) -> bool:
        return self.state(request_id) in ACTIVE

    def nonce(self, request_id: str) -> int:
        """Of a request that has one."""
        return int(self._one("SELECT nonce FROM request WHERE request_id = ?", request_id)[0])

    def attempts(self, request_id: str) -> list[Attempt]:
        rows = self._all("SELECT raw FROM attempt WHERE request_id = ? ORDER BY position", request_id)
        return [Attempt.of(row[0]) for row in rows]

    def hashes(self, request_id: str) -> list[bytes]:
        rows = self._all("SELECT hash FROM attempt WHERE request_id = ? ORDER BY position", request_id)
        return [row[0] for row in rows]

    def ending(self, request_id: str) -> Outcome:
        """How a request ended. Raises what it was refused with."""
        state, text = self._one("SELECT state, ending FROM request WHERE request_id = ?", request_id)
        if State(state) is not State.MINED:
            raise endings.refusal(text)
        return endings.outcome(text)

    # -- an account's nonces

    def active_at(self, account: bytes, nonce: int) -> bool:
        """Whether a request is being sent at this nonce."""
        query = f"SELECT 1 FROM request WHERE account = ? AND nonce = ? AND state IN {_ACTIVE}"
        return self._one(query, account, nonce) is not None

    def free_nonce(self, account: bytes, pending: int) -> int:
        """The lowest nonce at which nothing of ours has landed or is being sent.

        pending: what the node would take next; it may be behind what we have seen ourselves.
        """
        landed = self._one(
            f"SELECT nonce FROM request WHERE account = ? AND nonce IS NOT NULL AND state IN {_ENDED} "
            "AND request_id NOT IN (SELECT request_id FROM attempt) ORDER BY nonce DESC LIMIT 1",
            account,
        )
        nonce = pending if landed is None else max(pending, int(landed[0]) + 1)
        active = self._all(
            f"SELECT nonce FROM request WHERE account = ? AND nonce >= ? AND state IN {_ACTIVE} ORDER BY nonce",
            account,
            nonce,
        )
        for (taken,) in active:
            if taken != nonce:
                break
            nonce += 1
        return nonce

    def attempts_at(self, account: bytes, nonce: int) -> list[tuple[str, Attempt]]:
        """All that was ever signed at a nonce that is not decided, and whose it is."""
        rows = self._all(
            "SELECT request_id, raw FROM attempt JOIN request USING (request_id) WHERE account = ? AND nonce = ? "
            "ORDER BY position DESC",
            account,
            nonce,
        )
        return [(row[0], Attempt.of(row[1])) for row in rows]

    def knows(self, transaction_hash: bytes) -> bool:
        """Whether we have signed this transaction, at a nonce that is not decided."""
        return self._one("SELECT 1 FROM attempt WHERE hash = ?", transaction_hash) is not None

    def active(self) -> list[Request]:
        """By nonce; without their contents."""
        rows = self._all(f"SELECT request_id, account, kind FROM request WHERE state IN {_ACTIVE} ORDER BY nonce")
        return [Request(request_id=row[0], account=row[1], kind=row[2], contents=b"") for row in rows]

    def unwatched(self) -> list[tuple[str, bytes, int]]:
        """Request, account and nonce of all whose bytes exist and that are not active: they may have landed unseen."""
        return self._all(
            f"SELECT request_id, account, nonce FROM request WHERE state NOT IN {_ACTIVE} "
            "AND request_id IN (SELECT request_id FROM attempt) ORDER BY nonce"
        )

    # -- steps

    def signed(self, request_id: str, attempt: Attempt) -> None:
        with self._write() as connection:
            connection.execute(
                "INSERT INTO attempt (request_id, hash, raw) VALUES (?, ?, ?)", (request_id, attempt.hash, attempt.raw)
            )
            self._step(request_id, Move.SIGN, nonce=attempt.nonce)

    def resent(self, request_id: str) -> None:
        with self._write():
            self._step(request_id, Move.RESEND)

    def taken(self, request_id: str) -> None:
        with self._write():
            self._step(request_id, Move.TAKE)

    def refused(self, request_id: str, refused: Refused) -> None:
        """Before anything new was signed."""
        self._refuse(request_id, Move.REFUSE, refused)

    def held(self, request_id: str, refused: LinkLearnerError) -> None:
        self._refuse(request_id, Move.HOLD, refused)

    def lost(self, request_id: str, refused: Refused) -> None:
        """The bytes are kept: their receipt may be shown later."""
        self._refuse(request_id, Move.LOSE, refused)

    def landed(self, attempt: Attempt, request_id: str, outcome: Outcome) -> None:
        """A block holds this attempt, and it succeeded: its request ends, all others at its nonce are free."""
        self._decide(attempt, request_id, Move.LAND, endings.of_outcome(outcome))

    def reverted(self, attempt: Attempt, request_id: str, refused: Refused) -> None:
        """A block holds this attempt, and it failed there: as landed."""
        self._decide(attempt, request_id, Move.REVERT, endings.of_refusal(refused))

    def used_by_another(self, account: bytes, nonce: int) -> None:
        """A block holds a transaction at this nonce that is none of ours."""
        with self._write():
            self._free(account, nonce)

    # -- inside

    def _refuse(self, request_id: str, step: Move, refused: LinkLearnerError) -> None:
        with self._write():
            self._step(request_id, step, ending=endings.of_refusal(refused))

    def _decide(self, attempt: Attempt, request_id: str, step: Move, ending: str) -> None:
        with self._write() as connection:
            row = connection.execute(
                "SELECT account FROM attempt JOIN request USING (request_id) WHERE hash = ?", (attempt.hash,)
            ).fetchone()
            if row is None:
                return  # it is known already
            connection.execute("DELETE FROM attempt WHERE request_id = ?", (request_id,))
            self._step(request_id, step, ending=ending)
            self._free(row[0], attempt.nonce)

    def _free(self, account: bytes, nonce: int) -> None:
        rows = self._connection.execute(
            "SELECT DISTINCT request_id, state FROM request JOIN attempt USING (request_id) WHERE account = ? AND nonce = ?",
            (account, nonce),
        ).fetchall()
        for request_id, state in rows:
            self._connection.execute("DELETE FROM attempt WHERE request_id = ?", (request_id,))
            freed = after(State(state), Move.FREE)
            self._step(request_id, Move.FREE, nonce=None if freed in WITHOUT_NONCE else nonce)

    def _step(self, request_id: str, step: Move, **columns: Any) -> None:
        row = self._connection.execute("SELECT state FROM request WHERE request_id = ?", (request_id,)).fetchone()
        columns["state"] = after(State(row[0]), step).value
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._connection.execute(
            f"UPDATE request SET {assignments} WHERE request_id = ?", (*columns.values(), request_id)
        )

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with _file_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")  # may fail, too: a full disk is noticed here
            except BaseException:
                if self._connection.in_transaction:  # SQLite has ended it already after some errors
                    self._connection.execute("ROLLBACK")
                raise

    def _all(self, query: str, *parameters: object) -> list[Any]:
        with _file_errors():
            return self._connection.execute(query, parameters).fetchall()

    def _one(self, query: str, *parameters: object) -> Any:
        with _file_errors():
            return self._connection.execute(query, parameters).fetchone()


@contextlib.contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(
            f"the outbox cannot be read or written ({error}): is its disk full or gone? It is tried again",
            reason="DatabaseAway",
        ) from error
