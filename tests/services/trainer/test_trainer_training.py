"""Local training: torch against numpy, one flat vector against torch's optimisers, going on from a state, and what is refused."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linklearner.domain import operators
from linklearner.domain.classifier import classifier
from linklearner.domain.digits import DIGITS, DIGITS_CNN
from linklearner.domain.errors import InvalidConfig, InvalidInput, NotFinite, OutOfRange
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import ModelSpec
from linklearner.onnx_graph import onnx_model
from services.trainer import data, network, training
from services.trainer.data import Samples
from services.trainer.examiner import parity
from services.trainer.recipe import MIN_STEPS, AdamW, Optimiser, Recipe, Sgd
from services.trainer.training import Batches, LocalState, LocalTraining
from tests.any_model import specs

ROOT = Path(__file__).resolve().parents[3]
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


@pytest.mark.parametrize(
    ("chosen", "theirs"),
    [
        (AdamW(), lambda flat: torch.optim.AdamW([flat], lr=0.01, weight_decay=0.0)),
        (
            AdamW(learning_rate=3e-3, weight_decay=0.1),
            lambda flat: torch.optim.AdamW([flat], lr=3e-3, weight_decay=0.1),
        ),
        (Sgd(), lambda flat: torch.optim.SGD([flat], lr=0.1, momentum=0.9)),
        (Sgd(momentum=0.0, weight_decay=0.1), lambda flat: torch.optim.SGD([flat], lr=0.1, weight_decay=0.1)),
    ],
    ids=["adam", "adamw", "momentum", "plain"],
)
@pytest.mark.parametrize("proximal", [0.0, 0.5])
def test_a_training_is_what_torchs_optimiser_makes_of_the_same_loss(
    shard: Samples, chosen: Optimiser, theirs: Callable[[torch.nn.Parameter], torch.optim.Optimizer], proximal: float
) -> None:
    rows = np.arange(64)
    batch = shard[rows]  # the whole data set is one batch, so the order of batches plays no part
    base = DIGITS.initial(3)
    recipe = Recipe(step_count=50, batch_size=64, optimiser=chosen, proximal=proximal, logit_adjustment=False)
    delta = training.train(DIGITS, base, batch, recipe, (0,), quiet)

    flat = torch.nn.Parameter(torch.tensor(base))
    optimiser = theirs(flat)
    for _ in range(50):
        optimiser.zero_grad()
        scores = network.Network(DIGITS.graph)(flat, {"pixels": torch.from_numpy(batch.inputs["x"])})["logits"]
        pull = proximal / 2 * (flat - torch.tensor(base)).square().sum()  # FedProx, as its paper writes it
        (torch.nn.functional.cross_entropy(scores, torch.from_numpy(batch.y)) + pull).backward()
        optimiser.step()
    expected = flat.detach().numpy() - base
    moving = np.abs(expected) > 1e-3
    assert moving.mean() > 0.5
    # Adam divides by the root of tiny gradients, so sums in another order show; they stay far below a step of the learning rate
    np.testing.assert_allclose(delta[moving], expected[moving], rtol=0, atol=chosen.learning_rate / 10)


def test_a_training_imports_nothing_of_torchs_compiler() -> None:
    """Its import takes a second and 70 MB; the first step of torch.optim's classes causes it, their functions do not."""
    code = (
        "import sys, numpy as np; from linklearner.domain.digits import DIGITS; from services.trainer import data, training, recipe\n"
        "learn, _ = data.load('digits', data.Shard(0, 5))\n"
        "for one in (recipe.AdamW(), recipe.Sgd()):\n"
        "    taught = recipe.Recipe(step_count=10, optimiser=one)\n"
        "    training.train(DIGITS, DIGITS.initial(0), learn, taught, (0,), lambda step, loss: None)\n"
        "print('torch._dynamo' in sys.modules, 'sympy' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("chosen", [AdamW(), Sgd(), Sgd(momentum=0.0)], ids=["adamw", "momentum", "plain"])
@pytest.mark.parametrize("stop", [0, 1, 7, 20, 21, 24, 25])
def test_a_training_goes_on_from_its_state_as_if_it_had_never_stopped(
    shard: Samples, chosen: Optimiser, stop: int
) -> None:
    """Across epochs (four batches each here), and with the same reports in the same places."""
    recipe = Recipe(step_count=25, optimiser=chosen)
    states: dict[int, LocalState] = {}

    def copied(running: LocalTraining) -> None:
        state = running.state()
        kept = tuple(buffer.copy() for buffer in state.buffers)
        states[running.step] = replace(state, weights=state.weights.copy(), buffers=kept)

    whole: list[tuple[int, float]] = []
    first = training.train(
        DIGITS, DIGITS.initial(0), shard, recipe, (4,), lambda *said: whole.append(said), between=copied
    )
    rest: list[tuple[int, float]] = []
    again = training.train(
        DIGITS, DIGITS.initial(0), shard, recipe, (4,), lambda *said: rest.append(said), state=states[stop]
    )
    np.testing.assert_array_equal(first, again)
    assert rest == [said for said in whole if said[0] > stop]


def test_the_state_of_another_training_is_refused(shard: Samples) -> None:
    def started(**changed: object) -> LocalTraining:
        return LocalTraining(DIGITS, DIGITS.initial(0), shard, replace(SHORT, **changed), (0,))  # type: ignore[arg-type]

    state = started().state()
    for wrong in (
        replace(state, step=21),
        replace(state, step=-1),
        replace(state, reported=1),
        replace(state, weights=state.weights[1:]),
        replace(state, buffers=state.buffers[1:]),
        started(optimiser=Sgd()).state(),
    ):
        with pytest.raises(InvalidInput, match="another training"):
            started().resume(wrong)


def test_an_epoch_takes_each_sample_once_and_the_next_one_in_another_order() -> None:
    batches = Batches(10, 3, (1,))
    epochs = [torch.cat([batches.rows(3 * epoch + step) for step in (1, 2, 3)]).tolist() for epoch in range(3)]
    assert all(len(set(epoch)) == 9 for epoch in epochs) and len(set(map(tuple, epochs))) == 3
    assert batches.rows(2).tolist() == epochs[0][3:6]  # whatever was asked before
    assert Batches(10, 3, (2,)).rows(1).tolist() != epochs[0][:3]
    assert sorted(Batches(4, 64, (0,)).rows(9).tolist()) == [0, 1, 2, 3]


def test_a_time_budget_ends_a_training_but_never_before_the_least_number_of_steps(
    shard: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(float(tick) for tick in range(100_000))  # every look at the clock is one second later
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(seconds))
    for budget, made in ((1.0, MIN_STEPS), (10.0, 10), (10.5, 11), (33.0, 33)):
        counts: list[int] = []
        running: list[LocalTraining] = []
        training.train(
            DIGITS,
            DIGITS.initial(0),
            shard,
            Recipe(step_count=20, seconds=budget),
            (0,),
            lambda step, _, to=counts: to.append(step),
            between=running.append,
        )
        assert counts[-1] == running[-1].step == running[-1].step_count == made
        assert running[-1].done


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


@pytest.mark.parametrize("spec", [DIGITS, DIGITS_CNN], ids=["perceptron", "cnn"])
def test_a_batch_of_a_model_that_is_wide_is_computed_in_parts_of_the_same_mean(
    spec: ModelSpec, shard: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opens a task chooses its model and may advise a batch of a million samples; what that takes is bounded."""
    weights = torch.tensor(np.random.default_rng(1).normal(0, 0.1, spec.weight_count), dtype=torch.float32)
    flat, rows = weights.requires_grad_(), torch.arange(50)
    whole, loss = training.mean_gradient(spec, shard, SHORT)(flat, rows)
    monkeypatch.setattr(network, "KEPT_BYTES", 7 * spec.graph.computed_bytes)
    monkeypatch.setattr(training, "KEPT_BYTES", 7 * spec.graph.computed_bytes)
    assert training.rows_of(spec.graph, training.ROWS_LENGTH) == 7
    sizes = []

    class Watched(network.Network):
        def __call__(self, flat: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            sizes.append(len(inputs[spec.inputs[0].name]))
            return super().__call__(flat, inputs)

    monkeypatch.setattr(training, "Network", Watched)
    parts, other = training.mean_gradient(spec, shard, SHORT)(flat, rows)
    assert sizes == [7] * 7 + [1]
    assert other == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    assert not parts.requires_grad


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
        {"seconds": -1.0},
        {"seconds": 86_401.0},
        {"seconds": float("nan")},
        {"proximal": -0.1},
        {"proximal": float("inf")},
    ],
)
def test_a_recipe_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    Recipe(step_count=10, batch_size=1, seconds=86_400.0)
    Recipe(step_count=1_000_000, batch_size=2**20, proximal=1000.0)
    with pytest.raises(OutOfRange):
        Recipe(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [AdamW, Sgd])
@pytest.mark.parametrize("rate", [0.0, 1.1, float("nan")])
def test_a_learning_rate_out_of_range_is_refused(kind: type[AdamW] | type[Sgd], rate: float) -> None:
    kind(learning_rate=1.0)
    with pytest.raises(InvalidConfig, match="learning_rate must be between 1e-12 and 1"):
        kind(learning_rate=rate)


def test_a_recipe_takes_advice_where_nothing_was_chosen() -> None:
    advice = {"learning_rate": 0.003, "steps": 40, "batch_size": 16}
    found = Recipe().advised(advice)
    assert (found.step_count, found.batch_size, found.optimiser) == (40, 16, AdamW(learning_rate=0.003))
    own = Recipe(step_count=70, batch_size=8, optimiser=Sgd())
    assert own.advised(advice) == own and Recipe().advised({}) == Recipe()
    assert Recipe().advised(advice, keep={"steps", "batch_size"}) == Recipe(optimiser=AdamW(learning_rate=0.003))
    assert Recipe(seconds=2.0).advised({"steps": 40}) == Recipe(seconds=2.0)
