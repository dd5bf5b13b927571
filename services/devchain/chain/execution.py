"""One message through the chain's rules: intrinsic gas, EVM, refunds, the least that is charged."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from services.devchain.chain.blocks import GasPart
from services.devchain.chain.evm import BlockContext, Evm, Execution, Log, NoHooks
from services.devchain.chain.state import World
from services.devchain.chain.transactions import AccessList, Transaction, intrinsic_gas


class IntrinsicGasTooLow(Exception):
    """The gas limit does not even cover what a transaction costs before it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainMessage:
    """What is executed: a transaction, or a question in its shape."""

    sender: bytes
    to: bytes | None
    value: int
    data: bytes
    gas: int
    price: int
    nonce: int
    access_list: AccessList = ()
    transaction: Transaction | None = None
    """None: a question, nothing is kept."""
    extra_intrinsic: int = 0
    """Gas that the node adds to the intrinsic gas of a question with data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a message came to."""

    gas_used: int
    """What is charged."""
    gas_spent: int
    """What was used before the floor by the limit."""
    error: str | None
    reverted: bool
    output: bytes
    logs: tuple[Log, ...]
    contract_address: bytes | None
    parts: tuple[GasPart, ...]


def execute(world: World, block: BlockContext, message: ChainMessage, min_gas_multiplier: Fraction) -> Outcome:
    """Run a message on the world. Raises IntrinsicGasTooLow, NodePanic.

    The caller has begun a transaction on the world and decides, by `error`, whether to roll it back.
    """
    intrinsic = intrinsic_gas(message.data, creates=message.to is None, access_list=message.access_list)
    intrinsic += message.extra_intrinsic
    if message.gas < intrinsic:
        raise IntrinsicGasTooLow
    _warm_up(world, message)
    gas = message.gas - intrinsic
    evm = Evm(world, block, NoHooks(), origin=message.sender, gas_price=message.price)
    if message.to is None:
        done = evm.create(sender=message.sender, nonce=message.nonce, value=message.value, code=message.data, gas=gas)
    else:
        done = evm.call(sender=message.sender, to=message.to, value=message.value, data=message.data, gas=gas)
    return _settle(message, intrinsic, done, min_gas_multiplier)


def _warm_up(world: World, message: ChainMessage) -> None:
    world.mark_address_warm(message.sender)
    if message.to is not None:
        world.mark_address_warm(message.to)
    for address, keys in message.access_list:
        world.mark_address_warm(address)
        for key in keys:
            world.mark_storage_warm(address, int.from_bytes(key, "big"))


def _settle(message: ChainMessage, intrinsic: int, done: Execution, min_gas_multiplier: Fraction) -> Outcome:
    used = message.gas - done.gas_left
    refund = min(done.refund, used // 5)
    spent = used - refund
    charged = max(spent, int(message.gas * min_gas_multiplier))
    parts = [GasPart(part="intrinsic", gas=intrinsic), GasPart(part="evm", gas=used - intrinsic)]
    if refund:
        parts.append(GasPart(part="refund", gas=-refund))
    if charged > spent:
        parts.append(GasPart(part="floor", gas=charged - spent))
    return Outcome(
        gas_used=charged,
        gas_spent=spent,
        error=done.error,
        reverted=done.reverted,
        output=done.output,
        logs=done.logs,
        contract_address=done.contract if message.to is None else None,
        parts=tuple(parts),
    )
