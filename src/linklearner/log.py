"""Structured logging: events with fields, console on a terminal, JSON lines otherwise."""

import contextlib
import json
import logging
import math
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, TextIO

import structlog

MAX_CHARACTERS = 512
"""Of one text in a log line. Texts may come from whoever can call us, and a log is not theirs to fill."""
MAX_TRACEBACK_CHARACTERS = 16384
MAX_ITEMS, MAX_DEPTH = 32, 4
"""Of a list or mapping in a log line."""


def clip(text: str, most: int = MAX_CHARACTERS) -> str:
    """`text`, abridged to `most` characters and a note of how many there were; control characters are spelt out."""
    if len(text) > most:
        note = f"… ({len(text)} characters)"
        text = text[: max(most - len(note), 0)] + note
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def configure(*, service: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Sets up structlog for one process. Every line carries `service` and what `structlog.contextvars` has bound (request id, round)."""
    output = stream or sys.stderr
    renderer: structlog.typing.Processor = (
        # Plain tracebacks: the rich ones print local variables, keys and tokens among them.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if output.isatty()
        else structlog.processors.JSONRenderer(json.dumps, sort_keys=True, allow_nan=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(() if output.isatty() else (structlog.processors.format_exc_info,)),
            _named(service),
            _abridged,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=_LossyFactory(output),
        cache_logger_on_first_use=False,
    )


def _named(service: str) -> structlog.typing.Processor:
    def add(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("service", service)
        return event

    return add


def _abridged(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Every text at most MAX_CHARACTERS long, every number one that JSON has."""
    return {
        key: _end_of(value) if key == "exception" and isinstance(value, str) else _small(value, MAX_DEPTH)
        for key, value in event.items()
    }


def _end_of(traceback: str) -> str:
    """A traceback says what matters at its end."""
    lines = (line if len(line) <= MAX_CHARACTERS else clip(line) for line in traceback.splitlines())
    return "\n".join(lines)[-MAX_TRACEBACK_CHARACTERS:]


def _small(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= 256 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return clip(value)
    if isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], type):
        return value  # sys.exc_info(), which the console's renderer writes out
    if depth and isinstance(value, Mapping):
        return {clip(str(key)): _small(item, depth - 1) for key, item in list(value.items())[:MAX_ITEMS]}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_small(item, depth - 1) for item in list(value)[:MAX_ITEMS]]
    if isinstance(value, bytes | bytearray):
        return clip(value[:MAX_CHARACTERS].hex()) if len(value) <= MAX_CHARACTERS else f"{len(value)} bytes"
    return value if isinstance(value, BaseException) else clip(repr(value))


class _LossyFactory:
    """Loggers that lose lines rather than stop the work that they report, when the disk is full or nobody reads any more."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, *names: object) -> "_LossyLogger":
        return _LossyLogger(self._file)


class _LossyLogger(structlog.WriteLogger):
    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def of_round(task: int, round: int) -> AbstractContextManager[None]:
    """Lines within, and calls to other services, carry the request id that every service gives to work on this round by itself.

    So one id leads from a trainer through the gateways and the blocks to the model servers, which never meet.
    """
    return structlog.contextvars.bound_contextvars(request=f"round-{task}-{round}")
