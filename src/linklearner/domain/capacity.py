"""What a block holds: of a round's updates, of an update's pages, and how a model is cut so that it holds many.

How many updates a round of a shape may take is exactly as contracts/BlockBounds.sol bounds it when a task is opened. A round whose
settlement no block holds could neither be settled nor, once it is merged in part, be left. So a task takes no more updates a round than can
be settled, group by group, in one block each, if all of them are int8 and dense, every byte of the calldata counts 16 gas, and every
contributor is paid for the first time.

An update is one transaction, whatever the model's size. One of more weights than that holds is contributed to by updates that leave pages
out (`most_pages`), by error feedback without losing any of them for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil
from typing import Final

from linklearner.domain.encodings import Encoding
from linklearner.domain.errors import InvalidShape
from linklearner.domain.rounds import MAX_UPDATES
from linklearner.domain.rules.evidence.credit import HORIZON
from linklearner.domain.rules.evidence.memory import MEMORY_ROUNDS
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import MAX_EXAMPLES
from linklearner.domain.shape import MAX_GROUPS, MAX_PAGE_LENGTH, MIN_PAGE_LENGTH, Shape, Tensor
from linklearner.domain.update import header_bytes

GAS: Final = 19_000_000
"""Of a block, less a twentieth."""
CALLDATA: Final = 1_040_000
"""Bytes of a transaction (2**20), less what is around the calldata."""

PAGE_LENGTH: Final = 1024
"""Of a page, in the layout of a task that does not ask for another …"""
PAGES: Final = 4096
"""… and has no more pages: each costs 280 gas when the model's digest is made, all in one transaction."""


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


def judges(updates: int, shape: Shape, examples: int) -> bool:
    """Whether `commitExamples` takes a set of so many for rounds of up to `updates` by rule `evidence`: the last round, judged by all.

    Exactly as contracts/rules/Evidence.sol. Raises InvalidModel for a shape that is no perceptron's.
    """
    return shape.group_count == 1 and judging_gas(updates, shape, examples) <= GAS


def judging_gas(updates: int, shape: Shape, examples: int) -> int:
    """Gas of the settlement of a full round by rule `evidence`, judged by so many examples, at most. Raises InvalidModel."""
    gas = settle_gas(updates, shape, settle_bytes(updates, shape))
    # one pass for each update, one for the base, three for the guard; a record is written for each, and its weights read three times more
    gas += (updates + 4) * examples * example_gas(IntegerNetwork.of_shape(shape, 0).widths)
    return gas + updates * (30_000 + 6 * shape.weight_count)


def most_examples(updates: int, shape: Shape) -> int:
    """The largest set that `commitExamples` takes for the shape and rounds of up to `updates`; 0 if it takes none. Raises InvalidModel."""
    return _most(MAX_EXAMPLES, lambda count: judges(updates, shape, count))


def most_judged(shape: Shape, examples: int) -> int:
    """The largest `max_updates` with which `commitExamples` takes a set of so many; 0 if there is none. Raises InvalidModel."""
    return _most(MAX_UPDATES, lambda count: holds(count, shape) and judges(count, shape, examples))


def _most(high: int, works: Callable[[int], bool]) -> int:
    """The largest of 0..high that works, where larger ones never do if smaller ones do not."""
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if works(middle):
            low = middle
        else:
            high = middle - 1
    return low


def layout(lengths: Sequence[int], updates: int) -> tuple[int, int]:
    """(page_length, group_pages) for a model of tensors of these lengths, in rounds of up to `updates`.

    Pages are short, so that an update can leave out what hardly changed, for 6,330 gas each when they are written, 2 % of what 1,024
    weights cost; all are of about the same length. Groups are as large as a block can settle, to within a twentieth: few transactions a
    round. Raises InvalidShape if no groups are small enough: then a round has to take fewer updates.
    """
    weights = sum(lengths)
    pages = -(-weights // min(max(PAGE_LENGTH, -(-weights // PAGES)), MAX_PAGE_LENGTH))
    page_length = min(max(MIN_PAGE_LENGTH, -(-weights // pages // 4) * 4), MAX_PAGE_LENGTH)
    tensors = tuple(Tensor(length, 0) for length in lengths)
    pages, groups = -(-weights // page_length), 1
    while groups <= min(pages, MAX_GROUPS):
        group_pages = -(-pages // groups)
        if holds(updates, Shape(tensors, page_length, group_pages, 1)):
            return page_length, group_pages
        groups = max(groups + 1, groups * 21 // 20)
    raise InvalidShape(f"no block settles {updates} updates of {weights} weights in any group: let a round take fewer")


def most_pages(shape: Shape, encoding: Encoding) -> int:
    """Of one update, so that a transaction and a block hold it whatever its bytes are; the page count if that is any number of them.

    At least 1: header and groups of every shape leave room for a page (`shape.MAX_GROUPS`).
    """
    low, high = 0, shape.page_count
    while low < high:
        middle = (low + high + 1) // 2
        size = submit_bytes(middle, shape, encoding)
        if size <= CALLDATA and submit_gas(middle, shape, encoding, size) <= GAS:
            low = middle
        else:
            high = middle - 1
    return low


def submit_bytes(pages: int, shape: Shape, encoding: Encoding) -> int:
    """Calldata of `submit` with so many pages, at most. Bytes."""
    data = pages * encoding.page_bytes(shape.page_length)
    # selector, four words, header and its length, the groups' count; each group's offset and length, its padding if it has pages
    head = 4 + 4 * 32 + 32 + _padded(header_bytes(shape)) + 32
    return head + 64 * shape.group_count + 31 * min(pages, shape.group_count) + data


def submit_gas(pages: int, shape: Shape, encoding: Encoding, size: int) -> int:
    """Gas of that call, at most; size: bytes of its calldata. The parts are those of `gas.submit_limit`."""
    words, groups, tensors = size // 32 + 1, shape.group_count, len(shape.tensors)
    pool = 21_000 + 16 * size + 41_000 + 56_000 + 303 * groups + 9 * words + 3 * words + words * words // 512
    aspect = 2_200 + 23 * tensors + 6 * shape.page_count + 26 * groups + 7 * pages + 16 * (pages + tensors)
    return pool + aspect + ceil(encoding.submit_gas * pages * shape.page_length)


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


def pay_bytes(updates: int, shape: Shape) -> int:
    """Calldata that pays one full round later (rule `evidence`), with eight full ones in the memory: int8 and dense, eight owners each."""
    all_ = (MEMORY_ROUNDS + 1) * updates
    return 500 + 2 * shape.weight_count + (MEMORY_ROUNDS + 1) * 512 + all_ * (161 + settle_bytes(1, shape))


def pay_gas(updates: int, shape: Shape, examples: int, work: int, size: int) -> int:
    """Gas of that call, at most; size: bytes of its calldata. examples: that judge the round. work: gas of one's forward pass
    (`example_gas`). Each division is rounded down, as in the contract."""
    weights, all_ = shape.weight_count, (MEMORY_ROUNDS + 1) * updates
    gas = 200_000 + 16 * size + all_ * 3_000 + size // 3 + updates * 40_000
    gas += (all_ + 3 * (MEMORY_ROUNDS + 1)) * 3 * weights
    gas += updates * (6 * (all_ + MEMORY_ROUNDS) * (60 + 31 * weights // 50) + 60 * weights)
    return gas + (5 * updates + 1) * examples * work


def pay_examples(batches: int, examples: int) -> int:
    """So many of a set's examples judge a round at most: eleven batches, and each other one has an example."""
    return examples - max(0, batches - HORIZON - 1)


def example_gas(widths: Sequence[int]) -> int:
    """Of one example's forward pass through a perceptron, from input to output, at most: as the Aspect says it."""
    return 100 + sum(width * (20 + before * 5 // 8 + before // 32) for before, width in pairwise(widths))


def _group_pages(shape: Shape) -> int:
    """Of the largest group: the first."""
    return min(shape.group_pages, shape.page_count)


def _group_weights(shape: Shape) -> int:
    """Of the largest group: the first."""
    return min(shape.group_pages * shape.page_length, shape.weight_count)


def _padded(length: int) -> int:
    """To whole words."""
    return -(-length // 32) * 32
