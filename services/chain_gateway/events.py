"""The history of pool and vault as far as it is known here: raw logs in SQLite, one stream, followed from a stored cursor.

Nothing is believed that did not come from `eth_getLogs` over a range that ends at the cursor; being woken up only makes the next look come
sooner. With a witness, a second node must give the same logs before they are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final, TypeVar

from linklearner.chain.answers import Log
from linklearner.chain.contracts import POOL, VAULT, decode_event
from linklearner.chain.logs import block_ranges
from linklearner.domain.addresses import vault_of
from linklearner.domain.errors import DataLoss, NotFound, Unavailable
from linklearner.domain.events import Event, TaskClosed, TaskOpened
from services.chain_gateway.chain import Chain
from services.chain_gateway.heads import Head

_LAG_BLOCKS: Final = 20
"""Blocks that the node may be behind its own last answer: a node behind a load balancer may be."""
_PATIENCE: Final = 4
_PAUSE_S: Final = 0.25

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cursor (pool BLOB PRIMARY KEY, block INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (
    pool BLOB NOT NULL,
    block INTEGER NOT NULL,
    position INTEGER NOT NULL,
    contract BLOB NOT NULL,
    name TEXT NOT NULL,
    task BLOB NOT NULL,
    second BLOB NOT NULL,
    transaction_hash BLOB NOT NULL,
    topics BLOB NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (pool, block, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS told_of ON told (pool, name, task, second);
CREATE INDEX IF NOT EXISTS told_by ON told (pool, name, second, task);
"""


E = TypeVar("E", bound=Event)


@contextlib.contextmanager
def _file_errors() -> Iterator[None]:
    """What a caller hears of a full disk: no bug of ours, and not the end of anything."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Unavailable(
            f"the event index cannot be read or written ({error}): is its disk full or gone? It is tried again",
            reason="DatabaseAway",
        ) from error


class EventIndex:
    """Made by `EventIndex.open`. One pool, one file (the outbox's will do)."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        chain: Chain,
        pool: bytes,
        witness: Chain | None,
    ) -> None:
        self._connection = connection
        self._chain = chain
        self._witness = witness
        self._pool = pool
        self._interfaces = {pool: POOL, vault_of(pool): VAULT}
        self._syncing = asyncio.Lock()
        self._grown = asyncio.Condition()
        self._poke = asyncio.Event()
        self.head: Head | None = None
        """The newest block as it was at the last look."""
        self._shown: Head | None = None
        """The last of those that the node has shown by number, or the child of one."""
        self.generation = 0
        """Rises when events of the pool were read: what `wait` waits for."""

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        path: Path,
        chain: Chain,
        pool: bytes,
        *,
        first_block: int,
        witness: Chain | None = None,
    ) -> Iterator[EventIndex]:
        """first_block: of the pool's deployment. witness: a second node that must agree."""
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            # A lost commit is fetched again, so this connection need not wait for the disk.
            with _file_errors():
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.executescript(_SCHEMA)
                connection.execute("INSERT OR IGNORE INTO cursor VALUES (?, ?)", (pool, first_block - 1))
            yield cls(connection, chain, pool, witness)

    @property
    def cursor(self) -> int:
        """All blocks up to this one are known."""
        with _file_errors():
            row = self._connection.execute("SELECT block FROM cursor WHERE pool = ?", (self._pool,)).fetchone()
        return int(row[0])

    async def sync(self, at_least: int = 0) -> int:
        """Reads on to the newest block and returns it. at_least: a block that must be known afterwards.

        Raises Unavailable if the node is behind that block, or behind its own last answer; DataLoss if the witness disagrees.
        """
        async with self._syncing:
            cursor = self.cursor
            for attempt in range(1 + _PATIENCE):  # a node may tell of a transaction before it counts its block
                if attempt:
                    await asyncio.sleep(_PAUSE_S)
                head = await self._known_head()
                there = head <= cursor or await self._is_there(head)
                if there and head >= at_least:
                    break
            if not there:
                raise Unavailable(
                    f"the chain at {self._chain.shown_url} tells of block {head} as its newest and shows none of that number; retry",
                    facts={"head": head, "known": cursor},
                )
            if head < max(at_least, cursor - _LAG_BLOCKS):
                raise Unavailable(
                    f"the chain at {self._chain.shown_url} is at block {head} and was at {max(at_least, cursor)} before; retry",
                    facts={"head": head, "known": max(at_least, cursor)},
                )
            for first, last in block_ranges(cursor + 1, head, self._chain.profile):
                self._keep(await self._logs(first, last), last)
                cursor = last
            async with self._grown:
                self._grown.notify_all()
            return cursor

    async def _known_head(self) -> int:
        """The newest block that node and witness have."""
        self.head = await self._chain.head()
        if self._witness is None:
            return self.head.number
        return min(self.head.number, await self._witness.head_number())

    async def _is_there(self, number: int) -> bool:
        """Whether the node shows a block of this number, and so has what happened up to it.

        A node that is behind, or lies, answers with no events for blocks that are not there yet: past those the cursor must not go.
        The child of a block that was shown needs no question.
        """
        head, shown = self.head, self._shown
        if head is None or head.number != number:
            head = None  # the witness is behind, and so is what we look at
        elif shown is not None and (head.number, head.parent) == (shown.number + 1, shown.hash):
            self._shown = head
            return True
        try:
            await self._chain.block_hash(number)
        except NotFound:
            self._chain.heads.forget()
            return False
        self._shown = head
        return True

    async def _logs(self, first: int, last: int) -> list[Log]:
        contracts = list(self._interfaces)
        logs = await self._chain.logs(contracts, first, last)
        if self._witness is not None and logs != await self._witness.logs(contracts, first, last):
            raise DataLoss(
                f"two nodes tell different histories of blocks {first} to {last}: {self._chain.shown_url} and {self._witness.shown_url}; "
                "trust neither until you know which one lies",
                facts={"first": first, "last": last},
            )
        return logs

    def _keep(self, logs: list[Log], last: int) -> None:
        rows = []
        for entry in logs:
            event = decode_event(entry, self._interfaces[entry.address])
            if event is None:
                continue
            second = entry.topics[2] if len(entry.topics) > 2 else b""
            rows.append(
                (
                    self._pool,
                    entry.block_number,
                    entry.index,
                    entry.address,
                    type(event).__name__,
                    entry.topics[1],
                    second,
                    entry.transaction_hash,
                    b"".join(entry.topics),
                    entry.data,
                )
            )
        with _file_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
                self._connection.execute("UPDATE cursor SET block = ? WHERE pool = ?", (last, self._pool))
                self._connection.execute("COMMIT")
            except BaseException:  # a full disk must not leave a transaction open in which nothing works any more
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        self.generation += bool(rows)

    def find(
        self, kind: type[E], task: int | None = None, *, second: int | None = None, above: int | None = None
    ) -> list[E]:
        """Events of one kind, in the order of the chain. second, above: what the second indexed number (round, version) is, or exceeds."""
        where = "pool = ? AND name = ?"
        parameters: list[str | bytes] = [self._pool, kind.__name__]
        for clause, number in (("task = ?", task), ("second = ?", second), ("second > ?", above)):
            if number is not None:
                where += f" AND {clause}"
                parameters.append(number.to_bytes(32, "big"))
        with _file_errors():
            rows = self._connection.execute(
                f"SELECT contract, block, position, transaction_hash, topics, data FROM told WHERE {where} ORDER BY block, position",
                parameters,
            ).fetchall()
        found = [decode_event(_log(*row), self._interfaces[row[0]]) for row in rows]
        return [event for event in found if isinstance(event, kind)]

    def tasks(self, *, creator: bytes = b"", above: int = 0, limit: int = -1) -> list[int]:
        """Numbers of the tasks that were opened, in their order, at most `limit` of them unless it is negative.

        creator: 20 bytes; empty: anybody. Nothing of what was opened is read: anyone may open tasks, as large as a block holds.
        """
        where = " AND second = ?" if creator else ""
        rows = self._connection.execute(
            f"SELECT task FROM told WHERE pool = ? AND name = ? AND task > ?{where} ORDER BY task LIMIT ?",
            [self._pool, TaskOpened.__name__, above.to_bytes(32, "big"), *([_word(creator)] if creator else []), limit],
        ).fetchall()
        return [int.from_bytes(task, "big") for (task,) in rows]

    def tasks_with(self, kind: type[Event], account: bytes) -> set[int]:
        """The tasks that are not closed in which an event of a kind named this account, 20 bytes, as its second indexed field."""
        rows = self._connection.execute(
            "SELECT DISTINCT task FROM told WHERE pool = ?1 AND name = ?2 AND second = ?3 AND NOT EXISTS ("
            "SELECT 1 FROM told AS closed WHERE closed.pool = ?1 AND closed.name = ?4 AND closed.task = told.task)",
            (self._pool, kind.__name__, _word(account), TaskClosed.__name__),
        ).fetchall()
        return {int.from_bytes(task, "big") for (task,) in rows}

    async def wait(self, generation: int, timeout_s: float) -> None:
        """Until events were read after `generation` was, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._grown:
                await self._grown.wait_for(lambda: self.generation > generation)

    def poke(self) -> None:
        """Something happened: look now."""
        self._poke.set()

    async def follow(self, poll_s: float) -> AsyncIterator[str]:
        """Reads on without end, every `poll_s` seconds or when poked; tells after each look what is wrong ("" if nothing).

        A chain that is away, or a witness that disagrees, is waited for.
        """
        while True:
            try:
                await self.sync()
            except (Unavailable, DataLoss) as error:
                yield error.message
            else:
                yield ""
            # not asyncio.wait_for: in Python 3.11 it loses a cancellation that comes together with the poke
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._chain.heads.due_in(poll_s)):
                    await self._poke.wait()
            self._poke.clear()


def _log(contract: bytes, block: int, position: int, transaction: bytes, topics: bytes, data: bytes) -> Log:
    words = tuple(topics[start : start + 32] for start in range(0, len(topics), 32))
    return Log(contract, words, data, block, position, transaction)


def _word(address: bytes) -> bytes:
    return address.rjust(32, b"\0")
