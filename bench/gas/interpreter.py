"""An independent count of what an Aspect call costs: a plain wasm interpreter that runs the code as it was deployed, and adds up.

It shares nothing with devchain: own decoder, own cost table and block rules (both from the description of the node's metering),
no instrumented code, no wasmtime. A call costs the sum of the instructions that ran, 1106 for each metered block that was entered, and the
host calls by their own rules. Floats do not exist here. Slow (about a million instructions a second), and meant so.

Metered blocks are straight runs of instructions that are entered together. A block's whole cost is charged where it begins; an instruction
that may jump ends it. `block` merges with what surrounds it; `loop`, `if`, `else` and what follows a possible jump target begin anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

BLOCK_OVERHEAD = 1106
PAGE = 65536
M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF

_BLOCK, _LOOP, _IF, _ELSE, _END, _BR, _BR_IF, _BR_TABLE, _RETURN, _CALL = 2, 3, 4, 5, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x10
_LOADS = {
    0x28: (4, False, M32), 0x29: (8, False, M64), 0x2C: (1, True, M32), 0x2D: (1, False, M32), 0x2E: (2, True, M32),
    0x2F: (2, False, M32), 0x30: (1, True, M64), 0x31: (1, False, M64), 0x32: (2, True, M64), 0x33: (2, False, M64),
    0x34: (4, True, M64), 0x35: (4, False, M64),
}  # fmt: skip
_STORES = {0x36: 4, 0x37: 8, 0x3A: 1, 0x3B: 2, 0x3C: 1, 0x3D: 2, 0x3E: 4}


def cost_of(opcode: int) -> int:
    """WASM gas of one instruction (1000 are one EVM gas); `end` and `else` are free, br_table is not used by our code."""
    if opcode in (_END, _ELSE):
        return 0
    fixed = {
        0x00: 10, 0x01: 10, _RETURN: 100, _BLOCK: 150, _LOOP: 150, _IF: 150, _BR: 150, _BR_IF: 150, _CALL: 150, 0x11: 200,
        0x1A: 100, 0x1B: 150, 0x20: 40, 0x21: 80, 0x22: 40, 0x23: 60, 0x24: 120, 0x3F: 230, 0x41: 10, 0x42: 40,
        0x67: 470, 0x68: 470, 0x69: 540, 0x6A: 80, 0x6B: 80, 0x6C: 100, 0x79: 850, 0x7A: 850, 0x7B: 1080,
        0x7C: 160, 0x7D: 160, 0x7E: 200, 0xA7: 20, 0xAC: 20, 0xAD: 20,
    }  # fmt: skip
    if opcode in fixed:
        return fixed[opcode]
    for first, last, cost in (
        (0x28, 0x35, 40), (0x36, 0x3E, 80), (0x45, 0x4F, 13), (0x50, 0x5A, 26), (0x6D, 0x70, 100), (0x71, 0x73, 15),
        (0x74, 0x78, 20), (0x7F, 0x82, 200), (0x83, 0x85, 30), (0x86, 0x8A, 40), (0xC0, 0xC4, 100),
    ):  # fmt: skip
        if first <= opcode <= last:
            return cost
    raise ValueError(f"opcode {opcode:#x} is not priced here")


class Trap(Exception):
    """The code ended in `unreachable`, a division by zero or a wild address."""


@dataclass(frozen=True, slots=True)
class Function:
    """A body: opcodes, one immediate each (a pair for memory accesses, the jump target for control), and what each position charges."""

    params: int
    results: int
    local_count: int
    opcodes: list[int]
    immediates: list[int]
    charges: list[int]
    """WASM gas due on reaching a position: a metered block's cost, where one begins."""
    ends: dict[int, int]
    """Of block, loop, if (and else): where the matching `end` is."""
    elses: dict[int, int]
    arity: dict[int, int]
    """Results of a block."""


@dataclass
class ParsedModule:
    """The parts of a wasm module that an Aspect uses."""

    types: list[tuple[int, int]] = field(default_factory=list)
    imports: list[tuple[str, str, int]] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    pages: int = 0
    globals: list[int] = field(default_factory=list)
    exports: dict[str, int] = field(default_factory=dict)
    data: list[tuple[int, bytes]] = field(default_factory=list)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def unsigned(self) -> int:
        return self._leb128()[0]

    def signed(self) -> int:
        value, bits = self._leb128()
        return value - (1 << bits) if value >> (bits - 1) else value

    def _leb128(self) -> tuple[int, int]:
        """A number without its sign, and in how many bits it was written."""
        value = bits = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << bits
            bits += 7
            if byte < 128:
                return value, bits

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def name(self) -> str:
        return self.take(self.unsigned()).decode()

    def constant(self) -> int:
        opcode = self.byte()
        if opcode not in (0x41, 0x42):
            raise ValueError("only constants initialise")
        value = self.signed() & (M32 if opcode == 0x41 else M64)
        if self.byte() != _END:
            raise ValueError("only constants initialise")
        return value


def decode(code: bytes) -> ParsedModule:
    """A wasm binary, as far as Aspects go."""
    reader = _Reader(code)
    if reader.take(8) != b"\0asm\1\0\0\0":
        raise ValueError("not wasm")
    module = ParsedModule()
    declared: list[int] = []
    while reader.at < len(code):
        section = reader.byte()
        body = _Reader(reader.take(reader.unsigned()))
        if section == 1:
            for _ in range(body.unsigned()):
                body.byte()
                params = len(body.take(body.unsigned()))
                module.types.append((params, len(body.take(body.unsigned()))))
        elif section == 2:
            for _ in range(body.unsigned()):
                names = body.name(), body.name()
                if body.byte() != 0:
                    raise ValueError("only functions are imported")
                module.imports.append((*names, body.unsigned()))
        elif section == 3:
            declared = [body.unsigned() for _ in range(body.unsigned())]
        elif section == 5:
            body.unsigned()
            limited = body.byte()
            module.pages = body.unsigned()
            if limited:
                body.unsigned()
        elif section == 6:
            for _ in range(body.unsigned()):
                body.take(2)
                module.globals.append(body.constant())
        elif section == 7:
            for _ in range(body.unsigned()):
                name, kind, index = body.name(), body.byte(), body.unsigned()
                if kind == 0:
                    module.exports[name] = index
        elif section == 10:
            for index in range(body.unsigned()):
                content = _Reader(body.take(body.unsigned()))
                module.functions.append(_function(content, *module.types[declared[index]]))
        elif section == 11:
            for _ in range(body.unsigned()):
                body.unsigned()
                at = body.constant()
                module.data.append((at, body.take(body.unsigned())))
    return module


def _function(reader: _Reader, params: int, results: int) -> Function:
    local_count = 0
    for _ in range(reader.unsigned()):
        local_count += reader.unsigned()
        reader.byte()
    opcodes: list[int] = []
    immediates: list[int] = []
    ends: dict[int, int] = {}
    elses: dict[int, int] = {}
    arity: dict[int, int] = {}
    opened: list[int] = []
    while reader.at < len(reader.data):
        position, opcode, immediate = len(opcodes), reader.byte(), 0
        if opcode in (_BLOCK, _LOOP, _IF):
            kind = reader.signed()
            if kind >= 0:
                raise ValueError("blocks with several values are not for Aspects")
            arity[position] = 0 if kind == -64 else 1
            opened.append(position)
        elif opcode == _ELSE:
            elses[opened[-1]] = position
        elif opcode == _END:
            if opened:
                begin = opened.pop()
                ends[begin] = position
                if begin in elses:
                    ends[elses[begin]] = position
        elif opcode in (_BR, _BR_IF, _CALL, 0x20, 0x21, 0x22, 0x23, 0x24):
            immediate = reader.unsigned()
        elif opcode in _LOADS or opcode in _STORES:
            reader.unsigned()
            immediate = reader.unsigned()
        elif opcode in (0x41, 0x42):
            immediate = reader.signed() & (M32 if opcode == 0x41 else M64)
        elif opcode == 0x3F:
            reader.byte()
        elif opcode in (_BR_TABLE, 0x11, 0x40):
            raise ValueError("br_table, call_indirect and memory.grow are not used by our Aspect")
        opcodes.append(opcode)
        immediates.append(immediate)
    charges = _charges(opcodes, immediates)
    return Function(params, results, local_count, opcodes, immediates, charges, ends, elses, arity)


def _charges(opcodes: list[int], immediates: list[int]) -> list[int]:
    """Where metered blocks begin and what they cost: the node's bookkeeping, one control block a line of the stack.

    A control block knows where its current metered block began, what it has cost so far, whether it is a loop, and the outermost control
    block that a forward jump from inside may land behind.
    """
    charges = [0] * len(opcodes)
    stack: list[list[int]] = [[0, 0, 0, 0]]  # outermost target, start, cost, is loop

    def close(position: int) -> None:
        top = stack[-1]
        start, cost = top[1], top[2]
        top[1], top[2] = position + 1, 0
        if len(stack) > 1 and stack[-2][1] == start:
            stack[-2][2] += cost
        elif cost:
            charges[start] += cost + BLOCK_OVERHEAD

    for position, opcode in enumerate(opcodes):
        top = stack[-1]
        top[2] += cost_of(opcode)
        if opcode == _BLOCK:
            stack.append([len(stack), top[1], 0, 0])
        elif opcode in (_LOOP, _IF):
            stack.append([len(stack), position + 1, 0, int(opcode == _LOOP)])
        elif opcode in (_BR, _BR_IF, _RETURN):
            close(position)
            target = 0 if opcode == _RETURN else len(stack) - 1 - immediates[position]
            if not stack[target][3]:
                top[0] = min(top[0], target)
        elif opcode == _ELSE:
            close(position)
        elif opcode == _END:
            close(position)
            ended = stack.pop()
            if stack:
                stack[-1][0] = min(stack[-1][0], ended[0])
                if ended[0] < len(stack):
                    close(position)
    return charges


HostFunction = Callable[["MeasuredInstance", list[int]], int | None]


class MeasuredInstance:
    """A fresh instance. `gas`: WASM gas charged so far; host functions add their own to it."""

    def __init__(self, module: ParsedModule, host: dict[tuple[str, str], HostFunction]) -> None:
        self.module = module
        self.memory = bytearray(module.pages * PAGE)
        for at, data in module.data:
            self.memory[at : at + len(data)] = data
        self.globals = list(module.globals)
        self.gas = 0
        self.instructions = 0
        self.blocks = 0
        self._host = host

    def call(self, name: str, *arguments: int) -> int | None:
        return self._run(self.module.exports[name], list(arguments))

    def _run(self, index: int, arguments: list[int]) -> int | None:
        imports = self.module.imports
        if index < len(imports):
            return self._host[imports[index][:2]](self, arguments)
        function = self.module.functions[index - len(imports)]
        results = self._execute(function, arguments + [0] * function.local_count)
        return results[-1] if function.results else None

    def _execute(self, function: Function, local: list[int]) -> list[int]:
        opcodes, immediates, charges = function.opcodes, function.immediates, function.charges
        memory, globals_ = self.memory, self.globals
        stack: list[int] = []
        push, pop = stack.append, stack.pop
        # (where a jump to it continues, height of the stack, values a jump brings, whether it stays open: a loop)
        labels: list[tuple[int, int, int, bool]] = [(len(opcodes), 0, function.results, False)]
        position, last = 0, len(opcodes)
        while position < last:
            due = charges[position]
            if due:
                self.gas += due
                self.blocks += 1
            opcode, immediate = opcodes[position], immediates[position]
            self.instructions += 1
            position += 1
            if opcode == 0x20:
                push(local[immediate])
            elif opcode == 0x21:
                local[immediate] = pop()
            elif opcode == 0x22:
                local[immediate] = stack[-1]
            elif opcode in (0x41, 0x42):
                push(immediate)
            elif opcode in _LOADS:
                size, signed, mask = _LOADS[opcode]
                at = pop() + immediate
                if at + size > len(memory):
                    raise Trap("out of bounds")
                push(int.from_bytes(memory[at : at + size], "little", signed=signed) & mask)
            elif opcode in _STORES:
                size = _STORES[opcode]
                value, at = pop(), pop() + immediate
                if at + size > len(memory):
                    raise Trap("out of bounds")
                memory[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
            elif 0x45 <= opcode <= 0xC4:
                if opcode in (0x45, 0x50, 0x67, 0x79, 0x7B, 0xA7, 0xAC, 0xAD) or opcode >= 0xC0:
                    push(_unary(opcode, pop()))
                else:
                    right = pop()
                    push(_binary(opcode, pop(), right))
            elif opcode in (_BR, _BR_IF):
                if opcode == _BR or pop():
                    position = self._jump(stack, labels, immediate)
            elif opcode == _BLOCK:
                labels.append((function.ends[position - 1] + 1, len(stack), function.arity[position - 1], False))
            elif opcode == _LOOP:
                labels.append((position, len(stack), 0, True))
            elif opcode == _IF:
                begin = position - 1
                taken = pop()
                labels.append((function.ends[begin] + 1, len(stack), function.arity[begin], False))
                if not taken:
                    position = function.elses[begin] + 1 if begin in function.elses else function.ends[begin]
            elif opcode == _ELSE:
                position = function.ends[position - 1]
            elif opcode == _END:
                labels.pop()
            elif opcode == _CALL:
                imports = self.module.imports
                kind = (
                    self.module.types[imports[immediate][2]]
                    if immediate < len(imports)
                    else (self.module.functions[immediate - len(imports)].params, 0)
                )
                arguments = stack[len(stack) - kind[0] :]
                del stack[len(stack) - kind[0] :]
                result = self._run(immediate, arguments)
                if result is not None:
                    push(result)
            elif opcode == _RETURN:
                break
            elif opcode == 0x23:
                push(globals_[immediate])
            elif opcode == 0x24:
                globals_[immediate] = pop()
            elif opcode == 0x1A:
                pop()
            elif opcode == 0x1B:
                condition, right = pop(), pop()
                if not condition:
                    stack[-1] = right
            elif opcode == 0x3F:
                push(len(memory) // PAGE)
            elif opcode == 0x00:
                raise Trap("unreachable")
        return stack

    @staticmethod
    def _jump(stack: list[int], labels: list[tuple[int, int, int, bool]], depth: int) -> int:
        """Unwinds to a label and says where to go on: behind a block's end, or behind the `loop`, which is not run again."""
        index = len(labels) - 1 - depth
        target, height, arity, is_loop = labels[index]
        kept = stack[len(stack) - arity :] if arity else []
        del stack[height:]
        stack.extend(kept)
        del labels[index + int(is_loop) :]
        return target


def _unary(opcode: int, value: int) -> int:
    match opcode:
        case 0x45 | 0x50:
            return int(value == 0)
        case 0x67:
            return 32 - value.bit_length()
        case 0x79:
            return 64 - value.bit_length()
        case 0x7B:
            return value.bit_count()
        case 0xA7:
            return value & M32
        case 0xAC:
            return _signed(value, 32) & M64
        case 0xAD:
            return value
        case 0xC0:
            return _signed(value & 0xFF, 8) & M32
        case 0xC1:
            return _signed(value & 0xFFFF, 16) & M32
        case 0xC2:
            return _signed(value & 0xFF, 8) & M64
        case 0xC3:
            return _signed(value & 0xFFFF, 16) & M64
        case 0xC4:
            return _signed(value & M32, 32) & M64
    raise ValueError(f"opcode {opcode:#x}")


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


_COMPARISONS: list[tuple[Callable[[int, int], bool], bool]] = [
    (lambda a, b: a == b, False), (lambda a, b: a != b, False),
    (lambda a, b: a < b, True), (lambda a, b: a < b, False), (lambda a, b: a > b, True), (lambda a, b: a > b, False),
    (lambda a, b: a <= b, True), (lambda a, b: a <= b, False), (lambda a, b: a >= b, True), (lambda a, b: a >= b, False),
]  # fmt: skip


def _binary(opcode: int, left: int, right: int) -> int:
    for first, bits in ((0x46, 32), (0x51, 64)):
        if first <= opcode < first + 10:
            compare, signed = _COMPARISONS[opcode - first]
            if signed:
                left, right = _signed(left, bits), _signed(right, bits)
            return int(compare(left, right))
    bits, kind = (32, opcode - 0x6A) if opcode < 0x79 else (64, opcode - 0x7C)
    mask = M32 if bits == 32 else M64
    if kind in (3, 4, 5, 6) and right == 0:
        raise Trap("division by zero")
    places = right % bits
    match kind:
        case 0:
            return (left + right) & mask
        case 1:
            return (left - right) & mask
        case 2:
            return (left * right) & mask
        case 4:
            return left // right
        case 6:
            return left % right
        case 7:
            return left & right
        case 8:
            return left | right
        case 9:
            return left ^ right
        case 10:
            return (left << places) & mask
        case 11:
            return (_signed(left, bits) >> places) & mask
        case 12:
            return left >> places
        case 13:
            return (left << places | left >> (bits - places)) & mask
        case 14:
            return (left >> places | left << (bits - places)) & mask
    raise ValueError(f"opcode {opcode:#x} is not used by our Aspect")
