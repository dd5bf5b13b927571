"""The gradient of DP-SGD (Abadi et al. 2016): samples drawn by Poisson sampling, each one's gradient clipped, noise on the sum.

torch differentiates one sample at a time and does many at once (`torch.func.vmap` of `grad`), in chunks, so that memory is bounded
whatever a draw takes. Nothing here depends on which task it is: the model is a function of one flat vector.
"""

from collections.abc import Callable, Mapping

import torch

from services.trainer.privacy import PrivateSteps

LossOf = Callable[[torch.Tensor, Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor]
"""(flat (N,), inputs (B, …) by name, targets (B, …)) to the mean loss, a scalar; works under `torch.func`."""
CHUNK_NUMBERS = 2**24
"""Numbers of one chunk's gradients: 64 MiB of float32, and some times that while they are computed."""


class PrivateGradients:
    """Draws samples and gives noised gradients of their mean loss. For one local training."""

    def __init__(
        self, loss_of: LossOf, inputs: Mapping[str, torch.Tensor], targets: torch.Tensor, steps: PrivateSteps
    ) -> None:
        """inputs: (n, …) by name, targets: (n, …): all samples."""

        def loss_of_one(flat: torch.Tensor, one: Mapping[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
            return loss_of(flat, {name: values.unsqueeze(0) for name, values in one.items()}, target.unsqueeze(0))

        self._of_each = torch.func.vmap(torch.func.grad_and_value(loss_of_one), in_dims=(None, 0, 0))
        self._inputs = inputs
        self._targets = targets
        self._steps = steps

    def rows(self) -> torch.Tensor:
        """The samples of one step, (b,) int64; b varies, and may be 0: the accountant counts on that."""
        return torch.from_numpy(self._steps.random.drawn(len(self._targets), self._steps.sample_rate))

    def __call__(self, flat: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, float]:
        """(N,) float32: the clipped sum over `rows` with noise, over the number of samples that a step draws on average; and the mean loss
        of the rows (0 of none), which is not noised.
        """
        total, loss = self.clipped_sum(flat, rows)
        noise = torch.from_numpy(self._steps.random.gaussian(len(flat)))
        total += noise * (self._steps.noise_multiplier * self._steps.max_grad_norm)
        # The divisor is a constant: the true number of rows would say how many were drawn.
        gradient = total / (self._steps.sample_rate * len(self._targets))
        return gradient.to(flat.dtype), loss

    def clipped_sum(self, flat: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, float]:
        """(N,) float64: the sum of gradients of at most max_grad_norm each; and the mean loss. One sample more or less changes the sum by
        at most max_grad_norm, whatever its numbers are.
        """
        total = torch.zeros(len(flat), dtype=torch.float64)
        loss = 0.0
        weights = flat.detach()
        length = max(1, CHUNK_NUMBERS // max(1, len(flat)))
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
