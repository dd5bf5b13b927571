"""What will probably become of an update by rule `evidence`, judged by samples of one's own before anything is sent.

The examples that will judge it are nobody's to know; those that were opened in earlier rounds are everybody's. So the former are played by
this trainer's own held-out samples, drawn again and again, and the verdict is the rule's own. As good as those samples are like the
creator's: a trainer with two of ten labels sees less harm than it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput
from linklearner.domain.rules.evidence.batches import decode_batch
from linklearner.domain.rules.evidence.perceptron import Perceptron, quantised
from linklearner.domain.rules.evidence.verdicts import (
    GAIN_BITS,
    LEAST_LOSS,
    MAX_EXAMPLES,
    MAX_GAIN,
    RECORD_BITS,
    TRIAL_BITS,
    Examples,
    gain_of,
    moved,
    record_after,
    rounded_shift,
    steps_of,
)
from linklearner.domain.tasks import OpenedBatch, Task
from linklearner.domain.training import MergeForecast
from linklearner.domain.update import Update
from services.trainer.data import Samples

DRAWS: Final = 2000


def ruled(
    task: Task,
    weights: NDArray[np.int16],
    update: Update,
    record: int,
    opened: Sequence[OpenedBatch],
    round: int,
) -> tuple[int, int]:
    """Gain and record, Q16, that the rule gives an update in a round, from the batch that was opened for it. record: E before.

    Raises InvalidInput where the round has no batch among `opened`."""
    batch = next((one for one in opened if one.round == round), None)
    if batch is None:
        raise InvalidInput(f"no examples were opened for round {round}")
    fresh = decode_batch(batch.examples, task.network)
    steps = steps_of(update, task.shape)
    both = np.stack((weights, moved(weights, rounded_shift(steps, TRIAL_BITS))))
    base, trial = fresh.losses(task.network, both).sum(axis=1).tolist()
    gain = gain_of(base, trial, len(fresh)) if steps.any() else 0
    return gain, record_after(record, gain)


def forecast(
    task: Task,
    weights: NDArray[np.int16],
    update: Update,
    record: int,
    opened: Sequence[OpenedBatch],
    held_out: Samples,
    generator: np.random.Generator,
) -> MergeForecast:
    """weights: (N,) int16, the update's base. record: E of the account. opened: what the task has opened so far.

    Raises InvalidInput, InvalidModel for a task or samples that the rule cannot judge by.
    """
    network, examples = task.network, task.examples
    assert examples is not None  # of a task that has a network
    if not len(held_out):
        raise InvalidInput("no samples are held out")
    ((_, inputs),) = held_out.inputs_of(task.spec).items()
    scaled = Perceptron.of(task.spec).scaled(inputs)[:MAX_EXAMPLES]
    labels = held_out.targets_of(task.spec).astype(np.int64)[:MAX_EXAMPLES]
    own = Examples(quantised(scaled, examples.input_exponent), labels)
    steps = steps_of(update, task.shape)
    both = np.stack((weights, moved(weights, rounded_shift(steps, TRIAL_BITS))))
    at_base, at_trial = own.losses(network, both)
    known = np.zeros(2, dtype=np.int64)
    for batch in opened:
        known += decode_batch(batch.examples, network).losses(network, both).sum(axis=1)
    left = max(1, examples.batches - examples.opened_batches)
    fresh = max(1, round((examples.examples - examples.opened_examples) / left))
    drawn = generator.integers(0, len(own), (DRAWS, fresh))
    base, trial = at_base[drawn].sum(axis=1), at_trial[drawn].sum(axis=1)
    gains = (base - trial << GAIN_BITS) // np.maximum(base, LEAST_LOSS * fresh)
    gains = np.clip(gains, -MAX_GAIN, MAX_GAIN)
    records = record - (record >> RECORD_BITS) + gains
    merged = (records > 0) & (trial + known[1] < base + known[0]) & bool(steps.any())
    return MergeForecast(
        chance=float(merged.mean()),
        gain=float(gains.mean()) / 2**GAIN_BITS,
        record=record,
        examples=fresh,
        samples=len(own),
    )
