"""A signed transaction applied to a world: pay, count the nonce, execute, refund. When a block is made, and again for a trace."""

from __future__ import annotations

from typing import Final

from devchain.aspect.environment import NodePanic, TransactionFacts
from devchain.aspect.runtime import AspectRuntime
from devchain.chain.blocks import GasPart
from devchain.chain.evm import contract_address
from devchain.chain.execution import BlockSoFar, ChainMessage, ExecutionResult, execute
from devchain.chain.state import World
from devchain.chain.tracing import Tracer
from devchain.chain.transactions import SignedTransaction
from devchain.config import ChainConfig
from devchain.watch import TimeUp, Watch

OUT_OF_TIME: Final = "execution took too long"
"""How the error of a transaction begins that this devchain, not a node, has ended."""


def run_transaction(
    world: World,
    runtime: AspectRuntime,
    transaction: SignedTransaction,
    block: BlockSoFar,
    index: int,
    config: ChainConfig,
    watch: Watch,
    tracer: Tracer | None = None,
) -> ExecutionResult | None:
    """None: it cannot even begin any more, and leaves no trace.

    Raises NodePanic with the fee paid and the nonce used, TimeUp with nothing done.
    """
    if not _begin(world, transaction, block):
        return None
    price = transaction.price(block.context.base_fee)
    paid = world.snapshot()
    message = ChainMessage(
        facts=_facts(transaction, index, config.chain_id),
        nonce=transaction.nonce,
        gas=transaction.gas,
        price=price,
        is_call=False,
    )
    try:
        outcome = execute(world, runtime, block, message, config, watch, tracer)
    except NodePanic:
        world.rollback_transaction(paid)
        world.end_transaction()
        raise
    except TimeUp:
        world.rollback_transaction()
        world.end_transaction()
        raise
    if outcome.error is not None:
        world.rollback_transaction(paid)
    world.delta_balance(transaction.sender, (transaction.gas - outcome.gas_used) * price)
    world.end_transaction()
    return outcome


def run_out_of_time(
    world: World, transaction: SignedTransaction, block: BlockSoFar, config: ChainConfig
) -> ExecutionResult | None:
    """What becomes of a transaction that took too long: as if it had run out of gas. The fee of the whole limit is paid."""
    if not _begin(world, transaction, block):
        return None
    world.end_transaction()
    return ExecutionResult(
        gas_used=transaction.gas,
        gas_before_refund=transaction.gas,
        error=f"{OUT_OF_TIME}: over {config.transaction_seconds:g} s (a limit of the devchain; a node would go on)",
        output=b"",
        logs=(),
        contract_address=contract_address(transaction.sender, transaction.nonce) if transaction.to is None else None,
        parts=(GasPart(part="time", gas=transaction.gas),),
        runs=(),
    )


def _begin(world: World, transaction: SignedTransaction, block: BlockSoFar) -> bool:
    """Take the fee and count the nonce; False if neither can be done."""
    world.begin_transaction()
    balance = world.get_balance(transaction.sender)
    if balance < transaction.cost or world.get_nonce(transaction.sender) != transaction.nonce:
        return False
    world.set_balance(transaction.sender, balance - transaction.gas * transaction.price(block.context.base_fee))
    world.increment_nonce(transaction.sender)
    return True


def _facts(transaction: SignedTransaction, index: int, chain_id: int) -> TransactionFacts:
    """A signed transaction as Aspects see it."""
    return TransactionFacts(
        type=transaction.type,
        chain_id=chain_id,
        nonce=transaction.nonce,
        gas=transaction.gas,
        gas_price=transaction.fee_cap,
        gas_tip_cap=transaction.tip_cap,
        gas_fee_cap=transaction.fee_cap,
        to=transaction.to,
        value=transaction.value,
        data=transaction.data,
        sender=transaction.sender,
        index=index,
        hash=transaction.hash,
        raw=transaction.raw,
        unsigned_hash=transaction.unsigned_hash,
        unsigned_raw=transaction.unsigned_raw[1:] if transaction.type else transaction.unsigned_raw,
        v=transaction.v,
        r=transaction.r,
        s=transaction.s,
        access_list=transaction.access_list,
    )
