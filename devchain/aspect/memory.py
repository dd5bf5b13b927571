"""Values in an Aspect's memory: u16 type index, i32 length (both little-endian), body.

The node's arithmetic is Go's int32: a sum of pointer and size wraps, and what passes the comparison with the memory's length by
wrapping, or points below zero, panics when the slice is taken. `OutOfBounds` is the error it returns in all other cases.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from devchain.aspect.engine import Instance
from devchain.aspect.environment import NodePanic

HEADER: Final = 6
_HEADER: Final = struct.Struct("<hi")

Value = bool | int | bytes


class ValueType(IntEnum):
    """The types that the host handles; integers of other widths have an index but no codec."""

    INT32 = 3
    INT64 = 4
    UINT64 = 8
    BOOL = 9
    STRING = 10
    BYTES = 11


_TYPES: Final = {int(kind): kind for kind in ValueType}
_WIDTHS: Final = {ValueType.INT32: 4, ValueType.INT64: 8, ValueType.UINT64: 8, ValueType.BOOL: 1}


class OutOfBounds(Exception):
    """A range outside of the memory (or no memory at all); the text is the node's."""

    def __init__(self, message: str = "memory out of bound") -> None:
        super().__init__(message)


class UnknownType(Exception):
    """A type index without a codec; the text is the node's."""

    def __init__(self, index: int) -> None:
        super().__init__(f"type of index {index} is not valid")


def wrap(value: int) -> int:
    """As an int32."""
    return (value + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000


def _check(instance: Instance, start: int, size: int) -> None:
    if instance.prepared.memory != "memory":
        missing = instance.prepared.memory is None
        raise OutOfBounds("memory export not found" if missing else "memory export is not a memory")
    end = wrap(start + size)
    if end > instance.memory_size:
        raise OutOfBounds
    if start < 0 or size < 0 or end < start:
        raise NodePanic("slice bounds out of range")


def read_header(instance: Instance, pointer: int) -> tuple[int, int]:
    """(type index, length of the body) at `pointer`, both as the node reads them: signed. Raises OutOfBounds, NodePanic."""
    _check(instance, pointer, HEADER)
    kind, length = _HEADER.unpack(instance.read(pointer, HEADER))
    return kind, length


def read_body(instance: Instance, pointer: int, kind: int, length: int) -> tuple[ValueType, Value]:
    """The value whose header has been read. Raises UnknownType, OutOfBounds, NodePanic."""
    known = _TYPES.get(kind)
    if known is None:
        raise UnknownType(kind)
    _check(instance, pointer, wrap(HEADER + length))
    width = _WIDTHS.get(known, 0)
    if length < width:
        raise NodePanic("index out of range")
    raw = instance.read(pointer + HEADER, length)
    if known is ValueType.BOOL:
        return known, raw[0] == 1
    if width:
        return known, int.from_bytes(raw[:width], "little", signed=known is not ValueType.UINT64)
    return known, raw


def encode(kind: ValueType, value: Value) -> bytes:
    """Header and body."""
    width = _WIDTHS.get(kind)
    if width is None:
        assert isinstance(value, bytes)
        body = value
    else:
        body = int(value).to_bytes(width, "little", signed=kind is not ValueType.UINT64 and kind is not ValueType.BOOL)
    return _HEADER.pack(kind, len(body)) + body


def write(instance: Instance, pointer: int, data: bytes) -> None:
    """Raises OutOfBounds, NodePanic."""
    _check(instance, pointer, len(data))
    instance.write(pointer, data)
