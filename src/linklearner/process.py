"""How a process of ours runs and ends: until a signal or its first failure, with one meaning of its exit status everywhere.

0: done, or stopped by a signal. 2: the caller's settings, arguments or files are wrong, so the same start can never succeed (a shell's and
argparse's own status for it). 1: everything else, the world's fault or ours: a start later may succeed.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from linklearner import log
from linklearner.domain.errors import InvalidInput, LinkLearnerError

DONE, FAILED, CALLERS_FAULT = 0, 1, 2


class Logs(Protocol):
    """Settings of a service, as far as its process knows them."""

    @property
    def log_level(self) -> str: ...


S = TypeVar("S", bound=Logs)
Served = TypeVar("Served")


def exit_status(error: LinkLearnerError) -> int:
    """Of a process that ends with this error."""
    return CALLERS_FAULT if isinstance(error, InvalidInput) else FAILED


def run(name: str, main: Callable[[], object]) -> int:
    """Runs a process's main function; returns its exit status. An error of ours becomes one sentence on standard error, a bug keeps its
    traceback (and Python's own exit status, 1)."""
    try:
        main()
    except LinkLearnerError as error:
        print(f"{name}: {error.message}", file=sys.stderr)
        return exit_status(error)
    return DONE


def run_service(
    name: str,
    settings: Callable[[Mapping[str, str]], S],
    serve: Callable[[S], Coroutine[Any, Any, None]],
    loop: Callable[[Coroutine[Any, Any, None]], object] = asyncio.run,
) -> None:
    """A service from its environment to its end: reads settings, starts the log, serves."""
    config = settings(os.environ)
    log.configure(service=name, level=config.log_level)
    loop(serve(config))


async def serve(
    starting: AbstractAsyncContextManager[Served],
    line: Callable[[Served], str],
    ended: Callable[[Served], Awaitable[object]],
) -> None:
    """Runs a service until a signal comes or `ended` returns or raises. line: printed as soon as it listens, for whoever started it."""
    stop = stop_signal()
    async with starting as server:
        print(line(server), flush=True)
        await until(stop, ended(server))


async def cancelled(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Ends background work and waits for it; how it ended is nobody's business any more."""
    left = list(tasks)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


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
        await cancelled((*parts, stopped))
    for part in ended:
        part.result()
