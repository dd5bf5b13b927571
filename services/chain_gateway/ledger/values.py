"""What the use cases keep beside the values that everybody shares (`linklearner.domain.tasks`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from linklearner.domain.tasks import Mined
from services.chain_gateway.outbox import Outcome


def mined(outcome: Outcome) -> Mined:
    """The transaction of a request that succeeded."""
    receipt = outcome.receipt
    return Mined(receipt.transaction_hash, receipt.block_number, receipt.gas_used, outcome.length)


@dataclass(frozen=True, slots=True)
class Submission:
    """The calldata of an accepted update. digests: keccak-256 of each group."""

    header: bytes = field(repr=False)
    groups: tuple[bytes, ...] = field(repr=False)
    digests: tuple[bytes, ...] = field(repr=False)
    mined: Mined
