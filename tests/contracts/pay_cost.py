"""What it costs to pay rounds by `novel`: gas an update, 2,410 weights in two bits, ten updates a round, on an in-process devchain.

    python -m tests.contracts.pay_cost [--examples N] [--batches 1 2 4 8] [--large]

--examples: in each batch. --batches: how many rounds a call pays, with eight in the memory. --large: settles ten updates of 25,450 weights
instead and says how long the devchain takes for it, seconds of processor time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from linklearner.chain import contracts
from linklearner.domain.encodings import TWO_BITS
from linklearner.domain.rules.evidence.ledger import PayKind
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.shape import Shape, Tensor
from tests.contracts.evidence_chain import EVIDENCE, EvidenceTask
from tests.contracts.task_chain import Reverted, TaskChain

PEOPLE = 10
MEMORY = 8


def begun(widths: tuple[int, ...], sizes: Sequence[int], pay: PayKind) -> EvidenceTask:
    network = IntegerNetwork(widths, (12,) * (2 * len(widths) - 2), 4)
    tensors = tuple(Tensor(n, 12) for n in network.tensor_lengths)
    return EvidenceTask.begun(
        TaskChain.deployed(PEOPLE + 2),
        stakes=(100,) * PEOPLE,
        terms=replace(EVIDENCE, max_updates=PEOPLE),
        network=network,
        sizes=sizes,
        shape=Shape(tensors, 4096, 2**12, 2**24),
        pay=pay,
    )


def play(task: EvidenceTask, generator: np.random.Generator) -> float:
    """A round; the seconds that its settlement took."""
    common = generator.normal(0, 300, task.network.weight_count)
    for who in range(1, PEOPLE + 1):
        task.submit(who, common + generator.normal(0, 300, common.size), TWO_BITS)
    task.close()
    task.open()
    data = task.world.settlement(task.task, task.shape, 0)
    began = time.process_time()
    receipt = task.world.send(2, task.world.pool, data)
    seconds = time.process_time() - began
    task.sent = []
    task.world.sent[task.task] = []
    print(f"settled for {receipt.gas_used / PEOPLE:,.0f} gas an update", flush=True)
    task.weights = task.world.weights(task.task, task.shape)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    generator = np.random.default_rng(1)
    if options.large:
        task = begun((784, 32, 10), (15,), PayKind.GAIN)
        print(
            f"ten updates of {task.network.weight_count} weights, 15 examples: {play(task, generator):.2f} s to settle"
        )
        return
    settled = MEMORY + sum(options.batches)
    task = begun((64, 32, 10), (options.examples,) * settled, PayKind.NOVEL)
    for _ in range(settled):
        play(task, generator)
    world = task.world
    replay = world.replay()
    fed = 1
    for count in (*([1] * MEMORY), *options.batches):
        for event in world.history(fed):
            replay.feed(event)
        fed = world.chain.head.number + 1
        status = replay.tasks[task.task]
        ledger = status.pay_ledger
        assert ledger is not None
        versions = range(ledger.first_version, ledger.next_version + count)
        rounds = [status.handed_in[version] for version in versions]
        base = ledger.base_of(versions.start).astype("<i2").tobytes()
        data = contracts.pay(task.task, ledger.next_version, base, rounds)
        examples = min(11, settled - ledger.next_version + 1) * options.examples
        try:
            gas = world.send(PEOPLE + 1, world.pool, data).gas_used
        except Reverted as error:
            print(f"{count} rounds: {error}")
            break
        print(
            f"{count} rounds with {len(versions) - count} in the memory, {len(data):,} bytes of calldata, {examples} examples later: "
            f"{gas:,} gas, {gas / count / PEOPLE:,.0f} an update",
            flush=True,
        )


if __name__ == "__main__":
    main()
