"""Where the contracts of a pool are: their addresses follow from the pool's, so that nobody has to be believed about them."""

from __future__ import annotations

from eth_hash.auto import keccak

from linklearner.domain.errors import OutOfRange

VAULT_NONCE = 1
TOKEN_NONCE = 2


def created(creator: bytes, nonce: int) -> bytes:
    """The 20 bytes of what `creator` makes by CREATE with this nonce: of the keccak-256 of the RLP list of both, the last ones.

    A contract's nonces count from 1 (EIP-161). Raises OutOfRange beyond the nonces that RLP writes as one byte, 1 to 127.
    """
    if not 1 <= nonce <= 127:
        raise OutOfRange(f"nonce must be between 1 and 127, got {nonce}")
    return bytes(keccak(b"\xd6\x94" + creator + bytes([nonce]))[12:])


def vault_of(pool: bytes) -> bytes:
    """The StakeVault, which a TrainingPool makes first."""
    return created(pool, VAULT_NONCE)


def token_of(pool: bytes) -> bytes:
    """$LL, which a TrainingPool makes second."""
    return created(pool, TOKEN_NONCE)
