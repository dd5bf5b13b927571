"""Brotli containers open to what was packed, whatever its size; bombs and stubs are refused."""

from __future__ import annotations

import random

import brotli  # type: ignore[import-untyped]
import pytest
from eth_hash.auto import keccak

from devchain.chain.code_container import _CHUNK, DECOMPRESSED_LIMIT, BadContainer, unpack


def packed(content: bytes, quality: int) -> bytes:
    compressed = brotli.compress(content, quality=quality)
    return b"\0\0\0\x01" + keccak(compressed)[:4] + compressed


@pytest.mark.parametrize("quality", [0, 1, 5, 9, 11])
@pytest.mark.parametrize("size", [0, 1, _CHUNK - 1, _CHUNK, _CHUNK + 1, 3 * _CHUNK, 1_052_847, DECOMPRESSED_LIMIT])
def test_every_size_and_quality(size: int, quality: int) -> None:
    if quality > 9 and size > 2_000_000:
        quality = 9  # 11 takes minutes
    chance = random.Random(size)
    for content in (bytes(size), (chance.randbytes(40_000) * (size // 40_000 + 1))[:size]):
        assert unpack(packed(content, quality)) == content


def test_a_bomb_is_refused_before_it_is_in_memory() -> None:
    bomb = packed(bytes(20 * DECOMPRESSED_LIMIT), 9)
    assert len(bomb) < 2000
    with pytest.raises(BadContainer, match="too large"):
        unpack(bomb)


@pytest.mark.parametrize("cut", [1, 10, 1000])
def test_a_container_that_is_cut_off_is_refused(cut: int) -> None:
    chance = random.Random(1)
    compressed = brotli.compress(chance.randbytes(_CHUNK + 5000), quality=5)[:-cut]
    with pytest.raises(BadContainer, match="unexpected EOF"):
        unpack(b"\0\0\0\x01" + keccak(compressed)[:4] + compressed)
