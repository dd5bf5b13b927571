"""How Aspect code travels: raw wasm, or `00 00 00 algorithm ++ keccak256(data)[:4] ++ data` with brotli as the one algorithm."""

from __future__ import annotations

from typing import Final

import brotli  # type: ignore[import-untyped]
from eth_hash.auto import keccak

DECOMPRESSED_LIMIT: Final = 8 * 1024 * 1024
"""Bytes. Storing costs 1,000 gas per 32 bytes, so a block's gas pays for 640 kB; more only fills memory."""
_CHUNK: Final = 256 * 1024


class BadContainer(Exception):
    """Not the code that its header says; the message is the node's."""


def unpack(code: bytes) -> bytes:
    """The wasm module. What has no valid header is taken as it is. Raises BadContainer."""
    if len(code) < 8 or code[:3] != b"\0\0\0" or code[3] == 0:
        return code
    data = code[8:]
    if keccak(data)[:4] != code[4:8]:
        raise BadContainer("invalid checksum")
    if code[3] != 1:
        raise BadContainer(f"unsupported compression algorithm: {code[3]}")
    decompressor = brotli.Decompressor()
    out = bytearray()
    try:
        part = decompressor.process(data, output_buffer_limit=_CHUNK)
        # the decoder may have taken in all of its input and still hold output back, so only silence means that it is done
        while part:
            out += part
            if len(out) > DECOMPRESSED_LIMIT:
                raise BadContainer("failed to decompress data: too large")
            part = b"" if decompressor.is_finished() else decompressor.process(b"", output_buffer_limit=_CHUNK)
    except brotli.error as error:
        raise BadContainer("failed to decompress data: brotli: FORMAT") from error
    if not decompressor.is_finished():
        raise BadContainer("failed to decompress data: unexpected EOF")
    return bytes(out)
