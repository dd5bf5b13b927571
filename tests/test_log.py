"""Logging: what others chose cannot fill it, and a full disk does not end what it tells of."""

import errno
import io
import json
from collections.abc import Iterator

import pytest
import structlog

from linklearner import log


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_fields_are_cut_and_say_so() -> None:
    output = io.StringIO()
    log.configure(service="x", stream=output)
    structlog.get_logger().info("rpc", detail="a" * 1_000_000, request="b" * 1000, n=3)
    line = json.loads(output.getvalue())
    assert len(output.getvalue()) < 3000
    assert line["detail"] == "a" * 1000 + "… (1000000 characters)" and line["request"] == "b" * 1000 and line["n"] == 3


def test_a_traceback_keeps_its_end() -> None:
    output = io.StringIO()
    log.configure(service="x", stream=output)
    try:
        raise ValueError("x" * 50_000 + "the end")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "the end" in json.loads(output.getvalue())["exception"] and len(output.getvalue()) < 25_000


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError(), ValueError("closed")]
)
def test_a_line_that_cannot_be_written_is_lost_without_a_word(error: Exception) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise error

    log.configure(service="x", stream=Full())
    for say in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), say)("rpc")
