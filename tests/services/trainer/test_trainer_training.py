"""Local training: torch against numpy, our Adam against torch's, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linklearner.domain import operators
from linklearner.domain.classifier import classifier
from linklearner.domain.digits import DIGITS, DIGITS_CNN
from linklearner.domain.errors import InvalidInput, NotFinite, OutOfRange
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import ModelSpec
from linklearner.onnx_graph import onnx_model
from services.trainer import data, network, training
from services.trainer.data import Samples
from services.trainer.examiner import parity
from services.trainer.recipe import Recipe
from tests.any_model import specs

SHORT = Recipe(step_count=20)


@pytest.fixture(scope="module")
def shard() -> Samples:
    learn, _ = data.load("digits", data.Shard(0, 5))
    return learn


def quiet(step: int, loss: float) -> None:
    """A progress callback for those who do not look."""


def test_torch_has_every_operator_of_the_domain() -> None:
    assert network.OPERATORS.keys() == operators.OPERATORS.keys()


@settings(max_examples=50, deadline=None)
@given(specs(), st.integers(0, 2**32), st.integers(8, 14))
def test_torch_and_onnx_compute_the_same_logits(spec: ModelSpec, seed: int, exponent: int) -> None:
    generator = np.random.default_rng(seed)
    weights = (generator.integers(-(2**exponent), 2**exponent, spec.weight_count) / 2**exponent).astype(np.float32)
    inputs = {"x": generator.uniform(0, 16, (5, *spec.inputs[0].dimensions)).astype(np.float32)}
    found = training.answers(spec, weights, inputs)
    tolerance = 1e-5 * max(1.0, float(np.abs(found).max()))
    assert parity(spec, weights, onnx_model(spec, weights), inputs) <= tolerance


def test_an_export_of_other_weights_is_noticed(shard: Samples) -> None:
    from linklearner.domain.errors import DataLoss

    weights = np.random.default_rng(0).uniform(-0.2, 0.2, 2410).astype(np.float32)
    other = weights.copy()
    other[-1] += 0.002
    with pytest.raises(DataLoss, match="differ by"):
        parity(DIGITS, weights, onnx_model(DIGITS, other), shard.inputs_of(DIGITS))


@settings(max_examples=25, deadline=None)
@given(specs(), st.integers(0, 2**32))
def test_gradients_are_those_of_finite_differences(spec: ModelSpec, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = torch.from_numpy(generator.uniform(-1, 1, (2, *spec.inputs[0].dimensions)))
    flat = torch.from_numpy(generator.normal(0, 1, spec.weight_count)).requires_grad_()
    run = network.Network(spec.graph)

    def loss(weights: torch.Tensor) -> torch.Tensor:
        return run(weights, {"x": x})["logits"].square().sum()

    (gradient,) = torch.autograd.grad(loss(flat), flat)
    direction = torch.from_numpy(generator.normal(0, 1, spec.weight_count))
    with torch.no_grad():
        step = 1e-6  # small enough that hardly any ReLU or maximum changes sides
        slope = (loss(flat + step * direction) - loss(flat - step * direction)) / (2 * step)
    scale = float(gradient.norm() * direction.norm()) + 1
    assert abs(float(slope) - float(gradient @ direction)) < 1e-3 * scale


@pytest.mark.parametrize("spec", [DIGITS, DIGITS_CNN], ids=["mlp", "cnn"])
def test_training_lowers_the_loss_on_its_own_samples(spec: ModelSpec, shard: Samples) -> None:
    base = spec.initial(0)
    losses: list[float] = []
    delta = training.train(spec, base, shard, Recipe(), (0,), lambda step, loss: losses.append(loss))
    assert losses[-1] < losses[0] / 4
    before, after = (training.evaluate(spec, weights, shard) for weights in (base, (base + delta).astype(np.float32)))
    assert after.loss < before.loss / 4 and after.value > 0.95


def test_our_adam_is_that_of_torch(shard: Samples) -> None:
    rows = np.arange(64)
    batch = shard[rows]  # the whole data set is one batch, so the order of batches plays no part
    recipe = Recipe(step_count=50, batch_size=64, logit_adjustment=False)
    delta = training.train(DIGITS, DIGITS.initial(3), batch, recipe, (0,), quiet)

    flat = torch.nn.Parameter(torch.tensor(DIGITS.initial(3)))
    optimiser = torch.optim.Adam([flat], lr=recipe.learning_rate)
    for _ in range(50):
        optimiser.zero_grad()
        scores = network.Network(DIGITS.graph)(flat, {"pixels": torch.from_numpy(batch.inputs["x"])})["logits"]
        torch.nn.functional.cross_entropy(scores, torch.from_numpy(batch.y)).backward()
        optimiser.step()
    expected = flat.detach().numpy() - DIGITS.initial(3)
    moving = np.abs(expected) > 1e-3
    assert moving.mean() > 0.5
    # Adam divides by the root of tiny gradients, so sums in another order show; they stay far below a step of the learning rate
    np.testing.assert_allclose(delta[moving], expected[moving], rtol=0, atol=recipe.learning_rate / 10)


def test_the_same_seed_gives_the_same_delta_and_another_one_another(shard: Samples) -> None:
    first, again, other = (
        training.train(DIGITS, DIGITS.initial(0), shard, SHORT, seed, quiet) for seed in ((1, 2), (1, 2), (1, 3))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_a_label_that_is_not_there_is_not_unlearnt(shard: Samples) -> None:
    partial = shard[np.flatnonzero(shard.y != 3)]
    row = slice(2410 - 10 + 3, 2410 - 10 + 4)  # the bias of label 3
    adjusted = training.train(DIGITS, DIGITS.initial(0), partial, SHORT, (0,), quiet)
    plain = training.train(DIGITS, DIGITS.initial(0), partial, replace(SHORT, logit_adjustment=False), (0,), quiet)
    assert adjusted[row] == 0 and plain[row] < 0
    assert np.isfinite(adjusted).all()


def test_a_shard_of_one_label_has_nothing_to_tell(shard: Samples) -> None:
    delta = training.train(DIGITS, DIGITS.initial(0), shard[np.flatnonzero(shard.y == 3)], SHORT, (0,), quiet)
    assert not delta.any()


def test_progress_is_told_ten_times_and_ends_at_the_last_step(shard: Samples) -> None:
    for step_count, expected in ((100, 10), (10, 10), (19, 19), (25, 13)):
        steps: list[int] = []
        training.train(
            DIGITS,
            DIGITS.initial(0),
            shard,
            Recipe(step_count=step_count),
            (0,),
            lambda step, _, to=steps: to.append(step),
        )
        assert len(steps) == expected and steps[-1] == step_count and steps == sorted(set(steps))


def test_what_progress_raises_ends_the_training(shard: Samples) -> None:
    def stop(step: int, loss: float) -> None:
        raise KeyError(step)

    with pytest.raises(KeyError, match="2"):
        training.train(DIGITS, DIGITS.initial(0), shard, SHORT, (0,), stop)


def test_a_diverging_training_is_not_finite(shard: Samples) -> None:
    huge = Samples({"x": np.full_like(shard.inputs["x"], 3e38)}, shard.y)
    with pytest.raises(NotFinite, match="lower the learning rate"):
        training.train(
            classifier("digits", Mlp((64, 32, 10)), DIGITS.labels), DIGITS.initial(0), huge, SHORT, (0,), quiet
        )


def test_a_base_that_is_not_finite_is_noticed(shard: Samples) -> None:
    base = DIGITS.initial(0)
    base[0] = np.nan
    with pytest.raises(NotFinite):
        training.train(DIGITS, base, shard, SHORT, (0,), quiet)


def test_what_cannot_be_trained_is_refused(shard: Samples) -> None:
    nothing = shard[np.empty(0, dtype=np.int64)]
    with pytest.raises(InvalidInput, match="empty"):
        training.train(DIGITS, DIGITS.initial(0), nothing, SHORT, (0,), quiet)
    with pytest.raises(InvalidInput, match="no samples are held out"):
        training.evaluate(DIGITS, DIGITS.initial(0), nothing)
    with pytest.raises(InvalidInput, match="2410 weights"):
        training.train(DIGITS, DIGITS.initial(0)[1:], shard, SHORT, (0,), quiet)


@pytest.mark.parametrize(
    "wrong",
    [
        {"step_count": 9},
        {"step_count": 1_000_001},
        {"batch_size": 0},
        {"batch_size": 2**20 + 1},
        {"learning_rate": 0.0},
        {"learning_rate": 1.1},
        {"learning_rate": float("nan")},
    ],
)
def test_a_recipe_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    Recipe(step_count=10, batch_size=1, learning_rate=1.0)
    Recipe(step_count=1_000_000, batch_size=2**20)
    with pytest.raises(OutOfRange):
        Recipe(**wrong)  # type: ignore[arg-type]
