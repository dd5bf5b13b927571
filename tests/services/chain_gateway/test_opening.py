"""Opening tasks while others open theirs: the number that the pool gives next is anybody's."""

from __future__ import annotations

from typing import Any

import pytest

from linklearner.chain.contracts import POOL
from linklearner.domain.digest import weight_bytes
from linklearner.domain.plan import TaskPlan
from services.chain_gateway.ledger import Ledger
from services.chain_gateway.opening import NewTask
from tests.services.chain_gateway.conftest import World, small_task


def new_task(plan: TaskPlan) -> NewTask:
    return NewTask(plan.model.to_json(), plan.shape, plan.terms, weight_bytes(plan.first_weights()))


@pytest.mark.parametrize("others", [1, 3])
async def test_a_number_that_somebody_else_took_first_is_not_the_end_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """Between reading the next number and sending the transaction, somebody else opens a task: the next number is tried."""
    async with world.gateway() as gateway:
        ledger: Ledger = gateway.ledger
        call, left = ledger.chain.call, others

        async def overtaken(to: bytes, data: bytes, *rest: Any, **named: Any) -> bytes:
            nonlocal left
            answer = await call(to, data, *rest, **named)
            if left and data == POOL.encode_call("nextTask"):
                left -= 1
                stranger, before = world.accounts[1], left
                left = 0  # the stranger is not overtaken
                await ledger.openings.open(f"stranger {before}", stranger, new_task(small_task()))
                left = before
            return answer

        monkeypatch.setattr(ledger.chain, "call", overtaken)
        opened = await ledger.openings.open("ours", world.accounts[0], new_task(small_task()))
        assert opened.task == 2 + others
        assert (await ledger.tasks.task(opened.task)).creator == world.accounts[0]
        again = await ledger.openings.open("ours", world.accounts[0], new_task(small_task()))
        assert (again.task, again.version) == (opened.task, opened.version)
