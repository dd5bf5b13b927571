"""A round that was let in can be settled: full rounds of the dearest updates at the bound, and what lies beyond it, by transactions.

The bound itself is linklearner.domain.capacity; contracts/BlockBounds.sol is the same.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from bench.pool import CREATOR, TERMS, PoolChain, account, terms_tuple
from bench.pool_rounds import PlayedRound
from linklearner.domain.capacity import GAS, layout, most_pages, most_updates
from linklearner.domain.encodings import INT8
from linklearner.domain.gas import submit_limit
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update
from tests.contracts.test_training_pool import refused

BLOCK_GAS = 20_000_000
SETTLER = 0

FEW_LARGE = Shape((Tensor(35_000, 12), Tensor(25_000, 12)), 10_000, 2, 2**31 - 1)
"""Three groups of two pages; the bytes of the updates decide."""
MANY_SMALL = Shape((Tensor(300, 12), Tensor(700, 12)), 64, 3, 2**31 - 1)
"""Six groups of three pages at most; what each update costs besides its bytes decides."""


def dearest(shape: Shape, task: int, seed: int, pages: Sequence[int]) -> Update:
    """int8, and every byte that can be non-zero is."""
    generator = np.random.default_rng(seed)
    values = np.array([value for value in range(-127, 128) if value], dtype=np.int8)
    touched = {tensor for page in pages for tensor, _, _ in shape.segments(page)}
    shifts = tuple(1 if tensor in touched else 0 for tensor in range(len(shape.tensors)))
    parts = tuple((page, generator.choice(values, shape.page_weights(page))) for page in pages)
    return Update(task, 1, INT8, shifts, parts)


def opening(world: PoolChain, shape: Shape, max_updates: int) -> None:
    terms = dataclasses.replace(TERMS, max_updates=max_updates)
    world.transact(account(CREATOR), "openTask", world.number("nextTask"), shape.encode(), "{}", terms_tuple(terms))


def full_round(shape: Shape, pages: Sequence[int]) -> list[int]:
    """Gas of each group's settlement; all contributors are new, and half of the weights run into a bound of int16."""
    updates = most_updates(shape)
    world = PoolChain.deployed(updates + 1)
    try:
        base = np.random.default_rng(7).choice(np.array([-32768, 32767, 5], dtype=np.int16), shape.weight_count)
        terms = dataclasses.replace(TERMS, max_updates=updates)
        pages_per_call = 4
        task = world.open_task(shape, base, [1_000] * updates, terms, pages_per_call=pages_per_call)
        round_ = PlayedRound(world, task, shape)
        for who in range(1, updates + 1):
            round_.submit(who, dearest(shape, task, who, pages))
        assert world.status(task)["accepted"] == updates
        receipts = round_.settle(SETTLER)
        assert world.status(task)["version"] == 2
        assert all(world.earned(task, who) for who in range(1, updates + 1))
        return [receipt.gas_used for receipt in receipts]
    finally:
        world.chain.close()


@pytest.mark.parametrize("shape", [FEW_LARGE, MANY_SMALL], ids=["few large updates", "many small updates"])
def test_a_full_round_at_the_bound_is_settled_group_by_group_in_a_block_each(shape: Shape) -> None:
    gas = full_round(shape, range(shape.page_count))
    assert len(gas) == shape.group_count > 1
    assert max(gas) <= GAS < BLOCK_GAS


def test_a_round_that_is_dense_in_its_second_group_only_is_settled_too() -> None:
    """59 accounts once filled a round so: the first group merged, the second fitted no block, and all stake was locked for ever."""
    gas = full_round(FEW_LARGE, FEW_LARGE.group_page_range(1))
    assert max(gas) == gas[1] <= GAS


def test_so_many_updates_as_no_block_settles_are_refused_when_the_task_is_opened(world: PoolChain) -> None:
    most = most_updates(FEW_LARGE)
    assert most < 59
    for updates in (most + 1, 59, 1024):
        error = refused("BadTerms", lambda updates=updates: opening(world, FEW_LARGE, updates))
        assert error.values == {"field": "maxUpdates"}
    opening(world, FEW_LARGE, most)


def test_a_shape_of_which_no_block_settles_one_update_is_refused(world: PoolChain) -> None:
    shape = Shape((Tensor(160_000, 12),), 16_384, 4, 1)
    assert most_updates(shape) == 0
    refused("BadTerms", lambda: opening(world, shape, 1))
    smaller = dataclasses.replace(shape, group_pages=1)
    assert most_updates(smaller) > 0
    opening(world, smaller, most_updates(smaller))


def test_of_a_model_larger_than_a_transaction_the_largest_update_is_taken(world: PoolChain) -> None:
    """int8, every byte of them dear: as many pages as `most_pages` says."""
    lengths = [1_200_000, 100_000]
    page_length, group_pages = layout(lengths, TERMS.max_updates)
    shape = Shape(tuple(Tensor(length, 12) for length in lengths), page_length, group_pages, 2**31 - 1)
    most = most_pages(shape, INT8)
    assert most < shape.page_count
    base = np.zeros(shape.weight_count, dtype=np.int16)
    task = world.open_task(shape, base, [1_000], pages_per_call=50)
    update = dearest(shape, task, 1, range(shape.page_count - most, shape.page_count))
    data = world.submission(update, shape)
    limit = submit_limit(data, update, shape)
    receipt = world.send(account(1), world.pool, data, gas=limit)
    assert receipt.gas_used <= GAS < limit <= BLOCK_GAS
    assert len(data) < 2**20 - 200


def test_every_term_of_the_bound_counts(world: PoolChain) -> None:
    """A shape at whose bound none of them may be left out: python -m tests.mutations does it, one by one."""
    lengths = np.random.default_rng(51).integers(1, 150, 100)
    shape = Shape(tuple(Tensor(int(length), 12) for length in lengths), 16, 5, 1)
    most = most_updates(shape)
    assert most == 203
    opening(world, shape, most)
    refused("BadTerms", lambda: opening(world, shape, most + 1))
