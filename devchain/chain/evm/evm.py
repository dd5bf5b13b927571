"""A transaction's messages, executed on a world."""

from __future__ import annotations

from typing import Any, cast

from eth import constants as evm_constants
from eth.vm.message import Message
from eth_typing import Address

from devchain.chain.evm.computation import COMPUTATIONS
from devchain.chain.evm.errors import AspectError, error_text
from devchain.chain.evm.hooks import Hooks
from devchain.chain.evm.machine import Machine, TransactionContext
from devchain.chain.evm.messages import contract_address
from devchain.chain.evm.values import BlockContext, EventLog, Execution
from devchain.chain.state import World
from devchain.chain.tracing import Tracer
from devchain.config import ForkRules
from devchain.watch import Watch, no_watch

_message: Any = Message  # py-evm marks addresses with a type of their own


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
        self._computation = COMPUTATIONS[rules]
        self._machine = Machine(world, block, hooks, self._computation._precompiles, watch, tracer)
        if rules is ForkRules.CANCUN:  # EIP-3651
            world.mark_address_warm(block.coinbase)
        self._context = TransactionContext(gas_price=gas_price, origin=cast(Address, origin))

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
        address = contract_address(sender, nonce)
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
                EventLog(address, tuple(topic.to_bytes(32, "big") for topic in topics), data)
                for address, topics, data in computation.get_log_entries()
            ),
            refund=computation.get_gas_refund(),
            contract=contract,
        )
