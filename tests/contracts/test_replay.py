"""Replaying a real history: it agrees with the chain, and whatever is altered in it is noticed and named."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from bench.pool import TERMS, PoolChain, account
from bench.pool_rounds import PlayedRound, some_weights
from devchain.chain.blocks import StoredReceipt
from linklearner.chain.answers import Log
from linklearner.chain.contracts import COMPLETED, completed, decode_event
from linklearner.domain import events as happened
from linklearner.domain.digest import model_digest
from linklearner.domain.encodings import INT8, TWO_BITS
from linklearner.domain.errors import Divergence
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import ModelSpec
from linklearner.domain.replay import Replay
from linklearner.domain.rounds import Terms
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update

SPEC = ModelSpec("tiny", Mlp((5, 4, 3)), ("a", "b", "c"))  # 39 weights
GROUPED = SPEC.shape(12, 8, 2, 3000)  # five pages, three groups; long updates are scaled down
FLAT = SPEC.shape(12, 40, 1, 2**20)


def events_of(receipt: StoredReceipt, block: int, world: PoolChain) -> list[happened.Event]:
    """One transaction as the replay wants it."""
    data = receipt.transaction.data
    found = [
        decode_event(Log(log.address, tuple(log.topics), log.data, block, index, receipt.transaction.hash))
        for index, log in enumerate(receipt.logs)
        if log.address == world.pool
    ]
    return [completed(event, data) if type(event) in COMPLETED else event for event in found if event is not None]


@pytest.fixture(scope="module")
def history() -> tuple[PoolChain, list[happened.Event]]:
    """Two tasks side by side: stake coming and going, both encodings, an empty update, a dropped round, groups."""
    world = PoolChain.deployed(8)
    grouped = PlayedRound(
        world,
        world.open_task(GROUPED, some_weights(GROUPED), [500, 40, 3], TERMS, SPEC.to_json(), pages_per_call=2),
        GROUPED,
    )
    flat = PlayedRound(world, world.open_task(FLAT, some_weights(FLAT, 2), [10, 10], TERMS, SPEC.to_json()), FLAT)
    grouped.submit(1)
    flat.submit(1, flat.update(5, encoding=INT8, shift=-3))
    world.transact(account(4), "lock", grouped.task, 1000)
    world.transact(account(2), "unlock", grouped.task, 15)
    grouped.submit(2, grouped.update(9, shift=-8))
    grouped.submit(3, grouped.update(3, pages=[0, 4], encoding=INT8))
    flat.submit(2)
    flat.settle(settler=3)
    grouped.settle(settler=5)
    world.transact(account(2), "unlock", grouped.task, 5)
    world.transact(account(4), "unlock", grouped.task, 1)
    grouped.submit(4)
    grouped.submit(1, Update(grouped.task, 2, TWO_BITS, (0,) * 4, ()))
    flat.submit(1)
    world.chain.set_next_timestamp(world.chain.head.timestamp + 700)
    world.transact(account(6), "drop", flat.task)
    flat.accepted = []
    grouped.settle()
    world.transact(account(4), "withdraw", grouped.task)
    events = [
        event
        for number in range(1, world.chain.head.number + 1)
        for receipt in world.chain.store.receipts(number)
        for event in events_of(receipt, number, world)
    ]
    return world, events


def replayed(world: PoolChain, events: list[happened.Event]) -> Replay:
    result = Replay(world.chain.config.chain_id, world.pool)
    for event in events:
        result.feed(event)
    result.finish()
    return result


def test_an_honest_history_replays_to_the_weights_on_the_chain(history: tuple[PoolChain, list[happened.Event]]) -> None:
    world, events = history
    result = replayed(world, events)
    assert {type(event) for event in events} == {
        kind for kind in vars(happened).values() if isinstance(kind, type) and issubclass(kind, happened.Event)
    } - {happened.Event, *COMPLETED}
    for number, task in result.tasks.items():
        status = world.status(number)
        assert (task.version, task.ledger.round, task.ledger.eligible) == (
            status["version"],
            status["round"],
            status["eligible"],
        )
        assert np.array_equal(task.weights, world.weights(number, task.shape))
        assert task.digest == model_digest(task.weights, task.shape)
        assert task.running == status["running"]
    assert sum(task.paid for task in result.tasks.values()) == world.supply() - 10**9 * 10**18


def outcome(world: PoolChain, events: list[happened.Event]) -> Any:
    """Where the history ends, or the field in which it diverges."""
    try:
        tasks = replayed(world, events).tasks
    except Divergence as divergence:
        assert divergence.facts.keys() == {"block", "transaction", "field"}
        return divergence.facts["field"]
    return {n: (t.version, t.digest, t.running, t.phase, t.ledger, t.terms, t.paid) for n, t in tasks.items()}


def altered(value: Any) -> Any:
    """Something else of the same type."""
    match value:
        case bool() | None:
            return None
        case int():
            return value + 1
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:] if value else b"\1"
        case str():
            return value + " "
        case Terms():
            return dataclasses.replace(value, reward=value.reward + 10**9)
        case tuple():
            if value and isinstance(value[0], happened.Settlement):
                return value[1:]
            return (*value[:-1], altered(value[-1])) if value else (b"\1",)
    raise TypeError(type(value))


def test_whatever_is_altered_in_a_history_is_noticed(history: tuple[PoolChain, list[happened.Event]]) -> None:
    """At once, or in the state it ends in where nothing that followed depended on it (a unit of stake, rounded away by the quarter)."""
    world, events = history
    honest = outcome(world, events)
    free = {("SettlerPaid", "settler"), ("TaskOpened", "model")}  # who settled; what else the model's text says
    late = 0
    for index, event in enumerate(events):
        for field in dataclasses.fields(event):
            if field.name in ("block", "transaction") or (type(event).__name__, field.name) in free:
                continue
            changed = dataclasses.replace(event, **{field.name: altered(getattr(event, field.name))})
            result = outcome(world, [*events[:index], changed, *events[index + 1 :]])
            assert result != honest, (index, event, field.name)
            late += not isinstance(result, str)
    assert late <= 6


def test_each_part_of_a_settlement_is_compared(history: tuple[PoolChain, list[happened.Event]]) -> None:
    world, events = history
    index = next(i for i, event in enumerate(events) if isinstance(event, happened.GroupSettled))
    event = events[index]
    assert isinstance(event, happened.GroupSettled)
    for field in dataclasses.fields(happened.Settlement):
        first = dataclasses.replace(event.updates[0], **{field.name: altered(getattr(event.updates[0], field.name))})
        changed = dataclasses.replace(event, updates=(first, *event.updates[1:]))
        with pytest.raises(Divergence) as divergence:
            replayed(world, [*events[:index], changed])
        assert divergence.value.facts["field"] == f"updates[0].{field.name}"
        assert divergence.value.facts["block"] == str(event.block)


def test_what_is_left_out_of_a_history_is_noticed(history: tuple[PoolChain, list[happened.Event]]) -> None:
    world, events = history
    honest = outcome(world, events)
    for index in range(len(events)):
        assert outcome(world, [*events[:index], *events[index + 1 :]]) != honest, events[index]


def test_another_pool_or_chain_has_another_running_hash(history: tuple[PoolChain, list[happened.Event]]) -> None:
    world, events = history
    ours = replayed(world, events)
    for chain_id, pool in ((1, world.pool), (world.chain.config.chain_id, bytes(20))):
        other = Replay(chain_id, pool)
        for event in events:
            other.feed(event)
        assert all(other.tasks[n].running != ours.tasks[n].running for n in ours.tasks)


def test_a_history_may_not_begin_in_the_middle(history: tuple[PoolChain, list[happened.Event]]) -> None:
    world, events = history
    for index in (1, 5, len(events) - 2):
        with pytest.raises(Divergence, match="opened"):
            replayed(world, events[index:])


def test_a_shape_that_the_chain_cannot_have_taken_is_noticed(history: tuple[PoolChain, list[happened.Event]]) -> None:
    world, events = history
    first = events[0]
    assert isinstance(first, happened.TaskOpened)
    with pytest.raises(Divergence):
        Replay(world.chain.config.chain_id, world.pool).feed(dataclasses.replace(first, shape=b""))
    with pytest.raises(Divergence):  # by the number of weights that were loaded
        replayed = Replay(world.chain.config.chain_id, world.pool)
        for event in [dataclasses.replace(first, shape=Shape(FLAT.tensors[:-1], 40, 1, 1).encode()), *events[1:]]:
            replayed.feed(event)


@pytest.mark.parametrize("model", ["{}", "", "[" * 5000, "\ufffd", SPEC.to_json().replace("[5,", "[6,")])
def test_a_model_text_that_says_nothing_stops_no_replay(
    history: tuple[PoolChain, list[happened.Event]], model: str
) -> None:
    """The chain keeps any text: whoever opens a task with a bad one must not stop everybody's verify."""
    world, events = history
    first = events[0]
    assert isinstance(first, happened.TaskOpened)
    replayed = Replay(world.chain.config.chain_id, world.pool)
    for event in [dataclasses.replace(first, model=model), *events[1:]]:
        replayed.feed(event)
    replayed.finish()
    assert replayed.tasks[first.task].model is None
