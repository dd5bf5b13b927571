"""Rounds: who is there, the local training of all courses on one executor, merging, measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

import numpy as np

from services.trainer import data
from services.trainer.simulation.courses import Course, Federation, Merging, Trained, work
from services.trainer.simulation.executors import Executor
from services.trainer.simulation.tasks import SimulatedTask

Progress = Callable[[int], None]
"""Called with how many local trainings are done in the round so far."""


def federation(
    task: SimulatedTask, contributors: int, alpha: float | None, stakes: tuple[int, ...], seed: int
) -> Federation:
    """Cuts the samples by `seed`. Raises InvalidConfig for fewer samples than contributors."""
    rows = data.shards(task.learn.y, contributors, alpha, seed)
    return Federation(task.plan, task.first, task.learn, tuple(rows), stakes, seed, task.frozen)


def rounds(
    federation: Federation,
    courses: Sequence[Course],
    executor: Executor,
    count: int,
    present: int = 0,
    progress: Progress = lambda done: None,
) -> Iterator[tuple[Merging, ...]]:
    """Each round's outcome, one of each course; the courses of one federation, from the same round.

    present: contributors that are drawn for each round, in the order in which they arrive; 0: all of them, in their own order.
    """
    handle = executor.put(federation)
    try:
        for number in range(count):
            there = _present(federation, number, present)
            bases = [executor.put(course.weights) for course in courses]
            jobs = chain.from_iterable(
                course.jobs(handle, base, there) for course, base in zip(courses, bases, strict=True)
            )
            results = _counted(executor.run(work, jobs), progress)
            yield tuple(course.merge(there, islice(results, len(there))) for course in courses)
            for base in bases:
                executor.drop(base)
    finally:
        executor.drop(handle)


def takers(federation: Federation, present: int) -> int:
    """Contributors of a round: as many as are present (0: all), but no more than the task's terms take."""
    return min(present or len(federation.shards), federation.plan.terms.max_updates)


def _present(federation: Federation, number: int, present: int) -> list[int]:
    everybody, count = len(federation.shards), takers(federation, present)
    if count == everybody:
        return list(range(everybody))
    drawn: list[int] = np.random.default_rng((federation.seed, number)).permutation(everybody)[:count].tolist()
    return drawn


def _counted(results: Iterator[Trained], progress: Progress) -> Iterator[Trained]:
    for done, result in enumerate(results, 1):
        progress(done)
        yield result
