"""What rule `evidence` keeps of a task from round to round: the examples that are opened, and each account's record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput
from linklearner.domain.rules.evidence.batches import decode_batch, is_committed
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import Examples, Judgement, Outcome, judge, steps_of
from linklearner.domain.rules.rule import Contribution, Merged
from linklearner.domain.shape import Shape

CODES: Final = {outcome: number for number, outcome in enumerate(Outcome)}
"""Outcomes as the chain writes them."""
OUTCOMES: Final = {number: outcome for outcome, number in CODES.items()}


@dataclass(slots=True)
class Course:
    """Of one task, from the commitment to its examples on. Raises InvalidModel where the shape is no perceptron's."""

    shape: Shape
    root: bytes
    batches: int
    examples: int
    """In all batches, at most."""
    input_exponent: int
    records: dict[bytes, int] = field(default_factory=dict)
    opened: Examples = field(init=False)
    opened_batches: int = 0
    fresh: int = 0
    """Examples of the last batch."""
    network: IntegerNetwork = field(init=False)

    def __post_init__(self) -> None:
        if self.root == bytes(32) or not 1 <= self.batches <= self.examples:
            raise InvalidInput("a set of examples has a root, and an example or more a batch")
        if self.shape.group_count != 1:
            raise InvalidInput("rule evidence looks at the whole model: one settlement group")
        self.network = IntegerNetwork.of_shape(self.shape, self.input_exponent)
        width = self.network.widths[0]
        self.opened = Examples(np.zeros((0, width), dtype=np.int16), np.zeros(0, dtype=np.int64))

    def open(self, batch: int, data: bytes, proof: Sequence[bytes]) -> None:
        """The next batch is opened. Raises InvalidInput where it is not that, or no whole examples of the network."""
        if batch != self.opened_batches or batch >= self.batches or not is_committed(self.root, batch, data, proof):
            raise InvalidInput(f"batch {self.opened_batches} of the committed {self.batches} comes next")
        more = decode_batch(data, self.network)
        if len(self.opened) + len(more) > self.examples:
            raise InvalidInput(f"the set has at most {self.examples} examples")
        self.opened = self.opened.joined(more)
        self.opened_batches += 1
        self.fresh = len(more)

    def settle(
        self, weights: NDArray[np.int16], contributions: Sequence[Contribution], eligible: int
    ) -> tuple[Merged, Judgement]:
        """The round is settled: records are written. weights: (N,) int16, the base. Raises InvalidInput, OutOfRange as `judge`."""
        found = judge(
            self.network,
            weights,
            np.stack([steps_of(one.update, self.shape) for one in contributions]),
            [self.records.get(one.contributor, 0) for one in contributions],
            [one.weight for one in contributions],
            eligible,
            self.opened,
            self.fresh,
        )
        for one, verdict in zip(contributions, found.verdicts, strict=True):
            self.records[one.contributor] = verdict.record
        changed = [
            page
            for page in range(self.shape.page_count)
            if not np.array_equal(found.weights[self.shape.page_slice(page)], weights[self.shape.page_slice(page)])
        ]
        return Merged(found.weights, found.saturated, tuple(changed)), found
