"""What a command prints: a table for people or one JSON document for programs, and errors that say what to do."""

import contextlib
import enum
import errno
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any

import grpc
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linklearner.domain.errors import InvalidConfig, LinkLearnerError, Unavailable
from linklearner.domain.notation import address_text, amount_text
from linklearner.log import clip
from linklearner.process import MAX_MESSAGE, exit_status
from linklearner.rpc.status import from_rpc_error
from linklearner.storage import may_pass


class Format(enum.StrEnum):
    """How to print."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Shown:
    """One value, as programs take it and as people read it."""

    value: Any
    text: str


def moment(unix_s: int) -> Shown:
    """Unix seconds; people read how far away that is."""
    return Shown(unix_s, until(unix_s - time.time()))


def ago(unix_s: int) -> Shown:
    """Unix seconds that have passed, 0 for never."""
    return Shown(unix_s, passed(time.time() - unix_s) if unix_s else "never")


def passed(seconds: float) -> str:
    """`now`, or `until` of what lies behind: `12 s ago`."""
    ahead = until(seconds)
    return ahead if ahead == "now" else ahead.removeprefix("in ") + " ago"


def until(seconds: float) -> str:
    """`now`, `in 12 s`, `in 7 min`, `in 3.2 h`, `in 2.0 days`: rounded up, so that nobody comes too early."""
    if seconds <= 0:
        return "now"
    if seconds <= 120:
        return f"in {ceil(seconds)} s"
    if seconds <= 2 * 3600:
        return f"in {ceil(seconds / 60)} min"
    if seconds <= 48 * 3600:
        return f"in {ceil(seconds / 360) / 10:.1f} h"
    return f"in {ceil(seconds / 8640) / 10:.1f} days"


def printable(text: str) -> str:
    """What somebody else wrote, for a terminal, which obeys control characters: they are spelt out."""
    return clip(text, MAX_MESSAGE)


def console(format: Format) -> Console:
    """People read standard output; with JSON it belongs to programs and people read standard error."""
    shown = Console(stderr=format is Format.JSON, highlight=False)
    # Files and pipes have no width: what is written there should not be folded at 80 columns.
    return shown if shown.is_terminal else Console(stderr=format is Format.JSON, highlight=False, width=160)


def show(format: Format, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Prints one record as `name value` lines, several as a table, or either as JSON."""
    if format is Format.JSON:
        write_json(rows, indent=2)
        return
    if isinstance(rows, Mapping):
        table = Table.grid(padding=(0, 2))
        for name, value in rows.items():
            table.add_row(f"[dim]{name.replace('_', ' ')}[/dim]", _text(value))
    else:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for name in rows[0] if rows else ():
            table.add_column(
                name.replace("_", " "), justify="right" if isinstance(rows[0][name], (int, float)) else "left"
            )
        for row in rows:
            table.add_row(*(_text(value) for value in row.values()))
    console(format).print(table)


def write_json(document: Any, *, indent: int | None = None) -> None:
    """One JSON document on standard output. Numbers that JSON does not have (NaN, infinity) become null.

    Raises OSError where nothing can be written; also where a caller has closed it (`>&-`).
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed", "standard output")
    sys.stdout.write(json.dumps(_finite(document), indent=indent, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Shown):
        return _finite(value.value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _text(value: Any) -> str:
    if isinstance(value, Shown):
        return value.text
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return str(value)


def ll(wei: int) -> str:
    """$LL as it is typed, too: exactly, no separators, no trailing zeros."""
    return amount_text(wei)


def address(raw: bytes) -> str:
    """An address with its EIP-55 checksum."""
    return address_text(raw)


@contextmanager
def reporting(format: Format) -> Iterator[None]:
    """Turns the error tree into one sentence and exit status 2 (the caller's input) or 1 (everything else)."""
    try:
        yield
    except LinkLearnerError as error:
        _fail(error, format)
    except grpc.RpcError as error:
        _fail(from_rpc_error(error), format)
    except OSError as error:  # a folder that cannot be written, a full disk: what the system says is the reason
        where = f" {error.filename}" if error.filename else ""
        kind = Unavailable if may_pass(error) else InvalidConfig
        _fail(kind(f"the system refuses{where}: {error.strerror or error}"), format)


def _fail(error: LinkLearnerError, format: Format) -> None:
    message = error.message.removeprefix(f"{error.reason}: ")
    if error.reason == grpc.StatusCode.UNAVAILABLE.name:  # gRPC's own words: nobody listens there
        message = f"nobody answers ({message.rpartition(': ')[2]}): is the suite running? `linklearner up` starts it"
    written = False
    if format is Format.JSON:
        with contextlib.suppress(OSError):  # standard output is what refuses: said on the other one
            write_json({"error": error.reason, "message": message, "facts": error.facts})
            sys.stdout.flush()
            written = True
    if not written:
        Console(stderr=True, highlight=False).print(
            f"[red]{escape(printable(error.reason))}[/red]: {escape(printable(message))}", soft_wrap=True
        )
    raise typer.Exit(exit_status(error))
