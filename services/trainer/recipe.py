"""How a trainer learns: the constants that `bench/accuracy` measured, and the few that a user may change.

It stands apart from `training` so that settings can be read without importing torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from math import isfinite
from typing import Annotated, ClassVar, Final

from linklearner.domain.errors import OutOfRange
from linklearner.settings import Between, Settings

MIN_STEPS, MAX_STEPS = 10, 1_000_000
"""A delta of very few steps is nearly a gradient, from which samples can be reconstructed; hence a lower bound (`docs/protocol.md` §9)."""
MAX_SECONDS = 86_400
LEAST_RATE, MOST_RATE = 1e-12, 1
"""Of learning."""


@dataclass(frozen=True, kw_only=True)
class AdamW(Settings):
    """torch's AdamW (Loshchilov & Hutter 2019). Without weight decay it is Adam."""

    NAME: ClassVar = "adamw"

    learning_rate: Annotated[float, Between(LEAST_RATE, MOST_RATE)] = 0.01
    """Of the optimiser."""
    weight_decay: Annotated[float, Between(0, 1)] = 0.0
    """Share of each weight, times the learning rate, that a step takes off."""


@dataclass(frozen=True, kw_only=True)
class Sgd(Settings):
    """torch's stochastic gradient descent with momentum."""

    NAME: ClassVar = "sgd"

    learning_rate: Annotated[float, Between(LEAST_RATE, MOST_RATE)] = 0.1
    """Of the optimiser."""
    momentum: Annotated[float, Between(0, 0.999)] = 0.9
    """Share of the last step that is in the next one."""
    weight_decay: Annotated[float, Between(0, 1)] = 0.0
    """Multiple of each weight that is added to its gradient."""


Optimiser = AdamW | Sgd
ADAM: Final = AdamW()
OPTIMISERS: Final = {kind.NAME: kind for kind in (AdamW, Sgd)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One local training. The defaults are those of `bench/accuracy`. Raises OutOfRange."""

    step_count: int = 100
    """Optimiser steps, unless there is a time budget."""
    seconds: float = 0.0
    """Time budget of the steps, pauses left out, in place of `step_count`; 0: none. At least MIN_STEPS are made whatever they take."""
    batch_size: int = 64
    """Samples a step; all of them if there are fewer."""
    optimiser: Optimiser = ADAM
    proximal: float = 0.0
    """FedProx's mu (Li et al. 2020): a pull to where the training began, mu * (weights - base), is added to the gradient; 0: none."""
    logit_adjustment: bool = True
    """Train with logits + ln(local share of each label): a trainer that rarely or never sees a label does not unlearn it."""

    def __post_init__(self) -> None:
        if not MIN_STEPS <= self.step_count <= MAX_STEPS:
            raise OutOfRange(f"a local training takes {MIN_STEPS} to {MAX_STEPS} steps, not {self.step_count}")
        if not 0 <= self.seconds <= MAX_SECONDS:
            raise OutOfRange(f"a local training takes 0 (no budget) to {MAX_SECONDS} seconds, not {self.seconds}")
        if not 1 <= self.batch_size <= 2**20:
            raise OutOfRange(f"a batch holds 1 to 2**20 samples, not {self.batch_size}")
        if not (isfinite(self.proximal) and 0 <= self.proximal <= 1000):
            raise OutOfRange(f"a proximal term is weighed with 0 to 1000, not {self.proximal}")

    def advised(self, advice: Mapping[str, float], *, keep: Set[str] = frozenset()) -> Recipe:
        """What the task's creator advises (`model.ADVICE`), where this recipe is left at its defaults; a choice of one's own wins.

        keep: names that stay as they are in any case.
        """
        taken = {name: value for name, value in advice.items() if name not in keep}
        found = self
        if "steps" in taken and self.step_count == _USUAL.step_count and not self.seconds:
            found = replace(found, step_count=int(taken["steps"]))
        if "batch_size" in taken and self.batch_size == _USUAL.batch_size:
            found = replace(found, batch_size=int(taken["batch_size"]))
        if "learning_rate" in taken and self.optimiser == _USUAL.optimiser:
            found = replace(found, optimiser=replace(self.optimiser, learning_rate=taken["learning_rate"]))
        return found

    @property
    def most_steps(self) -> int:
        """Of one training."""
        return MAX_STEPS if self.seconds else self.step_count


_USUAL: Final = Recipe()
