"""The little of protobuf that an Aspect's messages need: canonical proto2 writing, and reading as Go's library reads.

Presence is explicit: a field that is set is written, be it zero or empty; a required field without a value is an error.
"""

from __future__ import annotations

from devchain.wasm.binary import uleb

_U64 = 1 << 64


class MarshalError(Exception):
    """A required field has no value; the text is the node's."""


class MalformedMessage(Exception):
    """Bytes that are no protobuf message."""


def varint(number: int, value: int) -> bytes:
    """Field `number` as a varint; negative values as 64-bit two's complement."""
    return uleb(number << 3) + uleb(value % _U64)


def blob(number: int, value: bytes) -> bytes:
    """Field `number` as bytes, a string or a message."""
    return uleb(number << 3 | 2) + uleb(len(value)) + value


def minimal(value: int) -> bytes:
    """Big-endian without leading zeros; zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def parse(data: bytes) -> dict[int, list[int | bytes]]:
    """Field number -> values in order: int for varints, bytes for length-delimited fields.

    Raises MalformedMessage. Fixed-width fields and groups, which no message here has, are read over.
    """
    fields: dict[int, list[int | bytes]] = {}
    position = 0
    while position < len(data):
        position = _field(data, position, fields)
    return fields


def _field(data: bytes, position: int, fields: dict[int, list[int | bytes]] | None, depth: int = 0) -> int:
    tag, position = _varint(data, position)
    number, wire = tag >> 3, tag & 7
    if not 0 < number < 1 << 29 or depth > 100:
        raise MalformedMessage
    value: int | bytes
    if wire == 0:
        value, position = _varint(data, position)
    elif wire == 2:
        size, position = _varint(data, position)
        value, position = _take(data, position, size)
    elif wire in (1, 5):
        return _take(data, position, 8 if wire == 1 else 4)[1]
    elif wire == 3:
        while True:
            inner, after = _varint(data, position)
            if inner & 7 == 4:
                if inner >> 3 != number:
                    raise MalformedMessage
                return after
            position = _field(data, position, None, depth + 1)
    else:
        raise MalformedMessage
    if fields is not None:
        fields.setdefault(number, []).append(value)
    return position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise MalformedMessage
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    if result >= _U64:
        raise MalformedMessage
    return result, position


def _take(data: bytes, position: int, size: int) -> tuple[bytes, int]:
    if size > len(data) - position:
        raise MalformedMessage
    return data[position : position + size], position + size


def last_bytes(fields: dict[int, list[int | bytes]], number: int) -> bytes | None:
    """The value of a bytes field (the last one wins, values of another wire type do not count); None if absent."""
    for value in reversed(fields.get(number, ())):
        if isinstance(value, bytes):
            return value
    return None


def last_int(fields: dict[int, list[int | bytes]], number: int) -> int | None:
    for value in reversed(fields.get(number, ())):
        if isinstance(value, int):
            return value
    return None


def messages(fields: dict[int, list[int | bytes]], number: int) -> list[dict[int, list[int | bytes]]]:
    """The values of a repeated message field. Raises MalformedMessage."""
    return [parse(value) for value in fields.get(number, ()) if isinstance(value, bytes)]
