"""What a round is made of, whatever the task's rule: terms, phases, steps, and the running hash that binds the accepted updates.

Which phases a round passes through, and when, is for the rule to say (`linklearner.domain.rules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from eth_abi.abi import encode
from eth_hash.auto import keccak

from linklearner.domain.errors import InvalidInput

RULE_MEAN = 1
RULE_EVIDENCE = 2
BPS = 10_000
"""What a whole is in `Terms.settler_bps`."""
MAX_UPDATES = 1024
"""Updates that a round may accept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a task fixed for all its rounds when it was opened. The order of the fields is that of the contract's struct."""

    rule: int = RULE_MEAN
    quorum_bps: int
    """Accepted stake, in 1/10000 of Omega, from which on a round may be settled once `min_round_seconds` have passed."""
    max_updates: int
    """Accepted updates that a round takes."""
    min_round_seconds: int
    """A round lasts at least so long."""
    round_seconds: int
    """After this long from the first accepted update less stake than the quorum is enough; also the time in which a round earns
    `reward`."""
    drop_seconds: int
    """Anyone may drop a round this long after its first accepted update (after its opening if none)."""
    stake_seconds: int
    """Stake counts in rounds that open one to two times this long after it was locked, and is paid out so long after it was unlocked."""
    min_stake: int
    """Units that must count in the round for an update of the account to be taken."""
    settler_bps: int
    """The settler's share of what a round pays, in 1/10000."""
    server_bps: int
    """A model server's share of what its clients pay for inference, in 1/10000, at most a half."""
    reward: int
    """What a round of `round_seconds` takes from the pot at most, in wei of $LL."""

    def floor(self, eligible: int) -> int:
        """Units that must count for an update to be taken when Omega is `eligible`.

        So that filling a round with dust takes a quarter of all stake.
        """
        return max(self.min_stake, eligible // (4 * self.max_updates))


class Phase(Enum):
    """Where the open round of a task stands."""

    LOADING = "loading"
    """The first weights are still being loaded; stake may already be locked and will count in round 1."""
    OPEN = "open"
    """No update accepted yet."""
    COLLECTING = "collecting"
    """At least one update accepted."""
    SETTLING = "settling"
    """Some groups of the model are merged: no more updates. Should the rest never be, the round may be dropped, which makes a version of
    what is merged."""
    OPENED = "examples opened"
    """No more updates: the examples by which they are judged are opened (rule `evidence`)."""
    CLOSED = "closed"
    """The task is closed: this round never opens."""


class Step(Enum):
    """What happens to a round; the chain has an event for each."""

    LOADED = "the last page was loaded"
    ACCEPTED = "an update was accepted"
    EXAMPLES_OPENED = "the examples by which the round is judged were opened"
    GROUP_MERGED = "a group was merged, not the last"
    SETTLED = "the last group was merged: next version, next round"
    DROPPED = "the round was dropped: nothing is paid, next round"
    CLOSED = "the task's last round is over"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the chain says of the open round of a task."""

    version: int
    """Of the weights; 0 while they are being loaded."""
    accepted: int
    present: int
    """S, units."""
    eligible: int
    """Omega, units."""
    merged_groups: int
    opened_s: int
    """Unix seconds of the round's opening; 0 once the task is closed."""
    first_s: int = 0
    """Unix seconds of the first accepted update; 0 while there is none."""
    ripe: int = 0
    """Units that would count if a round opened now, and do not in this one."""
    examples_opened: bool = False
    """Whether the round's examples are opened, where the rule has any."""


@dataclass(frozen=True, slots=True)
class Due:
    """The chain takes `step` in a block whose time is `from_s` (Unix seconds) or later, and before `until_s`.

    from_s 0: in the next one. until_s 0: there is no such time."""

    step: Step
    from_s: int = 0
    until_s: int = 0


def advance(transitions: Mapping[Phase, Mapping[Step, Phase]], phase: Phase, step: Step) -> Phase:
    """The phase after `step`, by a rule's table. Raises InvalidInput where the table has no such step."""
    try:
        return transitions[phase][step]
    except KeyError:
        raise InvalidInput(f"a round that is {phase.value} cannot go on with: {step.value}") from None


def running_seed(chain_id: int, pool: bytes, task: int, round_number: int) -> bytes:
    """The running hash of a round without updates: keccak256(abi.encode(chainid, pool, task, round)). 32 bytes."""
    return bytes(
        keccak(encode(["uint256", "address", "uint64", "uint64"], [chain_id, "0x" + pool.hex(), task, round_number]))
    )


def running_next(running: bytes, digest: bytes, contributor: bytes, weight: int, effective: int) -> bytes:
    """The running hash with one more update: keccak256(running | digest | contributor | omega u64 | e u64). 32 bytes."""
    return bytes(keccak(running + digest + contributor + weight.to_bytes(8, "big") + effective.to_bytes(8, "big")))
