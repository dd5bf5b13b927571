"""What happens to the tasks of a pool, one dataclass for each event of the contract, in the contract's words.

Pool and vault are one stream, in the order of the chain. Four of the events say little by themselves: the calldata that made them
holds the rest. `WeightsLoaded`, `UpdateSubmitted`, `BatchOpened` and `GroupSettled` are those events together with what it holds.
`linklearner.chain.contracts` reads both from a chain.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from linklearner.domain.rounds import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that a transaction did. `block`: its number; `transaction`: its hash, 32 bytes.

    `time_s`: of the block, Unix seconds; 0 where nobody has asked for it. `linklearner.chain.history` does, because replaying needs it.
    """

    block: int
    transaction: bytes
    task: int
    time_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOpened(Event):
    """A task begins; its weights are loaded next. `model`, `shape`: as its creator wrote them, read by nobody so far."""

    creator: bytes
    model: str
    shape: bytes
    terms: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class PagesLoaded(Event):
    """Pages `first_page` to `next_page` - 1 of the first weights are there."""

    first_page: int
    next_page: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsLoaded(PagesLoaded):
    """PagesLoaded with what was loaded: little-endian int16."""

    weights: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PotFunded(Event):
    """Somebody added $LL to the task's pot. `amount`: wei."""

    funder: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PotGranted(Event):
    """The pool's owner had new $LL emitted to the task's pot. `amount`: wei."""

    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeLocked(Event):
    """Of the vault. `matures_at`: rounds opened then or later, Unix seconds, count the account's fresh stake; 0: round 1 does."""

    account: bytes
    units: int
    matures_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeUnlocked(Event):
    """Of the vault. `withdrawable_at`: Unix seconds."""

    account: bytes
    units: int
    withdrawable_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeWithdrawn(Event):
    """Of the vault: unlocked stake goes back to its owner."""

    account: bytes
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeMatured(Event):
    """Of the vault: by its owner's wish, fresh stake that a round counts shares in fees from now on.

    Whatever else moves the account's stake does the same without this event.
    """

    account: bytes
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeFeesClaimed(Event):
    """Of the vault: fees that an account's stake had earned. `amount`: wei."""

    account: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateAccepted(Event):
    """`weight`, `effective`: the update's influence, and what of it counts after scaling down, units."""

    round: int
    contributor: bytes
    digest: bytes
    weight: int
    effective: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSubmitted(UpdateAccepted):
    """UpdateAccepted with the update itself."""

    header: bytes = field(repr=False)
    groups: tuple[bytes, ...] = field(repr=False)
    salt: bytes | None = None
    """Of the commitment, where the update was sealed; None where it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCommitted(Event):
    """Rule `evidence`, sealed: an account has bound itself to an update. `record_lost`: it never revealed an earlier one, so that its
    record fell to 0."""

    round: int
    contributor: bytes
    commitment: bytes
    record_lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplesCommitted(Event):
    """Rule `evidence`: the examples by which the task's updates will be judged are fixed. `root`: of the batches' Merkle tree.
    `reveal_seconds`: for how long updates are revealed; 0: they are not sealed."""

    root: bytes
    batches: int
    examples: int
    input_exponent: int
    reveal_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BondPut(Event):
    """Rule `evidence`, after ExamplesCommitted, or anew after it was forfeited: what the creator has at stake. `amount`: wei."""

    account: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BondForfeited(Event):
    """Rule `evidence`, before RoundDropped: the round's examples were not opened, so the bond is for its contributors. `amount`: wei."""

    round: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BondClaimed(Event):
    """Rule `evidence`: an account took its share of the bond that was forfeited in a round. `amount`: wei."""

    round: int
    contributor: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BondReturned(Event):
    """Rule `evidence`, after TaskClosed: the bond is the creator's again. `amount`: wei."""

    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayNamed(Event):
    """Rule `evidence`: the task pays later. `pay`: 1 by novel, 2 by fair; `full`: Q14 nats that earn an account its whole part of a
    round."""

    pay: int
    full: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplesOpened(Event):
    """Rule `evidence`: the round takes no more updates; it is judged by this batch and those before."""

    round: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOpened(ExamplesOpened):
    """ExamplesOpened with the batch's bytes and the proof of its place."""

    examples: bytes = field(repr=False)
    proof: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateJudged(Event):
    """Rule `evidence`, before ModelUpdated, in the order of the updates. `gain`, `record`: Q16; `outcome`: 0 if it was merged."""

    round: int
    contributor: bytes
    gain: int
    record: int
    outcome: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMerged(Event):
    """One group of pages of a round is settled."""

    round: int
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """One update as a settler hands it in again. `digests`: of all groups; `pages`: the bytes of the group being settled.

    The order of the fields is that of the contract's struct.
    """

    contributor: bytes
    weight: int
    effective: int
    header: bytes = field(repr=False)
    digests: tuple[bytes, ...] = field(repr=False)
    pages: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettled(GroupMerged):
    """GroupMerged with the updates that the settler handed in."""

    updates: tuple[Settlement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUpdated(Event):
    """A new version: after the last group of a round is merged, or after the last pages are loaded (round 0, accepted 0)."""

    version: int
    digest: bytes
    round: int
    accepted: int
    saturated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionPaid(Event):
    """After ModelUpdated, in the order of the updates: credited, to be claimed. `amount`: wei."""

    round: int
    contributor: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlerPaid(Event):
    """After the ContributionPaid events, absent where the fee is 0. `amount`: wei. Who pays a round later gets one, too."""

    round: int
    settler: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaySetAside(Event):
    """Where the task pays later: what the round shares leaves the pot and waits, instead of any ContributionPaid. `amount`: wei."""

    round: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsPaid(Event):
    """Settled rounds are paid, `count` of them from the one on that began with version `first`. Of each follow UpdateCredited with
    ContributionPaid, by update, SettlerPaid, PayReturned."""

    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledRound:
    """A settled round as who pays hands it in again: to be paid, or to be remembered.

    before, digest: of the versions that it began with and made. shared: wei set aside. merged: bit i, update i was merged. eligible: units.
    batch: of examples, that it opened. settled_at: Unix seconds. kept: of a paid one whose its updates are (ledger.encode_owners). The
    order of the fields is that of the contract's struct.
    """

    before: bytes
    digest: bytes
    shared: int
    merged: int
    round: int
    eligible: int
    batch: int
    settled_at: int
    kept: bytes = field(repr=False)
    updates: tuple[Settlement, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsHandedIn(RoundsPaid):
    """RoundsPaid with what the payer handed in: the weights that the first of `rounds` began with, little-endian int16, and the rounds."""

    base: bytes = field(repr=False)
    rounds: tuple[SettledRound, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCredited(Event):
    """Of a round that is paid later, in the order of the updates. Q14 nats, as they count (credit.Credit)."""

    round: int
    contributor: bytes
    gain: int
    direct: int
    novel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayReturned(Event):
    """What nobody earned of a round that is paid later goes back to the pot, of a closed task to its creator. `amount`: wei, not 0."""

    round: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundDropped(Event):
    """A round ended without pay; a ModelUpdated before it in the same transaction: it was merged in part."""

    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskClosing(Event):
    """The task's creator wants no round after the open one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskClosed(Event):
    """The last round is over. `refund`: the rest of the pot, to the creator, wei."""

    refund: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeesShared(Event):
    """A fee for inference, shared; wei. Of a closed task `to_pot` went to its creator."""

    to_contributors: int
    to_stake: int
    to_pot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningsClaimed(Event):
    """An account took what it had earned in the task (`pay`) and its shares' fees. Wei."""

    account: bytes
    pay: int
    fees: int
