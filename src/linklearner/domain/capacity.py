"""How many updates a round of a shape may take: exactly as contracts/BlockBounds.sol bounds it when a task is opened.

A round whose settlement no block holds could neither be settled nor, once it is merged in part, be left. So a task takes no more updates
a round than can be settled, group by group, in one block each, if all of them are int8 and dense, every byte of the calldata counts 16
gas, and every contributor is paid for the first time.
"""

from __future__ import annotations

from typing import Final

from linklearner.domain.rounds import MAX_UPDATES
from linklearner.domain.shape import Shape
from linklearner.domain.update import header_bytes

GAS: Final = 19_000_000
"""Of a block, less a twentieth."""
CALLDATA: Final = 1_040_000
"""Bytes of a transaction (2**20), less what is around the calldata."""


def holds(updates: int, shape: Shape) -> bool:
    """Whether `openTask` takes `updates` as the most of a round."""
    size = settle_bytes(updates, shape)
    return size <= CALLDATA and settle_gas(updates, shape, size) <= GAS


def most_updates(shape: Shape) -> int:
    """The largest `max_updates` that `openTask` takes for the shape; 0 if not even one update can be settled in one block."""
    low, high = 0, MAX_UPDATES
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle, shape):  # falls with the number of updates
            low = middle
        else:
            high = middle - 1
    return low


def settle_bytes(updates: int, shape: Shape) -> int:
    """Calldata of `settle` for the largest group, every update int8 and dense. Bytes."""
    # offset, 6 words of the struct, the lengths of header, digests and pages
    each = 10 * 32 + _padded(header_bytes(shape)) + 32 * shape.group_count + _padded(_group_weights(shape))
    return 4 + 5 * 32 + updates * each


def settle_gas(updates: int, shape: Shape, size: int) -> int:
    """Gas of that call; size: bytes of its calldata. Each division is rounded down, as in the contract."""
    pages, weights, tensors = _group_pages(shape), _group_weights(shape), len(shape.tensors)
    words = (_padded(header_bytes(shape)) + _padded(weights)) // 32 + shape.group_count + 40
    # transaction and pool; the Aspect for each update; the Aspect once
    gas = 150_000 + 16 * size + updates * (32_000 + 10 * words) + 3 * words + words * words // 512
    gas += updates * (100 + 30 * pages + 14 * tensors + 5 * weights // 4)
    return gas + 9 * tensors + pages * 6_600 + 322 * weights + 280 * shape.page_count


def _group_pages(shape: Shape) -> int:
    """Of the largest group: the first."""
    return min(shape.group_pages, shape.page_count)


def _group_weights(shape: Shape) -> int:
    """Of the largest group: the first."""
    return min(shape.group_pages * shape.page_length, shape.weight_count)


def _padded(length: int) -> int:
    """To whole words."""
    return -(-length // 32) * 32
