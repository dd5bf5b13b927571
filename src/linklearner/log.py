"""Structured logging: events with fields, console on a terminal, JSON lines otherwise.

Fields may hold what callers and other services chose (request ids, messages), so each is cut at MAX_FIELD characters; and a line that
cannot be written, because the disk is full or the reader of a pipe has gone, is lost without ending what it would have told of.
"""

import logging
import sys
from contextlib import AbstractContextManager, suppress
from typing import TextIO

import structlog

MAX_FIELD = 1000
"""Characters of a field that is a string."""
MAX_TRACEBACK = 20_000
"""Characters of a traceback; its end, where the error stands, is kept."""


def configure(*, service: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Sets up structlog for one process. Every line carries `service` and what `structlog.contextvars` has bound (request id, round)."""
    output = stream or sys.stderr
    renderer: structlog.typing.Processor = (
        # Plain tracebacks: the rich ones print local variables, keys and tokens among them.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if output.isatty()
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(() if output.isatty() else (structlog.processors.format_exc_info,)),
            _named(service),
            _bounded,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _Lines(output),
        cache_logger_on_first_use=False,
    )


class _Lines:
    """Writes one line a call to `output`; loses those that it does not take."""

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):  # ENOSPC, EPIPE; ValueError: the stream was closed
            self._output.write(line + "\n")
            self._output.flush()

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = err = msg


def _bounded(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name, value in event.items():
        if not isinstance(value, str):
            continue
        if name == "exception" and len(value) > MAX_TRACEBACK:
            event[name] = f"({len(value)} characters) … {value[-MAX_TRACEBACK:]}"
        elif name != "exception" and len(value) > MAX_FIELD:
            event[name] = f"{value[:MAX_FIELD]}… ({len(value)} characters)"
    return event


def _named(service: str) -> structlog.typing.Processor:
    def add(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("service", service)
        return event

    return add


def of_round(task: int, round: int) -> AbstractContextManager[None]:
    """Lines within, and calls to other services, carry the request id that everybody gives to work on this round by itself.

    So one id leads from a trainer through the gateways and the blocks to the model servers, which never meet.
    """
    return structlog.contextvars.bound_contextvars(request=f"round-{task}-{round}")
