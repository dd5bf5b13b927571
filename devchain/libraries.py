"""What py-evm and py_ecc do to the process that imports them, undone; and done again only while the EVM runs.

Both raise the interpreter's recursion limit to 100,000 at import. That turns every runaway recursion in the whole process, a parser's in C
above all, from an exception into a death by signal. This module is imported before everything else of the package.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

_limit_before: Final = sys.getrecursionlimit()

import eth  # noqa: E402, F401
import py_ecc  # noqa: E402, F401

sys.setrecursionlimit(_limit_before)

EVM_RECURSION_LIMIT: Final = 100_000
"""1,024 nested calls, join points between them, at a few dozen Python frames each."""

P = ParamSpec("P")
R = TypeVar("R")

_lock = threading.Lock()
_running = 0
_ordinary = _limit_before


def with_evm_recursion(function: Callable[P, R]) -> Callable[P, R]:
    """`function` with room for 1,024 nested calls. The limit is the process's: it goes back when the last thread inside is done."""

    @wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        global _running, _ordinary
        with _lock:
            if _running == 0:
                _ordinary = sys.getrecursionlimit()
                sys.setrecursionlimit(max(EVM_RECURSION_LIMIT, _ordinary))
            _running += 1
        try:
            return function(*arguments, **options)
        finally:
            with _lock:
                _running -= 1
                if _running == 0:
                    sys.setrecursionlimit(_ordinary)

    return run
