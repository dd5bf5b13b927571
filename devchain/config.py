"""What can be chosen about a devchain. One value, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from eth_hash.auto import keccak

ARTELA_CHAIN_ID: Final = 11820
"""Of Artela's own networks. What is signed for this number could be replayed there: only recordings of a node name it."""
DEVELOPMENT_CHAIN_ID: Final = 7_105_636
"""Of every devchain that is not told another number: "lld", as the bytes of a number. No public chain has it."""
ETHER: Final = 10**18
MIN_INTERVAL_S: Final = 0.01
MAX_INTERVAL_S: Final = 3600.0
"""Between two blocks that are made by the clock."""
MAX_TRANSACTION_SECONDS: Final = 3600.0


class InvalidChainConfig(ValueError):
    """A setting has no meaning; the message names it and says what would."""


@dataclass(frozen=True, slots=True)
class Mining:
    """When blocks are made: at once for every transaction, every so many seconds, or only on `evm_mine`."""

    interval_s: float | None
    instant: bool

    @classmethod
    def parse(cls, text: str) -> Mining:
        """`instant`, `manual` or `interval:SECONDS`. Raises InvalidChainConfig."""
        if text == "instant":
            return cls(None, True)
        if text == "manual":
            return cls(None, False)
        head, _, seconds = text.partition(":")
        try:
            interval = float(seconds)
        except ValueError:
            interval = 0.0
        if head != "interval" or not MIN_INTERVAL_S <= interval <= MAX_INTERVAL_S:
            raise InvalidChainConfig(
                f"mining must be instant, manual or interval:SECONDS with SECONDS between {MIN_INTERVAL_S:g} and {MAX_INTERVAL_S:g}, "
                f"got {text!r:.60}"
            )
        return cls(interval, False)


class ForkRules(StrEnum):
    """Which EVM contracts run on. Aspects, fees and management are the same on both."""

    ARTELA = "artela"
    """An Artela node's: Cancun without blobs, EIP-3651, EIP-3860 and EIP-6780; PREVRANDAO crashes; precompiles 0x64 to 0x66."""
    CANCUN = "cancun"
    """Ethereum's own. There are no blobs, PREVRANDAO is zero."""


class NodeKind(StrEnum):
    """Which of Artela's nodes it behaves as, where they differ."""

    COMETBFT = "cometbft"
    """The node of 2024-09, which the recordings are of."""
    ROLLKIT = "rollkit"
    """The newest, of 2024-12: Aspects see no consensus parameters and a zero parent hash, and gas costs 20 gwei at least."""

    @property
    def min_gas_price(self) -> int:
        """wei: the genesis parameter, and therefore also where the base fee of an idle chain comes to rest."""
        return 20 * 10**9 if self is NodeKind.ROLLKIT else 0


@dataclass(frozen=True, kw_only=True)
class ChainConfig:
    """The rules of one chain. The defaults are an Artela node's, but for the chain's number."""

    chain_id: int = DEVELOPMENT_CHAIN_ID
    block_gas_limit: int = 20_000_000
    block_bytes_limit: int = 22_020_096
    """The consensus parameter that Aspects read; blocks here are bounded by gas."""
    min_gas_multiplier: Fraction = Fraction(1, 2)
    """`gasUsed` is at least this share of a transaction's gas limit."""
    base_fee: int = 7
    """Base fee of the first block, wei per gas: where an idle chain comes to rest."""
    miner: bytes = keccak(b"linklearner devchain validator")[12:]
    """The validator's consensus address: RPC `miner`, and what Aspects read."""
    operator: bytes = keccak(b"linklearner devchain operator")[12:]
    """The validator's operator address: opcode COINBASE."""
    strict: bool = False
    """As narrow as the node: no queue, no replacement, no filters, size and fee caps."""
    fork_rules: ForkRules = ForkRules.ARTELA
    node: NodeKind = NodeKind.COMETBFT
    transaction_seconds: float = 30.0
    """How long one transaction may run before it fails, by the clock on the wall. A node has no such limit; here one thread makes
    all blocks, in Python."""
    alloc: Mapping[bytes, int] = field(default_factory=lambda: MappingProxyType({}))
    """Balances in wei at genesis, by 20-byte address."""
    nonces: Mapping[bytes, int] = field(default_factory=lambda: MappingProxyType({}))
    """Nonces at genesis, likewise: for a recording that begins with a used account."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("chain_id", 1, 2**63 - 1),
            ("block_gas_limit", 100_000, 2**63 - 1),
            ("min_gas_multiplier", 0, 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidChainConfig(f"{name} must be between {low} and {high}, got {value}")
        if not 0 < self.transaction_seconds <= MAX_TRANSACTION_SECONDS:
            raise InvalidChainConfig(
                f"transaction_seconds must be above 0 and at most {MAX_TRANSACTION_SECONDS:g}, got {self.transaction_seconds:g}"
            )
        if any(len(address) != 20 for address in self.alloc):
            raise InvalidChainConfig("every address of alloc must have 20 bytes")
