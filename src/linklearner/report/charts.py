"""Charts as inline SVG: lines over versions, stacked bars over rounds. Colours are classes, so that the page's scheme decides them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, floor, isfinite, log10
from typing import Final

from linklearner.report.markup import Markup, element

WIDTH: Final = 560.0
HEIGHT: Final = 232.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 16.0, 14.0, 34.0
"""Margins around the plot, in the same units: pixels where the chart is shown at its own width."""
TICKS: Final = 4
MARKED: Final = 40
"""Points up to which each has a mark; beyond, only the last one."""

Formatted = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Series:
    """One line or one layer of bars: (x, y) each. kind: 1 to 4, its colour. dashed: of a line that is there for comparison."""

    label: str
    points: Sequence[tuple[float, float]]
    kind: int = 1
    dashed: bool = False

    @property
    def finite(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y in self.points if isfinite(y)]


def line_chart(
    title: str, series: Sequence[Series], *, x: str, y: Formatted, bounds: tuple[float, float] | None = None
) -> Markup | None:
    """bounds: of y, beyond which the axis does not go (0 and 1 for shares). None if there is nothing to draw."""
    points = [point for one in series for point in one.finite]
    if not points:
        return None
    low, high = min(value for _, value in points), max(value for _, value in points)
    ticks = nice_ticks(low, high, bounds)
    plot = _Plot(min(at for at, _ in points), max(at for at, _ in points), ticks[0], ticks[-1])
    drawn: list[Markup] = []
    for one in series:
        found = one.finite
        if not found:
            continue
        path = " ".join(f"{'L' if i else 'M'}{plot.x(a):.1f} {plot.y(b):.1f}" for i, (a, b) in enumerate(found))
        drawn.append(element("path", d=path, class_=f"line s{one.kind}{' dashed' if one.dashed else ''}"))
        marked = found if len(found) <= MARKED and not one.dashed else found[-1:]
        for at, value in marked:
            drawn.append(
                element(
                    "circle",
                    element("title", f"{one.label}: {y(value)} ({x} {at:g})"),
                    cx=round(plot.x(at), 1),
                    cy=round(plot.y(value), 1),
                    r=3.5 if (at, value) == found[-1] else 2.4,
                    class_=f"dot s{one.kind}",
                )
            )
    said = "; ".join(
        f"{one.label} from {y(one.finite[0][1])} to {y(one.finite[-1][1])}" for one in series if one.finite
    )
    return _framed(f"{title}: {said}", plot, ticks, y, x, drawn)


def bar_chart(title: str, layers: Sequence[Series], *, x: str, y: Formatted) -> Markup | None:
    """Layers on top of each other; all have the same x, whole numbers, ascending. None if there is nothing to draw."""
    places = [at for at, _ in layers[0].points] if layers else []
    if not places:
        return None
    sums = [sum(layer.points[i][1] for layer in layers) for i in range(len(places))]
    ticks = nice_ticks(0, max(0.0, *sums), (0, float("inf")))
    plot = _Plot(min(places) - 0.5, max(places) + 0.5, ticks[0], ticks[-1])
    room = (WIDTH - LEFT - RIGHT) / (plot.x_high - plot.x_low)
    width = max(0.5, min(34.0, room * 0.72))
    drawn: list[Markup] = []
    for i, at in enumerate(places):
        tops = list(accumulate((layer.points[i][1] for layer in layers), initial=0.0))
        said = ", ".join(f"{layer.label} {y(layer.points[i][1])}" for layer in layers)
        parts = [
            element(
                "rect",
                x=round(plot.x(at) - width / 2, 1),
                y=round(plot.y(top), 1),
                width=round(width, 1),
                height=round(max(plot.y(base) - plot.y(top) - (1 if base else 0), 0.0), 1),
                rx=1.5 if width > 6 else None,
                class_=f"bar s{layer.kind}",
            )
            for layer, base, top in zip(layers, tops, tops[1:], strict=False)
            if top > base
        ]
        drawn.append(element("g", element("title", f"{x} {at:g}: {said}"), *parts))
    said = f"{len(places)} {x}s, the largest {y(max(sums))}, the last {y(sums[-1])}"
    return _framed(f"{title}: {said}", plot, ticks, y, x, drawn)


def legend(series: Sequence[Series]) -> Markup | None:
    """None where the title says all."""
    if len(series) < 2:
        return None
    keys = [
        element("li", element("span", class_=f"key s{one.kind}{' dashed' if one.dashed else ''}"), one.label)
        for one in series
    ]
    return element("ul", *keys, class_="legend")


def nice_ticks(low: float, high: float, bounds: tuple[float, float] | None = None) -> list[float]:
    """Round numbers from at most `low` to at least `high`, three or more, within `bounds` as far as these reach."""
    if high - low < 1e-9 * max(abs(high), abs(low), 1.0):
        pad = max(abs(high) * 0.1, 1e-3) if high else 1.0
        low, high = low - pad, high + pad
        if bounds is not None:
            low, high = max(low, bounds[0]), max(min(high, bounds[1]), max(low, bounds[0]) + pad / 2)
    rough = (high - low) / TICKS
    magnitude: float = 10.0 ** floor(log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True, slots=True)
class _Plot:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        span = self.x_high - self.x_low
        share = 0.5 if span == 0 else (value - self.x_low) / span
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM)


def _framed(said: str, plot: _Plot, ticks: Sequence[float], y: Formatted, x: str, drawn: Sequence[Markup]) -> Markup:
    grid = [
        element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=round(plot.y(t), 1), y2=round(plot.y(t), 1), class_="grid")
        for t in ticks
    ]
    names = [
        element("text", y(t), x=LEFT - 8, y=round(plot.y(t) + 3.8, 1), text_anchor="end", class_="tick") for t in ticks
    ]
    first, last = ceil(plot.x_low), floor(plot.x_high)
    places = _whole_ticks(first, last)
    names += [
        element("text", f"{at}", x=round(plot.x(at), 1), y=HEIGHT - BOTTOM + 16, text_anchor="middle", class_="tick")
        for at in places
    ]
    names.append(element("text", x, x=WIDTH - RIGHT, y=HEIGHT - 3, text_anchor="end", class_="tick axis"))
    return element(
        "svg", *grid, *names, *drawn,
        view_box=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img", aria_label=said, preserveAspectRatio="xMidYMid meet",
    )  # fmt: skip


def _whole_ticks(first: int, last: int) -> list[int]:
    step = next(
        s * m for m in (1, 10, 100, 1000, 10**4, 10**5, 10**6) for s in (1, 2, 5) if (last - first) / (s * m) <= 10
    )
    start = first if step == 1 else -(-first // step) * step
    return list(range(start, last + 1, step))
