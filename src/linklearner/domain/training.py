"""What a trainer says of itself: who it is, each step of a round as it happens, what it measured.

Accounts have 20 bytes, digests 32; losses are mean cross-entropy in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

from linklearner.domain.encodings import Encoding
from linklearner.domain.model import ModelVersion
from linklearner.domain.tasks import Submitted


@dataclass(frozen=True, slots=True)
class TrainerStatus:
    """label_counts: samples per label, in the model's order. busy: a round is being trained right now."""

    account: bytes
    task: int
    samples: int
    held_out: int
    label_counts: tuple[int, ...]
    busy: bool


@dataclass(frozen=True, slots=True)
class ModelPulled:
    """The weights to start from have come and give their digest."""

    version: ModelVersion


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """loss: of the steps since the last one of these."""

    step: int
    step_count: int
    loss: float


@dataclass(frozen=True, slots=True)
class UpdateQuantised:
    """The update as it will be sent. residual_ratio: norm of what is kept for the next one over the norm of what was to be sent."""

    encoding: Encoding
    update_bytes: int
    page_count: int
    pages_total: int
    residual_ratio: float
    digest: bytes


TrainingEvent = ModelPulled | TrainingProgress | UpdateQuantised | Submitted
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
