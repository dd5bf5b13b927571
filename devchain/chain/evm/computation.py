"""Calls and creations as go-ethereum makes them, with what Artela does around them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

from eth.exceptions import VMError
from eth.vm.forks.cancun.computation import CANCUN_PRECOMPILES
from eth.vm.forks.shanghai.computation import ShanghaiComputation

from devchain.chain import interpreter
from devchain.chain.evm.arithmetic import ARITHMETIC
from devchain.chain.evm.context import CONTEXT
from devchain.chain.evm.errors import AspectError, NamedError, error_text
from devchain.chain.evm.hooks import Frame, Hooks
from devchain.chain.evm.messages import call_kind, create_kind, is_call
from devchain.chain.evm.opcodes import artela_opcodes, cancun_opcodes
from devchain.chain.tracing import Traced, Tracer
from devchain.config import ForkRules

MAX_CODE_SIZE: Final = 24_576
CREATE_DATA_GAS: Final = 200


class ArtelaComputation(ShanghaiComputation):
    opcodes = artela_opcodes()
    _precompiles = MappingProxyType(  # type: ignore[assignment]
        {
            **ShanghaiComputation.get_precompiles(),
            **ARITHMETIC,
            **CONTEXT,
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
        to = message.storage_address if call_kind(message) != "DELEGATECALL" else message.code_address
        if call_kind(message) == "CALLCODE":
            to = message.code_address
        sender = message.storage_address if call_kind(message) in ("DELEGATECALL", "CALLCODE") else message.sender
        kind = create_kind(state, message, parent) if message.is_create else call_kind(message)
        tracer.call_begins(Traced(kind, sender, to, message.value, gas, payload, left))
        computation = apply(state, message, transaction_context, parent)
        error = None if computation.is_success else error_text(computation._error)
        tracer.call_ends(gas - computation.get_gas_remaining(), bytes(computation.output), error)
        return computation

    @classmethod
    def _apply_message(cls, state: Any, message: Any, transaction_context: Any, parent_computation: Any = None) -> Any:
        """go-ethereum's Call, StaticCall, DelegateCall and CallCode, by the shape of the message."""
        snapshot = state.snapshot()
        by_call = is_call(message)
        to = message.storage_address
        is_precompile = message.code_address in cls._precompiles
        frame = Frame(message.sender, to, message.value, message.data, message.gas)
        if by_call:
            state.hooks.enter(frame)
        if by_call and not state.account_exists(to):
            if not is_precompile and not message.value:
                return cls(state, message, transaction_context)
            state.world.create_account(to)
        if message.should_transfer_value and message.value:
            state.delta_balance(message.sender, -message.value)
            state.delta_balance(to, message.value)

        hooks: Hooks = state.hooks
        watched = by_call and not is_precompile and bool(message.code)
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


class EthereumComputation(ArtelaComputation):
    """Cancun as Ethereum has it; the coinbase is warmed by `Evm`."""

    opcodes = cancun_opcodes()
    _precompiles = MappingProxyType({**CANCUN_PRECOMPILES, **ARITHMETIC})


PRECOMPILES: Final = frozenset(ArtelaComputation._precompiles) | frozenset(EthereumComputation._precompiles)

COMPUTATIONS: Final[dict[ForkRules, type[ArtelaComputation]]] = {
    ForkRules.ARTELA: ArtelaComputation,
    ForkRules.CANCUN: EthereumComputation,
}
