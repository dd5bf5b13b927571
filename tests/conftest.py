"""What holds for every test."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_as_at_the_start() -> Iterator[None]:
    """A service configures the process's log; the next test finds it as it was."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
