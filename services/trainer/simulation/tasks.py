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
from linklearner.suite import home
from services.trainer import data
from services.trainer.data import Samples, Shard
from services.trainer.data.source import Found

DIGITS = "digits"


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
    first weights); a Python file as `task create` takes it; or the file of a plan, whose own terms and first weights hold.

    source: of samples, as a trainer takes it; empty: what the Python file's own data function gives, or the digits. folder: of the files
    with the model's frozen tensors; empty: the one in LINKLEARNER_HOME. Raises InvalidConfig for what cannot be read, InvalidInput for
    samples that do not fit the model.
    """
    tensors: Mapping[str, NDArray[np.float32]] | None = None
    own: Found | None = None
    if name == DIGITS:
        plan = plans.digits(contributors=contributors, seed=seed)
        plan = replace(plan, terms=replace(plan.terms, max_updates=min(contributors, most_updates(plan.shape)) or 1))
    elif name.endswith(".py"):
        from services.trainer.create import created

        made = created(Path(name))
        plan, tensors, own = made.plan, made.frozen, made.found
    else:
        plan = read_plan(Path(name))
    learn, held_out = data.load(source or DIGITS, Shard()) if source or own is None else own
    if held_out is None:
        learn, held_out = data.hold_out(learn)
    learn.check(plan.model, range_too=True)
    held_out.inputs_of(plan.model)
    held_out.targets_of(plan.model)
    if tensors is None:
        tensors = frozen.read(Path(folder) if folder else home() / "frozen", plan.model.graph.frozen)
    first = plan.model.initial(plan.seed) if plan.weights is None else plan.weights
    return SimulatedTask(plan, first, learn, held_out, tensors)
