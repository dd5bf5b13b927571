"""Examples that judge a task: taken from what trainers hold out, even over labels, in a file that nobody else reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from linklearner.cli import app
from linklearner.domain.errors import InvalidConfig, InvalidInput
from linklearner.domain.plan import TaskPlan
from linklearner.domain.rounds import RULE_EVIDENCE
from linklearner.domain.rules.evidence.batches import decode_batch
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.plan_file import read_plan
from services.trainer import examples
from services.trainer.data import Samples, Shard, load

PLAN = TaskPlan.from_json("{}")


@pytest.fixture(scope="module")
def digits() -> tuple[Samples, Samples]:
    return load("digits", Shard())


def made(digits: tuple[Samples, Samples], seed: int = 3, rounds: int = 20, size: int = 50) -> examples.Made:
    generator = np.random.default_rng(seed)
    return examples.make(PLAN, *digits, rounds=rounds, size=size, generator=generator)


def test_examples_are_held_out_rows_written_exactly(digits: tuple[Samples, Samples]) -> None:
    learn, held_out = digits
    found = made(digits)
    assert (found.examples.count, len(found.examples.batches), found.examples.input_exponent) == (50, 20, 4)
    assert {len(batch) // found.examples.width for batch in found.examples.batches} == {2, 3}
    network = IntegerNetwork.of_shape(PLAN.shape, 4)
    decoded = [decode_batch(batch, network) for batch in found.examples.batches]
    inputs = np.concatenate([one.inputs for one in decoded])
    labels = np.concatenate([one.labels for one in decoded])
    pixels = held_out.inputs["x"].reshape(len(held_out), -1)
    np.testing.assert_array_equal(inputs, pixels[found.rows])
    np.testing.assert_array_equal(labels, held_out.y[found.rows])
    trained = {row.tobytes() for row in learn.inputs["x"].reshape(len(learn), -1).astype(np.float32)}
    assert not any(row.astype(np.float32).tobytes() in trained for row in inputs)
    assert found.counts == (5,) * 10 and found.control is not None and 0.6 < found.control < 0.97
    assert found.control_count == len(held_out) - 50


def test_the_same_seed_gives_the_same_examples_and_another_one_others(digits: tuple[Samples, Samples]) -> None:
    assert made(digits).examples == made(digits).examples
    assert made(digits, seed=4).examples.root != made(digits).examples.root


def test_labels_come_in_their_shares_and_evenly(digits: tuple[Samples, Samples]) -> None:
    labels = np.repeat(np.arange(4), (10, 30, 50, 110))
    rows = examples.chosen(labels, 40, np.random.default_rng(0))
    assert len(set(rows.tolist())) == 40
    assert np.bincount(labels[rows]).tolist() == [2, 6, 10, 22]
    halves = [np.bincount(labels[half], minlength=4) for half in (rows[:20], rows[20:])]
    assert all(abs(int(a) - int(b)) <= 2 for a, b in zip(*halves, strict=True))


def test_rows_that_occur_elsewhere_are_no_examples() -> None:
    generator = np.random.default_rng(1)
    inputs = generator.integers(0, 17, (40, 64)).astype(np.float32)
    labels = np.arange(40, dtype=np.int64) % 10
    held_out = np.concatenate((inputs[:20], inputs[10:20]))  # ten of them twice
    held = Samples({"x": held_out}, np.concatenate((labels[:20], labels[10:20])))
    learn = Samples({"x": np.concatenate((inputs[20:], inputs[:5]))}, np.concatenate((labels[20:], labels[:5])))
    found = examples.make(PLAN, learn, held, rounds=5, size=15, generator=generator)
    assert found.left_out == 15 and not set(found.rows.tolist()) & set(range(5))
    with pytest.raises(InvalidInput, match="16 examples are wanted, and the source holds out 15"):
        examples.make(PLAN, learn, held, rounds=5, size=16, generator=generator)


def test_more_updates_than_a_block_can_judge_are_made_fewer_or_refused(digits: tuple[Samples, Samples]) -> None:
    assert examples.fitting(PLAN, made(digits).examples) is None
    assert examples.fitting(PLAN, made(digits, size=200).examples) == 25
    wide = TaskPlan.from_json(json.dumps({"model": {
        "name": "wide", "kind": "mlp", "layers": [64, 400, 40, 10], "activation": "relu",
        "input": {"name": "x", "scale": 0.0625}, "labels": list("0123456789")}}))  # fmt: skip
    with pytest.raises(InvalidInput, match=r"one settlement group|takes up to"):
        examples.fitting(wide, made(digits, size=200).examples)


def typed(*arguments: str) -> tuple[int, Any]:
    done = CliRunner().invoke(app, [*arguments, "--format", "json"])
    try:
        return done.exit_code, json.loads(done.stdout)
    except ValueError:
        return done.exit_code, done.output


def test_the_command_writes_a_file_that_only_its_maker_reads_and_a_plan_that_names_it(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"seed": 3, "terms": {"reward": "10"}}')
    code, row = typed("task", "examples", str(plan), "--hold-out", "digits", "--rounds", "10", "--a-round", "3")
    assert code == 0 and (row["examples"], row["labels"]["0"]) == (30, 3)
    assert 0 < row["control"] < 1
    (file,) = tmp_path.glob("*.examples")
    assert file.stat().st_mode & 0o777 == 0o600
    found = read_plan(plan)
    assert found.examples is not None and "0x" + found.examples.root.hex() == row["root"]
    assert (found.terms.rule, found.terms.reward, found.seed) == (RULE_EVIDENCE, 10 * 10**18, 3)
    code, again = typed("task", "examples", str(plan), "--hold-out", "digits", "--rounds", "10", "--a-round", "3")
    assert code == 0 and again["root"] != row["root"]  # nobody can guess them; the others are still there
    assert len(list(tmp_path.glob("*.examples"))) == 2


@pytest.mark.parametrize("name", ["../plan.examples", "/etc/passwd", "x.npy", "missing.examples", ".examples"])
def test_a_hostile_plan_reads_no_other_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "plan"
    folder.mkdir()
    (tmp_path / "plan.examples").write_bytes(b"secret")
    (folder / ".examples").write_bytes(b"LLEX" + bytes(100))
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"examples": name, "terms": {"rule": "evidence"}}))
    with pytest.raises(InvalidConfig) as raised:
        read_plan(plan)
    assert "secret" not in raised.value.message


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--rounds", "400", "--a-round", "5"), "the source holds out"),
        (("--hold-out", "npz:nowhere.npz"), "nowhere.npz"),
        (("--hold-out", "diabetes"), ""),
    ],
)
def test_what_cannot_be_made_is_said_and_the_plan_stays(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text("{}")
    source = () if "--hold-out" in arguments else ("--hold-out", "digits")
    code, output = typed("task", "examples", str(plan), *source, *arguments)
    assert code == 2 and complaint in str(output)
    assert plan.read_text() == "{}" and not list(tmp_path.glob("*.examples"))
