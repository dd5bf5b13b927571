"""The command line as a test types it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from linklearner.cli import app

__all__ = ["NOBODY", "home", "said"]

NOBODY = "127.0.0.1:1"
"""Where nobody listens."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own; it is not there yet."""
    monkeypatch.setenv("LINKLEARNER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def said(*arguments: str) -> tuple[int, str]:
    """Exit status and everything printed. Whatever escapes a command is raised here."""
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output
