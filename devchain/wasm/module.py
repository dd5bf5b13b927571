"""What a module declares, and how value types are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from devchain.wasm.binary import Reader, WasmError
from devchain.wasm.opcodes import F32, F64, I32, I64, V128

INDEXED: Final = 0x100
"""A reference to the type of index n is the value type `INDEXED + n`."""

# heap types that may stand where a value type is read (abbreviations of nullable references)
REFERENCE_BYTES: Final = frozenset((0x70, 0x6F, 0x6E, 0x71, 0x72, 0x73, 0x6D, 0x6B, 0x6A, 0x6C, 0x69, 0x63, 0x64))


@dataclass(frozen=True, slots=True)
class FuncType:
    params: tuple[int, ...]
    results: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GlobalType:
    value: int
    mutable: bool


@dataclass(slots=True)
class Module:
    """What the sections have declared so far; index spaces hold imports first."""

    floats: bool
    types: list[FuncType] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    """Type index of each function."""
    tables: list[int] = field(default_factory=list)
    """Element type of each table."""
    memories: int = 0
    globals: list[GlobalType] = field(default_factory=list)
    imported_functions: int = 0
    imported_globals: int = 0
    exports: set[str] = field(default_factory=set)
    bodies: list[tuple[int, int]] = field(default_factory=list)
    """Where each function body starts and ends."""

    def check_value_type(self, value: int, offset: int) -> None:
        if value in (I32, I64):
            return
        if value in (F32, F64):
            if not self.floats:
                raise WasmError("floating-point support is disabled", offset)
        elif value == V128:
            raise WasmError("SIMD support is not enabled", offset)
        elif value >= INDEXED and value - INDEXED >= len(self.types):
            raise WasmError(f"unknown type {value - INDEXED}: type index out of bounds", offset)
        else:
            raise WasmError("reference types support is not enabled", offset)

    def func_type(self, index: int, offset: int) -> FuncType:
        if index >= len(self.types):
            raise WasmError(f"unknown type {index}: type index out of bounds", offset)
        return self.types[index]


def read_value_type(reader: Reader) -> int:
    byte = reader.peek()
    if V128 <= byte <= I32:
        return reader.u8()
    if byte in REFERENCE_BYTES:
        return read_reference(reader)
    raise WasmError("invalid value type", reader.pos)


def read_reference(reader: Reader) -> int:
    byte = reader.u32()  # where one byte would do, the parser takes any LEB128
    if byte in (0x63, 0x64):
        return read_heap_type(reader)
    if byte in REFERENCE_BYTES:
        return byte
    raise WasmError("malformed reference type", reader.pos)


def read_heap_type(reader: Reader) -> int:
    byte = reader.peek()
    if byte in REFERENCE_BYTES and byte not in (0x63, 0x64):
        return reader.u8()
    index = reader.s33()
    if index < 0:
        raise WasmError("invalid indexed ref heap type", reader.pos)
    return INDEXED + index
