"""Rounds by rule `evidence` on the devchain: what the chain does is what Python says, and nothing else can be done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest

from linklearner.chain.contracts import POOL
from linklearner.domain import events as happened
from linklearner.domain.digest import model_digest, weight_bytes
from linklearner.domain.encodings import INT8, TWO_BITS
from linklearner.domain.errors import Divergence, InvalidInput
from linklearner.domain.notation import LL_WEI
from linklearner.domain.pay import round_pay
from linklearner.domain.rounds import Due, Phase, Standing, Step
from linklearner.domain.rules.evidence.batches import BatchTree, decode_batch, encode_batch, is_committed
from linklearner.domain.rules.evidence.credit import gain_share
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.rule import EVIDENCE as EVIDENCE_RULE
from linklearner.domain.rules.evidence.verdicts import Examples, Outcome
from tests.contracts.evidence_chain import EVIDENCE, NETWORK, EvidenceTask, learnable, shape_of
from tests.contracts.task_chain import TERMS, Reverted, TaskChain, address_of, agrees


@pytest.fixture(scope="module")
def deployed() -> TaskChain:
    return TaskChain.deployed(9)


@pytest.fixture
def world(deployed: TaskChain) -> TaskChain:
    return deployed


def test_rounds_are_judged_merged_and_paid_as_python_says(world: TaskChain) -> None:
    task = EvidenceTask.begun(world)
    outcomes = set()
    for number in range(4):
        task.submit(1, task.work(10 * number))
        task.submit(2, task.work(10 * number + 1), INT8)
        task.submit(3, task.work(10 * number + 2, -1), (TWO_BITS, INT8)[number % 2])
        opened_s = world.status(task.task)["openedAt"]
        eligible, pot = world.status(task.task)["eligible"], world.status(task.task)["pot"]
        earned = [world.number(POOL, "earnedBy", task.task, address_of(who)) for who in (1, 2, 3)]
        task.close()
        task.open()
        expected, events = task.settled()
        outcomes.update(verdict.outcome for verdict in expected.verdicts)
        weights = [eligible // 4] * 3
        pay = round_pay(EVIDENCE, pot, world.chain.head.timestamp - opened_s, sum(weights), eligible)
        parts = [
            gain_share(pay.shared, weight, eligible, verdict.gain, verdict.merged)
            for weight, verdict in zip(weights, expected.verdicts, strict=True)
        ]
        told = [event.values["amount"] for event in events if event.name == "ContributionPaid"]
        assert told == parts
        after = [world.number(POOL, "earnedBy", task.task, address_of(who)) for who in (1, 2, 3)]
        assert [b - a for a, b in zip(earned, after, strict=True)] == parts
        assert sum(parts) <= pay.shared // 2
        assert world.status(task.task)["pot"] == pot - pay.fee - sum(parts)
        (updated,) = [event.values for event in events if event.name == "ModelUpdated"]
        assert updated["digest"] == model_digest(task.weights, task.shape)
        assert updated["saturated"] == expected.saturated
    assert {Outcome.MERGED, Outcome.NO_RECORD} <= outcomes
    assert not world.status(task.task)["opened"]


def test_a_round_in_which_all_updates_are_refused_makes_a_version_of_the_same_weights_and_pays_nobody(
    world: TaskChain,
) -> None:
    task = EvidenceTask.begun(world, sizes=(20,))
    before = task.weights.copy()
    for who in (1, 2):
        task.submit(who, task.work(who, -1))
    task.close()
    task.open()
    expected, events = task.settled()
    assert not any(verdict.merged for verdict in expected.verdicts)
    assert np.array_equal(task.weights, before)
    assert {event.values["amount"] for event in events if event.name == "ContributionPaid"} == {0}
    assert world.status(task.task)["version"] == 2


def test_a_contributor_alone_is_merged_and_paid(world: TaskChain) -> None:
    task = EvidenceTask.begun(world, stakes=(100,), sizes=(20,))
    task.submit(1, task.work(4))
    task.close()
    task.open()
    expected, _ = task.settled()
    assert expected.verdicts[0].merged
    assert world.number(POOL, "earnedBy", task.task, address_of(1)) > 0


def test_weights_at_the_ends_of_int16_saturate_as_in_python(world: TaskChain) -> None:
    weights = np.where(np.arange(NETWORK.weight_count) % 2, 32767, -32768).astype(np.int16)
    task = EvidenceTask.begun(world, weights=weights, shape=shape_of(NETWORK, 2**31))
    for who in (1, 2, 3):
        task.submit(who, np.random.default_rng(who).normal(0, 9000, NETWORK.weight_count), INT8)
    task.close()
    task.open()
    task.settled()


def test_examples_cannot_be_opened_early_late_or_twice(world: TaskChain) -> None:
    task = EvidenceTask.begun(world)
    with pytest.raises(Reverted, match="NoUpdates"):
        task.open()
    task.submit(1, task.work(1))
    with pytest.raises(Reverted, match="RoundNotOver"):
        task.open()
    task.close()
    task.open()
    with pytest.raises(Reverted, match="ExamplesOpen"):
        task.open()
    with pytest.raises(Reverted, match="PhaseOver"):
        task.submit(2, task.work(2))
    task.settled()
    task.submit(1, task.work(3))
    world.wait(EVIDENCE.drop_seconds)
    with pytest.raises(Reverted, match="PhaseOver"):
        task.open()
    world.drop(4, task.task)
    task.sent = []


def test_nobody_submits_once_the_examples_may_be_on_their_way(world: TaskChain) -> None:
    task = EvidenceTask.begun(world)
    task.submit(1, task.work(1))
    task.close()
    with pytest.raises(Reverted, match="PhaseOver"):
        task.submit(2, task.work(2))
    task.open()
    task.settled()


def test_with_the_quorum_the_round_closes_after_its_least_time(world: TaskChain) -> None:
    task = EvidenceTask.begun(world, stakes=(100, 100, 100, 100))
    for who in (1, 2, 3):
        task.submit(who, task.work(who))
    world.wait(EVIDENCE.min_round_seconds)
    with pytest.raises(Reverted, match="PhaseOver"):
        task.submit(4, task.work(4))
    task.open()
    task.settled()


def test_a_round_is_not_settled_before_its_examples_are_opened(world: TaskChain) -> None:
    task = EvidenceTask.begun(world)
    task.submit(1, task.work(1))
    task.close()
    with pytest.raises(Reverted, match="ExamplesNotOpened"):
        world.settle_group(2, task.task, task.shape, 0)
    task.open()
    task.settled()
    task.submit(1, task.work(2))
    task.close()
    with pytest.raises(Reverted, match="ExamplesNotOpened"):  # the Aspect has batches of the round before
        world.settle_group(2, task.task, task.shape, 0)


def test_only_the_next_batch_of_the_set_opens_the_round(world: TaskChain) -> None:
    task = EvidenceTask.begun(world)
    task.submit(1, task.work(1))
    task.close()
    number, batches, tree = task.number, task.batches, task.tree
    with pytest.raises(Reverted, match="WrongExamples"):  # another of the set
        task.open(batch=1)
    forged = encode_batch(learnable(NETWORK, 3, 99))
    swapped = batches[0][:-2] + b"\1\0" if batches[0][-2:] != b"\1\0" else batches[0][:-2] + b"\0\0"
    for data in (forged, swapped, batches[0] + batches[0], batches[0][:12]):
        with pytest.raises(Reverted, match="WrongExamples"):
            world.call(1, POOL, "openExamples", task.task, number, data, list(tree.proof(0)))
    for proof in ([], list(tree.proof(1)), list(tree.proof(0))[::-1], [*tree.proof(0), bytes(32)]):
        with pytest.raises(Reverted, match="WrongExamples"):
            world.call(1, POOL, "openExamples", task.task, number, batches[0], proof)
    for data in (b"", batches[0][:-1], batches[0][:-2] + b"\3\0"):  # no whole examples; a label that is none
        with pytest.raises(Reverted, match="WrongExamples"):
            world.call(1, POOL, "openExamples", task.task, number, data, list(tree.proof(0)))
    with pytest.raises(Reverted, match="WrongRound"):
        world.call(1, POOL, "openExamples", task.task, number + 1, batches[0], list(tree.proof(0)))
    task.open(who=5)  # anybody who has it
    task.settled()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda batch: batch[:-2] + b"\3\0", "a label is none of the network's"),
        (lambda batch: batch[:10] + b"\xff\xff" + batch[12:], "a label is none of the network's"),
        (lambda batch: batch[:-1], "no whole examples"),
        (lambda batch: batch + bytes(2), "no whole examples"),
        (lambda batch: b"", "no whole examples"),
    ],
    ids=["the last label", "the first label", "a byte less", "a number more", "nothing"],
)
def test_a_committed_batch_that_is_no_examples_opens_no_round_and_the_next_round_neither(
    world: TaskChain, spoil: Callable[[bytes], bytes], reason: str
) -> None:
    """Its creator has committed to it, so the pool has nothing against it: it is for the Aspect to refuse."""
    good = [encode_batch(learnable(NETWORK, 3, seed)) for seed in (5, 6)]
    task = EvidenceTask.begun(world, sizes=(3, 3), batches=[spoil(good[0]), good[1]])
    for _ in range(2):
        task.submit(1, task.work(1))
        task.close()
        with pytest.raises(Reverted, match=reason):
            task.open(batch=0)
        with pytest.raises(Reverted, match="WrongExamples"):  # none is passed over
            task.open(batch=1)
        world.wait(EVIDENCE.drop_seconds)
        world.drop(2, task.task)


def test_a_set_that_is_used_up_opens_no_round_and_the_round_can_be_dropped(world: TaskChain) -> None:
    task = EvidenceTask.begun(world, sizes=(2,))
    task.submit(1, task.work(1))
    task.close()
    task.open()
    task.settled()
    task.submit(1, task.work(2))
    task.close()
    with pytest.raises(Reverted, match="WrongExamples"):
        task.open(batch=0)
    world.wait(EVIDENCE.drop_seconds)
    world.drop(2, task.task)


def test_a_settler_cannot_leave_out_reorder_or_alter_updates(world: TaskChain) -> None:
    task = EvidenceTask.begun(world)
    for who in (1, 2, 3):
        task.submit(who, task.work(who))
    task.close()
    task.open()
    data = world.settlement(task.task, task.shape, 0)
    call = POOL.decode_call(data).values
    updates = [tuple(one.values()) if isinstance(one, dict) else tuple(one) for one in call["updates"]]
    settle = (task.task, task.number, 0)
    for wrong in (
        updates[:2],
        updates[::-1],
        [*updates, updates[0]],
        [(*updates[0][:2], 1, *updates[0][3:]), *updates[1:]],
    ):
        with pytest.raises(Reverted, match="RunningHashMismatch"):
            world.call(2, POOL, "settle", *settle, wrong)
    task.settled()


def test_the_examples_are_committed_once_by_the_creator_before_the_weights_are_loaded(world: TaskChain) -> None:
    shape = shape_of(NETWORK)
    tree = BatchTree([encode_batch(learnable(NETWORK, 3, 1))])
    task = world.number(POOL, "nextTask")
    world.call(1, POOL, "openTask", task, shape.encode(), "{}", astuple(EVIDENCE))
    weights = weight_bytes(np.zeros(NETWORK.weight_count, dtype=np.int16))
    with pytest.raises(Reverted, match="NoExamples"):
        world.call(1, POOL, "loadPages", task, 0, weights)
    with pytest.raises(Reverted, match="NotCreator"):
        world.call(2, POOL, "commitExamples", task, tree.root, 1, 3, 4)
    for root, batches, examples in ((bytes(32), 1, 3), (tree.root, 0, 3), (tree.root, 4, 3)):
        with pytest.raises(Reverted, match="BadTerms"):
            world.call(1, POOL, "commitExamples", task, root, batches, examples, 4)
    with pytest.raises(Reverted, match="NotAPerceptron"):
        world.call(1, POOL, "commitExamples", task, tree.root, 1, 3, 16)
    world.call(1, POOL, "commitExamples", task, tree.root, 1, 3, 4)
    with pytest.raises(Reverted, match="TaskAlreadyLoaded"):
        world.call(1, POOL, "commitExamples", task, tree.root, 1, 3, 4)
    world.call(1, POOL, "loadPages", task, 0, weights)


def test_what_cannot_be_judged_in_a_block_is_refused_when_the_examples_are_committed(world: TaskChain) -> None:
    def begin(network: IntegerNetwork, page_length: int, group_pages: int, updates: int) -> int:
        shape = replace(shape_of(network, page_length=page_length), group_pages=group_pages)
        task = world.number(POOL, "nextTask")
        world.call(1, POOL, "openTask", task, shape.encode(), "{}", astuple(replace(EVIDENCE, max_updates=updates)))
        return task

    digits = IntegerNetwork((64, 32, 10), (12,) * 4, 4)
    root = b"\1" * 32
    task = begin(digits, 1208, 2, 10)
    with pytest.raises(Reverted, match="BadTerms"):
        world.call(1, POOL, "commitExamples", task, root, 100, 2000, 4)
    world.call(1, POOL, "commitExamples", task, root, 100, 100, 4)
    groups = begin(digits, 1208, 1, 10)
    with pytest.raises(Reverted, match="BadTerms"):  # two groups: the rule looks at the whole model
        world.call(1, POOL, "commitExamples", groups, root, 20, 50, 4)
    mean = world.number(POOL, "nextTask")
    world.call(1, POOL, "openTask", mean, shape_of(NETWORK).encode(), "{}", astuple(TERMS))
    with pytest.raises(Reverted, match="BadTerms"):
        world.call(1, POOL, "commitExamples", mean, root, 1, 1, 4)


def test_examples_are_nothing_for_a_task_by_another_rule(world: TaskChain) -> None:
    shape = shape_of(NETWORK)
    task = world.open_task(1, shape, stakes=[10], pot=LL_WEI)
    with pytest.raises(Reverted, match="NoExamples"):
        world.call(1, POOL, "openExamples", task, 1, encode_batch(learnable(NETWORK, 1, 1)), [])


def test_a_dropped_round_leaves_records_and_the_next_opens_the_next_batch(world: TaskChain) -> None:
    task = EvidenceTask.begun(world)
    task.submit(1, task.work(1))
    task.close()
    task.open()
    task.settled()
    record = task.records[address_of(1)]
    task.submit(1, task.work(2))
    task.close()
    task.open()
    world.wait(EVIDENCE.drop_seconds)
    world.drop(2, task.task)
    task.sent = []
    assert world.number(POOL, "recordOf", task.task, address_of(1)) == record
    task.submit(1, task.work(3))
    task.close()
    task.open()
    task.settled()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_every_batch_of_a_tree_proves_its_place_and_no_other(count: int) -> None:
    batches = [encode_batch(learnable(NETWORK, 1 + n % 3, n)) for n in range(count)]
    tree = BatchTree(batches)
    for n, data in enumerate(batches):
        assert is_committed(tree.root, n, data, tree.proof(n))
        assert not is_committed(tree.root, n + 1, data, tree.proof(n))
        assert not is_committed(tree.root, n, data + data, tree.proof(n))
        examples = decode_batch(data, NETWORK)
        assert encode_batch(examples) == data
    with pytest.raises(InvalidInput):
        BatchTree([])


def test_bytes_that_are_no_batch_are_refused() -> None:
    good = encode_batch(learnable(NETWORK, 2, 1))
    for wrong in (b"", good[:-1], good[:-2] + b"\3\0", good[:-2] + b"\xff\xff"):
        with pytest.raises(InvalidInput):
            decode_batch(wrong, NETWORK)
    with pytest.raises(InvalidInput, match="u16"):
        encode_batch(Examples(np.zeros((1, 5), dtype=np.int16), np.array([2**16])))


# -- replaying -------------------------------------------------------------------------------------------------------


def lived() -> TaskChain:
    """A chain of its own: rounds that are judged, dropped before and after their examples are opened, and a task by `mean` beside them."""
    world = TaskChain.deployed(9)
    task = EvidenceTask.begun(world)
    other = world.open_task(2, shape_of(NETWORK), stakes=[10], pot=LL_WEI)
    for number in range(2):
        for who, sign in ((1, 1), (2, 1), (3, -1)):
            task.submit(who, task.work(10 * number + who, sign), (TWO_BITS, INT8)[number])
        task.close()
        task.open()
        task.settled()
    world.submit(1, world.update(other, shape_of(NETWORK), 1), shape_of(NETWORK))
    task.submit(2, task.work(40))
    world.wait(EVIDENCE.drop_seconds)
    world.drop(3, task.task)
    task.sent = []
    task.submit(2, task.work(41))
    task.close()
    task.open()
    world.wait(EVIDENCE.drop_seconds)
    world.drop(3, task.task)
    task.sent = []
    world.settle(3, other, shape_of(NETWORK))
    task.submit(3, task.work(50))
    task.close()
    task.open()
    task.settled()
    world.call(1, POOL, "closeTask", task.task)
    return world


@pytest.fixture(scope="module")
def history() -> tuple[TaskChain, list[happened.Event]]:
    world = lived()
    return world, world.history()


def test_replaying_agrees_with_the_chain_in_every_verdict_and_to_the_wei(
    history: tuple[TaskChain, list[happened.Event]],
) -> None:
    world, events = history
    kinds = {type(event) for event in events}
    assert {happened.ExamplesCommitted, happened.BatchOpened, happened.UpdateJudged} <= kinds
    replay = world.replay()
    for event in events:
        replay.feed(event)
    replay.finish()
    agrees(world, replay)
    course = replay.tasks[1].course
    assert course is not None
    for who in (1, 2, 3):
        assert course.records[address_of(who)] == world.number(POOL, "recordOf", 1, address_of(who))


@pytest.mark.parametrize(
    ("kind", "field", "change"),
    [
        (happened.ExamplesCommitted, "root", lambda value: bytes(32)),
        (happened.ExamplesCommitted, "input_exponent", lambda value: 16),
        (happened.ExamplesCommitted, "batches", lambda value: 100),
        (happened.BatchOpened, "examples", lambda value: value[:-2] + bytes([value[-2] ^ 1, 0])),
        (happened.BatchOpened, "proof", lambda value: value[:-1]),
        (happened.BatchOpened, "batch", lambda value: value + 1),
        (happened.BatchOpened, "round", lambda value: value + 1),
        (happened.BatchOpened, "time_s", lambda value: value - 55),
        (happened.UpdateJudged, "gain", lambda value: value + 1),
        (happened.UpdateJudged, "record", lambda value: value - 1),
        (happened.UpdateJudged, "outcome", lambda value: value ^ 1),
        (happened.UpdateJudged, "contributor", lambda value: bytes(20)),
        (happened.ContributionPaid, "amount", lambda value: value + 1),
    ],
)
def test_what_is_altered_in_the_history_is_noticed(
    history: tuple[TaskChain, list[happened.Event]], kind: type, field: str, change: Callable[[Any], Any]
) -> None:
    world, events = history
    places = [index for index, event in enumerate(events) if type(event) is kind and event.task == 1]
    for at in places[:2]:
        altered = list(events)
        altered[at] = replace(altered[at], **{field: change(getattr(altered[at], field))})
        assert diverges(world, altered), at
        assert diverges(world, [*events[:at], *events[at + 1 :]]), at


def test_an_update_after_the_examples_may_be_opened_is_noticed(
    history: tuple[TaskChain, list[happened.Event]],
) -> None:
    world, events = history
    opened = next(index for index, event in enumerate(events) if isinstance(event, happened.BatchOpened))
    late = replace(events[opened - 1], time_s=events[opened].time_s)
    assert isinstance(late, happened.UpdateSubmitted)
    altered = [*events[: opened - 1], late, *events[opened:]]
    assert diverges(world, altered)


def diverges(world: TaskChain, events: list[happened.Event]) -> bool:
    replay = world.replay()
    try:
        for event in events:
            replay.feed(event)
        replay.finish()
    except Divergence:
        return True
    return False


# -- phases ----------------------------------------------------------------------------------------------------------


def test_the_steps_of_a_round_have_absolute_times() -> None:
    open_ = Standing(version=1, accepted=0, present=0, eligible=100, merged_groups=0, opened_s=1000)
    collecting = replace(open_, accepted=1, present=10, first_s=1030)
    quorum = replace(collecting, present=80)
    opened = replace(collecting, examples_opened=True)
    terms = EVIDENCE
    assert EVIDENCE_RULE.phase(open_) is Phase.OPEN
    assert EVIDENCE_RULE.phase(opened) is Phase.OPENED
    assert EVIDENCE_RULE.due(terms, collecting) == (
        Due(Step.ACCEPTED, 0, 1030 + terms.round_seconds),
        Due(Step.EXAMPLES_OPENED, 1030 + terms.round_seconds, 1030 + terms.drop_seconds),
        Due(Step.DROPPED, 1030 + terms.drop_seconds),
    )
    assert EVIDENCE_RULE.closed_s(terms, quorum) == 1000 + terms.min_round_seconds
    assert EVIDENCE_RULE.closed_s(terms, open_) is None
    assert EVIDENCE_RULE.due(terms, opened) == (Due(Step.SETTLED), Due(Step.DROPPED, 1030 + terms.drop_seconds))
    assert EVIDENCE_RULE.next_step(terms, open_) is None
    assert EVIDENCE_RULE.next_step(terms, collecting) == Due(Step.DROPPED, 1030 + terms.drop_seconds)
    assert EVIDENCE_RULE.next_step(terms, opened) == Due(Step.SETTLED)
    for call in (
        lambda: EVIDENCE_RULE.merge(np.zeros(1, dtype=np.int16), [], 1, shape_of(NETWORK)),
        lambda: EVIDENCE_RULE.divide(terms, 1, [1], [1]),
        lambda: EVIDENCE_RULE.merge_gas([], range(1), shape_of(NETWORK), False),
    ):
        with pytest.raises(InvalidInput, match="course"):
            call()
