"""How long something may run, and who goes first.

Execution looks at the clock at taken jumps, frames, host calls and in the long precompiles: between two looks lie milliseconds of
Python, or the instructions that a frame's or an Aspect's gas buys in compiled code, which is no more than a few seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

Watch = Callable[[], None]
"""Called often while something runs; raises TimeUp when it has run too long."""

_GIVE_WAY_S: Final = 0.05


class TimeUp(Exception):
    """It was still running at its deadline. Not an error that the EVM or an Aspect could catch."""


def no_watch() -> None:
    """For what is bounded otherwise."""


def until(deadline: float) -> Watch:
    """deadline: by `time.monotonic()`."""

    def look() -> None:
        if time.monotonic() > deadline:
            raise TimeUp

    return look


class Precedence:
    """Making a block goes before answering a question: Python runs one thread at a time, and would share it evenly."""

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()

    @contextmanager
    def first(self) -> Iterator[None]:
        """While a block is being made in here, the watches given out by `second` hold their threads back."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def second(self, deadline: float) -> Watch:
        """Like `until`, and gives way at each look; not without end, or a long block would leave nothing but late answers."""

        def look() -> None:
            if time.monotonic() > deadline:
                raise TimeUp
            if not self._free.is_set():
                self._free.wait(_GIVE_WAY_S)

        return look
