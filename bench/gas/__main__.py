"""Gas of a contribution to the digits task (2,410 weights), submission and share of settlement, under Artela's rules."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields

from rich.console import Console
from rich.table import Table

from bench.gas.measure import GasBench, Parts, RoundCost, per_weight
from linklearner.domain.encodings import ENCODINGS, INT8, TWO_BITS, Encoding

ROUNDS = (1, 5, 20)
FIXED_LIMITS = {1: 170_000, 5: 90_000, 20: 80_000}
"""Of an update of the smallest task, by updates in its round."""
LIMITS = {(TWO_BITS, 5): 80, (INT8, 5): 100}
GOALS = {(TWO_BITS, 5): 75, (TWO_BITS, 20): 30}


def main() -> int:
    arguments = argparse.ArgumentParser(prog="bench.gas", description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="only five updates a round, as one line of JSON")
    bench = GasBench()
    if arguments.parse_args().quick:
        print(json.dumps(_quick(bench)))
        return 0
    console = Console(width=110)
    for encoding in (None, TWO_BITS):
        bench.round(20, encoding)  # every account has earned in both tasks from here on: no fresh slots
    empty = {updates: bench.round(updates, None) for updates in ROUNDS}
    dense = {
        (encoding, updates): bench.round(updates, encoding) for encoding in ENCODINGS.values() for updates in ROUNDS
    }
    missed = _fixed_part(console, empty) + _weights(console, dense, empty)
    _comparison(console, per_weight(dense[TWO_BITS, 5], empty[5]).total)
    wrong = [call for call in bench.predictions if call.predicted != call.measured]
    instructions = sum(call.instructions for call in bench.predictions)
    console.print(
        f"Aspect calls counted a second way (plain interpreter, {instructions:,} instructions, host calls by their rules): "
        f"{len(bench.predictions) - len(wrong)} of {len(bench.predictions)} agree to the unit."
    )
    for call in wrong[:5]:
        console.print(f"[red]predicted {call.predicted}, charged {call.measured}[/red]")
    return 1 if missed or wrong else 0


def _quick(bench: GasBench) -> dict[str, float]:
    """What the demo prints: the fixed part, and a weight above it in both encodings."""
    for encoding in (None, TWO_BITS):  # whoever has earned in a task before pays for no fresh slot
        bench.round(5, encoding)
    empty = bench.round(5, None)
    figures = {"fixed": empty.parts.total}
    for encoding in ENCODINGS.values():
        figures[encoding.name] = per_weight(bench.round(5, encoding), empty).total
    return figures


def _fixed_part(console: Console, empty: dict[int, RoundCost]) -> int:
    table = Table(
        title="The fixed part: an update of the smallest task, recorded, settled and paid (gas)", title_justify="left"
    )
    for heading in ("updates a round", "submission", "share of settlement", "together", "limit"):
        table.add_column(heading, justify="right")
    missed = 0
    for updates, cost in empty.items():
        total = cost.parts.total
        missed += total > FIXED_LIMITS[updates]
        table.add_row(
            str(updates),
            f"{cost.submission.total:,.0f}",
            f"{cost.settlement_share.total:,.0f}",
            f"{total:,.0f}",
            _limit(total, FIXED_LIMITS[updates]),
        )
    console.print(table)
    return missed


def _weights(console: Console, dense: dict[tuple[Encoding, int], RoundCost], empty: dict[int, RoundCost]) -> int:
    table = Table(title="A weight of a dense update above the fixed part (gas)", title_justify="left")
    table.add_column("encoding, updates a round")
    for part in fields(Parts):
        table.add_column(part.name, justify="right")
    for heading in ("total", "limit", "goal", "all in"):
        table.add_column(heading, justify="right")
    missed = 0
    for (encoding, updates), cost in dense.items():
        parts = per_weight(cost, empty[updates])
        limit, goal = LIMITS.get((encoding, updates)), GOALS.get((encoding, updates))
        missed += limit is not None and parts.total > limit
        table.add_row(
            f"{encoding.name}, {updates}",
            *(f"{getattr(parts, part.name):.2f}" for part in fields(Parts)),
            f"{parts.total:.2f}",
            _limit(parts.total, limit),
            _limit(parts.total, goal),
            f"{cost.parts.total / 2410:.1f}",
        )
    console.print(table)
    return missed


def _comparison(console: Console, ours: float) -> None:
    table = Table(title="Beside others: gas per weight of one on-chain learning step", title_justify="left")
    table.add_column("who")
    table.add_column("gas per weight", justify="right")
    table.add_row("0xDeCA10B, a 400-dimensional perceptron (published)", "< 20,000")
    table.add_row("original LinkLearner demo (derived from its code)", "≈ 3,650")
    table.add_row("merging every update into state (derived)", "≈ 330")
    table.add_row("this pool, two-bits, five updates a round (measured above)", f"{ours:.1f}")
    console.print(table)


def _limit(value: float, limit: float | None) -> str:
    if limit is None:
        return ""
    return f"≤ {limit:,} [green]ok[/green]" if value <= limit else f"≤ {limit:,} [red]missed[/red]"


if __name__ == "__main__":
    sys.exit(main())
