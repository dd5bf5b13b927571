"""Pay by rule `evidence` in the Aspect's code gives what Python's does, bit for bit: the golden vectors, then any updates and atoms."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from linklearner.domain.rules.evidence.credit import Credit, credits_of
from linklearner.domain.rules.evidence.memory import MAX_OWNERS, MEMORY_ROUNDS, Memory, Residual, Revealed, residual
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import Examples, steps_of
from linklearner.domain.shape import Shape, Tensor
from tests.aspects.pure import Pure
from tests.aspects.test_evidence_arithmetic import EXAMPLES, put_examples, shaped
from tests.domain.test_evidence_rule import judged_rounds
from tests.vectors.generate import HERE

CASES: list[dict[str, Any]] = json.loads((HERE / "evidence_pay.json").read_text())
BASE, AFTER, LEFT, WORK, LIST, ATOMS, VALUES = (0x580000 + n * 0x80000 for n in range(7))
ATOM, ROUND = struct.Struct("<qIIIIIIqIIqqqqqqQ"), struct.Struct("<IIII")
TABLE, TABLE_ATOMS = 0x100000, 128


def put_atom(
    pure: Pure, at: int, values_at: int, values: np.ndarray, wide: bool, owners: tuple[bytes, ...] = ()
) -> int:
    """Where the next atom's values may lie."""
    encoded = values.astype("<i4" if wide else "<i2").tobytes()
    pure.write(values_at, encoded)
    pure.call("makeAtom", at, values_at, int(wide), values.size)
    owners_at = values_at + len(encoded) + 15 & ~7
    pure.write(owners_at, b"".join(owners))
    pure.write(at + 20, struct.pack("<II", owners_at, len(owners)))
    return owners_at + 20 * len(owners) + 15 & ~7


def projected(pure: Pure, update: int, listed: int, size: int) -> Residual:
    pure.call("project", update, LIST, listed, size, LEFT, WORK)
    left = np.frombuffer(pure.read(LEFT, 4 * size), "<i4").astype(np.int64)
    first = pure.number("first")
    return Residual(left, bool(pure.number("copy")), None if first < 0 else first, bool(pure.number("mostlyFirst")))


def assert_same(found: Residual, wanted: Residual) -> None:
    assert found.values.tolist() == wanted.values.tolist()
    assert (found.copy, found.first, found.mostly_first) == (wanted.copy, wanted.first, wanted.mostly_first)


class Course:
    """Rounds with one memory, kept as the Aspect keeps them: the bookkeeping is written again here, the arithmetic is the Aspect's."""

    def __init__(self, network: IntegerNetwork, bounded: bool = True) -> None:
        self.bounded = bounded
        tensors = tuple(Tensor(n, q) for n, q in zip(network.tensor_lengths, network.exponents, strict=True))
        self.pure = shaped(Shape(tensors, 16, 2**16, 1), network.input_exponent)
        self.size = network.weight_count
        self.rounds: list[tuple[np.ndarray, list[tuple[np.ndarray, tuple[bytes, ...]]]]] = []

    def take(
        self, round_: Revealed, merged: list[bool], later: Examples
    ) -> tuple[list[Residual], list[Credit], list[tuple[bytes, ...]]]:
        pure = self.pure
        put_examples(pure, later)
        pure.write(TABLE, bytes(8 * TABLE_ATOMS**2))
        pure.call("useTable", TABLE, TABLE_ATOMS if self.bounded else 0)
        pure.write(BASE, round_.base.astype("<i2").tobytes())
        pure.write(AFTER, round_.after.astype("<i2").tobytes())
        at, values, rounds = ATOMS, VALUES, ATOMS + 0x40000
        references = at
        for one in round_.references:
            values, at = put_atom(pure, at, values, one, False), at + ATOM.size
        for index, (delta, novel) in enumerate(self.rounds):
            values, delta_at, at = put_atom(pure, at, values, delta, True), at, at + ATOM.size
            novel_at = at
            for steps, owners in novel:
                values, at = put_atom(pure, at, values, steps, False, owners), at + ATOM.size
            pure.write(rounds + index * ROUND.size, ROUND.pack(delta_at, novel_at, len(novel), 0))
        update, account = at, values
        residuals, credits, all_owners, kept = [], [], [], []
        for who, steps, is_merged in zip(round_.accounts, round_.steps, merged, strict=True):
            pure.write(account, who)
            put_atom(pure, update, account + 64, steps, False)
            listed = pure.call("listFor", account, references, len(round_.references), rounds, len(self.rounds), LIST)
            found = projected(pure, update, listed, self.size)
            count = pure.call("putOwners", account, LIST, WORK)
            data = pure.read(WORK, 20 * count)
            owners = tuple(data[n : n + 20] for n in range(0, len(data), 20))
            pure.call("beginRound", EXAMPLES, len(later), BASE, AFTER, self.size, WORK)
            pure.call("credit", account + 64, int(steps.any()), LEFT, int(found.copy), int(is_merged))
            credits.append(Credit(*(pure.number(name) for name in ("gain", "direct", "novel"))))
            pure.call("creditFairly", int(steps.any()), LEFT, int(found.copy), int(is_merged))
            assert pure.number("novel") == (max(0, credits[-1].novel) if is_merged else 0)
            residuals.append(found)
            all_owners.append(owners)
            if steps.any() and not found.copy:
                kept.append((steps, owners))
        delta = round_.after.astype(np.int64) - round_.base
        self.rounds = [*self.rounds, (delta, kept)][-MEMORY_ROUNDS:]
        return residuals, credits, all_owners


def int16_of(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), "<i2").astype(np.int16)


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("number", range(len(CASES)))
def test_rounds_are_credited_as_the_vectors_say(number: int, bounded: bool) -> None:
    case = CASES[number]
    network = IntegerNetwork(tuple(case["widths"]), tuple(case["exponents"]), case["input_exponent"])
    course = Course(network, bounded)
    for one in case["rounds"]:
        updates = one["updates"]
        people = tuple(bytes.fromhex(update["account"]) for update in updates)
        labels = np.array(one["labels"])
        later = Examples(int16_of(one["inputs"]).reshape(len(labels), -1), labels)
        references = np.array(one["references"], dtype=np.int64).reshape(-1, network.weight_count)
        steps = np.array([update["steps"] for update in updates])
        round_ = Revealed(people, steps, int16_of(one["base"]), int16_of(one["after"]), references)
        residuals, credits, _ = course.take(round_, [update["merged"] for update in updates], later)
        for update, left, credit in zip(updates, residuals, credits, strict=True):
            assert (left.values.tolist(), left.copy) == (update["residual"], update["copy"])
            assert credit == Credit(update["gain"], update["direct"], update["novel"])


int16_steps = st.integers(-(2**15), 2**15 - 1)
deltas = st.integers(-(2**16) + 1, 2**16 - 1)


@given(st.data())
def test_what_is_left_of_any_update_is_what_python_leaves(data: st.DataObject) -> None:
    """Of every length around the unrolled loops', short values and long ones."""
    size = data.draw(st.one_of(st.integers(1, 6), st.sampled_from((15, 16, 17, 33))))
    narrow, wide = data.draw(st.integers(0, 6)), data.draw(st.integers(0, 3))
    few = st.integers(-3, 3)
    steps = data.draw(hnp.arrays(np.int64, size, elements=st.one_of(few, int16_steps)))
    merges = data.draw(hnp.arrays(np.int64, (wide, size), elements=st.one_of(few, deltas)))
    others = data.draw(hnp.arrays(np.int64, (narrow, size), elements=st.one_of(few, int16_steps)))
    pure, values = Pure(), VALUES
    pure.call("useTable", TABLE, data.draw(st.sampled_from((0, 4, TABLE_ATOMS))))
    for index, one in enumerate([*merges, *others]):
        values = put_atom(pure, ATOMS + index * ATOM.size, values, one, index < wide)
        pure.write(LIST + 4 * index, (ATOMS + index * ATOM.size).to_bytes(4, "little"))
    update = ATOMS + (wide + narrow) * ATOM.size
    put_atom(pure, update, values, steps, False)
    assert_same(projected(pure, update, wide + narrow, size), residual(steps, np.concatenate((merges, others))))


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, 9), st.sampled_from((1, 40, 900)))
def test_bounds_choose_what_exact_products_choose(seed: int, narrow: int, wide: int, size: int) -> None:
    """Updates in two bits among others, like each other and not, by planes and by numbers."""
    generator = np.random.default_rng(seed)
    shape = Shape((Tensor(130, 12), Tensor(7, 12), Tensor(64, 12)), 16, 2**16, 1)
    count = shape.weight_count
    common = generator.normal(0, size, (3, count))

    def some() -> np.ndarray:
        mixed = generator.normal(0, 1, 3) @ common + generator.normal(0, size, count)
        if generator.random() < 0.7:  # in two bits: two magnitudes a tensor
            signs = np.where(mixed < 0, -1, 1)
            large = np.abs(mixed) > np.median(np.abs(mixed))
            scales = np.repeat(generator.integers(0, size + 1, 3), [130, 7, 64])
            mixed = signs * np.where(large, 3 * scales, scales)
        return np.rint(mixed).astype(np.int64)

    steps, atoms = some(), [*(some() * 2 for _ in range(wide)), *(some() for _ in range(narrow))]
    pure, values = Pure(), VALUES
    assert pure.shaped(shape.encode())
    pure.call("useTable", TABLE, TABLE_ATOMS)
    for index, one in enumerate(atoms):
        values = put_atom(pure, ATOMS + index * ATOM.size, values, one, index < wide)
        pure.write(LIST + 4 * index, (ATOMS + index * ATOM.size).to_bytes(4, "little"))
    update = ATOMS + len(atoms) * ATOM.size
    put_atom(pure, update, values, steps, False)
    wanted = residual(steps, np.array(atoms, dtype=np.int64).reshape(len(atoms), count))
    for _ in range(2):  # the second time with all products in the table
        assert_same(projected(pure, update, len(atoms), count), wanted)


def test_the_longest_vectors_stay_exact() -> None:
    """2**14 weights here: what a wasm memory of a test has room for; sixteen products at the ends of what 32 bits hold among them."""
    size = 2**14
    for bits in (12, 13, 14, 15):
        steps = np.full(size, -(2**bits), dtype=np.int64)
        steps[::3] += 1
        atoms = np.stack((np.full(size, -(2**bits)), np.full(size, 2**bits - 1)))
        atoms[1, ::2] *= -1
        pure, values = Pure(), VALUES
        for index, one in enumerate(atoms):
            values = put_atom(pure, ATOMS + index * ATOM.size, values, one, False)
            pure.write(LIST + 4 * index, (ATOMS + index * ATOM.size).to_bytes(4, "little"))
        put_atom(pure, ATOMS + 2 * ATOM.size, values, steps, False)
        assert_same(projected(pure, ATOMS + 2 * ATOM.size, 2, size), residual(steps, atoms))


def test_atoms_whose_scores_differ_in_the_last_place_are_told_apart() -> None:
    """Scores beyond 2**53, one apart: only exact integers choose the right one, and of equal ones the first."""
    size = 8
    steps = np.full(size, 2**15 - 1, dtype=np.int64)
    steps[0] = 2**15 - 2
    atoms = np.full((3, size), 2**16 - 1, dtype=np.int64)
    atoms[0, 0] -= 1
    atoms[2] = atoms[1]
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
        chosen = atoms[list(order)]
        pure, values = Pure(), VALUES
        for index, one in enumerate(chosen):
            values = put_atom(pure, ATOMS + index * ATOM.size, values, one, True)
            pure.write(LIST + 4 * index, (ATOMS + index * ATOM.size).to_bytes(4, "little"))
        put_atom(pure, ATOMS + 3 * ATOM.size, values, steps, False)
        assert_same(projected(pure, ATOMS + 3 * ATOM.size, 3, size), residual(steps, chosen))


@given(judged_rounds(), st.lists(st.booleans(), min_size=8, max_size=8))
def test_any_round_is_credited_as_in_python(case: tuple, flags: list[bool]) -> None:
    """Weights and steps at the ends of int16 among them; the first of two rounds is what the second is held against."""
    network, shape, base, updates, _, _, _, opened, _ = case
    steps = np.stack([steps_of(update, shape) for update in updates])
    people = tuple(bytes([index + 1]) * 20 for index in range(len(steps)))
    after = base[::-1].copy()
    merged = [flags[index % len(flags)] for index in range(len(steps))]
    course, memory = Course(network), Memory()
    for turn in range(2):
        round_ = Revealed(people[turn:] + people[:turn], steps, base, after, steps[:turn])
        residuals, credits, _ = course.take(round_, merged, opened)
        wanted = memory.take(round_)
        for found, one in zip(residuals, wanted, strict=True):
            assert_same(found, one)
        assert tuple(credits) == credits_of(network, base, after, steps, wanted, merged, opened)
        base, after = after, base


def test_a_chain_of_copies_has_eight_owners_and_its_author_stays_among_them() -> None:
    """Each of twelve accounts hides the last one's update behind as much noise again."""
    generator = np.random.default_rng(7)
    network = IntegerNetwork((40, 3), (12, 12), 4)
    zero = np.zeros(network.weight_count, dtype=np.int16)
    later = Examples(np.ones((1, 40), dtype=np.int16), np.zeros(1, dtype=np.int64))
    course, memory = Course(network), Memory()
    steps = generator.integers(-900, 901, network.weight_count)
    for number in range(12):
        person = bytes([number + 1]) * 20
        round_ = Revealed((person,), steps[None], zero, zero, steps[None][:0])
        residuals, _, (owners,) = course.take(round_, [False], later)
        (wanted,) = memory.take(round_)
        assert_same(residuals[0], wanted)
        assert not wanted.copy
        assert owners == memory._rounds[-1].owners[0]
        assert (owners[0], owners[-1]) == (bytes([1]) * 20, person)
        assert len(owners) == min(number + 1, MAX_OWNERS)
        steps = steps + generator.integers(-400, 401, network.weight_count)
