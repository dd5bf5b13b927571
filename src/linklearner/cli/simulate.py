"""`simulate`: many contributors in one place, without a chain."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from linklearner.cli.arguments import number
from linklearner.cli.calls import FormatOption
from linklearner.cli.checkout import checkout, environment
from linklearner.domain.encodings import ENCODINGS, TWO_BITS
from linklearner.domain.errors import InvalidConfig
from linklearner.domain.notation import UINT32
from linklearner.output import Format, reporting
from linklearner.simulation import MAX_CONTRIBUTORS, MAX_PROCESSES, MAX_ROUNDS, Simulation

MODULE = "services.trainer.simulation"
ATTACK_MODULE = "services.trainer.simulation.attack"


def simulate(
    task: Annotated[
        str,
        typer.Argument(
            help="digits, a Python file as `task create` takes it, or the file of a plan as `task open` takes it"
        ),
    ] = "digits",
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="samples, as LINKLEARNER_TRAINER_DATA names them, to be cut into shards; left out: the task file's own",
        ),
    ] = "",
    frozen: Annotated[
        str, typer.Option("--frozen", help="folder of the safetensors files with the model's frozen tensors")
    ] = "",
    contributors: Annotated[
        int | None,
        typer.Option(parser=number("--contributors", 1, MAX_CONTRIBUTORS), help="left out: 100, or 10 with --attack"),
    ] = None,
    rounds: Annotated[int, typer.Option(parser=number("--rounds", 1, MAX_ROUNDS))] = 20,
    present: Annotated[
        int,
        typer.Option(
            parser=number("--present", 0, MAX_CONTRIBUTORS), help="how many are drawn for each round; 0: everybody"
        ),
    ] = 0,
    skew: Annotated[
        str, typer.Option("--skew", help="iid, or dirichlet:ALPHA of each label over the contributors")
    ] = "dirichlet:0.5",
    stakes: Annotated[
        str, typer.Option("--stakes", help="even, pareto:SHAPE, or $LL of each, repeated: 5,3,1")
    ] = "even",
    encoding: Annotated[str, typer.Option(help=" or ".join(one.name for one in ENCODINGS.values()))] = TWO_BITS.name,
    steps: Annotated[
        int,
        typer.Option(
            parser=number("--steps", 0, 1_000_000), help="local optimiser steps a round; 0: as many as the task advises"
        ),
    ] = 0,
    seed: Annotated[
        int,
        typer.Option("--seed", parser=number("--seed", 0, UINT32), help="of shards, stakes, batches, first weights"),
    ] = 1,
    processes: Annotated[
        int,
        typer.Option(
            parser=number("--processes", 0, MAX_PROCESSES),
            help="worker processes; 0: one a CPU. The result is the same with any number",
        ),
    ] = 0,
    ray: Annotated[
        str,
        typer.Option("--ray", help="train on a Ray cluster: its address (auto, host:port), or local to start one here"),
    ] = "",
    attack: Annotated[
        str,
        typer.Option(
            "--attack",
            help="play rule evidence under an attack, on digits, warp or modes: label-flip, stale-copy, mimic, …",
        ),
    ] = "",
    share: Annotated[
        float, typer.Option("--share", min=0.01, max=0.99, help="of the contributors that attack, with --attack")
    ] = 0.4,
    report: Annotated[
        Path | None, typer.Option("--report", help="write a page of charts and tables: FILE.html")
    ] = None,
    format: FormatOption = Format.TEXT,
) -> None:
    """Train one task with many simulated contributors: real quantised updates, the real merge, float averaging beside it. With --attack:
    one attack on rule evidence, on its own code, and who is paid for what."""
    if attack:
        with reporting(format):
            if data or present or steps or ray or report is not None or stakes != "even":
                raise InvalidConfig(
                    "with --attack there are --share, --contributors, --rounds, --skew, --seed and --encoding, on equal stakes"
                )
            root = checkout()
        arguments = [
            sys.executable, "-m", ATTACK_MODULE, "--attack", attack, "--share", str(share), "--task", task, "--skew", skew,
            "--contributors", str(contributors or 10), "--rounds", str(rounds), "--seed", str(seed), "--encoding", encoding,
            "--format", format.value,
        ]  # fmt: skip
        os.execve(sys.executable, arguments, environment(root) | {"OMP_NUM_THREADS": "1"})
    contributors = contributors or 100
    with reporting(format):
        settings = Simulation(
            task=task, data=data, frozen=frozen, contributors=contributors, rounds=rounds, present=present, skew=skew, stakes=stakes,
            seed=seed, encoding=encoding, steps=steps, processes=processes, ray=ray,
        )  # fmt: skip
        root = checkout()
        arguments = [sys.executable, "-m", MODULE, settings.to_json(), "--format", format.value]
        if report is not None:
            if not report.absolute().parent.is_dir():  # said now, not after the last round
                raise InvalidConfig(f"the report's folder {report.absolute().parent} does not exist")
            arguments += ["--report", str(report)]
    # One thread of linear algebra in each worker, from its start on.
    os.execve(sys.executable, arguments, environment(root) | {"OMP_NUM_THREADS": "1"})
