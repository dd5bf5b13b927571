"""What a block holds of an update and of a round, and the layout that follows; by transactions in tests/contracts/test_block_bounds.py."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.pool_rounds import some_update
from linklearner.chain import contracts
from linklearner.chain.contracts import Submit
from linklearner.domain.capacity import CALLDATA, GAS, holds, layout, most_pages, submit_bytes, submit_gas
from linklearner.domain.encodings import ENCODINGS, Encoding
from linklearner.domain.errors import InvalidShape
from linklearner.domain.gas import submit_limit
from linklearner.domain.shape import MAX_GROUPS, MAX_PAGE_LENGTH, MAX_PAGES, MAX_TENSORS, MIN_PAGE_LENGTH, Shape, Tensor
from linklearner.domain.update import Update


def submission(update: Update, shape: Shape) -> bytes:
    parts = Submit(
        task=update.task, digest=update.digest(shape), header=update.header(shape), groups=update.groups(shape)
    )
    return contracts.submit(parts)


@st.composite
def layouts(draw: st.DrawFn) -> Shape:
    """Of any size up to what no transaction holds whole, many tensors, many or few pages and groups."""
    lengths = draw(st.lists(st.integers(1, 60_000), min_size=1, max_size=20))
    largest = draw(st.sampled_from([0, 1_500_000]))
    page_length = draw(st.integers(256, MAX_PAGE_LENGTH // 4)) * 4
    tensors = tuple(Tensor(length, 12) for length in (*lengths, *([largest] if largest else [])))
    return Shape(tensors, page_length, draw(st.integers(1, 64)), 2**31)


@settings(max_examples=12, deadline=None)
@given(layouts(), st.sampled_from(list(ENCODINGS.values())), st.integers(0, 2**32 - 1))
def test_an_update_of_so_many_pages_is_held_by_a_block_and_its_limit_computed(
    shape: Shape, encoding: Encoding, seed: int
) -> None:
    most = most_pages(shape, encoding)
    if not most:
        return
    pages = sorted(np.random.default_rng(seed).choice(shape.page_count, most, replace=False).tolist())
    update = some_update(shape, 1, 1, seed, encoding=encoding, pages=pages, shift=2)
    data = submission(update, shape)
    assert len(data) <= submit_bytes(most, shape, encoding) <= CALLDATA
    limit = submit_limit(data, update, shape)
    assert limit <= 20_000_000
    assert limit >= min(submit_gas(most, shape, encoding, len(data)) * 0.9, 20_000_000)


@pytest.mark.parametrize("encoding", ENCODINGS.values())
def test_what_is_left_out_is_no_more_than_has_to_be(encoding: Encoding) -> None:
    """A model of five million weights, of which a transaction holds a part in either encoding."""
    shape = Shape((Tensor(5_000_000, 12),), 1024, 30, 2**31)
    most = most_pages(shape, encoding)
    assert 0 < most < shape.page_count
    pages = range(most + most // 25)
    data = submission(some_update(shape, 1, 1, encoding=encoding, pages=pages), shape)
    assert len(data) > CALLDATA or submit_gas(len(pages), shape, encoding, len(data)) > GAS


def test_small_models_are_sent_whole() -> None:
    for encoding in ENCODINGS.values():
        shape = Shape((Tensor(900_000, 12),), 1024, 30, 2**31)
        assert most_pages(shape, encoding) == shape.page_count


@pytest.mark.parametrize("encoding", ENCODINGS.values())
@pytest.mark.parametrize("tensors", [1, MAX_TENSORS])
@pytest.mark.parametrize(
    ("page_length", "pages", "group_pages"),
    [
        (4, MAX_GROUPS, 1),
        (4, MAX_PAGES, MAX_PAGES // MAX_GROUPS),
        (4096, MAX_PAGES, MAX_PAGES // MAX_GROUPS),
        (MAX_PAGE_LENGTH, MAX_GROUPS, 1),
        (MAX_PAGE_LENGTH, 2**28 // MAX_PAGE_LENGTH, 2),
    ],
)
def test_of_every_task_some_update_can_be_sent(
    encoding: Encoding, tensors: int, page_length: int, pages: int, group_pages: int
) -> None:
    """However many groups, tensors and pages a shape may have, and however long they are."""
    weights = page_length * pages
    lengths = [1] * (tensors - 1) + [weights - tensors + 1]
    shape = Shape(tuple(Tensor(length, 0) for length in lengths), page_length, group_pages, 1)
    assert shape.group_count <= MAX_GROUPS
    assert most_pages(shape, encoding) >= 1


def test_a_shape_of_which_no_transaction_holds_an_update_is_none() -> None:
    """20,000 groups, two words of calldata each: one update a round can be settled, and none can be sent."""
    with pytest.raises(InvalidShape, match="at most 8192 settlement groups, not 20000"):
        Shape((Tensor(80_000, 12),), 4, 1, 2**31)
    assert Shape((Tensor(4 * MAX_GROUPS, 12),), 4, 1, 2**31).group_count == MAX_GROUPS
    with pytest.raises(InvalidShape, match="at most 8192"):
        Shape((Tensor(4 * MAX_GROUPS + 1, 12),), 4, 1, 2**31)


def test_a_model_of_2_27_weights_has_a_layout() -> None:
    page_length, group_pages = layout([2**27], 2)
    assert Shape((Tensor(2**27, 0),), page_length, group_pages, 1).group_count <= MAX_GROUPS


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 3_000_000), min_size=1, max_size=10), st.integers(1, 8))
def test_a_layout_holds_the_round_it_was_made_for_in_few_groups(lengths: list[int], updates: int) -> None:
    page_length, group_pages = layout(lengths, updates)
    shape = Shape(tuple(Tensor(length, 0) for length in lengths), page_length, group_pages, 1)
    assert holds(updates, shape)
    assert MIN_PAGE_LENGTH <= page_length <= MAX_PAGE_LENGTH and shape.page_count <= 4096
    fewer = shape.group_count * 9 // 10
    if fewer:
        larger = dataclasses.replace(shape, group_pages=-(-shape.page_count // fewer))
        assert larger.group_count > fewer or not holds(updates, larger)


def test_a_round_that_no_layout_holds_is_refused() -> None:
    with pytest.raises(InvalidShape, match="let a round take fewer"):
        layout([2**28], 64)
    layout([2**25], 8)
