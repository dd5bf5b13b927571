"""A machine without Chromium: its owner's tests are skipped, a gate's are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("settings", "status", "said"),
    [
        ({}, 0, "1 skipped"),
        ({"CI": "true"}, 1, "there is no Chromium"),
        ({"CI": "true", "CHROMIUM": "none"}, 0, "1 skipped"),
        ({"CHROMIUM": "none", "PATH": os.environ["PATH"]}, 0, "1 skipped"),
    ],
)
def test_what_becomes_of_the_page_s_tests(settings: dict[str, str], status: int, said: str) -> None:
    quiet = {name: value for name, value in os.environ.items() if name not in ("CI", "CHROMIUM")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/page/test_flow.py::test_by_keys_alone"],
        cwd=ROOT, env={**quiet, "PATH": "/nowhere", **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, said in done.stdout) == (status, True), done.stdout + done.stderr
