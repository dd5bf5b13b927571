"""The report's charts as one picture, by matplotlib (the extra `linklearner[png]`)."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from typing import Any

from linklearner.domain.errors import InvalidConfig
from linklearner.report import numbers
from linklearner.report.facts import TaskFacts
from linklearner.report.markup import visible

INK, SOFT, RULE = "#17181c", "#5d616b", "#e4e4df"
COLOURS = ("#2f6bde", "#d9730d", "#0f9b73", "#b0409a")
DPI = 144


def check_installed() -> None:
    """Raises InvalidConfig where matplotlib is missing: said before anything is asked of a chain."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InvalidConfig("a picture needs matplotlib: pip install 'linklearner[png]'")


def task_picture(facts: TaskFacts) -> bytes:
    """A PNG of 1,728 x 1,008 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=(12, 7), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"{visible(facts.name)} · task {facts.task}, block {facts.head:,}",
        x=0.01, ha="left", fontsize=15, fontweight="bold", color=INK, parse_math=False,
    )  # fmt: skip
    measured = [(one.version, one.measured) for one in facts.versions if one.measured is not None]
    over = [one for one in facts.rounds if one.over]
    pots = [(one.round, numbers.in_ll(one.pot)) for one in over if one.pot is not None]
    metric = visible(measured[-1][1].metric) if measured else "accuracy"
    panels: Sequence[tuple[str, str, Sequence[tuple[str, Sequence[tuple[float, float]]]], bool, Any]] = (
        (f"{metric.capitalize()} by version", "version", [(metric, [(version, one.value) for version, one in measured])], False,
         numbers.share_tick),
        ("Loss by version", "version", [("loss", [(version, one.loss) for version, one in measured])], False, numbers.loss),
        ("Pot after each round, $LL", "round", [("pot", pots)], False, numbers.compact),
        ("Gas by round", "round", [
            ("submissions", [(one.round, one.submission_gas) for one in facts.rounds]),
            ("settlement", [(one.round, one.settlement_gas) for one in facts.rounds]),
        ], True, numbers.compact),
        ("Bytes by round", "round", [("updates", [(one.round, one.update_bytes) for one in facts.rounds])], True, numbers.size),
        ("Pay by round, $LL", "round", [
            ("contributors", [(one.round, numbers.in_ll(one.paid)) for one in over]),
            ("settler", [(one.round, numbers.in_ll(one.settler_paid)) for one in over]),
        ], True, numbers.compact),
    )  # fmt: skip
    for place, (title, axis, series, stacked, formatted) in enumerate(panels, 1):
        plot = figure.add_subplot(2, 3, place)
        plot.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, parse_math=False)
        plot.set_xlabel(axis, fontsize=9, color=SOFT, loc="right")
        plot.tick_params(labelsize=8.5, colors=SOFT, length=0)
        plot.grid(axis="y", color=RULE, linewidth=0.8)
        plot.set_axisbelow(True)
        for side in ("top", "right", "left"):
            plot.spines[side].set_visible(False)
        plot.spines["bottom"].set_color(RULE)
        plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _, formatted=formatted: formatted(value)))
        plot.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if not any(points for _, points in series):
            plot.text(0.5, 0.5, "not measured" if axis == "version" else "nothing yet", ha="center", va="center",
                      transform=plot.transAxes, color=SOFT, fontsize=9)  # fmt: skip
            continue
        base: list[float] = [0.0] * len(series[0][1])
        for colour, (label, points) in zip(COLOURS, series, strict=False):
            xs, ys = [x for x, _ in points], [y for _, y in points]
            if stacked:
                plot.bar(xs, ys, bottom=base, width=0.7, color=colour, label=label)
                base = [b + y for b, y in zip(base, ys, strict=True)]
            else:
                marker = "o" if len(points) <= 40 else ""
                plot.plot(xs, ys, color=colour, linewidth=2, marker=marker, markersize=4, label=label)
        if len(series) > 1:
            plot.legend(frameon=False, fontsize=8.5, labelcolor=SOFT, ncols=2, loc="upper right")
            plot.margins(y=0.22)
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()
