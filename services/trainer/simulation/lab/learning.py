"""Local training of several contributors at once: plain SGD in float32 on a perceptron with one hidden layer, batches with replacement.

Weights and deltas are in steps of 2**-12. The product's trainer uses Adam (services/trainer); plain SGD is what the rule's constants were
simulated with, and the faster of the two here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.rules.evidence.verdicts import Examples
from services.trainer.simulation.lab.tasks import EXPONENT, INPUT_EXPONENT, LabTask


@dataclass(frozen=True, slots=True)
class Recipe:
    step_count: int
    learning_rate: float = 0.3
    batch_size: int = 32


def log_shares(task: LabTask, shards: Sequence[Examples]) -> NDArray[np.float32]:
    """(m, C): ln of each label's share of a shard, for logit adjustment."""
    counts = np.stack([np.bincount(one.labels, minlength=task.label_count) for one in shards])
    shares: NDArray[np.float32] = np.log((counts + 1e-2) / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def trained(
    task: LabTask,
    weights: NDArray[np.floating] | NDArray[np.int16],
    shards: Sequence[Examples],
    recipe: Recipe,
    generator: np.random.Generator,
    adjustment: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """(m, N): the deltas of m trainings from the same (N,) weights, steps."""
    inputs, hidden, outputs = task.network.widths
    count = len(shards)
    flat = np.asarray(weights, dtype=np.float64)
    parts = np.split(flat, np.cumsum(task.network.tensor_lengths)[:-1])
    dimensions = ((hidden, inputs), (1, hidden), (outputs, hidden), (1, outputs))
    first, first_bias, second, second_bias = (
        np.repeat(part.reshape(1, *size), count, axis=0).astype(np.float32) / 2**EXPONENT
        for part, size in zip(parts, dimensions, strict=True)
    )
    sizes = np.array([len(shard) for shard in shards])
    begins = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    x_all = np.concatenate([shard.inputs for shard in shards]).astype(np.float32) / 2**INPUT_EXPONENT
    y_all = np.concatenate([shard.labels for shard in shards])
    size = recipe.batch_size
    who, which = np.arange(count)[:, None], np.arange(size)[None]
    rate = np.float32(recipe.learning_rate)
    for _ in range(recipe.step_count):
        rows = begins[:, None] + (generator.random((count, size)) * sizes[:, None]).astype(np.int64)
        x = x_all[rows]
        before = x @ first.transpose(0, 2, 1) + first_bias
        active = np.maximum(before, 0)
        logits = active @ second.transpose(0, 2, 1) + second_bias
        if adjustment is not None:
            logits = logits + adjustment[:, None, :]
        logits -= logits.max(axis=2, keepdims=True)
        error = np.exp(logits)
        error /= error.sum(axis=2, keepdims=True)
        error[who, which, y_all[rows]] -= 1
        error /= size
        back = (error @ second) * (before > 0)
        second -= rate * (error.transpose(0, 2, 1) @ active)
        second_bias -= rate * error.sum(axis=1, keepdims=True)
        first -= rate * (back.transpose(0, 2, 1) @ x)
        first_bias -= rate * back.sum(axis=1, keepdims=True)
    after = np.concatenate([part.reshape(count, -1) for part in (first, first_bias, second, second_bias)], axis=1)
    deltas: NDArray[np.float64] = after.astype(np.float64) * 2**EXPONENT - flat
    return deltas


def reference(
    task: LabTask, weights: NDArray[np.int16], opened: Examples, generator: np.random.Generator, steps: int = 40
) -> NDArray[np.float64]:
    """(N,): what anybody can train on the opened examples."""
    delta: NDArray[np.float64] = trained(task, weights, [opened], Recipe(steps, 0.25), generator)[0]
    return delta
