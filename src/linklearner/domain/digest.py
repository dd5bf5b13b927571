"""What names a model: keccak-256 of a page's bytes, and of all page digests in order."""

from __future__ import annotations

import numpy as np
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput
from linklearner.domain.shape import Shape


def weight_bytes(weights: NDArray[np.int16]) -> bytes:
    """Little-endian int16, as pages are stored on the chain."""
    return weights.astype("<i2", copy=False).tobytes()


def page_digest(weights: NDArray[np.int16]) -> bytes:
    """keccak-256 of one page's weights, little-endian int16. 32 bytes."""
    return bytes(keccak(weight_bytes(weights)))


def page_digests(weights: NDArray[np.int16], shape: Shape) -> tuple[bytes, ...]:
    """The digests of all pages, in order."""
    if weights.shape != (shape.weight_count,):
        raise InvalidInput(f"the task has {shape.weight_count} weights, not {weights.shape}")
    return tuple(page_digest(weights[shape.page_slice(page)]) for page in range(shape.page_count))


def digest_of_pages(digests: tuple[bytes, ...]) -> bytes:
    """The model digest over all page digests in order. 32 bytes."""
    return bytes(keccak(b"".join(digests)))


def model_digest(weights: NDArray[np.int16], shape: Shape) -> bytes:
    """keccak-256 over the page digests of weights: (N,) int16. 32 bytes."""
    return digest_of_pages(page_digests(weights, shape))
