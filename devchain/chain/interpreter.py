"""The inner loop of the EVM: the frequent instructions done in place, the rest handed to py-evm one by one.

py-evm's own loop spends four microseconds on an instruction, most of it in calls that move one number. Here stack, memory and gas
are local names while the frequent instructions run. Two invariants make that equal to py-evm's loop: every stack item is an int
(what an instruction of py-evm pushed as bytes is turned at once), and gas and program counter are written back before any
instruction of py-evm runs. A property test holds the two loops together.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from eth.exceptions import (
    FullStack,
    Halt,
    InsufficientStack,
    InvalidInstruction,
    InvalidJumpDestination,
    OutOfGas,
    VMError,
)

_WORD: Final = 2**256
_MASK: Final = _WORD - 1
_STACK_LIMIT: Final = 1024
_KEPT_ANALYSES: Final = 512
_JUMPS_PER_LOOK: Final = 1024
"""Taken jumps between two looks at the clock; code without jumps is at an end after its length."""

# how many items an instruction takes, and by how many the stack grows; for the texts of stack errors
_TAKES: Final = [0] * 256
_GROWS: Final = [0] * 256
for _ops, _takes, _gives in (
    (range(0x01, 0x08), 2, 1), (range(0x08, 0x0A), 3, 1), (range(0x0A, 0x0C), 2, 1), (range(0x10, 0x15), 2, 1),
    ((0x15, 0x19), 1, 1), ((0x16, 0x17, 0x18, 0x1A, 0x1B, 0x1C, 0x1D, 0x20), 2, 1),
    ((0x30, 0x32, 0x33, 0x34, 0x36, 0x38, 0x3A, 0x3D), 0, 1), ((0x31, 0x35, 0x3B, 0x3F, 0x40), 1, 1),
    ((0x37, 0x39, 0x3E), 3, 0), ((0x3C,), 4, 0), (range(0x41, 0x49), 0, 1), ((0x49,), 1, 1), ((0x4A,), 0, 1), ((0x50, 0x56, 0xFF), 1, 0),
    ((0x51, 0x54, 0x5C), 1, 1), ((0x52, 0x53, 0x55, 0x57, 0x5D), 2, 0), ((0x58, 0x59, 0x5A), 0, 1), ((0x5E,), 3, 0),
    (range(0x5F, 0x80), 0, 1), ((0xF0,), 3, 1), ((0xF1, 0xF2), 7, 1), ((0xF3, 0xFD), 2, 0), ((0xF4, 0xFA), 6, 1),
    ((0xF5,), 4, 1),
):  # fmt: skip
    for _op in _ops:
        _TAKES[_op], _GROWS[_op] = _takes, _gives - _takes
for _n in range(1, 17):
    _TAKES[0x7F + _n], _GROWS[0x7F + _n] = _n, 1
    _TAKES[0x8F + _n] = _n + 1
for _n in range(5):
    _TAKES[0xA0 + _n], _GROWS[0xA0 + _n] = _n + 2, -_n - 2


# where an instruction finds the spans of memory that it touches: (depth of the offset, depth of the size or -bytes), from the top
_SPANS: Final = {
    0x20: ((1, 2),), 0x37: ((1, 3),), 0x39: ((1, 3),), 0x3C: ((2, 4),), 0x3E: ((1, 3),), 0x51: ((1, -32),), 0x52: ((1, -32),),
    0x53: ((1, -1),), 0x5E: ((1, 3), (2, 3)), **dict.fromkeys(range(0xA0, 0xA5), ((1, 2),)), 0xF0: ((2, 3),), 0xF5: ((2, 3),),
    0xF1: ((4, 5), (6, 7)), 0xF2: ((4, 5), (6, 7)), 0xF4: ((3, 4), (5, 6)), 0xFA: ((3, 4), (5, 6)), 0xF3: ((1, 2),), 0xFD: ((1, 2),),
}  # fmt: skip
# what the node takes before it looks at them
_BASE_GAS: Final = {
    0x20: 30, 0x37: 3, 0x39: 3, 0x3C: 100, 0x3E: 3, 0x51: 3, 0x52: 3, 0x53: 3, 0x5E: 3, 0xF0: 32_000, 0xF5: 32_000, 0xF1: 100,
    0xF2: 100, 0xF4: 100, 0xFA: 100,
}  # fmt: skip
_MEMORY_LIMIT: Final = 0x1FFFFFFFE0
"""Bytes beyond which the node's own arithmetic for the price of memory would overflow."""


class GasOverflow(OutOfGas):
    """The node cannot even express what this memory would cost."""


def _overflows(op: int, stack: list[int], gas: int) -> bool:
    """Whether the instruction fails for such a span; the stack is deep enough."""
    if gas < _BASE_GAS.get(op, 0):
        return False
    for at, of in _SPANS[op]:
        size = -of if of < 0 else stack[-of]
        if size and stack[-at] + size > _MEMORY_LIMIT:
            return True
    return False


class UndefinedOpcode(InvalidInstruction):
    """There is no such instruction."""

    def __init__(self, opcode: int) -> None:
        super().__init__(opcode)
        self.opcode = opcode


class Analysis:
    """What can be known of code before it runs: padded code, and where jumps may land."""

    __slots__ = ("code", "jump_destinations")

    def __init__(self, code: bytes) -> None:
        # the padding is the STOP behind the end, and the zeros of a PUSH that is cut off
        self.code = code + bytes(33)
        destinations = set()
        at, end = 0, len(code)
        while at < end:
            op = code[at]
            if op == 0x5B:
                destinations.add(at)
            elif 0x60 <= op <= 0x7F:
                at += op - 0x5F
            at += 1
        self.jump_destinations = frozenset(destinations)


_analyses: OrderedDict[bytes, Analysis] = OrderedDict()


def _analyse(code: bytes) -> Analysis:
    """Kept by content; pure, so chains may share it."""
    found = _analyses.get(code)
    if found is None:
        found = _analyses[code] = Analysis(code)
        if len(_analyses) > _KEPT_ANALYSES:
            _analyses.popitem(last=False)
    return found


def run(computation: Any) -> None:
    """Run the computation's code to its end. Raises what its instructions raise, with go-ethereum's order of checks."""
    tracer = computation.state.tracer
    if tracer is not None and tracer.steps:
        _run_by_steps(computation, tracer)
        return
    analysis = _analyse(computation.msg.code)
    code, destinations = analysis.code, analysis.jump_destinations
    stack: list[Any] = computation._stack.values
    memory: bytearray = computation._memory._bytes
    meter = computation._gas_meter
    opcodes = computation.opcodes
    stream = computation.code
    push, pop = stack.append, stack.pop
    gas: int = meter.gas_remaining
    watch = computation.state.watch
    watch()
    jumps = _JUMPS_PER_LOOK
    pc = depth = op = 0
    try:
        while True:
            op = code[pc]
            pc += 1
            depth = len(stack)
            if 0x60 <= op <= 0x7F:  # PUSH1 to PUSH32
                gas -= 3
                if gas < 0 or depth >= _STACK_LIMIT:
                    raise OutOfGas
                width = op - 0x5F
                push(code[pc] if width == 1 else int.from_bytes(code[pc : pc + width], "big"))
                pc += width
            elif 0x80 <= op <= 0x8F:  # DUP1 to DUP16
                gas -= 3
                if gas < 0 or depth >= _STACK_LIMIT:
                    raise OutOfGas
                push(stack[0x7F - op])
            elif 0x90 <= op <= 0x9F:  # SWAP1 to SWAP16
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                other = 0x8E - op
                stack[-1], stack[other] = stack[other], stack[-1]
            elif op == 0x5B:  # JUMPDEST
                gas -= 1
                if gas < 0:
                    raise OutOfGas
            elif op == 0x57:  # JUMPI
                gas -= 10
                if gas < 0:
                    raise OutOfGas
                target = pop()
                if pop():
                    if target not in destinations:
                        raise InvalidJumpDestination
                    pc = target
                    jumps -= 1
                    if not jumps:
                        jumps = _JUMPS_PER_LOOK
                        watch()
            elif op == 0x56:  # JUMP
                gas -= 8
                if gas < 0:
                    raise OutOfGas
                pc = pop()
                if pc not in destinations:
                    raise InvalidJumpDestination
                jumps -= 1
                if not jumps:
                    jumps = _JUMPS_PER_LOOK
                    watch()
            elif op == 0x01:  # ADD
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                a = pop()
                stack[-1] = (a + stack[-1]) & _MASK
            elif op == 0x50:  # POP
                gas -= 2
                if gas < 0:
                    raise OutOfGas
                pop()
            elif op == 0x03:  # SUB
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                a = pop()
                stack[-1] = (a - stack[-1]) & _MASK
            elif op == 0x15:  # ISZERO
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                stack[-1] = 0 if stack[-1] else 1
            elif op == 0x52 and depth >= 2 and stack[-1] + 32 <= len(memory):  # MSTORE inside
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                at = pop()
                memory[at : at + 32] = pop().to_bytes(32, "big")
            elif op == 0x51 and depth and stack[-1] + 32 <= len(memory):  # MLOAD inside
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                at = stack[-1]
                stack[-1] = int.from_bytes(memory[at : at + 32], "big")
            elif op == 0x10:  # LT
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                a = pop()
                stack[-1] = 1 if a < stack[-1] else 0
            elif op == 0x11:  # GT
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                a = pop()
                stack[-1] = 1 if a > stack[-1] else 0
            elif op == 0x14:  # EQ
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                a = pop()
                stack[-1] = 1 if a == stack[-1] else 0
            elif op == 0x16:  # AND
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                a = pop()
                stack[-1] &= a
            elif op == 0x17:  # OR
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                a = pop()
                stack[-1] |= a
            elif op == 0x1B:  # SHL
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                a = pop()
                stack[-1] = (stack[-1] << a) & _MASK if a < 256 else 0
            elif op == 0x1C:  # SHR
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                a = pop()
                stack[-1] = stack[-1] >> a if a < 256 else 0
            elif op == 0x19:  # NOT
                gas -= 3
                if gas < 0:
                    raise OutOfGas
                stack[-1] ^= _MASK
            elif op == 0x02:  # MUL
                gas -= 5
                if gas < 0:
                    raise OutOfGas
                a = pop()
                stack[-1] = (a * stack[-1]) & _MASK
            elif op == 0x5F:  # PUSH0
                gas -= 2
                if gas < 0 or depth >= _STACK_LIMIT:
                    raise OutOfGas
                push(0)
            elif op == 0x00:  # STOP
                break
            else:
                instruction = opcodes.get(op)
                if instruction is None:
                    raise UndefinedOpcode(op)
                if depth < _TAKES[op] or depth + _GROWS[op] > _STACK_LIMIT:
                    raise InsufficientStack
                if op in _SPANS and _overflows(op, stack, gas):
                    raise GasOverflow
                meter.gas_remaining = gas
                stream.program_counter = pc
                instruction(computation)
                gas = meter.gas_remaining
                memory = computation._memory._bytes
                if depth + _GROWS[op] and type(stack[-1]) is bytes:
                    stack[-1] = int.from_bytes(stack[-1], "big")
    except Halt:
        gas = meter.gas_remaining
    except (OutOfGas, InsufficientStack, IndexError) as error:
        # the node looks at the stack before it asks for gas
        if depth < _TAKES[op]:
            raise InsufficientStack(f"stack underflow ({depth} <=> {_TAKES[op]})") from None
        if depth + _GROWS[op] > _STACK_LIMIT:
            raise FullStack(f"stack limit reached {depth} ({_STACK_LIMIT - _GROWS[op]})") from None
        if isinstance(error, OutOfGas):
            raise
        raise AssertionError(f"opcode {op:#x} at {pc - 1}: stack of {depth} ran out") from error
    meter.gas_remaining = gas


def _run_by_steps(computation: Any, tracer: Any) -> None:
    """The same, slowly: every instruction is py-evm's, and the tracer sees each."""
    code = _analyse(computation.msg.code).code
    stack: list[Any] = computation._stack.values
    meter, opcodes, stream = computation._gas_meter, computation.opcodes, computation.code
    watch = computation.state.watch
    frame_depth = computation.msg.depth + 1
    pc = 0
    while True:
        watch()
        op, depth = code[pc], len(stack)
        gas = meter.gas_remaining
        tracer.step(computation, pc, op, gas, frame_depth)
        try:
            instruction = opcodes.get(op)
            if instruction is None:
                raise UndefinedOpcode(op)
            if depth < _TAKES[op]:
                raise InsufficientStack(f"stack underflow ({depth} <=> {_TAKES[op]})")
            if depth + _GROWS[op] > _STACK_LIMIT:
                raise FullStack(f"stack limit reached {depth} ({_STACK_LIMIT - _GROWS[op]})")
            if op in _SPANS and _overflows(op, stack, gas):
                raise GasOverflow
            stream.program_counter = pc + 1
            instruction(computation)
        except Halt:
            tracer.stepped(computation, meter.gas_remaining, None)
            return
        except VMError as error:
            tracer.stepped(computation, meter.gas_remaining, _text_of(error))
            raise
        tracer.stepped(computation, meter.gas_remaining, None)
        if stack and type(stack[-1]) is bytes:
            stack[-1] = int.from_bytes(stack[-1], "big")
        pc = stream.program_counter


def _text_of(error: VMError) -> str:
    """For the step that fails; the frame's own error has the node's words."""
    return str(error) or type(error).__name__
