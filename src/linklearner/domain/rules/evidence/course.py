"""What rule `evidence` keeps of a task from round to round: the examples that are opened, and each account's record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput
from linklearner.domain.notation import LL_WEI
from linklearner.domain.rounds import COMMITMENT_BYTES, Terms
from linklearner.domain.rules.evidence.batches import decode_batch, is_committed
from linklearner.domain.rules.evidence.credit import HORIZON
from linklearner.domain.rules.evidence.ledger import MAX_UPDATES, PayKind, PayLedger
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import Examples, Judgement, Outcome, judge, steps_of
from linklearner.domain.rules.rule import Contribution, Merged
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update

CODES: Final = {outcome: number for number, outcome in enumerate(Outcome)}
"""Outcomes as the chain writes them."""
MIN_BOND: Final = LL_WEI
"""Wei of a creator's bond at least, where a round's reward is less."""


def least_bond(terms: Terms) -> int:
    """What a creator puts down at least that the examples will be opened, wei: what a round can take from the pot."""
    return max(terms.reward, MIN_BOND)


@dataclass(frozen=True, slots=True)
class Sealed:
    """An account's last commitment to an update."""

    commitment: bytes
    """Its first COMMITMENT_BYTES bytes."""
    round: int
    revealed: bool = False


@dataclass(slots=True)
class Forfeit:
    """A bond, shared."""

    shares: dict[bytes, int]
    """Wei by account."""
    claimed: set[bytes]

    @property
    def left(self) -> int:
        return sum(wei for account, wei in self.shares.items() if account not in self.claimed)

    def claim(self, account: bytes) -> int:
        """The account's share, wei. Raises InvalidInput where it has none, or has had it."""
        if account not in self.shares or account in self.claimed:
            raise InvalidInput("the account has no share of that bond, or has claimed it")
        self.claimed.add(account)
        return self.shares[account]


def bond_shares(bond: int, weights: Sequence[tuple[bytes, int]]) -> dict[bytes, int]:
    """What a forfeited bond gives each account, wei: bond * omega / S, rounded down, and the first account the rest."""
    present = sum(weight for _, weight in weights)
    shares = {account: bond * weight // present for account, weight in weights}
    first, _ = weights[0]
    shares[first] += bond - sum(shares.values())
    return shares


@dataclass(slots=True)
class Course:
    """Of one task, from the commitment to its examples on. Raises InvalidModel where the shape is no perceptron's."""

    shape: Shape
    root: bytes
    batches: int
    examples: int
    """In all batches, at most."""
    input_exponent: int
    reveal_seconds: int = 0
    """For how long updates are revealed, which are sealed then; 0: they are not."""
    records: dict[bytes, int] = field(default_factory=dict)
    opened: Examples = field(init=False)
    opened_batches: int = 0
    sizes: list[int] = field(default_factory=list)
    """Examples in each batch opened so far."""
    ledger: PayLedger | None = None
    """Where the task pays later: what it owes."""
    network: IntegerNetwork = field(init=False)
    sealed: dict[bytes, Sealed] = field(default_factory=dict)
    """Each account's last commitment."""
    bond: int = 0
    """What the creator has at stake, wei; 0 after it was forfeited: no update is taken then."""
    forfeits: dict[int, Forfeit] = field(default_factory=dict)
    """By round."""

    def __post_init__(self) -> None:
        if self.root == bytes(32) or not 1 <= self.batches <= self.examples:
            raise InvalidInput("a set of examples has a root, and an example or more a batch")
        if self.shape.group_count != 1:
            raise InvalidInput("rule evidence looks at the whole model: one settlement group")
        self.network = IntegerNetwork.of_shape(self.shape, self.input_exponent)
        width = self.network.widths[0]
        self.opened = Examples(np.zeros((0, width), dtype=np.int16), np.zeros(0, dtype=np.int64))

    @property
    def forfeited(self) -> int:
        """Wei of forfeited bonds that nobody has claimed yet."""
        return sum(one.left for one in self.forfeits.values())

    def loses_record(self, account: bytes) -> bool:
        """Whether the account's next commitment costs it its record: the last one was not revealed."""
        last = self.sealed.get(account)
        return last is not None and not last.revealed and self.records.get(account, 0) > 0

    def commit(self, account: bytes, round_number: int, commitment: bytes) -> None:
        """The account binds itself to an update of the open round."""
        if self.loses_record(account):
            self.records[account] = 0
        self.sealed[account] = Sealed(commitment[:COMMITMENT_BYTES], round_number)

    def reveal(self, account: bytes, round_number: int, commitment: bytes) -> None:
        """The account's update is revealed. Raises InvalidInput where it is not what the account committed to in this round."""
        last = self.sealed.get(account)
        if (
            last is None
            or last.revealed
            or (last.commitment, last.round)
            != (
                commitment[:COMMITMENT_BYTES],
                round_number,
            )
        ):
            raise InvalidInput("the account has committed to no such update in this round")
        self.sealed[account] = replace(last, revealed=True)

    def forfeit(self, round_number: int, weights: Sequence[tuple[bytes, int]]) -> int:
        """The examples of a round were not opened in time: the bond is for those whose updates are in it. weights: (account, omega) of each
        update, in order, one at least. The bond's wei."""
        bond, self.bond = self.bond, 0
        self.forfeits[round_number] = Forfeit(bond_shares(bond, weights), set())
        return bond

    def open(self, batch: int, data: bytes, proof: Sequence[bytes]) -> None:
        """The next batch is opened. Raises InvalidInput where it is not that, or no whole examples of the network."""
        if batch != self.opened_batches or batch >= self.batches or not is_committed(self.root, batch, data, proof):
            raise InvalidInput(f"batch {self.opened_batches} of the committed {self.batches} comes next")
        more = decode_batch(data, self.network)
        if len(self.opened) + len(more) > self.examples:
            raise InvalidInput(f"the set has at most {self.examples} examples")
        self.opened = self.opened.joined(more)
        self.opened_batches += 1
        self.sizes.append(len(more))

    def name_pay(self, kind: int, full: int, max_updates: int) -> None:
        """The task pays later: by novel or fair. Raises InvalidInput."""
        if kind not in (PayKind.NOVEL, PayKind.FAIR) or max_updates > MAX_UPDATES:
            raise InvalidInput(f"pay later is by novel (1) or fair (2), of at most {MAX_UPDATES} updates a round")
        self.ledger = PayLedger(PayKind(kind), full)

    def steps(self, updates: Iterable[Update]) -> NDArray[np.int64]:
        """(M, N) int64: u of each."""
        return np.stack([steps_of(update, self.shape) for update in updates])

    def later(self, batch: int) -> Examples:
        """W of the round that opened this batch: it, and as many of the ten behind it as are opened."""
        end = min(batch + HORIZON, self.opened_batches - 1) + 1
        return self.opened[sum(self.sizes[:batch]) : sum(self.sizes[:end])]

    def settle(
        self, weights: NDArray[np.int16], contributions: Sequence[Contribution], eligible: int
    ) -> tuple[Merged, Judgement]:
        """The round is settled: records are written. weights: (N,) int16, the base. Raises InvalidInput, OutOfRange as `judge`."""
        found = judge(
            self.network,
            weights,
            np.stack([steps_of(one.update, self.shape) for one in contributions]),
            [self.records.get(one.contributor, 0) for one in contributions],
            [one.weight for one in contributions],
            eligible,
            self.opened,
            self.sizes[-1],
        )
        for one, verdict in zip(contributions, found.verdicts, strict=True):
            self.records[one.contributor] = verdict.record
        changed = [
            page
            for page in range(self.shape.page_count)
            if not np.array_equal(found.weights[self.shape.page_slice(page)], weights[self.shape.page_slice(page)])
        ]
        return Merged(found.weights, found.saturated, tuple(changed)), found
