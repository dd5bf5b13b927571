"""What `verify` and `report` say of a task by rule `evidence`; and gas of its transactions is computed high enough, and not too high."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from devchain.rpc.methods import Methods
from linklearner.chain import contracts
from linklearner.chain.contracts import POOL
from linklearner.chain.endpoints import Reply
from linklearner.chain.history import History
from linklearner.domain import gas
from linklearner.domain.encodings import INT8, TWO_BITS, Encoding
from linklearner.domain.notation import address_text
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.sets import ExampleBatches
from linklearner.domain.rules.evidence.verdicts import record_text
from linklearner.output import Format
from linklearner.report.collect import facts_of
from linklearner.report.of_task import task_page
from linklearner.verification import HistoryOf, verified
from tests.contracts.evidence_chain import BOND, EVIDENCE, NETWORK, EvidenceTask, shape_of
from tests.contracts.task_chain import TaskChain, address_of
from tests.contracts.test_evidence_rounds import lived

MOST = 2.0
"""A node charges half the limit at least, so what stays below twice the use costs nothing."""


@pytest.fixture(scope="module")
def world() -> Iterator[TaskChain]:
    world = lived()
    yield world
    world.chain.close()


@pytest.fixture
def what(world: TaskChain, monkeypatch: pytest.MonkeyPatch) -> HistoryOf:
    methods = Methods(world.chain, accounts=(), instant=True)

    async def post(self: History, url: str, body: bytes, seconds: float) -> Reply:
        asked = json.loads(body)
        answers = [
            {"jsonrpc": "2.0", "id": one["id"], "result": methods(one["method"], one["params"])}
            for one in (asked if isinstance(asked, list) else [asked])
        ]
        return Reply(200, json.dumps(answers if isinstance(asked, list) else answers[0]).encode(), "")

    monkeypatch.setattr(History, "_post", post)
    return HistoryOf(rpc_url="http://127.0.0.1:1", pool=world.pool, from_block=0, task=1)


async def test_verify_says_how_many_verdicts_it_computed_and_the_records(world: TaskChain, what: HistoryOf) -> None:
    found = await verified(what, Format.JSON)
    assert (found["verdicts"], found["batches_of_examples"], found["equal"]) == (7, 4, True)
    assert 0 < found["merged"] < 7
    records = {address_text(address_of(who)): world.number(POOL, "recordOf", 1, address_of(who)) for who in (1, 2, 3)}
    assert found["records"] == {account: record_text(record) for account, record in records.items()}
    assert "verdicts" not in await verified(replace(what, task=2), Format.JSON)


async def test_the_report_tells_each_verdict_with_its_reason_record_and_pay(world: TaskChain, what: HistoryOf) -> None:
    facts = await facts_of(what, lambda *_: None)
    assert not facts.divergence and len(facts.verdicts) == 7
    assert [one.examples for one in facts.verdicts] == [3, 3, 3, 2, 2, 2, 1]  # of the rounds that were settled
    by_account = {one.account: one for one in facts.contributors}
    for who in (1, 2, 3):
        one = by_account[address_of(who)]
        assert one.record == world.number(POOL, "recordOf", 1, address_of(who))
        assert one.earned == sum(verdict.paid for verdict in facts.verdicts if verdict.account == one.account)
    page = task_page(facts, ["…"])
    assert "Verdicts" in page and "examples opened afterwards; the account" in page and "not merged" in page
    other = await facts_of(replace(what, task=2), lambda *_: None)
    assert other.verdicts == [] and "Verdicts" not in task_page(other, ["…"])


@pytest.mark.parametrize(
    ("widths", "updates", "sizes", "page", "encoding"),
    [
        ((5, 6, 3), 3, (3, 2), 16, INT8),
        ((64, 32, 10), 5, (4, 6), 1208, TWO_BITS),
        ((64, 32, 10), 1, (4, 5), 256, INT8),
        ((64, 16, 8, 10), 4, (20,), 512, INT8),
        ((100, 60, 20), 3, (10,), 2048, TWO_BITS),
    ],
)
def test_the_computed_limits_hold(
    widths: tuple[int, ...], updates: int, sizes: tuple[int, ...], page: int, encoding: Encoding
) -> None:
    world = TaskChain.deployed(9)
    network = IntegerNetwork(widths, (12,) * (2 * (len(widths) - 1)), NETWORK.input_exponent)
    shape = shape_of(network, page_length=page)
    task = EvidenceTask.begun(
        world, stakes=[100] * updates, terms=replace(EVIDENCE, max_updates=8), network=network, sizes=sizes, shape=shape
    )
    assert len(contracts.commit_examples(1, ExampleBatches(4, widths[0], tuple(task.batches)), 0, BOND)) == 4 + 7 * 32
    for seed in range(len(sizes)):
        base, generator = task.weights.copy(), np.random.default_rng(seed)
        for who in range(1, updates + 1):
            steps = generator.normal(0, 60, network.weight_count)
            task.submit(who, task.work(10 * seed + who) if network.weight_count < 100 else steps, encoding)
        task.close()
        batch = task.batches[task.opened]
        arguments: list[Any] = [task.task, task.number, batch, list(task.tree.proof(task.opened))]
        data = POOL.encode_call("openExamples", *arguments)
        used = task.open().gas_used
        assert used <= gas.open_examples_limit(data, len(batch)) <= MOST * used
        who_paid = [world.number(POOL, "earnedBy", task.task, address_of(who)) for who in range(1, updates + 1)]
        records = [world.number(POOL, "recordOf", task.task, address_of(who)) for who in range(1, updates + 1)]
        expected, data = task.expected(), world.settlement(task.task, shape, 0)
        changed = sorted(set(np.flatnonzero(expected.weights != base) // page))
        limit = gas.judging_limit(
            data, shape, network, updates, sum(sizes[: task.opened]), expected, changed,
            newly_paid=who_paid.count(0) + 1, new_records=records.count(0),
        )  # fmt: skip
        used = task.settle().gas_used
        assert used <= limit <= MOST * used, (used, limit)
        task.weights = expected.weights
        for who, verdict in enumerate(expected.verdicts, 1):
            task.records[address_of(who)] = verdict.record
