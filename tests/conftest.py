"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog

if TYPE_CHECKING:
    from bench.pool import PoolChain

# onnxruntime reads this at its first import: nothing that runs here tells its maker so.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(autouse=True)
def logging_as_at_the_start() -> Iterator[None]:
    """A service configures the process's log; the next test finds it as it was."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands look for a suite; there is none yet."""
    monkeypatch.setenv("LINKLEARNER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def deployed_pool() -> Iterator[PoolChain]:
    from bench.pool import PoolChain  # here, because most tests need no chain

    world = PoolChain.deployed()
    yield world
    world.chain.close()


@pytest.fixture
def world(deployed_pool: PoolChain) -> Iterator[PoolChain]:
    """A pool with its Aspect bound, 23 contributors with 10,000 LL each; what a test does is undone."""
    before = deployed_pool.chain.snapshot()
    yield deployed_pool
    deployed_pool.chain.revert(before)  # the clock, too


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes by their number: a test has the same name in every process that collects it, and gzip writes the time into what it packs."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None
