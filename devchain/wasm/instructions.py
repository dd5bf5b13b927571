"""Reads one instruction after the other, those of proposals that are switched off included: they must be read to be named."""

from __future__ import annotations

from devchain.wasm import opcodes as op
from devchain.wasm.binary import Reader, WasmError
from devchain.wasm.module import REFERENCE_BYTES, read_heap_type, read_value_type
from devchain.wasm.opcodes import ACCESS, I32, PLAIN, SWITCHED_OFF

_MAX_BR_TABLE = 131_072
_MAX_CATCHES = 10_000


def read_opcode(reader: Reader) -> int:
    """The instruction's number; raises on an opcode that does not exist."""
    at = reader.pos
    byte = reader.u8()
    if byte < 0xFB or byte == 0xFF:
        if byte in _ONE_BYTE:
            return byte
        raise WasmError(f"illegal opcode: {byte:#x}", at)
    sub = reader.u32()
    number = byte << 12 | sub
    if number not in SWITCHED_OFF and number not in PLAIN:
        raise WasmError(f"unknown {byte:#x} subopcode: {sub:#x}", at)
    return number


_ONE_BYTE = frozenset(range(0x06)) | frozenset(range(0x0B, 0x12)) | {0x1A, 0x1B} | frozenset(range(0x20, 0x25))
_ONE_BYTE |= {o for o in (*ACCESS, *PLAIN, *SWITCHED_OFF) if o < 0x100} | frozenset(range(0x3F, 0x45))


def read_memarg(reader: Reader) -> tuple[int, int, int]:
    """(alignment exponent, offset, memory index)."""
    at = reader.pos
    flags = reader.u32()
    memory = 0
    if flags & 0x40:
        flags ^= 0x40
        memory = reader.u32()
    if flags >= 0x40:
        raise WasmError("alignment too large", at)
    return flags, reader.u32(), memory


def skip_immediates(reader: Reader, number: int) -> None:
    """Read over the immediates of any instruction."""
    if number in PLAIN:
        return
    if number in ACCESS:
        read_memarg(reader)
    elif number in (op.BLOCK, op.LOOP, op.IF):
        read_block_type(reader)
    elif number in (op.BR, op.BR_IF, op.CALL) or op.LOCAL_GET <= number <= op.GLOBAL_SET:
        reader.u32()
    elif number == op.BR_TABLE:
        read_br_table(reader)
    elif number == op.CALL_INDIRECT:
        reader.u32()
        reader.u32()
    elif number in (op.MEMORY_SIZE, op.MEMORY_GROW):
        reader.u32()
    elif number == op.I32_CONST:
        reader.i32()
    elif number == op.I64_CONST:
        reader.i64()
    elif number == op.F32_CONST:
        reader.take(4)
    elif number == op.F64_CONST:
        reader.take(8)
    elif number in SWITCHED_OFF:
        _skip_switched_off(reader, SWITCHED_OFF[number][1])


def _skip_switched_off(reader: Reader, shape: str) -> None:
    match shape:
        case "16":
            reader.take(16)
        case "lanes":
            for _ in range(16):
                if reader.u8() >= 32:
                    raise WasmError("invalid lane index", reader.pos - 1)
        case "select":
            if reader.u32() != 1:
                raise WasmError("invalid result arity", reader.pos - reader.base)
            read_value_type(reader)
        case "try_table":
            read_block_type(reader)
            for _ in range(reader.size(_MAX_CATCHES, "catches")):
                kind = reader.u8()
                if kind > 3:
                    raise WasmError(f"invalid leading byte ({kind:#x}) for catch", reader.pos - 1)
                if kind < 2:
                    reader.u32()
                reader.u32()
        case "cast":
            if (flags := reader.u8()) > 3:
                raise WasmError(f"invalid cast flags: {flags:08b}", reader.pos - 1)
            reader.u32()
            read_heap_type(reader)
            read_heap_type(reader)
        case _:
            for letter in shape:
                match letter:
                    case "u":
                        reader.u32()
                    case "b":
                        if reader.u8() != 0:
                            raise WasmError("nonzero byte after `atomic.fence`", reader.pos - 3)
                    case "m":
                        read_memarg(reader)
                    case "t":
                        read_block_type(reader)
                    case "L":
                        reader.u8()
                    case "h":
                        read_heap_type(reader)


def skip_const_expr(reader: Reader) -> tuple[int, int]:
    """Read to the first `end`, whatever comes before it; returns where the expression starts and ends."""
    start = reader.pos
    while (number := read_opcode(reader)) != op.END:
        skip_immediates(reader, number)
    return start, reader.pos


def read_block_type(reader: Reader) -> int:
    """-1: empty; a value type as -type; else a type index."""
    byte = reader.peek()
    if byte == 0x40:
        reader.u8()
        return -1
    if op.V128 <= byte <= I32 or byte in REFERENCE_BYTES:
        return -read_value_type(reader)
    index = reader.s33()
    if index < 0:
        raise WasmError("invalid function type", reader.pos)
    return index


def read_br_table(reader: Reader) -> list[int]:
    """The targets, the default last."""
    count = reader.size(_MAX_BR_TABLE, "br_table")
    return [reader.u32() for _ in range(count + 1)]
