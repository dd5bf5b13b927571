"""`python -m bench.attack_lab`: plays attacks in cells and prints what each got. Runs are kept in a file of JSON lines and not repeated."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # matrices of this size gain nothing from more
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.attack_lab import measures, report
from bench.attack_lab.report import CLEAN, Row, Run
from linklearner.domain.encodings import ENCODINGS, encoding_named
from services.trainer.simulation.lab.attacks import ATTACKS
from services.trainer.simulation.lab.course import CELLS, WAYS, play

FRESH_SEEDS = (1402, 1403, 1404, 1405, 1406)
"""Never used while the constants of the rule were chosen (0 to 305), nor while this lab was written (1401)."""


def played(cell: str, attack: str, seed: int, encoding: str, share: float = 0.4) -> Run:
    """One attack (or "clean") in one cell."""
    course = play(CELLS[cell], seed, ATTACKS.get(attack), share, encoding_named(encoding))
    paid = course.pay()
    shapley: list[dict[str, float]] = [{}, {}]
    if attack == CLEAN:
        for found, on_opened in zip(shapley, (False, True), strict=True):
            values = measures.shapley(course, seed, on_opened)
            found.update((way, float(np.corrcoef(values, one)[0, 1])) for way, one in paid.items() if one.any())
    parts = {way: float(wei[course.bad].sum() / wei.sum()) if wei.any() else float("nan") for way, wei in paid.items()}
    return Run(
        cell=cell,
        attack=attack,
        seed=seed,
        encoding=encoding,
        accuracy=course.accuracy(),
        oracle=measures.oracle(CELLS[cell], seed, ~course.bad),
        honest_accepted=course.accepted(~course.bad),
        bad_accepted=course.accepted(course.bad),
        paid={way: wei.tolist() for way, wei in paid.items()},
        bad=course.bad.tolist(),
        part=parts,
        shapley=shapley[0],
        shapley_opened=shapley[1],
        share=share,
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.attack_lab", description=__doc__)
    parser.add_argument("--cells", default=",".join(CELLS), help=f"of {', '.join(CELLS)} (default all)")
    parser.add_argument("--attacks", default=",".join((CLEAN, *ATTACKS)), help="names, or clean (default all)")
    parser.add_argument("--seeds", default=",".join(map(str, FRESH_SEEDS)), help="default %(default)s")
    parser.add_argument("--share", type=float, default=0.4, help="of the contributors that attack (default 0.4)")
    parser.add_argument("--encoding", default="int8", choices=[one.name for one in ENCODINGS.values()])
    parser.add_argument("--runs", type=Path, help="file of JSON lines: runs in it are not played again")
    parser.add_argument("--picture", type=Path, help="write the heat map there (PNG)")
    parser.add_argument("--markdown", type=Path, help="write the table of the docs there")
    parser.add_argument("--show", action="store_true", help="play nothing: only what --runs has")
    given = parser.parse_args(arguments)
    cells, attacks = given.cells.split(","), given.attacks.split(",")
    seeds = [int(seed) for seed in given.seeds.split(",")]
    if not 0 < given.share < 1:
        parser.error(f"--share must be between 0 and 1, got {given.share}")
    for wanted, known in ((cells, set(CELLS)), (attacks, {CLEAN, *ATTACKS})):
        if unknown := [name for name in wanted if name not in known]:
            parser.error(f"{unknown[0]!r} is none of {', '.join(sorted(known))}")
    runs = report.read(given.runs) if given.runs else []
    kept = {one.key for one in runs}
    for seed in () if given.show else seeds:
        for cell in cells:
            for attack in attacks:
                if (cell, attack, seed, given.encoding, given.share) in kept:
                    continue
                one = played(cell, attack, seed, given.encoding, given.share)
                runs.append(one)
                if given.runs:
                    report.append(given.runs, one)
    wanted_keys = {(c, a, s, given.encoding, given.share) for c in cells for a in attacks for s in seeds}
    runs = [one for one in runs if one.key in wanted_keys]
    found = report.rows(runs)
    _print(found, runs, cells, seeds)
    if given.markdown:
        given.markdown.write_text(report.markdown(found))
    if given.picture:
        report.picture(found, given.picture)
    return 0


def _print(found: Sequence[Row], runs: Sequence[Run], cells: Sequence[str], seeds: Sequence[int]) -> None:
    console = Console(width=max(150, Console().width))
    table = Table(title=f"Rule evidence under attack, per cent, means over seeds {', '.join(map(str, seeds))}")
    for name in (
        "attack", "cell", "runs", "accuracy", "oracle", "merged: honest", "attackers", "pay: gain", "novel", "at close", "fair",
        "worst novel", "honest pay lost",
    ):  # fmt: skip
        table.add_column(name, justify="left" if name in ("attack", "cell") else "right")
    for row in found:
        mark = "" if row.attack == CLEAN or ATTACKS[row.attack].closed else " *"
        numbers = (row.accuracy, row.oracle, row.honest_accepted, row.bad_accepted)
        paid = (row.gain, row.novel, row.at_close, row.fair)
        table.add_row(
            row.attack + mark,
            row.cell,
            str(row.runs),
            *(f"{number:.1f}" for number in (*numbers, *paid, row.worst, row.lost)),
        )
    console.print(table)
    console.print(
        "* known not to be closed: contributors with own data some of the time are paid, too much or too little."
    )
    for cell in cells:
        controls = [measures.control(CELLS[cell], seed) for seed in seeds]
        mlp, svm = (100 * np.mean([getattr(one, name) for one in controls]) for name in ("mlp", "svm"))
        console.print(f"{cell}: trained on the {CELLS[cell].opened} opened examples only: MLP {mlp:.1f}, SVM {svm:.1f}")
        for what, name in (("test samples", "shapley"), ("the examples that pay goes by", "shapley_opened")):
            found_there = [getattr(one, name) for one in runs if one.cell == cell and one.attack == CLEAN]
            said = ", ".join(
                f"{way} {np.mean([one[way] for one in found_there if way in one] or [np.nan]):.2f}" for way in WAYS
            )
            console.print(f"    correlation of clean pay with Shapley values on {what}: {said}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
