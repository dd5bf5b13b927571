"""The newest block is asked for once for everybody where blocks come by themselves, and every time where they do not."""

import asyncio

from services.chain_gateway.heads import Head, Heads


class Chain:
    """A block every `interval_s` of a clock that only `step` moves; with interval 0, a block for each `number`."""

    def __init__(self, interval_s: float = 0.0) -> None:
        self.now = 100.0
        self.interval_s = interval_s
        self.number = 0
        self.empty = True
        self.asked = 0
        self.heads = Heads(self._ask, monotonic=lambda: self.now)

    async def _ask(self) -> Head:
        self.asked += 1
        await asyncio.sleep(0)
        number = int((self.now - 100) / self.interval_s) if self.interval_s else self.number
        return Head(number, 0, 7, number.to_bytes(32, "big"), self.empty)

    async def learn(self) -> None:
        for _ in range(80):
            self.now += self.interval_s / 4
            await self.heads.look()
        assert self.heads.interval_s


async def test_a_block_that_comes_by_itself_is_asked_for_about_once() -> None:
    chain = Chain(0.5)
    await chain.learn()
    assert 0.4 < chain.heads.interval_s < 0.6
    began, chain.asked = chain.heads.number, 0
    for _ in range(1000):
        chain.now += 0.01
        await asyncio.gather(*(chain.heads.look() for _ in range(5)))
    assert 19 <= chain.heads.number - began <= 21
    assert 20 <= chain.asked <= 60


async def test_what_is_told_is_late_by_no_more_than_a_block() -> None:
    chain = Chain(0.5)
    await chain.learn()
    for _ in range(500):
        chain.now += 0.013
        told = (await chain.heads.look()).number
        assert told >= int((chain.now - 100) / 0.5) - 1


async def test_on_a_chain_that_makes_blocks_on_demand_every_look_is_a_question() -> None:
    chain = Chain()
    chain.empty = False
    for number in range(20):
        chain.now += 0.5
        chain.number = number
        assert (await chain.heads.look()).number == number
    assert chain.heads.interval_s == 0 and chain.asked == 20
    assert chain.heads.due_in(7.0) == 7.0


async def test_whoever_has_seen_a_receipt_is_told_of_its_block_at_once() -> None:
    chain = Chain(0.5)
    await chain.learn()
    chain.now += 0.01
    chain.heads.reached(chain.heads.number + 1)
    asked = chain.asked
    await chain.heads.look()
    assert chain.asked > asked


async def test_a_chain_that_stops_making_blocks_is_one_on_demand_again() -> None:
    chain = Chain(0.5)
    await chain.learn()
    stopped = chain.heads.number
    chain.interval_s, chain.number, chain.empty = 0.0, stopped, False
    for _ in range(60):
        chain.now += 0.1
        await chain.heads.look()
    assert chain.heads.interval_s == 0


async def test_a_caller_that_is_cancelled_does_not_take_the_answer_from_others() -> None:
    chain = Chain(0.5)
    await chain.learn()
    chain.now += 5
    first, second = asyncio.create_task(chain.heads.look()), asyncio.create_task(chain.heads.look())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).number == int((chain.now - 100) / 0.5)


async def test_a_block_that_was_told_once_and_never_shown_is_forgotten() -> None:
    """It was a lie, or the node is another now. Blocks are learned to come by themselves again, and are asked for once."""
    chain = Chain(0.5)
    await chain.learn()
    chain.heads._seen(Head(10**6, 0, 7, b"\xff" * 32, True))
    chain.heads.reached(10**6)
    await chain.learn()
    assert chain.heads.number == int((chain.now - 100) / 0.5)
    chain.asked = 0
    for _ in range(100):
        chain.now += 0.01
        await chain.heads.look()
    assert chain.asked <= 12
