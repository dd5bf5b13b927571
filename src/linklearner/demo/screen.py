"""What the demo shows: text and tables for people, one JSON document an event for programs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from linklearner.domain.shape import Shape
from linklearner.output import Format, console, ll, write_json

SHOWN_WEI = 10**12
"""Pay is shown in millionths of a $LL, rounded down."""


class Screen:
    """Text for people, or one JSON document an event for programs; progress always goes where people look."""

    def __init__(self, format: Format) -> None:
        self.format = format
        self.console = console(format)

    def event(self, name: str, **facts: Any) -> None:
        """A line for programs; nothing for people, who see something prettier."""
        if self.format is Format.JSON:
            write_json({"event": name, **facts})
            sys.stdout.flush()

    def say(self, text: str = "") -> None:
        """A line for people; with JSON it goes to standard error."""
        self.console.print(text)


@dataclass
class Line:
    """What one contributor did in one round."""

    name: str
    samples: int
    state: str = "waiting"
    update_bytes: int = 0
    gas: int = 0
    earned_wei: int = 0
    loss: float | None = None


def round_table(title: str, lines: Sequence[Line], shape: Shape, settlement_share: float | None = None) -> Group:
    """Gas per weight is all in: the submission and its share of the settlement."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 2))
    for name, justify in (
        ("contributor", "left"), ("samples", "right"), ("verdict", "left"), ("loss", "right"), ("bytes", "right"),
        ("gas", "right"), ("gas a weight", "right"), ("$LL earned", "right"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for line in lines:
        per_weight = (
            f"{(line.gas + settlement_share) / shape.weight_count:.1f}"
            if settlement_share is not None and line.gas
            else ""
        )
        table.add_row(
            line.name, str(line.samples), f"[green]{line.state}[/green]" if line.state == "accepted" else escape(line.state),
            "" if line.loss is None else f"{line.loss:.3f}", f"{line.update_bytes:,}" if line.update_bytes else "",
            f"{line.gas:,}" if line.gas else "", per_weight, ll(line.earned_wei // SHOWN_WEI * SHOWN_WEI) if line.earned_wei else "",
        )  # fmt: skip
    return Group(Text.from_markup(title), table)


def first_clause(message: str, limit: int = 76) -> str:
    """The first clause: what to do next follows it, and JSON output has all of it."""
    clause = message.partition(";")[0].partition(" (")[0]
    return clause if len(clause) <= limit else clause[: limit - 1] + "…"
