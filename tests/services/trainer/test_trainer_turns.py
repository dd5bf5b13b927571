"""Several tasks of one trainer: as they come, or by what they pay; nobody waits without end, and nobody is there twice."""

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise

import pytest

from linklearner.domain.notation import LL_WEI
from linklearner.domain.tasks import StakeStatus
from linklearner.testing.gateway import FakeGateway
from services.trainer.turns import ASKED, MOST_PASSED, UNKNOWN, Turns, bid, expected_pay

ENOUGH = StakeStatus(eligible=1000, locked=1000, matures_s=0, unlocking=0, withdrawable_s=0)


async def order(bids: list[float]) -> list[int]:
    """In which those who came while somebody had the turn got it."""
    turns, got = Turns(), list[int]()

    async def one(number: int, price: float) -> None:
        async with turns.turn(price):
            got.append(number)
            await asyncio.sleep(0)

    async with turns.turn(0):
        waiting = [asyncio.create_task(one(number, price)) for number, price in enumerate(bids)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert not turns.taken
    return got


async def test_the_highest_bid_goes_next_and_among_equal_ones_who_came_first() -> None:
    assert await order([1, 3, 2]) == [1, 2, 0]
    assert await order([5, 5, 5]) == [0, 1, 2]
    assert await order([0, 1, ASKED, UNKNOWN]) == [2, 3, 1, 0]


async def test_who_was_passed_over_often_goes_next_whatever_it_pays() -> None:
    turns, got = Turns(), list[str]()

    async def works(name: str, price: float, times: int) -> None:
        for _ in range(times):
            async with turns.turn(price):
                got.append(name)
                await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await asyncio.gather(works("poor", 0, 3), works("rich", 9, 40), works("richer", 10, 40))
    at = [place for place, name in enumerate(got) if name == "poor"]
    assert all(later - earlier <= MOST_PASSED + 2 for earlier, later in pairwise(at)), got


@pytest.mark.parametrize("seed", range(20))
async def test_the_turn_is_never_lost_and_never_there_twice(seed: int) -> None:
    """Whoever gives up, before, while or after the turn is given."""
    chance, turns, inside = random.Random(seed), Turns(), 0

    async def one() -> None:
        nonlocal inside
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        async with turns.turn(chance.random()):
            inside += 1
            assert inside == 1
            try:
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
            finally:
                inside -= 1

    tasks = [asyncio.create_task(one()) for _ in range(30)]
    for task in chance.sample(tasks, 12):
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        task.cancel()
    async with asyncio.timeout(30):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(one is None or isinstance(one, asyncio.CancelledError) for one in ended) and not turns.taken
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        await stack.enter_async_context(turns.turn(0))


def test_a_bid_is_the_share_of_the_round_s_pay_a_processor_second() -> None:
    """100 LL a round, of which the settler takes a twentieth, for a quarter of all stake."""
    task = FakeGateway(seed=1).first.described()
    task = replace(task, round=replace(task.round, eligible=4000))
    assert task.terms.reward == 100 * LL_WEI and task.terms.settler_bps == 500
    assert expected_pay(task, ENOUGH) == 95 * LL_WEI // 4
    assert expected_pay(replace(task, pot=LL_WEI), ENOUGH) == 95 * LL_WEI // 400
    assert expected_pay(replace(task, pot=0), ENOUGH) == 0 and expected_pay(task, replace(ENOUGH, eligible=0)) == 0
    assert bid(task, ENOUGH, 0.5) == 95 * LL_WEI / 2 and bid(task, ENOUGH, 0) == UNKNOWN
    assert bid(replace(task, pot=0), ENOUGH, 0.5) == 0
