"""Models of several sizes on scikit-learn's digits, for benches."""

from math import isqrt

from linklearner.domain.classifier import classifier
from linklearner.domain.digits import DIGITS
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import ModelSpec

PIXELS, LABELS = 64, 10


def digits_mlp(*hidden: int) -> ModelSpec:
    """An MLP on the digits with these hidden layers."""
    (pixels,) = DIGITS.inputs
    architecture = Mlp((PIXELS, *hidden, LABELS))
    name = f"digits-{'-'.join(map(str, hidden))}"
    return classifier(name, architecture, DIGITS.labels, pixels.name, 1 / 16, pixels.range)


def digits_mlp_of(weights: int) -> ModelSpec:
    """The smallest MLP with two equal hidden layers of at least so many weights: h of them have h^2 + 76 h + 10."""
    width = isqrt(weights) or 1
    while width > 1 and _weights(width - 1) >= weights:
        width -= 1
    return digits_mlp(width, width)


def _weights(width: int) -> int:
    return width * width + (PIXELS + LABELS + 2) * width + LABELS
