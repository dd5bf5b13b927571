"""The table and the picture of what was measured. Rows are attacks, columns cells; the strategies that are not closed stand apart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from services.trainer.simulation.lab.attacks import ATTACKS
from services.trainer.simulation.lab.course import CELLS, WAYS

CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Run:
    """One run. part: of pay, the attackers', 0..1, by each way (nan: nobody was paid). paid: each contributor's, wei, by each way.
    shapley: Pearson's correlation of pay with Shapley values on test samples, and (opened) on the examples that pay goes by; clean only."""

    cell: str
    attack: str
    seed: int
    encoding: str
    accuracy: float
    oracle: float
    honest_accepted: float
    bad_accepted: float
    part: dict[str, float]
    paid: dict[str, list[float]]
    bad: list[bool]
    shapley: dict[str, float]
    shapley_opened: dict[str, float]
    share: float = 0.4
    """Of the contributors that attack."""

    @property
    def key(self) -> tuple[str, str, int, str, float]:
        return self.cell, self.attack, self.seed, self.encoding, self.share


def read(path: Path) -> list[Run]:
    """Runs of a file of JSON lines."""
    if not path.exists():
        return []
    return [Run(**json.loads(line)) for line in path.read_text().splitlines()]


def append(path: Path, run: Run) -> None:
    with path.open("a") as file:
        file.write(json.dumps(asdict(run)) + "\n")


@dataclass(frozen=True, slots=True)
class Row:
    """The mean over seeds of one attack in one cell, per cent. lost: of what the same honest accounts earn by `novel` without the attack.
    worst: the largest part of pay by `novel` of a single run."""

    attack: str
    cell: str
    runs: int
    accuracy: float
    oracle: float
    honest_accepted: float
    bad_accepted: float
    gain: float
    novel: float
    at_close: float
    fair: float
    worst: float
    lost: float


def rows(runs: Iterable[Run]) -> list[Row]:
    by_place: Mapping[tuple[str, str], list[Run]] = defaultdict(list)
    clean: dict[tuple[str, int, str], Run] = {}
    for run in runs:
        by_place[run.attack, run.cell].append(run)
        if run.attack == CLEAN:
            clean[run.cell, run.seed, run.encoding] = run
    found = []
    for (attack, cell), some in by_place.items():

        def mean(name: str, some: Sequence[Run] = some) -> float:
            return _mean([getattr(run, name) for run in some])

        losses = []
        for run in some:
            before = clean.get((run.cell, run.seed, run.encoding))
            if before is not None:
                honest = ~np.array(run.bad)
                usual = np.array(before.paid["novel"])[honest].sum()
                if usual:
                    losses.append(1 - np.array(run.paid["novel"])[honest].sum() / usual)
        novel = [run.part["novel"] for run in some if not np.isnan(run.part["novel"])]
        found.append(
            Row(
                attack,
                cell,
                len(some),
                mean("accuracy"),
                mean("oracle"),
                mean("honest_accepted"),
                mean("bad_accepted"),
                *(_mean([run.part[way] for run in some]) for way in WAYS),
                100 * max(novel, default=float("nan")),
                _mean(losses),
            )
        )
    order = {name: index for index, name in enumerate((CLEAN, *ATTACKS))}
    places = {name: index for index, name in enumerate(CELLS)}
    return sorted(found, key=lambda row: (order[row.attack], places[row.cell]))


def _mean(values: Sequence[float]) -> float:
    kept = [value for value in values if not np.isnan(value)]
    return 100 * float(np.mean(kept)) if kept else float("nan")


def markdown(found: Sequence[Row]) -> str:
    """For docs: one line an attack, each cell as accuracy and the attackers' part of pay by gain, novel (at the close), fair."""
    cells = [name for name in CELLS if any(row.cell == name for row in found)]
    lines = [
        "| attack | " + " | ".join(cells) + " |",
        "|---" * (len(cells) + 1) + "|",
    ]
    for name in (CLEAN, *ATTACKS):
        places = {row.cell: row for row in found if row.attack == name}
        if not places:
            continue
        mark = "" if name == CLEAN or ATTACKS[name].closed else " (not closed)"
        parts = [_cell(places.get(cell), name) for cell in cells]
        lines.append(f"| {name}{mark} | " + " | ".join(parts) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Row | None, attack: str) -> str:
    if row is None:
        return ""
    if attack == CLEAN:
        return f"{row.accuracy:.1f}"
    return f"{row.accuracy:.1f}; {row.gain:.0f} / {row.novel:.1f} ({row.at_close:.1f}) / {row.fair:.1f}"


def picture(found: Sequence[Row], path: Path) -> None:
    """A heat map: the attackers' part of pay by `gain` and by `novel`, per cent, and accuracy beside the clean runs'."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here: the runs do not need it
    from matplotlib.figure import Figure

    cells = [name for name in CELLS if any(row.cell == name for row in found)]
    names = [name for name in ATTACKS if any(row.attack == name for row in found)]
    places = {(row.attack, row.cell): row for row in found}

    def grid(value: str) -> np.ndarray:
        missing = float("nan")
        return np.array([[getattr(places[a, c], value) if (a, c) in places else missing for c in cells] for a in names])

    clean = np.array([places[CLEAN, c].accuracy if (CLEAN, c) in places else float("nan") for c in cells])
    panels = (
        ("pay by gain, %", grid("gain"), "Reds", 0, 50),
        ("pay by novel, %", grid("novel"), "Reds", 0, 50),
        ("accuracy minus clean, points", grid("accuracy") - clean, "RdBu", -10, 10),
    )
    figure = Figure(figsize=(4 + 1.1 * len(cells) * len(panels), 2 + 0.24 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, values, colours, low, high) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(cells)), cells, rotation=35, ha="right", fontsize=8)
        labels = [name if ATTACKS[name].closed else f"{name} *" for name in names]
        axes.set_yticks(range(len(names)), labels if index == 0 else [], fontsize=8)
        for (y, x), value in np.ndenumerate(values):
            if not np.isnan(value):
                dark = abs(value) > 0.6 * high
                axes.text(
                    x, y, f"{value:.1f}", ha="center", va="center", fontsize=7, color="white" if dark else "black"
                )
    figure.suptitle("Ten contributors, some of them attackers; means over seeds; * known not to be closed", fontsize=11)
    figure.savefig(path, dpi=110)
