"""A simulation's result as people read it in a terminal."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

from linklearner.simulation import SimulationResult
from services.trainer.config import TrainerConfig


def show_result(result: SimulationResult, console: Console) -> None:
    settings = result.settings
    table = Table(
        title=f"{result.model}, {result.weights:,} weights: {settings.contributors} contributors, {settings.skew}, "
        f"stakes {settings.stakes}, {settings.encoding}",
        title_justify="left", box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0),
    )  # fmt: skip
    metric = result.first.metric
    for name in ("round", metric, f"{metric} of float averaging", "loss", "accepted", "refused", "gas", "bytes"):
        table.add_column(name, justify="right" if name != "refused" else "left")
    for one in result.rounds:
        refused = ", ".join(f"{count} {reason}" for reason, count in sorted(one.refused.items()))
        table.add_row(
            str(one.round), f"{one.score.value:.4f}", f"{one.float_score.value:.4f}", f"{one.score.loss:.4g}", str(one.accepted),
            refused, f"{one.gas:,}", f"{one.update_bytes:,}",
        )  # fmt: skip
    console.print(table)
    last = result.rounds[-1]
    points = 100 * (last.score.value - last.float_score.value)
    console.print(
        f"{metric.capitalize()} from {result.first.value:.3f} to [bold]{last.score.value:.3f}[/bold] on {result.held_out:,} held-out "
        f"samples, {points:+.2f} points against float averaging on the same shards and batches."
    )
    gas = sum(one.gas for one in result.rounds)
    size = sum(one.update_bytes for one in result.rounds)
    console.print(
        f"{gas:,} gas (an estimate to a few per cent) and {size:,} bytes of updates in {len(result.rounds)} rounds; "
        f"{result.seconds:.1f} s in {result.workers} worker{'s' * (result.workers != 1)}."
    )
    if result.takers < settings.contributors:
        why = "as was asked" if result.takers == settings.present else "the task's terms take no more"
        console.print(f"{result.takers} of {settings.contributors} contributors take part in each round: {why}.")
    least = TrainerConfig.min_samples
    few = sum(one.samples < least for one in result.contributors)
    if few:
        console.print(
            f"[yellow]{few} of {settings.contributors} contributors have fewer than {least} samples[/yellow]: too few to "
            "hide in one update, so that a real trainer would not start with them."
        )
    all_refused = sum((Counter(one.refused) for one in result.rounds), Counter[str]())
    if all_refused:
        said = ", ".join(f"{count} {reason}" for reason, count in all_refused.most_common())
        console.print(f"Refused: {said}.")
