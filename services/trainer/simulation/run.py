"""One simulation from its settings to its result, with a progress display."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from linklearner.domain.encodings import encoding_named
from linklearner.domain.model import ModelSpec
from linklearner.simulation import (
    Scored,
    SimulatedContributor,
    SimulatedRound,
    Simulation,
    SimulationResult,
    Skew,
    Stakes,
)
from services.trainer import data
from services.trainer.recipe import Recipe
from services.trainer.simulation import executors, tasks
from services.trainer.simulation.executors import Executor, Here, OnRay, Processes


def one_thread() -> None:
    """On every worker, and here: as many workers as CPUs share them, and sums do not depend on a number of threads."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from services.trainer.training import bound_threads

    bound_threads(1)


def recipe_for(spec: ModelSpec, steps: int) -> Recipe:
    """As the task advises. steps: 0: that, too."""
    advised = Recipe().advised(spec.advice)
    return replace(advised, step_count=steps) if steps else advised


def executor_for(settings: Simulation) -> Executor:
    if settings.ray:
        return OnRay(settings.ray, settings.processes, one_thread)
    count = min(settings.processes or executors.usable_cpus(), settings.contributors)
    return Processes(count, one_thread) if count > 1 else Here()


def simulate(settings: Simulation, console: Console) -> SimulationResult:
    """Raises InvalidInput for settings, files or samples that are wrong, Unavailable where a worker or a cluster is lost."""
    began = time.perf_counter()
    task = tasks.load(settings.task, settings.data, settings.contributors, settings.seed, settings.frozen)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("local trainings"), TimeElapsedColumn(),
        TextColumn("[dim]left[/dim]"), TimeRemainingColumn(),
    )  # fmt: skip
    with (
        executor_for(settings) as executor,  # its workers import torch meanwhile
        tempfile.TemporaryDirectory(prefix="linklearner-residuals-") as folder,
        Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar,
    ):
        one_thread()
        from services.trainer import training
        from services.trainer.simulation import engine
        from services.trainer.simulation.courses import FloatAveraging, OnChain

        spec = task.plan.model

        def scored(weights: NDArray[np.float32]) -> Scored:
            found = training.evaluate(spec, weights, task.held_out, task.frozen)
            return Scored(found.metric, found.value, found.loss)

        stakes = Stakes.parse(settings.stakes).of(settings.contributors, settings.seed)
        everybody = engine.federation(
            task, settings.contributors, Skew.parse(settings.skew).alpha, stakes, settings.seed
        )
        recipe = recipe_for(spec, settings.steps)
        merged = OnChain(everybody, recipe, encoding_named(settings.encoding), Path(folder) / "residuals")
        floating = FloatAveraging(everybody, recipe)
        first = scored(merged.weights)
        takers = engine.takers(everybody, settings.present)
        each = 2 * takers
        line = bar.add_task("round 1", total=settings.rounds * each)
        taken = [0] * settings.contributors
        offered = [0] * settings.contributors
        found: list[SimulatedRound] = []

        def progress(done: int) -> None:
            bar.update(line, completed=len(found) * each + done)

        for outcome, _ in engine.rounds(
            everybody, (merged, floating), executor, settings.rounds, settings.present, progress
        ):
            for contributor in outcome.present:
                offered[contributor] += 1
            for contributor in outcome.accepted:
                taken[contributor] += 1
            found.append(
                SimulatedRound(
                    round=len(found) + 1, score=scored(merged.weights), float_score=scored(floating.weights),
                    accepted=len(outcome.accepted), refused=dict(outcome.refused), submission_gas=outcome.submission_gas,
                    settlement_gas=outcome.settlement_gas, update_bytes=outcome.update_bytes,
                    calldata_bytes=outcome.calldata_bytes, saturated=outcome.saturated, longest=outcome.longest,
                )
            )  # fmt: skip
            said = f"  {found[-1].score.metric} {found[-1].score.value:.3f}"
            bar.update(line, description=f"round {min(len(found) + 1, settings.rounds)}{said}")
        workers = executor.workers
    dealt = data.strata(task.learn.y)
    return SimulationResult(
        settings=settings,
        model=spec.name,
        weights=spec.weight_count,
        held_out=len(task.held_out),
        steps=recipe.step_count,
        takers=takers,
        first=first,
        rounds=tuple(found),
        contributors=tuple(
            SimulatedContributor(
                samples=len(rows), labels=len(set(dealt[rows].tolist())), stake=stake, accepted=accepted,
                refused=offers - accepted,
            )
            for rows, stake, accepted, offers in zip(everybody.shards, stakes, taken, offered, strict=True)
        ),
        seconds=time.perf_counter() - began,
        workers=workers,
    )  # fmt: skip
