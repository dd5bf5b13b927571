"""DP-SGD's gradient: no sample moves the sum by more than the clip, whatever it is; noise of the claimed scale is on it."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from torch.nn import functional

from linklearner.domain.digits import DIGITS, DIGITS_CNN
from linklearner.domain.model import LOGITS, ModelSpec
from services.trainer import data, dpsgd, training
from services.trainer.dpsgd import PrivateGradients, private_gradient
from services.trainer.network import Network
from services.trainer.noise import SecureRandom
from services.trainer.privacy import PrivateSteps
from services.trainer.recipe import Recipe

ROWS = 24


def steps(clip: float = 1.0, noise: float = 0.0, rate: float = 1.0, seed: int = 1) -> PrivateSteps:
    return private(rate, clip, noise, None, seed)


def private(
    rate: float, clip: float, noise: float, counts: NDArray[np.float64] | None, seed: int | None, most: int = 1000
) -> PrivateSteps:
    """seed: None for the system's own bytes."""
    return PrivateSteps(
        sample_rate=rate,
        max_grad_norm=clip,
        noise_multiplier=noise,
        most=most,
        label_counts=counts,
        random=SecureRandom() if seed is None else SecureRandom(random.Random(seed).randbytes),
    )


def gradients(spec: ModelSpec, x: torch.Tensor, y: torch.Tensor, how: PrivateSteps) -> PrivateGradients:
    network, name = Network(spec.graph), spec.inputs[0].name

    def loss_of(flat: torch.Tensor, inputs: dict[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(network(flat, inputs)[LOGITS], targets)

    return PrivateGradients(loss_of, {name: x}, y, how)


def digits(spec: ModelSpec) -> tuple[torch.Tensor, torch.Tensor]:
    samples = data.digits()[np.arange(ROWS)]
    return torch.from_numpy(samples.inputs_of(spec)[spec.inputs[0].name]), torch.from_numpy(samples.y)


@pytest.mark.parametrize("spec", [DIGITS, DIGITS_CNN], ids=lambda spec: spec.name)
@pytest.mark.parametrize("clip", [0.05, 2.0, 1e6])
@pytest.mark.parametrize("numbers", [1, 5000, 2**24], ids="chunk-{}".format)
def test_the_sum_is_that_of_clipped_gradients_one_by_one(
    spec: ModelSpec, clip: float, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpsgd, "CHUNK_NUMBERS", numbers)
    x, y = digits(spec)
    flat = torch.tensor(spec.initial(3), requires_grad=True)
    total, losses = torch.zeros(len(flat), dtype=torch.float64), []
    network = Network(spec.graph)
    for row in range(ROWS):
        loss = functional.cross_entropy(
            network(flat, {spec.inputs[0].name: x[row : row + 1]})[LOGITS], y[row : row + 1]
        )
        (gradient,) = torch.autograd.grad(loss, flat)
        total += gradient.double() * min(1.0, clip / float(gradient.double().norm()))
        losses.append(loss.item())
    found, mean_loss = gradients(spec, x, y, steps(clip)).clipped_sum(flat, torch.arange(ROWS))
    torch.testing.assert_close(found, total, rtol=1e-4, atol=1e-6)
    assert mean_loss == pytest.approx(np.mean(losses), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=64, max_size=64),
    st.integers(0, 9),
    st.sampled_from([1e-3, 1.0, 1e3]),
    st.floats(0.0, 30.0),
    st.integers(0, 99),
)
def test_one_sample_more_changes_the_sum_by_the_clip_at_most(
    pixels: list[float], label: int, clip: float, size: float, seed: int
) -> None:
    """Neighbouring data sets: the added sample may hold anything, NaN and infinity too, which `Samples` would refuse."""
    x, y = digits(DIGITS)
    more = torch.cat((x, torch.tensor([pixels]))), torch.cat((y, torch.tensor([label])))
    flat = torch.from_numpy(DIGITS.initial(seed)) * size
    without, _ = gradients(DIGITS, x, y, steps(clip)).clipped_sum(flat, torch.arange(ROWS))
    with_it, _ = gradients(DIGITS, *more, steps(clip)).clipped_sum(flat, torch.arange(ROWS + 1))
    assert torch.isfinite(with_it).all()
    assert float((with_it - without).norm()) <= clip * (1 + 1e-6) + 1e-9 * float(without.norm())


def test_the_bound_is_reached() -> None:
    """Otherwise the noise would be more than is needed, and the test above could hold of a sum that is nothing."""
    x, y = digits(DIGITS)
    flat = torch.from_numpy(DIGITS.initial(1)) * 5
    each = [gradients(DIGITS, x, y, steps(0.1)).clipped_sum(flat, torch.tensor([row]))[0].norm() for row in range(ROWS)]
    assert max(map(float, each)) == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize(("clip", "noise", "rate"), [(1.0, 1.0, 1.0), (0.3, 2.5, 0.25), (4.0, 0.7, 0.5)])
def test_the_noise_on_a_gradient_has_the_claimed_scale(clip: float, noise: float, rate: float) -> None:
    x, y = digits(DIGITS)
    flat = torch.from_numpy(DIGITS.initial(1))
    rows = torch.arange(5)
    clean, _ = gradients(DIGITS, x, y, steps(clip)).clipped_sum(flat, rows)
    noised = gradients(DIGITS, x, y, steps(clip, noise, rate))
    count = rate * ROWS
    found = np.concatenate([(noised(flat, rows)[0].double() * count - clean).numpy() for _ in range(40)])
    expected = noise * clip
    assert abs(found.std() / expected - 1) < 4 / np.sqrt(2 * len(found))
    assert stats.kstest(found / expected, "norm").pvalue > 1e-3
    assert stats.kstest(found / (1.03 * expected), "norm").pvalue < 1e-3  # 3 % less noise than claimed would be seen


def test_an_empty_draw_is_noise_alone_and_looks_like_any_other() -> None:
    x, y = digits(DIGITS)
    flat = torch.from_numpy(DIGITS.initial(1))
    found, loss = gradients(DIGITS, x, y, steps(1.0, 2.0, 0.5))(flat, torch.empty(0, dtype=torch.int64))
    assert found.shape == flat.shape and loss == 0
    assert float(found.std()) == pytest.approx(2.0 / (0.5 * ROWS), rel=0.1)


def test_rows_are_a_poisson_draw_of_all_samples() -> None:
    x, y = digits(DIGITS)
    drawn = gradients(DIGITS, x, y, steps(rate=0.3))
    sizes = [len(drawn.rows()) for _ in range(2000)]
    assert abs(np.mean(sizes) - 0.3 * ROWS) < 0.3
    assert abs(np.var(sizes) / (ROWS * 0.3 * 0.7) - 1) < 0.2


def test_a_private_training_learns_and_its_seed_repeats_nothing() -> None:
    samples = data.digits()[np.arange(300)]
    base, recipe = DIGITS.initial(0), Recipe(step_count=60)
    network, name = Network(DIGITS.graph), DIGITS.inputs[0].name
    inputs = {name: torch.from_numpy(samples.inputs_of(DIGITS)[name])}
    told: list[float] = []

    def loss(weights: np.ndarray) -> float:
        logits = network(torch.from_numpy(weights.astype(np.float32)), inputs)[LOGITS]
        return functional.cross_entropy(logits, torch.from_numpy(samples.y)).item()

    def one(how: PrivateSteps) -> np.ndarray:
        return training.train(
            DIGITS,
            base,
            samples,
            recipe,
            (1,),
            lambda step, loss: told.append(loss),
            gradient_of=private_gradient(DIGITS, samples, how),
        )

    fresh = private(64 / 300, 1.0, 0.5, np.full(10, 30.0), None)
    deltas = one(fresh), one(fresh)
    assert not np.array_equal(*deltas)
    assert all(loss(base + delta) < loss(base) / 2 for delta in deltas)
    assert set(told) == {0.0}  # a loss is a question about the samples, and no noise covers it
    same = [private(64 / 300, 1.0, 0.5, None, 9) for _ in range(2)]
    np.testing.assert_array_equal(one(same[0]), one(same[1]))


def test_a_label_that_the_noised_counts_lack_still_has_a_finite_loss() -> None:
    samples = data.digits()[np.arange(100)]
    counts = np.full(10, 1.0)  # what privacy raises the smallest to
    counts[0] = 90.0
    how = private(0.5, 1.0, 0.1, counts, None)
    delta = training.train(
        DIGITS,
        DIGITS.initial(0),
        samples,
        Recipe(step_count=10),
        (1,),
        lambda *_: None,
        gradient_of=private_gradient(DIGITS, samples, how),
    )
    assert np.isfinite(delta).all()


def test_a_step_that_is_not_counted_is_not_taken() -> None:
    samples = data.digits()[np.arange(100)]
    how = private(0.5, 1.0, 1.0, None, 1, most=19)
    with pytest.raises(RuntimeError, match="step 20 of a training of which 19 steps are counted"):
        training.train(
            DIGITS,
            DIGITS.initial(0),
            samples,
            Recipe(step_count=20),
            (1,),
            lambda *_: None,
            gradient_of=private_gradient(DIGITS, samples, how),
        )
