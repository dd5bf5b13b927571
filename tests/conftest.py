"""What holds for every test."""

import os
from collections.abc import Iterator

import pytest
import structlog

# onnxruntime reads this at its first import: nothing that runs here tells its maker so.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(autouse=True)
def logging_as_at_the_start() -> Iterator[None]:
    """A service configures the process's log; the next test finds it as it was."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
