"""Shapes, updates and weights for property tests: small, but with every irregularity that the formats allow."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from linklearner.domain.encodings import ENCODINGS, Encoding
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update


@st.composite
def shapes(draw: st.DrawFn, max_weights: int = 120) -> Shape:
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6).filter(lambda n: sum(n) <= max_weights))
    tensors = tuple(Tensor(length, draw(st.integers(-8, 24))) for length in lengths)
    return Shape(tensors, draw(st.integers(1, 10)) * 4, draw(st.integers(1, 5)), draw(st.integers(1, 2**31)))


def page_values(length: int, encoding: Encoding) -> st.SearchStrategy[np.ndarray]:
    pages = hnp.arrays(np.int8, length, elements=st.sampled_from(encoding.values))
    return pages.filter(lambda values: encoding.check(values) is None)


@st.composite
def updates(draw: st.DrawFn, shape: Shape, task: int = 0, base_version: int = 1) -> Update:
    encoding = draw(st.sampled_from(list(ENCODINGS.values())))
    present = sorted(draw(st.sets(st.integers(0, shape.page_count - 1))))
    touched = {tensor for page in present for tensor, _, _ in shape.segments(page)}
    shifts = tuple(
        draw(st.integers(-8, encoding.max_shift)) if tensor in touched else 0 for tensor in range(len(shape.tensors))
    )
    pages = []
    for page in present:
        place = shape.page_slice(page)
        pages.append((page, draw(page_values(place.stop - place.start, encoding))))
    return Update(task, base_version, encoding, shifts, tuple(pages))


@st.composite
def shapes_with_updates(draw: st.DrawFn) -> tuple[Shape, Update]:
    shape = draw(shapes())
    return shape, draw(updates(shape, draw(st.integers(0, 2**21 - 1)), draw(st.integers(0, 2**64 - 1))))


def weights(shape: Shape) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.int16, shape.weight_count, elements=st.integers(-(2**15), 2**15 - 1))
