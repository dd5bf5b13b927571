"""What there is to know of a task: the rows of its report.

Addresses have 20 bytes, digests and transactions 32; money is in wei, stake in units, times are Unix seconds. None: not known.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from linklearner.domain.replay import Flows
from linklearner.domain.rounds import Terms
from linklearner.domain.rules.evidence.verdicts import Outcome
from linklearner.domain.training import PrivacySpent


@dataclass(frozen=True, slots=True)
class Measured:
    """Of a version on held-out samples. value: of the task's metric, 1 is perfect."""

    metric: str
    value: float
    loss: float


@dataclass(slots=True)
class VersionFacts:
    """One version of the weights. round: that made it, 0 for the first weights."""

    version: int
    round: int
    digest: bytes
    block: int
    time_s: int
    accepted: int
    saturated: int
    measured: Measured | None = None


@dataclass(slots=True)
class RoundFacts:
    """One round. version: what it made. pot: what the task could pay after it."""

    round: int
    version: int | None = None
    dropped: bool = False
    accepted: int = 0
    update_bytes: int = 0
    submission_gas: int = 0
    settlement_gas: int = 0
    paid: int = 0
    """To contributors."""
    settler: bytes = b""
    settler_paid: int = 0
    pot: int | None = None
    ended_s: int = 0

    @property
    def over(self) -> bool:
        return self.version is not None or self.dropped


@dataclass(frozen=True, slots=True)
class VerdictFacts:
    """What rule evidence said of one update. gain, record: Q16. examples: opened for its round. paid: wei."""

    round: int
    account: bytes
    outcome: Outcome | None
    """None: one that this program does not know."""
    gain: int
    record: int
    examples: int
    paid: int = 0


@dataclass(slots=True)
class ContributorFacts:
    """One account that has contributed, tried to, or has stake. refused: how often, by reason; those that reached the chain."""

    account: bytes
    accepted: int = 0
    scaled: int = 0
    """Updates whose influence was scaled down because they were longer than the bound."""
    update_bytes: int = 0
    gas: int = 0
    """Of accepted updates."""
    refused: Counter[str] = field(default_factory=Counter)
    refused_gas: int = 0
    stake: int = 0
    earned: int = 0
    """By updates, ever."""
    settled: int = 0
    """As a settler."""
    claimable: int | None = None
    """Pay, and fees of its contributions and of its stake."""
    privacy: PrivacySpent | None = None
    """As its trainer says."""
    merged: int = 0
    """Of its updates, by rule evidence."""
    record: int | None = None
    """By rule evidence, after its last update: Q16."""


@dataclass(frozen=True, slots=True)
class RefusedFacts:
    """A transaction to the pool that failed."""

    block: int
    time_s: int
    transaction: bytes
    sender: bytes
    function: str
    reason: str
    gas: int


@dataclass(slots=True, kw_only=True)
class TaskFacts:
    """All of it, as of one block."""

    chain_id: int
    pool: bytes
    rpc: str
    """Without what is secret in a URL."""
    task: int
    creator: bytes
    name: str
    weights: int
    pages: int
    terms: Terms
    head: int
    opened_s: int
    opening_gas: int = 0
    versions: list[VersionFacts] = field(default_factory=list)
    rounds: list[RoundFacts] = field(default_factory=list)
    contributors: list[ContributorFacts] = field(default_factory=list)
    refused: list[RefusedFacts] | None = None
    """None: nobody looked, `refused_why` says why."""
    refused_why: str = ""
    verdicts: list[VerdictFacts] = field(default_factory=list)
    """By rule evidence, oldest first; none by another rule."""
    flows: Flows | None = None
    pot: int | None = None
    stake: int | None = None
    closed: bool = False
    divergence: str = ""
    """Empty: the whole history is what the rules give."""
    measured_by: str = ""
    """Which trainer, on how many samples."""
    measured_why: str = ""
    """Why nothing is measured."""
