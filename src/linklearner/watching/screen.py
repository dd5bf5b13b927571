"""What `watch` shows: a frame that is drawn over itself in a terminal, a line an event elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from math import isfinite
from typing import Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from linklearner.domain.errors import InvalidInput
from linklearner.domain.notation import UNIT_WEI, address_text, amount_text
from linklearner.domain.rounds import Phase, Step
from linklearner.domain.tasks import Round, Task
from linklearner.output import Format, passed, printable, until, write_json
from linklearner.report.numbers import money_text
from linklearner.watching.watched import Happened, Scored, Watched

BAR: Final = 40
"""Characters of the bar of stake."""
SPARKS: Final = "▁▂▃▄▅▆▇█"
LATEST: Final = 8
"""Events and contributions shown in the frame."""
WIDE: Final = 100
"""Columns from which on addresses are shown whole."""
SCORES: Final = 40
"""Versions in the line of accuracy."""


class Lines:
    """One line an event: time and sentence, or JSON."""

    def __init__(self, format: Format) -> None:
        self._format = format

    def show(self, happened: Sequence[Happened]) -> None:
        for one in happened:
            if self._format is Format.JSON:
                write_json({"event": one.event, "at_s": round(one.at_s, 3), "text": one.text, **one.facts})
                sys.stdout.flush()
            else:
                print(f"{time.strftime('%H:%M:%S', time.localtime(one.at_s))}  {printable(one.text)}", flush=True)


class Frame:
    """The whole state, redrawn in place when something happens and once a second for the clocks."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, watched: Watched) -> None:
        self._live.update(frame(watched, time.time(), self._live.console.width), refresh=True)


def frame(watched: Watched, now_s: float, width: int) -> RenderableType:
    """Everything at once. width: columns of the terminal."""
    task = watched.task
    if task is None:
        return Text("asking the gateway …", style="dim")
    parts: list[RenderableType] = [_head(task), _model(task, watched.scores), Text()]
    if task.closed:
        parts.append(Text("  The task is closed: stake can be unlocked, earnings claimed.", style="yellow"))
    else:
        parts += [_round(task, watched, now_s), _contributions(task, watched.open, width)]
    if watched.trainers:
        parts.append(_trainers(watched, width))
    parts += [Text(), _latest(watched, width)]
    if watched.trouble:
        parts.append(Text(f"  {printable(watched.trouble)}", style="red", overflow="ellipsis", no_wrap=True))
    parts.append(Text("  Ctrl-C ends watching; nothing else ends with it.", style="dim"))
    return Group(*parts)


def _head(task: Task) -> Text:
    try:
        name = task.spec.name
    except InvalidInput:
        name = "a model unknown to this program"
    return Text.from_markup(
        f"[bold]{escape(printable(name))}[/bold]  [dim]task[/dim] {task.task}  [dim]weights[/dim] {task.shape.weight_count:,}  "
        f"[dim]pot[/dim] {money_text(task.pot)} $LL  [dim]earned[/dim] {money_text(task.shares)} $LL"
    )


def _model(task: Task, scores: Sequence[Scored]) -> Text:
    said = f"  [dim]version[/dim] [bold]{task.version}[/bold]"
    if scores:
        last = scores[-1]
        metric = f"[dim]{escape(printable(last.metric))}[/dim] [bold green]{last.value:.4f}[/bold green]"
        said += f"  {metric}  [dim]loss[/dim] {last.loss:.4g}  {sparkline(scores)}"
        if last.version != task.version:
            said += f"  [dim](of version {last.version})[/dim]"
    return Text.from_markup(said)


def sparkline(scores: Sequence[Scored]) -> str:
    """The metric of the last versions, from the lowest to the highest."""
    values = [one.value for one in list(scores)[-SCORES:] if isfinite(one.value)] or [0.0]
    low, high = min(values), max(values)
    if high - low < 1e-12:
        return SPARKS[len(SPARKS) // 2] * len(values)
    return "".join(SPARKS[round((value - low) / (high - low) * (len(SPARKS) - 1))] for value in values)


def _round(task: Task, watched: Watched, now_s: float) -> Text:
    status = task.round
    phase = "" if status.phase is None else status.phase.value
    opened = f", opened {passed(now_s - status.opened_s)}" if status.opened_s else ""
    last = ", the last one" if task.closing else ""
    text = Text.from_markup(f"[bold]Round {status.round}[/bold] [dim]{phase}{opened}{last}[/dim]\n")
    text.append_text(stake_bar(watched.quorum_share, watched.quorum))
    text.append(f" {watched.quorum_share:.0%} of stake", style="bold")
    text.append(f", quorum {watched.quorum:.0%}; {status.accepted} of at most {task.terms.max_updates} updates\n")
    text.append("  " + when(task, now_s), style="cyan")
    return text


def stake_bar(share: float, quorum: float) -> Text:
    """Present stake of all, with a mark at the quorum."""
    full, mark = round(min(share, 1.0) * BAR), min(round(quorum * BAR), BAR - 1)
    text = Text("  ")
    for at in range(BAR):
        if at == mark:
            text.append("┃", style="bold yellow" if share < quorum else "bold green")
        else:
            text.append("█" if at < full else "░", style="green" if at < full else "dim")
    return text


def when(task: Task, now_s: float) -> str:
    """What the round waits for, and until when."""
    due = {one.step: one.from_s for one in task.round.due}
    match task.round.phase:
        case Phase.LOADING:
            return "the first weights are being loaded"
        case Phase.SETTLING:
            return f"{task.round.merged_groups} of {task.shape.group_count} groups are merged"
        case Phase.COLLECTING if Step.SETTLED in due:
            return (
                f"can be settled {until(due[Step.SETTLED] - now_s)}, dropped {until(due.get(Step.DROPPED, 0) - now_s)}"
            )
        case Phase.COLLECTING if Step.EXAMPLES_OPENED in due:
            return (
                f"takes no more updates {until(due[Step.EXAMPLES_OPENED] - now_s)}, when its examples may be opened; can be dropped "
                f"{until(due.get(Step.DROPPED, 0) - now_s)}"
            )
        case Phase.OPENED:
            return f"its examples are opened: can be settled now, dropped {until(due.get(Step.DROPPED, 0) - now_s)}"
        case Phase.OPEN:
            return "waits for the first update"
    return ""


def _contributions(task: Task, seen: Round | None, width: int) -> RenderableType:
    """seen: the round that was open at the last look, which may be over."""
    found = seen.contributions if seen is not None and seen.round == task.round.round else ()
    if not found:
        return Text()
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("contributor", "bytes", "$LL of influence", "counts", "gas"):
        table.add_column(name, justify="left" if name == "contributor" else "right")
    for one in found[-LATEST:]:
        table.add_row(
            _who(one.contributor, width), f"{one.update_bytes:,}", amount_text(one.weight * UNIT_WEI),
            "all" if one.effective >= one.weight else f"{one.effective / one.weight:.0%}", f"{one.mined.gas_used:,}",
        )  # fmt: skip
    more = len(found) - LATEST
    below = [Text(f"  and {more} before them", style="dim")] if more > 0 else []
    return Group(Text(), Padding(table, (0, 0, 0, 2)), *below)


def _trainers(watched: Watched, width: int) -> RenderableType:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("trainer", "account", "samples", "does"):
        table.add_column(name, justify="right" if name == "samples" else "left")
    for where, status in list(watched.trainers.items())[:LATEST]:
        if status is None:
            table.add_row(where, "", "", "[red]does not answer[/red]")
            continue
        does = Text(printable(watched.doing(status)), style="green" if status.busy else "dim")
        table.add_row(where, _who(status.account, width), f"{status.samples:,}", does)
    return Group(Text(), Padding(table, (0, 0, 0, 2)))


def _latest(watched: Watched, width: int) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(20, width - 14))
    for one in list(watched.events)[-LATEST:]:
        table.add_row(time.strftime("%H:%M:%S", time.localtime(one.at_s)), Text(printable(one.text)))
    return Padding(table, (0, 0, 1, 2))


def _who(account: bytes, width: int) -> str:
    """An address, shortened where the terminal is narrow."""
    whole = address_text(account)
    return whole if width >= WIDE else f"{whole[:6]}…{whole[-4:]}"
