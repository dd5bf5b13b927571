"""The randomness that privacy rests on: the system's own generator, never the reproducible seed of a training.

Whoever can guess the noise takes it off again, and whoever can guess which samples were drawn loses nothing to sampling. torch's and
NumPy's generators are made for statistics: their states follow from their outputs. So every bit comes from `os.urandom` (ChaCha20 on
Linux), fresh for each training, and is made normal by Box and Muller in float64.

What floating point does to a Gaussian (Mironov 2012) needs the low bits of a noised number to be seen. Nobody sees one: a noised gradient
stays here, and of a noised delta two or eight bits a weight leave, rounded to the tensor's grid.
"""

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Source = Callable[[int], bytes]
"""So many random bytes; `os.urandom`, except where a test wants to know them."""
_TWO_PI = 2.0 * np.pi


class SecureRandom:
    """Normal numbers and coins from one source of bytes."""

    def __init__(self, source: Source = os.urandom) -> None:
        self._source = source

    def gaussian(self, count: int) -> NDArray[np.float64]:
        """(count,) float64, standard normal, independent. None is beyond 9.42: that happens to one number in 2**64."""
        pairs = -(-count // 2)
        words = self._words(2 * pairs)
        radius = np.sqrt(-2.0 * np.log((words[:pairs].astype(np.float64) + 1.0) * 2.0**-64))
        angle = _TWO_PI * (words[pairs:] >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))[:count]

    def drawn(self, count: int, rate: float) -> NDArray[np.int64]:
        """Which of `count` samples a Poisson draw takes, ascending: each with probability `rate`, whatever becomes of the others.

        rate: 0 to 1, taken down to a multiple of 2**-64, so that no sample comes more often than is accounted for.
        """
        if rate >= 1.0:
            return np.arange(count, dtype=np.int64)
        taken: NDArray[np.int64] = np.flatnonzero(self._words(count) < np.uint64(int(rate * 2.0**64)))
        return taken

    def _words(self, count: int) -> NDArray[np.uint64]:
        return np.frombuffer(self._source(8 * count), dtype=np.uint64)
