"""`make demo` says how large torch will be before pip downloads it, and only where that is so."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON = """#!/bin/sh
# a venv's python as make sees it: is torch there, what is pip told, install
case "$*" in
  *find_spec*) exit {torch} ;;
  *"pip config list"*) printf '%s\\n' "{config}" ;;
  *"pip install"*) echo "pip installs" ;;
esac
"""


@pytest.mark.skipif(platform.system() != "Linux" or shutil.which("make") is None, reason="about Linux, and make")
@pytest.mark.parametrize("target", [".suite", ".dev"])
@pytest.mark.parametrize(
    ("pip_args", "config", "torch", "advised"),
    [
        ("", "", 1, True),
        ("--extra-index-url https://mirror.invalid/simple", "", 1, True),
        ("", "global.index-url='https://mirror.invalid/simple'", 1, True),
        ("--extra-index-url https://index.invalid/whl/cpu", "", 1, False),
        ("", "global.extra-index-url='https://index.invalid/whl/cpu'", 1, False),
        ("", "global.find-links='/wheels'", 1, False),
        ("--find-links /wheels", "", 1, False),
        ("", "", 0, False),
    ],
)
def test_the_size_of_torch_is_told_before_it_is_downloaded(
    target: str, pip_args: str, config: str, torch: int, advised: bool, tmp_path: Path
) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(PYTHON.format(torch=torch, config=config))
    python.chmod(0o755)
    command = ["make", f"VENV={tmp_path}", f"PIP_ARGS={pip_args}", str(tmp_path / target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    before, installs, _ = done.stdout.partition("pip installs")
    assert installs
    assert ("5.4 GB" in before and "PIP_ARGS='--extra-index-url" in before) == advised
    assert (tmp_path / target).exists()


def test_the_first_lines_of_the_readme_have_the_line_to_type() -> None:
    first = (ROOT / "README.md").read_text().splitlines()[:16]
    assert any(line.startswith("make demo PIP_ARGS=") for line in first)
