"""The life cycle of a round as a table, and the running hash that a round's accepted updates are bound into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from eth_abi.abi import encode
from eth_hash.auto import keccak

from linklearner.domain.errors import InvalidInput, OutOfRange

RULE_MEAN = 1
BPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a task fixed for all its rounds when it was opened. The order of the fields is that of the contract's struct."""

    rule: int = RULE_MEAN
    quorum: int
    """Accepted updates after which a round may be settled at once."""
    max_updates: int
    """Accepted updates that a round takes."""
    round_seconds: int
    """After this long from the first accepted update a round may be settled with fewer than the quorum."""
    drop_seconds: int
    """Anyone may drop a round without a merged group this long after its first accepted update (after its opening if none)."""
    min_stake: int
    """Units that must count in the round for an update of the account to be taken."""
    settler_bps: int
    """The settler's share of the reward, in 1/10000."""
    reward: int
    """R: what a settled round mints at most, in wei of $LL."""

    def pay(self, weights: Sequence[int], eligible: int) -> tuple[int, tuple[int, ...]]:
        """The settler's fee and each contributor's share, wei, rounded down. weights: omega of each accepted update, none zero.

        A share is (R - fee) * omega / max(S, floor(Omega / 4)), so they sum to at most R - fee whatever the order.
        """
        if min(weights, default=0) <= 0:
            raise OutOfRange("a settled round has updates, each with influence")
        fee = self.reward * self.settler_bps // BPS
        divisor = max(sum(weights), eligible // 4)
        return fee, tuple((self.reward - fee) * weight // divisor for weight in weights)


class Phase(Enum):
    """Where the open round of a task stands."""

    LOADING = "loading"
    """The first weights are still being loaded; stake may already be locked and will count in round 1."""
    OPEN = "open"
    """No update accepted yet."""
    COLLECTING = "collecting"
    """At least one update accepted."""
    SETTLING = "settling"
    """Some groups of the model are merged: no more updates, and the round can no longer be dropped."""


class Step(Enum):
    """What happens to a round, as the chain's events tell it."""

    LOADED = "the last page was loaded"
    ACCEPTED = "an update was accepted"
    GROUP_MERGED = "a group was merged, not the last"
    SETTLED = "the last group was merged: next version, next round"
    DROPPED = "the round was dropped: same version, next round"


TRANSITIONS: dict[Phase, dict[Step, Phase]] = {
    Phase.LOADING: {Step.LOADED: Phase.OPEN},
    Phase.OPEN: {Step.ACCEPTED: Phase.COLLECTING, Step.DROPPED: Phase.OPEN},
    Phase.COLLECTING: {
        Step.ACCEPTED: Phase.COLLECTING,
        Step.GROUP_MERGED: Phase.SETTLING,
        Step.SETTLED: Phase.OPEN,
        Step.DROPPED: Phase.OPEN,
    },
    Phase.SETTLING: {Step.GROUP_MERGED: Phase.SETTLING, Step.SETTLED: Phase.OPEN},
}


def advance(phase: Phase, step: Step) -> Phase:
    """The phase after `step`. Raises InvalidInput where the table has no such step."""
    try:
        return TRANSITIONS[phase][step]
    except KeyError:
        raise InvalidInput(f"a round that is {phase.value} cannot go on with: {step.value}") from None


def may_settle(accepted: int, quorum: int, first_at: int, round_seconds: int, now: int) -> bool:
    """Whether the contract would take a settlement in a block with timestamp `now` (seconds). first_at: of the first accepted update."""
    return accepted >= quorum or (accepted >= 1 and now >= first_at + round_seconds)


def running_seed(chain_id: int, pool: bytes, task: int, round_number: int) -> bytes:
    """The running hash of a round without updates: keccak256(abi.encode(chainid, pool, task, round)). 32 bytes."""
    return bytes(
        keccak(encode(["uint256", "address", "uint64", "uint64"], [chain_id, "0x" + pool.hex(), task, round_number]))
    )


def running_next(running: bytes, digest: bytes, contributor: bytes, weight: int, effective: int) -> bytes:
    """The running hash with one more update: keccak256(running | digest | contributor | omega u64 | e u64). 32 bytes."""
    return bytes(keccak(running + digest + contributor + weight.to_bytes(8, "big") + effective.to_bytes(8, "big")))
