"""What is simulated: a task and the samples for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linklearner import frozen
from linklearner.domain import plan as plans
from linklearner.domain.capacity import most_updates
from linklearner.domain.plan import TaskPlan
from linklearner.plan_file import read_plan
from services.trainer import data
from services.trainer.data import Samples, Shard


@dataclass(frozen=True, slots=True)
class SimulatedTask:
    """plan: model, shape, terms. first: (N,) float32, the first weights. learn: to be cut into shards. held_out: to measure on.
    frozen: tensors from files, by name."""

    plan: TaskPlan
    first: NDArray[np.float32]
    learn: Samples
    held_out: Samples
    frozen: Mapping[str, NDArray[np.float32]]


def load(name: str, source: str, contributors: int, seed: int, folder: str = "") -> SimulatedTask:
    """name: `digits` (its terms take as many updates a round as there are contributors, as far as a block holds them; `seed` makes its
    first weights), or the file of a plan, whose own terms and seed hold. source: of samples, as a trainer takes it.
    folder: of the files with the model's frozen tensors, if it has any.

    Raises InvalidConfig for what cannot be read, InvalidInput for samples that do not fit the model.
    """
    if name == "digits":
        plan = plans.digits(contributors=contributors, seed=seed)
        plan = replace(plan, terms=replace(plan.terms, max_updates=min(contributors, most_updates(plan.shape)) or 1))
    else:
        plan = read_plan(Path(name))
    learn, held_out = data.load(source, Shard())
    for samples in (learn, held_out):
        samples.inputs_of(plan.model)
        samples.targets_of(plan.model)
        samples.check_range(plan.model)
    first = plan.model.initial(plan.seed)
    return SimulatedTask(plan, first, learn, held_out, frozen.read(Path(folder or "."), plan.model.graph.frozen))
