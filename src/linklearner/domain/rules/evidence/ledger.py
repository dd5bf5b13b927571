"""What a task that pays by `novel` or `fair` owes for its settled rounds: set aside at settlement, divided rounds later, in order.

    settle   shared, what the round shares, leaves the pot for here
    pay      from when W is known: H more batches are opened, or all of them are, or the task is closed, or H times drop_seconds have passed
             fee = floor(shared settlerBps / 10000) to who pays; (shared - fee) is divided by credit.py; what is left goes back to the pot,
             or of a closed task to its creator

Rounds count here as the versions that they began with: a round that is dropped owes nothing and counts for nothing. W is what is opened
when a round is paid, from its own batch to the H-th behind it. The same on the chain: contracts/rules/EvidencePay.sol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput
from linklearner.domain.rounds import BPS, Terms
from linklearner.domain.rules.evidence.credit import (
    HORIZON,
    MAX_CREDIT,
    Account,
    Credit,
    credit_share,
    credits_of,
    fair_credit,
)
from linklearner.domain.rules.evidence.memory import MEMORY_ROUNDS, Memory, Revealed
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import Examples

MAX_UPDATES: Final = 256
"""A round's, where it is paid later: the chain keeps whether each was merged in one word."""


class PayKind(IntEnum):
    """As the chain numbers them. `gain` pays at settlement."""

    GAIN = 0
    NOVEL = 1
    FAIR = 2


@dataclass(frozen=True, slots=True, eq=False)
class Owed:
    """A settled round that is paid later, known by the version that it began with.

    accounts, weights (omega, units), steps ((M, N) int64: u), merged: of its updates. base, after: (N,) int16. shared: wei set aside.
    eligible: Omega, units. batch: the one that it opened. settled_s: Unix seconds.
    """

    version: int
    round: int
    accounts: tuple[bytes, ...]
    weights: tuple[int, ...]
    steps: NDArray[np.int64]
    merged: tuple[bool, ...]
    base: NDArray[np.int16]
    after: NDArray[np.int16]
    shared: int
    eligible: int
    batch: int
    settled_s: int

    @property
    def merged_bits(self) -> int:
        """Bit i: update i was merged."""
        return sum(1 << index for index, merged in enumerate(self.merged) if merged)


@dataclass(frozen=True, slots=True)
class Paid:
    """What pay makes of a round: of each update its credit with what of it counts now, 0..full, and its part, wei; what the payer gets and
    what goes back, wei."""

    parts: tuple[tuple[Credit, int], ...]
    amounts: tuple[int, ...]
    fee: int
    back: int


@dataclass(slots=True)
class PayLedger:
    """Of one task. full: Q14 nats that earn an account its whole part of a round."""

    kind: PayKind
    full: int
    next_version: int = 1
    """The first round that is not paid."""
    owed: dict[int, Owed] = field(default_factory=dict)
    """By version: the unpaid ones."""
    bases: dict[int, NDArray[np.int16]] = field(default_factory=dict)
    """(N,) int16 of the versions that paid rounds of the memory began with."""
    accounts: dict[bytes, Account] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    awaiting: dict[bytes, int] = field(default_factory=dict)
    """The version of each account's last settled update."""

    def __post_init__(self) -> None:
        if self.kind is PayKind.GAIN or not 1 <= self.full <= MAX_CREDIT:
            raise InvalidInput(f"pay later is by novel or fair, and full lies in 1..{MAX_CREDIT}, not at {self.full}")

    @property
    def set_aside(self) -> int:
        """Wei."""
        return sum(one.shared for one in self.owed.values())

    def owe(self, one: Owed) -> None:
        self.owed[one.version] = one
        self.awaiting.update((account, one.version) for account in one.accounts)

    def is_unpaid(self, account: bytes) -> bool:
        """Whether an update of the account waits for its pay: its stake stays locked."""
        return self.awaiting.get(account, 0) >= self.next_version

    def base_of(self, version: int) -> NDArray[np.int16]:
        """(N,) int16: what the round began with, an unpaid one or one of the last eight paid. Raises InvalidInput for another."""
        if version in self.owed:
            return self.owed[version].base
        if version not in self.bases:
            raise InvalidInput(f"the round of version {version} has not been settled: nothing is owed for it")
        return self.bases[version]

    @property
    def kept_of_last(self) -> bytes:
        """What is kept of the last paid round."""
        return encode_owners(self.memory.owners[-1])

    @property
    def first_version(self) -> int:
        """From which on a call that pays brings the rounds: the memory goes back so far."""
        return max(1, self.next_version - MEMORY_ROUNDS)

    def due_s(self, opened: int, batches: int, closed: bool, terms: Terms) -> int | None:
        """From when on the next round may be paid, Unix seconds: 0 at once; None if there is none. opened: batches so far, of `batches`."""
        one = self.owed.get(self.next_version)
        if one is None:
            return None
        if closed or opened == batches or opened > one.batch + HORIZON:
            return 0
        return one.settled_s + HORIZON * terms.drop_seconds

    def pay(self, network: IntegerNetwork, later: Examples, terms: Terms) -> Paid:
        """Pays the next round. later: W. Raises InvalidInput where there is none to pay."""
        one = self.owed.get(self.next_version)
        if one is None:
            raise InvalidInput(f"the round of version {self.next_version} has not been settled: nothing is owed for it")
        references = np.zeros((0, one.base.size), dtype=np.int64)
        residuals = self.memory.take(Revealed(one.accounts, one.steps, one.base, one.after, references))
        credits = credits_of(network, one.base, one.after, one.steps, residuals, one.merged, later)
        fee = one.shared * terms.settler_bps // BPS
        divided = one.shared - fee
        parts, amounts = [], []
        for account, weight, merged, credit in zip(one.accounts, one.weights, one.merged, credits, strict=True):
            part = self._payable(account, merged, credit)
            parts.append(part)
            amounts.append(credit_share(divided, weight, one.eligible, part[1], self.full))
        del self.owed[self.next_version]
        self.bases[one.version] = one.base
        self.next_version += 1
        self.bases.pop(self.first_version - 1, None)
        return Paid(tuple(parts), tuple(amounts), fee, divided - sum(amounts))

    def _payable(self, account: bytes, merged: bool, credit: Credit) -> tuple[Credit, int]:
        """The credit as the chain writes it, and what counts now, 0..full."""
        if self.kind is PayKind.FAIR:
            novel = max(0, credit.novel) if merged else 0
            return Credit(0, 0, novel), fair_credit(credit, merged, self.full)
        standing = self.accounts.get(account, Account()).credited(credit)
        self.accounts[account] = standing.after_pay(self.full)
        return credit, standing.payable(self.full)


def encode_owners(owners: Sequence[Sequence[bytes]]) -> bytes:
    """What is kept of a paid round, for the memory of those after it: of each update u8 how many owners, then these, 20 bytes each; none:
    it was no novel one."""
    return b"".join(bytes([len(one)]) + b"".join(one) for one in owners)
