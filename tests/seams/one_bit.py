"""A third encoding, for tests: a weight's sign and nothing else. Beside this file it is one in the Aspect, and rows of the two tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.encodings import MIN_SHIFT, Encoding
from linklearner.domain.errors import InvalidUpdate


class OneBit(Encoding):
    """2**shift is the mean size of a weight's delta."""

    __slots__ = ()

    def page_bytes(self, length: int) -> int:
        return -(-length // 8)

    def check(self, values: NDArray[np.int8]) -> str | None:
        return None if (np.abs(values) == 1).all() else "holds a value other than -1, 1"

    def pack(self, values: NDArray[np.int8]) -> bytes:
        return np.packbits(values > 0, bitorder="little").tobytes()

    def unpack(self, data: bytes | memoryview, length: int) -> NDArray[np.int8]:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        if bits[length:].any():
            raise InvalidUpdate("unused bits after the last weight of a page are set")
        return (2 * bits[:length].astype(np.int8) - 1).astype(np.int8)

    def shift(self, steps: NDArray[np.float64]) -> int:
        mean = float(np.abs(steps).mean())
        return int(np.floor(np.log2(mean) + 0.5)) if mean else MIN_SHIFT

    def digits(self, scaled: NDArray[np.float64]) -> NDArray[np.int8]:
        return np.where(scaled < 0, -1, 1).astype(np.int8)


ONE_BIT = OneBit(code=1, name="one-bit", values=(-1, 1), max_shift=15, submit_gas=0.1, merge_gas=3.0)
