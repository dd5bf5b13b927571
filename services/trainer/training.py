"""Local training: a task's model in torch, trained for some Adam steps on private samples.

The model is one flat vector, as it is everywhere in LinkLearner: the tensors are views of it, autograd gives one flat gradient, and
Adam is six lines on flat vectors. (torch.optim.Adam gives the same numbers, and costs 1.5 s and 100 MB at its first step for imports
that nothing here needs; a test holds the two together.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from linklearner.domain.errors import InvalidInput, NotFinite
from linklearner.domain.model import LOGITS, ModelSpec
from services.trainer.data import Samples
from services.trainer.dpsgd import PrivateGradients
from services.trainer.network import Network
from services.trainer.privacy import PrivateSteps
from services.trainer.recipe import BETA1, BETA2, EPSILON, Recipe

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
    private: PrivateSteps | None = None,
) -> NDArray[np.float64]:
    """The delta, (N,) float64 in real units, of `recipe.step_count` Adam steps from `base` on `samples`.

    base: (N,) float32. seed: any integers >= 0; the same ones give the same delta on the same machine. progress: called
    with (step, mean cross-entropy in nats since the last call); what it raises ends the training. Raises NotFinite if the loss leaves the
    finite numbers (the delta is checked where it is quantised), InvalidInput for samples that do not fit the model.

    private: DP-SGD, whose draws and noise are not those of the seed: no two trainings are alike.
    """
    measured = samples.inputs_of(spec)
    if not len(samples):
        raise InvalidInput("there is nothing to train on: the data set is empty")
    if base.shape != (spec.weight_count,):
        raise InvalidInput(f"model {spec.name} has {spec.weight_count} weights, not {base.shape}")
    network, name = Network(spec.graph), spec.input.name
    x, y = torch.from_numpy(measured), torch.from_numpy(samples.y)  # (n, …), (n,)
    offset = torch.zeros(len(spec.labels))
    if recipe.logit_adjustment:
        counts = samples.label_counts(len(spec.labels)) if private is None else private.label_counts
        if counts is not None:
            offset = torch.from_numpy(_log_shares(counts))

    def loss_of(flat: torch.Tensor, inputs: Mapping[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(network(flat, inputs)[LOGITS] + offset, targets)

    def gradient_of(flat: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, float]:
        loss = loss_of(flat, {name: x[rows]}, y[rows])
        (gradient,) = torch.autograd.grad(loss, flat)
        return gradient, loss.item()

    noised = PrivateGradients(loss_of, {name: x}, y, private) if private else None
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
    flat = torch.tensor(base, requires_grad=True)
    mean, square = torch.zeros_like(flat), torch.zeros_like(flat)
    batch_size = min(recipe.batch_size, len(samples))
    order, used = torch.empty(0, dtype=torch.int64), 0
    every, reported, total = min(max(1, recipe.step_count // REPORTS), LONGEST_SILENCE), 0, 0.0
    for step in range(1, recipe.step_count + 1):
        if noised:
            gradient, loss = noised(flat, noised.rows())
        else:
            if used + batch_size > len(order):  # a new epoch; what does not fill a batch is left for the next shuffle
                order, used = torch.randperm(len(samples), generator=generator), 0
            rows, used = order[used : used + batch_size], used + batch_size
            gradient, loss = gradient_of(flat, rows)
        with torch.no_grad():  # Adam (Kingma & Ba 2015), as torch.optim.Adam computes it
            mean.lerp_(gradient, 1 - BETA1)
            square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            denominator = (square.sqrt() / (1 - BETA2**step) ** 0.5).add_(EPSILON)
            flat.addcdiv_(mean, denominator, value=-recipe.learning_rate / (1 - BETA1**step))
        total += loss
        if step % every == 0 or step == recipe.step_count:
            if not np.isfinite(total):
                raise NotFinite(f"the loss is {total} at step {step}: lower the learning rate or scale the inputs")
            progress(step, total / (step - reported))
            reported, total = step, 0.0
    return flat.detach().numpy().astype(np.float64) - base.astype(np.float64)


def logits(spec: ModelSpec, weights: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """weights: (N,) float32, x: (B, *input.dimensions) float32 unscaled. Returns (B, labels) float32."""
    with torch.inference_mode():
        outputs = Network(spec.graph)(torch.from_numpy(weights), {spec.input.name: torch.from_numpy(x)})
        answer: NDArray[np.float32] = outputs[LOGITS].numpy()
    return answer


@dataclass(frozen=True, slots=True)
class Score:
    """accuracy: share of labels that are right, 0 to 1. loss: mean cross-entropy, nats."""

    accuracy: float
    loss: float


def evaluate(spec: ModelSpec, weights: NDArray[np.float32], samples: Samples) -> Score:
    """weights: (N,) float32. Raises InvalidInput for samples that do not fit the model or are none."""
    measured = samples.inputs_of(spec)
    if not len(samples):
        raise InvalidInput("there is nothing to measure on: no samples are held out")
    scores, y = torch.from_numpy(logits(spec, weights, measured)), torch.from_numpy(samples.y)
    return Score(
        accuracy=(scores.argmax(dim=1) == y).double().mean().item(),
        loss=functional.cross_entropy(scores.double(), y).item(),
    )


def _log_shares(counts: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float32]:
    """ln(local share of each label) from their counts, (labels,) float32; -inf for a label without samples, which takes it out of
    the softmax.

    Measured under strong skew (`bench/accuracy`): -inf gains 11 points where half a sample instead of none loses 3.
    """
    with np.errstate(divide="ignore"):
        shares: NDArray[np.float32] = np.log(counts / counts.sum()).astype(np.float32)
    return shares
