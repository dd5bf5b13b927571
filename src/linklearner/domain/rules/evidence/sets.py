"""All examples of a task, in the batches in which they will be opened. Until then they are the creator's secret: who reads them can train
on what judges him.

As bytes, little endian: "LLEX" | 1 u8 | input exponent u8 | inputs an example u16 | batches u32, and of each batch: examples u16, then they
(linklearner.domain.rules.evidence.batches).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Self

from linklearner.domain.errors import InvalidInput
from linklearner.domain.rules.evidence.batches import BatchTree, decode_batch
from linklearner.domain.rules.evidence.network import MAX_INPUT_EXPONENT, MAX_WIDTH, IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import MAX_EXAMPLES

MAGIC: Final = b"LLEX"
VERSION: Final = 1
HEAD: Final = struct.Struct("<4sBBHI")
MAX_BYTES: Final = 16 << 20
"""Of a set. What a block can judge is far smaller."""


@dataclass(frozen=True)
class ExampleBatches:
    """inputs: numbers an example has beside its label. Raises InvalidInput for what is no set."""

    input_exponent: int
    inputs: int
    batches: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.input_exponent <= MAX_INPUT_EXPONENT:
            raise InvalidInput(f"an input exponent lies in 0..{MAX_INPUT_EXPONENT}, not at {self.input_exponent}")
        if not 1 <= self.inputs <= MAX_WIDTH:
            raise InvalidInput(f"an example has 1 to {MAX_WIDTH} inputs, not {self.inputs}")
        if not self.batches or not all(batch and len(batch) % self.width == 0 for batch in self.batches):
            raise InvalidInput("a set of examples has a batch or more, of whole examples, one at least")
        if self.count > MAX_EXAMPLES or sum(map(len, self.batches)) > MAX_BYTES:
            raise InvalidInput(f"a set has at most {MAX_EXAMPLES} examples and {MAX_BYTES >> 20} MiB, not {self.count}")

    @property
    def width(self) -> int:
        """Bytes of an example."""
        return 2 * (self.inputs + 1)

    @property
    def count(self) -> int:
        """Examples."""
        return sum(map(len, self.batches)) // self.width

    @cached_property
    def tree(self) -> BatchTree:
        return BatchTree(self.batches)

    @property
    def root(self) -> bytes:
        """32 bytes: what the creator commits to."""
        return self.tree.root

    def check(self, network: IntegerNetwork) -> None:
        """Raises InvalidInput unless the network can be judged by each batch."""
        if network.widths[0] != self.inputs:
            raise InvalidInput(f"the model has {network.widths[0]} inputs, the examples {self.inputs}")
        for batch in self.batches:
            decode_batch(batch, network)

    def encode(self) -> bytes:
        head = HEAD.pack(MAGIC, VERSION, self.input_exponent, self.inputs, len(self.batches))
        return head + b"".join(struct.pack("<H", len(batch) // self.width) + batch for batch in self.batches)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The inverse. Raises InvalidInput for any other bytes."""
        if len(data) > HEAD.size + MAX_BYTES + 2 * MAX_EXAMPLES or len(data) < HEAD.size:
            raise InvalidInput(f"{len(data)} bytes are no set of examples")
        magic, version, exponent, inputs, count = HEAD.unpack_from(data)
        if (magic, version) != (MAGIC, VERSION):
            raise InvalidInput("the file is no set of examples of this version: `linklearner task create` makes one")
        if not 1 <= count <= MAX_EXAMPLES:
            raise InvalidInput(f"a set of examples has 1 to {MAX_EXAMPLES} batches, not {count}")
        at, width, batches = HEAD.size, 2 * (inputs + 1), []
        for _ in range(count):
            size = width * int.from_bytes(data[at : at + 2], "little")
            batches.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        if at != len(data):
            raise InvalidInput(f"the set of examples has {len(data)} bytes, its batches {at}")
        return cls(exponent, inputs, tuple(batches))
