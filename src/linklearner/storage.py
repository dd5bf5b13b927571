"""Which errors of files are the machine's, and may pass, and which are the caller's: the exit status tells a supervisor."""

from __future__ import annotations

import errno
import sqlite3
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
