"""A task's examples in batches, one of which each round opens, and the Merkle tree that binds the creator to them.

A batch's bytes: its examples one behind the other, the inputs as little-endian int16 and the label as u16. Its leaf is
keccak256(keccak256(u32 batch | bytes)): its place is in it, and hashed twice it is no inner node. Inner nodes are keccak256 of their two
children, the smaller first (OpenZeppelin's MerkleProof); of an odd number of nodes the last goes up as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import Examples

MAX_BATCHES = 2**21
"""State keys hold a batch in three 7-bit characters."""


def encode_batch(examples: Examples) -> bytes:
    """The bytes of a batch. Raises InvalidInput for labels beyond u16."""
    if len(examples) and not 0 <= int(examples.labels.min()) <= int(examples.labels.max()) < 2**16:
        raise InvalidInput("a label is a u16")
    labels = examples.labels.astype(np.uint16).view(np.int16)[:, None]
    return np.concatenate((examples.inputs, labels), axis=1).astype("<i2").tobytes()


def decode_batch(data: bytes, network: IntegerNetwork) -> Examples:
    """The inverse. Raises InvalidInput for bytes that are no whole examples of the network, or have labels that are none of its."""
    width = network.widths[0] + 1
    if not data or len(data) % (2 * width):
        raise InvalidInput(f"{len(data)} bytes are no whole examples of {2 * width}")
    numbers: NDArray[np.int16] = np.frombuffer(data, "<i2").astype(np.int16).reshape(-1, width)
    labels = numbers[:, -1].astype(np.int64) & 0xFFFF
    if int(labels.max()) >= network.widths[-1]:
        raise InvalidInput(f"labels lie in 0..{network.widths[-1] - 1}, not at {int(labels.max())}")
    return Examples(np.ascontiguousarray(numbers[:, :-1]), labels)


def leaf_of(batch: int, data: bytes) -> bytes:
    """32 bytes."""
    return bytes(keccak(keccak(batch.to_bytes(4, "big") + data)))


def _node(a: bytes, b: bytes) -> bytes:
    return bytes(keccak(min(a, b) + max(a, b)))


class BatchTree:
    """The tree over all batches of a task. Raises InvalidInput for none of them, or too many."""

    def __init__(self, batches: Sequence[bytes]) -> None:
        if not 1 <= len(batches) <= MAX_BATCHES:
            raise InvalidInput(f"a task has 1 to {MAX_BATCHES} batches of examples, not {len(batches)}")
        level = [leaf_of(number, data) for number, data in enumerate(batches)]
        self._levels = [level]
        while len(level) > 1:
            pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
            level = [_node(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
            self._levels.append(level)

    @property
    def root(self) -> bytes:
        return self._levels[-1][0]

    def proof(self, batch: int) -> tuple[bytes, ...]:
        """The siblings on the way up."""
        found = []
        for level in self._levels[:-1]:
            sibling = batch ^ 1
            if sibling < len(level):
                found.append(level[sibling])
            batch >>= 1
        return tuple(found)


def is_committed(root: bytes, batch: int, data: bytes, proof: Sequence[bytes]) -> bool:
    """Whether these bytes are the batch at this place."""
    node = leaf_of(batch, data)
    for sibling in proof:
        node = _node(node, sibling)
    return node == root
