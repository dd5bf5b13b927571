"""What is fuzzed, and what may come of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Final

import wasmtime
from eth_hash.auto import keccak

from devchain.aspect import crypto
from devchain.aspect.engine import new_engine
from devchain.aspect.environment import JoinPoint, NodePanic
from devchain.aspect.protobuf import MalformedMessage, messages, parse
from devchain.aspect.runtime import AspectOutcome, AspectRuntime, CodeRefused
from devchain.wasm.binary import WasmError
from devchain.wasm.meter import Unmeterable, meter
from devchain.wasm.validate import validate_module
from tests.devchain.aspect.doubles import PROBE, MemoryEnvironment, operate, program
from tests.devchain.fuzz.hostcalls import any_call, any_message, driver
from tests.devchain.fuzz.modules import any_module

_CRYPTO: Final[tuple[Callable[[bytes], bytes], ...]] = (
    crypto.ec_recover,
    crypto.bn256_add,
    crypto.bn256_scalar_mul,
    crypto.blake2_f,
    crypto.bn256_pairing,
)
_OPERATIONS: Final = (
    *(
        ("ctx", 1),
        ("get", 1),
        ("set", 2),
        ("prop", 1),
        ("tget", 2),
        ("tset", 2),
        ("balance", 1),
        ("state", 2),
        ("nonce", 1),
    ),
    *(
        ("codehash", 1),
        ("codesize", 1),
        ("static", 1),
        ("sha256", 1),
        ("keccak", 1),
        ("modexp", 3),
        ("gas", 0),
        ("revert", 1),
    ),
    *(("softrevert", 1), ("trap", 0), ("echo", 0), ("log", 1), ("qstate", 1), ("grow", 1), ("burn", 1), ("wild", 1)),
)
_ARGUMENTS: Final = (
    b"",
    b"\1",
    b"\0\1",
    b"k",
    b"block.header.number",
    b"aspect.id",
    bytes(20),
    bytes(32),
    b"\xff" * 33,
)
_METERING_SPOILS: Final = ("duplicate export name `__gas_counter__`", "section out of order")
"""A second counter; a data count section, which the metering puts at the end."""


class Fuzzer:
    """One runtime for all inputs: what one of them breaks, the next ones find broken."""

    def __init__(self) -> None:
        self.runtime = AspectRuntime()
        self.engine = new_engine()
        self.wide_engine = wasmtime.Engine()
        self.seen: Counter[str] = Counter()

    def one(self, r: random.Random) -> None:
        """Run one input. Raises if anything happens that must not."""
        target = r.choices((self.module, self.host_call, self.message, self.probe_program), (45, 35, 15, 5))[0]
        self.seen[f"{target.__name__}: {target(r)}"] += 1

    def module(self, r: random.Random) -> str:
        """A module is refused, or it meters, compiles as wasmtime judges it, and runs to an outcome."""
        code = any_module(r)
        valid = _verdict(code) == ""
        if valid:
            wasmtime.Module.validate(self.wide_engine, code)
        try:
            metered = meter(code)
        except Unmeterable:
            metered = b""
        verdict = _verdict(metered)
        if verdict == "":
            wasmtime.Module.validate(self.engine, metered)
        try:
            self.runtime.validate(code)
        except CodeRefused as refused:
            assert str(refused)
            return "refused"
        if valid and metered:
            assert verdict == "" or verdict.startswith(_METERING_SPOILS), verdict
        outcome = self.runtime.call(
            keccak(code), code, r.randbytes(5), 2000, MemoryEnvironment(r.choice(list(JoinPoint)))
        )
        return _check(outcome, 2000)

    def host_call(self, r: random.Random) -> str:
        """Any arguments at any join point end in an outcome."""
        function, env, argument, gas = any_call(r)
        code = driver(function)
        return _check(self.runtime.call(keccak(code), code, argument, gas, env), gas)

    def message(self, r: random.Random) -> str:
        """A message is read or malformed; what takes one gives a result, an error or a crash of the node."""
        raw = any_message(r)
        try:
            fields = parse(raw)
            for number in fields:
                messages(fields, number)
        except MalformedMessage:
            pass
        function = r.choices(_CRYPTO, (30, 30, 10, 30, 2))[0]
        try:
            function(raw)
        except (crypto.Invalid, NodePanic):
            return "refused"
        return "taken"

    def probe_program(self, r: random.Random) -> str:
        """Call data of any shape for the probe."""
        operations = []
        for _ in range(r.randrange(1, 6)):
            name, arguments = r.choice(_OPERATIONS)
            operations.append((name, *(r.choice(_ARGUMENTS) for _ in range(arguments))))
        data = b"\x01" + program(*operations)
        if r.random() < 0.4:
            at = r.randrange(len(data))
            data = data[:at] + r.randbytes(r.randrange(9)) + data[at + r.randrange(9) :]
        return _check(operate(self.runtime, data, gas=300_000, code=PROBE), 300_000)


def _verdict(code: bytes) -> str:
    try:
        validate_module(code)
    except WasmError as error:
        return str(error)
    return ""


def _check(outcome: AspectOutcome, gas: int) -> str:
    assert 0 <= outcome.gas_left <= gas
    assert outcome.failure is None or outcome.result is None
    return outcome.failure.kind.name if outcome.failure else "result"
