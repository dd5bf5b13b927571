"""Artela's precompiles: by these a contract reads and writes what Aspects keep for the length of a transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from devchain.aspect.environment import NodePanic
from devchain.chain.evm.errors import NamedError
from devchain.chain.evm.messages import is_call

CONTEXT_READ: Final = (0x64).to_bytes(20, "big")
USER_OPERATION_SENDER: Final = (0x65).to_bytes(20, "big")
CONTEXT_WRITE: Final = (0x66).to_bytes(20, "big")
_CONTEXT_GAS: Final = 5000


def _context_read(computation: Any) -> None:
    computation.consume_gas(_CONTEXT_GAS, "context")
    data = bytes(computation.msg.data)
    if len(data) >= 20:
        computation.output = computation.state.hooks.context_get(data[:20], data[20:])


def _context_write(computation: Any) -> None:
    computation.consume_gas(_CONTEXT_GAS, "context")
    message = computation.msg
    data = bytes(message.data)
    if len(data) < 128:
        return
    key, value = (_string_argument(data, index) for index in (0, 1))
    if not is_call(message):
        # the node fills in who calls in CALL only, and follows a nil pointer elsewhere
        raise NodePanic("0x66 outside CALL")
    computation.state.hooks.context_set(message.sender, key, value)


def _string_argument(data: bytes, index: int) -> bytes:
    """The string at a position of an ABI-encoded argument list, with the node's unchecked 64-bit sums."""
    offset = int.from_bytes(data[32 * index : 32 * index + 32], "big")
    if offset >= 2**64:
        raise NamedError("invalid offset")
    start = (offset + 32) % 2**64
    if start > len(data):
        raise NamedError("invalid param length")
    if start < offset:
        raise NodePanic("0x66: slice bounds out of range")
    size = int.from_bytes(data[offset:start], "big")
    if size >= 2**64:
        raise NamedError("invalid length")
    end = (start + size) % 2**64
    if end > len(data):
        raise NamedError("invalid param length")
    if end < start:
        raise NodePanic("0x66: slice bounds out of range")
    return data[start:end]


def _user_operation_sender(computation: Any) -> None:
    """Who submitted a user operation; no such wallets here, so always the zero address."""
    computation.consume_gas(_CONTEXT_GAS, "context")
    if computation.msg.data:
        computation.output = bytes(32)


CONTEXT: Final[dict[bytes, Callable[[Any], None]]] = {
    CONTEXT_READ: _context_read,
    USER_OPERATION_SENDER: _user_operation_sender,
    CONTEXT_WRITE: _context_write,
}
