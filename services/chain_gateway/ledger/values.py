"""What the use cases answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from linklearner.domain.model import ModelVersion
from linklearner.domain.rounds import Terms
from linklearner.domain.shape import Shape
from services.chain_gateway.outbox import Outcome


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction in a block. length: bytes of it as signed."""

    transaction: bytes
    block: int
    gas_used: int
    length: int

    @classmethod
    def of(cls, outcome: Outcome) -> Mined:
        receipt = outcome.receipt
        return cls(receipt.transaction_hash, receipt.block_number, receipt.gas_used, outcome.length)


@dataclass(frozen=True, slots=True)
class StakeStatus:
    """Units. unlocking_round: the round after which `unlocking` may be withdrawn."""

    eligible: int
    locked: int
    unlocking: int
    unlocking_round: int


@dataclass(frozen=True, slots=True)
class Balance:
    """$LL and the chain's coin, wei; stake is None where no task was asked for."""

    token: int
    coin: int
    stake: StakeStatus | None
    block: int


@dataclass(frozen=True, slots=True)
class RoundStatus:
    """Where the open round stands; stakes in units, times in Unix seconds. first_update_s: 0 while there is none; opened_s: 0 after it."""

    round: int
    accepted: int
    present: int
    eligible: int
    merged_groups: int
    first_update_s: int
    opened_s: int


@dataclass(frozen=True, slots=True)
class Task:
    """version: the number of the newest weights, 0 while the first ones are being loaded; announced: the same with its digest."""

    task: int
    model: str
    shape: Shape
    terms: Terms
    version: int
    announced: ModelVersion | None
    round: RoundStatus


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted update. weight, effective: units."""

    mined: Mined
    digest: bytes
    round: int
    weight: int
    effective: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Our transactions, one per group that we merged, and the version that came of it."""

    mined: tuple[Mined, ...]
    version: ModelVersion


@dataclass(frozen=True, slots=True)
class AcceptedUpdate:
    """One accepted update of a round. paid: wei, None while the round is open."""

    contributor: bytes
    digest: bytes
    weight: int
    effective: int
    mined: Mined
    update_bytes: int
    paid: int | None


@dataclass(frozen=True, slots=True)
class Round:
    """A round, open or over. settler_paid: wei."""

    round: int
    base_version: int
    contributions: tuple[AcceptedUpdate, ...]
    version: ModelVersion | None
    settlements: tuple[Mined, ...]
    settler: bytes
    settler_paid: int
    dropped: bool


@dataclass(frozen=True, slots=True)
class Submission:
    """The calldata of an accepted update."""

    header: bytes = field(repr=False)
    groups: tuple[bytes, ...] = field(repr=False)
    mined: Mined
