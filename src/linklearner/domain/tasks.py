"""A task, its rounds and its accounts as one look at the chain sees them: what a gateway tells and its callers work with.

Addresses have 20 bytes, digests and transaction hashes 32. Stake is in units (10**15 wei of $LL), money in wei, times are Unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from linklearner.domain.errors import InvalidInput, Unavailable
from linklearner.domain.model import ModelSpec, ModelVersion
from linklearner.domain.rounds import Due, Phase, Terms
from linklearner.domain.shape import Shape


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction that landed. length: bytes of it as signed."""

    transaction: bytes
    block: int
    gas_used: int
    length: int


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """Which chain and contracts a gateway serves, and the chain's newest block. deployed_block: where the pool's history starts."""

    chain_id: int
    head_block: int
    head_time_s: int
    pool: bytes
    vault: bytes
    token: bytes
    aspect: bytes
    deployed_block: int
    rpc_url: str


@dataclass(frozen=True, slots=True)
class StakeStatus:
    """Of one account in one task, units; times are Unix seconds.

    eligible: counts in the open round. locked: everything locked, fresh stake included. matures_s: rounds that open then or later count
    the fresh part too (0: round 1 does). withdrawable_s: from then on `unlocking` can be withdrawn, after the end of a round in which the
    account has an update.
    """

    eligible: int
    locked: int
    matures_s: int
    unlocking: int
    withdrawable_s: int


@dataclass(frozen=True, slots=True)
class Earnings:
    """Of one account in one task, wei.

    earned: by updates, ever. pay, fees, stake_fees: to be claimed, of what it earned, of the fees that its contributions share, of those
    that its stake shares.
    """

    earned: int
    pay: int
    fees: int
    stake_fees: int

    @property
    def claimable(self) -> int:
        return self.pay + self.fees + self.stake_fees


@dataclass(frozen=True, slots=True)
class Balance:
    """$LL and the chain's coin, wei; stake is None where no task was asked for."""

    token: int
    coin: int
    stake: StakeStatus | None
    block: int


@dataclass(frozen=True, slots=True)
class RoundStatus:
    """Where the open round stands; stakes in units, times in Unix seconds.

    round: 0 while the first weights are being loaded. opened_s: 0 then, and once the task is closed. first_update_s: 0 while there is none;
    where updates are sealed, of the first commitment. ripe: stake that would count if a round opened now, beyond `eligible`.
    examples_opened, reveal_seconds (0: not sealed), committed (to how many updates): by rule `evidence`; the gateway's own, `phase` says
    it to others. phase, due: what the task's rule says of the round, on the wire; None and empty where nobody has asked it.
    """

    round: int
    accepted: int
    present: int
    eligible: int
    merged_groups: int
    opened_s: int
    first_update_s: int
    ripe: int = 0
    phase: Phase | None = None
    due: tuple[Due, ...] = ()
    examples_opened: bool = False
    reveal_seconds: int = 0
    committed: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """version: the number of the newest weights, 0 while the first ones are being loaded; announced: the same with its digest.

    pot: what the task can still pay, shares: all that its contributors have earned, wei. closing: no round opens after the open one.
    """

    task: int
    creator: bytes
    model: str
    shape: Shape
    terms: Terms
    pot: int
    shares: int
    closing: bool
    version: int
    announced: ModelVersion | None
    round: RoundStatus

    @property
    def closed(self) -> bool:
        return self.round.round != 0 and self.round.opened_s == 0

    @property
    def spec(self) -> ModelSpec:
        """What the weights mean. Raises InvalidModel for a model that this program cannot read, InvalidInput if it has other tensors."""
        spec = ModelSpec.from_json(self.model)
        if not spec.fits(self.shape):
            raise InvalidInput(
                f"the shape of {self.shape.weight_count} weights is not that of model {spec.name:.60}",
                reason="WrongShape",
            )
        return spec

    @property
    def newest(self) -> ModelVersion:
        """Raises Unavailable while the first weights are being loaded."""
        if self.announced is None:
            raise Unavailable(
                f"the first weights of task {self.task} are still being loaded: try again shortly", reason="NoModelYet"
            )
        return self.announced


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted update. weight: the stake that counts, effective: what is left of it after scaling a long update down; units."""

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
class Opened:
    """A task of our own: the transactions that opened it and loaded its first weights, and version 1."""

    task: int
    mined: tuple[Mined, ...]
    version: ModelVersion


@dataclass(frozen=True, slots=True)
class Funded:
    """pot: what the task can pay after it, wei."""

    mined: Mined
    pot: int


@dataclass(frozen=True, slots=True)
class Closed:
    """closed: at once, because the open round had no update; otherwise that round is still settled and paid, or dropped."""

    mined: Mined
    closed: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was paid out (`earned`: ever, paid out or not), by no transaction where that was nothing, else by one of the pool, of the
    vault, or of each."""

    mined: tuple[Mined, ...]
    earnings: Earnings


@dataclass(frozen=True, slots=True)
class Contribution:
    """One accepted update of a round. update_bytes: length of its byte string. paid: wei, None while the round is open."""

    contributor: bytes
    digest: bytes
    weight: int
    effective: int
    mined: Mined
    update_bytes: int
    paid: int | None


@dataclass(frozen=True, slots=True)
class Round:
    """A round, open or over. version: what it made, None unless it is settled. settler: empty, settler_paid: 0 wei until then.

    dropped: nothing was paid; with a version, it was merged in part."""

    round: int
    base_version: int
    contributions: tuple[Contribution, ...]
    version: ModelVersion | None
    settlements: tuple[Mined, ...]
    settler: bytes
    settler_paid: int
    dropped: bool

    def accepted(self, contributor: bytes, digest: bytes) -> Submitted | None:
        """How the submission of this update was answered; None if the round does not hold it."""
        for one in self.contributions:
            if (one.contributor, one.digest) == (contributor, digest):
                return Submitted(one.mined, one.digest, self.round, one.weight, one.effective)
        return None
