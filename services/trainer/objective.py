"""What a task's loss is, in torch: for training, and for measuring a version."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional

from linklearner.domain.model import Loss

MeanLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

MEAN_LOSS: Final[Mapping[Loss, MeanLoss]] = {
    Loss.CROSS_ENTROPY: functional.cross_entropy,
    Loss.BINARY_CROSS_ENTROPY: functional.binary_cross_entropy_with_logits,
    Loss.MEAN_SQUARED_ERROR: functional.mse_loss,
}
"""Of answers (B, …) beside targets: int64 (B,) for cross-entropy, else as many numbers as answers. A scalar: nats, or the target's unit
squared."""


@dataclass(frozen=True, slots=True)
class Score:
    """metric: the task's, by name (`Loss.metric`), 1 is perfect. value: of the metric. loss: mean."""

    metric: str
    value: float
    loss: float


def score(loss: Loss, answers: torch.Tensor, targets: torch.Tensor) -> Score:
    """Of all held-out samples at once, summed in float64."""
    exact = answers.double()
    wanted = targets if loss is Loss.CROSS_ENTROPY else targets.double()
    mean = MEAN_LOSS[loss](exact, wanted).item()
    match loss:
        case Loss.CROSS_ENTROPY:
            value = (answers.argmax(dim=1) == targets).double().mean().item()
        case Loss.BINARY_CROSS_ENTROPY:
            value = ((exact > 0) == (wanted > 0.5)).double().mean().item()
        case Loss.MEAN_SQUARED_ERROR:
            spread = (wanted - wanted.mean(dim=0)).square().mean().item()
            value = 1.0 - mean / spread if spread else 0.0
    return Score(loss.metric, value, mean)
