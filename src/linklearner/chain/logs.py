"""Logs in as many questions as a node wants: it answers for so many blocks, and with so many events, at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from linklearner.chain.answers import Log
from linklearner.chain.profile import Profile
from linklearner.domain.errors import Refused, Unavailable

TOO_MANY: Final = "returned more than"
"""What nodes say, Artela's and go-ethereum's kin, of a range with more events than they return at once (10,000)."""


def block_ranges(first: int, last: int, profile: Profile) -> Iterator[tuple[int, int]]:
    """Blocks first…last in ranges that one question may have: their first and last blocks."""
    for start in range(first, last + 1, profile.log_blocks):
        yield start, min(start + profile.log_blocks - 1, last)


async def in_parts(ask: Callable[[int, int], Awaitable[list[Log]]], first: int, last: int) -> list[Log]:
    """What `ask` answers for blocks first…last; in two halves where the node has too many events. Raises what asking raises."""
    try:
        return await ask(first, last)
    except (Refused, Unavailable) as error:
        if TOO_MANY not in error.message or first == last:
            raise
    middle = (first + last) // 2
    return [*await in_parts(ask, first, middle), *await in_parts(ask, middle + 1, last)]
