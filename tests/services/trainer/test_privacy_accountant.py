"""One accountant: Opacus's formulas, loaded without Opacus, added up over trainings of any settings."""

import subprocess
import sys
from math import erf, exp, inf, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import RDPAccountant

from linklearner.domain.errors import OutOfRange
from services.trainer.accountant import ORDERS, Mechanism, epsilon, noise_for

HISTORY = [(1.1, 0.05, 400), (2.5, 1.0, 3), (1.1, 0.05, 100), (4.0, 0.3, 50)]
"""(noise multiplier, sampling rate, steps), as Opacus writes it."""


def of(history: list[tuple[float, float, int]]) -> list[Mechanism]:
    return [Mechanism(rate, noise, steps) for noise, rate, steps in history]


def test_epsilon_is_opacus_s_own() -> None:
    theirs = RDPAccountant()
    theirs.history = list(HISTORY)
    assert epsilon(of(HISTORY), 1e-5) == pytest.approx(theirs.get_epsilon(1e-5, alphas=list(ORDERS)), rel=1e-12)
    # their own orders are more, and give hardly less
    assert 1 <= epsilon(of(HISTORY), 1e-5) / theirs.get_epsilon(1e-5) < 1.01


def test_order_and_grouping_change_nothing() -> None:
    assert epsilon(of(HISTORY), 1e-5) == epsilon(of(HISTORY[::-1]), 1e-5)
    assert epsilon(of([(3.0, 0.2, 100)] * 8), 1e-5) == epsilon(of([(3.0, 0.2, 800)]), 1e-5)
    assert epsilon([], 1e-5) == 0


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("rounds", [1, 8])
def test_without_sampling_it_bounds_the_exact_answer(noise: float, rounds: int) -> None:
    """A Gaussian mechanism's exact trade-off is known (Balle and Wang 2018): Rényi's bound may be looser, never tighter."""
    found, shift = epsilon([Mechanism(1.0, noise, rounds)], 1e-5), sqrt(rounds) / noise

    def normal(x: float) -> float:
        return (1 + erf(x / sqrt(2))) / 2

    def delta(at: float) -> float:
        return normal(shift / 2 - at / shift) - exp(at) * normal(-shift / 2 - at / shift)

    assert delta(found) <= 1e-5
    assert delta(0.7 * found) > 1e-5


@settings(max_examples=30, deadline=None)
@given(
    st.floats(1e-4, 1.0),
    st.sampled_from([0.3, 0.7, 1.0, 2.0, 5.0]),
    st.integers(1, 5000),
    st.floats(1e-9, 1e-2),
)
def test_more_steps_more_samples_and_less_noise_cost_more(rate: float, noise: float, steps: int, delta: float) -> None:
    found = epsilon([Mechanism(rate, noise, steps)], delta)
    assert 0 <= found < inf
    assert epsilon([Mechanism(rate, noise, steps + 1)], delta) >= found
    assert epsilon([Mechanism(rate, noise * 1.5, steps)], delta) <= found
    assert epsilon([Mechanism(rate / 2, noise, steps)], delta) <= found
    assert epsilon([Mechanism(rate, noise, steps)], delta / 2) >= found


@pytest.mark.parametrize(("rate", "steps"), [(0.2, 800), (1.0, 8), (0.01, 3000)])
@pytest.mark.parametrize("target", [0.5, 8.0])
def test_the_noise_for_a_budget_keeps_it_and_is_hardly_more_than_needed(rate: float, steps: int, target: float) -> None:
    beside = (Mechanism(1.0, 50.0, 1),)
    noise = noise_for(target, 1e-5, sample_rate=rate, steps=steps, beside=beside)
    assert epsilon([*beside, Mechanism(rate, noise, steps)], 1e-5) <= target
    assert epsilon([*beside, Mechanism(rate, noise * 0.998, steps)], 1e-5) > target


def test_a_budget_that_no_noise_keeps_is_refused_with_what_helps() -> None:
    with pytest.raises(OutOfRange, match="plan fewer rounds"):
        noise_for(0.01, 1e-5, sample_rate=1.0, steps=10**9)


def test_no_noise_is_no_bound() -> None:
    assert epsilon([Mechanism(0.5, 0.0, 1)], 1e-5) == inf


def test_opacus_itself_is_never_imported() -> None:
    program = (
        "import sys\nfrom services.trainer.accountant import Mechanism, epsilon\nassert 'scipy' not in sys.modules\n"
        "assert epsilon([Mechanism(0.1, 1.0, 10)], 1e-5) > 0\nassert 'opacus' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
