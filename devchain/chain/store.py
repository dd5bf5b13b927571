"""One SQLite file: blocks, receipts, logs and every version of the state.

State is a table of (key, block) → value, so the world as of any block is one index lookup per key and a restart loads nothing.
A block is one transaction. The journal is a write-ahead log with `synchronous=NORMAL`: what was committed survives the death of
the process at any instruction (the pages are with the operating system); only a power failure can cost the last blocks, and
never their consistency.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import structlog
from eth_hash.auto import keccak

from devchain import strictjson
from devchain.chain.blocks import Block, GasPart, Header, StoredReceipt
from devchain.chain.evm import EventLog
from devchain.chain.state import NOTHING, Account, Writes
from devchain.chain.transactions import TransactionRefused, decode

_VERSION: Final = 1
_PARTS_BYTES: Final = 64 * 1024 * 1024
"""JSON of one transaction's gas parts; a block's gas pays for less."""
_ACCOUNT: Final = struct.Struct(">QI?32s")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, parent_hash BLOB NOT NULL, timestamp INTEGER NOT NULL,
    miner BLOB NOT NULL, base_fee TEXT NOT NULL, gas_limit INTEGER NOT NULL, gas_used INTEGER NOT NULL,
    gas_wanted INTEGER NOT NULL, state_digest BLOB NOT NULL, transactions_root BLOB NOT NULL, bloom BLOB NOT NULL,
    size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS transactions (
    block INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL UNIQUE, raw BLOB NOT NULL, status INTEGER NOT NULL,
    gas_used INTEGER NOT NULL, cumulative_gas_used INTEGER NOT NULL, contract_address BLOB, first_log_index INTEGER NOT NULL,
    bloom BLOB NOT NULL, price TEXT NOT NULL, error TEXT, output BLOB NOT NULL, parts TEXT NOT NULL,
    PRIMARY KEY (block, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS panics (hash BLOB PRIMARY KEY, block INTEGER NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS logs (
    block INTEGER NOT NULL, position INTEGER NOT NULL, transaction_position INTEGER NOT NULL, address BLOB NOT NULL,
    topic0 BLOB, topic1 BLOB, topic2 BLOB, topic3 BLOB, data BLOB NOT NULL, PRIMARY KEY (block, position)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS logs_by_address ON logs (address, block);
CREATE TABLE IF NOT EXISTS state (
    key BLOB NOT NULL, block INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (key, block)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS codes (hash BLOB PRIMARY KEY, code BLOB NOT NULL) WITHOUT ROWID;
"""


class StoreUnusable(Exception):
    """The state file belongs to another process, another chain or another version; the message says which and what to do."""


class StoreUnavailable(Exception):
    """The state file cannot be written just now: a full or failing disk. What it held stays, and the chain goes on when there is room."""


def _disk_trouble(error: sqlite3.Error) -> bool:
    """A disk or a limit that is reached, a device that fails; not: a wrong file."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


log = structlog.get_logger("devchain")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A log with its place on the chain."""

    log: EventLog
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    transaction_index: int
    log_index: int


def kept_chain_id(path: Path | None) -> int | None:
    """The chain id that a state file began with; None where there is no such file, or none that says. Nothing is written or locked."""
    if path is None or not path.is_file():
        return None
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=0.2)
        ) as db:
            row = db.execute("SELECT value FROM meta WHERE key='chain_id'").fetchone()
    except sqlite3.Error:  # whoever opens it for good says what is wrong with it
        return None
    return int(row[0]) if row is not None and str(row[0]).isascii() and str(row[0]).isdigit() else None


class ChainStore:
    """Written by one thread. State, headers and codes may be read by others meanwhile: what they see of a block that is just being
    written is nothing, for every row carries its block's number and they ask for blocks that are there."""

    def __init__(self, path: Path | None, chain_id: int) -> None:
        """path: None keeps everything in memory. Raises StoreUnusable, StoreUnavailable."""
        self._chain_id = chain_id
        self._where = ":memory:" if path is None else str(path)
        self._written = True
        """Whether the last transaction was: a disk stays full for many of them, and it is said once."""
        self._lock = threading.RLock()
        where = self._where
        if path is not None and path.is_dir():
            raise StoreUnusable(f"{where} is a folder: name a file in it with --state")
        try:
            self._db = sqlite3.connect(where, isolation_level=None, check_same_thread=False, timeout=0.2)
        except sqlite3.Error as error:
            raise StoreUnusable(f"{where} cannot be opened: {error}") from error
        try:
            self._open(path)
        except StoreUnusable:
            self._db.close()
            raise
        except sqlite3.OperationalError as error:
            self._db.close()
            if _disk_trouble(error):
                raise StoreUnavailable(f"{where} cannot be written ({error}): make room on its disk") from error
            hint = "; is another devchain using this file?" if "locked" in str(error) else ""
            raise StoreUnusable(f"{where}: {error}{hint}") from error
        except (sqlite3.DatabaseError, UnicodeError) as error:
            self._db.close()
            raise StoreUnusable(f"{where} is not a devchain's state file, or damaged: {error}") from error

    def _open(self, path: Path | None) -> None:
        db = self._db
        if path is not None:
            # exclusive: a second chain on the same file would fork it silently
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA cache_size=-32000")
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if tables and not {"meta", "blocks", "state"} <= tables:
            raise StoreUnusable(
                f"{path} is not a devchain's state file, but another program's; choose another --state file"
            )
        [found] = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StoreUnusable(
                f"{path} is damaged ({str(found).splitlines()[-1]:.100}): put a copy back, or choose another --state file"
            )
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";\n"):
            if statement.strip():
                db.execute(statement)
        for key, value in (("version", _VERSION), ("chain_id", self._chain_id)):
            row = db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
            if row is None:
                db.execute("INSERT INTO meta VALUES (?,?)", (key, str(value)))
            elif str(row[0]) != str(value):
                db.execute("ROLLBACK")
                raise StoreUnusable(f"{path}: {key} is {row[0]!s:.40}, not {value}; choose another --state file")
        db.execute("COMMIT")
        self._check_head(path)

    def _check_head(self, path: Path | None) -> None:
        """Raises StoreUnusable for a newest block that none of ours could be: the file was whole, but another program wrote into it."""
        try:
            head = self.head()
            if head is not None:
                self.receipts(head.number)
                fields = (head.hash, head.parent_hash, head.state_digest, head.transactions_root)
                numbers = (head.number, head.timestamp, head.gas_limit, head.gas_used, head.gas_wanted)
                if any(type(one) is not bytes or len(one) != 32 for one in fields) or any(
                    type(one) is not int for one in numbers
                ):
                    raise ValueError("its newest block makes no sense")
        except (ValueError, TypeError, AttributeError, KeyError, TransactionRefused) as error:
            raise StoreUnusable(
                f"{path} is damaged ({error!s:.100}): put a copy back, or choose another --state file"
            ) from error

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # -- state: the StateReader of a block

    def at(self, number: int) -> StateAt:
        return StateAt(self._db, self._lock, number)

    def code(self, code_hash: bytes) -> bytes:
        return self.at(0).code(code_hash)

    # -- blocks

    def append(
        self, block: Block, changes: Changes, codes: dict[bytes, bytes], panics: Iterable[tuple[bytes, str]] = ()
    ) -> None:
        """Store a block and all that it changed, or nothing. panics: (transaction hash, reason)."""
        db, header, number = self._db, block.header, block.header.number
        with self._transaction():
            db.execute(
                "INSERT INTO blocks VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    number, header.hash, header.parent_hash, header.timestamp, header.miner, str(header.base_fee),
                    header.gas_limit, header.gas_used, header.gas_wanted, header.state_digest, header.transactions_root,
                    header.bloom, header.size,
                ),
            )  # fmt: skip
            for receipt in block.receipts:
                self._insert_receipt(number, receipt)
            db.executemany(
                "INSERT INTO panics VALUES (?,?,?)", [(tx_hash, number, reason) for tx_hash, reason in panics]
            )
            db.executemany("INSERT OR IGNORE INTO codes VALUES (?,?)", codes.items())
            db.executemany("INSERT INTO state VALUES (?,?,?)", [(key, number, value) for key, value in changes])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing. Raises StoreUnavailable."""
        with self._lock:
            try:
                self._db.execute("BEGIN")
                try:
                    yield
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:  # a full disk has rolled back already
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                if not _disk_trouble(error):
                    raise
                trouble = f"the chain's file {self._where} cannot be written ({error}): make room on its disk, the chain then goes on"
                if self._written:
                    log.error("state_file_unavailable", detail=trouble)
                self._written = False
                raise StoreUnavailable(trouble) from error
            if not self._written:
                log.info("state_file_written_again", file=self._where)
            self._written = True

    def _insert_receipt(self, number: int, receipt: StoredReceipt) -> None:
        self._db.execute(
            "INSERT INTO transactions VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                number, receipt.index, receipt.transaction.hash, receipt.transaction.raw, receipt.status, receipt.gas_used,
                receipt.cumulative_gas_used, receipt.contract_address, receipt.first_log_index, receipt.bloom,
                str(receipt.price), receipt.error, receipt.output, _parts_to_json(receipt.parts),
            ),
        )  # fmt: skip
        rows = []
        for offset, log in enumerate(receipt.logs):
            topics = [*log.topics, None, None, None, None][:4]
            rows.append((number, receipt.first_log_index + offset, receipt.index, log.address, *topics, log.data))
        self._db.executemany("INSERT INTO logs VALUES (?,?,?,?,?,?,?,?,?)", rows)

    def head(self) -> Header | None:
        return self._header("ORDER BY number DESC LIMIT 1", ())

    def header(self, number: int) -> Header | None:
        return self._header("WHERE number=?", (number,))

    def header_by_hash(self, block_hash: bytes) -> Header | None:
        return self._header("WHERE hash=?", (block_hash,))

    def _header(self, where: str, values: tuple[Any, ...]) -> Header | None:
        with self._lock:
            row = self._db.execute(f"SELECT * FROM blocks {where}", values).fetchone()
        if row is None:
            return None
        return Header(
            number=row[0], hash=row[1], parent_hash=row[2], timestamp=row[3], miner=row[4], base_fee=int(row[5]),
            gas_limit=row[6], gas_used=row[7], gas_wanted=row[8], state_digest=row[9], transactions_root=row[10],
            bloom=row[11], size=row[12],
        )  # fmt: skip

    def block_hash(self, number: int) -> bytes | None:
        with self._lock:
            row = self._db.execute("SELECT hash FROM blocks WHERE number=?", (number,)).fetchone()
        return None if row is None else bytes(row[0])

    def receipts(self, number: int) -> tuple[StoredReceipt, ...]:
        with self._lock:
            rows = self._db.execute("SELECT * FROM transactions WHERE block=? ORDER BY position", (number,)).fetchall()
            return tuple(map(self._receipt, rows))

    def transaction_count(self, number: int) -> int:
        return int(self._db.execute("SELECT count(*) FROM transactions WHERE block=?", (number,)).fetchone()[0])

    def transaction_hashes(self, number: int) -> list[bytes]:
        rows = self._db.execute("SELECT hash FROM transactions WHERE block=? ORDER BY position", (number,))
        return [row[0] for row in rows]

    def receipt(self, transaction_hash: bytes) -> tuple[int, StoredReceipt] | None:
        """(block number, receipt)."""
        with self._lock:
            row = self._db.execute("SELECT * FROM transactions WHERE hash=?", (transaction_hash,)).fetchone()
            return None if row is None else (row[0], self._receipt(row))

    def has_panics(self, number: int) -> bool:
        """Whether some transaction of the block crashed the node, so that it is not among the receipts."""
        with self._lock:
            return self._db.execute("SELECT 1 FROM panics WHERE block=?", (number,)).fetchone() is not None

    def is_known(self, transaction_hash: bytes) -> bool:
        """Whether the transaction is in a block, with or without a receipt."""
        found = self._db.execute(
            "SELECT 1 FROM transactions WHERE hash=? UNION ALL SELECT 1 FROM panics WHERE hash=?",
            (transaction_hash, transaction_hash),
        ).fetchone()
        return found is not None

    def _receipt(self, row: tuple[Any, ...]) -> StoredReceipt:
        block, position = row[0], row[1]
        logs = tuple(
            EventLog(address, tuple(topic for topic in topics if topic is not None), data)
            for address, *topics, data in self._db.execute(
                "SELECT address, topic0, topic1, topic2, topic3, data FROM logs"
                " WHERE block=? AND transaction_position=? ORDER BY position",
                (block, position),
            )
        )
        return StoredReceipt(
            transaction=decode(row[3], self._chain_id), index=position, status=row[4], gas_used=row[5],
            cumulative_gas_used=row[6], contract_address=row[7], logs=logs, first_log_index=row[8], bloom=row[9],
            price=int(row[10]), error=row[11], output=row[12], parts=_parts_from_json(row[13]),
        )  # fmt: skip

    def logs(
        self,
        first: int,
        last: int,
        addresses: tuple[bytes, ...] = (),
        topics: tuple[tuple[bytes, ...], ...] = (),
    ) -> Iterator[LogEntry]:
        """Logs of blocks first..last in order. An empty tuple matches anything; topics beyond the filter are free."""
        where, values = ["l.block BETWEEN ? AND ?"], [first, last]
        arguments: list[Any] = list(values)
        if addresses:
            where.append(f"l.address IN ({','.join('?' * len(addresses))})")
            arguments += addresses
        for position, choices in enumerate(topics):
            if choices:
                where.append(f"l.topic{position} IN ({','.join('?' * len(choices))})")
                arguments += choices
            else:
                where.append(f"l.topic{position} IS NOT NULL")
        query = (
            "SELECT l.address, l.topic0, l.topic1, l.topic2, l.topic3, l.data, l.block, b.hash, t.hash,"
            " l.transaction_position, l.position FROM logs l JOIN blocks b ON b.number = l.block"
            " JOIN transactions t ON t.block = l.block AND t.position = l.transaction_position"
            f" WHERE {' AND '.join(where)} ORDER BY l.block, l.position"
        )
        for address, t0, t1, t2, t3, data, block, block_hash, tx_hash, tx_index, index in self._db.execute(
            query, arguments
        ):
            log = EventLog(address, tuple(topic for topic in (t0, t1, t2, t3) if topic is not None), data)
            yield LogEntry(log, block, block_hash, tx_hash, tx_index, index)

    def rewind(self, number: int) -> None:
        """Make block `number` the head again; later blocks and their state are gone."""
        with self._transaction():
            for table, column in (
                ("blocks", "number"), ("transactions", "block"), ("panics", "block"), ("logs", "block"), ("state", "block")
            ):  # fmt: skip
                self._db.execute(f"DELETE FROM {table} WHERE {column}>?", (number,))


class StateAt:
    """Committed state as of a block."""

    def __init__(self, db: sqlite3.Connection, lock: threading.RLock, number: int) -> None:
        self._db = db
        self._lock = lock
        self.number = number

    def _value(self, key: bytes) -> bytes | None:
        with self._lock:
            row = self._db.execute(
                "SELECT value FROM state WHERE key=? AND block<=? ORDER BY block DESC LIMIT 1", (key, self.number)
            ).fetchone()
        return None if row is None else row[0]

    def account(self, address: bytes) -> Account:
        raw = self._value(b"a" + address)
        if raw is None:
            return NOTHING
        nonce, generation, exists, code_hash = _ACCOUNT.unpack_from(raw)
        balance = int.from_bytes(raw[_ACCOUNT.size :], "big")
        return Account(nonce, balance, code_hash, exists, generation)

    def slot(self, address: bytes, generation: int, slot: int) -> int:
        raw = self._value(_slot_key(address, generation, slot))
        return 0 if raw is None else int.from_bytes(raw, "big")

    def code(self, code_hash: bytes) -> bytes:
        with self._lock:
            row = self._db.execute("SELECT code FROM codes WHERE hash=?", (code_hash,)).fetchone()
        return b"" if row is None else bytes(row[0])

    def value(self, key: bytes) -> bytes:
        return self._value(b"v" + key) or b""


def _slot_key(address: bytes, generation: int, slot: int) -> bytes:
    return b"s" + address + generation.to_bytes(4, "big") + slot.to_bytes(32, "big")


Changes = list[tuple[bytes, bytes]]
"""(key, value) in the order of the keys."""


def state_digest(before: bytes, changes: Changes) -> bytes:
    """keccak-256 over the digest before a block and all that the block changed."""
    parts = [before]
    for key, value in changes:
        parts += (len(key).to_bytes(2, "big"), key, len(value).to_bytes(4, "big"), value)
    return keccak(b"".join(parts))


def encode_writes(writes: Writes) -> Changes:
    """Every change of a block, as it is stored."""
    rows = [(b"v" + key, value) for key, value in writes.values.items()]
    for address, account in writes.accounts.items():
        head = _ACCOUNT.pack(account.nonce, account.generation, account.exists, account.code_hash)
        rows.append((b"a" + address, head + account.balance.to_bytes((account.balance.bit_length() + 7) // 8, "big")))
    for (address, generation, slot), number in writes.slots.items():
        rows.append((_slot_key(address, generation, slot), number.to_bytes((number.bit_length() + 7) // 8, "big")))
    rows.sort()
    return rows


def _parts_to_json(parts: tuple[GasPart, ...]) -> str:
    return json.dumps([[p.part, p.gas, p.aspect.hex() if p.aspect else None, p.join_point, p.index] for p in parts])


def _parts_from_json(text: str) -> tuple[GasPart, ...]:
    return tuple(
        GasPart(
            part=part, gas=gas, aspect=None if aspect is None else bytes.fromhex(aspect), join_point=point, index=index
        )
        for part, gas, aspect, point, index in strictjson.loads(
            text, max_bytes=_PARTS_BYTES, max_values=_PARTS_BYTES, max_depth=3
        )
    )
