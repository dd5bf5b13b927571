"""The ONNX graph computes what torch and onnxruntime compute from the same integers."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linklearner.domain.classifier import classifier
from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import LOGITS, ModelSpec
from linklearner.onnx_graph import PROBABILITIES, onnx_model, reference
from services.trainer import training
from tests.any_model import specs

DIGITS = classifier("digits", Mlp((64, 32, 10)), tuple("0123456789"), "pixels", 1 / 16)


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@settings(max_examples=50, deadline=None)
@given(specs(), st.integers(8, 14), st.integers(0, 2**32))
def test_torch_the_onnx_reference_and_onnxruntime_agree(spec: ModelSpec, exponent: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.integers(-(2**exponent), 2**exponent, spec.weight_count) / np.float32(2**exponent)
    inputs = {"x": generator.uniform(0, 16, (3, *spec.inputs[0].dimensions)).astype(np.float32)}
    model = onnx_model(spec, weights.astype(np.float32))
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)

    expected = reference(model, inputs)[LOGITS]
    served = session(model).run([LOGITS], inputs)[0]
    trained = training.answers(spec, weights.astype(np.float32), inputs)
    tolerance = 1e-5 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(served, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(trained, expected, rtol=0, atol=tolerance)


def test_probabilities_are_the_softmax_of_the_logits_for_any_batch() -> None:
    serving = session(onnx_model(DIGITS, np.random.default_rng(1).uniform(-1, 1, 2410).astype(np.float32)))
    for batch in (1, 7):
        inputs = np.random.default_rng(batch).uniform(0, 16, (batch, 64)).astype(np.float32)
        logits, probabilities = serving.run([LOGITS, PROBABILITIES], {"pixels": inputs})
        assert logits.shape == probabilities.shape == (batch, 10)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose(probabilities, exponentials / exponentials.sum(axis=1, keepdims=True), atol=1e-6)


def test_the_same_weights_give_the_same_bytes_and_name_their_version() -> None:
    weights = np.arange(2410).astype(np.float32)
    model = onnx_model(DIGITS, weights, {"version": "3", "digest": "ab"})
    assert model == onnx_model(DIGITS, weights.copy(), {"version": "3", "digest": "ab"})
    metadata = session(model).get_modelmeta().custom_metadata_map
    assert metadata["version"] == "3" and metadata["digest"] == "ab"
    assert ModelSpec.from_json(metadata["model"]) == DIGITS
    assert metadata["graph"] == DIGITS.graph.digest.hex()


def test_weights_of_another_length_are_refused() -> None:
    with pytest.raises(InvalidInput, match="2410 weights"):
        onnx_model(DIGITS, np.zeros(2409, dtype=np.float32))


@pytest.mark.parametrize("name", ["W1", "logits", "scaled", "relu1", "input_scale", "probabilities"])
def test_an_input_named_like_a_part_of_the_graph_is_refused(name: str) -> None:
    with pytest.raises(InvalidModel, match="cannot be named"):
        spec = classifier("digits", Mlp((64, 32, 10)), tuple("0123456789"), name)
        onnx_model(spec, np.zeros(2410, dtype=np.float32))
