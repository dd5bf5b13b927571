"""How much anybody may make the chain's process hold. Counted in bytes, not in messages; the README has the same list."""

from __future__ import annotations

from typing import Final

MIB: Final = 1024 * 1024

BODY_BYTES: Final = 5 * MIB
"""Of a request, single or batch, and of a WebSocket message; more is HTTP 413, as on the node."""
BODY_DEPTH: Final = 32
"""Nested arrays and objects in a request; the deepest method needs eight."""
BODY_VALUES: Final = 200_000
"""Items, members, arrays and objects in a request."""
BATCH_ITEMS: Final = 1000
"""Requests in a batch."""
ANSWER_BYTES: Final = 25 * MIB
"""Of one answer's logs, and of all answers of a batch together; what no longer fits is error -32003, as on go-ethereum."""
HELD_BYTES: Final = 256 * MIB
"""Bodies, answers and WebSocket backlogs of all callers together; beyond it HTTP 503."""
SOCKETS: Final = 256
"""WebSockets open at once; beyond it HTTP 503."""
BACKLOG_BYTES: Final = 32 * MIB
"""That wait for one slow WebSocket reader; beyond it the connection is closed (1013)."""
SUBSCRIPTIONS: Final = 1000
"""Of one WebSocket."""
FILTERS: Final = 1000
"""Of the whole chain."""
CRITERIA: Final = 10_000
"""Addresses and topics in all subscriptions of one WebSocket, and ten times as many in all filters of the chain."""
ARRIVALS: Final = 10_000
"""Transaction hashes that wait for a pending-transaction filter; one that falls further behind is gone."""
PERCENTILES: Final = 100
"""In one eth_feeHistory, as on go-ethereum."""
SNAPSHOTS: Final = 10_000
SNAPSHOT_BYTES: Final = 64 * MIB
"""Raw bytes of waiting transactions in all snapshots together."""

TOO_LARGE: Final = -32003


class MemoryAccount:
    """A count of bytes in memory against a limit. Used on one event loop."""

    def __init__(self, limit: int = HELD_BYTES) -> None:
        self._limit = limit
        self._held = 0

    @property
    def bytes(self) -> int:
        return self._held

    def take(self, count: int) -> bool:
        """False, and nothing is counted, if that would be too many."""
        if self._held + count > self._limit:
            return False
        self._held += count
        return True

    def give_back(self, count: int) -> None:
        self._held -= count
