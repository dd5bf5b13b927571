"""What updates tell of the samples, with and without differential privacy, and what that costs: `python -m bench.privacy`.

Accuracy. Five contributors on digits as in `bench.accuracy` (same shards, same first weights, updates quantised and merged as the chain
does it), each with the trainer's own protection: `services.trainer.privacy` with a ledger on disk, whose epsilon is what is printed.

Attacks. One contributor's rounds against whoever reads the chain, in the worst case: the weights move by his updates alone. His
pool is 574 digits, of which 60 are canaries (a wrong label, that nothing but its presence teaches); a coin decides of each whether he
has it. The attacker knows the pool, the settings and everything that the chain shows, and says who is in:

    loss       low loss under the last weights (Yeom et al. 2018)
    shadow     that loss beside its distribution with and without the sample, from models of other halves of the pool (LiRA, Carlini et al.
               2022, each run attacked with all others as shadows)
    updates    the same of how well each round's update agrees with the sample's own gradient at that round's weights, which only who sees
               single updates can ask

AUC is 0.5 for who guesses. TPR at 1 % FPR: of those who are in, how many are found by an attacker who accuses one innocent in a hundred.
Intervals are 95 %, by bootstrap over runs. The lower bound of epsilon is what the canaries prove: epsilon >= ln((TPR - delta) / FPR) with
Clopper-Pearson bounds of 95 % (Jagielski et al. 2020), at the threshold of one half of the runs and measured on the other half. It takes
canaries of one run for independent. A bound above the claimed epsilon would be a bug, and fails the program.

The randomness of the noise comes from seeds here, so that a figure can be had again; a trainer's never does.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats

from bench.accuracy import CONTRIBUTORS, STAKE_UNITS, Split
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.encodings import INT8, TWO_BITS, Encoding
from linklearner.domain.fixedpoint import dequantise_weights, quantise_weights
from linklearner.domain.plan import digits as digits_plan
from linklearner.domain.update import Update
from services.trainer import data, training
from services.trainer.dpsgd import private_gradient
from services.trainer.ledger import PrivacyLedger
from services.trainer.network import Network
from services.trainer.noise import SecureRandom
from services.trainer.privacy import DpSgd, DpUpdate, Privacy
from services.trainer.recipe import Recipe
from services.trainer.simulation.courses import Federation, Job, Merging, OnChain, trained
from services.trainer.simulation.executors import Here

ROUNDS = 8
EPSILON, DELTA = 8.0, 1e-4
LEAST_MEAN = 0.90
POOL, CANARIES = 574, 60
RUNS = 32
FALSE_ACCUSATIONS = 0.01
BOOTSTRAPS = 1000
Floats = NDArray[np.float64]
Plan = DpSgd | DpUpdate | None


class Protected:
    """A contributor's trainings under a plan, with the trainer's own parts; None: as they are."""

    def __init__(self, plan: Plan, samples: data.Samples, folder: Path, seed: int) -> None:
        self._samples = samples
        self._privacy = None
        if plan is not None:
            folder.mkdir(parents=True)
            source = SecureRandom(random.Random(seed).randbytes)
            self._privacy = Privacy(plan, PrivacyLedger.open(folder), len(samples), source)
        self.epsilon = float("inf") if plan is None else 0.0
        """What is spent so far."""

    def delta(self, base: NDArray[np.float32], recipe: Recipe, seed: tuple[int, ...]) -> Floats:
        """(N,) float64, as it is quantised."""
        if self._privacy is None:
            return training.train(DIGITS, base, self._samples, recipe, seed, lambda step, loss: None)
        counts = np.bincount(self._samples.y, minlength=len(DIGITS.labels))
        round = self._privacy.begin("bench", counts, recipe, seed[-1])
        noised = None if round.steps is None else private_gradient(DIGITS, self._samples, round.steps)
        delta = training.train(DIGITS, base, self._samples, recipe, seed, lambda step, loss: None, gradient_of=noised)
        self._privacy.close(round, bytes(32))
        self.epsilon = round.spent.epsilon
        return round.protected(delta)


def merged(
    federation: Federation, encoding: Encoding, recipe: Recipe, rounds: int, delta_of: Callable[[Job], Floats]
) -> Iterator[tuple[NDArray[np.float32], tuple[Update, ...], Merging]]:
    """The rounds of `linklearner simulate` with trainings of one's own: the weights after each, (N,) float32, and its updates."""
    course, here = OnChain(federation, recipe, encoding), Here()
    handle, everybody = here.put(federation), range(len(federation.shards))
    for _ in range(rounds):
        results = [trained(job, delta_of(job)) for job in course.jobs(handle, here.put(course.weights), everybody)]
        merging = course.merge(everybody, results)
        yield course.weights, tuple(Update.decode(one.update, federation.plan.shape) for one in results), merging


# --- accuracy


@dataclass(frozen=True, slots=True)
class Course:
    """Accuracy after each round; epsilon: the greatest of the contributors'; longest: update, in units of the norm bound."""

    accuracies: tuple[float, ...]
    epsilon: float
    longest: float


def course(seed: int, alpha: float | None, plan: Plan, encoding: Encoding, recipe: Recipe, rounds: int) -> Course:
    """One seed's federated training over the integers of the chain."""
    training.bound_threads(1)
    split = Split.of(seed, alpha)
    accuracies, longest = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        people = [
            Protected(plan, shard, Path(folder) / str(i), 1000 * seed + i) for i, shard in enumerate(split.shards)
        ]

        def delta(job: Job) -> Floats:
            return people[job.contributor].delta(job.base.get(), recipe, (seed, job.contributor, job.round))

        for weights, _, merging in merged(split.federation, encoding, recipe, rounds, delta):
            longest = max(longest, merging.longest)
            accuracies.append(split.accuracy(weights))
    return Course(tuple(accuracies), max(one.epsilon for one in people), longest)


def plans(epsilon: float, delta: float, rounds: int) -> dict[str, tuple[Plan, Encoding]]:
    """The rows of the table: everything that has a setting is at the trainer's default."""
    sgd = DpSgd(dp_epsilon=epsilon, dp_delta=delta, dp_rounds=rounds)
    return {
        "no privacy": (None, TWO_BITS),
        "sgd": (sgd, TWO_BITS),
        "sgd, int8": (sgd, INT8),
        "update": (DpUpdate(dp_epsilon=epsilon, dp_delta=delta, dp_rounds=rounds), TWO_BITS),
    }


PROMISED = "sgd"


# --- attacks


@dataclass(frozen=True, slots=True)
class Run:
    """What one run shows of each sample of the pool. inside: (n,) bool. losses: (n,), under the last weights. agreement: (n,), of the
    updates with the sample's gradients."""

    inside: NDArray[np.bool_]
    losses: Floats
    agreement: Floats
    epsilon: float
    accuracy: float


def pool() -> tuple[data.Samples, NDArray[np.bool_], data.Samples]:
    """The samples that a run draws from, which of them are canaries, and those held out."""
    learn, held_out = data.hold_out(data.digits())
    generator = np.random.default_rng(20_250_101)
    chosen = learn[np.sort(generator.choice(len(learn), POOL, replace=False))]
    canaries = np.zeros(POOL, dtype=bool)
    canaries[generator.choice(POOL, CANARIES, replace=False)] = True
    labels = chosen.y.copy()
    labels[canaries] = (labels[canaries] + generator.integers(1, 10, CANARIES)) % 10
    return replace(chosen, y=labels), canaries, held_out


def run(number: int, plan: Plan, rounds: int, recipe: Recipe) -> Run:
    """One contributor's rounds with a half of the pool."""
    training.bound_threads(1)
    samples, _, held_out = pool()
    inside = np.random.default_rng(number).random(POOL) < 0.5
    members = np.flatnonzero(inside)
    first = DIGITS.initial(0)  # public: the same in all runs
    alone = Federation(digits_plan(), first, samples, (members,), (STAKE_UNITS,), number, {})
    agreement, base = np.zeros(POOL), dequantise_weights(quantise_weights(first, SHAPE), SHAPE)
    with tempfile.TemporaryDirectory() as folder:
        one = Protected(plan, samples[members], Path(folder) / "state", number)

        def delta(job: Job) -> Floats:
            return one.delta(job.base.get(), recipe, (number, job.round))

        for weights, (update,), _ in merged(alone, TWO_BITS, recipe, rounds, delta):
            shown = np.ldexp(update.delta(SHAPE), -SHAPE.exponents().astype(np.int32))
            agreement += _agreement(base, shown, samples)
            base = weights
    return Run(inside, _losses(base, samples), agreement, one.epsilon, training.evaluate(DIGITS, base, held_out).value)


def _losses(weights: NDArray[np.float32], samples: data.Samples) -> Floats:
    """(n,): each sample's cross-entropy, nats."""
    answers = torch.from_numpy(training.answers(DIGITS, weights, samples.inputs_of(DIGITS))).double()
    losses: Floats = torch.nn.functional.cross_entropy(answers, torch.from_numpy(samples.y), reduction="none").numpy()
    return losses


def _agreement(base: NDArray[np.float32], update: Floats, samples: data.Samples) -> Floats:
    """(n,): how much less the update makes each sample's loss at `base`, in the first order, over the length of its gradient."""
    network, (signature,) = Network(DIGITS.graph), DIGITS.inputs
    answer = DIGITS.answer.name

    def loss(flat: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(network(flat, {signature.name: x[None]})[answer], y[None])

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(
        torch.from_numpy(base), torch.from_numpy(samples.inputs_of(DIGITS)[signature.name]), torch.from_numpy(samples.y)
    ).numpy()
    found: Floats = -(each @ update) / np.maximum(np.linalg.norm(each, axis=1), 1e-12)
    return found


def shadowed(signals: Floats, inside: NDArray[np.bool_]) -> Floats:
    """(runs, n): the log-likelihood ratio of in against out, each run's from all others; normal, with one spread for all samples.

    signals, inside: (runs, n).
    """
    scores = np.empty_like(signals)
    for number in range(len(signals)):
        others = np.arange(len(signals)) != number
        seen, within = signals[others], inside[others]
        means = [np.where(group, seen, 0).sum(0) / np.maximum(group.sum(0), 1) for group in (within, ~within)]
        spread = np.sqrt(np.mean(np.square(seen - np.where(within, *means)))) + 1e-12
        away = [np.square((signals[number] - mean) / spread) for mean in means]
        scores[number] = (away[1] - away[0]) / 2
    return scores


def attacks(runs: Sequence[Run]) -> dict[str, Floats]:
    """Scores (runs, n) by attack: the greater, the more likely in."""
    inside = np.stack([one.inside for one in runs])
    losses = np.stack([one.losses for one in runs])
    odds = -np.log(np.expm1(np.clip(losses, 1e-6, 30.0)))  # logit of the right label's probability: nearly normal
    return {
        "loss": -losses,
        "shadow": shadowed(odds, inside),
        "updates": shadowed(np.stack([one.agreement for one in runs]), inside),
    }


def area(scores: Floats, inside: NDArray[np.bool_]) -> float:
    """AUC: how likely somebody who is in has a greater score than somebody who is not."""
    ranks, members = stats.rankdata(scores.ravel()), inside.ravel()
    count = int(members.sum())
    return float((ranks[members].sum() - count * (count + 1) / 2) / (count * (members.size - count)))


def found(scores: Floats, inside: NDArray[np.bool_]) -> float:
    """TPR at an FPR of FALSE_ACCUSATIONS."""
    return float((scores[inside] > np.quantile(scores[~inside], 1 - FALSE_ACCUSATIONS)).mean())


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


def over_runs(
    statistic: Callable[[Floats, NDArray[np.bool_]], float], scores: Floats, inside: NDArray[np.bool_]
) -> Measured:
    """Bootstrap over runs, whose samples share a model."""
    generator = np.random.default_rng(7)
    draws = [generator.integers(0, len(scores), len(scores)) for _ in range(BOOTSTRAPS)]
    low, high = np.quantile([statistic(scores[draw], inside[draw]) for draw in draws], (0.025, 0.975))
    return Measured(statistic(scores, inside), float(low), float(high))


def proven_epsilon(scores: Floats, inside: NDArray[np.bool_], delta: float) -> float:
    """A lower bound of epsilon from who is found, 95 %: the threshold that looks best on even runs, counted on odd ones; 0 at least."""
    best, threshold, side = -np.inf, 0.0, True
    for candidate in np.quantile(scores[::2], np.linspace(0.005, 0.995, 199)):
        for above in (True, False):
            bound = _bound(scores[::2], inside[::2], candidate, above, delta)
            if bound > best:
                best, threshold, side = bound, candidate, above
    return max(0.0, _bound(scores[1::2], inside[1::2], threshold, side, delta))


def _bound(scores: Floats, inside: NDArray[np.bool_], threshold: float, above: bool, delta: float) -> float:
    """above: who is accused of being in; otherwise who is cleared of it, which bounds epsilon as well."""
    said = scores > threshold if above else scores <= threshold
    right, wrong = (said[inside], said[~inside]) if above else (said[~inside], said[inside])
    true, false = int(right.sum()), int(wrong.sum())
    least = stats.beta.ppf(0.025, true, right.size - true + 1) if true else 0.0
    most = stats.beta.ppf(0.975, false + 1, wrong.size - false) if false < wrong.size else 1.0
    return float(np.log((least - delta) / most)) if least > delta else -np.inf


@dataclass(frozen=True, slots=True)
class Attacked:
    """How one attack does against one plan: on the pool's ordinary samples, and on the canaries."""

    auc: Measured
    tpr: Measured
    canary_auc: Measured
    canary_tpr: Measured
    proven: float


@dataclass(frozen=True, slots=True)
class Attack:
    """All attacks on one plan. accuracy: of the attacked model."""

    epsilon: float
    accuracy: float
    by: dict[str, Attacked]


def judged(runs: Sequence[Run], delta: float) -> Attack:
    """canaries: as in `pool`."""
    _, canaries, _ = pool()
    inside = np.stack([one.inside for one in runs])
    ordinary = {name: scores[:, ~canaries] for name, scores in attacks(runs).items()}
    wrong = {name: scores[:, canaries] for name, scores in attacks(runs).items()}
    others, marked = inside[:, ~canaries], inside[:, canaries]
    return Attack(
        max(one.epsilon for one in runs),
        float(np.mean([one.accuracy for one in runs])),
        {
            name: Attacked(
                over_runs(area, ordinary[name], others),
                over_runs(found, ordinary[name], others),
                over_runs(area, wrong[name], marked),
                over_runs(found, wrong[name], marked),
                proven_epsilon(wrong[name], marked, delta),
            )
            for name in ordinary
        },
    )


# --- the program


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.privacy", description="What updates tell, and what hiding it costs.")
    parser.add_argument("--seeds", type=int, default=5, help="of the accuracy (default 5)")
    parser.add_argument("--first-seed", type=int, default=100, help="default 100")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each attack (default {RUNS})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--epsilon", type=float, default=EPSILON, help=f"default {EPSILON:g}")
    parser.add_argument("--delta", type=float, default=DELTA, help=f"default {DELTA:g}")
    parser.add_argument("--steps", type=int, default=Recipe().step_count, help="local steps a round")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--only", choices=("accuracy", "attacks"), help="one half")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    given = parser.parse_args(arguments)
    recipe, began = Recipe(step_count=given.steps), time.perf_counter()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    rows = plans(given.epsilon, given.delta, given.rounds)
    # torch's threads do not survive a fork
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as workers:
        accuracy: dict[str, dict[str, list[Course]]] = {}
        if given.only != "attacks":
            asked = {
                (name, spread): [
                    workers.submit(course, seed, alpha, plan, encoding, recipe, given.rounds) for seed in seeds
                ]
                for spread, alpha in (("Dirichlet 1", 1.0), ("IID", None))
                for name, (plan, encoding) in rows.items()
            }
            for (name, spread), answers in asked.items():
                accuracy.setdefault(name, {})[spread] = [answer.result() for answer in answers]
                print(f"  accuracy: {name}, {spread}", file=sys.stderr, flush=True)
        attacked: dict[str, Attack] = {}
        if given.only != "accuracy":
            for name in ("no privacy", "sgd"):
                one = partial(run, plan=rows[name][0], rounds=given.rounds, recipe=recipe)
                attacked[name] = judged(list(workers.map(one, range(given.runs))), given.delta)
                print(f"  attacks: {name}", file=sys.stderr, flush=True)
    holds = _holds(accuracy, attacked)
    seconds = time.perf_counter() - began
    if given.json:
        print(json.dumps(_document(accuracy, attacked, holds, seconds)))
    else:
        _print(accuracy, attacked, seeds, given, holds, seconds)
    return 0 if holds else 1


def _mean(courses: Sequence[Course]) -> float:
    return float(np.mean([one.accuracies[-1] for one in courses]))


def _holds(accuracy: dict[str, dict[str, list[Course]]], attacked: dict[str, Attack]) -> bool:
    kept = all(_mean(courses) >= LEAST_MEAN for courses in accuracy.get(PROMISED, {}).values())
    return kept and all(one.proven <= attack.epsilon for attack in attacked.values() for one in attack.by.values())


def _document(
    accuracy: dict[str, dict[str, list[Course]]], attacked: dict[str, Attack], holds: bool, seconds: float
) -> dict[str, Any]:
    def finite(epsilon: float) -> float | None:
        return epsilon if np.isfinite(epsilon) else None

    return {
        "accuracy": {
            name: {
                spread: {
                    "mean": _mean(courses),
                    "epsilon": finite(max(one.epsilon for one in courses)),
                    "seeds": [one.accuracies for one in courses],
                }
                for spread, courses in spreads.items()
            }
            for name, spreads in accuracy.items()
        },
        "attacks": {name: asdict(attack) | {"epsilon": finite(attack.epsilon)} for name, attack in attacked.items()},
        "holds": holds,
        "seconds": seconds,
    }


def _print(
    accuracy: dict[str, dict[str, list[Course]]],
    attacked: dict[str, Attack],
    seeds: Sequence[int],
    given: argparse.Namespace,
    holds: bool,
    seconds: float,
) -> None:
    console = Console(width=max(170, Console().width))

    def shown(epsilon: float) -> str:
        return f"{epsilon:.2f}" if np.isfinite(epsilon) else "none"

    if accuracy:
        table = Table(
            title=f"Accuracy on 359 held-out digits after {given.rounds} rounds of {given.steps} steps, {CONTRIBUTORS} contributors, "
            f"delta {given.delta:g}",
            title_justify="left",
        )
        for column in ("", "epsilon", "shards", "mean", "rounds (mean)", *(f"seed {seed}" for seed in seeds)):
            table.add_column(column, justify="left" if column in ("", "shards") else "right")
        for name, spreads in accuracy.items():
            for spread, courses in spreads.items():
                rounds = np.mean([one.accuracies for one in courses], axis=0)
                table.add_row(
                    name,
                    shown(max(one.epsilon for one in courses)),
                    spread,
                    f"{_mean(courses):.4f}",
                    " ".join(f"{value:.2f}" for value in rounds),
                    *(f"{one.accuracies[-1]:.4f}" for one in courses),
                )
        console.print(table)
    if attacked:
        table = Table(
            title=f"Who is in? One contributor's {given.rounds} rounds, {given.runs} runs of {POOL} samples, {CANARIES} of them canaries",
            title_justify="left",
        )
        for column in (
            "",
            "epsilon",
            "accuracy",
            "attack",
            "AUC",
            "TPR at 1 % FPR",
            "canaries: AUC",
            "TPR at 1 % FPR",
            "proven",
        ):
            table.add_column(column, justify="left" if column in ("", "attack") else "right")
        for name, attack in attacked.items():
            for kind, one in attack.by.items():
                table.add_row(
                    name,
                    shown(attack.epsilon),
                    f"{attack.accuracy:.3f}",
                    kind,
                    *map(str, (one.auc, one.tpr, one.canary_auc, one.canary_tpr)),
                    f"epsilon ≥ {one.proven:.2f}",
                )
        console.print(table)
    verdict = "[green]holds[/green]" if holds else "[red]does not hold[/red]"
    console.print(
        f"Promise: {PROMISED} at epsilon {given.epsilon:g} reaches {LEAST_MEAN} or more on both cuts, and no attack proves more than "
        f"epsilon: {verdict}. {seconds:.0f} s."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
