"""BLAKE2b's compression function F with any number of rounds (RFC 7693 §3.2, EIP-152), as WebAssembly.

One unit of gas buys a round: 20 million of them take Python three minutes, and compiled code a few seconds. The module is written
out here as text, ten unrolled rounds in a loop, and compiled once a process by the wasmtime that runs the Aspects.
"""

from __future__ import annotations

import struct
import threading
from typing import Any, Final

import wasmtime

from devchain.watch import Watch, no_watch

IV: Final = (
    0x6A09E667F3BCC908,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
    0x510E527FADE682D1,
    0x9B05688C2B3E6C1F,
    0x1F83D9ABFB41BD6B,
    0x5BE0CD19137E2179,
)
_SIGMA: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
# columns, then diagonals, of the 4 x 4 working state
_MIXES: Final = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)
_U64: Final = (1 << 64) - 1
ROUNDS_AT_ONCE: Final = 100_000
"""What runs before anybody looks at the clock again: some milliseconds."""


def _half(a: int, b: int, c: int, d: int, word: int, turns: tuple[int, int]) -> str:
    """a += b + m[word]; d = (d ^ a) >>> r; c += d; b = (b ^ c) >>> s."""
    first, second = turns
    return (
        f"(local.set $v{a} (i64.add (i64.add (local.get $v{a}) (local.get $v{b})) (local.get $m{word})))"
        f"(local.set $v{d} (i64.rotr (i64.xor (local.get $v{d}) (local.get $v{a})) (i64.const {first})))"
        f"(local.set $v{c} (i64.add (local.get $v{c}) (local.get $v{d})))"
        f"(local.set $v{b} (i64.rotr (i64.xor (local.get $v{b}) (local.get $v{c})) (i64.const {second})))"
    )


def _text() -> str:
    """Memory: the working state of 16 words at 0, the message of 16 words at 128. `run(rounds)` does so many rounds,
    from the first permutation on: every call but the last of a compression does a multiple of 10."""
    words = range(16)
    loads = "".join(
        f"(local.set $v{i} (i64.load (i32.const {8 * i})))(local.set $m{i} (i64.load (i32.const {128 + 8 * i})))"
        for i in words
    )
    stores = "".join(f"(i64.store (i32.const {8 * i}) (local.get $v{i}))" for i in words)
    rounds = []
    for sigma in _SIGMA:
        mixes = "".join(
            _half(*mix, sigma[2 * i], (32, 24)) + _half(*mix, sigma[2 * i + 1], (16, 63))
            for i, mix in enumerate(_MIXES)
        )
        rounds.append(
            f"(br_if $done (i32.eqz (local.get $rounds))){mixes}"
            "(local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))"
        )
    names = "".join(f"(local $v{i} i64)(local $m{i} i64)" for i in words)
    return (
        '(module (memory (export "memory") 1) (func (export "run") (param $rounds i32)'
        f"{names}{loads}(block $done (loop $more {''.join(rounds)} (br $more))){stores}))"
    )


class _Compressor:
    """One instance; used under its lock."""

    def __init__(self) -> None:
        engine = wasmtime.Engine()
        self._store = wasmtime.Store(engine)
        module = wasmtime.Module(engine, bytes(wasmtime.wat2wasm(_text())))
        exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._memory: Any = exports["memory"]
        self._run: Any = exports["run"]

    def rounds(self, state: bytes, message: bytes, count: int) -> bytes:
        """The 128 bytes of working state after `count` rounds from the first permutation on."""
        self._memory.write(self._store, state + message, 0)
        self._run(self._store, count)
        return bytes(self._memory.read(self._store, 0, 128))


_lock = threading.Lock()
_compressor: _Compressor | None = None


def compress(
    rounds: int,
    h: tuple[int, ...],
    m: tuple[int, ...],
    t: tuple[int, ...],
    final: bool,
    watch: Watch = no_watch,
) -> bytes:
    """F. h: 8 words of 64 bits, m: 16, t: the low and the high word of the counter. Returns the new h, 64 bytes little-endian.

    watch: called between portions of the rounds.
    """
    global _compressor  # compiling takes 50 ms, which a chain that never sees the precompile should not pay
    v = [*h, *IV]
    v[12] ^= t[0]
    v[13] ^= t[1]
    if final:
        v[14] ^= _U64
    state, message = struct.pack("<16Q", *v), struct.pack("<16Q", *m)
    while rounds:
        portion = min(rounds, ROUNDS_AT_ONCE)
        with _lock:
            if _compressor is None:
                _compressor = _Compressor()
            state = _compressor.rounds(state, message, portion)
        rounds -= portion
        watch()
    v = list(struct.unpack("<16Q", state))
    return struct.pack("<8Q", *(h[i] ^ v[i] ^ v[i + 8] for i in range(8)))
