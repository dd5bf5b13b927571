"""The journal: what survives a restart, and that a residual counts exactly once."""

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from linklearner.domain.errors import DataLoss, InvalidConfig, Unavailable
from linklearner.domain.tasks import Mined, Submitted
from services.trainer.journal import Held, Journal, RecordedOutcome

SCOPE, N = "chain/pool/1/me", 5
HELD = Held("request", "contents", "submission", 3, 2, b"payload", b"d" * 32, np.linspace(-1, 1, N))

OUTCOME = RecordedOutcome("contents", Submitted(Mined(b"t" * 32, 5, 100_000, 900), b"d" * 32, 3, 10, 9))
FORMAT_1_OUTCOME = """
CREATE TABLE outcome (
  book TEXT NOT NULL, request_id TEXT NOT NULL, contents TEXT NOT NULL, response BLOB NOT NULL, PRIMARY KEY (book, request_id)
)
"""


def same(a: Held | None, b: Held) -> bool:
    return a is not None and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in Held.__dataclass_fields__
    )


def test_a_fresh_journal_remembers_nothing(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "new" / "folder") as journal:
        assert journal.held(SCOPE, N) is None and journal.outcome(SCOPE, "request") is None
        np.testing.assert_array_equal(journal.residual(SCOPE, N), np.zeros(N))
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o777 == 0o700


def test_a_held_update_survives_and_its_residual_waits(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.hold(SCOPE, HELD)
    with Journal.open(tmp_path) as journal:
        assert same(journal.held(SCOPE, N), HELD)
        assert not journal.residual(SCOPE, N).any()
        assert journal.held("other", N) is None


def test_promotion_counts_once(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.hold(SCOPE, HELD)
        journal.promote(SCOPE)
        journal.promote(SCOPE)
        assert journal.held(SCOPE, N) is None
    with Journal.open(tmp_path) as journal:
        np.testing.assert_array_equal(journal.residual(SCOPE, N), HELD.residual)
        journal.promote(SCOPE)
        np.testing.assert_array_equal(journal.residual(SCOPE, N), HELD.residual)


def test_discarding_keeps_the_residual_from_before(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.hold(SCOPE, HELD)
        journal.promote(SCOPE)
        journal.hold(SCOPE, Held("next", "", "", 4, 3, b"", b"", np.ones(N)))
        journal.discard(SCOPE)
        assert journal.held(SCOPE, N) is None
        np.testing.assert_array_equal(journal.residual(SCOPE, N), HELD.residual)


def test_at_most_one_update_is_held(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.hold(SCOPE, HELD)
        with pytest.raises(sqlite3.IntegrityError):
            journal.hold(SCOPE, HELD)


def test_outcomes_are_kept_by_request_and_scope(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.accept(SCOPE, "request", OUTCOME)
        journal.accept(SCOPE, "request", OUTCOME)
    with Journal.open(tmp_path) as journal:
        assert journal.outcome(SCOPE, "request") == OUTCOME
        assert journal.outcome(SCOPE, "another") is None and journal.outcome("other", "request") is None


def test_a_journal_of_format_1_keeps_what_it_carries_and_forgets_the_wire_s_messages(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.hold(SCOPE, HELD)
        journal.promote(SCOPE)
        journal.hold(SCOPE, HELD)
        for table in ("residual", "held"):
            journal._connection.execute(f"ALTER TABLE {table} RENAME COLUMN scope TO book")
        journal._connection.execute("DROP TABLE outcome")
        journal._connection.execute(FORMAT_1_OUTCOME)
        journal._connection.execute("INSERT INTO outcome VALUES (?, 'request', 'contents', x'0a00')", (SCOPE,))
        journal._connection.execute("PRAGMA user_version = 1")
    for _ in range(2):
        with Journal.open(tmp_path) as journal:
            held = journal.held(SCOPE, N)
            assert held is not None and held.payload == HELD.payload
            np.testing.assert_array_equal(journal.residual(SCOPE, N), HELD.residual)
            assert journal.outcome(SCOPE, "request") is None
            journal.accept(SCOPE, "another", OUTCOME)
            assert journal.outcome(SCOPE, "another") == OUTCOME


def test_two_trainers_do_not_share_a_journal(tmp_path: Path) -> None:
    with Journal.open(tmp_path), pytest.raises(InvalidConfig, match="another trainer uses"):
        Journal.open(tmp_path)
    with Journal.open(tmp_path):
        pass


def test_a_damaged_or_foreign_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "trainer.db").write_bytes(b"no database" * 500)
    with pytest.raises(InvalidConfig, match="move it away"):
        Journal.open(tmp_path)
    (tmp_path / "trainer.db").unlink()
    with sqlite3.connect(tmp_path / "trainer.db") as connection:
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(InvalidConfig, match="another version"):
        Journal.open(tmp_path)


def test_a_state_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidConfig, match="cannot keep state"):
        Journal.open(tmp_path / "file" / "state")


def test_a_residual_of_another_model_is_noticed(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.hold(SCOPE, HELD)
        with pytest.raises(DataLoss, match="5 weights, the task has 6"):
            journal.held(SCOPE, 6)
        journal.promote(SCOPE)
        with pytest.raises(DataLoss):
            journal.residual(SCOPE, 6)


def test_closing_waits_for_the_worker_thread_that_a_cancelled_round_left_behind(tmp_path: Path) -> None:
    """SQLite closed under a statement is a crash of the process, not an exception."""
    journal = Journal.open(tmp_path)
    journal.hold(SCOPE, HELD)
    inside, go_on, order = threading.Event(), threading.Event(), []

    def in_the_middle(statement: str) -> None:
        inside.set()
        go_on.wait(10)
        order.append("statement")

    journal._connection.set_trace_callback(in_the_middle)
    promotion = threading.Thread(target=journal.promote, args=(SCOPE,))
    promotion.start()
    assert inside.wait(10)
    closing = threading.Thread(target=lambda: (journal.close(), order.append("closed")))
    closing.start()
    closing.join(0.2)
    closed_early = not closing.is_alive()
    go_on.set()
    promotion.join(10)
    closing.join(10)
    assert not closed_early
    assert order[-1] == "closed"
    with pytest.raises(Unavailable, match="stopping"):
        journal.promote(SCOPE)
    with Journal.open(tmp_path) as again:
        assert again.held(SCOPE, N) is None
