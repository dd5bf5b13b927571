"""`python -m services.trainer.simulation.attack`: what `linklearner simulate --attack NAME` starts: one attack on rule `evidence`, and
the same task without it."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")  # matrices of this size gain nothing from more
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from linklearner.domain.encodings import encoding_named
from linklearner.domain.errors import InvalidInput
from linklearner.output import Format, Shown, console, reporting, show
from linklearner.simulation import Skew
from services.trainer.simulation.lab.attacks import ATTACKS, Attack
from services.trainer.simulation.lab.course import WAYS, Cell, Course, play
from services.trainer.simulation.lab.tasks import TASKS

EXAMPLES_A_ROUND: Final = {"digits": 2.5, "warp": 5.0, "modes": 5.0}
MEANINGS: Final = {
    "gain": "at settlement, by the judge's own figure",
    "novel": "ten rounds later, by what is new to the public",
    "novel-at-close": "the same, if nothing were paid before the close",
    "fair": "ten rounds later, without sums",
}


def attack_named(name: str) -> Attack:
    """Raises InvalidInput, which names all of them."""
    if name not in ATTACKS:
        raise InvalidInput(f"the attack must be one of {', '.join(ATTACKS)}, got {name!r:.40}")
    return ATTACKS[name]


def cell_of(task: str, skew: Skew, rounds: int) -> Cell:
    """Raises InvalidInput for a task that the lab does not have."""
    if task not in TASKS:
        raise InvalidInput(f"attacks are played on {', '.join(TASKS)}, not on {task!r:.40}")
    return Cell(f"{task}, {skew}", task, max(rounds, round(EXAMPLES_A_ROUND[task] * rounds)), skew.alpha)


def played(given: argparse.Namespace, format: Format) -> dict[str, Any]:
    attack, skew = attack_named(given.attack), Skew.parse(given.skew)
    cell = cell_of(given.task, skew, given.rounds)
    if not 0 < given.share < 1 or not 1 <= round(given.share * given.contributors) < given.contributors:
        raise InvalidInput(f"share must leave an attacker and an honest contributor at least, got {given.share}")
    encoding = encoding_named(given.encoding)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(format), transient=True) as bar:

        def run(what: Attack | None) -> Course:
            line = bar.add_task("without an attack" if what is None else what.name, total=given.rounds)
            return play(
                cell, given.seed, what, given.share, encoding, given.contributors, given.rounds,
                progress=lambda _: bar.advance(line),
            )  # fmt: skip

        clean, course = run(None), run(attack)
    return row_of(attack, cell, clean, course)


def row_of(attack: Attack, cell: Cell, clean: Course, course: Course) -> dict[str, Any]:
    paid, before = course.pay(), clean.pay()
    shares, kept = {}, {}
    for way in WAYS:
        total, honest = float(paid[way].sum()), float(before[way][~course.bad].sum())
        shares[way] = float(paid[way][course.bad].sum()) / total if total else math.nan
        kept[way] = float(paid[way][~course.bad].sum()) / honest if honest else math.nan
    merged = {"honest": course.accepted(~course.bad), "attackers": course.accepted(course.bad)}
    closed = "closed: at most 5 % of pay by novel, on average" if attack.closed else "known not to be closed"
    return {
        "attack": f"{attack.name}: {attack.text} ({closed})",
        "cell": cell.name,
        "attackers": Shown(int(course.bad.sum()), f"{int(course.bad.sum())} of {len(course.bad)} contributors, equal stake"),
        "examples": Shown(cell.opened, f"{cell.opened} opened over {len(course.rounds)} rounds"),
        "accuracy": Shown(course.accuracy(), f"{course.accuracy():.1%}; without the attack {clean.accuracy():.1%}"),
        "clean_accuracy": clean.accuracy(),
        "merged": Shown(merged, f"{merged['honest']:.0%} of honest updates, {merged['attackers']:.0%} of the attackers'"),
        "part_of_pay": Shown(shares, "\n".join(f"{way}: {_per_cent(one)} ({MEANINGS[way]})" for way, one in shares.items())),
        "honest_pay": Shown(kept, "of what the same contributors earn without the attack: "
                            + ", ".join(f"{way} {_per_cent(one)}" for way, one in kept.items())),
    }  # fmt: skip


def _per_cent(share: float) -> str:
    return "nobody was paid" if math.isnan(share) else f"{share:.1%}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="services.trainer.simulation.attack")
    parser.add_argument("--attack", required=True)
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--skew", default="dirichlet:0.5")
    parser.add_argument("--contributors", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--encoding", default="two-bits")
    parser.add_argument("--format", default=Format.TEXT.value, choices=[one.value for one in Format])
    given = parser.parse_args(arguments)
    format = Format(given.format)
    with reporting(format):
        row = played(given, format)
    show(format, row)


if __name__ == "__main__":
    try:
        main()
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
