"""What others put on the chain, a full disk and a broken node make a gateway not ready; what it cannot survive ends the process."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator

import pytest

from linklearner.domain.errors import InvalidInput, NotFound, Refused
from services.chain_gateway import __main__ as program
from services.chain_gateway import gateway as gateway_module
from services.chain_gateway.events import EventIndex
from tests.services.chain_gateway.conftest import World


@pytest.mark.parametrize(
    "trouble",
    [
        sqlite3.OperationalError("database or disk is full"),
        OSError(5, "Input/output error"),
        Refused("something new", reason="NodeRefused"),
        NotFound("pruned"),
        InvalidInput("bytes of somebody"),
    ],
    ids=repr,
)
async def test_the_follower_goes_on_after(world: World, monkeypatch: pytest.MonkeyPatch, trouble: Exception) -> None:
    monkeypatch.setattr(gateway_module, "FOLLOW_RETRY_S", 0.05)
    troubles = [trouble] * 3
    real = EventIndex.sync

    async def sync(self: EventIndex, at_least: int = 0) -> int:
        if troubles:
            raise troubles.pop()
        return await real(self, at_least)

    monkeypatch.setattr(EventIndex, "sync", sync)
    async with world.gateway() as gateway:
        async with asyncio.timeout(30):
            while troubles or gateway.ledger.events.head is None:
                await asyncio.sleep(0.01)
        assert not any(job.done() for job in gateway.jobs)


async def test_a_background_job_that_dies_ends_the_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor starts it again; NOT_SERVING without end would need somebody to notice."""

    async def follow(self: EventIndex, poll_s: float) -> AsyncIterator[str]:
        yield ""
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(EventIndex, "follow", follow)
    with pytest.raises(sqlite3.DatabaseError):
        async with asyncio.timeout(30):
            await program.serve(world.config())


async def test_a_failed_commit_leaves_no_transaction_open(world: World) -> None:
    async with world.gateway() as gateway:
        events = gateway.ledger.events
        await events.sync()
        connection = events._connection
        connection.execute("CREATE TRIGGER full BEFORE UPDATE ON cursor BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
        with pytest.raises(sqlite3.DatabaseError):
            events._keep([], events.cursor + 1)
        connection.execute("DROP TRIGGER full")
        events._keep([], events.cursor)
