"""What a caller asks for, and what it is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from linklearner.chain.answers import Receipt
from linklearner.domain.errors import InvalidInput
from services.chain_gateway.chain import Call

MAX_REQUEST_ID: Final = 192
"""Characters: a caller's 128, its namespace, and what a use case of several transactions puts behind them."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a request_id stands for. contents: whatever makes it this request and no other; only its digest is kept."""

    request_id: str
    account: bytes
    kind: str
    contents: bytes

    def __post_init__(self) -> None:
        if not 1 <= len(self.request_id) <= MAX_REQUEST_ID:
            raise InvalidInput(f"a request_id has 1 to {MAX_REQUEST_ID} characters, not {len(self.request_id)}")

    @property
    def digest(self) -> bytes:
        kind = self.kind.encode()
        return bytes(keccak(len(kind).to_bytes(2, "big") + kind + self.account + self.contents))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A transaction that succeeded. length: bytes as signed."""

    receipt: Receipt
    length: int


Prepare = Callable[[], Awaitable[Call]]
"""Makes the call that a request sends; asked only while nothing is signed. May raise what the caller should see."""


def always(call: Call) -> Prepare:
    """For a request that knows its call beforehand."""

    async def prepare() -> Call:
        return call

    return prepare
