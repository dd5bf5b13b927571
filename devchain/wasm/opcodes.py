"""The instructions: how their immediates are read, how they type, and what the node charges for them.

An instruction is known by a number: the opcode byte, or for prefixed ones `prefix << 12 | sub-opcode`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

I32, I64, F32, F64, V128, FUNCREF, EXTERNREF = 0x7F, 0x7E, 0x7D, 0x7C, 0x7B, 0x70, 0x6F
TYPE_NAMES: Final = {
    I32: "i32",
    I64: "i64",
    F32: "f32",
    F64: "f64",
    V128: "v128",
    FUNCREF: "funcref",
    EXTERNREF: "externref",
}

UNREACHABLE, NOP, BLOCK, LOOP, IF, ELSE, END = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x0B
BR, BR_IF, BR_TABLE, RETURN, CALL, CALL_INDIRECT = 0x0C, 0x0D, 0x0E, 0x0F, 0x10, 0x11
DROP, SELECT = 0x1A, 0x1B
LOCAL_GET, LOCAL_SET, LOCAL_TEE, GLOBAL_GET, GLOBAL_SET = 0x20, 0x21, 0x22, 0x23, 0x24
MEMORY_SIZE, MEMORY_GROW = 0x3F, 0x40
I32_CONST, I64_CONST, F32_CONST, F64_CONST = 0x41, 0x42, 0x43, 0x44

_LETTERS = {"i": I32, "l": I64, "f": F32, "d": F64, "v": V128}


class Plain(NamedTuple):
    """An instruction that pops `params` (last first) and pushes `results`, nothing else."""

    params: tuple[int, ...]
    results: tuple[int, ...]
    floats: bool
    """Whether it belongs to the floating-point part of the instruction set."""


class MemoryAccess(NamedTuple):
    """A load (`store` False) or store of `value`, at most `align` (log2) aligned."""

    value: int
    store: bool
    align: int


def _plain() -> dict[int, Plain]:
    table: dict[int, Plain] = {}

    def put(first: int, signature: str, count: int) -> None:
        params, results = (tuple(_LETTERS[c] for c in side) for side in signature.split(">"))
        floats = any(t in (F32, F64) for t in params + results)
        for op in range(first, first + count):
            table[op] = Plain(params, results, floats)

    put(0x45, "i>i", 1)  # i32.eqz
    put(0x46, "ii>i", 10)  # comparisons
    put(0x50, "l>i", 1)
    put(0x51, "ll>i", 10)
    put(0x5B, "ff>i", 6)
    put(0x61, "dd>i", 6)
    put(0x67, "i>i", 3)  # clz ctz popcnt
    put(0x6A, "ii>i", 15)  # arithmetic, bits, shifts
    put(0x79, "l>l", 3)
    put(0x7C, "ll>l", 15)
    put(0x8B, "f>f", 7)
    put(0x92, "ff>f", 7)
    put(0x99, "d>d", 7)
    put(0xA0, "dd>d", 7)
    conversions = "l>i f>i f>i d>i d>i i>l i>l f>l f>l d>l d>l i>f i>f l>f l>f d>f i>d i>d l>d l>d f>d f>i d>l i>f l>d"
    for op, signature in enumerate(conversions.split(), start=0xA7):
        put(op, signature, 1)
    put(0xC0, "i>i", 2)  # sign extensions
    put(0xC2, "l>l", 3)
    saturating = "f>i f>i d>i d>i f>l f>l d>l d>l"
    for sub, signature in enumerate(saturating.split()):
        put(0xFC000 + sub, signature, 1)
    return table


PLAIN: Final = _plain()

ACCESS: Final = {
    0x28: MemoryAccess(I32, False, 2),
    0x29: MemoryAccess(I64, False, 3),
    0x2A: MemoryAccess(F32, False, 2),
    0x2B: MemoryAccess(F64, False, 3),
    **{op: MemoryAccess(I32, False, align) for op, align in zip(range(0x2C, 0x30), (0, 0, 1, 1), strict=True)},
    **{op: MemoryAccess(I64, False, align) for op, align in zip(range(0x30, 0x36), (0, 0, 1, 1, 2, 2), strict=True)},
    0x36: MemoryAccess(I32, True, 2),
    0x37: MemoryAccess(I64, True, 3),
    0x38: MemoryAccess(F32, True, 2),
    0x39: MemoryAccess(F64, True, 3),
    0x3A: MemoryAccess(I32, True, 0),
    0x3B: MemoryAccess(I32, True, 1),
    0x3C: MemoryAccess(I64, True, 0),
    0x3D: MemoryAccess(I64, True, 1),
    0x3E: MemoryAccess(I64, True, 2),
}


def _switched_off() -> dict[int, tuple[str, str]]:
    """Instructions of proposals that the node switches off: (proposal's name in the error, shape of the immediates).

    The immediates are read before the proposal is refused, so a truncated one is still "unexpected end-of-file".
    Shapes: u var_u32, b byte, m memarg, h heap type, t block type, L lane, words: special.
    """
    table: dict[int, tuple[str, str]] = {
        0x06: ("exceptions", "t"),
        0x07: ("exceptions", "u"),
        0x08: ("exceptions", "u"),
        0x09: ("exceptions", "u"),
        0x18: ("exceptions", "u"),
        0x19: ("exceptions", ""),
        0x0A: ("exceptions", ""),
        0x1F: ("exceptions", "try_table"),
        0x12: ("tail calls", "u"),
        0x13: ("tail calls", "uu"),
        0x14: ("function references", "u"),
        0x15: ("function references", "u"),
        0x1C: ("reference types", "select"),
        0x25: ("reference types", "u"),
        0x26: ("reference types", "u"),
        0xD0: ("reference types", "h"),
        0xD1: ("reference types", ""),
        0xD2: ("reference types", "u"),
        0xD3: ("gc", ""),
        0xD4: ("function references", ""),
        0xD5: ("function references", "u"),
        0xD6: ("function references", "u"),
        0xFC008: ("bulk memory", "uu"),
        0xFC009: ("bulk memory", "u"),
        0xFC00A: ("bulk memory", "uu"),
        0xFC00B: ("bulk memory", "u"),
        0xFC00C: ("bulk memory", "uu"),
        0xFC00D: ("bulk memory", "u"),
        0xFC00E: ("bulk memory", "uu"),
        0xFC00F: ("reference types", "u"),
        0xFC010: ("reference types", "u"),
        0xFC011: ("reference types", "u"),
        0xFC012: ("memory control", "u"),
    }
    gc = "u u uu uu uu uu u u uu uu uu u u u uu - u uu uu uu h h h h cast cast - - - - -"
    for sub, shape in enumerate(gc.split()):
        table[0xFB000 + sub] = ("gc", shape.strip("-"))
    for sub in range(0x100):
        if sub in _SIMD_HOLES:
            continue
        shape = ""
        if sub <= 0x0B or sub in (0x5C, 0x5D):
            shape = "m"
        elif 0x54 <= sub <= 0x5B:
            shape = "mL"
        elif sub in (0x0C, 0x0D):
            shape = "16" if sub == 0x0C else "lanes"
        elif 0x15 <= sub <= 0x22:
            shape = "L"
        table[0xFD000 + sub] = ("SIMD", shape)
    for sub in range(0x100, 0x114):
        table[0xFD000 + sub] = ("relaxed SIMD", "")
    for sub in range(0x4F):
        if 3 < sub < 0x10:
            continue
        table[0xFE000 + sub] = ("threads", "b" if sub == 3 else "m")
    return table


_SIMD_HOLES = frozenset((0x9A, 0xA2, 0xA5, 0xA6, 0xAF, 0xB0, 0xB2, 0xB3, 0xB4, 0xBB, 0xC2, 0xC5, 0xC6, 0xCF, 0xD0))
_SIMD_HOLES |= frozenset((0xD2, 0xD3, 0xD4, 0xE2, 0xEE))
SWITCHED_OFF: Final = _switched_off()


def _costs() -> tuple[int | None, ...]:
    """WASM gas by opcode byte (docs/artela.md §2.3); br_table costs 10 more for each target but the default. None: unknown."""
    cost: list[int | None] = [None] * 256

    def put(value: int, *ops: int) -> None:
        for op in ops:
            cost[op] = value

    put(10, UNREACHABLE, NOP, I32_CONST, F32_CONST, F64_CONST)
    put(150, BLOCK, LOOP, IF, BR, BR_IF, BR_TABLE, CALL, SELECT, ELSE, END)
    put(100, RETURN, DROP)
    put(200, CALL_INDIRECT)
    put(40, LOCAL_GET, LOCAL_TEE, I64_CONST, *range(0x28, 0x36))
    put(80, LOCAL_SET, *range(0x36, 0x3F))
    put(60, GLOBAL_GET)
    put(120, GLOBAL_SET)
    put(230, MEMORY_SIZE)
    put(435_000, MEMORY_GROW)
    put(13, *range(0x45, 0x50))
    put(26, *range(0x50, 0x5B))
    put(500, *range(0x5B, 0x67), *range(0x8B, 0xC0))
    put(20, 0xA7, 0xAC, 0xAD)  # wrap, extend
    put(470, 0x67, 0x68)
    put(540, 0x69)
    put(80, 0x6A, 0x6B)
    put(100, *range(0x6C, 0x71))
    put(15, 0x71, 0x72, 0x73)
    put(20, *range(0x74, 0x79))
    put(850, 0x79, 0x7A)
    put(1080, 0x7B)
    put(160, 0x7C, 0x7D)
    put(200, *range(0x7E, 0x83))
    put(30, 0x83, 0x84, 0x85)
    put(40, *range(0x86, 0x8B))
    put(100, *range(0xC0, 0xC5))
    return tuple(cost)


COST: Final = _costs()
