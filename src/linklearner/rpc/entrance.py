"""How a call comes in: who is asking is settled before a byte of the message is read, and reading is bounded.

gRPC receives the message of a unary call, up to `max_receive_message_length`, and parses it before it calls anybody. A handler that is
registered as client streaming looks the same on the wire and is called first: of the message nothing is taken off the transport, which
holds the sender back at its flow-control window (64 KiB at first), until the handler asks. `RpcServer` registers all its methods so.
"""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Hashable
from types import TracebackType
from typing import Any

import grpc

from linklearner.domain.errors import Exhausted, InvalidInput

Context = grpc.aio.ServicerContext[Any, Any]


class Places:
    """Room for so many at once. One more pushes out the oldest of the party that takes the most, so no party can shut the others out.

    seconds: how long a place may be held; None: as long as nobody pushes.
    """

    def __init__(self, most: int, seconds: float | None) -> None:
        self._most = most
        self._seconds = seconds
        self._held = 0
        self._parties: dict[Hashable, dict[asyncio.Timeout, None]] = {}

    def __len__(self) -> int:
        return self._held

    def taken(self, party: Hashable) -> "_Place":
        """A place for this party, as a context. Raises Exhausted at its end if it was pushed out or its time is over."""
        return _Place(self, party, self._seconds)

    def _take(self, party: Hashable, place: asyncio.Timeout) -> None:
        if self._held >= self._most:
            busiest = max(self._parties, key=lambda other: len(self._parties[other]))
            oldest = next(iter(self._parties[busiest]))
            self._free(busiest, oldest)
            oldest.reschedule(asyncio.get_running_loop().time())
        self._parties.setdefault(party, {})[place] = None
        self._held += 1

    def _free(self, party: Hashable, place: asyncio.Timeout) -> None:
        places = self._parties.get(party)
        if places is not None and place in places:
            del places[place]
            self._held -= 1
            if not places:
                del self._parties[party]


class _Place:
    """A class rather than a generator: every call of a session passes here, and it costs half."""

    __slots__ = ("_party", "_places", "_timeout")

    def __init__(self, places: Places, party: Hashable, seconds: float | None) -> None:
        self._places = places
        self._party = party
        self._timeout = asyncio.Timeout(None if seconds is None else asyncio.get_running_loop().time() + seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._places._take(self._party, self._timeout)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._places._free(self._party, self._timeout)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise Exhausted(
                "this call took its place for too long while others were waiting: try again", reason="GaveWay"
            ) from None


class Entrance:
    """How the calls of a method come in; this one lets everyone in, by the network they call from.

    bodies: places for messages that are being received; None: no bound. streams: places for answers that stream. max_bytes: of a message.
    """

    def __init__(
        self, *, bodies: Places | None = None, streams: Places | None = None, max_bytes: int | None = None
    ) -> None:
        self.bodies = bodies
        self.streams = streams
        self.max_bytes = max_bytes

    async def enter(self, context: Context) -> Any:
        """The party that calls, hashable. Raises what refuses it."""
        return network_of(context.peer()) if self.bodies is not None else None

    def leave(self, party: Any, error: BaseException | None) -> None:
        """Called once for each party that has entered. error: what the call ended with."""

    def check(self, message: bytes) -> None:
        """Raises InvalidInput for a message that should not be parsed."""

    async def message(self, context: Context, party: Hashable) -> bytes:
        """The bytes of the call's one message. Raises Exhausted or InvalidInput."""
        message = await self._read(context, party)
        if message is None:
            raise InvalidInput("this call takes one message, and none came", reason="NoMessage")
        return message

    async def messages(self, context: Context, party: Hashable) -> AsyncIterator[bytes]:
        """The bytes of each message of a call that streams them. Raises as `message` does; how many there may be is for the call to say."""
        while (message := await self._read(context, party)) is not None:
            yield message

    async def _read(self, context: Context, party: Hashable) -> bytes | None:
        """None where the caller has ended."""
        if self.bodies is None:
            message = await context.read()
        else:
            async with self.bodies.taken(party):
                message = await context.read()
        if not isinstance(message, bytes):
            return None
        if self.max_bytes is not None and len(message) > self.max_bytes:
            raise InvalidInput(
                f"a message here has at most {self.max_bytes} bytes, not {len(message)}", reason="TooLong"
            )
        self.check(message)
        return message


def network_of(peer: str) -> str:
    """Who asks, as far as bounds are concerned: an IPv4 address or an IPv6 /64 out of gRPC's peer text; other texts as they are."""
    kind, _, rest = peer.partition(":")
    host = rest.rpartition(":")[0].strip("[]").replace("%5B", "").replace("%5D", "")
    if kind == "ipv6":
        try:
            return str(ipaddress.IPv6Network((host.partition("%")[0], 64), strict=False))
        except ValueError:
            return peer
    return host if kind == "ipv4" else peer
