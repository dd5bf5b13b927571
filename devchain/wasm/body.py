"""Type-checking of function bodies and constant expressions: the algorithm of the specification's appendix, in wasmparser's words."""

from __future__ import annotations

from typing import NoReturn

from devchain.wasm import opcodes as op
from devchain.wasm.binary import Reader, WasmError
from devchain.wasm.instructions import (
    read_block_type,
    read_br_table,
    read_memarg,
    read_opcode,
    skip_immediates,
)
from devchain.wasm.module import FuncType, Module, read_value_type
from devchain.wasm.names import OPERATOR_NAMES
from devchain.wasm.opcodes import ACCESS, I32, I64, PLAIN, SWITCHED_OFF, TYPE_NAMES

_MAX_LOCALS = 50_000
_EMPTY: tuple[int, ...] = ()
_SATURATING = range(0xFC000, 0xFC008)

Operand = int | None
"""A value type, or None: any type, in unreachable code."""


class _Frame:
    __slots__ = ("height", "kind", "params", "results", "unreachable")

    def __init__(self, kind: int, params: tuple[int, ...], results: tuple[int, ...], height: int) -> None:
        self.kind = kind
        self.params = params
        self.results = results
        self.height = height
        self.unreachable = False

    @property
    def label(self) -> tuple[int, ...]:
        """What a branch here carries."""
        return self.params if self.kind == op.LOOP else self.results


class BodyValidator:
    """Checks one function body, `code[start:end]`, locals included."""

    def __init__(self, code: bytes, start: int, end: int, module: Module, declared: FuncType) -> None:
        self._reader = Reader(code, start, end)
        self._module = module
        self._locals: list[int] = list(declared.params)
        self._stack: list[Operand] = []
        self._frames = [_Frame(op.BLOCK, _EMPTY, declared.results, 0)]
        self._at = start
        self._constant = False
        self._closed_at: int | None = None

    @classmethod
    def const_expr(cls, code: bytes, start: int, end: int, module: Module, result: int) -> None:
        """Check a constant expression that yields `result`. Raises WasmError."""
        self = cls(code, start, end, module, FuncType((), (result,)))
        self._constant = True
        self._run_operators()

    def run(self) -> None:
        self._read_locals()
        self._run_operators()

    def _read_locals(self) -> None:
        reader = self._reader
        for _ in range(reader.u32()):
            at = reader.pos
            count = reader.u32()
            value = read_value_type(reader)
            self._module.check_value_type(value, at)
            if len(self._locals) + count > _MAX_LOCALS:
                raise WasmError("too many locals: locals exceed maximum", at)
            self._locals += [value] * count

    def _run_operators(self) -> None:
        reader = self._reader
        while not reader.eof():
            self._at = reader.pos
            self._operator(read_opcode(reader))
        if self._frames:
            self._fail("control frames remain at end of function: END opcode expected", reader.pos)
        if self._closed_at is None or reader.pos != self._closed_at + 1:
            self._beyond_end(reader.pos)

    # --- one instruction

    def _operator(self, number: int) -> None:
        reader = self._reader
        if self._constant and number not in _CONSTANT:
            skip_immediates(reader, number)
            self._fail(f"constant expression required: non-constant operator: {OPERATOR_NAMES[number]}")
        plain = PLAIN.get(number)
        if plain is not None:
            if plain.floats and not self._module.floats:
                if number in _SATURATING:
                    self._fail("saturating float to int conversions support is not enabled")
                self._fail("floating-point instruction disallowed")
            for value in reversed(plain.params):
                self._pop(value)
            self._stack += plain.results
            return
        access = ACCESS.get(number)
        if access is not None:
            align, _offset, memory = read_memarg(reader)
            if not self._module.floats and access.value in (op.F32, op.F64):
                self._fail("floating-point instruction disallowed")
            self._check_memory(memory)
            if align > access.align:
                self._fail("alignment must not be larger than natural")
            if access.store:
                self._pop(access.value)
            self._pop(I32)
            if not access.store:
                self._stack.append(access.value)
            return
        handler = _HANDLERS.get(number)
        if handler is not None:
            handler(self)
            return
        skip_immediates(reader, number)
        self._fail(f"{SWITCHED_OFF[number][0]} support is not enabled")

    def _unreachable(self) -> None:
        self._become_unreachable()

    def _nop(self) -> None:
        pass

    def _block(self, kind: int) -> None:
        params, results = self._signature(read_block_type(self._reader))
        if kind == op.IF:
            self._pop(I32)
        for value in reversed(params):
            self._pop(value)
        self._push_frame(kind, params, results)

    def _open_block(self) -> None:
        self._block(op.BLOCK)

    def _open_loop(self) -> None:
        self._block(op.LOOP)

    def _open_if(self) -> None:
        self._block(op.IF)

    def _else(self) -> None:
        frame = self._pop_frame()
        if frame.kind != op.IF:
            self._fail("else found outside of an `if` block")
        self._push_frame(op.ELSE, frame.params, frame.results)

    def _end(self) -> None:
        frame = self._pop_frame()
        if frame.kind == op.IF:
            # an `if` without `else` is one whose `else` hands its parameters on
            self._push_frame(op.ELSE, frame.params, frame.results)
            frame = self._pop_frame()
        self._stack += frame.results
        if not self._frames and self._closed_at is None:
            self._closed_at = self._at

    def _br(self) -> None:
        for value in reversed(self._label(self._reader.u32())):
            self._pop(value)
        self._become_unreachable()

    def _br_if(self) -> None:
        depth = self._reader.u32()
        self._pop(I32)
        values = self._label(depth)
        for value in reversed(values):
            self._pop(value)
        self._stack += values

    def _br_table(self) -> None:
        *targets, default = read_br_table(self._reader)
        self._pop(I32)
        wanted = self._label(default)
        for depth in targets:
            values = self._label(depth)
            if len(values) != len(wanted):
                self._fail("type mismatch: br_table target labels have different number of types")
            popped = [self._pop(value) for value in reversed(values)]
            self._stack += reversed(popped)
        for value in reversed(wanted):
            self._pop(value)
        self._become_unreachable()

    def _return(self) -> None:
        if not self._frames:
            self._beyond_end(self._at)
        for value in reversed(self._frames[0].results):
            self._pop(value)
        self._become_unreachable()

    def _call(self) -> None:
        index = self._reader.u32()
        functions = self._module.functions
        if index >= len(functions):
            self._fail(f"unknown function {index}: function index out of bounds")
        self._apply(self._module.types[functions[index]])

    def _call_indirect(self) -> None:
        reader = self._reader
        index = reader.u32()
        first = reader.peek()
        table = reader.u32()
        if first != 0:
            self._fail("reference-types not enabled: zero byte expected")
        if table >= len(self._module.tables):
            self._fail("unknown table: table index out of bounds")
        if index >= len(self._module.types):
            self._fail("unknown type: type index out of bounds")
        self._pop(I32)
        self._apply(self._module.types[index])

    def _apply(self, callee: FuncType) -> None:
        for value in reversed(callee.params):
            self._pop(value)
        self._stack += callee.results

    def _drop(self) -> None:
        self._pop(None)

    def _select(self) -> None:
        self._pop(I32)
        first = self._pop(None)
        second = self._pop(None)
        if first is not None and second is not None and first != second:
            self._fail("type mismatch: select operands have different types")
        self._stack.append(second if first is None else first)

    def _local(self) -> int:
        index = self._reader.u32()
        if index >= len(self._locals):
            self._fail(f"unknown local {index}: local index out of bounds")
        return self._locals[index]

    def _local_get(self) -> None:
        self._stack.append(self._local())

    def _local_set(self) -> None:
        self._pop(self._local())

    def _local_tee(self) -> None:
        value = self._local()
        self._pop(value)
        self._stack.append(value)

    def _global_get(self) -> None:
        index = self._reader.u32()
        if index >= len(self._module.globals):
            number = f" {index}" if self._constant else ""
            self._fail(f"unknown global{number}: global index out of bounds")
        declared = self._module.globals[index]
        if self._constant:
            if index >= self._module.imported_globals:
                self._fail("constant expression required: global.get of locally defined global")
            if declared.mutable:
                self._fail("constant expression required: global.get of mutable global")
        self._stack.append(declared.value)

    def _global_set(self) -> None:
        index = self._reader.u32()
        if index >= len(self._module.globals):
            self._fail("unknown global: global index out of bounds")
        declared = self._module.globals[index]
        if not declared.mutable:
            self._fail("global is immutable: cannot modify it with `global.set`")
        self._pop(declared.value)

    def _memory_size(self) -> None:
        self._memory_byte()
        self._stack.append(I32)

    def _memory_grow(self) -> None:
        self._memory_byte()
        self._pop(I32)
        self._stack.append(I32)

    def _memory_byte(self) -> None:
        first = self._reader.peek()
        memory = self._reader.u32()
        if first != 0:
            self._fail("multi-memory not enabled: zero byte expected")
        self._check_memory(memory)

    def _i32_const(self) -> None:
        self._reader.i32()
        self._stack.append(I32)

    def _i64_const(self) -> None:
        self._reader.i64()
        self._stack.append(I64)

    def _f32_const(self) -> None:
        self._reader.take(4)
        self._float_const(op.F32)

    def _f64_const(self) -> None:
        self._reader.take(8)
        self._float_const(op.F64)

    def _float_const(self, value: int) -> None:
        if not self._module.floats:
            self._fail("floating-point instruction disallowed")
        self._stack.append(value)

    # --- the two stacks

    def _pop(self, expected: Operand) -> Operand:
        if not self._frames:
            self._beyond_end(self._at)
        frame = self._frames[-1]
        stack = self._stack
        if len(stack) == frame.height:
            if frame.unreachable:
                return expected
            wanted = "a type" if expected is None else TYPE_NAMES[expected]
            self._fail(f"type mismatch: expected {wanted} but nothing on stack")
        actual = stack.pop()
        if expected is not None and actual is not None and actual != expected:
            self._fail(f"type mismatch: expected {TYPE_NAMES[expected]}, found {TYPE_NAMES[actual]}")
        return actual

    def _push_frame(self, kind: int, params: tuple[int, ...], results: tuple[int, ...]) -> None:
        self._frames.append(_Frame(kind, params, results, len(self._stack)))
        self._stack += params

    def _pop_frame(self) -> _Frame:
        if not self._frames:
            self._beyond_end(self._at)
        frame = self._frames[-1]
        for value in reversed(frame.results):
            self._pop(value)
        if len(self._stack) != frame.height:
            self._fail("type mismatch: values remaining on stack at end of block")
        return self._frames.pop()

    def _become_unreachable(self) -> None:
        if not self._frames:
            self._beyond_end(self._at)
        frame = self._frames[-1]
        frame.unreachable = True
        del self._stack[frame.height :]

    def _label(self, depth: int) -> tuple[int, ...]:
        if not self._frames:
            self._beyond_end(self._at)
        if depth >= len(self._frames):
            self._fail("unknown label: branch depth too large")
        return self._frames[-1 - depth].label

    def _signature(self, block_type: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if block_type == -1:
            return _EMPTY, _EMPTY
        if block_type < 0:
            self._module.check_value_type(-block_type, self._at)
            return _EMPTY, (-block_type,)
        if block_type >= len(self._module.types):
            self._fail("unknown type: type index out of bounds")
        declared = self._module.types[block_type]
        return declared.params, declared.results

    def _check_memory(self, index: int) -> None:
        if index >= self._module.memories:
            self._fail(f"unknown memory {index}")

    def _fail(self, message: str, offset: int | None = None) -> NoReturn:
        raise WasmError(message, self._at if offset is None else offset)

    def _beyond_end(self, offset: int) -> NoReturn:
        raise WasmError("operators remaining after end of function", offset)


_HANDLERS = {
    op.UNREACHABLE: BodyValidator._unreachable,
    op.NOP: BodyValidator._nop,
    op.BLOCK: BodyValidator._open_block,
    op.LOOP: BodyValidator._open_loop,
    op.IF: BodyValidator._open_if,
    op.ELSE: BodyValidator._else,
    op.END: BodyValidator._end,
    op.BR: BodyValidator._br,
    op.BR_IF: BodyValidator._br_if,
    op.BR_TABLE: BodyValidator._br_table,
    op.RETURN: BodyValidator._return,
    op.CALL: BodyValidator._call,
    op.CALL_INDIRECT: BodyValidator._call_indirect,
    op.DROP: BodyValidator._drop,
    op.SELECT: BodyValidator._select,
    op.LOCAL_GET: BodyValidator._local_get,
    op.LOCAL_SET: BodyValidator._local_set,
    op.LOCAL_TEE: BodyValidator._local_tee,
    op.GLOBAL_GET: BodyValidator._global_get,
    op.GLOBAL_SET: BodyValidator._global_set,
    op.MEMORY_SIZE: BodyValidator._memory_size,
    op.MEMORY_GROW: BodyValidator._memory_grow,
    op.I32_CONST: BodyValidator._i32_const,
    op.I64_CONST: BodyValidator._i64_const,
    op.F32_CONST: BodyValidator._f32_const,
    op.F64_CONST: BodyValidator._f64_const,
}

# those of switched-off proposals (v128.const, ref.null, ref.func) are refused as such
_CONSTANT = frozenset(
    (op.END, op.GLOBAL_GET, op.I32_CONST, op.I64_CONST, op.F32_CONST, op.F64_CONST, 0xFD00C, 0xD0, 0xD2)
)
