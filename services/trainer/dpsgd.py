"""The gradient of DP-SGD (Abadi et al. 2016): samples drawn by Poisson sampling, each one's gradient clipped, noise on the sum.

torch differentiates one sample at a time and does many at once (`torch.func.vmap` of `grad`), in chunks, so that memory is bounded
whatever a draw takes. Nothing here depends on which task it is: the model is a function of one flat vector.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from linklearner.domain.model import ModelSpec
from services.trainer.data import Samples
from services.trainer.network import Network, rows_of
from services.trainer.objective import MEAN_LOSS, log_shares
from services.trainer.privacy import PrivateSteps

LossOf = Callable[[torch.Tensor, Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor]
"""(flat (N,), inputs (B, …) by name, targets (B, …)) to the mean loss, a scalar; works under `torch.func`."""
CHUNK_NUMBERS = 2**23
"""Numbers of one chunk's gradients, and of its widest value: 32 MiB of float32 each, and some times that while they are computed."""


def private_gradient(
    spec: ModelSpec, samples: Samples, steps: PrivateSteps, frozen: Mapping[str, NDArray[np.float32]] | None = None
) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, float]]:
    """What `training.mean_gradient` is without privacy: a function of the weights and of a batch's rows, which are not those that are used.

    Raises InvalidInput for samples that do not fit the model.
    """
    network, mean_loss, answer = Network(spec.graph, frozen), MEAN_LOSS[spec.loss], spec.answer.name
    inputs = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in samples.inputs_of(spec).items()}
    targets = torch.from_numpy(samples.targets_of(spec))
    offset: torch.Tensor | float = 0.0
    if steps.label_counts is not None:
        offset = torch.from_numpy(log_shares(steps.label_counts))

    def loss_of(flat: torch.Tensor, batch: Mapping[str, torch.Tensor], wanted: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = mean_loss(network(flat, batch)[answer] + offset, wanted)
        return loss

    gradients = PrivateGradients(loss_of, inputs, targets, steps, rows_of(spec.graph, CHUNK_NUMBERS))
    return lambda flat, _: gradients(flat, gradients.rows())


class PrivateGradients:
    """Draws samples and gives noised gradients of their mean loss. For one local training."""

    def __init__(
        self,
        loss_of: LossOf,
        inputs: Mapping[str, torch.Tensor],
        targets: torch.Tensor,
        steps: PrivateSteps,
        most_rows: int = 2**20,
    ) -> None:
        """inputs: (n, …) by name, targets: (n, …): all samples. most_rows: that the model's own values leave memory for, at once."""

        def loss_of_one(flat: torch.Tensor, one: Mapping[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
            return loss_of(flat, {name: values.unsqueeze(0) for name, values in one.items()}, target.unsqueeze(0))

        self._of_each = torch.func.vmap(torch.func.grad_and_value(loss_of_one), in_dims=(None, 0, 0))
        self._inputs = inputs
        self._targets = targets
        self._steps = steps
        self._most_rows = most_rows
        self._taken = 0

    def rows(self) -> torch.Tensor:
        """The samples of one step, (b,) int64; b varies, and may be 0: the accountant counts on that."""
        return torch.from_numpy(self._steps.random.drawn(len(self._targets), self._steps.sample_rate))

    def __call__(self, flat: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, float]:
        """(N,) float32: the clipped sum over `rows` with noise, over the number of samples that a step draws on average; and the mean loss
        of the rows (0 of none), which is not noised.
        """
        self._taken += 1
        if self._taken > self._steps.most:
            raise RuntimeError(f"step {self._taken} of a training of which {self._steps.most} steps are counted")
        total, _ = self.clipped_sum(flat, rows)
        noise = torch.from_numpy(self._steps.random.gaussian(len(flat)))
        total += noise * (self._steps.noise_multiplier * self._steps.max_grad_norm)
        # The divisor is a constant: the true number of rows would say how many were drawn.
        gradient = total / (self._steps.sample_rate * len(self._targets))
        # not even whether the loss is finite may be told: no noise covers it
        return gradient.to(flat.dtype), 0.0

    def clipped_sum(self, flat: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, float]:
        """(N,) float64: the sum of gradients of at most max_grad_norm each; and the mean loss. One sample more or less changes the sum by
        at most max_grad_norm, whatever its numbers are.
        """
        total = torch.zeros(len(flat), dtype=torch.float64)
        loss = 0.0
        weights = flat.detach()
        length = min(max(1, CHUNK_NUMBERS // max(1, len(flat))), self._most_rows)
        for part in (rows[start : start + length] for start in range(0, len(rows), length)):
            inputs = {name: values[part] for name, values in self._inputs.items()}
            each, losses = self._of_each(weights, inputs, self._targets[part])  # (b, N), (b,)
            norms = torch.linalg.vector_norm(each, dim=1, dtype=torch.float64)
            # A gradient that is not finite gives nothing: clipping NaN leaves NaN, which would carry one sample's presence through.
            sound = torch.isfinite(norms)
            each = torch.where(sound[:, None], each, 0.0).double()
            scale = (self._steps.max_grad_norm / norms.clamp(min=1e-300)).clamp(max=1.0)
            total += torch.where(sound, scale, 0.0) @ each
            loss += float(losses.sum())
        return total, loss / max(1, len(rows))
