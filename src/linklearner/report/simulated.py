"""The page of a simulation."""

from __future__ import annotations

from collections import Counter

from linklearner.domain.notation import UNIT_WEI
from linklearner.report import numbers
from linklearner.report.charts import Series
from linklearner.report.markup import Child
from linklearner.report.page import (
    Column,
    Page,
    Section,
    Table,
    Tile,
    bars,
    lines,
    metric_bounds,
    metric_in_words,
    share_bar,
)
from linklearner.simulation import SimulationResult


def simulation_page(result: SimulationResult) -> str:
    """HTML, in UTF-8 when it is written."""
    settings, last = result.settings, result.rounds[-1]
    gas = sum(one.gas for one in result.rounds)
    size = sum(one.update_bytes for one in result.rounds)
    accepted = sum(one.accepted for one in result.rounds)
    refused = sum((Counter(one.refused) for one in result.rounds), Counter[str]())
    metric = result.first.metric
    points = 100 * (last.score.value - last.float_score.value)
    tiles = [
        Tile(metric.capitalize(), numbers.share(last.score.value), f"on {result.held_out:,} held-out samples"),
        Tile("Float averaging", numbers.share(last.float_score.value), f"{points:+.2f} points apart"),
    ]
    tiles += [
        Tile("Gas a round", numbers.compact(gas / len(result.rounds)), f"{numbers.compact(gas)} in all, estimated"),
        Tile("Update", numbers.size(size / max(accepted, 1)), f"{numbers.size(size)} in all"),
        Tile("Accepted", numbers.count(accepted), f"{numbers.count(refused.total())} refused"),
        Tile("Time", f"{result.seconds:.1f} s", f"{result.workers} worker{'s' * (result.workers != 1)}"),
    ]
    return Page(
        title=result.model,
        kicker="LinkLearner simulation",
        facts=[
            ("weights", f"{result.weights:,}"),
            (
                "contributors",
                _people(result),
            ),
            ("skew", settings.skew),
            ("stakes", settings.stakes),
            ("encoding", settings.encoding),
            ("local steps", f"{result.steps:,}"),
            ("seed", str(settings.seed)),
        ],
        tiles=tiles,
        sections=[_learning(result), _costs(result), _contributors(result, refused)],
        foot=[
            "Updates were quantised, written as bytes, read back, judged and merged by the code that the trainer and the chain's rule use.",
            "Float averaging took the same shards, first weights, batches and stakes.",
            "Gas is computed from coefficients that fit measured transactions to within a few per cent. No chain took part.",
        ],
    ).html()


def _people(result: SimulationResult) -> str:
    count = result.settings.contributors
    return f"{count:,}" if result.takers == count else f"{count:,}, of whom {result.takers:,} in a round"


def _learning(result: SimulationResult) -> Section:
    """Round 0: before the first one."""
    first, metric = result.first, result.first.metric
    scores = [(0, first, first), *((r.round, r.score, r.float_score) for r in result.rounds)]
    table = Table(
        [Column("round", number=True), Column(metric, number=True), Column("float", number=True), Column("loss", number=True),
         Column("float", number=True)],
        [
            (str(n), f"{one.value:.4f}", f"{beside.value:.4f}", numbers.loss(one.loss), numbers.loss(beside.loss))
            for n, one, beside in scores
        ],
    )  # fmt: skip
    name = f"on chain ({result.settings.encoding})"
    charts = [
        lines(
            title, note,
            [Series("float averaging", floats, kind=2, dashed=True), Series(name, ours, kind=1)],
            table, x="round", y=shown, bounds=bounds,
        )
        for title, note, ours, floats, shown, bounds in (
            (metric.capitalize(), metric_in_words(metric), [(n, one.value) for n, one, _ in scores],
             [(n, one.value) for n, _, one in scores], numbers.share_tick, metric_bounds(metric)),
            ("Loss", "lower is better", [(n, one.loss) for n, one, _ in scores], [(n, one.loss) for n, _, one in scores],
             numbers.loss, (0.0, float("inf"))),
        )
    ]  # fmt: skip
    return Section("Learning", charts, f"On {result.held_out:,} held-out samples.")


def _costs(result: SimulationResult) -> Section:
    table = Table(
        [Column("round", number=True), Column("submissions", number=True), Column("settlement", number=True),
         Column("bytes of updates", number=True), Column("bytes of calldata", number=True), Column("accepted", number=True),
         Column("refused"), Column("longest update", number=True)],
        [
            (str(r.round), numbers.count(r.submission_gas), numbers.count(r.settlement_gas), numbers.count(r.update_bytes),
             numbers.count(r.calldata_bytes), str(r.accepted), numbers.reasons(sorted(r.refused.items())), f"{r.longest:.2f}")
            for r in result.rounds
        ],
    )  # fmt: skip
    return Section(
        "What a round costs",
        [
            bars(
                "Gas", "estimated, all transactions of a round",
                [
                    Series("submissions", [(r.round, r.submission_gas) for r in result.rounds], kind=1),
                    Series("settlement", [(r.round, r.settlement_gas) for r in result.rounds], kind=2),
                ],
                table, x="round", y=numbers.compact,
            ),
            bars(
                "Bytes", "what travels as updates",
                [Series("updates", [(r.round, r.update_bytes) for r in result.rounds], kind=3)],
                table, x="round", y=numbers.size,
            ),
        ],
    )  # fmt: skip


def _contributors(result: SimulationResult, refused: Counter[str]) -> Section:
    by_samples = sorted(enumerate(result.contributors, 1), key=lambda one: -one[1].samples)
    most = max(one.samples for one in result.contributors)
    stakes = sum(one.stake for one in result.contributors)
    rows: list[tuple[Child, ...]] = [
        (
            str(number),
            share_bar(one.samples / most, numbers.count(one.samples)),
            str(one.labels),
            numbers.money_text(one.stake * UNIT_WEI),
            f"{one.stake / stakes:.1%}",
            str(one.accepted),
            str(one.refused),
        )
        for number, one in by_samples
    ]
    why = f"Refused: {numbers.reasons(refused.most_common())}." if refused else ""
    table = Table(
        [Column("contributor", number=True), Column("samples", number=True), Column("labels", number=True),
         Column("stake, $LL", number=True), Column("of all", number=True), Column("accepted", number=True), Column("refused", number=True)],
        rows,
    )  # fmt: skip
    return Section("Contributors", [table], why)
