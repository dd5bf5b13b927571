"""Gas of an update by rule `evidence`, sealed and not, beside rule `mean`: 2,410 weights in two bits, five a round, accounts that have had
a round before. `python -m bench.gas.evidence`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np
from eth_hash.auto import keccak
from rich.console import Console
from rich.table import Table

from bench.pool import CREATOR, POOL, TERMS, PoolChain, account, address_of, terms_tuple
from bench.pool_rounds import some_update
from linklearner.domain.digest import weight_bytes
from linklearner.domain.notation import LL_WEI
from linklearner.domain.rounds import RULE_EVIDENCE, commitment, running_seed
from linklearner.domain.rules.evidence.batches import BatchTree, encode_batch
from linklearner.domain.rules.evidence.course import least_bond
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import Examples
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update

UPDATES, ROUNDS, EXAMPLES = 5, 3, 8
"""A round, in all, and opened each round."""
NETWORK = IntegerNetwork((64, 32, 10), (12,) * 4, 4)
SHAPE = Shape(
    tuple(Tensor(n, q) for n, q in zip(NETWORK.tensor_lengths, NETWORK.exponents, strict=True)), 1208, 2**12, 2**24
)
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
    world = PoolChain.deployed(UPDATES + CREATOR)
    costs = {"mean": last_round(world), "evidence": last_round(world, 0)}
    costs["evidence, sealed"] = last_round(world, REVEAL_SECONDS)
    console = Console(width=110)
    table = Table(
        title=f"An update of {SHAPE.weight_count:,} weights, two bits, {UPDATES} a round, round {ROUNDS} (gas)",
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


def last_round(world: PoolChain, reveal_seconds: int | None = None) -> Cost:
    """Of the task's last round. reveal_seconds: None: by rule `mean`; 0: not sealed."""
    generator = np.random.default_rng(7)
    weights = generator.normal(0, 1500, SHAPE.weight_count).astype(np.int16)
    batches = [
        encode_batch(Examples(generator.integers(0, 17, (EXAMPLES, 64), np.int16), generator.integers(0, 10, EXAMPLES)))
        for _ in range(ROUNDS + 1)
    ]
    tree = BatchTree(batches)
    task = opened(world, weights, tree, len(batches), reveal_seconds)
    cost = Cost(0, 0)
    for number in range(1, ROUNDS + 1):
        version = world.status(task)["version"]
        updates = {who: some_update(SHAPE, task, version, 10 * number + who) for who in range(1, UPDATES + 1)}
        sent = sum(first_step(world, task, number, who, update, reveal_seconds) for who, update in updates.items())
        world.wait(TERMS.round_seconds)
        if reveal_seconds:
            sent += sum(
                world.send(account(who), world.pool, revealing(who, one)).gas_used for who, one in updates.items()
            )
        if reveal_seconds is not None:
            proof = list(tree.proof(number - 1))
            world.transact(account(CREATOR), "openExamples", task, number, batches[number - 1], proof)
        known = {update.digest(SHAPE): update for update in updates.values()}
        settled = world.transact(account(1), "settle", task, number, 0, world.settlements(task, 0, SHAPE, known))
        cost = Cost(sent / UPDATES, settled.gas_used / UPDATES)
    return cost


def opened(world: PoolChain, weights: np.ndarray, tree: BatchTree, batches: int, reveal_seconds: int | None) -> int:
    stakes = [1000] * UPDATES
    if reveal_seconds is None:
        return world.open_task(SHAPE, weights, stakes, TERMS)
    task, terms = world.number("nextTask"), replace(TERMS, rule=RULE_EVIDENCE, max_updates=8)
    creator, bond = account(CREATOR), least_bond(terms)
    world.transact(creator, "openTask", task, SHAPE.encode(), "{}", terms_tuple(terms))
    commitment = (tree.root, batches, batches * EXAMPLES, NETWORK.input_exponent, reveal_seconds, bond)
    world.transact(creator, "commitExamples", task, *commitment)
    for who, units in enumerate(stakes, 1):
        world.transact_vault(account(who), "lock", task, units)
    world.transact(account(0), "fund", task, 1000 * LL_WEI)
    world.transact(creator, "loadPages", task, 0, weight_bytes(weights))
    return task


def salt_of(who: int) -> bytes:
    return bytes(keccak(b"salt %d" % who))


def first_step(world: PoolChain, task: int, number: int, who: int, update: Update, reveal_seconds: int | None) -> int:
    """Gas of submitting or committing."""
    if not reveal_seconds:
        return world.submit(who, update, SHAPE).gas_used
    seed = running_seed(world.chain.config.chain_id, world.pool, task, number)
    sealed = commitment(seed, address_of(account(who)), update.digest(SHAPE), salt_of(who))
    return world.transact(account(who), "commitUpdate", task, number, sealed).gas_used


def revealing(who: int, update: Update) -> bytes:
    """Calldata."""
    groups = list(update.groups(SHAPE))
    return POOL.encode_call(
        "revealUpdate", update.task, update.digest(SHAPE), update.header(SHAPE), groups, salt_of(who)
    )


if __name__ == "__main__":
    sys.exit(main())
