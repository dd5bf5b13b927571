"""The task of the demo and the benchmarks: scikit-learn's handwritten digits; and the same for a convolutional network."""

from typing import Final

from linklearner.domain.classifier import classifier
from linklearner.domain.kinds.cnn import Cnn
from linklearner.domain.kinds.mlp import Mlp

DIGITS: Final = classifier("digits", Mlp((64, 32, 10)), tuple("0123456789"), "pixels", 1 / 16, (0.0, 16.0))
"""8 x 8 pixels of 0 to 16, 32 hidden units, ten labels: 2,410 weights."""

SHAPE: Final = DIGITS.shape(exponents=12, page_length=1208, group_pages=2, norm_bound=2**25)
"""Weights within ±8 in steps of 2**-12 (`bench.accuracy` chose that), in two pages of even length, settled together.

The norm bound, 2**25 in 2**-8 steps, is a real norm of 32: the longest update of honest local training in `bench.accuracy` has 0.4 of it,
so that only updates that are far too long are scaled down.
"""

DIGITS_CNN: Final = classifier(
    "digits-cnn", Cnn((1, 8, 8), (8, 16), 3, 10), tuple("0123456789"), "pixels", 1 / 16, (0.0, 16.0)
)
"""The same pixels as an image of one channel, two blocks of 3 x 3 convolutions, ten labels: 1,898 weights."""
