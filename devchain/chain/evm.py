"""py-evm, and nothing else of it than its instruction set: this module and the loop beside it (`interpreter`) know the library, no other.

Frames, value transfer, code deposit and errors follow go-ethereum as Artela runs it: the Cancun jump table without blobs and
without EIP-6780, no EIP-3860, no point evaluation precompile, London refunds. What an Artela EVM does besides (join points
around calls, the context precompiles) comes in through `Hooks`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

from eth import constants as evm_constants
from eth._utils.address import generate_contract_address
from eth.exceptions import (
    FullStack,
    Halt,
    InsufficientStack,
    InvalidJumpDestination,
    OutOfBoundsRead,
    OutOfGas,
    Revert,
    VMError,
    WriteProtection,
)
from eth.vm import opcode_values
from eth.vm.forks.berlin.logic import selfdestruct_eip2929
from eth.vm.forks.byzantium.opcodes import ensure_no_static
from eth.vm.forks.cancun.computation import CANCUN_PRECOMPILES
from eth.vm.forks.cancun.opcodes import CANCUN_OPCODES
from eth.vm.forks.paris.opcodes import PARIS_OPCODES
from eth.vm.forks.shanghai.computation import ShanghaiComputation
from eth.vm.message import Message
from eth.vm.opcode import as_opcode
from eth.vm.transaction_context import BaseTransactionContext
from eth_typing import Address

from devchain.aspect.environment import NodePanic
from devchain.chain import interpreter
from devchain.chain.state import World
from devchain.chain.tracing import Traced, Tracer
from devchain.config import ForkRules
from devchain.precompiles import bn254
from devchain.precompiles.blake2 import compress
from devchain.watch import Watch, no_watch

MAX_CODE_SIZE: Final = 24_576
MAX_INIT_CODE_SIZE: Final = 49_152
"""EIP-3860's, where that is on."""
CREATE_DATA_GAS: Final = 200
CALL_DEPTH: Final = 1024
CONTEXT_READ: Final = (0x64).to_bytes(20, "big")
USER_OPERATION_SENDER: Final = (0x65).to_bytes(20, "big")
CONTEXT_WRITE: Final = (0x66).to_bytes(20, "big")
_CONTEXT_GAS: Final = 5000
_COLD_ACCOUNT: Final = 2600
_NEW_ACCOUNT: Final = 25_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockContext:
    """What instructions can read of the block."""

    number: int
    timestamp: int
    coinbase: bytes
    gas_limit: int
    base_fee: int
    chain_id: int
    ancestor_hash: Callable[[int], bytes]
    """Hash of a block by number; 32 zero bytes where there is none."""


@dataclass(frozen=True, slots=True)
class Log:
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


REVERTED: Final = "execution reverted"
"""The one error text that means a revert, whoever says it: the EVM or an Aspect."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What a message came to."""

    output: bytes
    """Return data; on a revert the reason; empty on other errors."""
    gas_left: int
    error: str | None
    """go-ethereum's text, None on success."""
    logs: tuple[Log, ...] = ()
    refund: int = 0
    contract: bytes | None = None
    """Address of the created contract, whether or not that succeeded."""


class Hooks(Protocol):
    """What happens around EVM calls and cannot be seen by the EVM: Aspects and their transient storage."""

    def enter(self, frame: Frame | None) -> None:
        """Every CALL and creation of a transaction announces itself, in order; None where it fails before it begins."""
        ...

    def before_code(self, frame: Frame) -> HookFailure | None:
        """Before the code of a CALL runs. May lower `frame.gas`."""
        ...

    def after_code(self, frame: Frame, ret: bytes, error: str | None) -> HookFailure | None:
        """After the code of a CALL ran, whatever it came to. May lower `frame.gas`."""
        ...

    def context_get(self, scope: bytes, key: bytes) -> bytes: ...
    def context_set(self, scope: bytes, key: bytes, value: bytes) -> None: ...


@dataclass(slots=True)
class Frame:
    """One EVM frame as the hooks see it."""

    sender: bytes
    to: bytes
    value: int
    data: bytes
    gas: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class HookFailure:
    """A join point failed. `ret` goes to the caller as return data; the error text is the node's."""

    error: str
    ret: bytes


class AspectError(VMError):
    """A join point failed. The caller sees the return data but gets no copy of it in memory: to the node this is neither
    success nor its own "execution reverted"."""

    erases_return_data = True

    def __init__(self, failure: HookFailure, *, keeps_gas: bool) -> None:
        super().__init__(failure.error)
        self.failure = failure
        self.burns_gas = not keeps_gas


class NamedError(VMError):
    """An EVM error whose text is exactly what the node prints."""


MNEMONICS: Final[Mapping[int, str]] = MappingProxyType(
    {op: getattr(code, "mnemonic", "") for op, code in CANCUN_OPCODES.items()} | {0x44: "DIFFICULTY"}
)
"""Names of instructions, as go-ethereum's traces write them."""

_message: Any = Message  # py-evm marks addresses with a type of their own


class _TransactionContext(BaseTransactionContext):
    pass


@dataclass(slots=True)
class _Machine:
    """What py-evm calls the state: the world plus the block plus the hooks, for one transaction.

    py-evm asks for state through attributes of this object, so the world's methods are bound here directly.
    """

    world: World
    block: BlockContext
    hooks: Hooks
    precompiles: Mapping[Any, Any]
    watch: Watch
    tracer: Tracer | None
    get_storage: Any = field(init=False)
    set_storage: Any = field(init=False)
    get_balance: Any = field(init=False)
    set_balance: Any = field(init=False)
    delta_balance: Any = field(init=False)
    get_nonce: Any = field(init=False)
    increment_nonce: Any = field(init=False)
    get_code: Any = field(init=False)
    set_code: Any = field(init=False)
    get_code_hash: Any = field(init=False)
    has_code_or_nonce: Any = field(init=False)
    account_exists: Any = field(init=False)
    account_is_empty: Any = field(init=False)
    is_storage_warm: Any = field(init=False)
    mark_storage_warm: Any = field(init=False)
    mark_address_warm: Any = field(init=False)
    snapshot: Any = field(init=False)
    revert: Any = field(init=False)
    commit: Any = field(init=False)
    coinbase: bytes = field(init=False)
    timestamp: int = field(init=False)
    block_number: int = field(init=False)
    gas_limit: int = field(init=False)
    base_fee: int = field(init=False)
    execution_context: Any = field(init=False)

    def __post_init__(self) -> None:
        for name in _FROM_WORLD:
            setattr(self, name, getattr(self.world, name))
        self.coinbase = self.block.coinbase
        self.timestamp = self.block.timestamp
        self.block_number = self.block.number
        self.gas_limit = self.block.gas_limit
        self.base_fee = self.block.base_fee
        self.execution_context = self.block  # for CHAINID

    def is_address_warm(self, address: bytes) -> bool:
        return self.world.is_address_warm(address) or address in self.precompiles

    def get_transient_storage(self, address: bytes, slot: int) -> bytes:
        return self.world.get_transient_storage(address, slot).to_bytes(32, "big")

    def set_transient_storage(self, address: bytes, slot: int, value: bytes) -> None:
        self.world.set_transient_storage(address, slot, int.from_bytes(value, "big"))

    def delete_storage(self, address: bytes) -> None:
        """CREATE2 asks for it before it creates; `create_account` starts a new generation anyway."""

    def get_ancestor_hash(self, number: int) -> bytes:
        if not 0 <= number < self.block.number or self.block.number - number > 256:
            return b""
        return self.block.ancestor_hash(number)


_FROM_WORLD: Final = (
    "get_storage", "set_storage", "get_balance", "set_balance", "delta_balance", "get_nonce", "increment_nonce", "get_code",
    "set_code", "get_code_hash", "has_code_or_nonce", "account_exists", "account_is_empty", "is_storage_warm",
    "mark_storage_warm", "mark_address_warm", "snapshot", "revert", "commit",
)  # fmt: skip


def _prevrandao(computation: Any) -> None:
    raise NodePanic("PREVRANDAO: the block context has no random value")


def _context_read(computation: Any) -> None:
    computation.consume_gas(_CONTEXT_GAS, "context")
    data = bytes(computation.msg.data)
    if len(data) >= 20:
        computation.output = computation.state.hooks.context_get(data[:20], data[20:])


def _context_write(computation: Any) -> None:
    computation.consume_gas(_CONTEXT_GAS, "context")
    message = computation.msg
    data = bytes(message.data)
    if len(data) < 128:
        return
    key, value = (_string_argument(data, index) for index in (0, 1))
    if not _is_call(message):
        # the node fills in who calls in CALL only, and follows a nil pointer elsewhere
        raise NodePanic("0x66 outside CALL")
    computation.state.hooks.context_set(message.sender, key, value)


def _string_argument(data: bytes, index: int) -> bytes:
    """The string at a position of an ABI-encoded argument list, with the node's unchecked 64-bit sums."""
    offset = int.from_bytes(data[32 * index : 32 * index + 32], "big")
    if offset >= 2**64:
        raise NamedError("invalid offset")
    start = (offset + 32) % 2**64
    if start > len(data):
        raise NamedError("invalid param length")
    if start < offset:
        raise NodePanic("0x66: slice bounds out of range")
    size = int.from_bytes(data[offset:start], "big")
    if size >= 2**64:
        raise NamedError("invalid length")
    end = (start + size) % 2**64
    if end > len(data):
        raise NamedError("invalid param length")
    if end < start:
        raise NodePanic("0x66: slice bounds out of range")
    return data[start:end]


def _user_operation_sender(computation: Any) -> None:
    """Who submitted a user operation; no such wallets here, so always the zero address."""
    computation.consume_gas(_CONTEXT_GAS, "context")
    if computation.msg.data:
        computation.output = bytes(32)


def _bn254_add(computation: Any) -> None:
    """EIP-196 at EIP-1108's price. Input is as if zeros followed it."""
    computation.consume_gas(150, "ECADD")
    a, b = (_g1_argument(computation, start) for start in (0, 64))
    computation.output = _g1_bytes(bn254.add(a, b))


def _bn254_multiply(computation: Any) -> None:
    computation.consume_gas(6000, "ECMUL")
    point = _g1_argument(computation, 0)
    scalar = int.from_bytes(bytes(computation.msg.data[64:96]).ljust(32, b"\0"), "big")
    computation.output = _g1_bytes(bn254.multiply(point, scalar))


def _bn254_pairing(computation: Any) -> None:
    """EIP-197 at EIP-1108's price."""
    data = bytes(computation.msg.data)
    if len(data) % 192:
        raise VMError("Invalid ECPAIRING parameters")
    computation.consume_gas(45_000 + len(data) // 192 * 34_000, "ECPAIRING")
    watch = computation.state.watch
    pairs = []
    for start in range(0, len(data), 192):
        watch()
        # the imaginary part comes first
        words = [int.from_bytes(data[at : at + 32], "big") for at in range(start + 64, start + 192, 32)]
        try:
            twisted = bn254.g2((words[1], words[0]), (words[3], words[2]))
        except bn254.NotOnCurve as error:
            raise VMError(f"Invalid ECPAIRING parameters: {error}") from None
        pairs.append((_g1_argument(computation, start), twisted))
    computation.output = int(bn254.product_is_one(pairs, watch)).to_bytes(32, "big")


def _g1_argument(computation: Any, start: int) -> bn254.G1:
    data = bytes(computation.msg.data[start : start + 64]).ljust(64, b"\0")
    try:
        return bn254.g1(int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big"))
    except bn254.NotOnCurve as error:
        raise VMError(f"Invalid point: {error}") from None


def _g1_bytes(point: bn254.G1) -> bytes:
    x, y = point or (0, 0)
    return x.to_bytes(32, "big") + y.to_bytes(32, "big")


def _blake2_f(computation: Any) -> None:
    """EIP-152."""
    data = bytes(computation.msg.data)
    if len(data) != 213 or data[212] > 1:
        raise VMError("Blake2b input parameter validation failure")
    rounds = int.from_bytes(data[:4], "big")
    computation.consume_gas(rounds, "BLAKE2F")
    h, m, t = struct.unpack("<8Q", data[4:68]), struct.unpack("<16Q", data[68:196]), struct.unpack("<2Q", data[196:212])
    computation.output = compress(rounds, h, m, t, data[212] == 1, computation.state.watch)


_ARITHMETIC: Final[dict[bytes, Callable[[Any], None]]] = {
    (6).to_bytes(20, "big"): _bn254_add,
    (7).to_bytes(20, "big"): _bn254_multiply,
    (8).to_bytes(20, "big"): _bn254_pairing,
    (9).to_bytes(20, "big"): _blake2_f,
}
"""In place of py-evm's, which are plain Python: a block's gas would buy minutes of them."""


def _announcing(kind: type[Any]) -> type[Any]:
    """CALL or CREATE that announces frames which fail before they begin: the node numbers those too."""

    class Announcing(kind):  # type: ignore[misc]
        def __call__(self, computation: Any) -> None:
            begun = len(computation.children)
            super().__call__(computation)
            if len(computation.children) == begun:
                computation.state.hooks.enter(None)

    return Announcing


def _opcodes() -> dict[int, Any]:
    table = dict(CANCUN_OPCODES)
    # before EIP-3860 and EIP-6780; and without py-evm's warning wrapper around SELFDESTRUCT
    for opcode in (opcode_values.CREATE, opcode_values.CREATE2, opcode_values.SELFDESTRUCT):
        table[opcode] = PARIS_OPCODES[opcode]
    for opcode in (opcode_values.CREATE, opcode_values.CREATE2, opcode_values.CALL):
        table[opcode] = _announcing(type(table[opcode]))()
    del table[opcode_values.BLOBHASH], table[opcode_values.BLOBBASEFEE]
    table[opcode_values.PREVRANDAO] = as_opcode(logic_fn=_prevrandao, mnemonic="PREVRANDAO", gas_cost=2)
    return table


def _is_call(message: Any) -> bool:
    """Whether the message came by CALL (or is the top-level one), not STATICCALL, DELEGATECALL, CALLCODE or a creation."""
    return bool(message._code_address is None and message.should_transfer_value and not message.is_create)


def _kind(message: Any) -> str:
    """By which instruction a message came, if not by one that creates."""
    if message.is_static and not message.should_transfer_value and message._code_address is None:
        return "STATICCALL"
    if message._code_address is None:
        return "CALL"
    return "CALLCODE" if message.should_transfer_value or message.sender == message.storage_address else "DELEGATECALL"


def _create_kind(state: Any, message: Any, parent: Any) -> str:
    if parent is None:  # a transaction knows but one kind, and the nonce of a question is not counted
        return "CREATE"
    made = contract_address(message.sender, state.get_nonce(message.sender) - 1)
    return "CREATE" if made == message.storage_address else "CREATE2"


class ArtelaComputation(ShanghaiComputation):
    opcodes = _opcodes()
    _precompiles = MappingProxyType(  # type: ignore[assignment]
        {
            **ShanghaiComputation.get_precompiles(),
            **_ARITHMETIC,
            CONTEXT_READ: _context_read,
            USER_OPERATION_SENDER: _user_operation_sender,
            CONTEXT_WRITE: _context_write,
        }
    )

    def __init__(self, state: Any, message: Any, transaction_context: Any) -> None:
        # not Shanghai's: the coinbase is cold
        super(ShanghaiComputation, self).__init__(state, message, transaction_context)

    @classmethod
    def validate_contract_code(cls, contract_code: bytes) -> None:
        if len(contract_code) > MAX_CODE_SIZE:
            raise NamedError("max code size exceeded")
        if contract_code[:1] == b"\xef":
            raise NamedError("invalid code: must not begin with 0xef")

    @classmethod
    def apply_message(cls, state: Any, message: Any, transaction_context: Any, parent_computation: Any = None) -> Any:
        return cls._traced(cls._apply_message, state, message, transaction_context, parent_computation)

    @classmethod
    def apply_create_message(
        cls, state: Any, message: Any, transaction_context: Any, parent_computation: Any = None
    ) -> Any:
        return cls._traced(cls._apply_create_message, state, message, transaction_context, parent_computation)

    @classmethod
    def _traced(cls, apply: Any, state: Any, message: Any, transaction_context: Any, parent: Any) -> Any:
        tracer: Tracer | None = state.tracer
        if tracer is None:
            return apply(state, message, transaction_context, parent)
        gas = message.gas
        left = None if parent is None else parent._gas_meter.gas_remaining
        payload = message.code if message.is_create else bytes(message.data)
        to = message.storage_address if _kind(message) != "DELEGATECALL" else message.code_address
        if _kind(message) == "CALLCODE":
            to = message.code_address
        sender = message.storage_address if _kind(message) in ("DELEGATECALL", "CALLCODE") else message.sender
        kind = _create_kind(state, message, parent) if message.is_create else _kind(message)
        tracer.call_begins(Traced(kind, sender, to, message.value, gas, payload, left))
        computation = apply(state, message, transaction_context, parent)
        error = None if computation.is_success else error_text(computation._error)
        tracer.call_ends(gas - computation.get_gas_remaining(), bytes(computation.output), error)
        return computation

    @classmethod
    def _apply_message(cls, state: Any, message: Any, transaction_context: Any, parent_computation: Any = None) -> Any:
        """go-ethereum's Call, StaticCall, DelegateCall and CallCode, by the shape of the message."""
        snapshot = state.snapshot()
        is_call = _is_call(message)
        to = message.storage_address
        is_precompile = message.code_address in cls._precompiles
        frame = Frame(message.sender, to, message.value, message.data, message.gas)
        if is_call:
            state.hooks.enter(frame)
        if is_call and not state.account_exists(to):
            if not is_precompile and not message.value:
                return cls(state, message, transaction_context)
            state.world.create_account(to)
        if message.should_transfer_value and message.value:
            state.delta_balance(message.sender, -message.value)
            state.delta_balance(to, message.value)

        hooks: Hooks = state.hooks
        watched = is_call and not is_precompile and bool(message.code)
        if watched:
            failure = hooks.before_code(frame)
            if failure is not None:
                # no RevertToSnapshot here: a transferred value stays where it is, and the gas comes back
                computation: Any = cls(state, message, transaction_context)
                computation._gas_meter.gas_remaining = frame.gas
                computation._error = AspectError(failure, keeps_gas=True)
                return computation
            message.gas = frame.gas

        computation = cls.apply_computation(state, message, transaction_context, parent_computation=parent_computation)

        if watched:
            frame.gas = computation.get_gas_remaining()
            failure = hooks.after_code(
                frame,
                computation.output,
                None if computation.is_success else error_text(computation._error),
            )
            if failure is not None:
                computation._error = AspectError(failure, keeps_gas=False)
            else:
                computation._gas_meter.gas_remaining = frame.gas
        if computation.is_error:
            state.revert(snapshot)
        return computation

    @classmethod
    def _apply_create_message(
        cls, state: Any, message: Any, transaction_context: Any, parent_computation: Any = None
    ) -> Any:
        snapshot = state.snapshot()
        address = message.storage_address
        state.hooks.enter(Frame(message.sender, address, message.value, message.code, message.gas))
        state.world.create_account(address)
        state.world.mark_created(address)
        state.increment_nonce(address)
        if message.value:
            state.delta_balance(message.sender, -message.value)
            state.delta_balance(address, message.value)
        computation = cls.apply_computation(state, message, transaction_context, parent_computation=parent_computation)
        if computation.is_success:
            code = computation.output
            try:
                cls.validate_contract_code(code)
                if len(code) * CREATE_DATA_GAS > computation._gas_meter.gas_remaining:
                    raise NamedError("contract creation code storage out of gas")
                computation.consume_gas(len(code) * CREATE_DATA_GAS, "code")
                state.set_code(address, code)
            except VMError as error:
                computation._error = error
        if computation.is_error:
            state.revert(snapshot)
        return computation

    @classmethod
    def apply_computation(
        cls, state: Any, message: Any, transaction_context: Any, parent_computation: Any = None
    ) -> Any:
        with cls(state, message, transaction_context) as computation:
            precompile = cls._precompiles.get(message.code_address)
            if precompile is not None:
                state.watch()
                precompile(computation)
            elif message.code:
                interpreter.run(computation)
        return computation

    def add_child_computation(self, child_computation: Any) -> None:
        super().add_child_computation(child_computation)
        if isinstance(child_computation._error, AspectError):
            self.return_data = child_computation._error.failure.ret

    def register_account_for_deletion(self, beneficiary: bytes) -> None:
        machine: Any = self.state
        machine.world.mark_destroyed(self.msg.storage_address)


def _transfer_only(computation: Any) -> None:
    """SELFDESTRUCT of EIP-6780 for a contract that is older than the transaction."""
    machine, address = computation.state, computation.msg.storage_address
    beneficiary = computation.stack_pop1_bytes().rjust(20, b"\0")[-20:]
    if not machine.is_address_warm(beneficiary):
        machine.mark_address_warm(beneficiary)
        computation.consume_gas(_COLD_ACCOUNT, "SELFDESTRUCT")
    balance = machine.get_balance(address)
    if balance and machine.account_is_empty(beneficiary):
        computation.consume_gas(_NEW_ACCOUNT, "SELFDESTRUCT")
    machine.delta_balance(address, -balance)
    machine.delta_balance(beneficiary, balance)
    raise Halt("SELFDESTRUCT")


@ensure_no_static
def _selfdestruct(computation: Any) -> None:
    if computation.state.world.is_created(computation.msg.storage_address):
        selfdestruct_eip2929(computation)
    else:
        _transfer_only(computation)


def _cancun_opcodes() -> dict[int, Any]:
    table = dict(CANCUN_OPCODES)
    table[opcode_values.SELFDESTRUCT] = as_opcode(logic_fn=_selfdestruct, mnemonic="SELFDESTRUCT", gas_cost=5000)
    table[opcode_values.PREVRANDAO] = as_opcode(
        logic_fn=lambda computation: computation.stack_push_int(0), mnemonic="PREVRANDAO", gas_cost=2
    )
    table[opcode_values.BLOBHASH] = as_opcode(logic_fn=_no_blob, mnemonic="BLOBHASH", gas_cost=3)
    table[opcode_values.BLOBBASEFEE] = as_opcode(
        logic_fn=lambda computation: computation.stack_push_int(1), mnemonic="BLOBBASEFEE", gas_cost=2
    )
    for opcode in (opcode_values.CREATE, opcode_values.CREATE2):
        table[opcode] = _announcing(_limited(type(table[opcode])))()
    table[opcode_values.CALL] = _announcing(type(table[opcode_values.CALL]))()
    return table


def _limited(kind: type[Any]) -> type[Any]:
    """CREATE that fails for too much init code before it looks at anything else (EIP-3860)."""

    class Limited(kind):  # type: ignore[misc]
        def get_gas_cost(self, data: Any) -> int:
            if data.memory_length > MAX_INIT_CODE_SIZE:
                raise NamedError("max initcode size exceeded")
            return int(super().get_gas_cost(data))

    return Limited


def _no_blob(computation: Any) -> None:
    computation.stack_pop1_int()
    computation.stack_push_int(0)


class EthereumComputation(ArtelaComputation):
    """Cancun as Ethereum has it; the coinbase is warmed by `Evm`."""

    opcodes = _cancun_opcodes()
    _precompiles = MappingProxyType({**CANCUN_PRECOMPILES, **_ARITHMETIC})


PRECOMPILES: Final = frozenset(ArtelaComputation._precompiles) | frozenset(EthereumComputation._precompiles)

_COMPUTATIONS: Final[dict[ForkRules, type[ArtelaComputation]]] = {
    ForkRules.ARTELA: ArtelaComputation,
    ForkRules.CANCUN: EthereumComputation,
}


def error_text(error: Any) -> str:
    """What go-ethereum calls this error."""
    if isinstance(error, AspectError | NamedError | InsufficientStack | FullStack):
        return str(error)
    if isinstance(error, interpreter.UndefinedOpcode):
        return f"invalid opcode: {_opcode_name(error.opcode)}"
    for kind, text in _ERROR_TEXTS:
        if isinstance(error, kind):
            return text
    return str(error)


def _opcode_name(opcode: int) -> str:
    return _NAMED_INVALID.get(opcode, f"opcode {opcode:#x} not defined")


_NAMED_INVALID: Final = {0x49: "BLOBHASH", 0x4A: "BLOBBASEFEE", 0xFE: "INVALID"}
"""Opcodes that have a name but no operation."""

_ERROR_TEXTS: Final = (
    (Revert, REVERTED),
    (interpreter.GasOverflow, "gas uint64 overflow"),
    (OutOfGas, "out of gas"),
    (InvalidJumpDestination, "invalid jump destination"),
    (WriteProtection, "write protection"),
    (OutOfBoundsRead, "return data out of bounds"),
)


class Evm:
    """Executes messages of one transaction on a world."""

    def __init__(
        self,
        world: World,
        block: BlockContext,
        hooks: Hooks,
        *,
        origin: bytes,
        gas_price: int,
        rules: ForkRules = ForkRules.ARTELA,
        watch: Watch = no_watch,
        tracer: Tracer | None = None,
    ) -> None:
        self._computation = _COMPUTATIONS[rules]
        self._machine = _Machine(world, block, hooks, self._computation._precompiles, watch, tracer)
        if rules is ForkRules.CANCUN:  # EIP-3651
            world.mark_address_warm(block.coinbase)
        self._context = _TransactionContext(gas_price=gas_price, origin=cast(Address, origin))

    def call(self, *, sender: bytes, to: bytes, value: int, data: bytes, gas: int) -> Execution:
        """The top-level CALL of a transaction, or a CALL that the chain itself makes."""
        world = self._machine.world
        if value and world.get_balance(sender) < value:
            return Execution(b"", gas, "insufficient balance for transfer")
        message = _message(gas=gas, to=to, sender=sender, value=value, data=data, code=world.get_code(to))
        return self._outcome(self._computation.apply_message(self._machine, message, self._context))

    def static_call(self, *, sender: bytes, to: bytes, data: bytes, gas: int) -> Execution:
        """A STATICCALL out of nowhere: what an Aspect may do."""
        code = self._machine.world.get_code(to)
        message = _message(
            gas=gas, to=to, sender=sender, value=0, data=data, code=code, should_transfer_value=False, is_static=True
        )
        return self._outcome(self._computation.apply_message(self._machine, message, self._context))

    def create(self, *, sender: bytes, nonce: int, value: int, code: bytes, gas: int) -> Execution:
        """The creation that a transaction without `to` makes; `nonce` is the transaction's."""
        world = self._machine.world
        address = generate_contract_address(sender, nonce)  # type: ignore[arg-type]
        if value and world.get_balance(sender) < value:
            return Execution(b"", gas, "insufficient balance for transfer", contract=address)
        world.mark_address_warm(address)
        if world.has_code_or_nonce(address):
            return Execution(b"", 0, "contract address collision", contract=address)
        message = _message(
            gas=gas,
            to=evm_constants.CREATE_CONTRACT_ADDRESS,
            sender=sender,
            value=value,
            data=b"",
            code=code,
            create_address=address,
        )
        return self._outcome(self._computation.apply_create_message(self._machine, message, self._context), address)

    def _outcome(self, computation: Any, contract: bytes | None = None) -> Execution:
        error = computation._error
        return Execution(
            output=error.failure.ret if isinstance(error, AspectError) else computation.output,
            gas_left=computation.get_gas_remaining(),
            error=None if error is None else error_text(error),
            logs=tuple(
                Log(address, tuple(topic.to_bytes(32, "big") for topic in topics), data)
                for address, topics, data in computation.get_log_entries()
            ),
            refund=computation.get_gas_refund(),
            contract=contract,
        )


def contract_address(sender: bytes, nonce: int) -> bytes:
    """Where a creation by `sender` with this nonce lands."""
    return bytes(generate_contract_address(sender, nonce))  # type: ignore[arg-type]


def revert_reason(output: bytes) -> str | None:
    """The text of an ABI-encoded `Error(string)`, if that is what it is."""
    if output[:4] != b"\x08\xc3\x79\xa0" or len(output) < 68:
        return None
    body = output[4:]
    offset = int.from_bytes(body[:32], "big")
    if offset + 32 > len(body):
        return None
    size = int.from_bytes(body[offset : offset + 32], "big")
    if offset + 32 + size > len(body):
        return None
    return body[offset + 32 : offset + 32 + size].decode("utf-8", "replace")
