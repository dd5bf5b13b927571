"""How a trainer learns: the constants that `bench/accuracy` measured, and the few that a user may change.

It stands apart from `training` so that settings can be read without importing torch.
"""

from dataclasses import dataclass
from math import isfinite

from linklearner.domain.errors import OutOfRange

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's own, as published."""

MIN_STEPS, MAX_STEPS = 10, 1_000_000
"""A delta of very few steps is nearly a gradient, from which samples can be reconstructed; hence a lower bound (`docs/protocol.md` §9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One local training. The defaults are those of `bench/accuracy`. Raises OutOfRange."""

    step_count: int = 100
    """Adam steps."""
    batch_size: int = 64
    """Samples a step; all of them if there are fewer."""
    learning_rate: float = 0.01
    logit_adjustment: bool = True
    """Train with logits + ln(local share of each label): a trainer that rarely or never sees a label does not unlearn it."""

    def __post_init__(self) -> None:
        if not MIN_STEPS <= self.step_count <= MAX_STEPS:
            raise OutOfRange(f"a local training takes {MIN_STEPS} to {MAX_STEPS} steps, not {self.step_count}")
        if not 1 <= self.batch_size <= 2**20:
            raise OutOfRange(f"a batch holds 1 to 2**20 samples, not {self.batch_size}")
        if not (isfinite(self.learning_rate) and 0 < self.learning_rate <= 1):
            raise OutOfRange(f"a learning rate lies between 0 and 1, not at {self.learning_rate}")
