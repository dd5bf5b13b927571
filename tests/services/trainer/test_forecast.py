"""What a trainer says of an update before it sends it: the rule's own figures, by samples of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from linklearner.domain.encodings import INT8
from linklearner.domain.plan import TaskPlan
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rounds import RULE_EVIDENCE
from linklearner.domain.rules.evidence.batches import BatchTree, decode_batch
from linklearner.domain.rules.evidence.perceptron import Perceptron, quantised
from linklearner.domain.rules.evidence.verdicts import GAIN_BITS, Examples, judge, steps_of
from linklearner.domain.tasks import OpenedBatch, StakeStatus, Task
from linklearner.domain.update import Update
from linklearner.testing.gateway import FakeGateway, sets, terms_for, weights_of
from linklearner.v1 import chain_gateway_pb2 as pb
from services.trainer import contributor, examples, training
from services.trainer.data import Samples, Shard, load
from services.trainer.forecast import forecast
from services.trainer.obstacles import obstacle
from services.trainer.recipe import Recipe
from tests.services.trainer.conftest import Connect, connect, train

__all__ = ["connect"]


def evidence_chain() -> FakeGateway:
    fake = FakeGateway(accounts=1, terms=replace(terms_for(1), rule=RULE_EVIDENCE))
    fake.auto_settle = False
    learn, held_out = load("digits", Shard())
    plan = TaskPlan.from_json("{}")
    made = examples.make(
        plan, learn, held_out, rounds=10, size=40, generator=np.random.default_rng(2), control=False
    ).examples
    fake.first.commit(made.batches, made.input_exponent)
    fake.publish(weights_of(1))
    return fake


@pytest.fixture
def chain() -> FakeGateway:
    return evidence_chain()


@pytest.fixture
async def gateway(chain: FakeGateway) -> AsyncIterator[str]:
    async with chain.served() as address:
        yield address


def told(chain: FakeGateway, opened: int = 1) -> tuple[Task, list[OpenedBatch]]:
    """The task and what it has opened after so many batches."""
    course, batches = chain.first.course, chain.first.batches
    assert course is not None
    tree = BatchTree(batches)
    task = chain.first.described()
    assert task.examples is not None
    shown = sum(len(batch) for batch in batches[:opened]) // 130
    task = replace(task, examples=replace(task.examples, opened_batches=opened, opened_examples=shown))
    return task, [OpenedBatch(n, n + 1, batches[n], tree.proof(n)) for n in range(opened)]


def update_of(task: Task, weights: NDArray[np.int16], sign: float) -> Update:
    learn, _ = load("digits", Shard(0, 5))
    base = (weights / 2**12).astype(np.float32)
    delta = training.train(task.spec, base, learn, Recipe(step_count=40), (1,), lambda step, loss: None)
    return quantise_delta(sign * delta, task.shape, 1, 1, INT8).update


def test_work_is_expected_to_be_merged_and_harm_and_nothing_are_not(chain: FakeGateway) -> None:
    task, opened = told(chain)
    weights = weights_of(1)
    _, held_out = load("digits", Shard())
    found = {}
    for sign in (1.0, -1.0):
        generator = np.random.default_rng(0)
        update = update_of(task, weights, sign)
        found[sign] = forecast(task, weights, update, 0, opened, held_out, generator)
    assert found[1.0].chance > 0.9 and found[1.0].gain > 0 and found[-1.0].chance < 0.1 and found[-1.0].gain < 0
    assert (found[1.0].examples, found[1.0].samples) == (4, len(held_out))
    assert "% of cases" in found[1.0].text() and "better on 4 examples" in found[1.0].text()
    nothing = quantise_delta(np.zeros(2410), task.shape, 1, 1, INT8).update
    generator = np.random.default_rng(0)
    assert forecast(task, weights, nothing, 2**15, opened, held_out, generator).chance == 0


@pytest.mark.parametrize("record", [-(2**15), 0, 2**16])
def test_the_figures_are_those_of_the_rule(chain: FakeGateway, record: int) -> None:
    """With one held-out sample every draw is the same, and can be judged by the rule itself."""
    task, opened = told(chain, 3)
    weights = weights_of(1)
    _, held_out = load("digits", Shard())
    for row in (0, 5, 17):
        one = held_out[np.array([row])]
        update = update_of(task, weights, 1.0)
        found = forecast(task, weights, update, record, opened, one, np.random.default_rng(0))
        ((_, inputs),) = one.inputs_of(task.spec).items()
        own = Examples(quantised(Perceptron.of(task.spec).scaled(inputs), 4), one.y.astype(np.int64))
        fresh = Examples(np.repeat(own.inputs, found.examples, axis=0), np.repeat(own.labels, found.examples))
        shown = decode_batch(opened[0].examples, task.network)
        for batch in opened[1:]:
            shown = shown.joined(decode_batch(batch.examples, task.network))
        steps = steps_of(update, task.shape)[None]
        ruled = judge(task.network, weights, steps, [record], [1], 1, shown.joined(fresh), len(fresh)).verdicts[0]
        would_merge = ruled.outcome.name in ("MERGED", "GUARDED")
        assert (found.chance, found.gain) == (float(would_merge), ruled.gain / 2**GAIN_BITS)


async def test_a_trainer_tells_its_chance_before_anything_is_sent(chain: FakeGateway, connect: Connect) -> None:
    async with connect() as stub:
        events = await train(stub, "one")
        kinds = [event.WhichOneof("event") for event in events]
        assert kinds == ["pulled", *["progress"] * 10, "forecast", "quantised", "submitted"]
        said = events[-3].forecast
        assert 0 <= said.chance <= 1 and (said.record_q16, said.example_count) == (0, 4)


async def test_a_chance_that_cannot_be_said_keeps_nobody_from_contributing(
    chain: FakeGateway, connect: Connect
) -> None:
    chain.first.open_examples()
    chain.rounds[-1].examples = None  # of a round that was dropped
    chain.first.rounds[-1].dropped = True
    chain.first._next_round()
    chain.rounds[0].examples = None
    chain.lies["GetEarnings"] = sets(record__record_q16=2**30)
    async with connect() as stub:
        events = await train(stub, "one")
        assert [event.WhichOneof("event") for event in events][-2:] == ["quantised", "submitted"]
        assert not any(event.HasField("forecast") for event in events)


async def test_who_leaves_at_a_small_chance_has_sent_nothing(chain: FakeGateway, connect: Connect) -> None:
    from linklearner.v1 import trainer_pb2 as pb

    async with connect() as stub:
        call = stub.TrainRound(pb.TrainRoundRequest(request_id="leaves"))
        async for event in call:
            if event.WhichOneof("event") == "forecast":
                call.cancel()
                break
        assert chain.submissions == 0
        events = await train(stub, "another")
        assert events[-1].WhichOneof("event") == "submitted" and chain.submissions == 1


def test_a_trainer_waits_while_the_examples_of_a_round_may_be_on_their_way(chain: FakeGateway) -> None:
    stake = StakeStatus(1000, 1000, 0, 0, 0)
    update = update_of(chain.first.described(), weights_of(1), 1.0)
    assert obstacle(chain.first.described(), stake, 0.0, only_paid=False) is None
    chain.first.submit(chain.accounts[0], update.encode(chain.shape))
    task = chain.first.described()
    closes_s = next(due.until_s for due in task.round.due if due.step.name == "ACCEPTED")
    found = obstacle(task, stake, closes_s, only_paid=False)
    assert found is not None and found.reason == "PhaseOver"
    assert obstacle(task, stake, closes_s - 1, only_paid=False) is None
    chain.first.open_examples()
    found = obstacle(chain.first.described(), stake, 0.0, only_paid=False)
    assert found is not None and "examples" in found.detail


def test_samples_that_are_none_give_no_forecast(chain: FakeGateway) -> None:
    task, opened = told(chain)
    _, held_out = load("digits", Shard())
    none: Samples = held_out[np.array([], dtype=np.int64)]
    with pytest.raises(Exception, match="no samples are held out"):
        forecast(task, weights_of(1), update_of(task, weights_of(1), 1.0), 0, opened, none, np.random.default_rng(0))


@pytest.mark.parametrize("lie", [0, 7])
async def test_a_verdict_that_the_rule_does_not_give_is_noticed(
    chain: FakeGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch, lie: int
) -> None:
    said: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(contributor.log, "error", lambda event, **facts: said.append((event, facts)))
    monkeypatch.setattr(contributor.log, "info", lambda event, **facts: said.append((event, facts)))

    def lying(answer: pb.GetRoundResponse) -> pb.GetRoundResponse:
        for one in answer.contributions:
            one.verdict.gain_q16 += lie
        return answer

    async with connect() as stub:
        await train(stub, "one")
        chain.first.open_examples()
        chain.settle()
        chain.lies["GetRound"] = lying
        await train(stub, "two")
    told = dict(said)
    assert "examples opened afterwards" in str(told["update_judged"]["verdict"])
    assert ("verdict_differs" in told) == bool(lie)
