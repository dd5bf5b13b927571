"""Cross-entropy in Q12, by table.

With d_j = max(z) - z_j >= 0 and s = sum_j EXP[min(d_j >> 7, 255)], s / 65535 is the sum of e**-d (in steps of 1/32 nat), and

    CE = min(d_y + LN[min(s >> 6, LAST)], 4 << 12)          LN[i] = floor(4096 ln(i / 1023.99)), i >= 1023

The label with the largest logit adds 65535, so s >> 6 >= 1023. With up to 2**12 labels s < 2**28. From LAST on LN is at least 4 nats, which
is what a loss is capped at, so a longer table would say the same. -4 <= CE <= 2**14: a sum over 2**16 examples fits 31 bits.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.rules.evidence.tables import EXP, FIRST, LN

MAX_LOSS: Final = 4 << 12
"""4 nats."""


def cross_entropy(logits: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """logits: (…, K, C) int64, Q12; labels: (K,) in 0..C-1. Returns (…, K) int64, Q12."""
    below = logits.max(axis=-1, keepdims=True) - logits
    sums = EXP[np.minimum(below >> 7, EXP.size - 1)].sum(axis=-1)
    logarithms = LN[np.minimum((sums >> 6) - FIRST, LN.size - 1)]
    own = np.take_along_axis(below, np.broadcast_to(labels[:, None], (*below.shape[:-1], 1)), axis=-1)[..., 0]
    losses: NDArray[np.int64] = np.minimum(own + logarithms, MAX_LOSS)
    return losses
