"""What an EVM runs on that is plain Ethereum and begins with nothing."""

from devchain.chain.evm import Frame, HookFailure
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


class NoHooks:
    """Plain Ethereum."""

    def enter(self, frame: Frame | None) -> None: ...
    def before_code(self, frame: Frame) -> HookFailure | None:
        return None

    def after_code(self, frame: Frame, ret: bytes, error: str | None) -> HookFailure | None:
        return None

    def context_get(self, scope: bytes, key: bytes) -> bytes:
        return b""

    def context_set(self, scope: bytes, key: bytes, value: bytes) -> None: ...
