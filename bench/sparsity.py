"""Whether leaving pages out buys accuracy for gas: `python -m bench.sparsity`.

Five contributors with shards of the digits that differ (Dirichlet 1 over labels), several seeds, updates of two bits with error feedback,
merged as the chain merges them. Three ways to choose what travels:

    dense      every page, in the task's usual layout: the yardstick
    top 1/k    of shorter pages each contributor sends the k-th part in which most is to be moved; the rest waits in its residual
    turns 1/k  everybody sends the same k-th part, another one each round: what was not sent waits, too

A round's gas is that of all submissions and of the settlement of all groups, computed from their calldata and from the pages that change
(`linklearner.domain.gas`, which tests hold to the chain). Every way goes on until it has used the gas of the dense rounds, or to
MOST_ROUNDS. Printed is the mean accuracy on held-out digits at equal gas, and what each reaches at the end; drawn is accuracy against gas.

Trainers do by default what is clearly ahead of dense at the last column, by a point on every model; nothing is, so: dense.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.models import digits_mlp_of
from linklearner.domain.capacity import layout
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.encodings import TWO_BITS
from linklearner.domain.model import ModelSpec
from linklearner.domain.plan import TaskPlan, digits
from linklearner.domain.quantise import Quantised, quantise_delta
from linklearner.domain.shape import Shape
from services.trainer import data, training
from services.trainer.recipe import Recipe
from services.trainer.simulation.courses import Federation, Job, OnChain, Trained
from services.trainer.simulation.executors import Here

CONTRIBUTORS = 5
STAKE_UNITS = 1000
ALPHA = 1.0
DENSE_ROUNDS, MOST_ROUNDS = 8, 40
PARTS = (2, 4, 8)
COLUMNS = (1, 2, 3, 5, 8)
"""Dense rounds whose gas the columns stand for."""
LARGER = 25_000
CLEARLY = 0.01
"""A way wins clearly where it is ahead of dense by a point in the mean, at the last column, on every model."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to choose pages: the k-th part; kind: "dense", "top" or "turns"."""

    kind: str
    part: int = 1

    @property
    def name(self) -> str:
        return self.kind if self.part == 1 else f"{self.kind} 1/{self.part}"


WAYS = (Way("dense"), *(Way(kind, part) for kind in ("top", "turns") for part in PARTS))


@dataclass(frozen=True, slots=True)
class Course:
    """Of one seed: gas used up to each round, from 0, and the accuracy there."""

    gas: tuple[float, ...]
    accuracy: tuple[float, ...]

    def at(self, budget: float) -> float:
        """Accuracy of the last round that the budget paid for."""
        return self.accuracy[int(np.searchsorted(self.gas, budget * (1 + 1e-9), side="right")) - 1]


@dataclass(frozen=True, slots=True)
class Bed:
    """What all ways of one seed share."""

    model: ModelSpec
    seed: int
    learn: data.Samples
    held_out: data.Samples

    @classmethod
    def of(cls, model: ModelSpec, seed: int) -> Bed:
        return cls(model, seed, *data.hold_out(data.digits()))

    def course(self, way: Way, shape: Shape, budget: float) -> Course:
        """Rounds of `linklearner simulate` until the gas is used up; everybody has been paid in the task before."""
        rows = tuple(data.shards(self.learn.y, CONTRIBUTORS, ALPHA, self.seed))
        stakes, everybody = (STAKE_UNITS,) * CONTRIBUTORS, range(CONTRIBUTORS)
        federation = Federation(
            plan_of(self.model, shape), self.model.initial(self.seed), self.learn, rows, stakes, self.seed, {}
        )
        chain, here = OnChain(federation, Recipe(), TWO_BITS, paid=everybody), Here()
        used, accuracies = [0.0], [self._accuracy(chain.weights)]
        most = DENSE_ROUNDS if way.kind == "dense" else MOST_ROUNDS
        while used[-1] < budget and len(used) <= most:
            jobs = chain.jobs(here.put(federation), here.put(chain.weights), everybody)
            merging = chain.merge(everybody, [self._trained(job, way, shape) for job in jobs])
            used.append(used[-1] + merging.submission_gas + merging.settlement_gas)
            accuracies.append(self._accuracy(chain.weights))
        return Course(tuple(used), tuple(accuracies))

    def _trained(self, job: Job, way: Way, shape: Shape) -> Trained:
        number = job.round + 1
        shard = self.learn[job.federation.get().shards[job.contributor]]
        seed = (self.seed, job.contributor, number)
        delta = training.train(self.model, job.base.get(), shard, job.recipe, seed, lambda step, loss: None)
        quantised = chosen(way, delta + job.residual, shape, number)
        return Trained(update=quantised.update.encode(shape), residual=quantised.residual)

    def _accuracy(self, weights: NDArray[np.float32]) -> float:
        return training.evaluate(self.model, weights, self.held_out).value


def chosen(way: Way, wanted: NDArray[np.float64], shape: Shape, number: int) -> Quantised:
    """The update of a round, from 1, by one way."""
    most = max(1, shape.page_count // way.part)
    if way.kind != "turns":
        return quantise_delta(wanted, shape, 1, number, most_pages=most)
    sent = np.zeros(shape.weight_count)
    for page in range(number % way.part, shape.page_count, way.part):
        sent[shape.page_slice(page)] = wanted[shape.page_slice(page)]
    quantised = quantise_delta(sent, shape, 1, number)
    return replace(quantised, residual=quantised.residual + (wanted - sent))


def plan_of(model: ModelSpec, shape: Shape) -> TaskPlan:
    exponents = tuple(tensor.exponent for tensor in shape.tensors)
    return TaskPlan(
        model=model, exponents=exponents, page_length=shape.page_length, group_pages=shape.group_pages,
        norm_bound=shape.norm_bound, terms=digits(contributors=CONTRIBUTORS).terms,
    )  # fmt: skip


def shapes(model: ModelSpec) -> tuple[Shape, Shape]:
    """For dense updates the usual one, for sparse ones 32 or more pages, so that an eighth is something."""
    exponent, bound = SHAPE.tensors[0].exponent, SHAPE.norm_bound
    cut = layout([one.length for one in model.tensors()], CONTRIBUTORS)
    usual = SHAPE if model is DIGITS else model.shape(exponent, *cut, bound)
    short = -(-model.weight_count // 32 // 4) * 4
    pages = -(-model.weight_count // short)
    return usual, model.shape(exponent, short, -(-pages // usual.group_count), bound)


def measure(model: ModelSpec, seeds: Sequence[int], ways: Sequence[Way] = WAYS) -> dict[str, list[Course]]:
    """Each way's course for each seed; the first of `ways` must be dense."""
    training.bound_threads(1)
    usual, short = shapes(model)
    found: dict[str, list[Course]] = {way.name: [] for way in ways}
    for seed in seeds:
        bed = Bed.of(model, seed)
        budget = 0.0
        for way in ways:
            if way.kind == "dense":
                course = bed.course(way, usual, np.inf)
                budget = course.gas[-1]
            else:
                course = bed.course(way, short, budget)
            found[way.name].append(course)
            print(f"  seed {seed}, {way.name}: {len(course.gas) - 1} rounds", file=sys.stderr, flush=True)
    return found


def at_equal_gas(found: dict[str, list[Course]]) -> dict[str, list[float]]:
    """Mean accuracy of each way at the gas of so many dense rounds (COLUMNS)."""
    rows = {}
    for name, courses in found.items():
        rows[name] = [
            float(np.mean([one.at(dense.gas[rounds]) for one, dense in zip(courses, found["dense"], strict=True)]))
            for rounds in COLUMNS
        ]
    return rows


def draw(found: dict[str, dict[str, list[Course]]], path: Path) -> None:
    """Accuracy against gas, a panel a model, the mean over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        1, len(found), figsize=(6.4 * len(found), 4.2), squeeze=False, constrained_layout=True
    )
    for panel, (model, ways) in zip(panels[0], found.items(), strict=True):
        last = min(course.gas[-1] for course in ways["dense"])
        grid = np.linspace(0, last, 160)
        for name, courses in ways.items():
            mean = [float(np.mean([course.at(budget) for course in courses])) for budget in grid]
            style = {"dense": "-", "top": "--", "turns": ":"}[name.partition(" ")[0]]
            panel.step(grid / 1e6, mean, style, where="post", label=name, linewidth=2.4 if name == "dense" else 1.4)
        panel.set(title=model, xlabel="gas of all transactions, millions", ylabel="accuracy on held-out digits")
        panel.set_ylim(0.5, 1.0)
        panel.grid(alpha=0.3)
    panels[0][-1].legend(loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.sparsity", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument(
        "--larger", type=int, default=LARGER, help="weights of the larger model; 0: none (default %(default)s)"
    )
    parser.add_argument("--png", type=Path, default=None, help="where to draw the curves")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    models = [DIGITS, *([digits_mlp_of(options.larger)] if options.larger else [])]
    began = time.perf_counter()
    found = {}
    for model in models:
        name = f"{model.name}, {model.weight_count:,} weights"
        print(name, file=sys.stderr, flush=True)
        found[name] = measure(model, seeds)
    if options.png:
        draw(found, options.png)
    rows = {name: at_equal_gas(ways) for name, ways in found.items()}
    winner = best(rows)
    if options.json:
        print(json.dumps({"columns": COLUMNS, "accuracy": rows, "default": winner}))
        return 0
    console = Console(width=max(120, Console().width))
    for name, ways in found.items():
        table = Table(
            title=f"{name}: mean accuracy over {len(seeds)} seeds at the gas of so many dense rounds",
            title_justify="left",
        )
        table.add_column("")
        for rounds in COLUMNS:
            gas_there = np.mean([course.gas[rounds] for course in ways["dense"]])
            table.add_column(f"{rounds} ({gas_there / 1e6:.1f} M)", justify="right")
        table.add_column("rounds", justify="right")
        table.add_column("gas a round", justify="right")
        for way, courses in ways.items():
            rounds_done = np.mean([len(course.gas) - 1 for course in courses])
            per_round = np.mean([course.gas[-1] / (len(course.gas) - 1) for course in courses])
            table.add_row(way, *(f"{a:.4f}" for a in rows[name][way]), f"{rounds_done:.0f}", f"{per_round / 1e6:.2f} M")
        console.print(table)
    console.print(f"Trainers' default by this: {winner}. {time.perf_counter() - began:.0f} s.")
    return 0


def best(rows: dict[str, dict[str, list[float]]]) -> str:
    """The way that is clearly ahead of dense on every model, the furthest of several; else dense."""
    leads = {way: min(ways[way][-1] - ways["dense"][-1] for ways in rows.values()) for way in next(iter(rows.values()))}
    way = max(leads, key=lambda name: leads[name])
    return way if leads[way] >= CLEARLY else "dense"


if __name__ == "__main__":
    sys.exit(main())
