"""What can be asked of a chain without changing it: calls, estimates, access lists. Apart from the thread that makes blocks.

Committed state is versioned by block, so a question reads it while the next block is being made, on whichever thread asks: each has a
world and a runtime of its own. It gives way to a block in the making and ends after five seconds, as on the node.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, cast

from eth_hash.auto import keccak

from devchain.aspect.environment import BlockFacts, NodePanic, TransactionFacts
from devchain.aspect.runtime import AspectRuntime, CompiledModules
from devchain.chain import blocks, rlp
from devchain.chain.apply import OUT_OF_TIME, run_out_of_time, run_transaction
from devchain.chain.blocks import Header
from devchain.chain.evm import PRECOMPILES, REVERTED, BlockContext, EventLog
from devchain.chain.execution import BlockSoFar, ChainMessage, ExecutionResult, IntrinsicGasTooLow, execute
from devchain.chain.state import World
from devchain.chain.store import ChainStore
from devchain.chain.tracing import Tracer
from devchain.chain.transactions import AccessList
from devchain.config import ChainConfig, NodeKind
from devchain.watch import Precedence, TimeUp, Watch

QUESTION_GAS_CAP: Final = 25_000_000
"""Most gas that `eth_call` and `eth_estimateGas` give; the node's default."""
LEAST_GAS: Final = 21_000
QUESTION_EXTRA_INTRINSIC: Final = 150_000
"""What the node adds to the intrinsic gas of a question with data: it takes any data for a validation envelope."""


QUESTION_SECONDS: Final = 5.0
"""The node's `evm-timeout`, for a call as for a whole estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """What `eth_call` and `eth_estimateGas` ask. None: as the node fills it."""

    sender: bytes = bytes(20)
    to: bytes | None = None
    value: int = 0
    data: bytes = b""
    gas: int | None = None
    gas_price: int | None = None
    """Excludes the two caps; without any of them the price is zero."""
    fee_cap: int | None = None
    tip_cap: int | None = None
    nonce: int | None = None
    """What Aspects see when gas is estimated; a call shows them the account's."""
    chain_id: int | None = None
    access_list: AccessList | None = None

    @property
    def type(self) -> int:
        """The transaction type that Aspects see."""
        if self.fee_cap is not None:
            return 2
        return 0 if self.access_list is None else 1

    def price(self, base_fee: int) -> int:
        """What the EVM sees as gas price."""
        if self.gas_price is not None:
            return self.gas_price
        cap, tip = self.fee_cap or 0, self.tip_cap or 0
        return min(tip + base_fee, cap) if cap or tip else 0


class CallFailed(Exception):
    """A question failed. On a revert `output` is the packed reason."""

    def __init__(self, message: str, output: bytes = b"") -> None:
        super().__init__(message)
        self.output = output

    @property
    def reverted(self) -> bool:
        return str(self) == REVERTED


class CannotTrace(Exception):
    """The transaction cannot be executed again; the message says why."""


class TooLong(CallFailed):
    """It was not done after five seconds."""


_TOO_LONG: Final = "execution aborted (timeout = 5s)"
"""go-ethereum's words; no recording shows the node's."""


@dataclass(slots=True)
class _Desk:
    """What one thread works with."""

    runtime: AspectRuntime
    world: World | None = None
    block_hash: bytes = b""
    """Of the block that the world stands at."""


class Questions:
    """Answers for any thread."""

    def __init__(
        self, config: ChainConfig, store: ChainStore, modules: CompiledModules, precedence: Precedence, seconds: float
    ) -> None:
        self._config = config
        self._store = store
        self._modules = modules
        self._precedence = precedence
        self._seconds = seconds
        self._own = threading.local()

    @property
    def runtime(self) -> AspectRuntime:
        """This thread's."""
        return self._desk().runtime

    def watch(self) -> Watch:
        """For one question that begins now."""
        return self._precedence.second(time.monotonic() + self._seconds)

    def _desk(self) -> _Desk:
        desk: _Desk | None = getattr(self._own, "desk", None)
        if desk is None:
            desk = self._own.desk = _Desk(AspectRuntime(self._modules))
        return desk

    def _world(self, header: Header) -> World:
        desk = self._desk()
        if desk.world is None or desk.block_hash != header.hash:
            codes = desk.world
            desk.world, desk.block_hash = World(self._store.at(header.number)), header.hash
            if codes is not None:
                desk.world.know_codes(codes)
        return desk.world

    @contextmanager
    def borrowed_world(self, header: Header) -> Iterator[World]:
        """This thread's world as of a block. Whatever is done to it is undone."""
        world = self._world(header)
        world.begin_transaction()
        try:
            yield world
        finally:
            world.rollback_transaction()
            world.begin_transaction()
            world.forget_new_codes()
            world.trim()

    def ask(
        self,
        question: CallRequest,
        number: int,
        gas: int | None = None,
        watch: Watch | None = None,
        tracer: Tracer | None = None,
        after: Callable[[World], None] | None = None,
    ) -> ExecutionResult:
        """Run a question on the state after block `number`; nothing is kept. With `gas` it is one try of an estimate.

        after: sees the world before everything is undone.


        Raises IntrinsicGasTooLow, TimeUp, CallFailed for a block that is not there, and NodePanic where the node's own call would crash.
        """
        header = self._store.header(number)
        if header is None:
            raise CallFailed("header not found")  # reverted away since the caller looked
        context = block_context(
            self._config, self._store, header.number, header.timestamp, header.base_fee, header.parent_hash
        )
        nonce = self._world(header).get_nonce(question.sender)
        # the node fills the nonce in before it shows a call to Aspects, but after it shows them an estimate
        shown = nonce if gas is None else question.nonce or 0
        if gas is None:
            gas = QUESTION_GAS_CAP if question.gas is None else min(question.gas, QUESTION_GAS_CAP)
        block = BlockSoFar(
            context=context,
            # a question sees no consensus parameters
            facts=replace(
                block_facts(self._config, header.number, header.timestamp, header.parent_hash, header.miner),
                max_gas=None,
                max_bytes=None,
            ),
        )
        message = ChainMessage(
            facts=_question_facts(question, shown, self._config.chain_id),
            nonce=nonce,
            gas=gas,
            price=question.price(header.base_fee),
            is_call=True,
            extra_intrinsic=QUESTION_EXTRA_INTRINSIC if question.data else 0,
        )
        with self.borrowed_world(header) as world:
            outcome = execute(world, self.runtime, block, message, self._config, watch or self.watch(), tracer)
            if after is not None:
                after(world)
            return outcome

    def call(self, question: CallRequest, number: int) -> bytes:
        """`eth_call`. Raises CallFailed; a node panic answers empty, as the node's RPC does."""
        try:
            outcome = self.ask(question, number)
        except IntrinsicGasTooLow:
            raise CallFailed("apply message: intrinsic gas too low") from None
        except NodePanic:
            return b""
        except TimeUp:
            raise TooLong(_TOO_LONG) from None
        if outcome.error is not None:
            raise CallFailed(outcome.error, outcome.output)
        return outcome.output

    def estimate(self, question: CallRequest, number: int) -> int:
        """`eth_estimateGas`: the smallest gas limit with which the question succeeds. Raises CallFailed."""
        watch = self.watch()
        high = self._config.block_gas_limit
        if question.gas is not None and question.gas >= LEAST_GAS:
            high = min(question.gas, QUESTION_GAS_CAP)
        spent = self._try(question, number, high, watch)
        # almost always what it used is what it needs: two tries settle that, and only a program that looks at its gas is searched
        if spent < high and self._succeeds(question, number, spent, watch):
            if not self._succeeds(question, number, spent - 1, watch):
                return spent
            high = spent - 1
        low = LEAST_GAS - 1
        while low + 1 < high:
            middle = (low + high) // 2
            if self._succeeds(question, number, middle, watch):
                high = middle
            else:
                low = middle
        return high

    def _succeeds(self, question: CallRequest, number: int, gas: int, watch: Watch) -> bool:
        try:
            self._try(question, number, gas, watch)
        except TooLong:
            raise
        except CallFailed:
            return False
        return True

    def _try(self, question: CallRequest, number: int, gas: int, watch: Watch) -> int:
        """Gas used before refunds at this limit. Raises CallFailed in the words of an estimate."""
        try:
            outcome = self.ask(question, number, gas, watch)
        except IntrinsicGasTooLow:
            raise CallFailed(f"gas required exceeds allowance ({gas})") from None
        except NodePanic as panic:
            raise CallFailed(str(panic)) from None
        except TimeUp:
            raise TooLong(_TOO_LONG) from None
        if outcome.error == "out of gas":
            raise CallFailed(f"gas required exceeds allowance ({gas})")
        if outcome.error is not None:
            raise CallFailed(outcome.error, outcome.output)
        return outcome.gas_before_refund

    def access_list(self, question: CallRequest, number: int) -> tuple[AccessList, int, str | None]:
        """`eth_createAccessList`: (what it touches beside sender, receiver and precompiles; gas used with that list; error).

        A list changes gas, and gas may change what is touched: asked again until the list stays. Raises CallFailed.
        """
        watch = self.watch()
        known = question.access_list or ()
        found: list[AccessList] = []

        def keep(world: World) -> None:
            found.append(world.warm())

        try:
            while True:
                asked = replace(question, access_list=known)
                outcome = self.ask(asked, number, watch=watch, after=keep)
                excluded = {question.sender, question.to or outcome.contract_address, *PRECOMPILES}
                touched = tuple((a, keys) for a, keys in found[-1] if keys or a not in excluded)
                if touched == known:
                    return touched, outcome.gas_before_refund, outcome.error
                known = tuple(
                    (a, tuple(sorted({*dict(known).get(a, ()), *dict(touched).get(a, ())})))
                    for a in sorted({a for a, _ in (*known, *touched)})
                )
                if set(known) == set(asked.access_list or ()):
                    return known, outcome.gas_before_refund, outcome.error
        except IntrinsicGasTooLow:
            raise CallFailed("apply message: intrinsic gas too low") from None
        except NodePanic as panic:
            raise CallFailed(str(panic)) from None
        except TimeUp:
            raise TooLong(_TOO_LONG) from None

    def trace(self, number: int, index: int, tracer: Tracer) -> ExecutionResult:
        """Execute transaction `index` of a block again. Raises CannotTrace, TimeUp, TraceTooLarge.

        The ones before it run again too, on the state before the block: a block is executed in the same way each time, but for
        transactions that ended by the clock, whose receipts say so.
        """
        header = self._store.header(number)
        parent = self._store.header(number - 1)
        if header is None or parent is None:
            raise CannotTrace("genesis is not traceable")
        if self._store.has_panics(number):
            raise CannotTrace(
                "a transaction of this block crashed the node and is not kept: what follows it has no known state"
            )
        watch, world = self.watch(), World(self._store.at(number - 1))
        context = block_context(
            self._config, self._store, number, header.timestamp, header.base_fee, header.parent_hash
        )
        facts = block_facts(self._config, number, header.timestamp, header.parent_hash, header.miner)
        used, logs = 0, cast(tuple[EventLog, ...], ())
        for receipt in self._store.receipts(number):
            block = BlockSoFar(context=context, facts=facts, gas_used=used, logs=logs)
            transaction, last = receipt.transaction, receipt.index == index
            if receipt.error is not None and receipt.error.startswith(OUT_OF_TIME):
                if last:
                    raise CannotTrace(receipt.error)
                outcome = run_out_of_time(world, transaction, block, self._config)
            else:
                outcome = run_transaction(
                    world,
                    self.runtime,
                    transaction,
                    block,
                    receipt.index,
                    self._config,
                    watch,
                    tracer if last else None,
                )
            if outcome is None or (outcome.gas_used, outcome.error) != (receipt.gas_used, receipt.error):
                raise CannotTrace("this chain was made with other settings: its transactions execute differently now")
            if last:
                return outcome
            used, logs = used + outcome.gas_used, logs + outcome.logs
        raise CannotTrace("transaction not found")


def _parent_hash(config: ChainConfig, parent_hash: bytes) -> bytes:
    """What contracts and Aspects are given for it."""
    return blocks.ZERO_HASH if config.node is NodeKind.ROLLKIT else parent_hash


def block_facts(config: ChainConfig, number: int, timestamp: int, parent_hash: bytes, miner: bytes) -> BlockFacts:
    """What Aspects can read of a block in the making."""
    knows = config.node is not NodeKind.ROLLKIT
    return BlockFacts(
        number=number,
        timestamp=timestamp,
        parent_hash=_parent_hash(config, parent_hash),
        miner=miner,
        max_gas=config.block_gas_limit if knows else None,
        max_bytes=config.block_bytes_limit if knows else None,
    )


def block_context(
    config: ChainConfig, store: ChainStore, number: int, timestamp: int, base_fee: int, parent_hash: bytes
) -> BlockContext:
    """What instructions can read of block `number`, which need not be there yet."""

    def ancestor(wanted: int) -> bytes:
        if wanted == number - 1:
            return _parent_hash(config, parent_hash)
        return store.block_hash(wanted) or blocks.ZERO_HASH

    return BlockContext(
        number=number,
        timestamp=timestamp,
        coinbase=config.operator,
        gas_limit=config.block_gas_limit,
        base_fee=base_fee,
        chain_id=config.chain_id,
        ancestor_hash=ancestor,
    )


def _question_facts(question: CallRequest, nonce: int, chain_id: int) -> TransactionFacts:
    """The unsigned transaction that the node makes of a question."""
    kind = question.type
    cap = question.fee_cap if kind == 2 else question.gas_price
    tip = question.tip_cap if kind == 2 else question.gas_price
    fees = [rlp.integer(tip or 0), rlp.integer(cap or 0)] if kind == 2 else [rlp.integer(cap or 0)]
    accesses = question.access_list or ()
    body: list[rlp.Item] = [
        rlp.integer(nonce),
        *fees,
        rlp.integer(question.gas or 0),
        question.to or b"",
        rlp.integer(question.value),
        question.data,
    ]
    if kind:
        body.append([[address, list(keys)] for address, keys in accesses])
        raw = bytes([kind]) + rlp.encode([rlp.integer(question.chain_id or 0), *body, b"", b"", b""])
        # the signer's chain, whatever the question says
        unsigned = rlp.encode([rlp.integer(chain_id), *body])
        unsigned_hash = keccak(bytes([kind]) + unsigned)
    else:
        raw = rlp.encode([*body, b"", b"", b""])
        unsigned = rlp.encode([*body, rlp.integer(chain_id), b"", b""])
        unsigned_hash = keccak(unsigned)
    return TransactionFacts(
        type=kind,
        chain_id=chain_id,
        nonce=nonce,
        gas=question.gas or 0,
        gas_price=cap or 0,
        gas_tip_cap=tip or 0,
        gas_fee_cap=cap or 0,
        to=question.to,
        value=question.value,
        data=question.data,
        sender=question.sender,
        index=0,
        hash=keccak(raw),
        raw=raw,
        unsigned_hash=unsigned_hash,
        unsigned_raw=unsigned,
        v=0,
        r=0,
        s=0,
        access_list=accesses,
    )
