"""The page around charts and tables: one file, no request, no script, light or dark as its reader's system is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from linklearner.report.charts import Formatted, Series, bar_chart, legend, line_chart
from linklearner.report.markup import Child, Markup, element
from linklearner.storage import write_atomically

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a browser lets the page do, whatever is in it."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure at the top."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """number: aligned to the right, digits of one width. mono: an address or a hash."""

    name: str
    number: bool = False
    mono: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """rows: a cell for each column. narrow: half as wide as the page."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Child]]
    narrow: bool = False

    def markup(self, caption: str) -> Markup:
        head = element("tr", *(element("th", c.name, scope="col", class_=_classes(c)) for c in self.columns))
        body = [
            element("tr", *(element("td", cell, class_=_classes(c)) for c, cell in zip(self.columns, row, strict=True)))
            for row in self.rows
        ]
        inner = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
        return element(
            "div",
            inner,
            class_="scroll narrow" if self.narrow else "scroll",
            tabindex="0",
            role="region",
            aria_label=caption,
        )


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its numbers behind it. drawing None: `why` is said instead."""

    title: str
    note: str
    drawing: Markup | None
    table: Table | None
    keys: Markup | None = None
    why: str = "nothing to draw yet"

    def markup(self) -> Markup:
        shown = self.drawing or element("p", self.why, class_="empty")
        numbers = None
        if self.table is not None and self.table.rows:
            numbers = element("details", element("summary", "numbers"), self.table.markup(f"{self.title}, numbers"))
        head = element("header", element("h3", self.title), element("p", self.note) if self.note else None)
        return element("figure", head, self.keys, shown, numbers, class_="card")


@dataclass(frozen=True, slots=True)
class Section:
    """body: charts, tables, or markup, side by side where there is room (tables are as wide as the page)."""

    title: str
    body: Sequence[Chart | Table | Markup]
    note: str = ""

    def markup(self) -> Markup:
        charts = [one.markup() for one in self.body if isinstance(one, Chart)]
        others = [
            one.markup(self.title) if isinstance(one, Table) else one for one in self.body if not isinstance(one, Chart)
        ]
        note = element("p", self.note, class_="note") if self.note else None
        pairs = element("div", *charts, class_="charts") if charts else None
        return element("section", element("h2", self.title), note, pairs, *others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """badge: (good, text) beside the title. facts: (name, value) under it."""

    title: str
    kicker: str
    badge: tuple[bool, str] | None = None
    facts: Sequence[tuple[str, Child]] = ()
    tiles: Sequence[Tile] = ()
    sections: Sequence[Section] = ()
    foot: Sequence[str] = ()
    """Sentences."""
    warnings: Sequence[str] = field(default_factory=tuple)

    def html(self) -> str:
        """The whole file."""
        badge = None
        if self.badge is not None:
            good, said = self.badge
            badge = element("span", ("✓ " if good else "✗ ") + said, class_="badge good" if good else "badge bad")
        facts = element(
            "dl",
            *(element("div", element("dt", name), element("dd", value)) for name, value in self.facts),
            class_="facts",
        )
        tiles = [
            element(
                "div", element("dt", one.label), element("dd", one.value), element("p", one.note) if one.note else None,
                class_="tile",
            )
            for one in self.tiles
        ]  # fmt: skip
        body = element(
            "body",
            element(
                "main",
                element(
                    "header",
                    element("p", self.kicker, class_="kicker"),
                    element("h1", element("bdi", self.title), badge),
                    facts,
                    class_="top",
                ),
                *(element("p", one, class_="warning", role="alert") for one in self.warnings),
                element("dl", *tiles, class_="tiles"),
                *(one.markup() for one in self.sections),
                element("footer", *(element("p", one) for one in self.foot)),
            ),
        )
        head = element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("meta", name="referrer", content="no-referrer"),
            element("title", f"{self.title} · {self.kicker}"),
            element("style", Markup(STYLE)),
        )
        return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def publish(path: Path, content: bytes) -> None:
    """Writes a page or picture for everybody to read. Raises OSError."""
    write_atomically(path, content)
    path.chmod(0o644)


def lines(
    title: str, note: str, series: Sequence[Series], table: Table | None, *, x: str, y: Formatted, why: str = "",
    bounds: tuple[float, float] | None = None,
) -> Chart:  # fmt: skip
    """A chart of lines with its legend."""
    drawn = line_chart(title, series, x=x, y=y, bounds=bounds)
    return Chart(title, note, drawn, table, legend([one for one in series if one.finite]), why or "nothing to draw yet")


def bars(title: str, note: str, layers: Sequence[Series], table: Table | None, *, x: str, y: Formatted) -> Chart:
    """A chart of bars with its legend; layers without any height are left out."""
    shown = [one for one in layers if any(value for _, value in one.points)] or list(layers[:1])
    return Chart(title, note, bar_chart(title, shown, x=x, y=y), table, legend(shown))


def metric_bounds(metric: str) -> tuple[float, float]:
    """Of an axis: a share cannot be less than nothing, R² can."""
    return (0.0 if metric == "accuracy" else float("-inf"), 1.0)


def metric_in_words(metric: str) -> str:
    return {"accuracy": "share of labels that are right", "R²": "share of the variance that is explained"}.get(
        metric, "1 is perfect"
    )


def share_bar(share: float, said: str) -> Markup:
    """A cell: a number with a bar behind it, 0 to 1."""
    width = f"--share:{100 * min(max(share, 0.0), 1.0):.1f}%"
    return element("span", said, class_="share", style=width)


def short(hexadecimal: str) -> Markup:
    """0x1234…abcd, the whole on hovering and for copying."""
    cut = f"{hexadecimal[:8]}…{hexadecimal[-6:]}" if len(hexadecimal) > 18 else hexadecimal
    return element("abbr", cut, title=hexadecimal)


def _classes(column: Column) -> str | None:
    return " ".join([*(["number"] if column.number else []), *(["mono"] if column.mono else [])]) or None


STYLE: Final = """
:root{color-scheme:light dark;--page:#f6f6f3;--card:#fff;--ink:#17181c;--soft:#5d616b;--faint:#8b8f99;--rule:#e4e4df;
--grid:#ebebe6;--s1:#2f6bde;--s2:#d9730d;--s3:#0f9b73;--s4:#b0409a;--good:#0b7a56;--goodback:#e3f4ec;--bad:#b3261e;
--badback:#fbe9e7;--share:0%}
@media (prefers-color-scheme:dark){:root{--page:#121316;--card:#1b1d21;--ink:#ececea;--soft:#a7abb4;--faint:#7c808a;
--rule:#2b2e34;--grid:#292c32;--s1:#6f9df5;--s2:#f09a4a;--s3:#3fc79a;--s4:#dd83cb;--good:#5fd3a6;--goodback:#12352a;
--bad:#ff9a91;--badback:#43201d}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 ui-sans-serif,system-ui,-apple-system,"Segoe UI",
Roboto,"Noto Sans",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1180px;margin:0 auto;padding:44px 28px 56px}
h1{font-size:34px;line-height:1.15;letter-spacing:-.02em;margin:2px 0 18px;display:flex;gap:14px;align-items:center;
flex-wrap:wrap;overflow-wrap:anywhere}
h2{font-size:20px;letter-spacing:-.01em;margin:44px 0 4px}
h3{font-size:15px;margin:0}
.kicker{margin:0;color:var(--soft);font-size:13px;letter-spacing:.04em}
.badge{font-size:13px;font-weight:600;letter-spacing:0;padding:4px 11px;border-radius:99px}
.good{background:var(--goodback);color:var(--good)}.bad{background:var(--badback);color:var(--bad)}
.facts{display:flex;flex-wrap:wrap;gap:8px 28px;margin:0;color:var(--soft);font-size:13px}
.facts div{display:flex;gap:8px;min-width:0}.facts dt{color:var(--faint)}.facts dd{margin:0;overflow-wrap:anywhere}
.warning{background:var(--badback);color:var(--bad);padding:12px 16px;border-radius:10px;margin:22px 0 0;
overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(126px,1fr));gap:12px;margin:26px 0 0}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:14px;padding:14px 16px}
.tile dt{color:var(--soft);font-size:13px}
.tile dd{margin:2px 0 0;font-size:26px;font-weight:640;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.tile p{margin:0;color:var(--faint);font-size:12.5px}
.note{margin:0 0 2px;color:var(--soft);max-width:78ch}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:16px;margin-top:14px}
.card{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:14px;padding:16px 18px 12px;min-width:0}
.card header p{margin:1px 0 0;color:var(--soft);font-size:13px}
.empty{color:var(--faint);padding:34px 0;text-align:center;margin:0}
svg{display:block;width:100%;height:auto;margin-top:8px;overflow:visible}
.grid{stroke:var(--grid);stroke-width:1}
.tick{fill:var(--faint);font-size:11px;font-variant-numeric:tabular-nums}
.axis{fill:var(--soft)}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}
.line.dashed{stroke-dasharray:5 4;stroke-width:1.8}
.line.s1{stroke:var(--s1)}.line.s2{stroke:var(--s2)}.line.s3{stroke:var(--s3)}.line.s4{stroke:var(--s4)}
.dot{stroke:var(--card);stroke-width:1.4}
.dot.s1,.bar.s1{fill:var(--s1)}.dot.s2,.bar.s2{fill:var(--s2)}.dot.s3,.bar.s3{fill:var(--s3)}.dot.s4,.bar.s4{fill:var(--s4)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0 0;padding:0;font-size:13px;color:var(--soft)}
.legend li{display:flex;align-items:center;gap:7px}
.key{width:14px;height:0;border-top:3px solid;border-radius:2px}.key.dashed{border-top-style:dashed;border-top-width:2px}
.key.s1{border-color:var(--s1)}.key.s2{border-color:var(--s2)}.key.s3{border-color:var(--s3)}.key.s4{border-color:var(--s4)}
details{margin-top:6px;font-size:13px}
summary{cursor:pointer;color:var(--faint);width:max-content}
summary:hover{color:var(--ink)}
.scroll{overflow:auto;max-height:560px;background:var(--card);border:1px solid var(--rule);border-radius:14px;margin-top:14px}
details .scroll{max-height:300px;border-radius:10px;margin-top:8px}
table{border-collapse:collapse;width:100%;font-size:13.5px}
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
th{position:sticky;top:0;background:var(--card);text-align:left;font-weight:600;color:var(--soft);font-size:12.5px;
box-shadow:inset 0 -1px var(--rule);white-space:nowrap}
th,td{padding:8px 14px;vertical-align:top}
td{border-top:1px solid var(--rule)}
tbody tr:first-child td{border-top:0}
.narrow{max-width:572px}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.mono,abbr{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:12.5px}
td.number abbr{font:inherit}
abbr{text-decoration:none;cursor:help;white-space:nowrap}
.share{display:block;padding-bottom:3px;background:linear-gradient(var(--s1),var(--s1)) right bottom/var(--share) 3px no-repeat}
ul.terms{margin:10px 0 0;padding-left:20px;color:var(--soft)}
.empty.card{margin-top:14px}
footer p{margin:0 0 4px}
footer{margin-top:44px;color:var(--faint);font-size:12.5px;max-width:90ch}
@media (max-width:560px){main{padding:26px 16px 40px}h1{font-size:27px}th,td{padding:7px 10px}}
@media print{body{background:#fff}.scroll{max-height:none;overflow:visible}.card,.tile{break-inside:avoid}}
"""
