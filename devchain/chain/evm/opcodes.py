"""The instruction sets: Artela's, and Cancun as Ethereum has it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from eth.exceptions import Halt
from eth.vm import opcode_values
from eth.vm.forks.berlin.logic import selfdestruct_eip2929
from eth.vm.forks.byzantium.opcodes import ensure_no_static
from eth.vm.forks.cancun.opcodes import CANCUN_OPCODES
from eth.vm.forks.paris.opcodes import PARIS_OPCODES
from eth.vm.opcode import as_opcode

from devchain.aspect.environment import NodePanic
from devchain.chain.evm.errors import NamedError

MAX_INIT_CODE_SIZE: Final = 49_152
"""EIP-3860's, where that is on."""
_COLD_ACCOUNT: Final = 2600
_NEW_ACCOUNT: Final = 25_000
MNEMONICS: Final[Mapping[int, str]] = MappingProxyType(
    {op: getattr(code, "mnemonic", "") for op, code in CANCUN_OPCODES.items()} | {0x44: "DIFFICULTY"}
)
"""Names of instructions, as go-ethereum's traces write them."""


def _prevrandao(computation: Any) -> None:
    raise NodePanic("PREVRANDAO: the block context has no random value")


def _announcing(kind: type[Any]) -> type[Any]:
    """CALL or CREATE that announces frames which fail before they begin: the node numbers those too."""

    class Announcing(kind):  # type: ignore[misc]
        def __call__(self, computation: Any) -> None:
            begun = len(computation.children)
            super().__call__(computation)
            if len(computation.children) == begun:
                computation.state.hooks.enter(None)

    return Announcing


def artela_opcodes() -> dict[int, Any]:
    table = dict(CANCUN_OPCODES)
    # before EIP-3860 and EIP-6780; and without py-evm's warning wrapper around SELFDESTRUCT
    for opcode in (opcode_values.CREATE, opcode_values.CREATE2, opcode_values.SELFDESTRUCT):
        table[opcode] = PARIS_OPCODES[opcode]
    for opcode in (opcode_values.CREATE, opcode_values.CREATE2, opcode_values.CALL):
        table[opcode] = _announcing(type(table[opcode]))()
    del table[opcode_values.BLOBHASH], table[opcode_values.BLOBBASEFEE]
    table[opcode_values.PREVRANDAO] = as_opcode(logic_fn=_prevrandao, mnemonic="PREVRANDAO", gas_cost=2)
    return table


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


def cancun_opcodes() -> dict[int, Any]:
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
