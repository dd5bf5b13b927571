import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.errors import InvalidShape
from linklearner.domain.shape import Shape, Tensor
from tests.domain.strategies import shapes


@given(shapes())
def test_decode_inverts_encode(shape: Shape) -> None:
    assert Shape.decode(shape.encode()) == shape


@given(shapes())
def test_pages_and_segments_cover_every_weight_once(shape: Shape) -> None:
    runs = [run for page in range(shape.page_count) for run in shape.segments(page)]
    positions = [position for _, start, stop in runs for position in range(start, stop)]
    assert positions == list(range(shape.weight_count))
    assert all(shape.bounds[tensor] <= start < stop <= shape.bounds[tensor + 1] for tensor, start, stop in runs)
    pages = [page for group in range(shape.group_count) for page in shape.group_page_range(group)]
    assert pages == list(range(shape.page_count))
    assert all(
        shape.group_of(page) == group for group in range(shape.group_count) for page in shape.group_page_range(group)
    )


@given(shapes(), st.data())
def test_no_other_length_decodes(shape: Shape, data: st.DataObject) -> None:
    encoded = shape.encode()
    with pytest.raises(InvalidShape):
        Shape.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    with pytest.raises(InvalidShape):
        Shape.decode(encoded + b"\0")


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"page_length": 4}, {"page_length": 0}),
        ({"page_length": 16384}, {"page_length": 16388}),
        ({"page_length": 8}, {"page_length": 10}),
        ({"group_pages": 1}, {"group_pages": 0}),
        ({"group_pages": 2**16}, {"group_pages": 2**16 + 1}),
        ({"norm_bound": 1}, {"norm_bound": 0}),
        ({"norm_bound": 2**31}, {"norm_bound": 2**31 + 1}),
        ({"tensors": ((1, -8),)}, {"tensors": ((1, -9),)}),
        ({"tensors": ((1, 24),)}, {"tensors": ((1, 25),)}),
        ({"tensors": ((1, 0),)}, {"tensors": ((0, 0),)}),
        ({"tensors": ((1, 0),)}, {"tensors": ()}),
        ({"tensors": ((1, 0),) * 4096}, {"tensors": ((1, 0),) * 4097}),
        (
            {"tensors": ((2**28, 0),), "page_length": 16384, "group_pages": 2},
            {"tensors": ((2**28, 0), (1, 0)), "page_length": 16384, "group_pages": 2},
        ),
        (
            {"tensors": ((2**18, 0),), "page_length": 4, "group_pages": 8},
            {"tensors": ((2**18 + 1, 0),), "page_length": 4, "group_pages": 9},
        ),
        ({"tensors": ((2**15, 0),), "page_length": 4}, {"tensors": ((2**15 + 1, 0),), "page_length": 4}),
    ],
)
def test_each_bound_holds_from_both_sides(good: dict[str, object], bad: dict[str, object]) -> None:
    def build(fields: dict[str, object]) -> Shape:
        merged: dict[str, object] = {"tensors": ((8, 12),), "page_length": 8, "group_pages": 1, "norm_bound": 100}
        merged |= fields
        tensors = tuple(Tensor(*pair) for pair in merged.pop("tensors"))  # type: ignore[attr-defined]
        return Shape(tensors, **merged)  # type: ignore[arg-type]

    assert Shape.decode(build(good).encode())
    with pytest.raises(InvalidShape):
        build(bad)


def test_an_unknown_format_is_refused() -> None:
    encoded = Shape((Tensor(4, 0),), 4, 1, 1).encode()
    with pytest.raises(InvalidShape, match="format 2"):
        Shape.decode(b"\2" + encoded[1:])
