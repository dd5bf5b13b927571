"""Runs Aspects: judges their code, meters it, and makes one fresh instance for every call."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import wasmtime

from devchain.aspect.crypto import Invalid
from devchain.aspect.engine import (
    CannotInstantiate,
    HostLinker,
    HostTrap,
    Instance,
    Prepared,
    WasmTrap,
    new_engine,
)
from devchain.aspect.environment import HostEnvironment, JoinPoint, NodePanic
from devchain.aspect.hostapi import HOST_FUNCTIONS, HostFunction
from devchain.aspect.memory import (
    OutOfBounds,
    UnknownType,
    Value,
    ValueType,
    encode,
    read_body,
    read_header,
    write,
)
from devchain.wasm.binary import WasmError
from devchain.wasm.meter import OUT_OF_GAS, meter
from devchain.wasm.validate import ENTRYPOINT, validate_aspect, validate_module
from devchain.watch import Watch, no_watch

WASM_GAS_PER_EVM_GAS: Final = 1000
_MAX_GAS: Final = (1 << 63) // WASM_GAS_PER_EVM_GAS
_KEPT_MODULES: Final = 64
_MAX_DEPTH: Final = 100
"""Calls into one instance within each other, each through a host function; the node's stack holds about as many."""
_EXECUTE: Final = "execute"
_OUT_OF_GAS_TEXT: Final = "out of gas"
# where the node prints the stack of its own wasmtime; nobody can want to know it
_NODE_STACK: Final = "\n\nStack backtrace:\n   0: <the node's own stack>"
_ERROR_STRING: Final = bytes.fromhex("08c379a0")


class CodeRefused(Exception):
    """The node does not take this code. The message is the node's own text, offsets included."""


class FailureKind(Enum):
    """How an Aspect call can fail; the chain decides from this who gets which gas back."""

    REVERTED = auto()
    """`sys.revert(reason)`: `reason` holds the ABI-encoded `Error(string)`."""
    FAILED = auto()
    """A trap, or a result of the wrong type; `message` is the node's text."""
    OUT_OF_GAS = auto()
    UNRUNNABLE = auto()
    """No instance can be made of the code. The node's `deploy` reports `message`; at a join point it is a PANIC."""
    PANIC = auto()
    """The node itself crashes: no receipt, the nonce is used; as a question `0x`. At a join point the node catches it and
    goes on with the error "aspect execution crashed" and all the gas."""


@dataclass(frozen=True, slots=True)
class AspectFailure:
    kind: FailureKind
    message: str
    """As the node words it; comparable up to the first "backtrace"."""
    reason: bytes = b""


@dataclass(frozen=True, slots=True)
class AspectOutcome:
    """What one Aspect call came to."""

    result: bytes | bool | None
    """bytes at join points, `operation` and verifyTx (None if the Aspect returned nothing); bool for isOwner; None on failure."""
    gas_left: int
    """EVM gas that the node's runner hands back for this outcome: all of it on REVERTED, UNRUNNABLE and PANIC and where the
    result is no byte array, 0 on OUT_OF_GAS and where the start function failed, else what is left."""
    failure: AspectFailure | None = None


class CompiledModules:
    """Metered and compiled code by its hash, the last 64 of them. For any thread."""

    def __init__(self) -> None:
        self.engine = new_engine()
        self._lock = threading.Lock()
        self._compiled: OrderedDict[bytes, wasmtime.Module] = OrderedDict()

    def compiled(self, code_hash: bytes, code: bytes) -> wasmtime.Module:
        """Raises WasmError in the node's words."""
        with self._lock:
            found = self._compiled.get(code_hash)
            if found is not None:
                self._compiled.move_to_end(code_hash)
                return found
        module = self._compile(meter(code))
        with self._lock:
            self._compiled[code_hash] = module
            if len(self._compiled) > _KEPT_MODULES:
                self._compiled.popitem(last=False)
        return module

    def _compile(self, metered: bytes) -> wasmtime.Module:
        try:
            validate_module(metered)  # first, so that what is wrong is said in the node's words
            return wasmtime.Module(self.engine, metered)
        except (WasmError, wasmtime.WasmtimeError) as error:
            raise WasmError(
                f"unable create wasm module: failed to parse WebAssembly module\n\nCaused by:\n    {error}{_NODE_STACK}"
            ) from None


class AspectRuntime:
    """One per thread of a chain: it runs one call at a time. Those of one chain share their compiled modules, and nothing else."""

    def __init__(self, modules: CompiledModules | None = None) -> None:
        self._modules = modules or CompiledModules()
        self._linker = HostLinker(self._modules.engine)
        self._prepared: OrderedDict[bytes, Prepared] = OrderedDict()
        self._running: list[_Call] = []
        self._linker.define("env", "abort", 4, 0, lambda arguments: None)
        for function in HOST_FUNCTIONS:
            self._define(function)

    def _define(self, function: HostFunction) -> None:
        running = self._running
        self._linker.define(
            function.module,
            function.name,
            len(function.params),
            0 if function.result is None else 1,
            lambda pointers: running[-1].host_call(function, pointers),
        )

    def validate(self, code: bytes) -> None:
        """Judge code as the node does at deploy and upgrade. Raises CodeRefused with the node's text."""
        try:
            validate_aspect(code)
        except WasmError as error:
            raise CodeRefused(str(error)) from None

    def call(
        self,
        code_hash: bytes,
        code: bytes,
        argument: bytes,
        gas: int,
        env: HostEnvironment,
        *,
        watch: Watch = no_watch,
    ) -> AspectOutcome:
        """Run the method named by `env.join_point` on a fresh instance.

        code_hash: any unique key of `code` (keccak-256), under which the compiled module is kept.
        argument: the protobuf input made by `aspect.inputs` (or, for isOwner, the 20 bytes of the sender).
        gas: EVM gas.
        watch: called in host calls, whose gas bounds their time but loosely (25 million EVM gas buy millions of them; as many
            instructions take no more than seconds).

        Never raises for what the Aspect does, everything ends in an outcome; lets through what the watch and the environment
        raise other than NodePanic.
        """
        try:
            instance = self._prepare(code_hash, code).instantiate()
        except CannotInstantiate as error:
            return _unrunnable(f"unable to instantiate wasm module: {error}{_NODE_STACK}", gas)
        except WasmError as error:
            return _unrunnable(str(error), gas)
        call = _Call(instance, env, watch)
        self._running.append(call)
        try:
            return call.run(argument, gas)
        finally:
            self._running.pop()

    def _prepare(self, code_hash: bytes, code: bytes) -> Prepared:
        prepared = self._prepared.get(code_hash)
        if prepared is None:
            prepared = self._linker.prepare(self._modules.compiled(code_hash, code))
            self._prepared[code_hash] = prepared
            if len(self._prepared) > _KEPT_MODULES:
                self._prepared.popitem(last=False)
        else:
            self._prepared.move_to_end(code_hash)
        return prepared


class _Aborted(Exception):
    """The call is over; the message is the node's error."""


class _Call:
    """One Aspect call on its instance: the node's `Runner` and wasm runtime in one."""

    def __init__(self, instance: Instance, env: HostEnvironment, watch: Watch) -> None:
        self.env = env
        self.evm_gas = 0
        self.revert_reason = b""
        self._instance = instance
        self.watch = watch
        self._escaped: BaseException | None = None
        self._depth = 0

    def run(self, argument: bytes, gas: int) -> AspectOutcome:
        try:
            return self._run(argument, gas)
        except NodePanic as panic:
            return AspectOutcome(None, gas, AspectFailure(FailureKind.PANIC, str(panic)))

    def _run(self, argument: bytes, gas: int) -> AspectOutcome:
        try:
            self._start(gas)
        except _Aborted as error:
            return self._failed(f"aspect init failed, {error}", 0, gas)
        result: int | str = 0
        trouble: str | None = None
        value: tuple[ValueType, Value] | None = None
        try:
            result = self._call(_EXECUTE, self.env.join_point.value.encode(), argument)
        except _Aborted as error:
            trouble = str(error)
        counter = self._instance.gas
        if counter < 0:
            return self._failed(_OUT_OF_GAS_TEXT, 0, gas, FailureKind.OUT_OF_GAS)
        left = counter // WASM_GAS_PER_EVM_GAS
        if trouble is None:
            try:
                value = self._read_result(result)
            except _Aborted as error:
                trouble = str(error)
        if trouble is not None:
            return self._failed(trouble, left, gas)
        return self._judge(value, left, gas)

    def _judge(self, value: tuple[ValueType, Value] | None, left: int, gas: int) -> AspectOutcome:
        kind, content = value or (None, None)
        if self.env.join_point is JoinPoint.IS_OWNER:
            if not isinstance(content, bool):
                raise NodePanic("interface conversion: result of isOwner is not bool")
            return AspectOutcome(content, left)
        if kind is None:
            return AspectOutcome(None, left)
        if kind is not ValueType.BYTES:
            text = "read output failed, return value is not byte array"
            return AspectOutcome(None, gas, AspectFailure(FailureKind.FAILED, text))
        assert isinstance(content, bytes)
        return AspectOutcome(content, left)

    def _failed(self, message: str, left: int, gas: int, kind: FailureKind = FailureKind.FAILED) -> AspectOutcome:
        """A revert reason, once given, stands for whatever error ended the call."""
        if not self.revert_reason:
            return AspectOutcome(None, left, AspectFailure(kind, message))
        if self.env.join_point is JoinPoint.IS_OWNER:
            return AspectOutcome(None, left, AspectFailure(kind, self.revert_reason.decode("utf-8", "replace")))
        failure = AspectFailure(FailureKind.REVERTED, "execution reverted", _pack_reason(self.revert_reason))
        return AspectOutcome(None, gas, failure)

    # --- into the wasm

    def _start(self, gas: int) -> None:
        if gas > _MAX_GAS:
            raise _Aborted("gas overflow")
        self._instance.gas = gas * WASM_GAS_PER_EVM_GAS
        self._call(ENTRYPOINT)

    def _call(self, method: str, *arguments: bytes) -> int | str:
        """Call an export as the node does: arguments are typed values in memory, the first a string, the second bytes.

        Returns the i32 result, or the text of a result that is none.
        """
        exported = self._instance.prepared.functions.get(method)
        if exported is None:
            raise _Aborted(f"method {method} does not exist")
        pointers = []
        for kind, argument in zip((ValueType.STRING, ValueType.BYTES), arguments, strict=False):
            try:
                pointers.append(self._place(encode(kind, argument)))
            except (OutOfBounds, WasmTrap) as error:
                raise _Aborted(str(error)) from None
        params, results = exported
        trouble = _argument_trouble(params, len(pointers))
        if trouble is None:
            try:
                result = self._enter(method, *pointers, wide=results == ("i64",))
            except WasmTrap as trap:
                trouble = str(trap)
            else:
                return result if results == ("i32",) else str(result) if results else "<nil>"
        raise _Aborted(f"method {method} execution fail, err: {trouble}: {trouble}")

    def _enter(self, function: str, *arguments: int, wide: bool = False) -> int:
        try:
            return self._instance.call(function, *arguments, wide=wide)
        finally:
            if self._escaped is not None:
                escaped, self._escaped = self._escaped, None
                raise escaped

    def _place(self, data: bytes) -> int:
        """Put a typed value where the Aspect's own `allocate` says. Raises OutOfBounds, WasmTrap, NodePanic."""
        exported = self._instance.prepared.functions.get("allocate")
        if exported is None:
            raise OutOfBounds("function 'allocate' does not exist")
        params, results = exported
        trouble = _argument_trouble(params, 1)
        if trouble:
            raise OutOfBounds(trouble)
        pointer = self._enter("allocate", len(data), wide=results == ("i64",))
        if results != ("i32",):
            raise NodePanic("interface conversion: result of allocate is not int32")
        write(self._instance, pointer, data)
        return pointer

    def _read_result(self, result: int | str) -> tuple[ValueType, Value] | None:
        if isinstance(result, str):
            raise _Aborted(f"read output failed, value: {result}")
        if result == 0:
            return None
        try:
            kind, length = read_header(self._instance, result)
        except OutOfBounds as error:
            raise _Aborted(str(error)) from None
        try:
            return read_body(self._instance, result, kind, length)
        except UnknownType as error:
            raise _Aborted(f"unsupported result type, {error}") from None
        except OutOfBounds as error:
            raise _Aborted(f"read output failed, {error}") from None

    # --- out of the wasm

    def remaining_gas(self) -> int:
        return self._instance.gas

    def host_call(self, function: HostFunction, pointers: list[int]) -> int | None:
        """What the node does around every host function. Raises HostTrap; anything else is kept until wasm has unwound."""
        self._depth += 1
        try:
            if self._depth > _MAX_DEPTH:
                raise HostTrap("call stack exhausted")
            self.watch()
            return self._host_call(function, pointers)
        except HostTrap:
            raise
        except BaseException as escaped:  # noqa: BLE001  C code stands between here and the caller: carried around it
            self._escaped = escaped
            raise HostTrap("host function crashed") from None
        finally:
            self._depth -= 1

    def _host_call(self, function: HostFunction, pointers: list[int]) -> int | None:
        arguments, size, complete = self._read_arguments(pointers)
        # a call without a single byte of arguments is free; one whose arguments cannot be read is not
        if size > 0:
            self._charge(function.fixed + function.per_byte * size)
        if not complete:
            raise HostTrap("read params failed")
        if [kind for kind, _ in arguments] != list(function.params):
            raise NodePanic("reflect: call using an argument of another type")
        self.evm_gas, rest = divmod(self._instance.gas, WASM_GAS_PER_EVM_GAS)
        before = self.evm_gas
        try:
            result = function.run(self, *(value for _, value in arguments))
        except Invalid:
            raise HostTrap("write params failed") from None
        finally:
            if self.evm_gas != before:
                self._instance.gas = self.evm_gas * WASM_GAS_PER_EVM_GAS + rest
        if function.result is None:
            return None
        assert result is not None
        try:
            return self._place(encode(function.result, result))
        except (OutOfBounds, WasmTrap):
            raise HostTrap("write params failed") from None

    def _read_arguments(self, pointers: list[int]) -> tuple[list[tuple[ValueType, Value]], int, bool]:
        """(arguments, sum of the lengths in the headers that could be read, whether all could be decoded)."""
        arguments: list[tuple[ValueType, Value]] = []
        size = 0
        for pointer in pointers:
            try:
                kind, length = read_header(self._instance, pointer)
                size += length
                arguments.append(read_body(self._instance, pointer, kind, length))
            except (OutOfBounds, UnknownType):
                return arguments, size, False
        return arguments, size, True

    def _charge(self, cost: int) -> None:
        left = self._instance.gas - cost
        self._instance.gas = left if left >= 0 else OUT_OF_GAS
        if left < 0:
            raise HostTrap(_OUT_OF_GAS_TEXT)


def _unrunnable(message: str, gas: int) -> AspectOutcome:
    return AspectOutcome(None, gas, AspectFailure(FailureKind.UNRUNNABLE, message))


def _argument_trouble(params: tuple[str, ...], given: int) -> str | None:
    """What wasmtime's Go binding says to `given` i32 arguments for a function of these parameters."""
    if given > len(params):
        return "too many arguments provided"
    if given < len(params):
        return f"expected {len(params)} arguments, got {given}"
    for i, kind in enumerate(params):
        if kind != "i32":
            return f"argument type mismatch: found i32 expected {kind}" if i < given else None
    return None


def _pack_reason(reason: bytes) -> bytes:
    """ABI: Error(string)."""
    padding = bytes(-len(reason) % 32)
    return _ERROR_STRING + (32).to_bytes(32, "big") + len(reason).to_bytes(32, "big") + reason + padding
