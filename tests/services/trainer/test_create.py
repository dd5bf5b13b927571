"""A creator's Python file becomes a plan, a row of first weights and perhaps a file of frozen ones; whatever is wrong with it is said."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from linklearner import frozen
from linklearner.cli import app
from linklearner.domain.errors import InvalidConfig, InvalidModel, NotFinite
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.graph import Frozen
from linklearner.domain.model import Loss
from linklearner.domain.plan import TaskPlan
from linklearner.plan_file import read_plan
from services.trainer import data, training
from services.trainer.create import created, frozen_bytes, written
from services.trainer.own_file import MODULE

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "examples" / "tasks").glob("*.py"))


def test_examples_have_at_most_40_lines_and_every_kind_that_new_offers() -> None:
    from linklearner.cli.new import Kind

    assert {path.stem for path in EXAMPLES} == {kind.value for kind in Kind}
    for path in EXAMPLES:
        assert len([line for line in path.read_text().splitlines() if line.strip()]) <= 40, path


def test_the_readme_shows_the_example_that_runs() -> None:
    assert f"```python\n{(ROOT / 'examples/tasks/cnn.py').read_text()}```" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_becomes_a_plan_that_is_read_back(path: Path, tmp_path: Path) -> None:
    made = created(path)
    assert made.difference < 1e-5 and made.rounded < 1e-2
    files = written(made, tmp_path)
    plan = read_plan(tmp_path / files["plan"])
    assert plan == made.plan and plan.shape == made.plan.shape
    assert plan.weights is not None and made.plan.weights is not None
    np.testing.assert_array_equal(plan.weights, made.plan.weights)
    assert np.abs(dequantise_weights(plan.first_weights(), plan.shape) - plan.weights).max() <= 2**-9
    base = frozen.read(tmp_path, plan.model.graph.frozen)
    assert base.keys() == made.frozen.keys() and ("frozen" in files) == (path.stem == "lora")


def source(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my_task.py"
    path.write_text(text)
    return path


GOOD = """
import numpy as np
from torch import nn
model = nn.Linear(3, 2)
def data():
    return np.random.default_rng(0).normal(0, 1, (20, 3)), np.arange(20) % 2
"""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model = 1 +", "line 1: SyntaxError"),
        ("\n\nboom()", r"line 3 \(boom\(\)\): NameError"),
        ("x = 1", "defines no 'model'"),
        ("model = 3", "a torch.nn.Module, or a function that makes one, not int"),
        (GOOD.replace("def data", "def other"), "defines no 'data'"),
        (GOOD.replace("return np", "return 3 #"), "must return"),
        (GOOD.replace("(20, 3)", "(20, 4)"), "does not take the data"),
        (GOOD.replace("np.arange(20)", "np.arange(19)"), "20 samples have 19 labels"),
        (GOOD.replace("np.arange(20) % 2", "np.arange(20) / 2"), "labels that count from 0"),
        (GOOD + "loss = 'hinge'", "loss is one of"),
        (GOOD + "labels = ['only one']", "as many labels, not 1"),
        (GOOD + "ranges = {'z': (0, 1)}", "by the names of inputs"),
        (GOOD + "learning_rate = 5", "learning_rate must be between"),
        (GOOD + "terms = {'quorum': 3}", "there is no quorum"),
        (GOOD.replace("model = nn.Linear(3, 2)", "def model():\n    return nn.Linear(3)"), "line 5 .*TypeError"),
        ("import sys\nsys.exit(3)", r"line 2 \(sys\.exit\(3\)\): SystemExit: 3"),
        (GOOD.replace("return np", "raise SystemExit #"), r"line 6 .*: SystemExit$"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises((InvalidConfig, InvalidModel), match=why):
        created(source(tmp_path, text))


def test_a_file_is_run_as_if_it_had_been_started_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever path: dataclasses with annotations in text look their module up, and a function may import what lies beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside_my_task.py").write_text("COUNT = 20\n")
    text = GOOD.replace("(20, 3)", "(Sizes(COUNT).count, 3)").replace(
        "    return", "    from beside_my_task import COUNT\n    return"
    )
    classes = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Sizes:\n    count: int\n"
    source(tmp_path, classes + text)
    path = list(sys.path)
    try:
        assert len(created(Path("my_task.py")).found[0]) == 20
    finally:
        sys.modules.pop("beside_my_task", None)
    assert sys.path == path and MODULE not in sys.modules
    source(tmp_path, "\n\nboom()")
    with pytest.raises(InvalidConfig, match=r"line 3 \(boom\(\)\): NameError"):
        created(Path("my_task.py"))


def test_a_plan_says_what_the_file_said(tmp_path: Path) -> None:
    more = """
name, labels, ranges = "pairs", ["even", "odd"], (-1, 1)
learning_rate, steps, batch_size = 0.5, 20, 4
terms = {"reward": "7", "round_seconds": 33}
"""
    plan = created(source(tmp_path, GOOD + more)).plan
    assert (plan.model.name, plan.model.labels, plan.model.loss) == ("pairs", ("even", "odd"), Loss.CROSS_ENTROPY)
    assert plan.model.advice == {"learning_rate": 0.5, "steps": 20, "batch_size": 4}
    assert plan.model.inputs[0].range == (-1.0, 1.0)
    assert (plan.terms.reward, plan.terms.round_seconds) == (7 * 10**18, 33)


def test_data_comes_in_all_the_ways_that_a_trainer_takes(tmp_path: Path) -> None:
    """Labels in text are the task's labels; a test set beside the samples is held out by whoever measures."""
    named = GOOD.replace("np.arange(20) % 2", "np.array(['odd', 'even'])[np.arange(20) % 2]")
    assert created(source(tmp_path, named)).plan.model.labels == ("even", "odd")
    halves = GOOD.replace("return", "x, y =") + "    return x[:15], y[:15], x[15:], y[15:]\n"
    learn, held_out = created(source(tmp_path, halves)).found
    assert held_out is not None and (len(learn), len(held_out)) == (15, 5)
    several = GOOD.replace("    return", "    x, y =") + "    return {'left': x, 'right': x}, y\n"
    with pytest.raises(InvalidConfig, match=r"forward takes \['input'\], data gives \['left', 'right'\]"):
        created(source(tmp_path, several))


def settings(tmp_path: Path) -> dict[str, Any]:
    written(created(source(tmp_path, GOOD)), tmp_path)
    said: dict[str, Any] = json.loads((tmp_path / "plan.json").read_text())
    return said


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"weights": "../weights.npy"}, "beside the plan"),
        ({"weights": "other.npy"}, "cannot read"),
        ({"weights": 3}, "name of an .npy file"),
        ({"exponents": [1, 2, 3]}, "2 tensors have an exponent each"),
        ({"exponents": [True, 1]}, "whole number"),
        ({"exponents": "12"}, "whole number"),
    ],
)
def test_a_plan_that_names_other_things_is_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    said = settings(tmp_path) | change
    (tmp_path / "plan.json").write_text(json.dumps(said))
    with pytest.raises((InvalidConfig, InvalidModel, NotFinite), match=re.escape(why)):
        read_plan(tmp_path / "plan.json")


def test_first_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    said = settings(tmp_path)
    for weights in (np.zeros(7, np.float32), np.full(8, np.nan, np.float32)):
        with pytest.raises(InvalidConfig, match="the model has 8 weights, all finite"):
            TaskPlan.from_json(json.dumps(said), lambda _, weights=weights: weights)
    with pytest.raises(InvalidConfig, match="beside the plan"):
        TaskPlan.from_json(json.dumps(said))


def test_frozen_tensors_are_found_by_their_digest_and_by_nothing_else(tmp_path: Path) -> None:
    content = frozen_bytes({"base": np.arange(6, dtype=np.float32).reshape(2, 3)})
    digest = hashlib.sha256(content).digest()
    wanted = Frozen("w", (2, 3), digest, "base")
    with pytest.raises(InvalidConfig, match=digest.hex()):
        frozen.read(tmp_path, [wanted])
    (tmp_path / "other.safetensors").write_bytes(b"not it")
    with pytest.raises(InvalidConfig, match=digest.hex()):
        frozen.read(tmp_path, [wanted])
    (tmp_path / "any name.safetensors").write_bytes(content)
    assert frozen.read(tmp_path, [wanted])["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    for wrong in (Frozen("w", (3, 2), digest, "base"), Frozen("w", (2, 3), digest, "none")):
        with pytest.raises(InvalidConfig, match=r"any name\.safetensors"):
            frozen.read(tmp_path, [wrong])
    for bad in (b"", b"\xff" * 64, content[:-4]):
        (tmp_path / "bad.safetensors").write_bytes(bad)
        with pytest.raises(InvalidConfig, match="cannot be read"):
            frozen.read(tmp_path, [Frozen("w", (2, 3), hashlib.sha256(bad).digest(), "base")])
    assert frozen.read(tmp_path / "nowhere", []) == {}


def test_new_writes_an_example_once_and_plan_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    first = runner.invoke(app, ["new", "mine.py", "--kind", "mlp"])
    assert first.exit_code == 0 and (tmp_path / "mine.py").read_text() == (ROOT / "examples/tasks/mlp.py").read_text()
    again = runner.invoke(app, ["new", "mine.py"])
    assert again.exit_code != 0 and "is there already" in again.output
    plan = runner.invoke(app, ["task", "plan", "mine.py", "--format", "json"])
    assert plan.exit_code == 0, plan.output
    said = json.loads(plan.output)
    assert said["weights"] == 2410 and Path(said["plan"]).is_file()
    (tmp_path / "mine.py").write_text("boom()")
    failed = runner.invoke(app, ["task", "plan", "mine.py"])
    assert failed.exit_code != 0 and "NameError" in failed.output


def test_examples_learn(tmp_path: Path) -> None:
    """One local training each: what is exported can be trained."""
    from services.trainer.recipe import AdamW, Recipe

    for name, least in (("cnn", 0.8), ("lora", 0.8), ("text", 0.6), ("regression", 0.2)):
        path = ROOT / "examples" / "tasks" / f"{name}.py"
        made = created(path)
        assert made.plan.weights is not None
        model = made.plan.model
        samples, _ = data.load(f"python:{path}", data.Shard())
        advice = model.advice
        recipe = Recipe(
            step_count=int(advice.get("steps", 100)), optimiser=AdamW(learning_rate=advice.get("learning_rate", 0.01))
        )
        delta = training.train(model, made.plan.weights, samples, recipe, (0,), lambda *_: None, made.frozen)
        score = training.evaluate(model, (made.plan.weights + delta).astype(np.float32), samples, made.frozen)
        assert score.value > least, (name, score)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("labels = 5", "TypeError: 'int' object is not iterable"),
        ("ranges = {'input': 3}", "TypeError"),
        ("ranges = {'input': ('a', 'b')}", "ValueError"),
        ("learning_rate = 'fast'", "ValueError: could not convert"),
        ("steps = 10**400", "OverflowError"),
        ("terms = {'reward': object()}", "TypeError"),
        ("terms = {'reward': float('inf')}", "ValueError"),
        ("class name:\n    def __str__(self): raise SystemExit(3)\nname = name()", "SystemExit: 3"),
        ("def data(): return [[1, 2], [3]], [0, 1]", "no array"),
        (
            "def data(): return np.zeros((4, 3)), np.array([0, 1, 0, 2**40])",
            "labels that count from 0",
        ),
        ("def data(): return np.zeros((4, 3)), np.array([0, 1, 0, 70_000])", "labels 0 to 65535 at most"),
        ("def data(): return np.full((4, 3), np.nan), np.arange(4) % 2", "in x (the first is sample 0"),
        ("def data(): return np.array([[0, 0, 0], [0, 0, np.inf]]), np.arange(2)", "in x (the first is sample 1"),
        (
            "loss = 'mean-squared-error'\ndef data(): return np.zeros((2, 3)), np.array([[0, 0], [0, np.nan]])",
            "in y (the first is sample 1",
        ),
        ("model.weight.data.fill_(float('inf'))", "parameter 'weight' of model holds NaN or infinity"),
    ],
)
def test_whatever_a_file_gives_is_taken_or_said_to_be_its_author_s(tmp_path: Path, more: str, why: str) -> None:
    with pytest.raises((InvalidConfig, InvalidModel, NotFinite), match=re.escape(why)):
        created(source(tmp_path, f"{GOOD}\n{more}\n"))


@pytest.mark.parametrize(
    "noise",
    [
        "print('hello', end='')",
        "import atexit\natexit.register(print, 'bye')",
        "import os\nos.write(1, b'from C')",
        "import sys\nsys.stdout.close()",
    ],
)
def test_what_a_file_prints_is_none_of_what_a_program_reads(tmp_path: Path, noise: str) -> None:
    path = source(tmp_path, f"{noise}\n{GOOD}")
    done = subprocess.run(
        [sys.executable, "-m", "services.trainer.create", str(path), "--out", str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, json.loads(done.stdout)["samples"]) == (0, 20), done.stderr


def test_what_a_file_of_samples_prints_goes_where_people_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`simulate --format json` runs it in the process that prints the document."""
    path = source(tmp_path, GOOD + "    print('never reached')\nprint('on import')\n")
    data.load(f"python:{path}", data.Shard())
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "on import\n")
