"""Rewrites a module so that it counts its own gas, exactly as the node does before it compiles an Aspect.

The node runs Parity's wasm-instrument 0.4.0 (mutable-global backend, on parity-wasm 0.45) with Artela's costs. What comes out
here is the same module byte for byte, so gas, offsets in traps and refusals are the same. Three things are added:

* a global `__gas_counter__` (i64, mutable, exported, last), filled by the host before a call;
* a function `gas(i64)` that takes its argument from the counter, or sets the counter to -1 and traps;
* if memory grows anywhere, a function `grow(pages)` that stands in for `memory.grow` and pays for the pages first.

A body is cut into metered blocks: runs of instructions of which either all are executed or (traps aside) none. At the start of
each one stands `i64.const cost; call gas`. Basic blocks are merged when one implies the other; `_metered_blocks` is that rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from devchain.wasm import opcodes as op
from devchain.wasm.binary import Reader, WasmError, sleb, uleb
from devchain.wasm.opcodes import ACCESS, COST, F64, I32

GAS_COUNTER = "__gas_counter__"
OUT_OF_GAS = -1
"""What the counter holds once gas has run out."""

_GAS_FUNCTION_COST = 1106
"""What one call of `gas` costs by the same table, its failing branch aside; added to every charge."""
_PAGE_COST = 14_336_000
"""6,144 + 8,192 EVM gas for each page of 64 KiB, asked for before the growth is tried."""

_VALUE_TYPES = frozenset(range(F64, I32 + 1))
_GAS_TYPE = b"\x60\x01\x7e\x00"
_GROW_TYPE = b"\x60\x01\x7f\x01\x7f"
_CONTROL = frozenset((op.BLOCK, op.LOOP, op.IF, op.ELSE, op.END, op.BR, op.BR_IF, op.BR_TABLE, op.RETURN))
_FUNCTION, _TABLE, _MEMORY, _GLOBAL = range(4)


class Unmeterable(WasmError):
    """The metering cannot read this module (block types by index, several results, …); the node says no more than this."""

    def __init__(self) -> None:
        super().__init__("wasm_instrument failed")


def meter(code: bytes) -> bytes:
    """The metered module. Raises Unmeterable."""
    try:
        return _Module(code).metered()
    except WasmError:
        raise Unmeterable from None


@dataclass(slots=True)
class _Instruction:
    opcode: int
    encoded: bytes
    targets: tuple[int, ...] = ()
    """Branch labels, the default of a br_table first."""


class _Module:
    """The sections of a module, each item as its canonical bytes."""

    def __init__(self, code: bytes) -> None:
        self.sections: dict[int, list[bytes]] = {}
        self.others: list[bytes] = []
        self.imported_functions = 0
        self.imported_globals = 0
        self.bodies: list[tuple[bytes, list[_Instruction]]] = []
        self._start: int | None = None
        self._read(code)

    # --- reading, with parity-wasm's eyes

    def _read(self, code: bytes) -> None:
        reader = Reader(code)
        if reader.take(8) != b"\0asm\x01\0\0\0":
            raise WasmError("magic")
        last = 0
        while not reader.eof():
            section = reader.u8()
            body = Reader(reader.take(reader.u32()))
            if section == 0:
                name = body.string().encode()
                self.others.append(b"\0" + _counted(uleb(len(name)) + name + body.take(body.end - body.pos)))
                continue
            if not 1 <= section <= 12:
                raise WasmError("section id")
            order = {12: 10, 10: 11, 11: 12}.get(section, section)
            if order <= last:
                raise WasmError("section order")
            last = order
            if section == 12:
                # kept, but put behind all others when the module is rebuilt
                self.others.append(b"\x0c" + _counted(uleb(body.u32())))
            elif section == 8:
                self._start = body.u32()
            elif section == 10:
                self.bodies = [_read_body(body) for _ in range(body.u32())]
            else:
                read = {
                    1: _type,
                    2: self._import,
                    3: _index,
                    4: _table_type,
                    5: _limits,
                    6: _global,
                    7: _export,
                    9: _element,
                    11: _data,
                }[section]
                self.sections[section] = [read(body) for _ in range(body.u32())]
            if not body.eof():
                raise WasmError("section size")

    def _import(self, reader: Reader) -> bytes:
        names = _name(reader) + _name(reader)
        kind = reader.u8()
        if kind == _FUNCTION:
            self.imported_functions += 1
            return names + b"\0" + uleb(reader.u32())
        if kind == _TABLE:
            return names + b"\x01" + _table_type(reader)
        if kind == _MEMORY:
            return names + b"\x02" + _limits(reader)
        if kind == _GLOBAL:
            self.imported_globals += 1
            return names + b"\x03" + _global_type(reader)
        raise WasmError("import kind")

    # --- rewriting

    def metered(self) -> bytes:
        sections = self.sections
        exports = sections.setdefault(7, [])
        if self._start is not None:
            exports.append(_named("__aspect_start__", _FUNCTION, self._start))
        functions = sections.setdefault(3, [])
        globals_ = sections.setdefault(6, [])
        counter = self.imported_globals + len(globals_)
        gas = self.imported_functions + len(functions)
        grow = gas + 1
        globals_.append(b"\x7e\x01\x42\x00\x0b")
        exports.append(_named(GAS_COUNTER, _GLOBAL, counter))
        call_gas = b"\x10" + uleb(gas)
        call_grow = b"\x10" + uleb(grow)
        bodies = []
        grows = False
        for local_groups, instructions in self.bodies:
            charges = _metered_blocks(instructions)
            parts = [local_groups]
            for position, instruction in enumerate(instructions):
                cost = charges.get(position)
                if cost is not None:
                    parts.append(b"\x42" + sleb(cost + _GAS_FUNCTION_COST) + call_gas)
                if instruction.opcode == op.MEMORY_GROW:
                    grows = True
                    parts.append(call_grow)
                else:
                    parts.append(instruction.encoded)
            bodies.append(_counted(b"".join(parts)))
        functions.append(uleb(self._type_index(_GAS_TYPE)))
        bodies.append(_counted(b"\0" + _gas_function(counter)))
        others = self.others
        if grows:
            functions.append(uleb(self._type_index(_GROW_TYPE)))
            bodies.append(_counted(b"\0" + _grow_function(call_gas)))
            others = others[::-1]  # every rebuilding turns them round: two without, three with `grow`
        out = [b"\0asm\x01\0\0\0"]
        for section in (1, 2, 3, 4, 5, 6, 7, 9, 10, 11):
            items = bodies if section == 10 else sections.get(section)
            if items:
                out.append(bytes((section,)) + _counted(uleb(len(items)) + b"".join(items)))
        return b"".join(out + others)

    def _type_index(self, wanted: bytes) -> int:
        types = self.sections.setdefault(1, [])
        if wanted not in types:
            types.append(wanted)
        return types.index(wanted)


def _metered_blocks(instructions: list[_Instruction]) -> dict[int, int]:
    """Start position -> cost of each metered block.

    One list per open control block: [lowest forward branch target, start of the active metered block, its cost, is a loop].
    """
    finished: dict[int, int] = {}
    stack: list[list[int]] = [[0, 0, 0, 0]]

    def finalize(position: int) -> None:
        top = stack[-1]
        start, cost = top[1], top[2]
        top[1], top[2] = position + 1, 0
        if len(stack) > 1 and stack[-2][1] == start:
            stack[-2][2] += cost  # opened by `block`: part of what stands before it
        elif cost > 0:
            finished[start] = cost

    for position, instruction in enumerate(instructions):
        opcode = instruction.opcode
        cost = COST[opcode] or 0
        if opcode not in _CONTROL:
            stack[-1][2] += cost
        elif opcode in (op.BLOCK, op.LOOP, op.IF):
            top = stack[-1]
            top[2] += cost
            start = top[1] if opcode == op.BLOCK else position + 1
            stack.append([len(stack), start, 0, opcode == op.LOOP])
        elif opcode == op.ELSE:
            finalize(position)
        elif opcode == op.END:
            finalize(position)
            closed = stack.pop()
            if not stack:
                break
            stack[-1][0] = min(stack[-1][0], closed[0])
            if closed[0] < len(stack):
                finalize(position)  # a branch may leave from here
        else:
            targets = instruction.targets
            if opcode == op.BR_TABLE:
                cost += 10 * (len(targets) - 1)
            stack[-1][2] += cost
            finalize(position)
            depth = len(stack) - 1
            for target in (0,) if opcode == op.RETURN else tuple(depth - label for label in targets):
                if target < 0:
                    raise WasmError("branch depth")
                if not stack[target][3]:
                    stack[-1][0] = min(stack[-1][0], target)
    return finished


def _gas_function(counter: int) -> bytes:
    index = uleb(counter)
    return b"".join(
        (
            b"\x23" + index + b"\x20\x00\x5a\x04\x40",  # if counter >= n (unsigned)
            b"\x23" + index + b"\x20\x00\x7d\x24" + index,  # counter -= n
            b"\x05\x42\x7f\x24" + index + b"\x00\x0b\x0b",  # else counter = -1; unreachable
        )
    )


def _grow_function(call_gas: bytes) -> bytes:
    return b"\x20\x00\x20\x00\xad\x42" + sleb(_PAGE_COST) + b"\x7e" + call_gas + b"\x40\x00\x0b"


# --- pieces, each read and put back in its shortest form


def _counted(content: bytes) -> bytes:
    return uleb(len(content)) + content


def _name(reader: Reader) -> bytes:
    return _counted(reader.string().encode())


def _named(name: str, kind: int, index: int) -> bytes:
    return _counted(name.encode()) + bytes((kind,)) + uleb(index)


def _index(reader: Reader) -> bytes:
    return uleb(reader.u32())


def _value_type(reader: Reader) -> bytes:
    value = reader.u8()
    if value not in _VALUE_TYPES:
        raise WasmError("value type")
    return bytes((value,))


def _type(reader: Reader) -> bytes:
    if reader.u8() != 0x60:
        raise WasmError("type form")
    params = [_value_type(reader) for _ in range(reader.u32())]
    results = [_value_type(reader) for _ in range(reader.u32())]
    if len(results) > 1:
        raise WasmError("several results")
    return b"\x60" + uleb(len(params)) + b"".join(params) + uleb(len(results)) + b"".join(results)


def _limits(reader: Reader) -> bytes:
    flags = reader.u8()
    if flags > 1:
        raise WasmError("limits")
    minimum = uleb(reader.u32())
    return bytes((flags,)) + minimum + (uleb(reader.u32()) if flags else b"")


def _table_type(reader: Reader) -> bytes:
    if reader.u8() != op.FUNCREF:
        raise WasmError("table element")
    return b"\x70" + _limits(reader)


def _global_type(reader: Reader) -> bytes:
    value = _value_type(reader)
    mutable = reader.u8()
    if mutable > 1:
        raise WasmError("mutability")
    return value + bytes((mutable,))


def _global(reader: Reader) -> bytes:
    return _global_type(reader) + _expression(reader)


def _export(reader: Reader) -> bytes:
    name = _name(reader)
    kind = reader.u8()
    if kind > _GLOBAL:
        raise WasmError("export kind")
    return name + bytes((kind,)) + uleb(reader.u32())


def _element(reader: Reader) -> bytes:
    table = uleb(reader.u32())
    offset = _expression(reader)
    members = [uleb(reader.u32()) for _ in range(reader.u32())]
    return table + offset + uleb(len(members)) + b"".join(members)


def _data(reader: Reader) -> bytes:
    memory = uleb(reader.u32())
    offset = _expression(reader)
    return memory + offset + _counted(reader.take(reader.u32()))


def _expression(reader: Reader) -> bytes:
    parts = []
    while True:
        instruction = _instruction(reader)
        parts.append(instruction.encoded)
        if instruction.opcode == op.END:
            return b"".join(parts)


def _read_body(section: Reader) -> tuple[bytes, list[_Instruction]]:
    reader = Reader(section.take(section.u32()))
    groups = []
    total = 0
    for _ in range(reader.u32()):
        count = reader.u32()
        total += count
        groups.append(uleb(count) + _value_type(reader))
    if total >= 1 << 32:
        raise WasmError("locals")
    instructions: list[_Instruction] = []
    depth = 1
    while depth:
        instruction = _instruction(reader)
        if instruction.opcode == op.END:
            depth -= 1
        elif instruction.opcode in (op.BLOCK, op.LOOP, op.IF):
            depth += 1
        instructions.append(instruction)
    if not reader.eof():
        raise WasmError("body size")
    return uleb(len(groups)) + b"".join(groups), instructions


_BARE = tuple(
    _Instruction(o, bytes((o,)))
    if (o in (op.UNREACHABLE, op.NOP, op.ELSE, op.END, op.RETURN, op.DROP, op.SELECT) or 0x45 <= o <= 0xC4)
    else None
    for o in range(256)
)


def _instruction(reader: Reader) -> _Instruction:
    opcode = reader.u8()
    bare = _BARE[opcode]
    if bare is not None:
        return bare
    head = bytes((opcode,))
    if op.LOCAL_GET <= opcode <= op.GLOBAL_SET or opcode == op.CALL:
        return _Instruction(opcode, head + uleb(reader.u32()))
    if opcode in ACCESS:
        return _Instruction(opcode, head + uleb(reader.u32()) + uleb(reader.u32()))
    if opcode == op.I32_CONST:
        return _Instruction(opcode, head + sleb(reader.i32()))
    if opcode == op.I64_CONST:
        return _Instruction(opcode, head + sleb(reader.i64()))
    if opcode in (op.BLOCK, op.LOOP, op.IF):
        result = reader.i32() & 0x7F if reader.peek() < 0x80 else _long_block_type(reader)
        if result != 0x40 and result not in _VALUE_TYPES:
            raise WasmError("block type")
        return _Instruction(opcode, head + bytes((result,)))
    if opcode in (op.BR, op.BR_IF):
        label = reader.u32()
        return _Instruction(opcode, head + uleb(label), (label,))
    if opcode == op.BR_TABLE:
        labels = [reader.u32() for _ in range(reader.u32())]
        default = reader.u32()
        encoded = head + uleb(len(labels)) + b"".join(map(uleb, labels)) + uleb(default)
        return _Instruction(opcode, encoded, (default, *labels))
    if opcode == op.CALL_INDIRECT:
        return _Instruction(opcode, head + uleb(reader.u32()) + bytes((reader.u8(),)))
    if opcode in (op.MEMORY_SIZE, op.MEMORY_GROW):
        return _Instruction(opcode, head + bytes((reader.u8(),)))
    if opcode == op.F32_CONST:
        return _Instruction(opcode, head + reader.take(4))
    if opcode == op.F64_CONST:
        return _Instruction(opcode, head + reader.take(8))
    raise WasmError("opcode")


def _long_block_type(reader: Reader) -> int:
    value = reader.i32()
    return value & 0x7F if -0x40 <= value < 0 else -1
