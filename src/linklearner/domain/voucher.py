"""What a client signs to pay a server for inference: an EIP-712 message for contracts/InferenceEscrow.sol.

A voucher says what the client owes the server in a task since the beginning, so each one replaces those before it and the highest is all
that a server keeps. Its digest binds the chain and the escrow: it is good nowhere else. `tests/vectors/vouchers.json` holds this module
to the contract and to eth_account's reading of the standard.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from eth_hash.auto import keccak

from linklearner.domain.errors import InvalidInput, OutOfRange

NAME: Final = "LinkLearner InferenceEscrow"
VERSION: Final = "1"
_DOMAIN_TYPE: Final = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_VOUCHER_TYPE: Final = keccak(b"Voucher(address client,address server,uint64 task,uint256 amount,uint64 expiry)")
_ADDRESS_BYTES: Final = 20


@lru_cache(maxsize=16)
def domain_separator(chain_id: int, escrow: bytes) -> bytes:
    """EIP-712's hash of the domain: this protocol, version 1, one escrow on one chain. escrow: 20 bytes. Returns 32 bytes.

    Raises InvalidInput for an address of another length, OutOfRange for a chain id that is no u256.
    """
    return bytes(
        keccak(
            _DOMAIN_TYPE
            + keccak(NAME.encode())
            + keccak(VERSION.encode())
            + _uint("the chain id", chain_id, 256)
            + _address("the escrow", escrow)
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """A client's debt to a server. Raises InvalidInput or OutOfRange for fields that Solidity's types do not hold."""

    client: bytes
    """20 bytes; who signs and pays."""
    server: bytes
    """20 bytes; who alone can redeem it."""
    task: int
    """From 1."""
    amount: int
    """Wei of $LL that the client owes the server in this task, since the beginning. u256."""
    expiry: int
    """Unix seconds; the last second in which the escrow pays it. u64."""

    def __post_init__(self) -> None:
        self._words()

    def digest(self, separator: bytes) -> bytes:
        """What the client signs; separator: of the domain. 32 bytes."""
        return bytes(keccak(b"\x19\x01" + separator + keccak(_VOUCHER_TYPE + self._words())))

    def _words(self) -> bytes:
        return (
            _address("client", self.client)
            + _address("server", self.server)
            + _uint("task", self.task, 64)
            + _uint("amount", self.amount, 256)
            + _uint("expiry", self.expiry, 64)
        )


def _address(name: str, raw: bytes) -> bytes:
    if len(raw) != _ADDRESS_BYTES:
        raise InvalidInput(f"{name} must be an address of {_ADDRESS_BYTES} bytes, got {len(raw)}")
    return raw.rjust(32, b"\0")


def _uint(name: str, value: int, bits: int) -> bytes:
    if not 0 <= value < 2**bits:
        raise OutOfRange(f"{name} must be between 0 and 2^{bits} - 1, got {value}")
    return value.to_bytes(32, "big")
