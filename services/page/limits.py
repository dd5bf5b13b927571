"""How much one client may ask. Behind this server all calls come from one address, so whoever wants to bound a client has to do it here."""

import ipaddress
from collections.abc import Callable
from time import monotonic
from typing import Final

MAX_CLIENTS: Final = 4096
"""Remembered at once; the one that has been quiet longest is forgotten first, and is then a new one."""


def network_of(host: str | None) -> str:
    """Who asks, as far as bounds are concerned: an IPv4 address, an IPv6 /64."""
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if address.version == 4:
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped or ipaddress.IPv6Network((address, 64), strict=False))


class Allowance:
    """A token bucket a client: `burst` at once, `rate` a second in the long run."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: dict[str, tuple[float, float]] = {}
        """By client, in the order of the last call: what was left then, and when that was."""

    def take(self, client: str) -> bool:
        """Whether the client may ask once more now; if so, it has."""
        granted = self._refilled(client) >= 1
        if granted:
            self.charge(client, 1)
        return granted

    def charge(self, client: str, count: int) -> None:
        """For so much that the client has asked already, more than it may included: it waits the longer."""
        self._left[client] = (self._refilled(client) - count, self._clock())

    def _refilled(self, client: str) -> float:
        now = self._clock()
        left, then = self._left.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        self._left[client] = (left, now)
        if len(self._left) > MAX_CLIENTS:
            del self._left[next(iter(self._left))]
        return left
