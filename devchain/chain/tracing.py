"""What can be watched while a transaction executes: calls, Aspects at their join points, and single instructions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from devchain.aspect.environment import JoinPoint


class Tracer(Protocol):
    """Hears of everything in the order in which it happens; begins and ends nest."""

    steps: bool
    """Whether `step` and `stepped` are wanted: execution is several times slower with them."""

    def call_begins(self, call: Traced) -> None: ...
    def call_ends(self, gas_used: int, output: bytes, error: str | None) -> None: ...
    def aspect_begins(self, call: Traced) -> None: ...
    def aspect_ends(self, gas_used: int, output: bytes, error: str | None, lines: tuple[str, ...]) -> None: ...
    def step(self, computation: Any, pc: int, op: int, gas: int, depth: int) -> None:
        """Before an instruction; `depth` counts frames from 1."""
        ...

    def stepped(self, computation: Any, gas: int, error: str | None) -> None:
        """After the instruction of the same frame."""
        ...


@dataclass(slots=True)
class Traced:
    """A call: of the EVM, or of an Aspect."""

    kind: str
    """CALL, STATICCALL, DELEGATECALL, CALLCODE, CREATE, CREATE2 or ASPECT."""
    sender: bytes
    to: bytes
    value: int
    gas: int
    input: bytes
    caller_left: int | None = None
    """Gas that the calling frame keeps meanwhile; None where no frame calls."""
    join_point: JoinPoint | None = None
    version: int = 0
    """Of the Aspect."""
    gas_used: int = 0
    output: bytes = b""
    error: str | None = None
    lines: tuple[str, ...] = ()
    """What the Aspect logged."""
    calls: list[Traced] = field(default_factory=list)


class CallTracer:
    """The tree of calls, Aspects in it as entries of their own: `preTxExecute` first of the transaction, `preContractCall` first and
    `postContractCall` last of the call that they surround."""

    steps = False

    def __init__(self) -> None:
        self.root: Traced | None = None
        self._before: list[Traced] = []
        self._open: list[Traced] = []
        self._after_root = False

    def call_begins(self, call: Traced) -> None:
        if self._open:
            self._open[-1].calls.append(call)
        elif self.root is None:
            call.calls += self._before
            self.root = call
        self._open.append(call)

    def call_ends(self, gas_used: int, output: bytes, error: str | None) -> None:
        call = self._open.pop()
        call.gas_used, call.output, call.error = gas_used, output, error

    def aspect_begins(self, call: Traced) -> None:
        if self._open:
            self._open[-1].calls.append(call)
        elif self.root is None:
            self._before.append(call)
        else:
            self.root.calls.append(call)
        self._open.append(call)

    def aspect_ends(self, gas_used: int, output: bytes, error: str | None, lines: tuple[str, ...]) -> None:
        self._open[-1].lines = lines
        self.call_ends(gas_used, output, error)

    def before(self) -> list[Traced]:
        """The Aspects of a transaction that never came to its call."""
        return self._before

    def step(self, computation: Any, pc: int, op: int, gas: int, depth: int) -> None: ...
    def stepped(self, computation: Any, gas: int, error: str | None) -> None: ...


class TraceTooLarge(Exception):
    """It would not fit into memory or an answer."""


TRACE_BYTES: Final = 64 * 1024 * 1024
"""Of JSON, about; a block's gas could buy gigabytes."""


@dataclass(slots=True)
class TraceStep:
    """One instruction, or one Aspect call (op "ASPECT")."""

    pc: int
    op: str
    gas: int
    depth: int
    cost: int = 0
    stack: list[int] | None = None
    memory: bytes | None = None
    storage: dict[int, int] | None = None
    """Of the account, as far as the transaction has touched it; with SLOAD and SSTORE only."""
    error: str | None = None
    aspect: Traced | None = None


class StepTracer:
    """Every instruction, as go-ethereum's struct logger."""

    steps = True

    def __init__(self, name: Callable[[int], str], *, stack: bool, memory: bool, storage: bool, limit: int) -> None:
        """limit: steps; 0 for as many as fit."""
        self.logged: list[TraceStep] = []
        self._name = name
        self._stack, self._memory, self._storage = stack, memory, storage
        self._limit = limit
        self._bytes = 0
        self._open: list[TraceStep | None] = []
        self._depth = 0
        self._touched: dict[bytes, dict[int, int]] = {}

    def _log(self, step: TraceStep, size: int) -> bool:
        if self._limit and len(self.logged) >= self._limit:
            return False
        self._bytes += size
        if self._bytes > TRACE_BYTES:
            raise TraceTooLarge
        self.logged.append(step)
        return True

    def call_begins(self, call: Traced) -> None:
        step = self._open[-1] if self._open else None
        if step is not None and call.caller_left is not None:
            # as go-ethereum shows it: the gas given along included
            step.cost = step.gas - call.caller_left
        self._depth += 1

    def call_ends(self, gas_used: int, output: bytes, error: str | None) -> None:
        self._depth -= 1

    def aspect_begins(self, call: Traced) -> None:
        step = TraceStep(0, "ASPECT", call.gas, self._depth, aspect=call)
        self._log(step, 200 + 2 * len(call.input))
        self._open.append(step)

    def aspect_ends(self, gas_used: int, output: bytes, error: str | None, lines: tuple[str, ...]) -> None:
        step = self._open.pop()
        assert step is not None
        assert step.aspect is not None
        step.cost, step.error = gas_used, error
        step.aspect.gas_used, step.aspect.output, step.aspect.lines = gas_used, output, lines

    def step(self, computation: Any, pc: int, op: int, gas: int, depth: int) -> None:
        stack: list[int] = [
            item if isinstance(item, int) else int.from_bytes(item, "big") for item in computation._stack.values
        ]
        memory = bytes(computation._memory._bytes) if self._memory else None
        step = TraceStep(pc, self._name(op), gas, depth, stack=stack if self._stack else None, memory=memory)
        size = 120 + (68 * len(stack) if self._stack else 0) + 2 * len(memory or b"")
        if self._storage and op in (0x54, 0x55) and len(stack) >= 1 + (op == 0x55):
            address = computation.msg.storage_address
            touched = self._touched.setdefault(address, {})
            slot = stack[-1]
            touched[slot] = computation.state.get_storage(address, slot) if op == 0x54 else stack[-2]
            step.storage = dict(touched)
            size += 140 * len(touched)
        self._open.append(step if self._log(step, size) else None)

    def stepped(self, computation: Any, gas: int, error: str | None) -> None:
        step = self._open.pop()
        if step is not None:
            step.cost = step.gas - gas if step.cost == 0 else step.cost
            step.error = error
