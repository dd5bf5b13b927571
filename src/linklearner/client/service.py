"""What the clients of our services share: how to connect, and whose fault it is when an answer does not come or makes no sense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar, Self

import grpc

from linklearner.domain.errors import DataLoss, InvalidInput, InvalidModel, Unavailable
from linklearner.rpc.access import Credential
from linklearner.rpc.channel import channel
from linklearner.rpc.status import rpc_errors

READ_S = 60.0
"""Seconds for a question, unless its caller is in more of a hurry."""
MESSAGE_BYTES = 8 << 20
"""A gateway sends models in parts of a mebibyte, and everything else is smaller."""


class ServiceClient:
    """One service at one address.

    connect_s: seconds in which `_reached` waits for a connection; with 0 a call fails at once where nobody listens.
    remedy: what to do then; it is said in place of gRPC's own words.
    """

    kind: ClassVar[str]
    """What messages call it, in a word; facts of errors name its address by it."""
    full_kind: ClassVar[str]
    advice: ClassVar[str]
    """What to do about one that talks nonsense."""
    receive_bytes: ClassVar[int] = MESSAGE_BYTES
    """Of one message at most."""

    def __init__(self, wire: grpc.aio.Channel, address: str, *, connect_s: float = 0.0, remedy: str = "") -> None:
        self._wire = wire
        self.address = address
        self._connect_s = connect_s
        self._remedy = remedy

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, address: str, credential: Credential | None = None, *, connect_s: float = 0.0, remedy: str = ""
    ) -> AsyncIterator[Self]:
        """address: host:port. Nothing is asked yet; a service that is away is looked for again and again."""
        async with channel(address, credential, receive_bytes=cls.receive_bytes) as wire:
            yield cls(wire, address, connect_s=connect_s, remedy=remedy)

    async def _ask(self, method: Any, request: Any, timeout_s: float = READ_S) -> Any:
        with self._errors():
            return await method(request, timeout=timeout_s)

    async def _reached(self) -> None:
        if not self._connect_s:
            return
        try:
            async with asyncio.timeout(self._connect_s):
                await self._wire.channel_ready()
        except TimeoutError as late:
            raise self._absent() from late

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with rpc_errors():
                yield
        except Unavailable as error:
            # gRPC's own word that nobody is there, not the service's about its chain
            if self._remedy and error.reason == grpc.StatusCode.UNAVAILABLE.name:
                raise self._absent() from error
            raise

    @contextmanager
    def _sense(self) -> Iterator[None]:
        """An answer that is no answer is the service's fault, not the caller's."""
        try:
            yield
        except InvalidModel:  # perhaps written for a later version of this program; says so itself
            raise
        except InvalidInput as error:
            raise DataLoss(
                f"the {self.kind} at {self.address} answers what makes no sense ({error.message}): {self.advice}",
                reason=error.reason if error.reason != type(error).__name__ else "NonsensicalAnswer",
            ) from error

    def _absent(self) -> Unavailable:
        return Unavailable(
            f"no {self.full_kind} answers at {self.address}: {self._remedy or 'start one there, then call again'}",
            facts={self.kind: self.address},
        )
