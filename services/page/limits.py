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

    def take(self, client: str, count: float = 1.0) -> bool:
        """Whether the client may ask for so much now; if so, it has."""
        now = self._clock()
        left, then = self._left.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        granted = left >= count
        self._left[client] = (left - count if granted else left, now)
        if len(self._left) > MAX_CLIENTS:
            del self._left[next(iter(self._left))]
        return granted
