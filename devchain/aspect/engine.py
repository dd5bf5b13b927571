"""One fresh wasm instance per call, cheaply: wasmtime's C API where its Python wrapper is too slow or hides a trap's text.

The wrapper (`wasmtime.Func.__call__`, `Caller`, …) costs 12 to 30 µs a crossing and replaces the message of a trap that comes
from a host function by the Python exception; a join point has ten to a hundred crossings, and the message is what a client sees.
So calls, the gas counter and memory go through the C functions directly; modules, linkers and stores stay the wrapper's.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_bool, c_char_p, c_size_t, c_ubyte, c_void_p, memmove, string_at
from typing import Any, Final

import wasmtime
from wasmtime import _ffi as ffi

PAGE: Final = 65_536
_SMALL_LIMIT = 160 * PAGE
"""How far memory can grow that starts at or below this: the node forces static memories of 10 MiB."""
_LARGE_LIMIT = 512 * PAGE
"""The hard limit, within reach only of modules that start above 10 MiB."""


def _prototype(name: str, result: Any, *arguments: Any) -> Any:
    return ctypes.CFUNCTYPE(result, *arguments)((name, ffi.dll))


# every handle is an address here: no wrapper objects, no reference counting
_func_call = _prototype("wasmtime_func_call_unchecked", c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)
_memory_data = _prototype("wasmtime_memory_data", c_void_p, c_void_p, c_void_p)
_memory_size = _prototype("wasmtime_memory_data_size", c_size_t, c_void_p, c_void_p)
_global_get = _prototype("wasmtime_global_get", None, c_void_p, c_void_p, c_void_p)
_global_set = _prototype("wasmtime_global_set", c_void_p, c_void_p, c_void_p, c_void_p)
_export_get = _prototype("wasmtime_instance_export_get", c_bool, c_void_p, c_void_p, c_char_p, c_size_t, c_void_p)
_trap_new = _prototype("wasmtime_trap_new", c_void_p, c_char_p, c_size_t)
_trap_message = _prototype("wasm_trap_message", None, c_void_p, c_void_p)
_trap_delete = _prototype("wasm_trap_delete", None, c_void_p)
_error_message = _prototype("wasmtime_error_message", None, c_void_p, c_void_p)
_error_delete = _prototype("wasmtime_error_delete", None, c_void_p)
_HOST_CALLBACK = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p, POINTER(ffi.wasmtime_val_raw_t), c_size_t)
_define_func = _prototype(
    "wasmtime_linker_define_func_unchecked",
    c_void_p,
    c_void_p,
    c_char_p,
    c_size_t,
    c_char_p,
    c_size_t,
    c_void_p,
    _HOST_CALLBACK,
    c_void_p,
    c_void_p,
)
_I64_KIND = 1


class WasmTrap(Exception):
    """wasm code ended in a trap. The text is wasmtime's: backtrace first, then the cause."""


class CannotInstantiate(Exception):
    """The module compiles, but no instance can be made of it. The text is the node's."""


def new_engine() -> wasmtime.Engine:
    """An engine with the node's feature set, as far as this wasmtime has the switches.

    Multiple memories stay on: without them this wasmtime, unlike the node's, refuses an access that names memory 0 outright.
    """
    config = wasmtime.Config()
    config.wasm_relaxed_simd = False  # before simd: the one needs the other
    config.wasm_simd = False
    config.wasm_threads = False
    config.wasm_tail_call = False
    config.wasm_bulk_memory = False
    return wasmtime.Engine(config)


class HostLinker:
    """The host functions, defined once and shared by every instance of one engine."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self.engine = engine
        self._linker = wasmtime.Linker(engine)
        self._callbacks: list[Any] = []  # ctypes callbacks live as long as C may call them
        self._types: dict[tuple[str, str], tuple[int, int]] = {}

    def define(
        self, module: str, name: str, params: int, results: int, body: Callable[[list[int]], int | None]
    ) -> None:
        """Define a function of `params` i32 and 0 or 1 i32 results.

        body: takes the arguments (signed), returns the result, or raises `HostTrap`. It must raise nothing else.
        """

        def callback(_env: int | None, _caller: int, raw: Any, _count: int) -> int:
            try:
                result = body([raw[i].i32 for i in range(params)])
            except HostTrap as trap:
                text = str(trap).encode()
                return int(_trap_new(text, len(text)))
            if results:
                raw[0].i32 = result
            return 0

        i32 = wasmtime.ValType.i32()
        kind = wasmtime.FuncType([i32] * params, [i32] * results)
        kept = _HOST_CALLBACK(callback)
        self._callbacks.append(kept)
        self._types[module, name] = (params, results)
        module_, name_ = module.encode(), name.encode()
        error = _define_func(
            _address(self._linker.ptr()),
            module_,
            len(module_),
            name_,
            len(name_),
            _address(kind.ptr()),
            kept,
            None,
            None,
        )
        if error:
            raise RuntimeError(_take_error(error))

    def prepare(self, module: wasmtime.Module) -> Prepared:
        """Resolve the imports of metered code compiled for this engine. Raises CannotInstantiate if one does not fit."""
        for wanted in module.imports:
            self._check_import(wanted)
        return Prepared(self.engine, module, self._linker.instantiate_pre(module))

    def _check_import(self, wanted: wasmtime.ImportType) -> None:
        name = f"`{wanted.module}::{wanted.name}`"
        found = self._types.get((wanted.module, wanted.name or ""))
        if found is None:
            raise CannotInstantiate(f"unknown import: {name} has not been defined")
        have = _signature(["i32"] * found[0], ["i32"] * found[1])
        kind = wanted.type
        if not isinstance(kind, wasmtime.FuncType):
            what = type(kind).__name__.removesuffix("Type").lower()
            raise CannotInstantiate(
                f"incompatible import type for {name}\n\nCaused by:\n    expected {what}, found func"
            )
        want = _signature([str(t) for t in kind.params], [str(t) for t in kind.results])
        if want != have:
            raise CannotInstantiate(
                f"incompatible import type for {name}\n\nCaused by:\n    function types incompatible: "
                f"expected func of type `{want}`, found func of type `{have}`"
            )


def _signature(params: list[str], results: list[str]) -> str:
    return f"({', '.join(params)}) -> ({', '.join(results)})"


class HostTrap(Exception):
    """Raised in a host function: the wasm code traps with this text."""


class Prepared:
    """Compiled code with its imports resolved; `instantiate` makes as many instances as wanted."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module, template: Any) -> None:
        self._engine = engine
        self._template = template
        self.functions: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        """Exported functions: types of parameters and results."""
        self.memory: str | None = None
        """What is exported as `memory`: "memory", another kind, or None."""
        pages = 0
        for export in module.exports:
            kind = export.type
            if isinstance(kind, wasmtime.FuncType):
                self.functions[export.name] = (tuple(map(str, kind.params)), tuple(map(str, kind.results)))
            if export.name == "memory":
                self.memory = "memory" if isinstance(kind, wasmtime.MemoryType) else "other"
            if isinstance(kind, wasmtime.MemoryType):
                pages = kind.limits.min
        self._pages = pages

    def instantiate(self) -> Instance:
        """A fresh instance: globals, tables and memory as the code declares them. Raises CannotInstantiate."""
        store = wasmtime.Store(self._engine)
        store.set_limits(memory_size=_SMALL_LIMIT if self._pages * PAGE <= _SMALL_LIMIT else _LARGE_LIMIT)
        try:
            instance = self._template.instantiate(store)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            raise CannotInstantiate(_instantiation_text(str(error), self._pages)) from None
        return Instance(self, store, instance)


def _instantiation_text(text: str, pages: int) -> str:
    """The node's words (wasmtime 20) for what this wasmtime says."""
    if "memory minimum size" in text:
        return f"memory minimum size of {pages} pages exceeds memory limits"
    if "table" in text:
        return "table out of bounds: elements segment does not fit"
    return "memory out of bounds: data segment does not fit"


class Instance:
    """One instance in a store of its own."""

    __slots__ = (
        "_context",
        "_counter",
        "_functions",
        "_instance",
        "_memory",
        "_store",
        "_value",
        "_value_at",
        "prepared",
    )

    def __init__(self, prepared: Prepared, store: wasmtime.Store, instance: wasmtime.Instance) -> None:
        self.prepared = prepared
        self._store = store  # keeps the context alive
        self._context = _address(store._context())
        self._instance = instance._instance
        self._functions: dict[str, Any] = {}
        value: Any = ffi.wasmtime_val_t()
        value.kind = _I64_KIND
        self._value = value
        self._value_at = byref(value)
        self._counter = byref(self._export("__gas_counter__").of.global_)
        self._memory = byref(self._export("memory").of.memory) if prepared.memory == "memory" else None

    def _export(self, name: str) -> Any:
        item = ffi.wasmtime_extern_t()
        raw = name.encode()
        if not _export_get(self._context, byref(self._instance), raw, len(raw), byref(item)):
            raise KeyError(name)
        return item

    @property
    def gas(self) -> int:
        """The gas counter, WASM gas; -1 once it has run out."""
        _global_get(self._context, self._counter, self._value_at)
        return int(self._value.of.i64)

    @gas.setter
    def gas(self, amount: int) -> None:
        self._value.of.i64 = amount
        _global_set(self._context, self._counter, self._value_at)

    def call(self, name: str, *arguments: int, wide: bool = False) -> int:
        """Call an exported function that takes these i32s and gives at most one i32 (`wide`: i64). Raises WasmTrap.

        The caller has checked the type. Returns 0 where there is no result.
        """
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._export(name).of.func
        # a call made while another is running on this instance (allocate, from a host function) needs slots of its own
        raw = (ffi.wasmtime_val_raw_t * 4)()
        for i, argument in enumerate(arguments):
            raw[i].i32 = argument
        trap = c_void_p()
        error = _func_call(self._context, byref(function), raw, 4, byref(trap))
        if error:
            raise WasmTrap(_take_error(error))
        if trap:
            raise WasmTrap(_take_trap(trap))
        return int(raw[0].i64 if wide else raw[0].i32)

    @property
    def memory_size(self) -> int:
        """Bytes."""
        return int(_memory_size(self._context, self._memory))

    def read(self, start: int, size: int) -> bytes:
        """Bytes of memory; the range must lie inside it."""
        return string_at(_memory_data(self._context, self._memory) + start, size)

    def write(self, start: int, data: bytes) -> None:
        """Put bytes into memory; the range must lie inside it."""
        memmove(_memory_data(self._context, self._memory) + start, data, len(data))


def _address(pointer: Any) -> int:
    return int(ctypes.cast(pointer, c_void_p).value or 0)


def _take_trap(trap: c_void_p) -> str:
    message = ffi.wasm_byte_vec_t()
    _trap_message(trap, byref(message))
    _trap_delete(trap)
    return _take_bytes(message)


def _take_error(error: int) -> str:
    message = ffi.wasm_byte_vec_t()
    _error_message(error, byref(message))
    _error_delete(error)
    return _take_bytes(message)


def _take_bytes(vector: Any) -> str:
    raw = bytes(ctypes.cast(vector.data, POINTER(c_ubyte))[: vector.size]) if vector.size else b""
    ffi.wasm_byte_vec_delete(byref(vector))
    return raw.rstrip(b"\0").decode("utf-8", "replace")
