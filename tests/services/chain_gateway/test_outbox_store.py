"""The file alone: it writes the steps of the table and no others, and gives back what was put in."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.errors import Refused, RequestIdReused
from services.chain_gateway.chain import Log, Receipt
from services.chain_gateway.outbox import Outcome, Request, State, endings
from services.chain_gateway.outbox.states import ACTIVE, WITHOUT_NONCE, changes
from services.chain_gateway.outbox.store import OutboxStore

ACCOUNT = b"\7" * 20
BYTES_20, BYTES_32 = st.binary(min_size=20, max_size=20), st.binary(min_size=32, max_size=32)


@contextmanager
def requests_in(path: Path, *states: tuple[str, State, int | None]) -> Iterator[sqlite3.Connection]:
    """A file with such requests, and a connection past `OutboxStore`: another program with the file open."""
    with OutboxStore.open(path):
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            for request_id, state, nonce in states:
                connection.execute(
                    "INSERT INTO request (request_id, account, kind, digest, state, nonce) VALUES (?, ?, '', x'', ?, ?)",
                    (request_id, ACCOUNT, state.value, nonce),
                )
            yield connection
        finally:
            connection.close()


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("new", State)
def test_the_file_takes_the_changes_of_the_table_and_no_others(tmp_path: Path, before: State, new: State) -> None:
    with requests_in(tmp_path / "outbox", ("r", before, 5)) as connection:
        statement = "UPDATE request SET state = ? WHERE request_id = 'r'"
        if (before, new) in changes():
            connection.execute(statement, (new.value,))
        else:
            with pytest.raises(sqlite3.IntegrityError, match="no such step"):
                connection.execute(statement, (new.value,))


@pytest.mark.parametrize("state", State)
def test_a_nonce_is_taken_or_freed_and_never_exchanged(tmp_path: Path, state: State) -> None:
    if (state, state) not in changes():
        return
    with requests_in(tmp_path / "outbox", ("r", state, 5)) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="no such step"):
            connection.execute("UPDATE request SET nonce = 6")
        if state in WITHOUT_NONCE:
            connection.execute("UPDATE request SET nonce = NULL")
        else:
            with pytest.raises(sqlite3.IntegrityError, match="no such step"):
                connection.execute("UPDATE request SET nonce = NULL")


@pytest.mark.parametrize("first", ACTIVE)
@pytest.mark.parametrize("second", ACTIVE)
def test_two_active_requests_have_two_nonces(tmp_path: Path, first: State, second: State) -> None:
    with (
        pytest.raises(sqlite3.IntegrityError, match="UNIQUE"),
        requests_in(tmp_path / "outbox", ("a", first, 5), ("b", second, 5)),
    ):
        pass


def test_a_request_id_is_claimed_once(tmp_path: Path) -> None:
    with OutboxStore.open(tmp_path / "outbox") as store:
        request = Request(request_id="r", account=ACCOUNT, kind="coin", contents=b"1")
        assert store.claim(request) is store.claim(request) is State.PLANNED
        for other in (
            Request(request_id="r", account=bytes(20), kind="coin", contents=b"1"),
            Request(request_id="r", account=ACCOUNT, kind="coi", contents=b"n1"),
            Request(request_id="r", account=ACCOUNT, kind="coin", contents=b"2"),
        ):
            with pytest.raises(RequestIdReused):
                store.claim(other)


@pytest.mark.parametrize(
    ("landed", "active", "pending", "free"),
    [
        ((), (), 0, 0),
        ((), (), 7, 7),
        ((7,), (), 7, 8),  # the node is behind what we have seen
        ((3,), (), 7, 7),
        ((), (7, 8), 7, 9),
        ((), (7, 9), 7, 8),
        ((6,), (8,), 5, 7),
    ],
)
def test_the_free_nonce_is_the_lowest_that_nothing_of_ours_has_or_wants(
    tmp_path: Path, landed: tuple[int, ...], active: tuple[int, ...], pending: int, free: int
) -> None:
    rows = [(f"m{n}", State.MINED, n) for n in landed] + [(f"s{n}", State.SENT, n) for n in active]
    with requests_in(tmp_path / "outbox", *rows):
        pass
    with OutboxStore.open(tmp_path / "outbox") as store:
        assert store.free_nonce(ACCOUNT, pending) == free
        assert store.free_nonce(bytes(20), pending) == pending


@given(
    transaction=BYTES_32,
    block=st.integers(0, 2**53),
    contract=st.none() | BYTES_20,
    entries=st.lists(st.tuples(BYTES_20, st.lists(BYTES_32, max_size=4), st.binary(max_size=100), st.integers(0, 99))),
)
def test_an_outcome_is_kept_as_it_was(
    transaction: bytes, block: int, contract: bytes | None, entries: list[tuple[bytes, list[bytes], bytes, int]]
) -> None:
    logs = tuple(Log(address, tuple(topics), data, block, n, transaction) for address, topics, data, n in entries)
    outcome = Outcome(Receipt(transaction, block, True, 21_000, contract, logs), 110)
    assert endings.outcome(endings.of_outcome(outcome)) == outcome


@given(message=st.text(), reason=st.text(min_size=1), facts=st.dictionaries(st.text(), st.integers()))
def test_a_refusal_is_kept_as_it_was(message: str, reason: str, facts: dict[str, int]) -> None:
    kept = Refused(message, reason=reason, facts=facts)
    read = endings.refusal(endings.of_refusal(kept))
    assert (read.message, read.reason, read.facts) == (kept.message, kept.reason, kept.facts)
