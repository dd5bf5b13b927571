"""What goes into an execution and what comes out of it; no py-evm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockContext:
    """What instructions can read of the block."""

    number: int
    timestamp: int
    coinbase: bytes
    gas_limit: int
    base_fee: int
    chain_id: int
    ancestor_hash: Callable[[int], bytes]
    """Hash of a block by number; 32 zero bytes where there is none."""


@dataclass(frozen=True, slots=True)
class EventLog:
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Execution:
    """What a message came to."""

    output: bytes
    """Return data; on a revert the reason; empty on other errors."""
    gas_left: int
    error: str | None
    """go-ethereum's text, None on success."""
    logs: tuple[EventLog, ...] = ()
    refund: int = 0
    contract: bytes | None = None
    """Address of the created contract, whether or not that succeeded."""
