"""A store for a world that begins with nothing."""

from devchain.chain.state import NOTHING, Account


class EmptyStore:
    """A world in which nothing was ever stored."""

    def account(self, address: bytes) -> Account:
        return NOTHING

    def slot(self, address: bytes, generation: int, slot: int) -> int:
        return 0

    def code(self, code_hash: bytes) -> bytes:
        return b""

    def value(self, key: bytes) -> bytes:
        return b""
