"""What integers in consensus cost in accuracy: `python -m bench.accuracy`.

Five contributors with shards that differ (Dirichlet over labels), five rounds of 100 local Adam steps, several seeds. On the same
splits, from the same first weights and with the same batches in the same order, three ways of averaging are run side by side, by the
engine of `linklearner simulate`:

    float      federated averaging in float64, everybody weighted alike: the yardstick
    two-bits   updates of 2 bits a weight with error feedback, merged as the chain merges them (domain.rules.mean), weights int16
    int8       the same with one byte a weight

Accuracy is that of the weights as the chain would hold them, on the 359 held-out digits that no shard contains. Two controls that a
claim about federated learning owes its reader: what one shard alone reaches with the same number of steps, and what all the data in
one place would reach. (`docs/protocol.md` §4 also asks for a model trained on the opened examples only: rule `mean` opens none.)

The recipe (learning rate, batch size, logit adjustment, exponent) was chosen on seeds 0 to 27; the seeds reported are fresh ones.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.encodings import INT8, TWO_BITS, Encoding
from services.trainer import data, training
from services.trainer.recipe import Recipe
from services.trainer.simulation import courses, engine, tasks
from services.trainer.simulation.courses import Federation
from services.trainer.simulation.executors import Here

CONTRIBUTORS = 5
ROUNDS = 5
STAKE_UNITS = 1000
"""Each contributor's; alike, so that the merge is to be compared with plain averaging."""

LEAST_MEAN = 0.95
MOST_LOST_POINTS = 0.5
PEERS = (
    "On this task Flower 1.41's own example settings reach 0.876-0.896 (mean 0.886) after five rounds of five clients."
)


@dataclass(frozen=True, slots=True)
class Split:
    """One seed's shards and the held-out samples."""

    federation: Federation
    held_out: data.Samples

    @classmethod
    def of(cls, seed: int, alpha: float | None) -> "Split":
        task = tasks.load("digits", "digits", CONTRIBUTORS, seed)
        stakes = (STAKE_UNITS,) * CONTRIBUTORS
        return cls(engine.federation(task, CONTRIBUTORS, alpha, stakes, seed), task.held_out)

    @property
    def shards(self) -> tuple[data.Samples, ...]:
        return tuple(self.federation.learn[rows] for rows in self.federation.shards)

    def accuracy(self, weights: NDArray[np.float32]) -> float:
        return training.evaluate(DIGITS, weights, self.held_out).value


@dataclass(frozen=True, slots=True)
class Course:
    """Accuracy after each round, and the longest update in units of the norm bound."""

    accuracies: tuple[float, ...]
    longest: float = 0.0


def averaged(split: Split, course: courses.Course) -> Course:
    """The rounds of `linklearner simulate`, in this process."""
    accuracies, longest = [], 0.0
    with Here() as executor:
        for (merging,) in engine.rounds(split.federation, (course,), executor, ROUNDS):
            longest = max(longest, merging.longest)
            accuracies.append(split.accuracy(course.weights))
    return Course(tuple(accuracies), longest)


def float_averaging(split: Split, recipe: Recipe) -> Course:
    """Federated averaging in float64."""
    return averaged(split, courses.FloatAveraging(split.federation, recipe))


def on_chain(split: Split, recipe: Recipe, encoding: Encoding) -> Course:
    """Quantised updates with error feedback, merged in integers as the Aspect does."""
    return averaged(split, courses.OnChain(split.federation, recipe, encoding))


def alone(split: Split, recipe: Recipe) -> Course:
    """The mean over contributors of what each would have without the others, in as many local steps."""
    steps = replace(recipe, step_count=ROUNDS * recipe.step_count, logit_adjustment=False)
    return Course((float(np.mean([_central(split, shard, steps) for shard in split.shards])),))


def central(split: Split, recipe: Recipe) -> Course:
    """All shards in one place, as many steps as one contributor takes in all rounds."""
    steps = replace(recipe, step_count=ROUNDS * recipe.step_count, logit_adjustment=False)
    return Course((_central(split, split.federation.learn, steps),))


def _central(split: Split, samples: data.Samples, recipe: Recipe) -> float:
    seed = split.federation.seed
    base = DIGITS.initial(seed)
    delta = training.train(DIGITS, base, samples, recipe, (seed,), lambda step, loss: None)
    return split.accuracy((base + delta).astype(np.float32))


ROWS: dict[str, Callable[[Split, Recipe], Course]] = {
    "float averaging": float_averaging,
    TWO_BITS.name: lambda split, recipe: on_chain(split, recipe, TWO_BITS),
    INT8.name: lambda split, recipe: on_chain(split, recipe, INT8),
    "two-bits, without logit adjustment": lambda split, recipe: on_chain(
        split, replace(recipe, logit_adjustment=False), TWO_BITS
    ),
    "control: one shard alone": alone,
    "control: all data central": central,
}
PROMISED = (TWO_BITS.name, INT8.name)


def measure(
    seeds: Sequence[int], alpha: float | None = 1.0, recipe: Recipe | None = None, rows: Sequence[str] = tuple(ROWS)
) -> dict[str, list[Course]]:
    """Each row's course for each seed. The same arguments give the same numbers on the same machine."""
    training.bound_threads(1)
    splits = [Split.of(seed, alpha) for seed in seeds]
    return {row: [ROWS[row](split, recipe or Recipe()) for split in splits] for row in rows}


def lost_points(found: dict[str, list[Course]], row: str) -> float:
    """How many points of accuracy a row is behind float averaging in the mean over the seeds; negative if it is ahead."""
    return 100 * (_mean(found["float averaging"]) - _mean(found[row]))


def _mean(found: Sequence[Course]) -> float:
    return float(np.mean([course.accuracies[-1] for course in found]))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bench.accuracy", description="Accuracy of on-chain averaging beside float averaging."
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--first-seed", type=int, default=100, help="default 100")
    parser.add_argument(
        "--alpha", default="1", help="Dirichlet concentration of labels over shards, or iid (default 1)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    alpha = None if given.alpha == "iid" else float(given.alpha)
    began = time.perf_counter()
    measured = measure(seeds, alpha)
    seconds = time.perf_counter() - began
    holds = all(
        _mean(measured[row]) >= LEAST_MEAN and lost_points(measured, row) <= MOST_LOST_POINTS for row in PROMISED
    )
    if given.json:
        report = {
            row: {
                "mean": _mean(found),
                "points_behind_float": lost_points(measured, row),
                "seeds": dict(zip(map(str, seeds), ([*course.accuracies] for course in found), strict=True)),
            }
            for row, found in measured.items()
        }
        print(json.dumps({"alpha": given.alpha, "rows": report, "holds": holds, "seconds": seconds}))
    else:
        _print(measured, seeds, given.alpha, seconds, holds)
    return 0 if holds or given.alpha != "1" else 1


def _print(measured: dict[str, list[Course]], seeds: Sequence[int], alpha: str, seconds: float, holds: bool) -> None:
    console = Console(width=max(160, Console().width))
    recipe = Recipe()
    spread = "IID" if alpha == "iid" else f"Dirichlet {alpha} over labels"
    table = Table(
        title=f"Accuracy on 359 held-out digits after {ROUNDS} rounds, {CONTRIBUTORS} contributors, {spread}",
        title_justify="left",
    )
    table.add_column("")
    table.add_column("mean", justify="right")
    table.add_column("points to float", justify="right")
    table.add_column("rounds (mean)", justify="right")
    for seed in seeds:
        table.add_column(f"seed {seed}", justify="right")
    for row, found in measured.items():
        rounds = np.mean([course.accuracies for course in found], axis=0)
        table.add_row(
            row,
            f"{_mean(found):.4f}",
            "" if row == "float averaging" else f"{-lost_points(measured, row):+.2f}",
            " ".join(f"{accuracy:.3f}" for accuracy in rounds) if len(rounds) > 1 else "",
            *(f"{course.accuracies[-1]:.4f}" for course in found),
        )
    console.print(table)
    longest = max(course.longest for row in PROMISED for course in measured[row])
    fine, bound = SHAPE.tensors[0].exponent, SHAPE.norm_bound.bit_length() - 1
    console.print(
        f"{recipe.step_count} Adam steps a round, learning rate {recipe.optimiser.learning_rate}, batches of {recipe.batch_size}, "
        f"weights in steps of 2^-{fine}; the longest update has {longest:.2f} of the norm bound 2^{bound}. {seconds:.0f} s."
    )
    console.print(PEERS)
    if alpha == "1":
        verdict = "[green]holds[/green]" if holds else "[red]does not hold[/red]"
        console.print(
            f"Promise: both encodings ≥ {LEAST_MEAN} and within {MOST_LOST_POINTS} points of float averaging: {verdict}"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
