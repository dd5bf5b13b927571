"""Gas of an update by rule `evidence`, sealed and not, beside rule `mean`: the digits task's 2,410 weights in two bits, five a round,
accounts that have had a round. `python -m bench.gas.evidence`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.table import Table

from linklearner.domain.notation import LL_WEI
from linklearner.domain.rules.evidence.network import IntegerNetwork
from tests.contracts.evidence_chain import EvidenceTask, learnable, shape_of
from tests.contracts.task_chain import TERMS, TaskChain

UPDATES, ROUNDS = 5, 3
DIGITS = IntegerNetwork((64, 32, 10), (12,) * 4, 4)
BATCHES = (8, 8, 8)
"""Examples opened round by round."""
REVEAL_SECONDS = 30
SEALING_LIMIT = 55_000
"""What sealing may add to an update."""


@dataclass(frozen=True)
class Cost:
    """Gas of an update: what its sender pays before settlement, and its share of that."""

    sent: float
    settled: float

    @property
    def total(self) -> float:
        return self.sent + self.settled


def main() -> int:
    world = TaskChain.deployed(UPDATES + 3)
    costs = {"mean": mean(world), "evidence": evidence(world, 0), "evidence, sealed": evidence(world, REVEAL_SECONDS)}
    console = Console(width=110)
    table = Table(
        title=f"An update of {DIGITS.weight_count:,} weights, two bits, {UPDATES} a round, round {ROUNDS} (gas)",
        title_justify="left",
    )
    for heading in ("rule", "sent", "share of settlement", "together", "to mean"):
        table.add_column(heading, justify="right")
    for name, cost in costs.items():
        figures = (f"{one:,.0f}" for one in (cost.sent, cost.settled, cost.total))
        table.add_row(name, *figures, f"{cost.total / costs['mean'].total:.2f}")
    console.print(table)
    sealing = costs["evidence, sealed"].total - costs["evidence"].total
    console.print(f"Sealing adds {sealing:,.0f} gas an update; at most {SEALING_LIMIT:,}.")
    return int(sealing > SEALING_LIMIT)


def mean(world: TaskChain) -> Cost:
    shape = shape_of(DIGITS, page_length=1208)
    task = world.open_task(1, shape, TERMS, stakes=[100] * UPDATES, pot=1000 * LL_WEI)
    sent = settled = 0
    for number in range(ROUNDS):
        sent = sum(
            world.submit(who, world.update(task, shape, 10 * number + who), shape).gas_used
            for who in range(1, UPDATES + 1)
        )
        world.wait(TERMS.round_seconds)
        settled = sum(receipt.gas_used for receipt in world.settle(1, task, shape))
    return Cost(sent / UPDATES, settled / UPDATES)


def evidence(world: TaskChain, reveal_seconds: int) -> Cost:
    task = EvidenceTask.begun(
        world,
        [100] * UPDATES,
        terms=replace(TERMS, rule=2, max_updates=8),
        network=DIGITS,
        sizes=(*BATCHES, 8),
        pot=1000 * LL_WEI,
        shape=shape_of(DIGITS, page_length=1208),
        examples=learnable(DIGITS, sum(BATCHES) + 8, 5),
        reveal_seconds=reveal_seconds,
    )
    sent = settled = 0
    for number in range(ROUNDS):
        sent = 0
        for who in range(1, UPDATES + 1):
            steps = np.random.default_rng(10 * number + who).normal(0, 250, DIGITS.weight_count)
            sent += (task.commit if reveal_seconds else task.submit)(who, steps).gas_used
        world.wait(TERMS.round_seconds)
        if reveal_seconds:
            sent += sum(task.reveal(who).gas_used for who in range(1, UPDATES + 1))
        task.open()
        settled = task.settle(1).gas_used
    return Cost(sent / UPDATES, settled / UPDATES)


if __name__ == "__main__":
    sys.exit(main())
