"""How a process of ours runs and ends: until a signal or its first failure, with one meaning of its exit status everywhere.

0: done, or stopped by a signal. 2: the caller's settings, arguments or files are wrong, so the same start can never succeed (a shell's and
argparse's own status for it). 1: everything else, the world's fault or ours: a start later may succeed.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

from linklearner.domain.errors import InvalidInput, LinkLearnerError
from linklearner.log import clip

DONE, FAILED, CALLERS_FAULT = 0, 1, 2
MAX_MESSAGE = 4096
"""Characters of what a process says at its end."""


def exit_status(error: LinkLearnerError) -> int:
    """Of a process that ends with this error."""
    return CALLERS_FAULT if isinstance(error, InvalidInput) else FAILED


def run(name: str, main: Callable[[], object]) -> int:
    """Runs a process's main function; returns its exit status. An error of ours becomes one sentence on standard error, a bug keeps its
    traceback (and Python's own exit status, 1)."""
    try:
        main()
    except LinkLearnerError as error:
        # it may quote a file that somebody sent, and a terminal obeys what it prints
        print(f"{name}: {clip(error.message, MAX_MESSAGE)}", file=sys.stderr)
        return exit_status(error)
    return DONE


def stop_signal() -> asyncio.Event:
    """Is set by the first SIGINT or SIGTERM from now on. For the main thread, in a running loop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def until(stop: asyncio.Event, *work: Awaitable[object]) -> None:
    """Waits for `stop`, or for the first of `work` to end, whose error is raised: a service that is NOT_SERVING without end helps nobody;
    whoever supervises the process starts it again. What is left of `work` is cancelled."""
    parts = [asyncio.ensure_future(part) for part in work]
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((*parts, stopped), return_when=asyncio.FIRST_COMPLETED)
        ended = [part for part in parts if part.done()]
    finally:
        for left in (*parts, stopped):
            left.cancel()
        await asyncio.gather(*parts, stopped, return_exceptions=True)
    for part in ended:
        part.result()
