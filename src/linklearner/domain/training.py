"""What a trainer says of itself: who it is, each step of a round as it happens, what it measured.

Accounts have 20 bytes, digests 32; losses are mean cross-entropy in nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from linklearner.domain.encodings import Encoding
from linklearner.domain.model import ModelVersion
from linklearner.domain.rules.evidence.verdicts import GAIN_BITS
from linklearner.domain.tasks import Submitted


class Activity(Enum):
    """What a trainer does for a task."""

    IDLE = "idle"
    """Contributes on request, and nobody asks; or has contributed as often as it should."""
    WAITING = "waiting"
    """For the chain, or for its machine to be free."""
    TRAINING = "training"
    SUBMITTING = "submitting"
    """An update, or asks what became of one."""


@dataclass(frozen=True, slots=True)
class TaskActivity:
    """What a trainer does for one task; times are Unix seconds.

    reason: a stable name of what it waits for, detail: the same in a sentence; both empty unless it waits. again_s: its next look at that,
    0: when something else happens. round: 0 if it has seen none. step, step_count: of the present training, in the middle of which it may
    wait; 0 of 0 while there is none. cpu_seconds: of the last whole training, 0 if there was none.
    """

    task: int
    activity: Activity
    since_s: int
    reason: str = ""
    detail: str = ""
    again_s: int = 0
    round: int = 0
    step: int = 0
    step_count: int = 0
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PrivacySpent:
    """Differential privacy of what has left, or was counted before it could: (epsilon, delta) of epsilon_budget, in one task.

    mechanism: `sgd` protects each sample, `update` the whole data set. noise_multiplier: standard deviation of the noise over the most
    that one of them can change; clip_norm: of a sample's gradient, or of an update, in real units. rounds_left: that fit into the budget.
    """

    mechanism: str
    epsilon: float
    delta: float
    epsilon_budget: float
    noise_multiplier: float
    clip_norm: float
    rounds_left: int


@dataclass(frozen=True, slots=True)
class TrainerStatus:
    """label_counts: samples per label in the data's own order (numbers, or names by alphabet), none of a regression, and none under
    differential privacy, which does not cover them. busy: a round is being trained right now. tasks: each that it contributes to, in the
    order of its settings. privacy: None without differential privacy."""

    account: bytes
    task: int
    samples: int
    held_out: int
    label_counts: tuple[int, ...]
    busy: bool
    tasks: tuple[TaskActivity, ...] = ()
    privacy: PrivacySpent | None = None


@dataclass(frozen=True, slots=True)
class ModelPulled:
    """The weights to start from have come and give their digest."""

    version: ModelVersion


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """loss: of the steps since the last one of these; NaN under differential privacy, which does not cover it."""

    step: int
    step_count: int
    loss: float


@dataclass(frozen=True, slots=True)
class UpdateQuantised:
    """The update as it will be sent. residual_ratio: norm of what is kept for the next one over the norm of what was to be sent.

    privacy: what is spent with this update; None without differential privacy.
    """

    encoding: Encoding
    update_bytes: int
    page_count: int
    pages_total: int
    residual_ratio: float
    digest: bytes
    privacy: PrivacySpent | None = None


@dataclass(frozen=True, slots=True)
class TrainingWaits:
    """The training is interrupted, and goes on where it was. again_s: Unix seconds of the next look at what it waits for."""

    reason: str
    detail: str
    again_s: int


@dataclass(frozen=True, slots=True)
class MergeForecast:
    """Rule `evidence`: what will probably become of the update, by the trainer's own held-out samples, before anything is sent.

    chance: that it is merged, 0 to 1. gain: how much better `examples` of the samples are answered with a quarter of it, of their loss, on
    average. record: E of the account so far, Q16.
    """

    chance: float
    gain: float
    record: int
    examples: int
    samples: int

    def text(self) -> str:
        """For people."""
        effect = f"{abs(self.gain):.1%} {'better' if self.gain >= 0 else 'worse'}"
        return (
            f"merged in about {self.chance:.0%} of cases: {effect} on {self.examples} examples on average, by {self.samples:,} held-out "
            f"samples of this trainer's own; the account's record stands at {self.record / 2**GAIN_BITS:+.3f}"
        )


TrainingEvent = ModelPulled | TrainingProgress | TrainingWaits | MergeForecast | UpdateQuantised | Submitted
"""The last one of a round is Submitted."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A version of the weights on held-out samples. value: of the task's metric (`model.Loss.metric`), 1 is perfect; loss: a mean."""

    version: ModelVersion
    samples: int
    metric: str
    value: float
    loss: float


@dataclass(frozen=True, slots=True)
class ModelExport:
    """A serialised onnx.ModelProto, and how far its logits are from torch's on held-out samples at most."""

    version: ModelVersion
    onnx: bytes
    max_abs_difference: float
