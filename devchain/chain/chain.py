"""A chain: the head, the pool, and how one becomes the other. Synchronous, owned by one thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devchain.aspect.environment import NodePanic
from devchain.aspect.runtime import AspectRuntime, CompiledModules
from devchain.chain import blocks
from devchain.chain.apply import run_out_of_time, run_transaction
from devchain.chain.blocks import Block, Header, StoredReceipt
from devchain.chain.evm import MAX_INIT_CODE_SIZE, EventLog
from devchain.chain.execution import BlockSoFar, ExecutionResult
from devchain.chain.join_points import AspectRun
from devchain.chain.mempool import Mempool
from devchain.chain.questions import QUESTION_SECONDS, CallRequest, Questions, block_context, block_facts
from devchain.chain.state import World
from devchain.chain.store import ChainStore, encode_writes, state_digest
from devchain.chain.transactions import SignedTransaction, TransactionRefused, WrongChain, decode, intrinsic_gas
from devchain.config import ChainConfig, ForkRules, NodeKind
from devchain.watch import Precedence, TimeUp, until


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPreset:
    """Facts of the next block that the caller decides (a recording, `evm_mine`). None: the chain's own rule."""

    number: int | None = None
    timestamp: int | None = None
    parent_hash: bytes | None = None
    hash: bytes | None = None
    base_fee: int | None = None
    miner: bytes | None = None


RAW_LIMIT: Final = 1_048_576
"""Bytes of a raw transaction that a strict chain takes (CometBFT's `max_tx_bytes`)."""
FEE_CAP: Final = 10**18
"""wei of fee that a strict chain takes (the node's `txfee-cap` of 1 ART)."""


@dataclass(frozen=True, slots=True)
class MinedBlock:
    """A block and what the operator may want to know besides; only the block itself is kept."""

    block: Block
    runs: tuple[tuple[AspectRun, ...], ...]
    """The Aspect calls of each transaction, in the order of the receipts."""
    panics: tuple[tuple[SignedTransaction, str], ...]
    """Transactions at which the node would have crashed, and where: no receipt, but the nonce is used."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `Chain.revert` goes back to: the head, the clock, and what waits for a block."""

    number: int
    clock_offset: int
    next_timestamp: int | None
    waiting: tuple[SignedTransaction, ...]
    """In the order of their arrival."""

    @property
    def bytes(self) -> int:
        return sum(len(transaction.raw) for transaction in self.waiting)


BlockListener = Callable[[MinedBlock], None]


class EmbeddedChain:
    """Blocks in, blocks out. Nothing here knows of hex strings or sockets."""

    def __init__(self, config: ChainConfig, state_file: Path | None, clock: Callable[[], float]) -> None:
        """Opens or begins the chain in `state_file` (None: in memory). Raises StoreUnusable."""
        self.config = config
        self._clock = clock
        self._clock_offset = 0
        self._next_timestamp: int | None = None
        self._store = ChainStore(state_file, config.chain_id)
        modules = CompiledModules()
        self._runtime = AspectRuntime(modules)
        self._precedence = Precedence()
        self.questions = Questions(config, self._store, modules, self._precedence, QUESTION_SECONDS)
        self.pool = Mempool()
        self._listeners: list[BlockListener] = []
        self._arrival_listeners: list[Callable[[SignedTransaction], None]] = []
        head = self._store.head()
        if head is None:
            head = self._begin()
        self._head = head
        self._world = World(self._store.at(head.number))

    def close(self) -> None:
        self._store.close()

    def _begin(self) -> Header:
        world = World(self._store.at(0))
        for address, balance in self.config.alloc.items():
            world.set_balance(address, balance)
        for address, nonce in self.config.nonces.items():
            world.set_nonce(address, nonce)
        writes = world.take_writes()
        changes = encode_writes(writes)
        digest = state_digest(blocks.ZERO_HASH, changes)
        header = self._header(
            number=0, parent_hash=blocks.ZERO_HASH, timestamp=int(self._clock()),
            base_fee=max(self.config.base_fee, self.config.node.min_gas_price), miner=self.config.miner, block_hash=None,
            receipts=(), gas_wanted=0, digest=digest,
        )  # fmt: skip
        self._store.append(Block(header, ()), changes, writes.codes)
        return header

    # -- reading

    @property
    def head(self) -> Header:
        return self._head

    @property
    def store(self) -> ChainStore:
        return self._store

    def world_at(self, number: int) -> World:
        """The world after block `number`; the head's is the live one, look but do not touch."""
        return self._world if number >= self._head.number else World(self._store.at(number))

    def pending_nonce(self, sender: bytes) -> int:
        return self.pool.next_nonce(sender, self._world.get_nonce(sender))

    def next_base_fee(self) -> int:
        head = self._head
        fee = blocks.next_base_fee(head.base_fee, self._gas_for_fee(head), head.gas_limit)
        return max(fee, self.config.node.min_gas_price)

    def _gas_for_fee(self, header: Header) -> int:
        # the fee market looks at what was asked for, discounted, not only at what was used
        return max(header.gas_used, int(header.gas_wanted * self.config.min_gas_multiplier))

    # -- transactions

    def submit(self, raw: bytes) -> SignedTransaction:
        """Take a signed transaction into the pool. Raises TransactionRefused with the node's words."""
        try:
            transaction = decode(raw, self.config.chain_id)
        except WrongChain as refused:
            raise (TransactionRefused(refused.brief) if self.config.node is NodeKind.ROLLKIT else refused) from None
        self._check(transaction)
        self.pool.add(transaction)
        for listener in self._arrival_listeners:
            listener(transaction)
        return transaction

    def _check(self, transaction: SignedTransaction) -> None:
        """What the node's RPC and its ante handler check, in that order."""
        if self.config.strict:
            self._check_narrow_gate(transaction)
        if self.pool.get(transaction.hash) is not None or self._store.is_known(transaction.hash):
            raise TransactionRefused(": tx already in mempool" if self.config.strict else "already known")
        if transaction.tip_cap > transaction.fee_cap:
            raise TransactionRefused(
                "max priority fee per gas higher than max fee per gas "
                f"({transaction.tip_cap} > {transaction.fee_cap}): invalid gas cap"
            )
        balance = self._world.get_balance(transaction.sender)
        if balance < transaction.cost:
            raise TransactionRefused(
                "failed to check sender balance: sender balance < tx cost "
                f"({balance} < {transaction.cost}): insufficient funds: insufficient funds"
            )
        base_fee = self.next_base_fee()
        self._check_least_price(transaction, base_fee)
        if transaction.fee_cap < base_fee:
            raise TransactionRefused(
                "max fee per gas less than block base fee "
                f"({transaction.fee_cap} < {base_fee}): insufficient fee: insufficient fee"
            )
        creates, rules = transaction.to is None, self.config.fork_rules
        if creates and rules is ForkRules.CANCUN and len(transaction.data) > MAX_INIT_CODE_SIZE:
            raise TransactionRefused(
                f"max initcode size exceeded: code size {len(transaction.data)} limit {MAX_INIT_CODE_SIZE}"
            )
        intrinsic = intrinsic_gas(transaction.data, creates=creates, access_list=transaction.access_list, rules=rules)
        if transaction.gas < intrinsic:
            raise TransactionRefused(
                f"failed to verify the fees: gas limit too low: {transaction.gas} (gas limit) < {intrinsic} "
                "(intrinsic gas): out of gas: out of gas"
            )
        if transaction.gas > self._head.gas_limit:
            raise TransactionRefused(
                f"tx gas ({transaction.gas}) exceeds block gas limit ({self._head.gas_limit}): out of gas: out of gas"
            )
        self._check_nonce(transaction)

    def _check_least_price(self, transaction: SignedTransaction, base_fee: int) -> None:
        # the words are those of the node's library (ethermint); nobody recorded the node's own
        fee = transaction.gas * (transaction.price(base_fee) if transaction.type == 2 else transaction.fee_cap)
        least = transaction.gas * self.config.node.min_gas_price
        if fee < least:
            raise TransactionRefused(
                f"provided fee < minimum global fee ({fee} < {least}). Please increase the priority tip (for EIP-1559 txs) or "
                "the gas prices (for access list or legacy txs): insufficient fee"
            )

    def _check_narrow_gate(self, transaction: SignedTransaction) -> None:
        fee = transaction.gas * transaction.fee_cap
        if fee > FEE_CAP:
            raise TransactionRefused(f"tx fee ({fee / 10**18:.2f} art) exceeds the configured cap (1.00 art)")
        if transaction.chain_id is None:
            raise TransactionRefused("only replay-protected (EIP-155) transactions allowed over RPC")
        if len(transaction.raw) > RAW_LIMIT:
            raise TransactionRefused(": tx too large")

    def _check_nonce(self, transaction: SignedTransaction) -> None:
        if self.config.strict:
            expected = self.pending_nonce(transaction.sender)
            acceptable = transaction.nonce == expected
        else:
            # a wallet's chain: gaps wait, and a better paid transaction takes the place of a waiting one
            expected = self._world.get_nonce(transaction.sender)
            acceptable = transaction.nonce >= expected
        if not acceptable:
            raise TransactionRefused(
                f"invalid nonce; got {transaction.nonce}, expected {expected}: invalid sequence: invalid sequence"
            )

    # -- blocks

    def on_block(self, listener: BlockListener) -> None:
        """Call it after each block, on the chain's thread."""
        self._listeners.append(listener)

    def on_arrival(self, listener: Callable[[SignedTransaction], None]) -> None:
        """Call it for each transaction that the pool takes, on the chain's thread."""
        self._arrival_listeners.append(listener)

    def increase_time(self, seconds: int) -> int:
        """Shift the clock of all later blocks; returns the total shift."""
        self._clock_offset += seconds
        return self._clock_offset

    def set_next_timestamp(self, timestamp: int) -> None:
        self._next_timestamp = timestamp

    def mine(self, preset: BlockPreset | None = None) -> Block:
        """Make the next block of what is ready."""
        preset = preset or BlockPreset()
        base_fee = self.next_base_fee() if preset.base_fee is None else preset.base_fee
        return self._make(self._ready(base_fee), preset, base_fee)

    def mine_waiting(self) -> None:
        """Make blocks until nothing waits that could go into one."""
        while chosen := self._ready(base_fee := self.next_base_fee()):
            self._make(chosen, BlockPreset(), base_fee)

    def _ready(self, base_fee: int) -> list[SignedTransaction]:
        return self.pool.ready(self._world.get_nonce, base_fee, self._head.gas_limit)

    def _make(self, transactions: list[SignedTransaction], preset: BlockPreset, base_fee: int) -> Block:
        try:
            with self._precedence.first():
                return self._seal(transactions, preset, base_fee)
        except BaseException:
            # a full disk, a bug: memory goes back to what the file says, and the transactions are out of the pool
            self._world = World(self._store.at(self._head.number))
            raise

    def _seal(self, transactions: list[SignedTransaction], preset: BlockPreset, base_fee: int) -> Block:
        parent = self._head
        number = parent.number + 1 if preset.number is None else preset.number
        timestamp = self._timestamp() if preset.timestamp is None else preset.timestamp
        parent_hash = parent.hash if preset.parent_hash is None else preset.parent_hash
        miner = preset.miner or self.config.miner
        context = block_context(self.config, self._store, number, timestamp, base_fee, parent_hash)
        facts = block_facts(self.config, number, timestamp, parent_hash, miner)
        receipts: list[StoredReceipt] = []
        runs: list[tuple[AspectRun, ...]] = []
        panics: list[tuple[SignedTransaction, str]] = []
        used = wanted = 0
        logs: tuple[EventLog, ...] = ()
        for transaction in transactions:
            self.pool.remove(transaction)
            wanted += transaction.gas
            try:
                block_so_far = BlockSoFar(context=context, facts=facts, gas_used=used, logs=logs)
                outcome = self._run(transaction, block_so_far, len(receipts))
            except NodePanic as panic:
                panics.append((transaction, str(panic)))
                continue
            if outcome is None:
                continue
            used += outcome.gas_used
            runs.append(outcome.runs)
            receipts.append(
                StoredReceipt(
                    transaction=transaction,
                    index=len(receipts),
                    status=0 if outcome.error is not None else 1,
                    gas_used=outcome.gas_used,
                    cumulative_gas_used=used,
                    contract_address=outcome.contract_address,
                    logs=outcome.logs,
                    first_log_index=len(logs),
                    bloom=blocks.bloom_of(outcome.logs),
                    price=transaction.price(base_fee),
                    error=outcome.error,
                    output=outcome.output,
                    parts=outcome.parts,
                )
            )
            logs += outcome.logs
        writes = self._world.take_writes()
        changes = encode_writes(writes)
        digest = state_digest(parent.state_digest, changes)
        header = self._header(
            number=number, parent_hash=parent_hash, timestamp=timestamp, base_fee=base_fee,
            miner=miner, block_hash=preset.hash, receipts=tuple(receipts), gas_wanted=wanted,
            digest=digest,
        )  # fmt: skip
        block = Block(header, tuple(receipts))
        self._store.append(block, changes, writes.codes, [(t.hash, reason) for t, reason in panics])
        self._world.trim()
        self._world.move_reader(self._store.at(number))
        self._head = header
        self.pool.drop_stale(self._world.get_nonce)
        mined = MinedBlock(block, tuple(runs), tuple(panics))
        for listener in self._listeners:
            listener(mined)
        return block

    def _run(self, transaction: SignedTransaction, block: BlockSoFar, index: int) -> ExecutionResult | None:
        """Execute on the world. None: it cannot even begin any more, and leaves no trace. Raises NodePanic."""
        try:
            watch = until(time.monotonic() + self.config.transaction_seconds)
            return run_transaction(self._world, self._runtime, transaction, block, index, self.config, watch)
        except TimeUp:
            # Not what a node would say, and not the same on every machine: so it is decided once, here. A restart reads state and
            # receipt from the store and executes nothing again, and a trace asks the receipt before it executes.
            return run_out_of_time(self._world, transaction, block, self.config)

    def _timestamp(self) -> int:
        chosen, self._next_timestamp = self._next_timestamp, None
        if chosen is not None:
            self._clock_offset = chosen - int(self._clock())
            return max(chosen, self._head.timestamp)
        # several blocks may share a second, as on the node; none goes back
        return max(int(self._clock()) + self._clock_offset, self._head.timestamp)

    def _header(
        self,
        *,
        number: int,
        parent_hash: bytes,
        timestamp: int,
        base_fee: int,
        miner: bytes,
        block_hash: bytes | None,
        receipts: tuple[StoredReceipt, ...],
        gas_wanted: int,
        digest: bytes,
    ) -> Header:
        root = blocks.transactions_root(receipt.transaction for receipt in receipts)
        bloom = blocks.joined_bloom(receipt.bloom for receipt in receipts)
        gas_used = receipts[-1].cumulative_gas_used if receipts else 0
        own_hash = blocks.header_hash(
            number=number, parent_hash=parent_hash, timestamp=timestamp, miner=miner, base_fee=base_fee,
            gas_limit=self.config.block_gas_limit, gas_used=gas_used, state_digest=digest, transactions_root=root, bloom=bloom,
        )  # fmt: skip
        return Header(
            number=number, hash=block_hash or own_hash, parent_hash=parent_hash, timestamp=timestamp, miner=miner,
            base_fee=base_fee, gas_limit=self.config.block_gas_limit, gas_used=gas_used, gas_wanted=gas_wanted,
            state_digest=digest, transactions_root=root, bloom=bloom,
            size=sum(len(receipt.transaction.raw) for receipt in receipts) + 508,
        )  # fmt: skip

    # -- questions, on the thread that asks

    def ask(self, question: CallRequest, number: int) -> ExecutionResult:
        """See `Questions.ask`."""
        return self.questions.ask(question, number)

    def call(self, question: CallRequest, number: int) -> bytes:
        """`eth_call`. Raises CallFailed."""
        return self.questions.call(question, number)

    def estimate(self, question: CallRequest, number: int) -> int:
        """`eth_estimateGas`. Raises CallFailed."""
        return self.questions.estimate(question, number)

    # -- going back

    def snapshot(self) -> Snapshot:
        return Snapshot(self._head.number, self._clock_offset, self._next_timestamp, tuple(self.pool.all()))

    def revert(self, snapshot: Snapshot) -> None:
        """Make everything as it was then; the wall clock alone went on."""
        self.rewind(snapshot.number)
        self._clock_offset, self._next_timestamp = snapshot.clock_offset, snapshot.next_timestamp
        for transaction in snapshot.waiting:
            self.pool.add(transaction)

    def rewind(self, number: int) -> None:
        """Make block `number` the head again and empty the pool."""
        self._store.rewind(number)
        head = self._store.head()
        assert head is not None
        self._head = head
        self._world = World(self._store.at(head.number))
        self.pool.clear()
