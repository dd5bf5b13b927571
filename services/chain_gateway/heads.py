"""The chain's newest block, looked at once for everybody.

A chain that makes blocks on demand is asked whenever somebody wants to know: there is no telling when the next one comes. A
chain that makes them by itself is known by its empty blocks; its newest block then counts as known until the next one is due,
and everybody who waits for it (receipts, history, fees) shares one question. So the answer may be late by a fraction of a
block's time, but never older than a block that has been seen in a receipt: whoever has caused something reads it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

REGULAR: Final = 3
"""Empty blocks in a row, at steady distances, that make a chain one that makes blocks by itself."""
_DUE: Final = 0.85
"""Of a block's time: when the next one is looked for …"""
_STEP: Final = 1 / 6
"""… and then at these distances."""
_LONGEST_S: Final = 1.0
_SHORTEST_S: Final = 0.02
_STALLED: Final = 6
"""Block times without a block, after which nothing is known any more."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block: number, Unix seconds, wei per gas, hash; empty: without transactions; parent: hash of the block before it."""

    number: int
    time_s: int
    base_fee: int
    hash: bytes
    empty: bool = False
    parent: bytes = b""


class Heads:
    """ask: what the node's newest block is."""

    def __init__(self, ask: Callable[[], Awaitable[Head]], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self.newest: Head | None = None
        """The last one seen."""
        self._seen_at = 0.0
        self._fresh_until = 0.0
        self._floor = 0
        self._gap_s = 0.0
        self._regular = 0
        self._asking: asyncio.Task[Head] | None = None

    @property
    def interval_s(self) -> float:
        """Seconds between blocks; 0 for a chain of which that is not known."""
        return self._gap_s if self._regular >= REGULAR else 0.0

    @property
    def number(self) -> int:
        """Of the newest block seen, 0 before the first."""
        return self.newest.number if self.newest is not None else 0

    async def look(self) -> Head:
        """The newest block. Raises what asking raises."""
        if self.newest is not None and self.interval_s and self._monotonic() < self._fresh_until:
            return self.newest
        head = await self._shared()
        if head.number < self._floor and self.interval_s:  # a question that was under way when the receipt came
            head = await self._shared()
        return head

    async def _shared(self) -> Head:
        if not self.interval_s:
            return self._seen(await self._ask())
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._look())
        # a caller that is cancelled must not take the answer from the others
        return await asyncio.shield(self._asking)

    async def _look(self) -> Head:
        return self._seen(await self._ask())

    def _seen(self, head: Head) -> Head:
        now, before = self._monotonic(), self.newest
        if before is not None and head.number <= before.number:
            self._fresh_until = now + max(self._gap_s * _STEP, _SHORTEST_S)
            if now - self._seen_at > max(_STALLED * self._gap_s, 2.0):
                # nor is a larger number that was told once, and that nobody has shown since: else nothing would be the newest any more
                self._regular, self._floor, self.newest = 0, 0, head
            elif head.number == before.number and head.hash != before.hash:
                self.newest = head
            return head
        if before is not None:
            gap = (now - self._seen_at) / (head.number - before.number)
            steady = self._gap_s / 3 <= gap <= 3 * self._gap_s if self._gap_s else True
            if self._regular < REGULAR:
                self._regular = self._regular + 1 if head.empty and steady and gap > 0.1 else int(head.empty)
            self._gap_s = gap if not steady or not self._gap_s else 0.8 * self._gap_s + 0.2 * gap
        self.newest, self._seen_at = head, now
        self._fresh_until = now + min(_DUE * self._gap_s, _LONGEST_S)
        return head

    def reached(self, block: int) -> None:
        """There is a block of this number: what was known before is too old."""
        if block > self._floor:
            self._floor = block
        if block > self.number:
            self._fresh_until = 0.0

    def forget(self) -> None:
        """What was told of the newest block is not so: the next look asks, and begins to learn how often blocks come."""
        self.newest, self._fresh_until, self._floor, self._regular = None, 0.0, 0, 0

    def due_in(self, at_most_s: float) -> float:
        """Seconds until it is worth to look again."""
        if not self.interval_s:
            return at_most_s
        return min(at_most_s, max(self._fresh_until - self._monotonic(), _SHORTEST_S))

    async def after(self, number: int, pause_s: float) -> None:
        """Until there is a block beyond `number`, on a chain that makes them by itself (or six block times); for `pause_s` on another."""
        if not self.interval_s:
            await asyncio.sleep(pause_s)
            return
        until = self._monotonic() + max(pause_s, _STALLED * self.interval_s)
        while self.number <= number and self._monotonic() < until and self.interval_s:
            await asyncio.sleep(self.due_in(pause_s + self.interval_s))
            await self.look()
