"""Rounds by rule `evidence`, chosen so that every outcome, every halving and every clamp comes up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.digest import weight_bytes
from linklearner.domain.encodings import INT8, TWO_BITS, Encoding
from linklearner.domain.rules.evidence.credit import Account, credits_of, fair_credit
from linklearner.domain.rules.evidence.memory import Memory, Revealed
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import Examples, judge, steps_of
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update

NETWORKS = (
    IntegerNetwork((1, 2), (0, 0), 0),
    IntegerNetwork((3, 2), (12, 12), 15),
    IntegerNetwork((5, 4, 3), (24, 7, 0, 13), 0),
    IntegerNetwork((7, 9, 5, 4), (10, 12, 13, 9, 12, 12), 4),
    IntegerNetwork((64, 32, 10), (12,) * 4, 4),
    IntegerNetwork((6, 8, 70), (12,) * 4, 7),
)


def shape_of(network: IntegerNetwork, norm_bound: int, page_length: int = 16) -> Shape:
    tensors = tuple(Tensor(n, q) for n, q in zip(network.tensor_lengths, network.exponents, strict=True))
    return Shape(tensors, page_length, 2**16, norm_bound)


def some_examples(network: IntegerNetwork, count: int, generator: np.random.Generator, ends: bool) -> Examples:
    """Labels that depend on the inputs, so that there is something to learn."""
    high = 2**15 if ends else 16
    inputs = generator.integers(-high if ends else 0, high, (count, network.widths[0])).astype(np.int16)
    if ends:
        inputs.reshape(-1)[:2] = [-(2**15), 2**15 - 1][: inputs.size]
    labels = (inputs.astype(np.int64).argmax(axis=1) + inputs[:, 0] % 2) % network.widths[-1]
    return Examples(inputs, labels)


def some_update(
    shape: Shape, direction: NDArray[np.float64], encoding: Encoding, shifts: Sequence[int], pages: Sequence[int]
) -> Update:
    """The signs of `direction`, large where it is."""
    large = np.abs(direction) > np.median(np.abs(direction))
    digits = np.sign(direction + 1e-9) * np.where(large, 3, 1) * (1 if encoding is TWO_BITS else 40)
    touched = {tensor for page in pages for tensor, _, _ in shape.segments(page)}
    kept = tuple(shift if tensor in touched else 0 for tensor, shift in enumerate(shifts))
    return Update(1, 1, encoding, kept, tuple((page, digits[shape.page_slice(page)].astype(np.int8)) for page in pages))


def downhill(
    network: IntegerNetwork, base: NDArray[np.int16], examples: Examples, generator: np.random.Generator, size: int
) -> NDArray[np.float64]:
    """(N,): by what weights on average moved where random steps made the loss fall."""
    tries = generator.integers(-size, size + 1, (64, network.weight_count))
    moved = np.clip(base + tries, -(2**15), 2**15 - 1).astype(np.int16)
    losses = examples.losses(network, moved).sum(axis=1)
    found: NDArray[np.float64] = (tries * (losses.mean() - losses)[:, None]).mean(axis=0)
    return found


def case(
    shape: Shape,
    network: IntegerNetwork,
    base: NDArray[np.int16],
    updates: Sequence[Update],
    records: Sequence[int],
    weights: Sequence[int],
    eligible: int,
    opened: Examples,
    fresh: int,
) -> dict[str, Any]:
    steps = np.stack([steps_of(update, shape) for update in updates])
    found = judge(network, base, steps, records, weights, eligible, opened, fresh)
    return {
        "shape": shape.encode().hex(),
        "input_exponent": network.input_exponent,
        "widths": list(network.widths),
        "base": weight_bytes(base).hex(),
        "inputs": opened.inputs.astype("<i2").tobytes().hex(),
        "labels": opened.labels.tolist(),
        "fresh": fresh,
        "eligible": str(eligible),
        "losses": opened.losses(network, base).tolist(),
        "updates": [
            {
                "encoded": update.encode(shape).hex(),
                "record": record,
                "weight": str(weight),
                "gain": verdict.gain,
                "record_after": verdict.record,
                "loss": verdict.loss,
                "outcome": verdict.outcome.name,
            }
            for update, record, weight, verdict in zip(updates, records, weights, found.verdicts, strict=True)
        ],
        "weights": weight_bytes(found.weights).hex(),
        "saturated": found.saturated,
        "halvings": found.halvings,
        "loss": found.loss,
    }


def evidence_vectors() -> list[dict[str, Any]]:
    generator = np.random.default_rng(14)
    vectors = []
    for network in NETWORKS:
        for trial, (ends, norm_bound) in enumerate(((False, 2**31), (False, 2**19), (True, 2**31), (False, 2**22))):
            shape = shape_of(network, norm_bound, page_length=604 if network.weight_count > 1000 else 16)
            opened = some_examples(network, 12, generator, ends)
            spread = 2**15 if ends else 1500 if network.weight_count > 100 else 6000
            base = generator.integers(-spread, spread, network.weight_count).astype(np.int16)
            down = downhill(network, base, opened, generator, 600)
            pages = range(shape.page_count)
            big = [4 + 3 * (trial % 3)] * len(shape.tensors)
            updates = [
                some_update(shape, down, TWO_BITS, big, pages),
                some_update(shape, -down, TWO_BITS, big, pages),
                some_update(shape, generator.normal(size=down.size), INT8, [trial] * len(big), pages[::2]),
                some_update(shape, down, INT8, [trial + 1] * len(big), pages),
                some_update(shape, generator.normal(size=down.size), TWO_BITS, [-8 + trial] * len(big), pages),
                some_update(shape, down, TWO_BITS, [13 if ends else -2] * len(big), pages[:1]),
            ]
            records = [0, 40_000, 2_000, -500_000 // 4, 262_000, -262_000]
            eligible = (2**38, 1000, 12)[trial % 3]
            weights = [max(eligible // 6 - index, 0) for index in range(len(updates))]
            vectors.append(case(shape, network, base, updates, records, weights, eligible, opened, 1 + trial))
    return vectors + [guarded(seed) for seed in GUARDED_SEEDS]


GUARDED_SEEDS = (0, 5, 10, 27333)
"""Found by search: seeds of `guarded` that need no halving, one, two, and that are called off."""


def guarded(seed: int) -> dict[str, Any]:
    """Updates that may help apart, a quarter of a step each, and whose full mean may overshoot."""
    network = IntegerNetwork((2, 2), (12, 12), 12)
    shape = shape_of(network, 2**31)
    generator = np.random.default_rng(seed)
    labels = some_examples(network, 6, generator, False).labels
    opened = Examples(generator.integers(-8192, 8192, (6, 2)).astype(np.int16), labels)
    base = generator.integers(-20000, 20000, network.weight_count).astype(np.int16)
    updates = [
        some_update(shape, generator.normal(size=network.weight_count), TWO_BITS, [int(shift)] * 2, [0])
        for shift in generator.integers(9, 14, 3)
    ]
    return case(shape, network, base, updates, [200_000] * 3, [250, 250, 250], 1000, opened, 3)


PEOPLE = [bytes([index + 1]) * 20 for index in range(4)]


def history(seed: int, rounds: int = 11) -> dict[str, Any]:
    """Rounds of four accounts, paid by `novel` and `fair`: two with work of their own, one that copies (exactly, with noise, or a copy of a
    copy), one that sends nothing, noise or a reference."""
    network = IntegerNetwork((4, 6, 3), (12,) * 4, 4) if seed % 2 else IntegerNetwork((5, 4, 3), (11, 12, 13, 10), 5)
    generator = np.random.default_rng(seed)
    count, full = network.weight_count, 2000
    base = generator.integers(-9000, 9000, count).astype(np.int16)
    pool = some_examples(network, 3 * rounds + 6, generator, False)
    memory, accounts = Memory(), {person: Account() for person in PEOPLE}
    last = np.zeros((len(PEOPLE), count), dtype=np.int64)
    played = []
    for number in range(rounds):
        opened = pool[: 3 * number + 6]
        work = np.stack([downhill(network, base, opened, generator, 1500) for _ in range(3)])
        vectors = np.rint(work / np.abs(work).max(axis=1, keepdims=True) * 1200).astype(np.int64)
        vectors = np.clip(vectors + generator.integers(-60, 61, vectors.shape), -(2**15), 2**15)
        steps = np.zeros((len(PEOPLE), count), dtype=np.int64)
        steps[:2] = vectors[:2]
        steps[2] = (last[0], last[0] + generator.integers(-150, 151, count), last[2], last[1] // 2)[number % 4]
        steps[3] = (0 * base, generator.integers(-9000, 9000, count), vectors[2])[number % 3]
        references = vectors[2:] if number else vectors[:0]
        found = judge(network, base, steps, [2000] * 4, [10, 20, 5, 5], 40, opened, 3)
        merged = [verdict.merged for verdict in found.verdicts]
        residuals = memory.take(Revealed(tuple(PEOPLE), steps, base, found.weights, references))
        later = pool[3 * number + 3 :]
        credits = credits_of(network, base, found.weights, steps, residuals, merged, later)
        updates = []
        for person, vector, left, is_merged, credit in zip(PEOPLE, steps, residuals, merged, credits, strict=True):
            accounts[person] = accounts[person].credited(credit)
            payable = accounts[person].payable(full)
            accounts[person] = accounts[person].after_pay(full)
            updates.append(
                {
                    "account": person.hex(),
                    "steps": vector.tolist(),
                    "merged": is_merged,
                    "residual": left.values.tolist(),
                    "copy": left.copy,
                    "gain": credit.gain,
                    "novel": credit.novel,
                    "direct": credit.direct,
                    "payable": payable,
                    "fair": fair_credit(credit, is_merged, full),
                }
            )
        played.append(
            {
                "base": weight_bytes(base).hex(),
                "after": weight_bytes(found.weights).hex(),
                "references": references.tolist(),
                "inputs": later.inputs.astype("<i2").tobytes().hex(),
                "labels": later.labels.tolist(),
                "updates": updates,
            }
        )
        last, base = steps, found.weights
    return {
        "widths": list(network.widths),
        "exponents": list(network.exponents),
        "input_exponent": network.input_exponent,
        "full": full,
        "rounds": played,
    }


def pay_vectors() -> list[dict[str, Any]]:
    return [history(seed) for seed in (20, 21)]
