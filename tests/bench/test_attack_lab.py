"""The attack lab in its short form: every strategy plays, and what the rule promises holds where it can be seen in a few rounds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.attack_lab import measures, report
from bench.attack_lab.__main__ import main
from linklearner.domain.encodings import INT8, TWO_BITS
from linklearner.domain.rules.evidence.verdicts import judge
from services.trainer.simulation.lab.attacks import ATTACKS
from services.trainer.simulation.lab.course import CELLS, STAKE, WAYS, Course, play
from services.trainer.simulation.lab.tasks import TASKS, spread, task_named
from tests.domain.evidence_reference import Perceptron, settle

SHORT = replace(CELLS["digits50/iid"], opened=24)


def short(attack: str | None = None, **options: object) -> Course:
    return play(SHORT, 7, ATTACKS[attack] if attack else None, rounds=6, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(ATTACKS))
def test_every_strategy_plays_and_the_honest_are_merged(name: str) -> None:
    course = short(name)
    assert course.bad.sum() == 4
    assert course.accepted(~course.bad) > 0.2
    assert all(np.isfinite(one.steps).all() for one in course.rounds)
    pay = course.pay()
    assert set(pay) == set(WAYS)
    assert (pay["novel-at-close"] <= pay["novel"] + len(course.rounds)).all()
    assert all((wei >= 0).all() for wei in pay.values())


def test_a_run_can_be_repeated_exactly() -> None:
    first, second = short("mimic", encoding=TWO_BITS), short("mimic", encoding=TWO_BITS)
    assert all(np.array_equal(a.after, b.after) for a, b in zip(first.rounds, second.rounds, strict=True))
    assert not np.array_equal(first.weights, short("mimic", encoding=INT8).weights)


def test_a_stale_copy_is_paid_by_gain_and_not_by_novel() -> None:
    course = short("stale-copy")
    pay = course.pay()
    assert pay["gain"][course.bad].sum() > 0
    assert pay["novel"][course.bad].sum() == 0
    copies = [
        left.copy for one in course.rounds[1:] for left, bad in zip(one.residuals, course.bad, strict=True) if bad
    ]
    assert all(copies)


def test_attackers_see_nothing_that_is_opened_this_round() -> None:
    """The scene of a round ends where its own examples begin."""
    seen = []

    def spy(scene):  # type: ignore[no-untyped-def]
        seen.append(len(scene.opened))
        return scene.trained

    course = play(SHORT, 7, replace(ATTACKS["noise"], craft=spy), rounds=6)
    assert seen == [one.opened_before for one in course.rounds]
    assert all(one.opened > one.opened_before for one in course.rounds)


def test_new_accounts_start_without_a_record_every_round() -> None:
    course = short("whitewash")
    attackers = np.flatnonzero(course.bad)
    names = {one.accounts[index] for one in course.rounds for index in attackers}
    assert len(names) == len(attackers) * len(course.rounds)


def test_a_round_of_the_lab_is_settled_alike_by_plain_python_integers() -> None:
    """In two rounds of a run: the fast engine against the implementation that shares no code with it."""
    course = short("look-ahead", encoding=TWO_BITS)
    task = course.task
    other = Perceptron(task.network.widths, task.network.exponents, task.network.input_exponent)
    for one in (course.rounds[0], course.rounds[-1]):
        opened = course.examples[: one.opened]
        fresh = one.opened - one.opened_before
        stakes, records = [STAKE] * 10, [0] * 10
        rows = list(zip(opened.inputs.tolist(), opened.labels.tolist(), strict=True))[-6:]
        few = opened[-6:]
        fresh = min(fresh, 6)
        found = judge(task.network, one.base, one.steps, records, stakes, 1000, few, fresh)
        again = settle(other, one.base.tolist(), one.steps.tolist(), records, stakes, 1000, rows, fresh)
        assert found.weights.tolist() == again.weights
        assert [verdict.gain for verdict in found.verdicts] == again.gains


def test_shards_part_the_samples_and_the_pool_is_nobody_s() -> None:
    for name in TASKS:
        task = task_named(name)
        for alpha in (None, 0.1):
            found = spread(task, 10, alpha, 7)
            assert sum(map(len, found.shards)) + len(found.pool) + task.held_back == len(task.learn)
            assert min(map(len, found.shards)) >= 16


def test_one_command_plays_prints_and_draws_and_does_not_play_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "CONTROL_TRAININGS", 1)
    kept = tmp_path / "runs.jsonl"
    arguments = ["--cells", "digits50/iid", "--attacks", "clean,noise", "--seeds", "7", "--runs", str(kept)]
    drawn, table = tmp_path / "map.png", tmp_path / "table.md"
    assert main([*arguments, "--picture", str(drawn), "--markdown", str(table)]) == 0
    printed = capsys.readouterr().out
    assert "opened examples only: MLP" in printed and "noise" in printed
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert table.read_text().splitlines()[0] == "| attack | digits50/iid |"
    runs = kept.read_text().splitlines()
    assert [json.loads(line)["attack"] for line in runs] == ["clean", "noise"]
    assert report.read(kept)[0].shapley.keys() <= set(WAYS)
    assert main(arguments) == 0
    assert kept.read_text().splitlines() == runs
    for wrong in (["--attacks", "nonsense"], ["--cells", "nowhere"], ["--share", "1"]):
        with pytest.raises(SystemExit):
            main(wrong)
