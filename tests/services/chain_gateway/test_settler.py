"""Rounds settle by themselves: once, by whoever is there."""

import asyncio
from contextlib import AsyncExitStack

from conftest import ROUND_SECONDS, World

from services.chain_gateway.gateway import Gateway
from services.chain_gateway.settler import AutoSettler


async def gateways(stack: AsyncExitStack, world: World) -> list[Gateway]:
    """One for each contributor, each with its own key and its own outbox."""
    started = []
    for who, account in enumerate(world.accounts):
        gateway = world.gateway(keystore=world.keystore_with(account), outbox=world.folder / f"outbox-{who}.sqlite")
        started.append(await stack.enter_async_context(gateway))
    return started


async def version_of(gateway: Gateway) -> int:
    return (await gateway.ledger.task(1)).version


async def until_version(gateway: Gateway, version: int, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while await version_of(gateway) < version:
            await asyncio.sleep(0.05)


async def contribute(world: World, gateways: list[Gateway], version: int = 1) -> None:
    for who in (0, 1):
        update = world.update(version, seed=who)
        await gateways[who].ledger.submit_update(f"u{version}", world.accounts[who], update)


async def test_several_gateways_settle_a_round_once(world: World) -> None:
    async with AsyncExitStack() as stack:
        served = await gateways(stack, world)
        settlers = [asyncio.create_task(AutoSettler(gateway.ledger, turn_s=2.0).run()) for gateway in served]
        await contribute(world, served)
        await until_version(served[0], 2, within_s=30)
        await asyncio.sleep(0.5)
        chain = served[0].ledger.chain
        sent = [await chain.nonce(account) for account in world.accounts]
        assert (
            sum(sent) == 3 + 2 + 2
        )  # locks, updates, and one settlement of two groups: nobody paid for coming too late
        for settler in settlers:
            settler.cancel()


async def test_the_next_gateway_settles_when_the_first_is_gone(world: World) -> None:
    async with AsyncExitStack() as stack:
        served = await gateways(stack, world)
        await contribute(world, served)
        task = await served[0].ledger.task(1)
        for gateway in served:
            await gateway.ledger.events.sync()
        turns = {AutoSettler(gateway.ledger)._turn(task)[0]: gateway for gateway in served}
        assert sorted(turns) == [0, 1, 2]  # everybody computes the same order; who took no part comes last
        assert turns[2] is served[2]
        later = asyncio.create_task(AutoSettler(turns[1].ledger, turn_s=0.5).run())  # the one before it is gone
        await until_version(turns[1], 2, within_s=30)
        history = await turns[1].ledger.round(1, 1)
        assert history.settler == turns[1].ledger.accounts[0]
        later.cancel()


async def test_nothing_is_settled_before_its_time(world: World) -> None:
    async with AsyncExitStack() as stack:
        served = await gateways(stack, world)
        settler = asyncio.create_task(AutoSettler(served[0].ledger, turn_s=0.1).run())
        await served[0].ledger.submit_update("u", world.accounts[0], world.update())
        await asyncio.sleep(1.0)
        assert await version_of(served[0]) == 1
        settler.cancel()


async def test_a_round_that_stays_short_of_its_quorum_is_settled_when_its_time_is_up(
    world: World, monkeypatch: object
) -> None:
    async with AsyncExitStack() as stack:
        served = await gateways(stack, world)
        await served[0].ledger.submit_update("u", world.accounts[0], world.update())
        await world.devchain.thread.run(world.devchain.chain.increase_time, ROUND_SECONDS + 1)
        await served[2].ledger.transfer_coin("block", world.accounts[2], world.accounts[2], 0)  # somebody makes a block
        head = await served[0].ledger.chain.head()
        settler = asyncio.create_task(AutoSettler(served[0].ledger, turn_s=0.1, clock=lambda: head.time_s + 1.0).run())
        await until_version(served[0], 2, within_s=30)
        settler.cancel()


async def test_one_gateway_that_settles_by_itself_needs_no_asking(world: World) -> None:
    async with world.gateway(auto_settle=True) as gateway:
        for version in (1, 2):
            for who in (0, 1):
                await gateway.ledger.submit_update(
                    f"u{version}-{who}", world.accounts[who], world.update(version, seed=who)
                )
            await until_version(gateway, version + 1, within_s=30)
