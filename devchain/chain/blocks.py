"""Blocks, receipts and the rules that tie them together: hashes, blooms, base fees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from devchain.chain import rlp
from devchain.chain.evm import EventLog
from devchain.chain.transactions import SignedTransaction

ZERO_HASH: Final = bytes(32)
EMPTY_UNCLES_HASH: Final = keccak(rlp.encode([]))
EMPTY_ROOT: Final = keccak(rlp.encode(b""))
EMPTY_BLOOM: Final = bytes(256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    """Seconds since 1970."""
    miner: bytes
    """The consensus address of the validator, 20 bytes."""
    base_fee: int
    gas_limit: int
    gas_used: int
    gas_wanted: int
    """Sum of the gas limits, from which the next base fee follows; not part of the hash."""
    state_digest: bytes
    """keccak-256 chained over everything that blocks wrote: two chains with equal digests hold equal state."""
    transactions_root: bytes
    bloom: bytes
    size: int
    """Bytes of all transactions and a header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GasPart:
    """One share of a transaction's gas, for the operator and the demo; the node has no such thing."""

    part: str
    """intrinsic, evm, aspect, management, refund or floor."""
    gas: int
    aspect: bytes | None = None
    join_point: str | None = None
    index: int | None = None
    """Sequence number of the call around which the join point ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReceipt:
    transaction: SignedTransaction
    index: int
    status: int
    gas_used: int
    cumulative_gas_used: int
    contract_address: bytes | None
    logs: tuple[EventLog, ...]
    first_log_index: int
    bloom: bytes
    price: int
    """Paid per gas."""
    error: str | None
    """The node's text for why status is 0."""
    output: bytes
    """Return data or packed revert reason."""
    parts: tuple[GasPart, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    header: Header
    receipts: tuple[StoredReceipt, ...]


def bloom_of(logs: Iterable[EventLog]) -> bytes:
    """The 2,048-bit filter of addresses and topics."""
    bits = 0
    for log in logs:
        for item in (log.address, *log.topics):
            digest = keccak(item)
            for at in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") & 2047)
    return bits.to_bytes(256, "big")


def joined_bloom(blooms: Iterable[bytes]) -> bytes:
    bits = 0
    for bloom in blooms:
        bits |= int.from_bytes(bloom, "big")
    return bits.to_bytes(256, "big")


def header_hash(
    *,
    number: int,
    parent_hash: bytes,
    timestamp: int,
    miner: bytes,
    base_fee: int,
    gas_limit: int,
    gas_used: int,
    state_digest: bytes,
    transactions_root: bytes,
    bloom: bytes,
) -> bytes:
    fields: list[rlp.Item] = [parent_hash, miner, state_digest, transactions_root, bloom]
    fields += [rlp.integer(n) for n in (number, gas_limit, gas_used, timestamp, base_fee)]
    return keccak(rlp.encode(fields))


def transactions_root(transactions: Iterable[SignedTransaction]) -> bytes:
    """A digest of the transaction hashes in order (the node has no Merkle trie of them either)."""
    hashes = b"".join(transaction.hash for transaction in transactions)
    return keccak(hashes) if hashes else EMPTY_ROOT


def next_base_fee(base_fee: int, gas_used: int, gas_limit: int) -> int:
    """EIP-1559 with elasticity 2 and denominator 8. An idle chain falls to 7 wei: an eighth of 7, rounded down, is nothing."""
    target = gas_limit // 2
    if gas_used == target:
        return base_fee
    if gas_used > target:
        return base_fee + max(base_fee * (gas_used - target) // target // 8, 1)
    return max(base_fee - base_fee * (target - gas_used) // target // 8, 0)
