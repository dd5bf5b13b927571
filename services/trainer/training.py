"""Local training: a task's model in torch, trained for some optimiser steps on private samples.

The model is one flat vector, as it is everywhere in LinkLearner: the tensors are views of it, autograd gives one flat gradient, and the
optimiser changes one flat vector. Between two steps a training can be looked at, made to wait, given up, or written down: its whole
state is the number of steps made, the weights and what the optimiser remembers. Which samples a step takes follows from the seed and its
number alone, so that a training goes on from what was written down exactly as it would have gone on by itself.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, NotFinite
from linklearner.domain.model import Loss, ModelSpec
from services.trainer.data import Samples
from services.trainer.network import KEPT_BYTES, Network, rows_of
from services.trainer.objective import MEAN_LOSS, Score, log_shares, score
from services.trainer.optimisers import optimiser
from services.trainer.recipe import MIN_STEPS, Recipe

Frozen = Mapping[str, NDArray[np.float32]]
"""Values of the tensors that a graph takes from files, by name."""
ROWS_LENGTH = 2**24
"""Numbers of one value that are computed at once where nothing is trained: 64 MiB."""
PARITY_TOLERANCE = 1e-4
"""Of the largest answer, or of 1: how far torch and ONNX's reference may be apart."""
REPORTS, LONGEST_SILENCE = 10, 500
"""Progress messages of one local training, and the most steps between two."""

GradientOf = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, float]]
"""The gradient of a batch, (N,) float32, and its mean loss: at the weights, (N,) float32, and the rows, (B,) int64, that the batch takes
of the samples."""


def bound_threads(count: int) -> None:
    """Lets torch use `count` threads in each thread that calls it; for the whole process."""
    torch.set_num_threads(count)


def thread_count() -> int:
    """That torch uses in each thread that calls it."""
    return int(torch.get_num_threads())


@dataclass(frozen=True, slots=True, eq=False)
class LocalState:
    """All that a local training is, between two steps.

    step: how many are made. seconds: that they took. reported, total: steps made at the last report, and the sum of the losses since.
    weights: (N,) float32. buffers: what the optimiser remembers, (N,) float32 each.
    """

    step: int
    seconds: float
    reported: int
    total: float
    weights: NDArray[np.float32]
    buffers: tuple[NDArray[np.float32], ...]


class LocalTraining:
    """One local training, step by step; from one thread."""

    def __init__(
        self,
        spec: ModelSpec,
        base: NDArray[np.float32],
        samples: Samples,
        recipe: Recipe,
        seed: tuple[int, ...],
        frozen: Frozen | None = None,
        gradient_of: GradientOf | None = None,
    ) -> None:
        """base: (N,) float32. gradient_of: None for the mean gradient of a batch. Raises InvalidInput for what does not fit the model."""
        if not len(samples):
            raise InvalidInput("there is nothing to train on: the data set is empty")
        if base.shape != (spec.weight_count,):
            raise InvalidInput(f"model {spec.name} has {spec.weight_count} weights, not {base.shape}")
        self._recipe = recipe
        self._base = torch.tensor(base)
        self._gradient_of = gradient_of or mean_gradient(spec, samples, recipe, frozen)
        self._batches = Batches(len(samples), recipe.batch_size, seed)
        self._flat = torch.tensor(base, requires_grad=True)
        self._optimiser = optimiser(recipe.optimiser, len(base))
        self._seconds, self._total, self._reported = 0.0, 0.0, 0
        self.step = 0
        """How many are made."""

    @property
    def done(self) -> bool:
        if self._recipe.seconds:
            return self.step >= MIN_STEPS and (self._seconds >= self._recipe.seconds or self.step >= self._most)
        return self.step >= self._most

    @property
    def step_count(self) -> int:
        """How many there will be; under a time budget an estimate, which becomes exact at the end."""
        if not self._recipe.seconds or self.done or not self.step:
            return max(self.step, MIN_STEPS) if self._recipe.seconds else self._most
        expected = self.step * self._recipe.seconds / max(self._seconds, 1e-9)
        return min(max(round(expected), self.step + 1, MIN_STEPS), self._most)

    def advance(self) -> tuple[int, float] | None:
        """One step. Now and then, and after the last, (steps made, mean loss since the last time that it said something).

        Raises NotFinite if the loss leaves the finite numbers.
        """
        started = time.perf_counter()
        self.step += 1
        gradient, loss = self._gradient_of(self._flat, self._batches.rows(self.step))
        with torch.no_grad():
            if self._recipe.proximal:
                gradient = gradient.add(self._flat - self._base, alpha=self._recipe.proximal)
            self._optimiser.step(self._flat, gradient, self.step)
        self._total += loss
        self._seconds += time.perf_counter() - started
        every = min(max(1, self.step_count // REPORTS), LONGEST_SILENCE)
        if self.step - self._reported < every and not self.done:
            return None
        if not np.isfinite(self._total):
            raise NotFinite(
                f"the loss is {self._total} at step {self.step}: lower the learning rate or scale the inputs"
            )
        mean = self._total / (self.step - self._reported)
        self._reported, self._total = self.step, 0.0
        return self.step, mean

    def delta(self) -> NDArray[np.float64]:
        """(N,) float64, real units: how far the weights have moved."""
        moved: NDArray[np.float64] = self._flat.detach().numpy().astype(np.float64)
        return moved - self._base.numpy().astype(np.float64)

    def state(self) -> LocalState:
        """Its arrays are the training's own: good until the next step."""
        return LocalState(
            step=self.step,
            seconds=self._seconds,
            reported=self._reported,
            total=self._total,
            weights=self._flat.detach().numpy(),
            buffers=tuple(buffer.numpy() for buffer in self._optimiser.buffers),
        )

    def resume(self, state: LocalState) -> None:
        """Goes on from a state of a training with the same arguments. Raises InvalidInput if it cannot be one."""
        lengths = {len(array) for array in (state.weights, *state.buffers)}
        if (
            len(state.buffers) != len(self._optimiser.buffers)
            or lengths != {len(self._base)}
            or not 0 <= state.reported <= state.step <= self._most
        ):
            raise InvalidInput("this is the state of another training")
        self.step, self._seconds, self._reported, self._total = state.step, state.seconds, state.reported, state.total
        with torch.no_grad():
            self._flat.copy_(torch.from_numpy(state.weights))
            for buffer, kept in zip(self._optimiser.buffers, state.buffers, strict=True):
                buffer.copy_(torch.from_numpy(kept))

    @property
    def _most(self) -> int:
        return self._recipe.most_steps


def train(
    spec: ModelSpec,
    base: NDArray[np.float32],
    samples: Samples,
    recipe: Recipe,
    seed: tuple[int, ...],
    progress: Callable[[int, float], None],
    frozen: Frozen | None = None,
    *,
    gradient_of: GradientOf | None = None,
    state: LocalState | None = None,
    between: Callable[[LocalTraining], None] = lambda training: None,
) -> NDArray[np.float64]:
    """The delta, (N,) float64 in real units, of a training from `base` on `samples`.

    base: (N,) float32. seed: any integers >= 0; the same ones give the same delta on the same machine, unless there is a time budget.
    progress: called with (step, mean loss since the last call). state: of such a training, to go on from. between: called before each
    step, and once after the last. What either raises ends the training. Raises NotFinite if the loss leaves the finite numbers (the delta
    is checked where it is quantised), InvalidInput for samples that do not fit the model.
    """
    training = LocalTraining(spec, base, samples, recipe, seed, frozen, gradient_of)
    if state is not None:
        training.resume(state)
    while not training.done:
        between(training)
        report = training.advance()
        if report is not None:
            progress(*report)
    between(training)
    return training.delta()


def mean_gradient(spec: ModelSpec, samples: Samples, recipe: Recipe, frozen: Frozen | None = None) -> GradientOf:
    """That of a batch's mean loss. Raises InvalidInput for samples that do not fit the model."""
    wanted = samples.targets_of(spec)
    x, y = _tensors(samples.inputs_of(spec)), torch.from_numpy(wanted)
    network, mean_loss, answer = Network(spec.graph, frozen), MEAN_LOSS[spec.loss], spec.answer.name
    offset: torch.Tensor | float = 0.0
    if recipe.logit_adjustment and spec.loss is Loss.CROSS_ENTROPY:
        offset = torch.from_numpy(log_shares(np.bincount(wanted, minlength=len(spec.labels))))

    def of_part(flat: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, float]:
        batch = {name: values[rows] for name, values in x.items()}
        loss = mean_loss(network(flat, batch)[answer] + offset, y[rows])
        (gradient,) = torch.autograd.grad(loss, flat)
        return gradient, loss.item()

    most = rows_of(spec.graph, KEPT_BYTES)

    def gradient_of(flat: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, float]:
        if len(rows) <= most:
            return of_part(flat, rows)
        # who opens a task says how wide its model is and how large a batch should be, not how much memory there is
        total, sum_of_losses = torch.zeros_like(flat, requires_grad=False), 0.0
        for part in torch.split(rows, most):
            gradient, loss = of_part(flat, part)
            total.add_(gradient, alpha=len(part) / len(rows))
            sum_of_losses += loss * len(part)
        return total, sum_of_losses / len(rows)

    return gradient_of


class Batches:
    """Which samples each step takes: all of them once in an epoch, in an order that follows from the seed and the epoch's number."""

    def __init__(self, sample_count: int, batch_size: int, seed: tuple[int, ...]) -> None:
        self._count, self._size, self._seed = sample_count, min(batch_size, sample_count), seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def rows(self, step: int) -> torch.Tensor:
        """(B,) int64 for a step, from 1. What does not fill a batch is left for the next epoch's shuffle."""
        epoch, at = divmod(step - 1, self._count // self._size)
        if epoch != self._epoch:
            words = np.random.SeedSequence(self._seed, spawn_key=(epoch,)).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(words[0] >> 1))
            self._epoch, self._order = epoch, torch.randperm(self._count, generator=generator)
        return self._order[at * self._size : (at + 1) * self._size]


def answers(
    spec: ModelSpec, weights: NDArray[np.float32], inputs: Mapping[str, NDArray[Any]], frozen: Frozen | None = None
) -> NDArray[np.float32]:
    """weights: (N,) float32, inputs: (B, *dimensions) of each, as the signature says. Returns (B, *answer.dimensions) float32.

    In as many runs as keep every value within ROWS_LENGTH numbers.
    """
    network, flat, given = Network(spec.graph, frozen), torch.from_numpy(weights), _tensors(inputs)
    count, most = len(next(iter(given.values()))), rows_of(spec.graph, ROWS_LENGTH)
    with torch.inference_mode():
        parts = [
            network(flat, {name: values[start : start + most] for name, values in given.items()})[spec.answer.name]
            for start in range(0, max(count, 1), most)
        ]
        answer: NDArray[np.float32] = torch.cat(parts).numpy()
    return answer


def difference(wanted: NDArray[np.float32], *found: NDArray[np.float32]) -> tuple[float, float]:
    """The greatest one from `wanted`, and the greatest that comes of adding the same float32 products in another order."""
    greatest = max(float(np.abs(one - wanted).max(initial=0.0)) for one in found)
    return greatest, PARITY_TOLERANCE * max(1.0, float(np.abs(wanted).max(initial=0.0)))


def evaluate(spec: ModelSpec, weights: NDArray[np.float32], samples: Samples, frozen: Frozen | None = None) -> Score:
    """weights: (N,) float32. Raises InvalidInput for samples that do not fit the model or are none."""
    measured, wanted = samples.inputs_of(spec), samples.targets_of(spec)
    if not len(samples):
        raise InvalidInput("there is nothing to measure on: no samples are held out")
    found = torch.from_numpy(answers(spec, weights, measured, frozen))
    return score(spec.loss, found, torch.from_numpy(wanted))


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}
