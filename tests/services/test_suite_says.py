"""What a person at a terminal reads of a suite that starts, and what a program does."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from services.__main__ import _log_file, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_at_a_terminal_steps_take_one_line_and_the_page_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "60")
    say("step", text="deploying")
    for done in range(3):
        say("step", text=f"deploying {done}/3: " + 80 * "x")
    say("step", text="deploying", done=True, seconds=1.25)
    say("ready", ready=True, page="http://127.0.0.1:8780", chain="http://127.0.0.1:1")
    lines = screen.getvalue().split("\n")
    assert lines[0].rpartition("\x1b[K")[2] == "  deploying  1.2 s"
    assert all(len(part) < 60 for part in lines[0].split("\r\x1b[K"))  # a longer one could not be taken back
    assert lines[1:3] == ["  page          http://127.0.0.1:8780", "  chain         http://127.0.0.1:1"]
    assert "Ctrl-C" in lines[3]


def test_an_error_does_not_lie_over_the_step_that_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    say("step", text="deploying")
    say("failed", error="NoChain", message="nobody answers")
    assert screen.getvalue().endswith("  deploying ...\nNoChain: nobody answers\n")


def test_a_program_reads_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    say("ready", ready=True, page="http://127.0.0.1:8780")
    assert json.loads(pipe.getvalue()) == {"event": "ready", "ready": True, "page": "http://127.0.0.1:8780"}


def test_the_log_goes_on_where_it_ended_and_a_home_that_is_a_file_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        file = _log_file(tmp_path / "home")
        assert file is not None
        with file:
            file.write("a line\n")
    assert (tmp_path / "home" / "suite.log").read_text() == "a line\na line\n"
    (tmp_path / "file").touch()
    assert _log_file(tmp_path / "file") is None
