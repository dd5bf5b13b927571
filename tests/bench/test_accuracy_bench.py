"""The accuracy that `python -m bench.accuracy` claims, guarded on one of its seeds."""

import json

import numpy as np
import pytest

from bench import accuracy


@pytest.fixture(scope="module")
def courses() -> dict[str, list[accuracy.Course]]:
    return accuracy.measure((100,), rows=("float averaging", *accuracy.PROMISED))


@pytest.mark.parametrize("row", accuracy.PROMISED)
def test_integers_lose_next_to_nothing_against_float_averaging(
    courses: dict[str, list[accuracy.Course]], row: str
) -> None:
    assert np.mean([course.accuracies[-1] for course in courses[row]]) >= accuracy.LEAST_MEAN
    assert accuracy.lost_points(courses, row) <= 2 * accuracy.MOST_LOST_POINTS  # one seed is noisier than five
    assert all(len(course.accuracies) == accuracy.ROUNDS for course in courses[row])


def test_honest_updates_are_well_within_the_norm_bound(courses: dict[str, list[accuracy.Course]]) -> None:
    for row in accuracy.PROMISED:
        assert 0.1 < max(course.longest for course in courses[row]) < 0.7


def test_the_command_reports_every_row_and_judges(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(best: float) -> dict[str, list[accuracy.Course]]:
        return {row: [accuracy.Course((0.5, best if row == "two-bits" else 0.97))] for row in accuracy.ROWS}

    for best, verdict in ((0.966, 0), (0.964, 1), (0.97, 0)):
        monkeypatch.setattr(accuracy, "measure", lambda *_, best=best: measured(best))
        assert accuracy.main(["--seeds", "1", "--json"]) == verdict
        report = json.loads(capsys.readouterr().out)
        assert report["holds"] is (verdict == 0) and set(report["rows"]) == set(accuracy.ROWS)
        assert report["rows"]["two-bits"]["points_behind_float"] == pytest.approx(97 - 100 * best)
    assert accuracy.main(["--seeds", "1"]) == 0
    said = capsys.readouterr().out
    assert "control: one shard alone" in said and "Flower" in said and "holds" in said
