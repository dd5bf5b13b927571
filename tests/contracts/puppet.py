"""An Aspect that leaves whatever verdict the call asks for: a hostile one, and the way to hear the pool's own word without our Aspect's.

The verdict travels behind the call's arguments, where solc's decoder does not look: MARK | its name, 1 byte | length, 1 byte | bytes.
A call without it leaves no verdict.
"""

from __future__ import annotations

import wasmtime

from bench.pool import POOL, PoolChain, account
from devchain.chain.blocks import StoredReceipt

MARK = b"verdict:"

# Every call has a fresh memory. Values that the node hands over and takes: u16 type | u32 length, little-endian, then the bytes.
CODE = bytes(
    wasmtime.wat2wasm(
        f"""
        (module
          (import "aspect-transient-storage-api" "__AspectTransientStorageApi__.set" (func $leave (param i32 i32)))
          (memory (export "memory") 80)
          (global $top (mut i32) (i32.const 65536))
          (func (export "__aspect_start__"))
          (func (export "allocate") (param $size i32) (result i32)
            (local $at i32)
            (local.set $at (global.get $top))
            (global.set $top (i32.add (global.get $top) (local.get $size)))
            (local.get $at))
          (func (export "execute") (param $method i32) (param $argument i32) (result i32)
            (local $at i32) (local $end i32) (local $i i32) (local $length i32)
            (if (i32.ne (i32.load (i32.add (local.get $method) (i32.const 2))) (i32.const 15)) (then (return (i32.const 0))))
            (local.set $end (i32.add (local.get $argument) (i32.load (i32.add (local.get $argument) (i32.const 2)))))
            (local.set $at (local.get $argument))
            (block $found
              (loop $scan
                (br_if $found (i64.eq (i64.load (local.get $at)) (i64.const {int.from_bytes(MARK, "little")})))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br_if $scan (i32.lt_u (local.get $at) (local.get $end))))
              (return (i32.const 0)))
            (i32.store16 (i32.const 256) (i32.const 10))
            (i32.store (i32.const 258) (i32.const 1))
            (i32.store8 (i32.const 262) (i32.load8_u (i32.add (local.get $at) (i32.const 8))))
            (local.set $length (i32.load8_u (i32.add (local.get $at) (i32.const 9))))
            (i32.store16 (i32.const 512) (i32.const 11))
            (i32.store (i32.const 514) (local.get $length))
            (block $copied
              (loop $copy
                (br_if $copied (i32.ge_u (local.get $i) (local.get $length)))
                (i32.store8
                  (i32.add (i32.const 518) (local.get $i))
                  (i32.load8_u (i32.add (i32.add (local.get $at) (i32.const 10)) (local.get $i))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $copy)))
            (call $leave (i32.const 256) (i32.const 512))
            (i32.const 0)))
        """
    )
)


def with_verdict(data: bytes, name: str, verdict: bytes) -> bytes:
    """Calldata that makes the puppet leave this verdict."""
    return data + MARK + name.encode() + bytes([len(verdict)]) + verdict


def transact(world: PoolChain, who: int, name: str, verdict: bytes, function: str, *arguments: object) -> StoredReceipt:
    return world.send(account(who), world.pool, with_verdict(POOL.encode_call(function, *arguments), name, verdict))


def opened(task: int, pages: int = 1, groups: int = 1, weights: int = 4) -> bytes:
    """Verdict "o": a shape whose largest group has all its pages."""
    numbers = (pages, groups, pages, weights, 32, 1)
    return task.to_bytes(8, "big") + b"".join(number.to_bytes(4, "big") for number in numbers)


def loaded(task: int, next_page: int = 1, done: bool = True) -> bytes:
    """Verdict "l"."""
    return task.to_bytes(8, "big") + next_page.to_bytes(4, "big") + bytes([done]) + bytes(32)


def judged(digest: bytes, sender: bytes, task: int, weight: int, effective: int) -> bytes:
    """Verdict "s"."""
    return digest + sender + b"".join(number.to_bytes(8, "big") for number in (task, weight, effective)) + b"\0"


def merged(task: int, round_number: int, group: int, groups: int = 1) -> bytes:
    """Verdict "m"."""
    head = (
        task.to_bytes(8, "big") + round_number.to_bytes(8, "big") + group.to_bytes(4, "big") + groups.to_bytes(4, "big")
    )
    return head + bytes(8 + 32 + 8)
