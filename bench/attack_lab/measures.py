"""What a claim about a rule owes its reader: controls, an oracle, and what fairness is measured against.

control     a model trained on the opened examples alone: an MLP of the task's own shape (the mean of five trainings) and a support vector
            machine; where they suffice, contributors add nothing
oracle      plain averaging of the honest updates, by somebody who knows who is honest
shapley     each contributor's Shapley value of loss, round by round at its base, over sampled orders of joining: on test samples, and
            on the opened examples by which the round is paid (whose luck pay shares)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from linklearner.domain.rules.evidence.credit import HORIZON
from linklearner.domain.rules.evidence.verdicts import Examples, moved
from services.trainer.simulation.lab.course import Cell, Course, PlayedRound, accuracy
from services.trainer.simulation.lab.learning import Recipe, log_shares, trained
from services.trainer.simulation.lab.tasks import INPUT_EXPONENT, spread, task_named

CONTROL_TRAININGS = 5
CONTROL_STEPS = 800
SHAPLEY_ORDERS = 12
SHAPLEY_SAMPLES = 300


@dataclass(frozen=True, slots=True)
class Control:
    """Test accuracy after training on the opened examples only."""

    mlp: float
    svm: float


def control(cell: Cell, seed: int) -> Control:
    task = task_named(cell.task)
    opened = spread(task, 10, cell.alpha, seed).pool[: cell.opened]
    generator = np.random.default_rng([seed, 15])
    found = []
    for attempt in range(CONTROL_TRAININGS):
        weights = task.initial(attempt)
        delta = trained(task, weights, [opened], Recipe(CONTROL_STEPS, 0.1), generator)[0]
        found.append(accuracy(task, moved(weights, np.rint(delta).astype(np.int64))))
    scale = 2.0**-INPUT_EXPONENT
    machine = SVC(C=10.0, gamma="scale").fit(opened.inputs * scale, opened.labels)
    return Control(float(np.mean(found)), float(machine.score(task.test.inputs * scale, task.test.labels)))


def oracle(cell: Cell, seed: int, honest: NDArray[np.bool_], rounds: int = 20) -> float:
    """Test accuracy of federated averaging over the honest alone, with logit adjustment, unquantised."""
    task = task_named(cell.task)
    shards = [
        shard for shard, good in zip(spread(task, len(honest), cell.alpha, seed).shards, honest, strict=True) if good
    ]
    generator = np.random.default_rng([seed, 16])
    weights, adjustment = task.initial(), log_shares(task, shards)
    for _ in range(rounds):
        delta = trained(task, weights, shards, Recipe(task.local_steps), generator, adjustment).mean(axis=0)
        weights = moved(weights, np.rint(delta).astype(np.int64))
    return accuracy(task, weights)


def shapley(course: Course, seed: int, on_opened: bool) -> NDArray[np.float64]:
    """(M,): the sum over rounds of Shapley values. A coalition is worth the fall of mean loss when its updates are averaged as the rule
    averages them, S at least a quarter of the stake. on_opened: on the examples of rounds r … r+H, instead of on test samples."""
    generator = np.random.default_rng([seed, 17])
    rows = generator.permutation(len(course.task.test))[:SHAPLEY_SAMPLES]
    test = Examples(course.task.test.inputs[rows], course.task.test.labels[rows])
    values = np.zeros(len(course.bad))
    for number, one in enumerate(course.rounds):
        last = course.rounds[min(number + HORIZON, len(course.rounds) - 1)]
        sample = course.examples[one.opened_before : last.opened] if on_opened else test
        values += _of_round(course, one, sample, generator)
    return values


def _of_round(
    course: Course, one: PlayedRound, sample: Examples, generator: np.random.Generator
) -> NDArray[np.float64]:
    count = len(one.steps)
    values = np.zeros(count)
    sizes = np.maximum(np.arange(1, count + 1), count / 4)[:, None]
    # Orders come in pairs, one the other's reverse: who joins early in one joins late in the other.
    drawn = [generator.permutation(count) for _ in range(SHAPLEY_ORDERS // 2)]
    for order in [one for forward in drawn for one in (forward, forward[::-1])]:
        means = np.rint(np.cumsum(one.steps[order], axis=0) / sizes).astype(np.int64)
        along = np.concatenate((one.base[None], moved(one.base, means)))
        losses = sample.losses(course.task.network, along).sum(axis=1)
        values[order] += losses[:-1] - losses[1:]
    return values / SHAPLEY_ORDERS / len(sample)
