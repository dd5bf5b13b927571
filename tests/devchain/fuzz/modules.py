"""Modules as an attacker would send them: mutated, spliced, or put together at random."""

from __future__ import annotations

import random
from functools import cache

import wasmtime

from devchain.aspect.hostapi import HOST_FUNCTIONS
from devchain.wasm import opcodes as op
from devchain.wasm.binary import sleb, uleb
from tests.devchain.aspect.doubles import DATA, PROBE, module

_NUMBERS = (0, 1, 2, 3, 7, 0x40, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 10**6, 10**7 + 1, 2**31 - 1, 2**31, 2**32 - 1)
_TELLING = bytes(range(14)) + bytes.fromhex(
    "40 60 7f 7e 7d 7c 7b 70 6f 63 64 80 ff 41 42 23 fb fc fd fe d0 d2 1c 11 4e 50"
)
_I32_PLAIN = (*range(0x45, 0x50), *range(0x67, 0x79), 0xC0, 0xC1)
_I64_PLAIN = (*range(0x50, 0x5B), *range(0x79, 0x8B), 0xA7, 0xAC, 0xAD, 0xC2, 0xC3, 0xC4)


@cache
def seeds() -> tuple[bytes, ...]:
    """Small modules of many kinds, and the probe at the end."""
    control = (
        "(block (loop (br_if 1 (i32.eqz (local.get 0))) (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br 0)))"
        "(if (result i32) (local.get 1) (then (i32.const 0)) (else (br_table 0 0 (i32.const 0) (local.get 0))))"
    )
    imports = " ".join(
        f'(import "{f.module}" "{f.name}" (func (param {"i32 " * len(f.params)}) {"(result i32)" if f.result else ""}))'
        for f in HOST_FUNCTIONS
    )
    texts = (
        '(module (func (export "__aspect_start__")))',
        '(module (memory 1 2) (data (i32.const 3) "abc") (func (export "__aspect_start__") (drop (memory.grow (i32.const 1)))))',
        "(module (type (func (param i32) (result i32))) (table 2 9 funcref) (elem (i32.const 0) 0 1)"
        ' (func (type 0) (call_indirect (type 0) (local.get 0) (i32.const 1))) (func (export "__aspect_start__")))',
        "(module (global i64 (i64.const 5)) (global (mut i32) (i32.const -1))"
        ' (func (export "__aspect_start__") (local i32 i64 i64) (local.set 1 (global.get 0)) (global.set 1 (local.get 0))))',
        '(module (func (export "__aspect_start__") (drop (block (result i32 i32) i32.const 1 i32.const 2)) drop))',
        '(module (start 0) (func) (func (export "__aspect_start__")))',
        '(module (func (export "__aspect_start__") (drop (f64.const 1)) (drop (v128.const i64x2 1 2))))',
        '(module (memory 1) (data "x") (func (export "__aspect_start__") (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1))))',
    )
    made = [wasmtime.wat2wasm(text) for text in texts]
    made.append(module(control))
    made.append(module("(call 0 (local.get 0))", top=imports))
    made.append(
        module(
            "(drop (i64.load8_s offset=3 (local.get 0))) (i64.store32 (local.get 1) (i64.const -77)) (local.get 1)"
            " (select (local.get 0) (i32.wrap_i64 (i64.popcnt (i64.extend_i32_s (local.get 0)))) (local.get 1)) i32.div_s"
        )
    )
    made += [path.read_bytes() for path in sorted((DATA / "refused").glob("*.wasm")) if path.stat().st_size < 2000]
    return (*made, PROBE)


def any_module(r: random.Random) -> bytes:
    """A module, usually a broken one."""
    choice = r.random()
    if choice < 0.45:
        return mutated(r, r.choice(seeds()[:-1]))
    if choice < 0.47:
        return mutated(r, PROBE)
    if choice < 0.95:
        return composed(r)
    return bytes(r.choices(_TELLING, k=r.randrange(40))) if choice < 0.97 else mutated(r, composed(r))


def mutated(r: random.Random, code: bytes) -> bytes:
    out = bytearray(code)
    for _ in range(r.choice((1, 1, 1, 2, 3, 8))):
        if not out:
            break
        at, kind = r.randrange(len(out)), r.randrange(7)
        if kind == 0:
            out[at] = r.randrange(256)
        elif kind == 1:
            out[at] = r.choice(_TELLING)
        elif kind == 2:
            del out[at : at + r.choice((1, 1, 2, 5, 50))]
        elif kind == 3:
            out[at:at] = bytes(r.choices(_TELLING, k=r.choice((1, 1, 2, 4))))
        elif kind == 4:
            out[at] = (out[at] + r.choice((1, -1, 2))) & 0xFF
        elif kind == 5:
            out[at : at + 1] = uleb(r.choice(_NUMBERS))
        else:
            other = r.choice(seeds()[:-1])
            start = r.randrange(len(other))
            out[at:at] = other[start : start + r.randrange(1, 40)]
    return bytes(out)


def composed(r: random.Random) -> bytes:
    """Sections framed as they should be, with a body of random instructions that mostly type-check."""
    body = _body(r)
    functions = [
        _func(b"", b"\x0b"),
        _func(b"", b"\x20\x00\x0b" if r.random() < 0.9 else _body(r)),
        _func(b"\x02\x02\x7f\x01\x7e", body),
    ]
    types = [b"\x60\x00\x00", b"\x60\x01\x7f\x01\x7f", b"\x60\x02\x7f\x7f\x01\x7f"]
    if r.random() < 0.1:
        types.append(b"\x60" + uleb(r.choice((1, 2, 5))) + bytes(r.choices(b"\x7f\x7e\x7d\x70", k=2)) + b"\x01\x7e")
    exports = [_export("__aspect_start__", 0), _export("allocate", 1), _export("execute", 2), b"\x06memory\x02\x00"]
    sections = [
        (1, _vector(types)),
        (3, _vector([b"\0", b"\1", b"\2"])),
        (4, _vector([b"\x70\x00\x03"])),
        (5, _vector([r.choice((b"\x00\x01", b"\x01\x01\x02", b"\x00\x01", b"\x00" + uleb(r.choice(_NUMBERS))))])),
        (6, _vector([b"\x7f\x01\x41\x00\x0b", b"\x7e\x00\x42\x05\x0b"])),
        (7, _vector(exports)),
        (9, _vector([b"\x00\x41" + sleb(r.choice((0, 1, 1, 1, 1, 1, 1, 9))) + b"\x0b\x02\x01\x01"])),
        (10, _vector(functions)),
        (11, _vector([b"\x00\x41" + sleb(r.choices((0, 65_533, 65_535, -1), (20, 20, 1, 1))[0]) + b"\x0b\x03abc"])),
    ]
    if r.random() < 0.1:
        sections.insert(r.randrange(len(sections)), r.choice(sections))
    if r.random() < 0.1:
        sections[r.randrange(len(sections))] = (r.randrange(15), uleb(r.choice(_NUMBERS)) + r.randbytes(r.randrange(9)))
    return b"\0asm\1\0\0\0" + b"".join(bytes((number,)) + uleb(len(content)) + content for number, content in sections)


def _vector(items: list[bytes]) -> bytes:
    return uleb(len(items)) + b"".join(items)


def _export(name: str, index: int) -> bytes:
    return uleb(len(name)) + name.encode() + b"\0" + uleb(index)


def _func(declared: bytes, body: bytes) -> bytes:
    code = (declared or b"\0") + body
    return uleb(len(code)) + code


def _body(r: random.Random) -> bytes:
    """Statements, each of which leaves the stack as it was, then an i32; the locals are (i32, i32, i32, i32, i64)."""
    out = b"".join(_statement(r, 0) for _ in range(r.randrange(6)))
    return out + _value(r, 0) + (b"\x0b" if r.random() < 0.97 else r.randbytes(r.randrange(4)))


def _statement(r: random.Random, depth: int) -> bytes:
    kind = r.randrange(13) if depth < 4 else r.randrange(6)
    if kind == 0:
        return _value(r, depth) + b"\x21" + bytes((r.randrange(5),))
    if kind == 1:
        return _value(r, depth) + _value(r, depth) + bytes((r.choice((0x36, 0x3A, 0x3B)),)) + _access(r)
    if kind == 2:
        return _value(r, depth) + b"\x1a"
    if kind == 3:
        return _value(r, depth) + bytes((0x0D,)) + uleb(r.randrange(depth + 2))
    if kind == 4:
        return _value(r, depth) + b"\x24" + bytes((r.choice((0, 0, 0, 1)),))
    if kind == 5:
        return r.choice((b"\x01", b"\x00", b"\x10\x00", b"\x42\x05\x1a", b"\x0f"))
    inner = b"".join(_statement(r, depth + 1) for _ in range(r.randrange(4)))
    if kind < 8:
        return b"\x02\x40" + inner + b"\x0b"
    if kind < 10:
        return b"\x03\x40" + inner + b"\x0b"
    if kind < 12:
        other = b"\x05" + _statement(r, depth + 1) if r.random() < 0.5 else b""
        return _value(r, depth) + b"\x04\x40" + inner + other + b"\x0b"
    labels = [uleb(r.randrange(depth + 2)) for _ in range(r.randrange(4))]
    return b"\x02\x40" + _value(r, depth) + b"\x0e" + _vector(labels) + uleb(r.randrange(depth + 2)) + b"\x0b"


def _value(r: random.Random, depth: int) -> bytes:
    """An i32."""
    kind = r.randrange(10) if depth < 5 else r.randrange(3)
    if kind == 0:
        return b"\x41" + sleb(r.choice((0, 1, 2, 64, 65_535, -1, -(2**31), 2**31 - 1)))
    if kind == 1:
        return b"\x20" + bytes((r.randrange(4),))
    if kind == 2:
        return r.choice((b"\x23\x00", b"\x3f\x00", b"\x41\x00\x40\x00"))
    if kind < 6:
        opcode = r.choice(_I32_PLAIN)
        unary = opcode in (0x45, 0x67, 0x68, 0x69, 0xC0, 0xC1)
        return _value(r, depth + 1) + (b"" if unary else _value(r, depth + 1)) + bytes((opcode,))
    if kind == 6:
        return _value(r, depth + 1) + bytes((r.choice((0x28, 0x2C, 0x2D, 0x2E, 0x2F)),)) + _access(r)
    if kind == 7:
        left = b"\x20\x04" if r.random() < 0.5 else b"\x42" + sleb(r.choice((0, -1, 2**63 - 1)))
        opcode = r.choice(_I64_PLAIN)
        return left + (b"\x20\x04" if r.random() < 0.8 else b"") + bytes((opcode,)) + r.choice((b"\xa7", b"\x50", b""))
    if kind == 8:
        return _value(r, depth + 1) + r.choice((b"\x10\x01", b"\x41\x01\x11\x01\x00"))
    return _value(r, depth + 1) + _value(r, depth + 1) + _value(r, depth + 1) + bytes((op.SELECT,))


def _access(r: random.Random) -> bytes:
    return r.choice((b"\x00\x00", b"\x00\x04", b"\x00" + uleb(r.choice(_NUMBERS)), b"\x03\x00"))
