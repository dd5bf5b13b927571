"""A trainer that its machine's owner interrupts: it waits in the middle of a training, says why, and goes on where it was."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from linklearner.client.trainer import TrainerClient
from linklearner.domain.errors import BaseMoved
from linklearner.domain.tasks import StakeStatus, Task
from linklearner.domain.training import Activity, TaskActivity, TrainingProgress, TrainingWaits
from linklearner.rpc.access import OPERATOR, Credential, Role
from linklearner.testing.gateway import FakeGateway, weights_of
from services.trainer import contributor, pace, training
from services.trainer.machine import Machine
from services.trainer.manners import ON_BATTERY
from services.trainer.obstacles import NEXT_ROUND, OTHER_TASK, Obstacle
from services.trainer.trainer import Trainer
from tests.services.trainer.conftest import settings as settings_of
from tests.services.trainer.conftest import until
from tests.services.trainer.test_trainer_waits import another_task

STEPS = 60
settings = partial(settings_of, steps=STEPS, shard="0/5")


class Owner:
    """Says when the machine may be used."""

    def __init__(self) -> None:
        self.objects = False
        self.looks = 0

    def obstacle(self, machine: Machine, waiting: str = "") -> Obstacle | None:
        self.looks += 1
        return Obstacle(ON_BATTERY, "the machine runs on its battery") if self.objects else None


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    found = Owner()
    monkeypatch.setattr(Machine, "obstacle", lambda machine, waiting="": found.obstacle(machine, waiting))
    monkeypatch.setattr(pace, "LOOK_S", 0.0)
    monkeypatch.setattr(pace, "AGAIN_S", 0.02)
    monkeypatch.setattr(contributor, "RETRY_S", 0.02)
    monkeypatch.setattr(contributor, "LOOK_AGAIN_S", 0.1)
    return found


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[int, Callable[[], None]]:
    """What happens before a step of a training is made, once."""
    found: dict[int, Callable[[], None]] = {}
    advance = training.LocalTraining.advance

    def watched(self: training.LocalTraining) -> Any:
        found.pop(self.step + 1, lambda: None)()
        return advance(self)

    monkeypatch.setattr(training.LocalTraining, "advance", watched)
    return found


def client(tmp_path: Path, trainer: Trainer) -> Any:
    return TrainerClient.connect(trainer.address, Credential.kept(tmp_path / "access" / OPERATOR, Role.SPEND))


async def activity(one: TrainerClient, wanted: Callable[[TaskActivity], bool]) -> TaskActivity:
    """That of the first task, as soon as it is a wanted one."""
    async with asyncio.timeout(30):
        while not wanted(found := (await one.status()).tasks[0]):
            await asyncio.sleep(0.02)
        return found


async def test_a_training_waits_in_its_middle_and_goes_on_where_it_was(
    tmp_path: Path, chain: FakeGateway, gateway: str, owner: Owner, steps: dict[int, Callable[[], None]]
) -> None:
    steps[20] = lambda: setattr(owner, "objects", True)
    async with Trainer.start(settings(tmp_path, gateway)) as trainer, client(tmp_path, trainer) as asked:
        await trainer.ready()
        quiet = (await asked.status()).tasks[0]
        assert (quiet.activity, quiet.reason, quiet.step_count) == (Activity.IDLE, "", 0)
        events: list[Any] = []

        async def train() -> None:
            async with aclosing(asked.train("one")) as stream:
                async for event in stream:
                    events.append(event)

        work = asyncio.create_task(train())
        waits = await activity(asked, lambda one: one.activity is Activity.WAITING)
        assert (waits.reason, waits.detail) == (ON_BATTERY, "the machine runs on its battery")
        assert (waits.task, waits.round, waits.step, waits.step_count) == (1, 1, 20, STEPS)
        assert waits.again_s >= waits.since_s > 0 and waits.cpu_seconds == 0
        looks = owner.looks
        await until(lambda: owner.looks > looks + 3)
        assert not work.done() and not chain.submissions
        owner.objects = False
        await asyncio.wait_for(work, 30)
        after = (await asked.status()).tasks[0]
        assert (after.activity, after.step, after.step_count) == (Activity.IDLE, 0, 0) and after.cpu_seconds > 0
    progress = [event.step for event in events if isinstance(event, TrainingProgress)]
    assert progress == list(range(6, STEPS + 1, 6))
    assert [event.reason for event in events if isinstance(event, TrainingWaits)] == [
        ON_BATTERY
    ]  # once, however often it looked
    assert len(chain.updates(1)) == 1


async def test_a_time_budget_s_last_report_is_of_its_last_step(
    tmp_path: Path, chain: FakeGateway, gateway: str, owner: Owner
) -> None:
    """How many there will be is an estimate until then; a request for a number of steps has no budget."""
    async with Trainer.start(settings(tmp_path, gateway, seconds=0.05)) as trainer, client(tmp_path, trainer) as asked:
        await trainer.ready()
        for name, count in (("budget", 0), ("steps", 15)):
            async with aclosing(asked.train(name, steps=count)) as stream:
                found = [event async for event in stream if isinstance(event, TrainingProgress)]
            assert all(one.step <= one.step_count for one in found) and found[-1].step == found[-1].step_count
            assert found[-1].step >= 10 if not count else found[-1].step == count


async def test_a_trainer_stopped_while_it_waits_goes_on_from_there_when_it_is_started_again(
    tmp_path: Path, chain: FakeGateway, gateway: str, owner: Owner, steps: dict[int, Callable[[], None]]
) -> None:
    """With the same update as if nothing had happened."""
    async with Trainer.start(settings(tmp_path, gateway, state_dir=tmp_path / "untroubled", rounds=1)):
        await until(lambda: chain.submissions == 1)
    untroubled = chain.updates(1)[0]
    other = FakeGateway(seed=1)
    steps[20] = lambda: setattr(owner, "objects", True)
    async with other.served() as address:
        async with Trainer.start(settings(tmp_path, address, rounds=-1)) as trainer, client(tmp_path, trainer) as asked:
            await activity(asked, lambda one: one.activity is Activity.WAITING and one.step == 20)
        kept = list((tmp_path / "trainer").glob("training-*.state"))
        assert len(kept) == 1 and not other.submissions
        made: list[int] = []
        for step in range(1, STEPS + 1):
            steps[step] = lambda step=step: made.append(step)  # type: ignore[misc]
        async with Trainer.start(settings(tmp_path, address, rounds=1)) as trainer, client(tmp_path, trainer) as asked:
            before = await activity(asked, lambda one: one.activity is Activity.WAITING)
            assert before.reason == ON_BATTERY and not made  # before a byte of weights is asked for
            owner.objects = False
            await until(lambda: other.submissions == 1)
    assert made == list(range(21, STEPS + 1)) and not kept[0].exists()
    assert other.updates(1)[0].digest(other.shape) == untroubled.digest(chain.shape)


async def test_weights_that_move_on_while_a_training_waits_make_it_worthless(
    tmp_path: Path, chain: FakeGateway, gateway: str, owner: Owner, steps: dict[int, Callable[[], None]]
) -> None:
    steps[20] = lambda: setattr(owner, "objects", True)
    async with Trainer.start(settings(tmp_path, gateway)) as trainer, client(tmp_path, trainer) as asked:
        await trainer.ready()

        async def train(name: str) -> None:
            async with aclosing(asked.train(name)) as stream:
                async for _ in stream:
                    pass

        work = asyncio.create_task(train("one"))
        await activity(asked, lambda one: one.activity is Activity.WAITING)
        chain.publish(weights_of(2))
        looked = threading.Event()
        steps[21] = lambda: looked.wait(30)  # the training goes on meanwhile, and must not be at its end by then
        owner.objects = False
        with pytest.raises(BaseMoved, match="moved on from version 1 while the training waited"):
            await asyncio.wait_for(work, 30)
        looked.set()
        assert not chain.submissions
        await train("two")
    assert chain.submissions == 1 and [len(one.contributions) for one in chain.rounds] == [0, 1, 0]


async def test_a_round_is_not_even_asked_about_while_the_owner_objects(
    tmp_path: Path, chain: FakeGateway, gateway: str, owner: Owner
) -> None:
    owner.objects = True
    with structlog.testing.capture_logs() as logs:
        async with Trainer.start(settings(tmp_path, gateway, rounds=1)) as trainer, client(tmp_path, trainer) as asked:
            await activity(asked, lambda one: one.reason == ON_BATTERY)
            asked_before, looks = chain.balance_reads, owner.looks
            await until(lambda: owner.looks > looks + 5)
            assert chain.balance_reads == asked_before
            owner.objects = False
            await until(lambda: chain.submissions == 1)
            await activity(asked, lambda one: one.activity is Activity.IDLE)
    assert [line.get("reason") for line in logs if line["event"] == "contribution_waits"] == [ON_BATTERY]


async def test_between_two_rounds_a_trainer_says_that_it_waits_for_the_next(
    tmp_path: Path, chain: FakeGateway, gateway: str, owner: Owner
) -> None:
    chain.auto_settle = False
    async with Trainer.start(settings(tmp_path, gateway, rounds=-1)) as trainer, client(tmp_path, trainer) as asked:
        found = await activity(asked, lambda one: one.reason == NEXT_ROUND)
        assert (found.round, found.step_count) == (1, 0) and "round 1 has an update" in found.detail
        chain.lies["GetTask"] = chain.lies["GetBalance"] = _away
        chain.settle()
        away = await activity(asked, lambda one: one.reason not in (NEXT_ROUND, ""))
        assert away.activity is Activity.WAITING and away.again_s >= away.since_s


def _away(answer: Any) -> Any:
    from linklearner.domain.errors import Unavailable

    raise Unavailable("the node is away", reason="NodeAway")


@pytest.mark.parametrize(("turns", "by_pay"), [("by-pay", True), ("as-they-come", False)])
async def test_the_task_that_pays_most_is_trained_for_next(
    tmp_path: Path,
    owner: Owner,
    steps: dict[int, Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
    turns: str,
    by_pay: bool,
) -> None:
    bids: set[int] = set()

    def bid(task: Task, stake: StakeStatus, cpu_seconds: float) -> float:
        bids.add(task.task)
        return float(task.task)

    monkeypatch.setattr(contributor, "bid", bid)
    chain = FakeGateway(seed=1)
    chain.auto_settle = False
    for number in (2, 3, 4):
        another_task(chain, number)
    gate = threading.Event()
    steps[1] = lambda: gate.wait(30)  # of the first training, so that all others queue
    async with chain.served() as gateway:
        config = settings(tmp_path, gateway, task="4,3,2,1" if by_pay else "1,2,3,4", turns=turns, rounds=1)
        async with Trainer.start(config) as trainer, client(tmp_path, trainer) as asked:

            async def queued() -> list[int]:
                return [one.task for one in (await asked.status()).tasks if one.reason == OTHER_TASK]

            async with asyncio.timeout(30):
                while len(waiting := await queued()) < 3:
                    await asyncio.sleep(0.02)
            gate.set()
            await until(lambda: all(one.rounds[-1].contributions for one in chain.tasks.values()))
    landed = {number: one.rounds[-1].contributions[0].mined.block for number, one in chain.tasks.items()}
    rest = sorted(landed, key=landed.__getitem__)[1:]
    assert sorted(rest) == sorted(waiting) and bids == ({1, 2, 3, 4} if by_pay else set())
    if by_pay:
        assert rest == sorted(rest, reverse=True)
