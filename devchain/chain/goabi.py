"""ABI arguments decoded the way go-ethereum does it, with its error texts: the system contract shows them."""

from __future__ import annotations

from typing import Any

Type = str | tuple["Type", ...] | list["Type"]
"""`address`, `bytes`, `string` (as bytes), `uint64`, `uint256`, `int8`; a tuple of types; a one-element list for an array of it."""


class AbiError(ValueError):
    """Not the arguments that were expected. The message is go-ethereum's."""


def decode(types: tuple[Type, ...], data: bytes) -> list[Any]:
    """Decode an argument list. Addresses are 20 bytes; trailing data is ignored. Raises AbiError.

    `bytes` and `string` inside arrays and tuples stay views of the data: thousands of them may claim the same megabyte.
    """
    if not data:
        raise AbiError("abi: attempting to unmarshall an empty string while arguments are expected")
    values = (_value(kind, 32 * index, memoryview(data)) for index, kind in enumerate(types))
    return [bytes(value) if isinstance(value, memoryview) else value for value in values]


def _value(kind: Type, index: int, data: memoryview) -> Any:
    if index + 32 > len(data):
        raise AbiError(f"abi: cannot marshal in to go type: length insufficient {len(data)} require {index + 32}")
    word = int.from_bytes(data[index : index + 32], "big")
    if isinstance(kind, list):
        begin, count = _length_prefix(word, data)
        body = data[begin:]
        if 32 * count > len(body):
            raise AbiError(
                f"abi: cannot marshal into go array: offset {32 * count} would go over slice boundary (len={len(body)})"
            )
        return [_value(kind[0], 32 * position, body) for position in range(count)]
    if isinstance(kind, tuple):
        # every tuple here holds a string or bytes, so it stands behind an offset
        if word > len(data):
            raise AbiError(
                f"abi: cannot marshal in to go slice: offset {word} would go over slice boundary (len={len(data)})"
            )
        body = data[word:]
        return tuple(_value(part, 32 * position, body) for position, part in enumerate(kind))
    if kind in ("bytes", "string"):
        begin, size = _length_prefix(word, data)
        return data[begin : begin + size]
    if kind == "address":
        return bytes(data[index + 12 : index + 32])
    if kind == "uint256":
        return word
    if kind == "uint64":
        if word >= 2**64:
            raise AbiError("abi: improperly encoded uint64 value")
        return word
    if kind == "int8":
        signed = word - 2**256 if word >= 2**255 else word
        if not -128 <= signed <= 127:
            raise AbiError("abi: improperly encoded int8 value")
        return signed
    raise ValueError(f"type {kind} is not decoded here")


def _length_prefix(offset: int, data: memoryview) -> tuple[int, int]:
    end = offset + 32
    if end > len(data):
        raise AbiError(
            f"abi: cannot marshal in to go slice: offset {end} would go over slice boundary (len={len(data)})"
        )
    size = int.from_bytes(data[end - 32 : end], "big")
    if (end + size).bit_length() > 63:
        raise AbiError(f"abi: length larger than int64: {end + size}")
    if end + size > len(data):
        raise AbiError(f"abi: cannot marshal in to go type: length insufficient {len(data)} require {end + size}")
    return end, size


def word(number: int) -> bytes:
    return (number % 2**256).to_bytes(32, "big")


def encode_bytes(body: bytes) -> bytes:
    """abi.encode of a single `bytes`."""
    return word(32) + word(len(body)) + body + bytes(-len(body) % 32)
