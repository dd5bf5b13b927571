"""One message through the chain's rules: intrinsic gas, join points, EVM, refunds, the least that is charged."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from devchain.aspect.environment import BlockFacts, ReceiptFacts, TransactionFacts
from devchain.aspect.runtime import AspectRuntime
from devchain.chain.blocks import EMPTY_BLOOM, GasPart, bloom_of
from devchain.chain.evm import BlockContext, EventLog, Evm, contract_address
from devchain.chain.join_points import AspectRun, TransactionAspects, log_facts
from devchain.chain.state import World
from devchain.chain.system_contract import SYSTEM_CONTRACT, SystemContract, is_deploy
from devchain.chain.tracing import Tracer
from devchain.chain.transactions import intrinsic_gas
from devchain.config import ChainConfig
from devchain.libraries import with_evm_recursion
from devchain.watch import Watch


class IntrinsicGasTooLow(Exception):
    """The gas limit does not even cover what a transaction costs before it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainMessage:
    """What is executed: a transaction, or a question in its shape."""

    facts: TransactionFacts
    """As Aspects see it."""
    nonce: int
    gas: int
    """The limit; a question may run with less than its facts show."""
    price: int
    is_call: bool
    """A question: nothing is kept."""
    extra_intrinsic: int = 0
    """Gas that the node adds to the intrinsic gas of a question with data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSoFar:
    """The block that a message runs in, up to that message."""

    context: BlockContext
    facts: BlockFacts
    gas_used: int = 0
    logs: tuple[EventLog, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionResult:
    """What a message came to."""

    gas_used: int
    """What is charged."""
    gas_before_refund: int
    """What was used, before the refund and the floor by the limit."""
    error: str | None
    output: bytes
    logs: tuple[EventLog, ...]
    contract_address: bytes | None
    parts: tuple[GasPart, ...]
    runs: tuple[AspectRun, ...]
    """Every Aspect call, in order."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What ran, before refunds and the floor."""

    output: bytes
    gas_left: int
    error: str | None
    logs: tuple[EventLog, ...] = ()
    refund: int = 0


@with_evm_recursion
def execute(
    world: World,
    runtime: AspectRuntime,
    block: BlockSoFar,
    message: ChainMessage,
    config: ChainConfig,
    watch: Watch,
    tracer: Tracer | None = None,
) -> ExecutionResult:
    """Run a message on the world. Raises IntrinsicGasTooLow, NodePanic, TimeUp.

    The caller has begun a transaction on the world and decides, by `error`, whether to roll it back.
    """
    facts = message.facts
    intrinsic = intrinsic_gas(
        facts.data, creates=facts.to is None, access_list=facts.access_list, rules=config.fork_rules
    )
    intrinsic += message.extra_intrinsic
    if message.gas < intrinsic:
        raise IntrinsicGasTooLow
    _warm_up(world, facts)

    def make_evm(hooks: TransactionAspects) -> Evm:
        price, rules = message.price, config.fork_rules
        return Evm(
            world, block.context, hooks, origin=facts.sender, gas_price=price, rules=rules, watch=watch, tracer=tracer
        )

    aspects = TransactionAspects(
        world,
        runtime,
        block.context.chain_id,
        block.facts,
        facts,
        message.gas,
        message.is_call,
        make_evm,
        watch,
        tracer,
    )
    gas = message.gas - intrinsic
    if facts.to == SYSTEM_CONTRACT:
        result = SystemContract(aspects, sender=facts.sender, nonce=message.nonce).call(facts.data, gas)
        done = _Done(result.output, result.gas_left, result.error)
    elif facts.to is None:
        made = aspects.evm.create(sender=facts.sender, nonce=message.nonce, value=facts.value, code=facts.data, gas=gas)
        done = _Done(made.output, made.gas_left, made.error, made.logs, made.refund)
    else:
        done = _call(aspects, block, message, facts.to, gas)
    return _settle(message, intrinsic, done, aspects, config.min_gas_multiplier)


def _call(aspects: TransactionAspects, block: BlockSoFar, message: ChainMessage, to: bytes, gas: int) -> _Done:
    """preTxExecute, the top-level CALL, postTxExecute."""
    facts = message.facts
    before = aspects.before_transaction(gas)
    if before.failure is not None:
        # the reason is lost on the node: only the text of the error remains
        return _Done(b"", before.gas, before.failure.error)
    done = aspects.evm.call(sender=facts.sender, to=to, value=facts.value, data=facts.data, gas=before.gas)
    result = _Done(done.output, done.gas_left, done.error, done.logs, done.refund)
    if done.error is not None:
        return result
    used = message.gas - done.gas_left

    def receipt() -> ReceiptFacts:
        return ReceiptFacts(
            status=1,
            gas_used=used,
            cumulative_gas_used=min(block.gas_used + used, block.context.gas_limit),
            logs=log_facts(done.logs, len(block.logs)),
            # the node accumulates the block's bloom, and shows none where the transaction itself logs nothing
            bloom=bloom_of((*block.logs, *done.logs)) if done.logs else EMPTY_BLOOM,
        )

    after = aspects.after_transaction(done.gas_left, receipt)
    if after.failure is None:
        return _Done(done.output, after.gas, None, done.logs, done.refund)
    # state is dropped, but logs and refund counter live outside of it and stay
    return _Done(after.failure.ret, after.gas, after.failure.error, done.logs, done.refund)


def _warm_up(world: World, facts: TransactionFacts) -> None:
    world.mark_address_warm(facts.sender)
    if facts.to is not None:
        world.mark_address_warm(facts.to)
    for address, keys in facts.access_list:
        world.mark_address_warm(address)
        for key in keys:
            world.mark_storage_warm(address, int.from_bytes(key, "big"))


def _settle(
    message: ChainMessage, intrinsic: int, done: _Done, aspects: TransactionAspects, min_gas_multiplier: Fraction
) -> ExecutionResult:
    facts = message.facts
    used = message.gas - done.gas_left
    refund = min(done.refund, used // 5)
    spent = used - refund
    charged = max(spent, int(message.gas * min_gas_multiplier))
    in_aspects = aspects.gas_parts()
    rest = used - intrinsic - sum(part.gas for part in in_aspects)
    parts = [
        GasPart(part="intrinsic", gas=intrinsic),
        *in_aspects,
        GasPart(part="management" if facts.to == SYSTEM_CONTRACT else "evm", gas=rest),
    ]
    if refund:
        parts.append(GasPart(part="refund", gas=-refund))
    if charged > spent:
        parts.append(GasPart(part="floor", gas=charged - spent))
    creates = facts.to is None or is_deploy(facts.to, facts.data)
    return ExecutionResult(
        gas_used=charged,
        gas_before_refund=used,
        error=done.error,
        output=done.output,
        logs=done.logs,
        contract_address=contract_address(facts.sender, message.nonce) if creates else None,
        parts=tuple(parts),
        runs=tuple(aspects.runs),
    )
