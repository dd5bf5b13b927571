import base64
import dataclasses
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.classifier import classifier, from_fields
from linklearner.domain.digest import digest_of_pages, model_digest, page_digest, page_digests
from linklearner.domain.digits import DIGITS_CNN
from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.kinds import KINDS, Architecture
from linklearner.domain.kinds.cnn import Cnn
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import Loss, ModelSpec, ModelVersion
from linklearner.domain.shape import Shape, Tensor
from tests.any_model import ARCHITECTURES, Strided, reference_logits

DIGITS = classifier("digits", Mlp((64, 32, 10)), tuple("0123456789"), "pixels", 1 / 16)


def packed(text: bytes) -> str:
    return base64.b64encode(zlib.compress(text)).decode()


def test_every_kind_is_among_those_that_are_tested() -> None:
    assert KINDS.keys() == ARCHITECTURES.keys() - {Strided.KIND}


@given(
    st.one_of(*ARCHITECTURES.values()),
    st.text(min_size=1, max_size=20),
    st.floats(1e-6, 1e6),
    st.none() | st.tuples(st.floats(-1e6, 0), st.floats(1e-3, 1e6)),
)
def test_json_goes_there_and_back(
    architecture: Architecture, name: str, scale: float, input_range: tuple[float, float] | None
) -> None:
    labels = tuple(str(i) for i in range(architecture.output_dimensions[0]))
    spec = classifier(name, architecture, labels, "x", scale, input_range)
    again = ModelSpec.from_json(spec.to_json())
    assert again == spec and again.to_json() == spec.to_json() and again.graph.digest == spec.graph.digest


PLAN = {
    "name": "digits",
    "kind": "mlp",
    "layers": [64, 32, 10],
    "activation": "relu",
    "input": {"name": "pixels", "scale": 0.0625},
    "labels": list("0123456789"),
}
CNN_PLAN = {
    "name": "digits-cnn",
    "kind": "cnn",
    "image": [1, 8, 8],
    "channels": [8, 16],
    "kernel": 3,
    "activation": "relu",
    "outputs": 10,
    "input": {"name": "pixels", "scale": 0.0625, "range": [0, 16]},
    "labels": list("0123456789"),
}


def test_a_few_words_describe_a_classifier() -> None:
    assert from_fields(PLAN) == DIGITS and from_fields(CNN_PLAN) == DIGITS_CNN


def test_the_digits_model_has_2410_weights_in_four_tensors() -> None:
    assert [(t.name, t.dimensions) for t in DIGITS.tensors()] == [
        ("W1", (32, 64)),
        ("b1", (32,)),
        ("W2", (10, 32)),
        ("b2", (10,)),
    ]
    assert DIGITS.shape(12, 2412, 1, 1).weight_count == DIGITS.weight_count == 2410


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "svm"},
        {"activation": "tanh"},
        {"layers": [64]},
        {"layers": [64, 0, 10]},
        {"layers": [64, True, 10]},
        {"layers": "64"},
        {"labels": ["0"]},
        {"labels": list(range(10))},
        {"input": {"name": "x"}},
        {"input": {"name": "x", "scale": 0}},
        {"input": {"name": "x", "scale": "1"}},
        {"input": {"name": "x", "scale": float("nan")}},
        {"input": {"name": "x", "scale": 10**400}},
        {"input": {"name": "x", "scale": 1, "range": [0]}},
        {"input": {"name": "x", "scale": 1, "range": [1, 0]}},
        {"input": {"name": "x", "scale": 1, "range": [0, float("inf")]}},
        {"input": {"name": "x", "scale": 1, "range": [0, 10**400]}},
        {"input": {"name": "x", "scale": 1, "range": [0, "1"]}},
        {"input": {"name": "x", "scale": 1, "size": 1}},
        {"name": "\ud800"},
        {"input": {"name": "x", "scale": float("inf")}},
        {"input": {"name": "x", "scale": -(10**400)}},
        {"input": {"name": "\ud800", "scale": 1}},
        {"name": "half a character \udfff"},
        {"name": ""},
        {"extra": 1},
    ],
)
def test_a_description_that_cannot_be_run_as_written_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidModel):
        from_fields(json.loads(json.dumps(PLAN | change)))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "mlp"},
        {"kind": "strided"},
        {"kind": ["cnn"]},
        {"activation": "tanh"},
        {"activation": ["relu"]},
        {"layers": [64, 32, 10]},
        {"image": [8, 8]},
        {"image": [1, 8, 8, 1]},
        {"image": [1, 8, 8.0]},
        {"image": [0, 8, 8]},
        {"image": [1, 3, 8]},
        {"image": "188"},
        {"image": [1, 65536, 65536]},
        {"image": [10**40, 8, 8]},
        {"channels": []},
        {"channels": [8, 0]},
        {"channels": [8, True]},
        {"channels": [8, 8, 8, 8]},
        {"channels": [65536, 65536]},
        {"kernel": 2},
        {"kernel": -1},
        {"kernel": "3"},
        {"kernel": 33},
        {"kernel": 3.0},
        {"outputs": 9},
        {"outputs": True},
        {"outputs": 0, "labels": []},
        {"labels": []},
        {"input": {"name": "conv1", "scale": 1}},
        {"input": {"name": "W", "scale": 1}},
    ],
)
def test_a_description_of_a_cnn_that_cannot_be_run_as_written_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidModel):
        from_fields(CNN_PLAN | change)


def test_blocks_that_leave_nothing_of_an_image_are_refused_in_these_words() -> None:
    assert Cnn((1, 4, 9), (1, 1), 3, 2).parameters()[-2].dimensions == (2, 2)
    with pytest.raises(InvalidModel, match="2 blocks leave nothing of an image of 3 x 9"):
        Cnn((1, 3, 9), (1, 1), 3, 2)


@pytest.mark.parametrize("plan", [PLAN, CNN_PLAN], ids=["mlp", "cnn"])
def test_a_description_without_any_one_of_its_keys_is_refused(plan: dict[str, object]) -> None:
    for key in plan:
        with pytest.raises(InvalidModel):
            from_fields({name: value for name, value in plan.items() if name != key})
    fields = json.loads(DIGITS.to_json())
    for key in fields:
        with pytest.raises(InvalidModel):
            ModelSpec.from_json(json.dumps({name: value for name, value in fields.items() if name != key}))


def test_a_shape_fits_only_tensor_by_tensor() -> None:
    shape = DIGITS.shape(12, 2048, 2, 1)
    assert DIGITS.fits(shape) and not DIGITS_CNN.fits(shape)
    assert not DIGITS.fits(Shape((Tensor(2410, 12),), 2048, 2, 1))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": 1}, "format 1 is unknown"),
        ({"format": True}, "format is a int"),
        ({"loss": "hinge"}, "a loss is one of"),
        ({"labels": ["0"]}, "as many labels"),
        ({"labels": list(range(10))}, "a label is a str"),
        ({"name": ""}, "a name of 1 to 256"),
        ({"name": "n" * 257}, "a name of 1 to 256"),
        ({"name": "half a character \udfff"}, "half a surrogate pair"),
        ({"digest": "00" * 32}, "has the digest"),
        ({"graph": "!"}, "Base64 of zlib"),
        ({"graph": packed(b"{}")[:-8]}, "Base64 of zlib|cut off"),
        ({"graph": base64.b64encode(zlib.compress(b"{}") + b"x").decode()}, "something behind it"),
        ({"graph": packed(b"{}")}, "a graph has the keys"),
        ({"graph": packed(b"[" * 10_000)}, "nested deeper"),
        ({"graph": packed(bytes(1 << 27))}, "at most 1048576 bytes"),
        ({"graph": packed(DIGITS.graph.text.replace(",", ", ").encode())}, "written in one way only"),
        ({"graph": packed(DIGITS.graph.text.replace('"W1",[32,64]', f'"W1",[{2**62},64]').encode())}, "has 1 to"),
        ({"graph": packed(DIGITS.graph.text.replace("0.0625", "0.1").encode())}, "that float32 holds"),
        ({"graph": packed(DIGITS.graph.text.replace("0.0625", "1e999").encode())}, "range of a double"),
        ({"graph": packed(DIGITS.graph.text.replace('"Relu"', '"ai.custom::Relu"').encode())}, "is unknown"),
        ({"advice": {"momentum": 1}}, "a task advises learning_rate"),
        ({"advice": {"steps": 10.5}}, "steps must be between 10 and 1e"),
        ({"advice": {"learning_rate": 2}}, "between 1e-09 and 1, got 2"),
        ({"advice": [1]}, "advice is a dict"),
        ({"extra": 1}, "the description has the keys"),
    ],
)
def test_a_text_that_cannot_be_run_as_written_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidModel, match=why):
        ModelSpec.from_json(json.dumps(json.loads(DIGITS.to_json()) | change))


def test_other_losses_have_labels_or_none() -> None:
    for loss in (Loss.MEAN_SQUARED_ERROR, Loss.BINARY_CROSS_ENTROPY):
        spec = ModelSpec("price", DIGITS.graph, loss)
        assert ModelSpec.from_json(spec.to_json()) == spec
        with pytest.raises(InvalidModel, match="as many names"):
            ModelSpec("price", DIGITS.graph, loss, ("one",))


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", "[" * 5000, " " * 20000, "\ud800"])
def test_what_is_no_description_is_refused(text: str) -> None:
    with pytest.raises(InvalidModel):
        ModelSpec.from_json(text)


def test_initial_weights_follow_the_seed_and_the_fan_in() -> None:
    first, again, other = DIGITS.initial(1), DIGITS.initial(1), DIGITS.initial(2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    w1, b1, _, b2 = DIGITS.split(first)
    assert abs(float(w1.std()) - np.sqrt(2 / 64)) < 0.01
    assert not b1.any()
    assert not b2.any()


def test_the_forward_pass_is_relu_between_affine_layers() -> None:
    spec = classifier("tiny", Mlp((2, 2, 1)), ("y",), "x", 0.5)
    weights = np.array([1, 0, 0, -1, 0.5, 0, 2, 3, -1], dtype=np.float32)
    inputs = np.array([[2, 4], [-2, -4]], dtype=np.float32)
    # (1, 2) -> (1.5, -2) -> 2 * 1.5 - 1 = 2;  (-1, -2) -> (-0.5, 2) -> 3 * 2 - 1 = 5
    assert reference_logits(spec, weights, inputs).tolist() == [[2.0], [5.0]]
    with pytest.raises(InvalidInput):
        spec.split(weights[:-1])


def test_the_digest_changes_with_every_weight_and_only_in_its_page() -> None:
    shape = Shape((Tensor(10, 12),), 4, 2, 1)
    base = np.arange(10, dtype=np.int16)
    digests = page_digests(base, shape)
    assert digests == (page_digest(base[:4]), page_digest(base[4:8]), page_digest(base[8:]))
    for j in range(10):
        moved = base.copy()
        moved[j] += 1
        changed = [p for p, (a, b) in enumerate(zip(digests, page_digests(moved, shape), strict=True)) if a != b]
        assert changed == [j // 4]
        assert model_digest(moved, shape) != digest_of_pages(digests)
    with pytest.raises(InvalidInput):
        model_digest(base[:9], shape)


def test_a_version_without_a_digest_does_not_exist() -> None:
    version = ModelVersion(0, 1, b"d" * 32, 0, 5)
    with pytest.raises(InvalidInput):
        dataclasses.replace(version, digest=b"")
