"""Samples and tasks: what fits, what is converted and said, and what is refused with the remedy; and how samples are cut."""

from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from linklearner.domain.errors import InvalidInput
from linklearner.domain.graph import Constant, Graph, Node, Signature, TensorSpec
from linklearner.domain.model import Loss, ModelSpec
from linklearner.domain.operators import Datatype
from services.trainer import data, training
from services.trainer.data import Samples, Shard, split
from services.trainer.recipe import Recipe

F, I64, I32, U8, BOOL = Datatype.FP32, Datatype.INT64, Datatype.INT32, Datatype.UINT8, Datatype.BOOL
N = 60


def task(
    *inputs: Signature, loss: Loss = Loss.CROSS_ENTROPY, outputs: tuple[int, ...] = (3,), labels: str = "0 1 2"
) -> ModelSpec:
    """A linear model of all inputs together."""
    nodes, constants, parameters, last = [], [], [], ""
    for signature in inputs:
        name, length = signature.name, prod(signature.dimensions)
        constants.append(Constant(f"{name} flat", (2,), (-1, length), I64))
        parameters.append(TensorSpec(f"{name} W", (length, prod(outputs))))
        nodes += [
            Node("Cast", (name,), f"{name} f", {"to": 1}),
            Node("Reshape", (f"{name} f", f"{name} flat"), f"{name} r"),
            Node("MatMul", (f"{name} r", f"{name} W"), f"{name} m"),
        ]
        if last:
            nodes.append(Node("Add", (last, f"{name} m"), f"{name} sum"))
        last = nodes[-1].output
    constants.append(Constant("shape", (1 + len(outputs),), (-1, *outputs), I64))
    nodes.append(Node("Reshape", (last, "shape"), "answer"))
    graph = Graph(inputs, (Signature("answer", F, outputs),), tuple(parameters), tuple(constants), tuple(nodes))
    names = tuple(labels.split()) if loss is Loss.CROSS_ENTROPY else ()
    return ModelSpec("linear", graph, loss, names)


def signature(name: str = "x", datatype: Datatype = F, dimensions: tuple[int, ...] = (4,), **more: object) -> Signature:
    return Signature(name, datatype, dimensions, **more)  # type: ignore[arg-type]


def samples(*, y: object = None, names: tuple[str, ...] = (), **inputs: np.ndarray) -> Samples:
    given_y = np.arange(N) % 3 if y is None else np.asarray(y)
    return Samples.of(inputs or {"x": np.arange(N * 4.0).reshape(N, 4)}, given_y, "mine.npz", names=names)


# --- inputs ---


@pytest.mark.parametrize("wanted", list(Datatype))
@pytest.mark.parametrize(
    "given_type", ["u1", "i1", "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "?", ">i4", ">f8"]
)
def test_numbers_reach_the_model_in_its_element_type(wanted: Datatype, given_type: str) -> None:
    values = np.random.default_rng(3).integers(0, 2, (N, 4)).astype(given_type)
    found = samples(x=values).inputs_of(task(signature("other name", wanted)))
    assert list(found) == ["other name"]
    assert found["other name"].dtype == wanted.dtype and found["other name"].flags.writeable
    np.testing.assert_array_equal(found["other name"], values.astype(np.float64))


@pytest.mark.parametrize(
    ("values", "wanted", "why"),
    [
        (0.5, I64, r"takes whole numbers \(INT64\).*round them"),
        (256, U8, "takes UINT8 from 0 to 255, the data lies between 256 and 256"),
        (-1, U8, "takes UINT8 from 0 to 255"),
        (2, BOOL, "takes BOOL from 0 to 1"),
        (2**40, I32, "takes INT32 from -2147483648 to"),
        (3e38, I64, "takes INT64"),
    ],
)
def test_numbers_that_an_element_type_does_not_have_are_refused(values: float, wanted: Datatype, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        samples(x=np.full((N, 4), values)).inputs_of(task(signature(datatype=wanted)))


def test_words_that_a_vocabulary_does_not_have_are_refused_whatever_is_allowed() -> None:
    spec = task(signature("tokens", I64, (4,), range=(0, 99)))
    assert samples(x=np.full((N, 4), 99)).inputs_of(spec)["tokens"].max() == 99
    for bad in (100, -1):
        with pytest.raises(InvalidInput, match=r"from 0 to 99.*use the task's own numbering") as refused:
            samples(x=np.full((N, 4), bad)).inputs_of(spec)
        assert refused.value.reason == "RangeMismatch"


def test_several_inputs_are_taken_by_name_and_in_the_task_s_dimensions() -> None:
    spec = task(signature("tokens", I64, (2, 2)), signature("age", F, (1,)), signature("mask", BOOL, (4,)))
    x = np.arange(N * 4).reshape(N, 4)
    found = samples(age=np.arange(N), mask=x > 3, tokens=x, surplus=x).inputs_of(spec)
    assert {name: (a.dtype, a.shape) for name, a in found.items()} == {
        "tokens": (np.int64, (N, 2, 2)),
        "age": (np.float32, (N, 1)),
        "mask": (np.bool_, (N, 4)),
    }
    with pytest.raises(
        InvalidInput, match="takes an input 'age', the data has mask, tokens: name the array as the task"
    ):
        samples(mask=x, tokens=x).inputs_of(spec)
    with pytest.raises(InvalidInput, match="takes an input 'x', the data has a, b"):
        samples(a=x, b=x).inputs_of(task(signature()))


def test_columns_of_a_table_are_several_inputs_by_their_names(tmp_path: Path) -> None:
    text = "age,t0,t1,t2,kind\n" + "".join(f"{i},{i % 5},{i % 7},{i % 3},{i % 3}\n" for i in range(N))
    (tmp_path / "t.csv").write_text(text)
    learn, _ = data.load(f"csv:{tmp_path}/t.csv?target=kind", Shard())
    found = learn.inputs_of(task(signature("t", I64, (3,)), signature("age", F, (1,))))
    assert found["t"].dtype == np.int64 and found["t"].shape == (48, 3)
    np.testing.assert_array_equal(found["t"][:, 0], found["age"][:, 0] % 5)
    with pytest.raises(InvalidInput, match="neither a column of that name nor age0 to age16777215"):
        learn.inputs_of(task(signature("age", F, (2**12, 2**12)), signature("t", I64, (3,)), outputs=(1,), labels="0"))
    with pytest.raises(InvalidInput, match=r"neither a column of that name nor u0 to u2, but age, t0.*rename"):
        learn.inputs_of(task(signature("u", I64, (3,)), signature("age", F, (1,))))
    with pytest.raises(
        InvalidInput, match=r"rows of 3 numbers, not of 4.*columns are age, t0, t1, t2: choose with columns="
    ):
        learn.inputs_of(task(signature("x", F, (3,))))


def test_channels_move_to_the_front_where_that_can_mean_but_one_thing_and_are_said_to() -> None:
    last = np.random.default_rng(3).integers(0, 256, (N, 8, 6, 3)).astype(np.uint8)
    spec = task(signature(dimensions=(3, 8, 6)))
    with capture_logs() as said:
        mine = samples(x=last)
        found = mine.inputs_of(spec)["x"]
        assert mine.inputs_of(spec)["x"] is found  # converted, and said, once
    np.testing.assert_array_equal(found, np.moveaxis(last, -1, 1))
    assert [line["event"] for line in said] == ["channels_moved_first"]
    first = np.ascontiguousarray(np.moveaxis(last, -1, 1))
    with capture_logs() as said:
        np.testing.assert_array_equal(samples(x=first).inputs_of(spec)["x"], first)
    assert not said


@pytest.mark.parametrize(
    ("given_shape", "wanted"),
    [((8, 6, 3), (3, 6, 8)), ((3, 8, 6), (8, 6, 3)), ((4, 3, 4), (4, 4, 3)), ((8, 7, 6), (6, 8, 7)), ((6, 8), (8, 6))],
)
def test_an_order_that_would_be_a_guess_is_refused_with_the_remedy(
    given_shape: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    with pytest.raises(
        InvalidInput, match=r"in another order of the dimensions: transpose the array \(numpy.moveaxis\)"
    ):
        samples(x=np.zeros((N, *given_shape))).inputs_of(task(signature(dimensions=wanted)))


@pytest.mark.parametrize(
    ("given_shape", "wanted"),
    [
        ((8, 6), (1, 8, 6)),
        ((8, 6, 1), (1, 8, 6)),
        ((1, 8, 6), (8, 6)),
        ((48,), (1, 8, 6)),
        ((1, 8, 6), (48,)),
        ((), (1,)),
    ],
)
def test_lengths_of_one_and_rows_come_and_go(given_shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    x = np.random.default_rng(3).normal(size=(N, *given_shape)).astype(np.float32)
    found = samples(x=x).inputs_of(task(signature(dimensions=wanted)))["x"]
    np.testing.assert_array_equal(found, x.reshape(N, *wanted))


def photos(channels: int, *, opaque: bool = True) -> Samples:
    x = np.random.default_rng(3).integers(0, 255, (N, channels, 8, 6)).astype(np.uint8)
    if channels == 4 and opaque:
        x[:, 3] = 255
    return Samples({"x": x}, np.arange(N) % 3, pictures=True)


def test_pictures_become_as_many_channels_as_the_task_takes() -> None:
    import PIL.Image

    rgb = photos(3)
    grey = rgb.inputs_of(task(signature(datatype=U8, dimensions=(1, 8, 6))))["x"]
    by_pillow = np.stack([np.asarray(PIL.Image.fromarray(np.moveaxis(x, 0, -1)).convert("L")) for x in rgb.inputs["x"]])
    assert np.abs(grey[:, 0].astype(int) - by_pillow).max() <= 1
    assert rgb.inputs_of(task(signature(dimensions=(8, 6))))["x"].shape == (N, 8, 6)
    colour = photos(1).inputs_of(task(signature(dimensions=(3, 8, 6))))["x"]
    for channel in range(3):
        np.testing.assert_array_equal(colour[:, channel], photos(1).inputs["x"][:, 0])
    opaque = photos(4).inputs_of(task(signature(dimensions=(3, 8, 6))))["x"]
    np.testing.assert_array_equal(opaque, photos(4).inputs["x"][:, :3])
    with pytest.raises(InvalidInput, match="transparent: put them on a background first"):
        photos(4, opaque=False).inputs_of(task(signature(dimensions=(3, 8, 6))))
    with pytest.raises(InvalidInput, match="alpha channel, these have none: save them as RGBA"):
        rgb.inputs_of(task(signature(dimensions=(4, 8, 6))))
    with pytest.raises(InvalidInput, match=r"8x6 numbers.*: bring the pictures to that size"):
        rgb.inputs_of(task(signature(dimensions=(1, 28, 28))))


def test_pictures_have_their_channels_last_where_the_task_has_them_there() -> None:
    rgb = photos(3)
    found = rgb.inputs_of(task(signature(datatype=U8, dimensions=(8, 6, 3))))["x"]
    np.testing.assert_array_equal(found, np.moveaxis(rgb.inputs["x"], 1, -1))
    assert photos(1).inputs_of(task(signature(dimensions=(8, 6, 3))))["x"].shape == (N, 8, 6, 3)
    with pytest.raises(InvalidInput, match="in another order of the dimensions"):
        rgb.inputs_of(task(signature(dimensions=(6, 8, 3))))


def test_what_fits_one_task_s_vocabulary_is_looked_at_again_for_another_s() -> None:
    words = samples(x=np.full((N, 4), 500))
    words.inputs_of(task(signature("tokens", I64, (4,), range=(0, 999))))
    with pytest.raises(InvalidInput, match="from 0 to 99"):
        words.inputs_of(task(signature("tokens", I64, (4,), range=(0, 99))))


def test_an_array_that_is_no_picture_keeps_its_channels() -> None:
    with pytest.raises(InvalidInput, match="takes rows of 1x8x6 numbers, not of 3x8x6"):
        samples(x=photos(3).inputs["x"]).inputs_of(task(signature(dimensions=(1, 8, 6))))


@pytest.mark.parametrize(
    ("span", "values", "hint"),
    [
        ((0.0, 1.0), (0, 255), r"\?scale=1/255"),
        ((0.0, 16.0), (0, 250), r"\?scale=16/255"),
        ((-1.0, 1.0), (0, 255), r"\?scale=FACTOR"),
        ((0.0, 255.0), (0, 1), r"\?scale=FACTOR"),
    ],
)
def test_a_range_far_from_the_task_s_is_refused_with_the_factor(
    span: tuple[float, float], values: tuple[int, int], hint: str
) -> None:
    x = np.linspace(*values, N * 4).reshape(N, 4)
    spec = task(signature("x", range=span))
    with pytest.raises(InvalidInput, match=f"expects .*: scale them to that .*{hint}.*ALLOW_RANGE") as refused:
        samples(x=x).check_range(spec)
    assert refused.value.reason == "RangeMismatch"
    factor = 1 / 255 if values[1] == 255 else 16 / 255
    if "FACTOR" not in hint:
        samples(x=x).scaled(factor).check_range(spec)


def test_each_input_is_held_to_its_own_range() -> None:
    spec = task(signature("a", range=(0.0, 1.0)), signature("b", range=(0.0, 255.0)))
    good, bad = np.linspace(0, 1, N * 4).reshape(N, 4), np.linspace(0, 255, N * 4).reshape(N, 4)
    samples(a=good, b=bad).check_range(spec)
    with pytest.raises(InvalidInput, match=r"linear \(input a\) expects 0 to 1"):
        samples(a=bad, b=bad).check_range(spec)


# --- targets ---


@pytest.mark.parametrize(
    ("y", "labels", "why"),
    [
        (np.arange(N) % 4, "0 1 2", "labels 0..2, the samples go up to 3"),
        (np.arange(N) % 3 + 1, "0 1 2", "seem to count from 1: subtract 1 from y"),
        (np.arange(N) % 3 + 1, "a b c", "seem to count from 1: subtract 1 from y"),
        (np.eye(3)[np.arange(N) % 3], "a b c", r"one-hot \[60, 3\]: give y.argmax\(axis=1\)"),
        (np.eye(3, dtype=int)[np.arange(N) % 3], "a b c", r"give y.argmax\(axis=1\)"),
        (np.full((N, 3), 0.3), "a b c", "y has 3 numbers: give one label, 0 to 2"),
        ((np.arange(N) % 3).astype(float), "a b c", r"y holds floats: give y.astype\(int\)"),
        (np.arange(N) / 2, "a b c", "whole numbers from 0 to 2 or text, y has 0.5: is another column or array meant"),
        (np.arange(N) % 2 * 2 - 1, "a b c", r"smallest here is -1: for -1 and 1 give \(y \+ 1\) // 2"),
        (np.arange(N) - 5, "a b c", "smallest here is -5: number them anew"),
        (np.arange(N) * 1e6, "a b c", r"go up to 5.9e\+07: number them anew"),
        (["a", "b", "d"] * 20, "a b c", "the data has the label 'd', the task knows a, b, c: rename it"),
        (np.arange(N) % 3, "3 4 5", "labels are called 3, 4, 5, the data has 0: write the labels by these numbers"),
    ],
)
def test_labels_that_the_task_does_not_have_are_refused_with_the_remedy(y: object, labels: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        samples(y=y).targets_of(task(signature(), labels=labels))


def test_labels_are_taken_by_name_where_either_side_names_them() -> None:
    spec = task(signature(), labels="cat ant bee")
    texts = ["ant", "bee", "cat", "ant"] * 15
    assert samples(y=texts).targets_of(spec)[:4].tolist() == [1, 2, 0, 1]
    assert samples(y=np.arange(N) % 3).targets_of(spec)[:3].tolist() == [0, 1, 2]
    by_number = samples(y=np.arange(N) % 3 + 3).targets_of(task(signature(), labels="5 4 3"))
    assert by_number[:3].tolist() == [2, 1, 0]
    part = samples(y=texts)[np.flatnonzero(np.array(texts) == "ant")]
    assert set(part.targets_of(task(signature(), labels="ant y z")).tolist()) == {0}  # the others are not asked for


@pytest.mark.parametrize("y", [np.arange(N), np.arange(N)[:, None], np.arange(N) - 20, np.arange(N) * 0.5])
def test_a_regression_takes_numbers_of_any_type(y: np.ndarray) -> None:
    found = samples(y=y).targets_of(task(signature(), loss=Loss.MEAN_SQUARED_ERROR, outputs=(1,)))
    assert found.dtype == np.float32 and found.shape == (N, 1)
    np.testing.assert_array_equal(found[:, 0], y.reshape(-1).astype(np.float32))


def test_several_targets_take_the_dimensions_of_the_answer() -> None:
    spec = task(signature(), loss=Loss.MEAN_SQUARED_ERROR, outputs=(2, 3))
    assert samples(y=np.ones((N, 6))).targets_of(spec).shape == (N, 2, 3)
    with pytest.raises(InvalidInput, match=r"learns 6 numbers of each sample, y has 1: give y as \(n, 6\)"):
        samples(y=np.ones(N)).targets_of(spec)


def test_yes_and_no_are_one_and_zero() -> None:
    spec = task(signature(), loss=Loss.BINARY_CROSS_ENTROPY, outputs=(1,))
    for y in (np.arange(N) % 2, np.arange(N) % 2 == 0, np.linspace(0, 1, N)):
        assert samples(y=y).targets_of(spec).shape == (N, 1)
    several = task(signature(), loss=Loss.BINARY_CROSS_ENTROPY, outputs=(3,))
    one_hot = np.eye(3)[np.arange(N) % 3]
    np.testing.assert_array_equal(samples(y=one_hot).targets_of(several), one_hot)
    with pytest.raises(InvalidInput, match="y lies between -1 and 1: write 0 for no and 1 for yes"):
        samples(y=np.arange(N) % 2 * 2 - 1).targets_of(spec)
    with pytest.raises(InvalidInput, match=r"y is text \('no' …\): give numbers, or 0 and 1"):
        samples(y=["yes", "no"] * 30).targets_of(spec)


def test_targets_that_are_all_alike_teach_nothing() -> None:
    for y, why in ((np.full(N, 0.5), r"target \[0.5\]"), (["rose"] * N, "label rose"), (np.zeros(N, int), "label 0")):
        with pytest.raises(InvalidInput, match=f"nothing to learn: all 60 samples have the {why}"):
            samples(y=y).check_learnable()
    with pytest.raises(InvalidInput, match="samples are alike"):
        samples(a=np.ones((N, 2)), b=np.zeros((N, 3), int)).check_learnable()
    samples(a=np.ones((N, 2)), b=np.arange(N)).check_learnable()


# --- cuts ---


def test_numbers_are_held_out_and_cut_by_their_tenths() -> None:
    diabetes = data.diabetes()
    learn, held_out = data.hold_out(diabetes)
    assert len(held_out) == round(0.2 * len(diabetes)) + 2 and len(learn) + len(held_out) == len(diabetes)
    assert abs(float(learn.y.mean()) - float(held_out.y.mean())) < 5  # of 25 to 346
    again, _ = data.hold_out(diabetes)
    np.testing.assert_array_equal(learn.y, again.y)

    def spread(alpha: float | None) -> float:
        return float(np.std([learn.y[rows].mean() for rows in data.shards(learn.y, 5, alpha, 7)]))

    assert spread(0.1) > 3 * spread(None)


@given(
    st.lists(st.sampled_from((0.0, 1.0, 1.5, 7.0, -3.0)), min_size=1, max_size=80),
    st.integers(1, 3),
    st.integers(1, 9),
    st.sampled_from((None, 0.1, 1.0)),
)
def test_every_target_is_dealt_out_once(values: list[float], k: int, count: int, alpha: float | None) -> None:
    y = np.stack([np.array(values, dtype=np.float32)] * k, axis=1)
    if count <= len(y):
        parts = data.shards(y, count, alpha, 3)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(y))) and all(map(len, parts))
    learn, held_out = data.hold_out(Samples({"x": y}, y))
    assert len(learn) + len(held_out) == len(y) and len(held_out)


def test_whole_numbers_of_a_regression_are_not_each_a_label() -> None:
    """A fifth of each, but at least one: of 214 different targets in 442 rows, half would be held out."""
    y = data.diabetes().y[:, 0].astype(np.int64)
    _, held_out = data.hold_out(Samples({"x": y[:, None].astype(np.float32)}, y))
    assert 80 < len(held_out) < 100
    labels = np.arange(50) % 10
    np.testing.assert_array_equal(split.strata(labels), labels)
    assert len(set(split.strata(np.arange(49) % 10).tolist())) < 10 and split.strata(np.zeros(0)).size == 0


def test_a_regression_on_data_of_one_s_own_is_learnt() -> None:
    """From a source to R², by the trainer's own loop."""
    learn, held_out = data.load("diabetes", Shard(1, 3, alpha=None))
    spec = task(signature("x", dimensions=(10,)), loss=Loss.MEAN_SQUARED_ERROR, outputs=(1,))
    base = np.zeros(spec.weight_count, dtype=np.float32)
    recipe = Recipe(step_count=300, learning_rate=1.0)
    delta = training.train(spec, base, learn, recipe, (0,), lambda step, loss: None)
    before, after = (training.evaluate(spec, weights.astype(np.float32), held_out) for weights in (base, base + delta))
    assert after.loss < before.loss
