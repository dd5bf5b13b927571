"""What py-evm sees of the world and the block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from eth.vm.transaction_context import BaseTransactionContext

from devchain.chain.evm.hooks import Hooks
from devchain.chain.evm.values import BlockContext
from devchain.chain.state import World
from devchain.chain.tracing import Tracer
from devchain.watch import Watch


class TransactionContext(BaseTransactionContext):
    pass


@dataclass(slots=True)
class Machine:
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
