"""Local training: a task's model in torch, trained for some Adam steps on private samples.

The model is one flat vector, as it is everywhere in LinkLearner: the tensors are views of it, autograd gives one flat gradient, and
Adam is six lines on flat vectors. (torch.optim.Adam gives the same numbers, and costs 1.5 s and 100 MB at its first step for imports
that nothing here needs; a test holds the two together.)
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, NotFinite
from linklearner.domain.model import Loss, ModelSpec
from services.trainer.data import Samples
from services.trainer.network import Network, rows_of
from services.trainer.objective import MEAN_LOSS, Score, score
from services.trainer.recipe import BETA1, BETA2, EPSILON, Recipe

Frozen = Mapping[str, NDArray[np.float32]]
"""Values of the tensors that a graph takes from files, by name."""
ROWS_LENGTH = 2**24
"""Numbers of one value that are computed at once where nothing is trained: 64 MiB."""
REPORTS, LONGEST_SILENCE = 10, 500
"""Progress messages of one local training, and the most steps between two: a training that nobody waits for ends at the next one."""


def bound_threads(count: int) -> None:
    """Lets torch use `count` threads in each thread that calls it; for the whole process."""
    torch.set_num_threads(count)


def train(
    spec: ModelSpec,
    base: NDArray[np.float32],
    samples: Samples,
    recipe: Recipe,
    seed: tuple[int, ...],
    progress: Callable[[int, float], None],
    frozen: Frozen | None = None,
) -> NDArray[np.float64]:
    """The delta, (N,) float64 in real units, of `recipe.step_count` Adam steps from `base` on `samples`.

    base: (N,) float32. seed: any integers >= 0; the same ones give the same delta on the same machine. progress: called
    with (step, mean loss since the last call); what it raises ends the training. Raises NotFinite if the loss leaves the
    finite numbers (the delta is checked where it is quantised), InvalidInput for samples that do not fit the model.
    """
    measured, wanted = samples.inputs_of(spec), samples.targets_of(spec)
    if not len(samples):
        raise InvalidInput("there is nothing to train on: the data set is empty")
    if base.shape != (spec.weight_count,):
        raise InvalidInput(f"model {spec.name} has {spec.weight_count} weights, not {base.shape}")
    network, mean_loss, answer = Network(spec.graph, frozen), MEAN_LOSS[spec.loss], spec.answer.name
    x, y = _tensors(measured), torch.from_numpy(wanted)
    offset: torch.Tensor | float = 0.0
    if recipe.logit_adjustment and spec.loss is Loss.CROSS_ENTROPY:
        offset = torch.from_numpy(_log_shares(wanted, len(spec.labels)))
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
    flat = torch.tensor(base, requires_grad=True)
    mean, square = torch.zeros_like(flat), torch.zeros_like(flat)
    batch_size = min(recipe.batch_size, len(samples))
    order, used = torch.empty(0, dtype=torch.int64), 0
    every, reported, total = min(max(1, recipe.step_count // REPORTS), LONGEST_SILENCE), 0, 0.0
    for step in range(1, recipe.step_count + 1):
        if used + batch_size > len(order):  # a new epoch; what does not fill a batch is left for the next shuffle
            order, used = torch.randperm(len(samples), generator=generator), 0
        rows, used = order[used : used + batch_size], used + batch_size
        batch = {name: values[rows] for name, values in x.items()}
        loss = mean_loss(network(flat, batch)[answer] + offset, y[rows])
        (gradient,) = torch.autograd.grad(loss, flat)
        with torch.no_grad():  # Adam (Kingma & Ba 2015), as torch.optim.Adam computes it
            mean.lerp_(gradient, 1 - BETA1)
            square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            denominator = (square.sqrt() / (1 - BETA2**step) ** 0.5).add_(EPSILON)
            flat.addcdiv_(mean, denominator, value=-recipe.learning_rate / (1 - BETA1**step))
        total += loss.item()
        if step % every == 0 or step == recipe.step_count:
            if not np.isfinite(total):
                raise NotFinite(f"the loss is {total} at step {step}: lower the learning rate or scale the inputs")
            progress(step, total / (step - reported))
            reported, total = step, 0.0
    return flat.detach().numpy().astype(np.float64) - base.astype(np.float64)


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


def evaluate(spec: ModelSpec, weights: NDArray[np.float32], samples: Samples, frozen: Frozen | None = None) -> Score:
    """weights: (N,) float32. Raises InvalidInput for samples that do not fit the model or are none."""
    measured, wanted = samples.inputs_of(spec), samples.targets_of(spec)
    if not len(samples):
        raise InvalidInput("there is nothing to measure on: no samples are held out")
    found = torch.from_numpy(answers(spec, weights, measured, frozen))
    return score(spec.loss, found, torch.from_numpy(wanted))


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}


def _log_shares(labels: NDArray[np.int64] | NDArray[np.float32], label_count: int) -> NDArray[np.float32]:
    """ln(local share of each label), (labels,) float32; -inf for a label without samples, which takes it out of the softmax.

    Measured under strong skew (`bench/accuracy`): -inf gains 11 points where half a sample instead of none loses 3.
    """
    counts = np.bincount(labels, minlength=label_count)
    with np.errstate(divide="ignore"):
        shares: NDArray[np.float32] = np.log(counts / counts.sum()).astype(np.float32)
    return shares
