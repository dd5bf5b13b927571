"""A chain as small as an Aspect call can bear, the probe's little programs, and the recordings of a real node."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rlp
import wasmtime
from eth_hash.auto import keccak

from devchain.aspect.environment import (
    BlockFacts,
    JoinPoint,
    MessageFacts,
    ReceiptFacts,
    StaticCallResult,
    TransactionFacts,
)
from devchain.aspect.inputs import operation_input
from devchain.aspect.runtime import AspectOutcome, AspectRuntime
from devchain.watch import Watch, no_watch

DATA = Path(__file__).resolve().parents[2] / "data" / "conformance"
PROBE = (DATA / "probe.wasm").read_bytes()
ASPECT = bytes.fromhex("11373025836523a8cfef17cdcc740493618d70cd")
SENDER = bytes.fromhex("2bad8e1f1ab4c435521834095d0e46fd0af97765")
SYSTEM = bytes.fromhex("0000000000000000000000000000000000a27e14")
CHAIN_ID = 11820

_OP_NAMES = (
    "ctx get set prop tget tset balance state codehash codesize nonce suicided static sha256 ripemd keccak ecrecover modexp "
    "bnadd bnmul bnpair blake2f gas revert trap loop grow softrevert echo log qstate qtree burn setbig pages jit badarg wild"
)
OPS = {name: number for number, name in enumerate(_OP_NAMES.split(), start=1)}


def program(*operations: tuple[Any, ...]) -> bytes:
    """The probe Aspect's program: op code, then each argument with its u16 length."""
    out = b""
    for name, *arguments in operations:
        out += bytes([OPS[name]])
        for argument in arguments:
            if isinstance(argument, str):
                argument = argument.encode()
            if isinstance(argument, int):
                argument = argument.to_bytes(max(1, (argument.bit_length() + 7) // 8), "little")
            out += struct.pack("<H", len(argument)) + argument
    return out


def outputs(result: bytes) -> list[tuple[int, bytes]]:
    """What the probe handed back: (op code, typed value or raw bytes) for each operation that has a result."""
    found = []
    while result:
        length = int.from_bytes(result[1:5], "little")
        found.append((result[0], result[5 : 5 + length]))
        result = result[5 + length :]
    return found


def legacy_call(nonce: int, gas: int, to: bytes, data: bytes, sender: bytes = SENDER) -> TransactionFacts:
    """The unsigned legacy transaction that the node makes of an eth_call."""
    fields = [nonce, 0, gas, to, 0, data]
    raw = rlp.encode([*fields, 0, 0, 0])
    unsigned = rlp.encode([*fields, CHAIN_ID, 0, 0])
    return TransactionFacts(
        type=0,
        chain_id=CHAIN_ID,
        nonce=nonce,
        gas=gas,
        gas_price=0,
        gas_tip_cap=0,
        gas_fee_cap=0,
        to=to,
        value=0,
        data=data,
        sender=sender,
        index=0,
        hash=keccak(raw),
        raw=raw,
        unsigned_hash=keccak(unsigned),
        unsigned_raw=unsigned,
        v=0,
        r=0,
        s=0,
    )


class MemoryEnvironment:
    """A `HostEnvironment` whose chain is a few dictionaries."""

    def __init__(self, join_point: JoinPoint = JoinPoint.OPERATION) -> None:
        self.join_point = join_point
        self.aspect_id = ASPECT
        self.aspect_version = 1
        self.is_call = True
        self.state: dict[bytes, bytes] = {}
        self.properties: dict[bytes, bytes] = {b"p1": b"\x01\x02\x03", b"name": b"probe"}
        self.transient: dict[tuple[bytes, bytes], bytes] = {}
        self.balances: dict[bytes, int] = {}
        self.codes: dict[bytes, bytes] = {}
        self.code_hashes: dict[bytes, bytes] = {}
        self.nonces: dict[bytes, int] = {}
        self.slots: dict[tuple[bytes, bytes], bytes] = {}
        self.gone: set[bytes] = set()
        self.lines: list[str] = []
        self.answer: Callable[[bytes, bytes, bytes, int], StaticCallResult] = lambda *_: StaticCallResult(b"", None, 0)
        self.block_facts = BlockFacts(
            number=306, timestamp=1795131132, parent_hash=bytes(32), miner=bytes(20), max_gas=None, max_bytes=None
        )
        self.transaction_facts: TransactionFacts | None = None
        self.message_facts: MessageFacts | None = None
        self.receipt_facts: ReceiptFacts | None = None

    def chain_id(self) -> int:
        return CHAIN_ID

    def block(self) -> BlockFacts:
        return self.block_facts

    def transaction(self) -> TransactionFacts | None:
        return self.transaction_facts

    def message(self) -> MessageFacts | None:
        return self.message_facts

    def receipt(self) -> ReceiptFacts | None:
        return self.receipt_facts

    def state_get(self, key: bytes) -> bytes:
        return self.state.get(key, b"")

    def state_set(self, key: bytes, value: bytes) -> None:
        self.state.pop(key, None)
        if value:
            self.state[key] = value

    def property_get(self, key: bytes) -> bytes:
        return self.properties.get(key, b"")

    def transient_get(self, scope: bytes, key: bytes) -> bytes:
        return self.transient.get((scope, key), b"")

    def transient_set(self, key: bytes, value: bytes) -> None:
        self.transient[self.aspect_id, key] = value

    def balance(self, address: bytes) -> int:
        return self.balances.get(address, 0)

    def storage(self, address: bytes, key: bytes) -> bytes:
        return self.slots.get((address, key), bytes(32))

    def code_hash(self, address: bytes) -> bytes:
        if address in self.code_hashes:
            return self.code_hashes[address]
        if address in self.codes:
            return keccak(self.codes[address])
        known = address in self.balances or address in self.nonces
        return keccak(b"") if known else bytes(32)

    def code_size(self, address: bytes) -> int:
        return len(self.codes.get(address, b""))

    def nonce(self, address: bytes) -> int:
        return self.nonces.get(address, 0)

    def has_suicided(self, address: bytes) -> bool:
        return address in self.gone

    def static_call(self, sender: bytes, to: bytes, data: bytes, gas: int) -> StaticCallResult:
        return self.answer(sender, to, data, gas)

    def log(self, message: str) -> None:
        self.lines.append(message)


def operate(
    runtime: AspectRuntime,
    call_data: bytes,
    *,
    gas: int = 10_000_000,
    env: MemoryEnvironment | None = None,
    code: bytes = PROBE,
    watch: Watch = no_watch,
) -> AspectOutcome:
    """Run `operation` with these call data."""
    env = env or MemoryEnvironment()
    argument = operation_input(
        tx_hash=env.transaction_facts.hash if env.transaction_facts else bytes(32),
        aspect_id=env.aspect_id,
        sender=SENDER,
        block_number=env.block_facts.number,
        call_data=call_data,
    )
    return runtime.call(keccak(code), code, argument, gas, env, watch=watch)


def probe(runtime: AspectRuntime, *operations: tuple[Any, ...], **more: Any) -> AspectOutcome:
    """Run a program in the probe Aspect."""
    return operate(runtime, b"\x01" + program(*operations), **more)


def module(
    execute: str = "i32.const 0", *, top: str = "", start: str = "", memory: str = "1", allocate: str = ""
) -> bytes:
    """An Aspect from pieces of text; `allocate` defaults to a bump allocator that never frees."""
    allocate = allocate or (
        '(func (export "allocate") (param i32) (result i32) (local i32) (local.set 1 (global.get $top))'
        " (global.set $top (i32.add (global.get $top) (local.get 0))) (local.get 1))"
    )
    return wasmtime.wat2wasm(
        f'(module {top} (memory (export "memory") {memory}) (global $top (mut i32) (i32.const 1024)) {allocate}'
        f' (func (export "execute") (param i32 i32) (result i32) {execute})'
        f' (func (export "__aspect_start__") {start}))'
    )


def recorded(name: str = "exact.json.gz") -> list[dict[str, Any]]:
    """The steps of a recording."""
    steps: list[dict[str, Any]] = json.loads(gzip.decompress((DATA / name).read_bytes()))["steps"]
    return steps


def node_text(step: dict[str, Any]) -> str:
    """The error of a recorded question, without the node's gRPC wrapping and up to the first backtrace."""
    message: str = step["answer"].get("error", {}).get("message", "")
    return message.removeprefix("rpc error: code = Internal desc = ").split("backtrace")[0]
