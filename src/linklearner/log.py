"""Structured logging: events with fields, console on a terminal, JSON lines otherwise."""

import logging
import sys
from contextlib import AbstractContextManager
from typing import TextIO

import structlog


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
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=output),
        cache_logger_on_first_use=False,
    )


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
