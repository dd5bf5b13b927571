"""The noise is there, normal, of the claimed scale, and from the system's generator; draws are independent coins."""

import os
import random
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from services.trainer.noise import SecureRandom
from services.trainer.privacy import noised_update


def seeded(seed: int) -> SecureRandom:
    """Bytes that a test can repeat."""
    return SecureRandom(random.Random(seed).randbytes)


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_standard_normal(seed: int) -> None:
    found = seeded(seed).gaussian(200_001)
    assert found.shape == (200_001,)
    assert stats.kstest(found, "norm").pvalue > 1e-3
    # a test that could not tell 1 % more or less noise would say little
    assert stats.kstest(1.01 * found, "norm").pvalue < stats.kstest(found, "norm").pvalue
    assert abs(found.std() - 1) < 4 / np.sqrt(2 * len(found))
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 4 / np.sqrt(len(found))
    halves = found[:100_000], found[100_001:200_001]  # a pair shares its radius, and nothing else
    assert abs(np.corrcoef(*halves)[0, 1]) < 4 / np.sqrt(100_000)


@pytest.mark.parametrize(("word", "largest"), [(b"\x00" * 8, 9.42), (b"\xff" * 8, 0.0)])
def test_no_bytes_give_a_number_that_is_none(word: bytes, largest: float) -> None:
    found = SecureRandom(lambda count: word * (count // 8)).gaussian(2)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= largest + 1e-2


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.97])
def test_each_sample_is_drawn_by_a_coin_of_its_own(rate: float) -> None:
    draws, count = 3000, 50
    source = seeded(7)
    taken = np.zeros((draws, count), dtype=bool)
    for draw in taken:
        draw[source.drawn(count, rate)] = True
    sizes = taken.sum(axis=1)
    error = np.sqrt(rate * (1 - rate) / (draws * count))
    assert abs(taken.mean() - rate) < 4 * error
    assert abs(sizes.var() / (count * rate * (1 - rate)) - 1) < 0.15  # a shuffled batch would have no variance
    assert abs(taken.mean(axis=0) - rate).max() < 5 * np.sqrt(rate * (1 - rate) / draws)


def test_a_rate_of_one_draws_all_and_of_zero_none() -> None:
    assert seeded(1).drawn(5, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert seeded(1).drawn(5, 0.0).tolist() == []


def test_randomness_is_the_system_s_and_fresh() -> None:
    assert not np.array_equal(SecureRandom().gaussian(4), SecureRandom().gaussian(4))
    np.random.seed(1)
    random.seed(1)
    first = SecureRandom().gaussian(4)
    np.random.seed(1)
    random.seed(1)
    assert not np.array_equal(first, SecureRandom().gaussian(4))
    assert SecureRandom()._source is os.urandom


@pytest.mark.parametrize("length", [0.0, 0.3, 40.0])
def test_an_update_is_clipped_and_noised_with_the_claimed_scale(length: float) -> None:
    clip, noise, count = 0.5, 1.7, 200_000
    delta = np.zeros(count)
    delta[0] = length
    found = noised_update(delta, clip, noise, seeded(3))
    assert abs(found[1:].std() / (2 * clip * noise) - 1) < 4 / np.sqrt(2 * count)
    assert stats.kstest(found[1:] / (2 * clip * noise), "norm").pvalue > 1e-3
    silent = noised_update(delta, clip, 0.0, seeded(3))
    assert np.linalg.norm(silent) == pytest.approx(min(length, clip), abs=1e-12)


def test_any_two_updates_lie_as_close_as_the_noise_counts_on() -> None:
    generator = np.random.default_rng(5)
    sizes: Callable[[], float] = lambda: float(10.0 ** generator.uniform(-6, 6))  # noqa: E731
    for _ in range(200):
        one, other = (sizes() * generator.normal(size=30) for _ in range(2))
        apart = noised_update(one, 0.5, 0.0, seeded(1)) - noised_update(other, 0.5, 0.0, seeded(1))
        assert np.linalg.norm(apart) <= 2 * 0.5 * (1 + 1e-12)
