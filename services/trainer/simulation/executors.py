"""Where local training runs: in this process, in several of this machine, or on a Ray cluster. The results are the same.

A job is a module's function and one picklable argument. What many jobs read (samples, the round's base) is `put` once, and a job carries a
`Handle` of it. Results come in the order of the jobs, so that sums of floating-point numbers do not depend on who is faster; few more jobs
than there are workers are under way at a time, so that memory does not grow with the number of contributors.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import signal
import tempfile
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from linklearner.domain.errors import InvalidConfig, Unavailable

T = TypeVar("T")
J = TypeVar("J")
T_co = TypeVar("T_co", covariant=True)

JOBS_A_WORKER = 4
"""Under way or done and not yet taken, at most."""
ALIGNMENT = 64
"""Bytes: arrays begin on a cache line."""
VALUES_KEPT = 4
"""That a worker keeps open: the samples, and a base of each course in the round under way."""


class Handle(Protocol[T_co]):
    """Something that was `put`. Picklable, small."""

    def get(self) -> T_co:
        """The value. Its arrays are read-only, and no copies wherever that can be."""
        ...


class Executor(AbstractContextManager["Executor"]):
    """Use as a context manager. Raises Unavailable where a worker dies."""

    workers: int

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def put(self, value: T) -> Handle[T]:
        """For jobs to read. It is there until `drop`, or the end."""

    @abstractmethod
    def drop(self, handle: Handle[Any]) -> None:
        """No job will read this any more."""

    def run(self, work: Callable[[J], T], jobs: Iterable[J]) -> Iterator[T]:
        """The result of each job, in the order of the jobs. What a job raises is raised here."""
        waiting: deque[Any] = deque()
        left = iter(jobs)
        for job in itertools.islice(left, JOBS_A_WORKER * self.workers):
            waiting.append(self._submit(work, job))
        while waiting:
            result = self._result(waiting.popleft())
            for job in itertools.islice(left, 1):
                waiting.append(self._submit(work, job))
            yield result

    @abstractmethod
    def _submit(self, work: Callable[[J], T], job: J) -> Any: ...

    @abstractmethod
    def _result(self, ticket: Any) -> Any: ...

    @abstractmethod
    def close(self) -> None:
        """Ends the workers, whatever they are doing."""


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    value: T

    def get(self) -> T:
        return self.value


class Here(Executor):
    """This process, one job at a time."""

    workers = 1

    def put(self, value: T) -> Handle[T]:
        return _Kept(value)

    def drop(self, handle: Handle[Any]) -> None:
        pass

    def _submit(self, work: Callable[[J], T], job: J) -> Any:
        return lambda: work(job)

    def _result(self, ticket: Any) -> Any:
        return ticket()

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Mapped(Generic[T]):
    """A pickle (protocol 5) and its buffers, one after the other in a file that every worker maps: one copy in memory for all.

    A file and not POSIX shared memory, of which containers have 64 MB.
    """

    path: str
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def write(cls, value: T, path: Path) -> _Mapped[T]:
        buffers: list[pickle.PickleBuffer] = []
        parts = [memoryview(pickle.dumps(value, protocol=5, buffer_callback=buffers.append))]
        parts += [buffer.raw() for buffer in buffers]
        spans = []
        with path.open("wb") as file:
            for part in parts:
                file.seek(-(-file.tell() // ALIGNMENT) * ALIGNMENT)
                spans.append((file.tell(), part.nbytes))
                file.write(part)
        return cls(str(path), tuple(spans))

    def get(self) -> T:
        value: T = _opened(self.path, self.spans)
        return value


@lru_cache(VALUES_KEPT)
def _opened(path: str, spans: tuple[tuple[int, int], ...]) -> Any:
    with Path(path).open("rb") as file:
        whole = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))  # lives as long as an array of it
    pickled, *buffers = (whole[start : start + length] for start, length in spans)
    return pickle.loads(pickled, buffers=buffers)


class Processes(Executor):
    """Processes of this machine, fresh ones (`spawn`): torch and gRPC do not survive a fork."""

    def __init__(self, count: int, initializer: Callable[[], None] | None = None) -> None:
        self.workers = count
        self._folder = tempfile.TemporaryDirectory(prefix="linklearner-simulation-")
        self._numbers = itertools.count()
        self._pool = ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(initializer,)
        )

    def put(self, value: T) -> Handle[T]:
        return _Mapped.write(value, Path(self._folder.name) / str(next(self._numbers)))

    def drop(self, handle: Handle[Any]) -> None:
        if isinstance(handle, _Mapped):
            Path(handle.path).unlink(missing_ok=True)  # whoever has it open keeps it

    def _submit(self, work: Callable[[J], T], job: J) -> Future[T]:
        try:
            return self._pool.submit(work, job)
        except BrokenProcessPool as error:
            raise _died() from error

    def _result(self, ticket: Future[T]) -> T:
        try:
            return ticket.result()
        except BrokenProcessPool as error:
            raise _died() from error

    def close(self) -> None:
        workers = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:  # in the middle of a job that nobody waits for, perhaps
            worker.terminate()
        for worker in workers:
            worker.join()
        self._folder.cleanup()


def _begin(initializer: Callable[[], None] | None) -> None:
    """Ctrl-C reaches the whole group: the parent ends its workers, none of them needs a traceback of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if initializer is not None:
        initializer()


def _died() -> Unavailable:
    return Unavailable(
        "a worker process of the simulation died (was the memory used up?): try fewer --processes", reason="WorkerDied"
    )


@dataclass(frozen=True, slots=True)
class _Stored(Generic[T]):
    """An object of Ray's store: one copy a machine."""

    reference: Any

    def get(self) -> T:
        import ray

        value: T = ray.get(self.reference)
        return value


class OnRay(Executor):
    """A Ray cluster: the machine where this runs, or many. Needs the extra `linklearner[ray]` here and this checkout on each of them."""

    def __init__(self, address: str, count: int, initializer: Callable[[], None] | None = None) -> None:
        """address: `local` starts one here with `count` CPUs; `auto`, host:port or ray://host:port is one that runs. count: 0: all."""
        # It writes to standard output otherwise, sends usage statistics, and shows a dashboard.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise InvalidConfig("Ray is not installed: pip install 'linklearner[ray]'") from error
        here = {"num_cpus": count or None, "include_dashboard": False} if address == "local" else {}
        try:
            ray.init(
                address=address, log_to_driver=False, configure_logging=True, logging_level="error",
                runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}}, **here,
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise Unavailable(f"there is no Ray cluster at {address!r:.100}: {error!s:.300}") from error
        self._ray = ray
        self._remote = ray.remote(_on_ray)
        self._initializer = initializer
        self.workers = count or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def put(self, value: T) -> Handle[T]:
        return _Stored(self._ray.put(value))

    def drop(self, handle: Handle[Any]) -> None:
        pass  # with its last reference

    def _submit(self, work: Callable[[J], T], job: J) -> Any:
        return self._remote.remote(self._initializer, work, job)

    def _result(self, ticket: Any) -> Any:
        try:
            return self._ray.get(ticket)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise Unavailable(f"a job on Ray was lost: {error!s:.300}", reason="WorkerDied") from error

    def close(self) -> None:
        self._ray.shutdown()


def _on_ray(initializer: Callable[[], None] | None, work: Callable[[J], T], job: J) -> T:
    if initializer is not None:
        initializer()
    return work(job)


def usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
