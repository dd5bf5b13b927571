"""Simulation: the rounds of a federation without a chain are those of one with a chain, wherever the local training runs."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from bench.pool import POOL, PoolChain, account
from linklearner.cli import app
from linklearner.domain.encodings import ENCODINGS, INT8, TWO_BITS, Encoding
from linklearner.domain.errors import InvalidConfig, InvalidInput, NotFinite, OutOfRange, Unavailable
from linklearner.domain.fixedpoint import dequantise_weights, quantise_weights
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.stakes import influence
from linklearner.domain.update import Update
from linklearner.simulation import Simulation, Skew, Stakes
from services.trainer import training
from services.trainer.recipe import AdamW, Recipe
from services.trainer.simulation import engine, tasks
from services.trainer.simulation.courses import Course, Federation, FloatAveraging, OnChain, Trained, work
from services.trainer.simulation.executors import JOBS_A_WORKER, Here, OnRay, Processes, _Kept
from services.trainer.simulation.run import one_thread, simulate

ROOT = Path(__file__).resolve().parents[3]
QUIET = Console(quiet=True)
FEW_STEPS = Recipe(step_count=10)


def small(**changes: Any) -> Simulation:
    settings: dict[str, Any] = {"contributors": 4, "rounds": 2, "steps": 10, "processes": 1, "skew": "dirichlet:1"}
    return Simulation(**settings | changes)


def federated(stakes: tuple[int, ...] = (1000, 1000, 1000, 1000), alpha: float | None = 1.0) -> Federation:
    return engine.federation(tasks.load("digits", "digits", len(stakes), 3), len(stakes), alpha, stakes, 3)


def played(course: Course, present: list[int]) -> list[Trained]:
    """The round's local training, in this process."""
    return [work(job) for job in course.jobs(_Kept(course.federation), _Kept(course.weights), present)]


def comparable(settings: Simulation) -> dict[str, Any]:
    document = simulate(settings, QUIET).document()
    for name in ("seconds", "workers", "settings"):
        del document[name]
    return document


def test_the_result_is_the_same_with_any_number_of_processes() -> None:
    settings = small(contributors=5, stakes="5,1", present=3)
    assert comparable(settings) == comparable(replace(settings, processes=2))


def test_the_same_seed_gives_the_same_and_another_one_another() -> None:
    assert comparable(small()) == comparable(small())
    assert comparable(small()) != comparable(small(seed=2))


def test_on_ray_it_is_the_same_again() -> None:
    pytest.importorskip("ray")
    # in a process of its own: a Ray that was started stays with its process
    script = (
        "import sys; from rich.console import Console; from linklearner.simulation import Simulation\n"
        "from services.trainer.simulation.run import simulate\n"
        "document = simulate(Simulation.from_json(sys.argv[1]), Console(quiet=True)).document()\n"
        "import json; print(json.dumps({k: v for k, v in document.items() if k not in ('seconds', 'workers', 'settings')}))"
    )
    path = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    done = subprocess.run(
        [sys.executable, "-c", script, small(ray="local", processes=2).to_json()],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, cwd=ROOT, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == json.loads(json.dumps(comparable(small())))


def test_without_ray_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidConfig, match=r"linklearner\[ray\]"):
        OnRay("local", 1)


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=lambda one: one.name)
def test_a_round_is_what_the_domain_gives_step_by_step(encoding: Encoding) -> None:
    """Two rounds by the engine, and by hand: train, add the residual, quantise, judge, merge."""
    federation = federated(stakes=(3000, 1000, 500, 300))
    course = OnChain(federation, FEW_STEPS, encoding)
    with Here() as executor:
        outcomes = [merging for (merging,) in engine.rounds(federation, (course,), executor, 2)]
    plan, shape = federation.plan, federation.plan.shape
    weights = quantise_weights(plan.model.initial(plan.seed), shape)
    residuals = [np.zeros(shape.weight_count) for _ in range(4)]
    for number in range(2):
        base, contributions = dequantise_weights(weights, shape), []
        for i, rows in enumerate(federation.shards):
            delta = training.train(plan.model, base, federation.learn[rows], FEW_STEPS, (3, i, number), lambda *_: None)
            quantised = quantise_delta(delta + residuals[i], shape, 1, number + 1, encoding)
            residuals[i] = quantised.residual
            weight = influence(federation.stakes[i], federation.eligible)
            effective = MEAN.verdict(weight, quantised.update.squared_norm(shape), shape.norm_bound)
            contributions.append(Contribution(bytes([i] * 20), weight, effective, quantised.update))
        weights = MEAN.merge(weights, contributions, federation.eligible, shape).weights
        assert outcomes[number].update_bytes == sum(len(one.update.encode(shape)) for one in contributions)
    assert np.array_equal(course.weights, dequantise_weights(weights, shape))


def test_float_averaging_is_the_mean_weighted_by_influence() -> None:
    federation = federated(stakes=(3000, 1000, 500, 300))
    course = FloatAveraging(federation, FEW_STEPS)
    first = course.weights.astype(np.float64)
    deltas = [one.delta for one in played(course, [0, 1, 2, 3])]
    course.merge([0, 1, 2, 3], [Trained(delta=delta) for delta in deltas])
    shares = np.array([1200, 1000, 500, 300])  # a quarter of all stake at most
    wanted = first + np.average(np.array(deltas), axis=0, weights=shares)
    assert np.allclose(course.weights, wanted, atol=1e-6)


def test_a_chain_makes_the_same_of_the_updates_for_the_gas_that_was_estimated() -> None:
    stakes = (4000, 2000, 1000, 1000)
    federation = federated(stakes=stakes)
    plan, shape = federation.plan, federation.plan.shape
    terms = replace(plan.terms, min_round_seconds=10, round_seconds=60, drop_seconds=600, stake_seconds=100)
    world = PoolChain.deployed(6)
    task = world.open_task(shape, plan.first_weights(), stakes, terms, plan.model.to_json())
    assert task == 1
    course = OnChain(federation, FEW_STEPS, TWO_BITS)
    for _ in range(2):
        results = played(course, [0, 1, 2, 3])
        updates = [Update.decode(one.update, shape) for one in results]
        submitted = sum(world.submit(i + 1, update, shape).gas_used for i, update in enumerate(updates))
        world.wait(60)
        settlements = world.settlements(task, 0, shape, {one.digest(shape): one for one in updates})
        data = POOL.encode_call("settle", task, world.status(task)["round"], 0, settlements)
        settled = world.send(account(1), world.pool, data).gas_used
        merging = course.merge([0, 1, 2, 3], results)
        assert np.array_equal(course.weights, dequantise_weights(world.weights(task, shape), shape))
        assert merging.submission_gas == pytest.approx(submitted, rel=0.25)  # a vault counts fresh stake once
        assert merging.settlement_gas == pytest.approx(settled, rel=0.1)
        assert merging.calldata_bytes == sum(len(world.submission(one, shape)) for one in updates) + len(data)
    world.chain.close()


def test_what_a_chain_would_refuse_is_refused_and_forgotten() -> None:
    federation = federated(stakes=(100_000, 100_000, 100_000, 1))  # the last one is below the task's least stake
    course = OnChain(federation, FEW_STEPS, INT8)
    results = played(course, [0, 1, 2, 3])
    shape = federation.plan.shape
    nothing = Update(1, 1, INT8, (0,) * len(shape.tensors), ()).encode(shape)
    results[1] = replace(results[1], update=nothing)
    results[2] = Trained(failure="NotFinite")
    merging = course.merge([0, 1, 2, 3], results)
    assert merging.accepted == (0,)
    assert merging.refused == {"EmptyUpdate": 1, "NotFinite": 1, "BelowMinimumStake": 1}
    carried = [job.residual for job in course.jobs(_Kept(federation), _Kept(course.weights), [0, 1, 3])]
    assert np.array_equal(carried[0], results[0].residual)  # type: ignore[arg-type]
    assert not np.any(carried[1]) and not np.any(carried[2])


def test_a_training_that_diverges_is_a_refusal_not_the_end() -> None:
    federation = federated()
    assert played(OnChain(federation, Recipe(step_count=10, optimiser=AdamW(learning_rate=1.0)), INT8), [0])[0].update
    course = FloatAveraging(federation, FEW_STEPS)
    course._weights = np.full_like(course._weights, np.inf)
    assert played(course, [0]) == [Trained(failure=NotFinite.__name__)]
    assert course.merge([0], [Trained(failure="NotFinite")]).refused == {"NotFinite": 1}


def test_a_round_has_no_more_contributors_than_its_terms_take() -> None:
    federation = federated()
    plan = replace(federation.plan, terms=replace(federation.plan.terms, max_updates=2))
    course = OnChain(replace(federation, plan=plan), FEW_STEPS, INT8)
    with Here() as executor:
        outcomes = [merging for (merging,) in engine.rounds(course.federation, (course,), executor, 4)]
    assert all(len(one.present) == 2 == len(set(one.present)) for one in outcomes)
    assert len({one.present for one in outcomes}) > 1


def boom(job: int) -> int:
    raise OutOfRange(f"job {job}", reason="Boom")


def leave(job: int) -> int:
    os._exit(9)


def double(job: int) -> int:
    return 2 * job


def sum_of(job: Any) -> tuple[float, bool]:
    array = job.get()["numbers"]
    return float(array.sum()), array.flags.writeable


def test_results_come_in_the_order_of_the_jobs_and_errors_as_they_are() -> None:
    with Processes(2) as executor:
        assert list(executor.run(double, range(40))) == [2 * one for one in range(40)]
        with pytest.raises(OutOfRange, match="job 0") as caught:
            list(executor.run(boom, range(3)))
        assert caught.value.reason == "Boom"
        handle = executor.put({"numbers": np.arange(1000.0)})
        assert list(executor.run(sum_of, [handle] * 3)) == [(499500.0, False)] * 3
        folder = Path(executor._folder.name)
        assert len(list(folder.iterdir())) == 1
        executor.drop(handle)
        assert not list(folder.iterdir())
    assert not folder.exists()


def test_a_worker_that_dies_is_said_and_not_waited_for() -> None:
    with Processes(1) as executor, pytest.raises(Unavailable, match="worker process"):
        list(executor.run(leave, range(3)))


def test_few_jobs_are_under_way_at_a_time_however_many_there_are() -> None:
    started: list[int] = []

    def jobs() -> Any:
        for number in range(1000):
            started.append(number)
            yield number

    with Here() as executor:
        results = executor.run(double, jobs())
        assert next(results) == 0
    assert len(started) <= JOBS_A_WORKER + 1


def test_one_thread_is_what_a_worker_computes_with() -> None:
    import torch

    torch.set_num_threads(2)
    one_thread()
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"contributors": 0}, "contributors must be between 1 and 10000, got 0"),
        ({"rounds": 0}, "rounds must be between 1"),
        ({"present": 5}, "present must be between 0 and 4, got 5"),
        ({"skew": "dirichlet"}, "skew must be iid or dirichlet:0.5, got 'dirichlet'"),
        ({"skew": "dirichlet:nan"}, "skew must be"),
        ({"skew": "dirichlet:0"}, "between 0.001"),
        ({"skew": "dirichlet:1_0"}, "skew must be"),
        ({"stakes": "pareto:0"}, "between 0.1"),
        ({"stakes": "1,,2"}, "is not an amount"),
        ({"stakes": "-1"}, "is not an amount"),
        ({"encoding": "int4"}, "is not an encoding"),
        ({"seed": -1}, "seed must be between 0"),
        ({"processes": 5000}, "processes must be between 0 and 1024"),
    ],
)
def test_settings_are_refused_in_a_sentence(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        small(**settings)
    assert complaint in caught.value.message


@pytest.mark.parametrize("text", ["", "[]", '{"rounds": "2"}', '{"rounds": true}', '{"roundz": 2}', "\udc80"])
def test_settings_from_elsewhere_are_checked(text: str) -> None:
    with pytest.raises(InvalidInput):
        Simulation.from_json(text)
    assert Simulation.from_json(small().to_json()) == small()


def test_stakes_are_even_repeated_or_drawn() -> None:
    assert Stakes.parse("even").of(3, 1) == (1000, 1000, 1000)
    assert Stakes.parse("5,0.5").of(3, 1) == (5000, 500, 5000)
    drawn = Stakes.parse("pareto:1.16").of(200, 1)
    assert drawn == Stakes.parse("pareto:1.16").of(200, 1) != Stakes.parse("pareto:1.16").of(200, 2)
    assert min(drawn) >= 1 and max(drawn) > 5 * sum(drawn) / len(drawn)
    assert str(Stakes.parse("5,0.5")) == "5,0.5" and str(Skew.parse("dirichlet:0.50")) == "dirichlet:0.5"


def typed(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from linklearner.cli import app; app()", "simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300, check=False)


def test_the_command_prints_json_and_writes_its_page(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"seed": 3, "terms": {"max_updates": 3}}')
    done = typed(
        "plan.json", "--contributors", "6", "--rounds", "2", "--steps", "10", "--processes", "1",
        "--format", "json", "--report", "page.html",
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [one["accepted"] for one in result["rounds"]] == [3, 3]
    assert len(result["contributors"]) == 6 and sum(one["samples"] for one in result["contributors"]) == 1438
    assert 0 <= result["rounds"][-1]["float_score"]["value"] <= 1
    assert "digits" in (tmp_path / "page.html").read_text()


def test_a_task_file_brings_its_module_its_data_and_its_advice() -> None:
    settings = small(task=str(ROOT / "examples" / "tasks" / "regression.py"), contributors=3, rounds=1, steps=0)
    result = simulate(settings, QUIET)
    assert (result.model, result.steps, result.first.metric) == ("diabetes", 60, "R²")
    assert result.rounds[0].score.value > result.first.value
    assert {one.labels for one in result.contributors} <= set(range(1, 11))


def test_frozen_tensors_reach_the_workers(tmp_path: Path) -> None:
    task = tasks.load(str(ROOT / "examples" / "tasks" / "lora.py"), "", 2, 1)
    assert task.frozen and set(task.frozen) == {one.name for one in task.plan.model.graph.frozen}
    federation = engine.federation(task, 2, None, (1000, 1000), 1)
    assert played(OnChain(federation, FEW_STEPS, INT8), [0])[0].update


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing.json"], "cannot read"),
        (["--contributors", "2000"], "1438 samples cannot be cut into 2000 shards"),
        (["--data", "npz:gone.npz"], "gone.npz"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    done = typed(*arguments, "--rounds", "1", "--processes", "1", folder=tmp_path)
    assert (done.returncode, complaint in " ".join(done.stderr.split())) == (2, True), done.stderr


def test_a_report_into_no_folder_is_refused_before_the_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execve", partial(pytest.fail, "it was started"))
    done = CliRunner().invoke(app, ["simulate", "--report", "/nowhere/at/all.html"])
    assert done.exit_code == 2 and "does not exist" in done.output
