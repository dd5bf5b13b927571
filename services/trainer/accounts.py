"""Which of a gateway's accounts a trainer contributes with."""

from collections.abc import Sequence

from linklearner.domain.errors import InvalidConfig

NAMED_ACCOUNTS = 10
"""At most so many of a gateway's accounts are listed in a message."""


def chosen(held: Sequence[bytes], wanted: bytes | None, address: str) -> bytes:
    """`wanted` if its key is among those held by the gateway at `address`, or the only one. Raises InvalidConfig otherwise."""
    names = ", ".join("0x" + account.hex() for account in held[:NAMED_ACCOUNTS]) or "none"
    if len(held) > NAMED_ACCOUNTS:
        names += f" and {len(held) - NAMED_ACCOUNTS} more"
    if wanted is None:
        if len(held) != 1:
            raise InvalidConfig(f"the gateway at {address} holds several accounts or none; choose one of: {names}")
        return held[0]
    if wanted not in held:
        raise InvalidConfig(f"the gateway at {address} does not hold the key of 0x{wanted.hex()}; it holds: {names}")
    return wanted
