"""What a kind of node takes and answers at most. Whoever else has to know asks a profile; no limit of a node stands elsewhere.

Artela's are measured (docs/artela.md); Ethereum's are those of go-ethereum as it comes, and of the protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from linklearner.domain.gas import BLOCK_GAS

COIN: Final = 10**18
"""Wei in one of the chain's coin."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The limits of one kind of node."""

    name: str
    transaction_gas: int
    """Gas of one transaction at most."""
    transaction_bytes: int
    """Of a signed transaction at most."""
    fee_wei: int
    """What gas limit * price must stay below: from there on the node's RPC refuses."""
    log_blocks: int
    """Blocks in one eth_getLogs at most."""
    envelope_gas: int
    """What a question with data is charged beyond its intrinsic gas: Artela takes the data for a validation envelope."""


ARTELA: Final = Profile(
    name="Artela",
    transaction_gas=BLOCK_GAS,
    transaction_bytes=1 << 20,
    fee_wei=COIN,
    log_blocks=10_000,
    envelope_gas=150_000,
)
ETHEREUM: Final = Profile(
    name="Ethereum",
    transaction_gas=1 << 24,  # EIP-7825
    transaction_bytes=128 << 10,
    fee_wei=COIN,
    log_blocks=10_000,  # go-ethereum has no limit, those who sell access to it have this one or less
    envelope_gas=0,
)
