"""The Aspect's arithmetic (aspects/aggregator/pure.ts) in a wasm instance of its own, without a chain."""

from __future__ import annotations

from pathlib import Path

import wasmtime

CODE = (Path(__file__).parent / "pure.wasm").read_bytes()
SUMS, SQUARES, TOUCHED = 0x20000, 0x10000, 0x1000  # aspects/aggregator/memory.ts
INPUT, SECOND, OUTPUT = 0x100000, 0x300000, 0x500000  # free memory
CHANGED = 1 << 63

_ENGINE = wasmtime.Engine()
_MODULE = wasmtime.Module(_ENGINE, CODE)


class Pure:
    """A fresh instance: memory is zero, as in every call of an Aspect."""

    def __init__(self) -> None:
        self._store = wasmtime.Store(_ENGINE)
        self._exports = wasmtime.Instance(self._store, _MODULE, []).exports(self._store)
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._memory = memory
        self.call("__aspect_start__")

    def call(self, name: str, *arguments: int) -> int:
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        return function(self._store, *arguments)  # type: ignore[no-any-return]

    def number(self, name: str) -> int:
        value = self._exports[name]
        assert isinstance(value, wasmtime.Global)
        return int(value.value(self._store))

    def write(self, at: int, data: bytes) -> None:
        self._memory.write(self._store, data, at)

    def read(self, at: int, length: int) -> bytes:
        return bytes(self._memory.read(self._store, at, at + length))

    def shaped(self, encoded: bytes) -> bool:
        self.write(OUTPUT, encoded)
        return bool(self.call("decodeShape", OUTPUT, len(encoded)))
