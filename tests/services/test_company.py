"""When the suite's trainers join a round, and when they rest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from linklearner.domain.errors import BaseMoved, Refused
from linklearner.rpc.access import Credential, Role
from services.company import ATTEMPTS, LOOK_S, RETRY_S, Company

OURS = (b"\1" * 20, b"\2" * 20)
VISITOR = b"\7" * 20


class Gateway:
    """One task as a gateway tells it."""

    def __init__(self, *there: bytes, ripe: int = 0, **task: Any) -> None:
        self.there, self.head, self.settled, self.blocks = list(there), 5, 0, 0
        at = SimpleNamespace(round=3, accepted=len(there), merged_groups=0, ripe=ripe)
        self.told = SimpleNamespace(**{"task": 1, "version": 2, "closing": False, "closed": False, "round": at, **task})

    async def task(self, number: int) -> Any:
        return self.told

    async def round(self, task: int, number: int) -> Any:
        return SimpleNamespace(contributions=[SimpleNamespace(contributor=one) for one in self.there])

    async def chain(self) -> Any:
        return SimpleNamespace(head_block=self.head)

    async def transfer_coin(self, request_id: str, account: bytes, to: bytes, wei: int) -> Any:
        self.blocks += 1
        return SimpleNamespace(block=self.head + 1)

    async def settle(self, request_id: str, account: bytes, task: int, number: int) -> Any:
        self.settled += 1
        raise Refused("later", reason="RoundNotOver")


class Trainer:
    def __init__(self, error: Exception | None = None) -> None:
        self.asked, self._error = 0, error

    async def train(self, request_id: str) -> AsyncIterator[None]:
        self.asked += 1
        if self._error:
            raise self._error
        yield None


def company(*, settle: bool = False, stake_s: float = 1.0) -> Company:
    credential = Credential.new("operator", Role.SPEND)
    return Company("127.0.0.1:1", (), credential, task=1, accounts=OURS, settle=settle, stake_s=stake_s)


async def looked(gateway: Gateway, *trainers: Trainer, times: int = 1, **settings: Any) -> float:
    ours, pause = company(**settings), 0.0
    for _ in range(times):
        pause = await ours._look(gateway, trainers)  # type: ignore[arg-type]
    return pause


@pytest.mark.parametrize(
    ("gateway", "asked"),
    [
        (Gateway(), [0, 0]),  # nobody is there
        (Gateway(OURS[0]), [0, 0]),  # one of ours, by itself
        (Gateway(VISITOR), [1, 1]),
        (Gateway(VISITOR, OURS[0]), [0, 1]),  # who is in the round already is left alone
        (Gateway(ripe=100), [1, 1]),  # somebody's stake waits for the next round
        (Gateway(OURS[0], ripe=100), [0, 0]),  # … which this one ends in anyhow
        (Gateway(VISITOR, closing=True), [0, 0]),
        (Gateway(VISITOR, version=0), [0, 0]),
    ],
)
async def test_trainers_join_for_others_and_for_nobody_else(gateway: Gateway, asked: list[int]) -> None:
    trainers = Trainer(), Trainer()
    await looked(gateway, *trainers)
    assert [one.asked for one in trainers] == asked


async def test_a_trainer_that_cannot_is_not_asked_without_end() -> None:
    trainers = Trainer(BaseMoved("moved")), Trainer()
    assert await looked(Gateway(VISITOR), *trainers, times=10) == LOOK_S
    assert trainers[0].asked == ATTEMPTS


async def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        await looked(Gateway(VISITOR), Trainer(ZeroDivisionError()), Trainer())


async def test_rounds_that_it_joined_are_settled_where_no_keeper_does_it() -> None:
    for settle, expected in ((True, 2), (False, 0)):
        gateway = Gateway(VISITOR)
        await looked(gateway, Trainer(), Trainer(), times=2, settle=settle)
        assert gateway.settled == expected
    alone = Gateway(OURS[0])
    await looked(alone, Trainer(), Trainer(), settle=True)
    assert alone.settled == 0  # not its affair


async def test_a_closed_task_is_looked_at_less_often() -> None:
    assert await looked(Gateway(closed=True)) == RETRY_S


async def test_time_goes_on_once_after_a_stranger_s_transaction() -> None:
    """On a chain that makes blocks on demand, what was locked becomes ripe in the next block, which nobody else would make."""
    gateway, ours = Gateway(), company(stake_s=-1.0)  # due at once
    for _ in range(5):
        await ours._look(gateway, ())  # type: ignore[arg-type]
    assert gateway.blocks == 1
    gateway.head += 2  # one was ours
    for _ in range(5):
        await ours._look(gateway, ())  # type: ignore[arg-type]
    assert gateway.blocks == 2
