"""The rounds of one simulated task: contributors train, quantise and send; the rule's own code judges, merges, remembers and pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.encodings import INT8, Encoding
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rules.evidence.credit import (
    HORIZON,
    Account,
    credit_share,
    credits_of,
    fair_credit,
    gain_share,
)
from linklearner.domain.rules.evidence.memory import Memory, Residual, Revealed
from linklearner.domain.rules.evidence.verdicts import Examples, judge, steps_of
from linklearner.domain.shape import MAX_NORM_BOUND, Shape
from services.trainer.simulation.lab.attacks import Attack, Scene
from services.trainer.simulation.lab.learning import Recipe, log_shares, reference, trained
from services.trainer.simulation.lab.tasks import EXPONENT, LabTask, spread, task_named

CONTRIBUTORS = 10
ROUNDS = 20
STAKE = 100
SHARED = 10**18
"""What each round shares, wei."""
FULL = 2**15
"""Of `novel` and `fair`: two nats, the most that a round can credit, so that nothing but the rule itself bounds pay."""
REFERENCES = 2
WAYS = ("gain", "novel", "novel-at-close", "fair")


@dataclass(frozen=True, slots=True)
class Cell:
    """Where an attack is tried. alpha: Dirichlet concentration over labels, None for an even spread. opened: examples over all rounds."""

    name: str
    task: str
    opened: int
    alpha: float | None


CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell("digits50/iid", "digits", 50, None),
        Cell("digits50/skew", "digits", 50, 0.1),
        Cell("warp100/iid", "warp", 100, None),
        Cell("warp100/skew", "warp", 100, 0.1),
        Cell("modes100/iid", "modes", 100, None),
        Cell("modes100/skew", "modes", 100, 0.1),
    )
}


@dataclass(frozen=True, slots=True, eq=False)
class PlayedRound:
    """What the chain would show of a round. merged: (M,) bool."""

    accounts: tuple[bytes, ...]
    base: NDArray[np.int16]
    after: NDArray[np.int16]
    steps: NDArray[np.int64]
    merged: NDArray[np.bool_]
    gains: NDArray[np.int64]
    residuals: tuple[Residual, ...]
    opened_before: int
    opened: int


@dataclass(frozen=True, eq=False)
class Course:
    """A finished run. bad: (M,) bool, who attacks."""

    task: LabTask
    rounds: tuple[PlayedRound, ...]
    examples: Examples
    bad: NDArray[np.bool_]

    @property
    def weights(self) -> NDArray[np.int16]:
        return self.rounds[-1].after

    def accuracy(self) -> float:
        return accuracy(self.task, self.weights)

    def accepted(self, of: NDArray[np.bool_]) -> float:
        """The part of these contributors' updates that was merged; nan without any."""
        return float(np.mean([one.merged[of] for one in self.rounds])) if of.any() else float("nan")

    def pay(self) -> dict[str, NDArray[np.float64]]:
        """(M,) by each way of paying: what each contributor earned, wei, over all its accounts.

        "novel-at-close" is `novel` if nothing is paid before the task closes: harm in the last rounds then counts against the first ones.
        """
        eligible = STAKE * len(self.bad)
        earned = {way: np.zeros(len(self.bad)) for way in WAYS}
        owner: dict[bytes, int] = {}
        accounts: dict[bytes, Account] = {}
        for number, one in enumerate(self.rounds):
            horizon = self.rounds[min(number + HORIZON, len(self.rounds) - 1)]
            later = self.examples[one.opened_before : horizon.opened]
            merged = [bool(is_merged) for is_merged in one.merged]
            credits = credits_of(self.task.network, one.base, one.after, one.steps, one.residuals, merged, later)
            for index, (account, credit, is_merged) in enumerate(zip(one.accounts, credits, merged, strict=True)):
                gain = gain_share(SHARED, STAKE, eligible, int(one.gains[index]), is_merged)
                standing = accounts.get(account, Account()).credited(credit)
                novel = credit_share(SHARED, STAKE, eligible, standing.payable(FULL), FULL)
                fair = credit_share(SHARED, STAKE, eligible, fair_credit(credit, is_merged, FULL), FULL)
                accounts[account] = standing.after_pay(FULL)
                owner[account] = index
                for way, wei in (("gain", gain), ("novel", novel), ("fair", fair)):
                    earned[way][index] += wei
        for account, standing in accounts.items():
            earned["novel-at-close"][owner[account]] += SHARED * STAKE * standing.due // (eligible * FULL)
        return earned


def accuracy(task: LabTask, weights: NDArray[np.int16]) -> float:
    found = task.network.logits(weights, task.test.inputs).argmax(axis=-1)
    return float((found == task.test.labels).mean())


def _encode(
    delta: NDArray[np.float64], shape: Shape, number: int, encoding: Encoding
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """u as the rule reads it, and what quantising left out, both in steps."""
    kept = quantise_delta(delta / 2**EXPONENT, shape, task=1, base_version=number + 1, encoding=encoding)
    return steps_of(kept.update, shape), kept.residual * 2**EXPONENT


def play(
    cell: Cell,
    seed: int,
    attack: Attack | None = None,
    share: float = 0.4,
    encoding: Encoding = INT8,
    contributors: int = CONTRIBUTORS,
    rounds: int = ROUNDS,
    progress: Callable[[PlayedRound], None] = lambda played: None,
) -> Course:
    """One run; the same arguments give the same course on the same machine."""
    task = task_named(cell.task)
    generator = np.random.default_rng([seed, 14])
    shards = spread(task, contributors, cell.alpha, seed)
    bad = np.zeros(contributors, dtype=bool)
    if attack is not None:
        bad[generator.permutation(contributors)[: round(share * contributors)]] = True
    attackers = np.flatnonzero(bad)
    last = task.label_count - 1
    own = [
        Examples(shard.inputs, last - shard.labels) if attack and attack.mislabels and bad[index] else shard
        for index, shard in enumerate(shards.shards)
    ]
    examples = shards.pool[: cell.opened]
    cuts = np.rint(np.arange(rounds + 1) * cell.opened / rounds).astype(int)
    adjustment, recipe = log_shares(task, own), Recipe(task.local_steps)
    weights = task.initial()
    bound = 1.5 * float(np.linalg.norm(reference(task, weights, examples[: cuts[1]], generator, 30)))
    shape = task.shape(min(int(bound * 256), MAX_NORM_BOUND))
    carried = np.zeros((contributors, weights.size))
    records: dict[bytes, int] = {}
    gained = np.zeros(contributors)
    memory, sent = Memory(), np.zeros((len(attackers), weights.size))
    played: list[PlayedRound] = []
    for number in range(rounds):
        before, opened = int(cuts[number]), int(cuts[number + 1])
        deltas = trained(task, weights, own, recipe, generator, adjustment)
        usual = float(np.median(np.linalg.norm(deltas, axis=1)))
        steps = np.zeros((contributors, weights.size), dtype=np.int64)
        if attack is not None:
            honest_gains = np.where(bad, -1, gained + 1e-9 * generator.random(contributors))
            scene = Scene(
                task=task,
                round=number,
                rounds=rounds,
                weights=weights,
                opened=examples[:before],
                shards=tuple(shards.shards[index] for index in attackers),
                trained=deltas[attackers],
                usual_length=usual,
                revealed=[one.steps for one in played],
                honest=np.flatnonzero(~bad),
                best=int(honest_gains.argmax()),
                merges=[one.after.astype(np.int64) - one.base for one in played],
                sent=sent,
                generator=generator,
            )
            sent = attack.craft(scene)
            for row, index in zip(sent, attackers, strict=True):
                steps[index] = np.rint(row) if attack.exact and number else _encode(row, shape, number, encoding)[0]
        for index in np.flatnonzero(~bad):
            steps[index], carried[index] = _encode(deltas[index] + carried[index], shape, number, encoding)
        accounts = tuple(
            bytes([index, number + 1 if attack and attack.renews and bad[index] else 0] * 10)
            for index in range(contributors)
        )
        found = judge(
            task.network,
            weights,
            steps,
            [records.get(account, 0) for account in accounts],
            [STAKE] * contributors,
            STAKE * contributors,
            examples[:opened],
            opened - before,
        )
        for account, verdict in zip(accounts, found.verdicts, strict=True):
            records[account] = verdict.record
        gains = np.array([verdict.gain for verdict in found.verdicts])
        gained += np.maximum(gains, 0)
        references = steps[:0]
        if before >= 4:
            public = [reference(task, weights, examples[:before], generator) for _ in range(REFERENCES)]
            references = np.stack([_encode(one, shape, number, INT8)[0] for one in public])
        residuals = memory.take(Revealed(accounts, steps, weights, found.weights, references))
        merged = np.array([verdict.merged for verdict in found.verdicts])
        one = PlayedRound(accounts, weights, found.weights, steps, merged, gains, residuals, before, opened)
        progress(one)
        played.append(one)
        weights = found.weights
    return Course(task, tuple(played), examples, bad)
