"""A trainer that may not contribute says why and waits; one with several tasks works for each in turn."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import structlog

from linklearner.domain.errors import InvalidConfig
from linklearner.domain.rounds import Phase
from linklearner.domain.tasks import StakeStatus
from linklearner.testing.gateway import POOL, FakeGateway, FakeTask, terms_for, weights_of
from services.trainer import contributor
from services.trainer.journal import Journal
from services.trainer.obstacles import CLOSED, obstacle
from services.trainer.trainer import Trainer
from tests.services.trainer.conftest import settings as settings_of
from tests.services.trainer.conftest import until

NOW = 1_000
settings = partial(settings_of, rounds=-1)
ENOUGH = StakeStatus(eligible=1000, locked=1000, matures_s=0, unlocking=0, withdrawable_s=0)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contributor, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(contributor, "RETRY_S", 0.05)


def another_task(fake: FakeGateway, number: int = 2) -> FakeTask:
    """A second task of the fake chain, with its weights, in which every account has the same stake as in the first."""
    first = fake.first
    task = fake.tasks[number] = FakeTask(fake.chain, number, first.creator, first.model, first.shape, terms_for(1))
    for account in fake.accounts:
        task.stakes.lock(account, 1000, fake.chain.now_s())
    task.pot = 10**18
    task.publish(weights_of(number))
    return task


def test_what_keeps_an_account_from_a_round_is_named() -> None:
    fake = FakeGateway(seed=1)
    task = fake.first.described()

    def found(stake: StakeStatus = ENOUGH, only_paid: bool = False, **of_round: object) -> tuple[str, int] | None:
        seen = replace(task, round=replace(task.round, **of_round))  # type: ignore[arg-type]
        one = obstacle(seen, stake, NOW, only_paid=only_paid)
        return None if one is None else (one.reason, one.from_s)

    fresh = replace(ENOUGH, eligible=0, matures_s=NOW + 30)
    assert found() is None
    assert found(opened_s=0) == (CLOSED, 0)
    assert found(round=0, opened_s=0) == ("NoModelYet", 0)
    assert found(phase=Phase.SETTLING) == ("RoundSettling", 0)
    assert found(accepted=task.terms.max_updates) == ("RoundFull", 0)
    assert found(fresh) == ("StakeNotMature", NOW + 30)
    assert found(replace(fresh, matures_s=NOW)) == ("StakeNextRound", 0)
    assert found(replace(fresh, locked=0)) == ("NotEnoughLocked", 0)
    assert found(replace(ENOUGH, eligible=1, locked=1), eligible=10_000) == ("NotEnoughLocked", 0)
    empty = replace(task, pot=0)
    assert obstacle(empty, ENOUGH, NOW, only_paid=False) is None
    paid = obstacle(empty, ENOUGH, NOW, only_paid=True)
    assert paid is not None and paid.reason == "PotEmpty"


async def test_a_closed_task_ends_its_loop_and_no_other(tmp_path: Path) -> None:
    fake = FakeGateway(seed=1)
    second = another_task(fake)
    fake.auto_settle = False
    with structlog.testing.capture_logs() as logs:
        async with (
            fake.served() as gateway,
            Trainer.start(settings(tmp_path, gateway, task="1,2")),
        ):
            await until(lambda: all(len(task.rounds[-1].contributions) == 1 for task in (fake.first, second)))
            fake.first.closing = True
            fake.first.settle()
            await until(lambda: any(line.get("reason") == CLOSED for line in logs))
            before = len(fake.first.rounds)
            for _ in range(2):
                second.settle()
                await until(lambda: len(second.rounds[-1].contributions) == 1)
            assert len(fake.first.rounds) == before and not fake.first.rounds[-1].contributions
    [closed] = [line for line in logs if line.get("reason") == CLOSED]
    assert (closed["task"], closed["event"]) == (1, "contribution_waits")


async def test_each_task_keeps_what_its_own_quantising_lost(tmp_path: Path) -> None:
    fake = FakeGateway(seed=1)
    second = another_task(fake)
    fake.auto_settle = False
    async with fake.served() as gateway, Trainer.start(settings(tmp_path, gateway, task="1, 2", rounds=2)):
        for _ in range(2):
            await until(lambda: all(len(task.rounds[-1].contributions) == 1 for task in (fake.first, second)))
            fake.first.settle()
            second.settle()
    with Journal.open(tmp_path / "trainer") as journal:
        kept = [journal.residual(scope(fake, task), fake.first.shape.weight_count) for task in (1, 2)]
    assert kept[0].any() and kept[1].any() and (kept[0] != kept[1]).any()


def scope(fake: FakeGateway, task: int) -> str:
    return f"{fake.chain_id}/{POOL.hex()}/{task}/{fake.accounts[0].hex()}"


async def test_unpaid_work_is_done_and_said_or_left_alone(tmp_path: Path) -> None:
    fake = FakeGateway(seed=1, pot=0)
    fake.auto_settle = False
    with structlog.testing.capture_logs() as logs:
        async with fake.served() as gateway:
            async with Trainer.start(settings(tmp_path, gateway, only_paid=True)):
                await until(lambda: any(line.get("reason") == "PotEmpty" for line in logs))
                assert not fake.first.rounds[-1].contributions
                fake.first.pot = 1
                await until(lambda: len(fake.first.rounds[-1].contributions) == 1)
            fake.first.settle()
            fake.first.pot = 0
            async with Trainer.start(settings(tmp_path, gateway)):
                await until(lambda: len(fake.first.rounds[-1].contributions) == 1)
    assert [line["event"] for line in logs].count("works_unpaid") == 1


async def test_stake_that_is_not_mature_is_waited_for(tmp_path: Path) -> None:
    fake = FakeGateway(seed=1)
    fake.auto_settle = False
    now = [time.time()]
    fake.chain.clock = lambda: now[0]
    account = fake.accounts[0]
    fake.first.set_stake(account, 0)
    fake.first.set_stake(account, 1000)
    with structlog.testing.capture_logs() as logs:
        async with fake.served() as gateway, Trainer.start(settings(tmp_path, gateway)):
            await until(lambda: any(str(line.get("reason", "")).startswith("Stake") for line in logs))
            assert fake.submissions == 0
            now[0] += 10
            fake.first.drop()
            await until(lambda: len(fake.first.rounds[-1].contributions) == 1)


@pytest.mark.parametrize("tasks", ["", "0", "1,1", "1,,2", "1;2", "one", "2097152", ",".join(map(str, range(1, 18)))])
def test_tasks_are_a_list_of_numbers(tasks: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="task must"):
        settings(tmp_path, "127.0.0.1:1", task=tasks)
