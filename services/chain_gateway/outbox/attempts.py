"""The bytes of one signing, read back: they alone are kept, everything else about them follows."""

from __future__ import annotations

from dataclasses import dataclass

import rlp  # type: ignore[import-untyped]
from eth_hash.auto import keccak

from services.chain_gateway.chain import Call


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signing of a request's transaction; several attempts of one request share its nonce."""

    hash: bytes
    nonce: int
    raw: bytes

    @classmethod
    def of(cls, raw: bytes) -> Attempt:
        return cls(bytes(keccak(raw)), int.from_bytes(_fields(raw)[1], "big"), raw)

    @property
    def call(self) -> Call:
        """What was signed, its gas limit included."""
        _, _, _, _, gas, to, value, data, *_ = _fields(self.raw)
        return Call(to or None, data, int.from_bytes(value, "big"), int.from_bytes(gas, "big"))

    @property
    def max_fee(self) -> int:
        """Wei per gas."""
        return int.from_bytes(_fields(self.raw)[3], "big")


def _fields(raw: bytes) -> list[bytes]:
    """chain id, nonce, tip, fee, gas, to, value, data, access list, signature: of a type 2 transaction."""
    fields: list[bytes] = rlp.decode(raw[1:])
    return fields
