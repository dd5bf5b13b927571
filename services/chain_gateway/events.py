"""The pool's history as far as it is known here: raw logs in SQLite, followed from a stored cursor.

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
from linklearner.chain.contracts import decode_event
from linklearner.chain.logs import block_ranges
from linklearner.domain.errors import DataLoss, Unavailable
from linklearner.domain.events import Event
from services.chain_gateway.chain import Chain
from services.chain_gateway.heads import Head

_LAG_BLOCKS: Final = 20
"""Blocks that the node may be behind its own last answer: a node behind a load balancer may be."""
_PATIENCE: Final = 4
_PAUSE_S: Final = 0.25

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cursor (pool BLOB PRIMARY KEY, block INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
    block INTEGER NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    task BLOB NOT NULL,
    second BLOB NOT NULL,
    transaction_hash BLOB NOT NULL,
    topics BLOB NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (block, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS event_of ON event (name, task, second);
"""


E = TypeVar("E", bound=Event)


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
        self._syncing = asyncio.Lock()
        self._grown = asyncio.Condition()
        self._poke = asyncio.Event()
        self.head: Head | None = None
        """The newest block as it was at the last look."""
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
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_SCHEMA)
            connection.execute("INSERT OR IGNORE INTO cursor VALUES (?, ?)", (pool, first_block - 1))
            yield cls(connection, chain, pool, witness)

    @property
    def cursor(self) -> int:
        """All blocks up to this one are known."""
        row = self._connection.execute("SELECT block FROM cursor WHERE pool = ?", (self._pool,)).fetchone()
        return int(row[0])

    async def sync(self, at_least: int = 0) -> int:
        """Reads on to the newest block and returns it. at_least: a block that must be known afterwards.

        Raises Unavailable if the node is behind that block, or behind its own last answer; DataLoss if the witness disagrees.
        """
        async with self._syncing:
            cursor = self.cursor
            head = await self._known_head()
            for _ in range(_PATIENCE):  # a node may report a transaction before it counts its block
                if head >= at_least:
                    break
                await asyncio.sleep(_PAUSE_S)
                head = await self._known_head()
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

    async def _logs(self, first: int, last: int) -> list[Log]:
        logs = await self._chain.logs(self._pool, first, last)
        if self._witness is not None and logs != await self._witness.logs(self._pool, first, last):
            raise DataLoss(
                f"two nodes report different histories of blocks {first} to {last}: {self._chain.shown_url} and {self._witness.shown_url}; "
                "trust neither until you know which one lies",
                facts={"first": first, "last": last},
            )
        return logs

    def _keep(self, logs: list[Log], last: int) -> None:
        rows = []
        for entry in logs:
            event = decode_event(entry)
            if event is None:
                continue
            second = entry.topics[2] if len(entry.topics) > 2 else b""
            rows.append(
                (
                    entry.block_number,
                    entry.index,
                    type(event).__name__,
                    entry.topics[1],
                    second,
                    entry.transaction_hash,
                    b"".join(entry.topics),
                    entry.data,
                )
            )
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
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
        where = "name = ?"
        parameters: list[str | bytes] = [kind.__name__]
        for clause, number in (("task = ?", task), ("second = ?", second), ("second > ?", above)):
            if number is not None:
                where += f" AND {clause}"
                parameters.append(number.to_bytes(32, "big"))
        rows = self._connection.execute(
            f"SELECT block, position, transaction_hash, topics, data FROM event WHERE {where} ORDER BY block, position",
            parameters,
        ).fetchall()
        found = [decode_event(self._log(*row)) for row in rows]
        return [event for event in found if isinstance(event, kind)]

    def _log(self, block: int, position: int, transaction: bytes, topics: bytes, data: bytes) -> Log:
        words = tuple(topics[start : start + 32] for start in range(0, len(topics), 32))
        return Log(self._pool, words, data, block, position, transaction)

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
