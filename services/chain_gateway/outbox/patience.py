"""How long to wait for a chain that may be slow, lossy or broken, and what an account's nonce means meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds and blocks."""

    receipt_s: float = 60.0
    """A caller is answered TimedOut after this; the request goes on by itself."""
    lost_blocks: int = 10
    """A transaction of which the node knows nothing is lost (or, with its nonce used, failed) after so many blocks …"""
    lost_at_least_s: float = 5.0
    """… and this time, …"""
    lost_at_most_s: float = 30.0
    """… or after this time alone: a chain without traffic may make no blocks."""
    first_poll_s: float = 0.02
    longest_poll_s: float = 0.25
    poll_growth: float = 1.5
    """Each poll without news is followed by a pause so many times as long, up to the longest."""
    check_s: float = 2.5
    """How often the account's nonce is looked at while there is no receipt."""
    retry_s: float = 0.5
    """Pause before an unreachable node is tried again."""
    proofs: int = 3
    """How often in a row the first three must have passed before a used nonce without a receipt means failed."""
    review_s: float = 60.0
    """How often blocks are searched for what is not watched any more and may have landed all the same."""

    def over(self, blocks: int, seconds: float) -> bool:
        """Whether something that has been so for this long is taken for what it seems."""
        return (blocks >= self.lost_blocks and seconds >= self.lost_at_least_s) or seconds >= self.lost_at_most_s


class Sign(Enum):
    """What an account's nonce suggests of a transaction without a receipt. Never a proof."""

    NOTHING = "it may land with the next block"
    JUST_USED = "its nonce is used since the last look: by itself, or by another transaction"
    LONG_USED = "its nonce has been used for as long as patience lasts"
    LONG_MISSING = "the node has held nothing at its nonce for as long as patience lasts"


class NonceSigns:
    """Reads an account's nonces, look after look, for one transaction that has no receipt. Pure: the caller brings block and time."""

    def __init__(self, patience: Patience, nonce: int) -> None:
        self._patience = patience
        self._nonce = nonce
        self._used_since: tuple[int, float] | None = None
        self._missing_since: tuple[int, float] | None = None
        self._proofs = 0

    def look(self, latest: int, pending: int, block: int, now_s: float) -> Sign:
        """latest, pending: the account's next nonce by the chain's state, and with what the node holds."""
        used, missing = latest > self._nonce, pending <= self._nonce
        just_used = used and self._used_since is None
        self._used_since = (self._used_since or (block, now_s)) if used else None
        self._missing_since = (self._missing_since or (block, now_s)) if missing else None
        if not used:
            self._proofs = 0
        if just_used:
            return Sign.JUST_USED
        if self._over(self._used_since, block, now_s):
            return Sign.LONG_USED
        if self._over(self._missing_since, block, now_s):
            return Sign.LONG_MISSING
        return Sign.NOTHING

    def unexplained(self) -> bool:
        """After LONG_USED, where no block shows who used the nonce: whether that was so often enough. The time begins anew."""
        self._used_since = None
        self._proofs += 1
        return self._proofs >= self._patience.proofs

    def sent_anew(self) -> None:
        """After LONG_MISSING: the time begins anew."""
        self._missing_since = None

    def _over(self, since: tuple[int, float] | None, block: int, now_s: float) -> bool:
        return since is not None and self._patience.over(block - since[0], now_s - since[1])
