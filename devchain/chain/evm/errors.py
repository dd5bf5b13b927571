"""Errors in the node's own words."""

from __future__ import annotations

from typing import Any, Final

from eth.exceptions import (
    FullStack,
    InsufficientStack,
    InvalidJumpDestination,
    OutOfBoundsRead,
    OutOfGas,
    Revert,
    VMError,
    WriteProtection,
)

from devchain.chain import interpreter
from devchain.chain.evm.hooks import HookFailure

REVERTED: Final = "execution reverted"
"""The one error text that means a revert, whoever says it: the EVM or an Aspect."""


class AspectError(VMError):
    """A join point failed. The caller sees the return data but gets no copy of it in memory: to the node this is neither
    success nor its own "execution reverted"."""

    erases_return_data = True

    def __init__(self, failure: HookFailure, *, keeps_gas: bool) -> None:
        super().__init__(failure.error)
        self.failure = failure
        self.burns_gas = not keeps_gas


class NamedError(VMError):
    """An EVM error whose text is exactly what the node prints."""


def error_text(error: Any) -> str:
    """What go-ethereum calls this error."""
    if isinstance(error, AspectError | NamedError | InsufficientStack | FullStack):
        return str(error)
    if isinstance(error, interpreter.UndefinedOpcode):
        return f"invalid opcode: {_opcode_name(error.opcode)}"
    for kind, text in _ERROR_TEXTS:
        if isinstance(error, kind):
            return text
    return str(error)


def _opcode_name(opcode: int) -> str:
    return _NAMED_INVALID.get(opcode, f"opcode {opcode:#x} not defined")


_NAMED_INVALID: Final = {0x49: "BLOBHASH", 0x4A: "BLOBBASEFEE", 0xFE: "INVALID"}
"""Opcodes that have a name but no operation."""

_ERROR_TEXTS: Final = (
    (Revert, REVERTED),
    (interpreter.GasOverflow, "gas uint64 overflow"),
    (OutOfGas, "out of gas"),
    (InvalidJumpDestination, "invalid jump destination"),
    (WriteProtection, "write protection"),
    (OutOfBoundsRead, "return data out of bounds"),
)


def revert_reason(output: bytes) -> str | None:
    """The text of an ABI-encoded `Error(string)`, if that is what it is."""
    if output[:4] != b"\x08\xc3\x79\xa0" or len(output) < 68:
        return None
    body = output[4:]
    offset = int.from_bytes(body[:32], "big")
    if offset + 32 > len(body):
        return None
    size = int.from_bytes(body[offset : offset + 32], "big")
    if offset + 32 + size > len(body):
        return None
    return body[offset + 32 : offset + 32 + size].decode("utf-8", "replace")
