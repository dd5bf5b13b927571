"""What happens around calls besides the EVM: Aspects at their join points, and their context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Hooks(Protocol):
    """What happens around EVM calls and cannot be seen by the EVM: Aspects and their transient storage."""

    def enter(self, frame: Frame | None) -> None:
        """Every CALL and creation of a transaction announces itself, in order; None where it fails before it begins."""
        ...

    def before_code(self, frame: Frame) -> HookFailure | None:
        """Before the code of a CALL runs. May lower `frame.gas`."""
        ...

    def after_code(self, frame: Frame, ret: bytes, error: str | None) -> HookFailure | None:
        """After the code of a CALL ran, whatever it came to. May lower `frame.gas`."""
        ...

    def context_get(self, scope: bytes, key: bytes) -> bytes: ...
    def context_set(self, scope: bytes, key: bytes, value: bytes) -> None: ...


@dataclass(slots=True)
class Frame:
    """One EVM frame as the hooks see it."""

    sender: bytes
    to: bytes
    value: int
    data: bytes
    gas: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class HookFailure:
    """A join point failed. `ret` goes to the caller as return data; the error text is the node's."""

    error: str
    ret: bytes
