"""The statistics of `python -m bench.privacy`, on data whose answers are known; and one course of each kind, short."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench import privacy
from services.trainer.recipe import Recipe


def two_groups(shift: float, runs: int = 40, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Scores (runs, n), normal, `shift` greater for who is in; and who is."""
    generator = np.random.default_rng(1)
    inside = generator.random((runs, count)) < 0.5
    return generator.normal(size=(runs, count)) + shift * inside, inside


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_an_attack_is_as_good_as_theory_says(shift: float) -> None:
    scores, inside = two_groups(shift)
    auc = privacy.over_runs(privacy.area, scores, inside)
    assert auc.value == pytest.approx(stats.norm.cdf(shift / np.sqrt(2)), abs=0.02)
    assert auc.low < auc.value < auc.high and auc.high - auc.low < 0.05
    tpr = privacy.over_runs(privacy.found, scores, inside)
    assert tpr.value == pytest.approx(stats.norm.sf(stats.norm.isf(0.01) - shift), abs=0.04)


def test_ties_are_half_a_win() -> None:
    assert privacy.area(np.array([1.0, 1.0]), np.array([True, False])) == 0.5


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_what_is_proven_is_never_more_than_is_true_and_not_much_less(epsilon: float) -> None:
    """Randomised response: who is in says so with probability e^epsilon / (1 + e^epsilon), and is epsilon-private exactly."""
    generator = np.random.default_rng(3)
    honest = np.exp(epsilon) / (1 + np.exp(epsilon))
    inside = generator.random((40, 500)) < 0.5
    scores = np.where(generator.random(inside.shape) < honest, inside, ~inside).astype(float)
    assert 0.8 * epsilon < privacy.proven_epsilon(scores, inside, 0.0) <= epsilon
    assert privacy.proven_epsilon(generator.random(inside.shape), inside, 1e-4) < 0.15


def test_shadows_find_what_a_threshold_cannot() -> None:
    """Each sample has a level of its own, far apart; being in moves it a little."""
    scores, inside = two_groups(2.0)
    levels = np.random.default_rng(2).normal(0, 50, scores.shape[1])
    assert privacy.area(scores + levels, inside) < 0.55
    assert privacy.area(privacy.shadowed(scores + levels, inside), inside) > 0.88


def test_a_run_is_attacked_without_its_own_answer() -> None:
    scores, inside = two_groups(0.0)
    found = privacy.shadowed(scores, inside)
    flipped = inside.copy()
    flipped[5] = ~flipped[5]
    np.testing.assert_array_equal(found[5], privacy.shadowed(scores, flipped)[5])


def test_courses_and_runs_spend_what_they_say() -> None:
    recipe = Recipe(step_count=10)
    sgd, encoding = privacy.plans(8.0, 1e-4, 2)["sgd"]
    course = privacy.course(1, None, sgd, encoding, recipe, 2)
    assert len(course.accuracies) == 2 and 7.5 < course.epsilon <= 8.0
    bare = privacy.run(1, None, 1, recipe)
    noised = privacy.run(1, replace(sgd, dp_rounds=1), 1, recipe)  # type: ignore[type-var]
    np.testing.assert_array_equal(bare.inside, noised.inside)
    assert bare.epsilon == np.inf and 7.5 < noised.epsilon <= 8.0
    assert np.isfinite(noised.losses).all() and np.isfinite(noised.agreement).all()


def test_canaries_have_wrong_labels_and_nothing_else_has() -> None:
    samples, canaries, held_out = privacy.pool()
    assert len(samples) == privacy.POOL and canaries.sum() == privacy.CANARIES and len(held_out) == 359
    true, _ = privacy.data.hold_out(privacy.data.digits())
    chosen = np.sort(np.random.default_rng(20_250_101).choice(len(true), privacy.POOL, replace=False))
    np.testing.assert_array_equal(samples.y != true.y[chosen], canaries)


@pytest.mark.parametrize(("best", "proven", "status"), [(0.91, 1.0, 0), (0.89, 1.0, 1), (0.91, 8.5, 1)])
def test_the_command_judges(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], best: float, proven: float, status: int
) -> None:
    fine = privacy.Measured(0.5, 0.4, 0.6)
    attack = privacy.Attack(8.0, 0.9, {"loss": privacy.Attacked(fine, fine, fine, fine, proven)})
    course = privacy.Course((0.5, best), 8.0, 0.1)

    class Here:
        """A pool of no processes."""

        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def submit(self, *_: object) -> "Here":
            return self

        def result(self) -> privacy.Course:
            return course

        def map(self, *_: object) -> list[None]:
            return []

    monkeypatch.setattr(privacy, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(privacy, "judged", lambda *_: attack)
    assert privacy.main(["--seeds", "2", "--json"]) == status
    told = json.loads(capsys.readouterr().out)
    assert told["holds"] is (status == 0) and set(told["accuracy"]) == {"no privacy", "sgd", "sgd, int8", "update"}
    assert privacy.main(["--seeds", "2"]) == status
    said = " ".join(capsys.readouterr().out.split())
    assert ("more than epsilon: does not hold." if status else "more than epsilon: holds.") in said
