"""A disk without room is the machine's fault and may pass: whatever starts on it ends with one sentence and exit status 1, not 2."""

import errno
import json
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import cast

import pytest
import typer

from linklearner.domain.errors import InvalidConfig, LinkLearnerError
from linklearner.output import Format, reporting
from linklearner.process import CALLERS_FAULT, FAILED, exit_status
from services.chain_gateway.chain import Chain
from services.chain_gateway.events import EventIndex
from services.chain_gateway.outbox.store import OutboxStore
from services.trainer.journal import Journal

ROOT = Path(__file__).resolve().parents[1]
Opener = Callable[[Path], AbstractContextManager[object]]
OPENERS: dict[str, Opener] = {
    "outbox": lambda folder: OutboxStore.open(folder / "outbox.sqlite"),
    "event index": lambda folder: EventIndex.open(folder / "events", cast(Chain, None), bytes(20), first_block=1),
    "journal": Journal.open,
}


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Bytes that a file of this process may have: the system then refuses as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
@pytest.mark.parametrize("size", [0, 4096])
def test_a_file_that_cannot_be_begun_is_opened_when_there_is_room(tmp_path: Path, opener: Opener, size: int) -> None:
    with no_file_above(size), pytest.raises(LinkLearnerError, match=r"make room|disk full") as full, opener(tmp_path):
        pass
    assert exit_status(full.value) == FAILED
    with opener(tmp_path):
        pass


def test_the_file_of_another_program_is_the_callers_fault_all_the_same(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "outbox.sqlite") as connection:
        connection.execute("CREATE TABLE request (a)")
    with pytest.raises(InvalidConfig, match="is no outbox"), OutboxStore.open(tmp_path / "outbox.sqlite"):
        pass


def started(*command: str, size: int) -> subprocess.CompletedProcess[str]:
    limited = f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); sys.argv = sys.argv[1:]; "
    run = "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    return subprocess.run(
        [sys.executable, "-c", limited + run, *command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("size", [512, 4096, 16384, 50_000])
def test_a_chain_that_has_no_room_to_begin_says_so(tmp_path: Path, size: int) -> None:
    ended = started("devchain", "--port", "0", "--state", str(tmp_path / "chain"), size=size)
    assert ended.returncode == 1, ended.stderr
    [line] = [one for one in ended.stderr.splitlines() if one.startswith("devchain: ")]
    assert any(word in line for word in ("full", "disk I/O error", "file too large"))
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("size", [4096, 50_000])
def test_a_suite_that_has_no_room_to_begin_says_so(tmp_path: Path, size: int) -> None:
    ended = started("services", "--home", str(tmp_path / "home"), size=size)
    assert ended.returncode == 1, ended.stderr
    last = json.loads(ended.stdout.splitlines()[-1])
    assert last["event"] == "failed" and "cannot be written" in last["message"]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("number", "status"),
    [(errno.ENOSPC, FAILED), (errno.EDQUOT, FAILED), (errno.EIO, FAILED), (errno.EACCES, CALLERS_FAULT)],
    ids=lambda value: errno.errorcode.get(value, value),
)
def test_what_the_system_refuses_a_command_has_the_status_of_its_cause(number: int, status: int) -> None:
    with pytest.raises(typer.Exit) as ended, reporting(Format.TEXT):
        raise OSError(number, "the system's word", "file")
    assert ended.value.exit_code == status
