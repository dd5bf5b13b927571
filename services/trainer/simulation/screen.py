"""A simulation's result as people read it in a terminal."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

from linklearner.simulation import Scored, SimulationResult

TRAINERS_LEAST_SAMPLES = 32
"""With fewer a trainer does not start, unless its settings say otherwise (LINKLEARNER_TRAINER_MIN_SAMPLES)."""


def show_result(result: SimulationResult, console: Console) -> None:
    settings = result.settings
    table = Table(
        title=f"{result.model}, {result.weights:,} weights: {settings.contributors} contributors, {settings.skew}, "
        f"stakes {settings.stakes}, {settings.encoding}",
        title_justify="left", box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0),
    )  # fmt: skip
    classifies = result.first.accuracy is not None
    score = "accuracy" if classifies else "loss"
    for name in (
        "round",
        score,
        f"{score} of float averaging",
        "loss" if classifies else "",
        "accepted",
        "refused",
        "gas",
        "bytes",
    ):
        if name:
            table.add_column(name, justify="right" if name != "refused" else "left")
    for one in result.rounds:
        refused = ", ".join(f"{count} {reason}" for reason, count in sorted(one.refused.items()))
        scores = [_main(one.score), _main(one.float_score)] + ([f"{one.score.loss:.3f}"] if classifies else [])
        table.add_row(
            str(one.round), *scores, str(one.accepted), refused, f"{one.gas:,}", f"{one.update_bytes:,}"
        )  # fmt: skip
    console.print(table)
    last = result.rounds[-1]
    if classifies and last.score.accuracy is not None and last.float_score.accuracy is not None:
        points = 100 * (last.score.accuracy - last.float_score.accuracy)
        console.print(
            f"From {result.first.accuracy:.3f} to [bold]{last.score.accuracy:.3f}[/bold] on {result.held_out:,} held-out samples, "
            f"{points:+.2f} points against float averaging on the same shards and batches."
        )
    else:
        console.print(
            f"Loss from {result.first.loss:.4g} to [bold]{last.score.loss:.4g}[/bold] on {result.held_out:,} held-out samples; "
            f"float averaging beside it {last.float_score.loss:.4g}."
        )
    gas = sum(one.gas for one in result.rounds)
    size = sum(one.update_bytes for one in result.rounds)
    console.print(
        f"{gas:,} gas (an estimate to a few per cent) and {size:,} bytes of updates in {len(result.rounds)} rounds; "
        f"{result.seconds:.1f} s in {result.workers} worker{'s' * (result.workers != 1)}."
    )
    few = sum(one.samples < TRAINERS_LEAST_SAMPLES for one in result.contributors)
    if few:
        console.print(
            f"[yellow]{few} of {settings.contributors} contributors have fewer than {TRAINERS_LEAST_SAMPLES} samples[/yellow]: too few to "
            "hide in one update, so that a real trainer would not start with them."
        )
    all_refused = sum((Counter(one.refused) for one in result.rounds), Counter[str]())
    if all_refused:
        said = ", ".join(f"{count} {reason}" for reason, count in all_refused.most_common())
        console.print(f"Refused: {said}.")


def _main(score: Scored) -> str:
    return f"{score.loss:.4g}" if score.accuracy is None else f"{score.accuracy:.4f}"
