"""The room of rule `evidence`: code that the pool delegates to, and nothing by itself."""

from __future__ import annotations

import pytest

from linklearner import artifacts
from linklearner.chain.contracts import POOL
from tests.contracts.evidence_chain import BOND, EvidenceTask, events_of
from tests.contracts.task_chain import CAP, GENESIS, PER_SECOND, Reverted, TaskChain, account, address_of


@pytest.fixture(scope="module")
def world() -> TaskChain:
    return TaskChain.deployed(4)


def room_of(world: TaskChain) -> bytes:
    (room,) = world.read(POOL, "evidenceRoom").values()
    return bytes(room) if isinstance(room, bytes) else bytes.fromhex(room[2:])


def test_the_room_is_the_code_that_was_built(world: TaskChain) -> None:
    """It has no constructor and no immutables, so anybody can compare."""
    code = world.chain.world_at(world.chain.head.number).get_code(room_of(world))
    assert code == artifacts.contract("EvidenceRoom").deployed_bytecode


def test_the_pool_answers_for_its_room_and_its_events_are_the_pools(world: TaskChain) -> None:
    task = EvidenceTask.begun(world)
    task.submit(1, task.work(1))
    task.close()
    assert [event.name for event in events_of(task.open(), world)] == ["ExamplesOpened"]
    assert world.number(POOL, "recordOf", task.task, address_of(1)) == 0


def test_what_nobody_has_a_function_for_is_refused(world: TaskChain) -> None:
    for data in (b"", b"\1", b"\1\2\3\4", b"\1\2\3\4" + bytes(32)):
        with pytest.raises(Reverted):
            world.send(1, world.pool, data)


def test_a_room_by_itself_knows_no_task_and_no_aspect(world: TaskChain) -> None:
    task = EvidenceTask.begun(world)
    room = room_of(world)
    task.submit(1, task.work(1))
    task.close()
    for name, arguments in (
        ("commitExamples", (task.task, task.tree.root, 1, 1, 4, 0, BOND)),
        ("openExamples", (task.task, 1, task.batches[0], list(task.tree.proof(0)))),
    ):
        with pytest.raises(Reverted, match="UnknownTask"):
            world.send(1, room, POOL.encode_call(name, *arguments))
    task.open()
    task.settled()


@pytest.mark.parametrize("room", [bytes(20), address_of(1)], ids=["nobody", "an account"])
def test_no_pool_is_made_whose_room_has_no_code(world: TaskChain, room: bytes) -> None:
    """A delegated call would succeed there, and do nothing."""
    owner = account(0).address
    code = artifacts.contract("TrainingPool").bytecode
    with pytest.raises(Reverted, match="NoCode"):
        world.send(0, None, code + POOL.encode_constructor(owner, owner, GENESIS, CAP, PER_SECOND, room))
