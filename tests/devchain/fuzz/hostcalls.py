"""Host functions called with whatever an Aspect could put into its memory, and answers of any size on the way back."""

from __future__ import annotations

import random
import struct
from functools import cache

import wasmtime

from devchain.aspect.context import _LOADERS
from devchain.aspect.environment import (
    JoinPoint,
    LogFacts,
    MessageFacts,
    NodePanic,
    ReceiptFacts,
    StaticCallResult,
)
from devchain.aspect.hostapi import HOST_FUNCTIONS, HostFunction
from devchain.aspect.memory import ValueType
from devchain.aspect.protobuf import blob, varint
from devchain.wasm.binary import uleb
from tests.devchain.aspect.doubles import SENDER, MemoryEnvironment, legacy_call

_WORDS = 5
"""The first words of the argument: up to four pointers, and what `allocate` shall answer (0: what it should)."""
_KEYS = sorted(_LOADERS)
_G1 = (1).to_bytes(32, "big"), (2).to_bytes(32, "big")


@cache
def driver(function: HostFunction) -> bytes:
    """`execute(_, argument)`: calls the function with the pointers that the argument starts with, answers what it answers.

    `allocate` answers the address that the argument names, if it names one. Before that it counts up from 1024, so that a
    fuzzer can say exactly where a pointer points.
    """
    pointers = " ".join(f"(i32.load offset={6 + 4 * i} (local.get 1))" for i in range(len(function.params)))
    answer = "" if function.result else "i32.const 0"
    return wasmtime.wat2wasm(
        f'(module (import "{function.module}" "{function.name}" (func $f (param {"i32 " * len(function.params)})'
        f" {'(result i32)' if function.result else ''}))"
        ' (memory (export "memory") 1) (global $top (mut i32) (i32.const 1024)) (global $wild (mut i32) (i32.const 0))'
        ' (func (export "allocate") (param i32) (result i32) (local i32)'
        "  (if (global.get $wild) (then (return (global.get $wild))))"
        "  (local.set 1 (global.get $top)) (global.set $top (i32.add (global.get $top) (local.get 0))) (local.get 1))"
        f' (func (export "execute") (param i32 i32) (result i32) (global.set $wild (i32.load offset={6 + 16} (local.get 1)))'
        f" (call $f {pointers}) {answer})"
        ' (func (export "__aspect_start__")))'
    )


_BODY = 1024 + 6 + len("operation") + 6
"""Where the body of the argument of `operation` lies; other names are longer or shorter."""


def any_call(r: random.Random) -> tuple[HostFunction, MemoryEnvironment, bytes, int]:
    """(function, environment, argument, gas)"""
    function = r.choice(HOST_FUNCTIONS)
    join_point = r.choice(list(JoinPoint))
    base = _BODY - len("operation") + len(join_point.value) + 4 * _WORDS
    image = bytearray()
    pointers = []
    for kind in function.params:
        pointers.append(base + len(image) if r.random() < 0.95 else _wild(r))
        image += _typed(r, kind, _content(r, function))
    pointers += [0] * (4 - len(pointers))
    answer_at = 0 if r.random() < 0.9 else _wild(r)
    argument = struct.pack("<5i", *pointers, answer_at) + image
    gas = r.choices((0, 1, 100, 50_000, 1_000_000, 1 << 40), (1, 1, 2, 8, 8, 8))[0]
    return function, _environment(r, join_point), argument, gas


def _wild(r: random.Random) -> int:
    return r.choice((0, 1, -1, -6, 65_530, 65_531, 65_536, 2**31 - 1, 2**31 - 6, -(2**31), r.randrange(65_536)))


def _typed(r: random.Random, kind: ValueType, content: bytes) -> bytes:
    number: int = kind
    length = len(content)
    if r.random() < 0.05:
        number = r.choice((0, 1, 3, 4, 8, 9, 10, 11, 12, 13, 255, -1))
    if r.random() < 0.05:
        length = r.choice((-1, -6, 0, 1, 65_536, 2**31 - 1, -(2**31), 2**31 - 7))
    return struct.pack("<hi", number, length) + content


def _content(r: random.Random, function: HostFunction) -> bytes:
    if function.module == "runtime-api":
        key = r.choice(_KEYS).encode()
        return key if r.random() < 0.95 else key[: r.randrange(len(key))] + r.randbytes(r.randrange(3))
    if function.params == (ValueType.BYTES,) and r.random() < 0.8:
        return any_message(r)
    return r.randbytes(r.choice((0, 0, 1, 20, 31, 32, 33, 100)))


def any_message(r: random.Random, depth: int = 0) -> bytes:
    """A protobuf message like those that host functions take, or one that only looks like it."""
    out = b""
    for number in range(1, r.randrange(2, 7)):
        kind = r.randrange(10)
        if kind == 0:
            continue
        if kind == 1 and depth < 3:
            out += blob(number, any_message(r, depth + 1))
        elif kind == 2 and depth < 3:
            out += blob(number, blob(1, _G1[0]) + blob(2, _G1[1]))
        elif kind < 5:
            out += varint(number, r.choice((0, 1, 2, 1000, 2**31, 2**63, 2**64 - 1)))
        else:
            out += blob(number, _bytes(r, number))
    if r.random() < 0.1:
        at = r.randrange(len(out) + 1)
        out = out[:at] + r.choice((b"", b"\xff", b"\x80" * 11, uleb(r.getrandbits(40)), r.randbytes(5))) + out[at + 1 :]
    return out


def _bytes(r: random.Random, number: int) -> bytes:
    if number == 5 or r.random() < 0.1:
        return r.choice((bytes(3), bytes(4), b"\0\0\0\x0c", b"\0\0\0\xff\1", b"\xff" * 4))
    size = r.choice((0, 1, 16, 20, 31, 32, 32, 33, 64, 128))
    return r.choice((bytes(size), b"\xff" * size, r.randbytes(size), (b"\0" * size + b"\1")[-size:] if size else b""))


def _environment(r: random.Random, join_point: JoinPoint) -> MemoryEnvironment:
    env = MemoryEnvironment(join_point)
    env.is_call = r.random() < 0.5
    to = r.choice((None, SENDER))
    if to and r.random() < 0.8:
        env.transaction_facts = legacy_call(r.getrandbits(8), r.getrandbits(40), to, r.randbytes(5))
    # the chain always has these where the border says that they are asked for
    env.message_facts = MessageFacts(
        sender=SENDER,
        to=to,
        value=r.getrandbits(256),
        data=r.randbytes(4),
        gas=r.getrandbits(63),
        index=r.getrandbits(8),
        result_error=r.choice((None, "execution reverted")),
    )
    log = LogFacts(address=SENDER, topics=(bytes(32),), data=r.randbytes(9), index=0)
    env.receipt_facts = ReceiptFacts(
        status=r.randrange(2), gas_used=r.getrandbits(40), cumulative_gas_used=0, logs=(log,), bloom=bytes(256)
    )
    env.balances[SENDER] = r.getrandbits(256)
    env.state = {bytes(n): r.randbytes(r.choice((0, 1, 100, 70_000))) for n in range(3)}
    env.answer = lambda _from, _to, _data, gas: _static_answer(r, gas)
    return env


def _static_answer(r: random.Random, gas: int) -> StaticCallResult:
    if r.random() < 0.1:
        raise NodePanic("write protection")
    error = r.choice((None, "execution reverted", "out of gas"))
    return StaticCallResult(r.randbytes(r.choice((0, 32, 70_000))), error, r.randrange(gas + 1))
