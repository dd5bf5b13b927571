"""The gas limits that are computed for the calls of rule `evidence` hold: used <= limit <= twice that, which a node charges nothing for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from devchain.chain.blocks import StoredReceipt
from linklearner.chain.contracts import POOL, TOKEN
from linklearner.domain import gas
from linklearner.domain.encodings import INT8, TWO_BITS, Encoding
from linklearner.domain.notation import LL_WEI
from linklearner.domain.rules.evidence.network import IntegerNetwork
from tests.contracts.evidence_chain import BOND, EVIDENCE, NETWORK, EvidenceTask, learnable, shape_of
from tests.contracts.task_chain import TaskChain, address_of

DIGITS = IntegerNetwork((64, 32, 10), (12,) * 4, 4)


@pytest.fixture(scope="module")
def world() -> TaskChain:
    world = TaskChain.deployed(9)
    world.call(0, TOKEN, "transfer", address_of(1), 100_000 * LL_WEI)
    return world


def holds(receipt: StoredReceipt, limit: int, most: float = 2.02) -> None:
    assert receipt.gas_used <= limit <= most * receipt.gas_used, (receipt.gas_used, limit)


def test_committing_to_examples_with_the_first_bond_of_a_pool_and_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = TaskChain.deployed(2)
    call, receipts = fresh.call, list[StoredReceipt]()

    def kept(who: int, to: bytes, name: str, *arguments: Any) -> StoredReceipt:
        receipt = call(who, to, name, *arguments)
        if name == "commitExamples":
            receipts.append(receipt)
        return receipt

    monkeypatch.setattr(fresh, "call", kept)
    deep = IntegerNetwork((784, 30, 20, 20, 10), (12,) * 8, 4)
    for reveal_seconds, network in ((30, NETWORK), (0, NETWORK), (0, deep)):
        shape = shape_of(network, page_length=1024)
        EvidenceTask.begun(
            fresh, stakes=(), network=network, shape=shape, reveal_seconds=reveal_seconds, pot=0, sizes=(1, 1)
        )
    assert len(receipts) == 3
    for receipt in receipts:
        holds(receipt, gas.COMMIT_EXAMPLES)


@pytest.mark.parametrize("encoding", [TWO_BITS, INT8])
@pytest.mark.parametrize(("network", "page_length"), [(NETWORK, 16), (DIGITS, 128), (DIGITS, 1208)])
def test_the_calls_of_a_sealed_round(
    world: TaskChain, network: IntegerNetwork, page_length: int, encoding: Encoding
) -> None:
    sizes = (1, 8, 20, 2)
    task = EvidenceTask.begun(
        world,
        stakes=(100, 200, 300),
        network=network,
        sizes=sizes,
        shape=shape_of(network, page_length=page_length),
        examples=learnable(network, sum(sizes), 5),
        reveal_seconds=30,
        pot=LL_WEI,
    )
    for number in range(3):
        for who in (1, 2, 3):
            steps = np.random.default_rng(10 * number + who).normal(0, 250, network.weight_count)
            holds(task.commit(who, steps, encoding), gas.commit_limit(first=who == 1, new=number == 0))
        world.wait(EVIDENCE.round_seconds)
        for who in (1, 2, 3):
            update, salt = task.sealed[who]
            shape = task.shape
            data = POOL.encode_call(
                "revealUpdate",
                task.task,
                update.digest(shape),
                update.header(shape),
                list(update.groups(shape)),
                salt,
            )
            holds(task.reveal(who), gas.reveal_limit(data, update, shape))
        task.open()
        task.settle()


@pytest.mark.parametrize("updates", [1, 6])
def test_claiming_and_putting_down_a_bond(world: TaskChain, updates: int) -> None:
    task = EvidenceTask.begun(world, stakes=(100,) * updates, terms=replace(EVIDENCE, min_stake=1), pot=LL_WEI)
    for who in range(1, updates + 1):
        task.submit(who, task.work(who))
    world.wait(EVIDENCE.drop_seconds)
    world.drop(8, task.task)
    entries = [
        (event.values["digest"], event.values["contributor"], event.values["weight"], event.values["effective"])
        for _, log, _ in world.logs()
        if (event := POOL.decode_log(log.topics, log.data)) is not None
        and event.name == "UpdateAccepted"
        and event.values["task"] == task.task
    ]
    call = ("claimBond", task.task, 1, entries)
    data = POOL.encode_call(*call)
    for who in range(1, updates + 1):
        holds(world.call(who, POOL, *call), gas.claim_bond_limit(data, updates, new=False), 2.1)
    holds(world.call(2, POOL, "putBond", task.task, BOND), gas.PUT_BOND)
