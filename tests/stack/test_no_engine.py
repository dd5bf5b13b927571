"""Without a container engine."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [("test", 0, "the stack test did not run: no container engine answers"), ("up", 3, "no container engine answers")],
)
def test_one_line_says_that_there_is_no_engine(tmp_path: Path, command: str, status: int, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.stack", command],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "DOCKER_UP": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status
    assert says in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert "install Docker with Compose v2" in done.stdout
