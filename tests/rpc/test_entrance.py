"""How calls come in: by whom, how many at once, how long, and what of them comes back or stays in a log."""

import asyncio
import io
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from linklearner import log
from linklearner.domain.errors import Exhausted, InvalidInput, NotFound, Unauthenticated
from linklearner.rpc import server as rpc_server
from linklearner.rpc.channel import channel
from linklearner.rpc.entrance import Context, Entrance, Places, network_of
from linklearner.rpc.server import RpcServer
from linklearner.rpc.status import from_rpc_error
from linklearner.v1 import session_pb2 as session
from linklearner.v1 import session_pb2_grpc as session_grpc

SERVICE = "linklearner.v1.SessionService"
CREATE = f"/{SERVICE}/CreateChallenge"


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("ipv4:10.1.2.3:4567", "10.1.2.3"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:99", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2:ffff::1]:99", "2001:db8:1:2::/64"),
        ("ipv6:[fe80::1%eth0]:99", "fe80::/64"),
        ("unix:/run/x", "unix:/run/x"),
    ],
)
def test_bounds_see_one_caller_behind_an_address_or_a_64(peer: str, network: str) -> None:
    assert network_of(peer) == network


async def hold(places: Places, party: str, done: list[str], name: str) -> None:
    try:
        async with places.taken(party):
            await asyncio.sleep(60)
    except Exhausted:
        done.append(name)


async def test_one_more_pushes_out_the_oldest_of_the_party_that_takes_the_most() -> None:
    places, done = Places(4, None), list[str]()
    tasks = []
    for party, name in (("b", "b1"), ("a", "a1"), ("a", "a2"), ("a", "a3"), ("c", "c1"), ("c", "c2"), ("d", "d1")):
        tasks.append(asyncio.create_task(hold(places, party, done, name)))
        await asyncio.sleep(0.01)
    assert done[:2] == ["a1", "a2"] and len(done) == 3 and done[2] in ("c1",)
    assert len(places) == 4
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(places) == 0


async def test_a_place_is_held_for_its_seconds() -> None:
    places = Places(4, 0.05)
    with pytest.raises(Exhausted, match="took its place for too long"):
        async with places.taken("a"):
            await asyncio.sleep(60)
    assert len(places) == 0


class Echo(session_grpc.SessionServiceServicer):
    """Refuses with the words that it is given."""

    async def CreateChallenge(self, request: Any, context: Any) -> Any:  # noqa: N802
        return session.CreateChallengeResponse(message="ok")

    async def CloseSession(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotFound(f"'{request.token}' is not found", facts={"token": request.token, request.token: "x"})


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[str]:
    async with RpcServer(
        "127.0.0.1:0", lambda s: session_grpc.add_SessionServiceServicer_to_server(Echo(), s), (SERVICE,), **options
    ) as server:
        yield server.address


class Refusing(Entrance):
    async def enter(self, context: Context) -> Any:
        raise Unauthenticated("not you")


async def half_sent(address: str, method: str = CREATE) -> Any:
    """A call that never sends its message."""
    wire = grpc.aio.insecure_channel(address)
    call = wire.stream_unary(method)()
    await call.wait_for_connection()
    return wire, call


async def test_a_call_is_refused_before_its_message_has_come() -> None:
    async with serving(entrances={CREATE: Refusing()}) as address:
        wire, call = await half_sent(address)
        async with asyncio.timeout(10):
            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        await wire.close()


async def test_messages_that_do_not_come_give_way_to_those_that_do() -> None:
    async with serving(entrance=Entrance(bodies=Places(2, 60), max_bytes=100)) as address:
        slow = [await half_sent(address) for _ in range(2)]
        async with channel(address) as wire:
            stub = session_grpc.SessionServiceStub(wire)
            assert (await stub.CreateChallenge(session.CreateChallengeRequest(), timeout=10)).message == "ok"
            with pytest.raises(grpc.RpcError) as caught:
                await stub.CreateChallenge(session.CreateChallengeRequest(address=bytes(100)))
            assert (type(from_rpc_error(caught.value)), from_rpc_error(caught.value).reason) == (
                InvalidInput,
                "TooLong",
            )
        for wire_, _ in slow:
            await wire_.close()


async def test_bytes_that_are_no_message_are_the_callers_fault() -> None:
    async with serving() as address, channel(address) as wire:
        with pytest.raises(grpc.RpcError) as caught:
            await wire.unary_unary(CREATE)(b"\xff\xff")
        assert from_rpc_error(caught.value).reason == "NotAMessage"
        call = wire.stream_unary(CREATE)(iter(()))
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_health_streams_are_bounded_and_newcomers_get_theirs() -> None:
    entrance = Entrance(bodies=Places(8, 10), streams=Places(3, None), max_bytes=100)
    async with serving(entrance=entrance) as address, channel(address) as wire:
        stub = health_pb2_grpc.HealthStub(wire)
        watches = []
        for _ in range(5):
            watches.append(stub.Watch(health_pb2.HealthCheckRequest()))
            assert (await watches[-1].read()).status is not None
        for watch in watches[:2]:
            assert await watch.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not any(watch.done() for watch in watches[2:])
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status is not None


async def test_what_a_caller_wrote_comes_back_and_is_logged_abridged() -> None:
    long, written = "x" * 3_000_000, io.StringIO()
    log.configure(service="test", stream=written)
    async with serving() as address, channel(address) as wire:
        stub = session_grpc.SessionServiceStub(wire)
        for _ in range(20):
            with pytest.raises(grpc.RpcError) as caught:
                await stub.CloseSession(
                    session.CloseSessionRequest(token=long), metadata=(("x-request-id", "y" * 4000),)
                )
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            error = from_rpc_error(caught.value)
            assert error.message.startswith("'xxx") and len(error.message) <= 1024
            assert len(error.facts["token"]) <= 256
    structlog.reset_defaults()
    printed = written.getvalue()
    assert "NOT_FOUND" in printed and "yyyy" not in printed
    assert len(printed) < 20 * 2048


async def test_a_request_id_in_order_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving() as address, channel(address) as wire:
        stub = session_grpc.SessionServiceStub(wire)
        await stub.CreateChallenge(session.CreateChallengeRequest(), metadata=(("x-request-id", "round-1-7"),))
    assert "round-1-7" in "".join(capsys.readouterr())


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes((kind, flags)) + bytes(4) + body


async def pings(address: str, count: int, apart_s: float) -> bool:
    """Whether a client that pings so, without any call, is still connected after it."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PREFACE + frame(4, 0, b""))
    gone = False

    async def read() -> None:
        nonlocal gone
        try:
            while True:
                head = await reader.readexactly(9)
                body = await reader.readexactly(int.from_bytes(head[:3]))
                if head[3] == 4 and not head[4] & 1:
                    writer.write(frame(4, 1, b""))
                if head[3] == 7:  # GOAWAY
                    assert b"too_many_pings" in body
                    gone = True
        except (asyncio.IncompleteReadError, ConnectionError):
            gone = True

    reading = asyncio.create_task(read())
    for number in range(count):
        writer.write(frame(6, 0, number.to_bytes(8)))
        await asyncio.sleep(apart_s)
    await asyncio.sleep(0.3)
    reading.cancel()
    writer.close()
    return not gone


async def test_clients_that_ping_now_and_then_are_not_cut_off_and_those_that_flood_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert rpc_server.MIN_PING_INTERVAL_MS == 5000  # keepalives of 10 s are the usual ones
    monkeypatch.setattr(rpc_server, "MIN_PING_INTERVAL_MS", 50)
    async with serving() as address:
        assert await pings(address, 8, 0.2)
        assert not await pings(address, 20, 0.0)
