"""RLP, both ways, canonical only. Errors carry the words that a Go node uses, because clients see them."""

from __future__ import annotations

from collections.abc import Sequence

Item = bytes | Sequence["Item"]

_MAX_DEPTH = 16
"""Lists within lists; a transaction has four."""


class RlpError(ValueError):
    """Not one canonical RLP value. The message is go-ethereum's."""


def encode(item: Item) -> bytes:
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _length(len(item), 0x80) + item
    body = b"".join(map(encode, item))
    return _length(len(body), 0xC0) + body


def integer(value: int) -> bytes:
    """Big-endian without leading zeros; zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _length(n: int, offset: int) -> bytes:
    if n < 56:
        return bytes([offset + n])
    size = integer(n)
    return bytes([offset + 55 + len(size)]) + size


def decode(data: bytes) -> Item:
    """Decode exactly one value. Raises RlpError."""
    if not data:
        raise RlpError("EOF")
    item, end = _decode(data, 0, len(data))
    if end != len(data):
        raise RlpError("rlp: input contains more than one value")
    return item


def _decode(data: bytes, at: int, end: int, depth: int = 0) -> tuple[Item, int]:
    if depth > _MAX_DEPTH:
        raise RlpError("rlp: expected input string or byte")
    tag = data[at]
    if tag < 0x80:
        return data[at : at + 1], at + 1
    is_list = tag >= 0xC0
    short = tag - (0xC0 if is_list else 0x80)
    start = at + 1
    if short < 56:
        size = short
    else:
        width = short - 55
        if start + width > end:
            raise RlpError("rlp: value size exceeds available input length")
        if data[start] == 0:
            raise RlpError("rlp: non-canonical size information")
        size = int.from_bytes(data[start : start + width], "big")
        if size < 56:
            raise RlpError("rlp: non-canonical size information")
        start += width
    stop = start + size
    if stop > end:
        raise RlpError(
            "rlp: value size exceeds available input length"
            if at == 0
            else "rlp: element is larger than containing list"
        )
    if not is_list:
        if size == 1 and data[start] < 0x80:
            raise RlpError("rlp: non-canonical size information")
        return data[start:stop], stop
    items: list[Item] = []
    while start < stop:
        item, start = _decode(data, start, stop, depth + 1)
        items.append(item)
    return items, stop
