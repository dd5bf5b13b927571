"""The examples by which a task of rule `evidence` is judged: `python -m services.trainer.examples PLAN --from SOURCE`.

`linklearner task create --rule evidence` and `task examples` run it. They are taken from the part of the source that every trainer holds
out (`services.trainer.data.hold_out`), so that nobody who uses the same data trains on them; rows that occur among the others, too, and
rows that occur twice, are left out. Written are the examples, a file of mode 0600 beside the plan whose name says their root (whoever has
it can train on what judges him), and then PLAN with the rule and that name in it.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.capacity import most_judged
from linklearner.domain.errors import InvalidConfig, InvalidInput, LinkLearnerError
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.plan import PLAN_BYTES, TaskPlan
from linklearner.domain.rounds import RULE_EVIDENCE
from linklearner.domain.rules.evidence.batches import encode_batch
from linklearner.domain.rules.evidence.perceptron import Perceptron, input_exponent, quantised
from linklearner.domain.rules.evidence.rule import EVIDENCE
from linklearner.domain.rules.evidence.sets import ExampleBatches
from linklearner.domain.rules.evidence.verdicts import Examples
from linklearner.domain.terms import check_examples
from linklearner.plan_file import EXAMPLES, read_plan
from linklearner.storage import write_atomically
from services.trainer.data import Samples, Shard, load
from services.trainer.recipe import Recipe

ROUNDS: Final = 20
A_ROUND: Final = 4.0
CONTROL_STEPS: Final = 300


@dataclass(frozen=True, slots=True)
class Made:
    """rows: of the held-out samples, in the order in which they will be opened. control: the share of the other held-out samples that a
    model trained on these alone gets right; None where there are no others. left_out: held-out rows that are no good as examples."""

    examples: ExampleBatches
    counts: tuple[int, ...]
    control: float | None
    control_count: int
    left_out: int
    rows: NDArray[np.int64]


def make(
    plan: TaskPlan,
    learn: Samples,
    held_out: Samples,
    *,
    rounds: int,
    size: int,
    generator: np.random.Generator,
    control: bool = True,
) -> Made:
    """`size` examples for `rounds` rounds. control: whether to train on them alone.

    Raises InvalidModel, InvalidInput with what to change.
    """
    perceptron = Perceptron.of(plan.model)
    if not 1 <= rounds <= size:
        raise InvalidInput(f"each round opens an example or more: {size} do not do for {rounds} rounds")
    ((_, measured),) = held_out.inputs_of(plan.model).items()
    ((_, others),) = learn.inputs_of(plan.model).items()
    scaled, labels = perceptron.scaled(measured), held_out.targets_of(plan.model).astype(np.int64)
    usable = _usable(scaled, perceptron.scaled(others))
    if len(usable) < size:
        raise InvalidInput(
            f"{size} examples are wanted, and the source holds out {len(usable)} that nobody trains on: take fewer (--rounds, --a-round), "
            "or a source with more samples",
            reason="TooFewSamples",
        )
    rows = usable[chosen(labels[usable], size, generator)]
    exponent = input_exponent(scaled[usable])
    whole = Examples(quantised(scaled[rows], exponent), labels[rows])
    cuts = np.round(np.linspace(0, size, rounds + 1)).astype(int)
    batches = tuple(encode_batch(whole[a:b]) for a, b in pairwise(cuts))
    examples = ExampleBatches(exponent, whole.inputs.shape[1], batches)
    rest = np.setdiff1d(np.arange(len(held_out)), rows)
    counts = np.bincount(labels[rows], minlength=len(plan.model.labels))
    reached = _control(plan, held_out[rows], held_out[rest]) if control and len(rest) else None
    return Made(examples, tuple(counts.tolist()), reached, len(rest), len(held_out) - len(usable), rows)


def chosen(labels: NDArray[np.integer], size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """(size,) rows: of each label its share, to within one, and in an order in which the labels come evenly, so that any few examples
    that follow each other are as mixed as they can be."""
    count = len(labels)
    quotas, rows = {}, {}
    for label in np.unique(labels):
        rows[label] = generator.permutation(np.flatnonzero(labels == label))
        quotas[label] = size * len(rows[label]) / count
    taken = {label: int(quota) for label, quota in quotas.items()}
    most = sorted(quotas, key=lambda label: (taken[label] - quotas[label], generator.random()))
    for label in most[: size - sum(taken.values())]:
        taken[label] += 1
    places = [
        ((place + generator.random()) / taken[label], row)
        for label in rows
        for place, row in enumerate(rows[label][: taken[label]])
    ]
    return np.array([row for _, row in sorted(places)], dtype=np.int64)


def _usable(scaled: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows that occur nowhere else: neither among what is trained on, nor twice."""
    known = {row.tobytes() for row in others}
    found = []
    for index, row in enumerate(scaled):
        key = row.tobytes()
        if key not in known:
            known.add(key)
            found.append(index)
    return np.array(found, dtype=np.int64)


def _control(plan: TaskPlan, examples: Samples, rest: Samples) -> float:
    """What training on the examples alone reaches on samples that it has not seen: an adversary who has the file starts from here."""
    from services.trainer import training

    base = dequantise_weights(plan.first_weights(), plan.shape)
    recipe = Recipe(step_count=CONTROL_STEPS).advised(plan.model.advice, keep={"steps"})
    delta = training.train(plan.model, base, examples, recipe, (0,), lambda step, loss: None)
    return training.evaluate(plan.model, (base + delta).astype(np.float32), rest).value


def written(path: Path, made: Made, max_updates: int | None) -> Path:
    """The examples beside the plan, then the plan that names them. max_updates: None leaves the plan's own."""
    examples = path.with_name(f"{path.stem}-{made.examples.root.hex()[:8]}{EXAMPLES}")
    write_atomically(examples, made.examples.encode())  # of mode 0600
    settings: dict[str, Any] = json.loads(path.read_bytes())
    terms = settings.get("terms", {}) | {"rule": EVIDENCE.name}
    if max_updates is not None:
        terms["max_updates"] = max_updates
    settings |= {"examples": examples.name, "terms": terms}
    write_atomically(path, (json.dumps(settings, indent=1, ensure_ascii=False) + "\n").encode())
    return examples


def fitting(plan: TaskPlan, examples: ExampleBatches) -> int | None:
    """The most updates a round that a block can judge by so many examples, where the plan has more; None where it fits. Raises
    InvalidInput, with the figures, where that is not even two."""
    judged = replace(plan.terms, rule=RULE_EVIDENCE)
    most = most_judged(plan.shape, examples.count)
    if plan.shape.group_count == 1 and 2 <= most < judged.max_updates:
        judged = replace(judged, max_updates=most)
    check_examples(judged, plan.shape, examples)
    return judged.max_updates if judged.max_updates != plan.terms.max_updates else None


def _read(path: Path) -> TaskPlan:
    """A plan that has no examples yet, or others."""
    try:
        settings = json.loads(path.read_bytes()[: PLAN_BYTES + 1])
        without = {name: value for name, value in settings.items() if name != "examples"}
        without["terms"] = {name: value for name, value in settings.get("terms", {}).items() if name != "rule"}
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidConfig(f"cannot read {path}: {error}") from None
    return read_plan(path, json.dumps(without))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="services.trainer.examples", description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--from", dest="source", required=True, help="a data source (docs/data.md)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--a-round", type=float, default=A_ROUND)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args(arguments)
    try:
        plan = _read(options.plan)
        size = round(options.rounds * options.a_round)
        seed = secrets.randbits(128) if options.seed is None else options.seed
        learn, held_out = load(options.source, Shard())
        made = make(plan, learn, held_out, rounds=options.rounds, size=size, generator=np.random.default_rng(seed))
        fewer = fitting(plan, made.examples)
        file = written(options.plan, made, fewer)
    except LinkLearnerError as error:
        print(json.dumps({"error": error.message, "reason": error.reason}))
        return 1
    except OSError as error:
        print(
            json.dumps({"error": f"cannot write beside {options.plan}: {error.strerror or error}", "reason": "OSError"})
        )
        return 1
    print(
        json.dumps(
            {
                "file": file.name,
                "examples": made.examples.count,
                "rounds": len(made.examples.batches),
                "root": made.examples.root.hex(),
                "input_exponent": made.examples.input_exponent,
                "labels": dict(zip(plan.model.labels, made.counts, strict=True)),
                "control": made.control,
                "control_count": made.control_count,
                "left_out": made.left_out,
                "max_updates": plan.terms.max_updates if fewer is None else fewer,
                "fewer": fewer is not None,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
