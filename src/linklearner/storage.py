"""Files: written whole or not at all; and which errors are the machine's, and may pass, and which the caller's (the exit status says)."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""A disk, a quota or a limit that is reached, and a device that fails. Not: a path that is not there, or not ours."""
_PRIMARY: Final = 0xFF
"""Of SQLite's result codes: the rest says more of the same."""


def may_pass(error: OSError | sqlite3.Error) -> bool:
    """Whether the same start could succeed later, with room on the disk and nothing else changed."""
    if isinstance(error, OSError):
        return error.errno in _PASSING
    return error.sqlite_errorcode & _PRIMARY in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


@contextmanager
def sqlite_errors(
    away: Callable[[sqlite3.OperationalError], Exception], damaged: Callable[[str], Exception]
) -> Iterator[None]:
    """SQLite's errors in our tree. A broken promise of the schema (IntegrityError) is a bug and stays one.

    away: makes the error of a file that is full, read-only or not there. damaged: of one that is no database, or not ours.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise away(error) from error
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as error:
        raise damaged(str(error)) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces the file, or makes it, once all of it is on the disk: a reader, or a crash, finds the old or the new one. Raises OSError."""
    handle, half = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(half).replace(path)
    except BaseException:
        Path(half).unlink(missing_ok=True)
        raise
