"""A chain: the head, the pool, and how one becomes the other. Synchronous, owned by one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eth_hash.auto import keccak

from devchain.aspect.environment import BlockFacts, NodePanic, TransactionFacts
from devchain.aspect.runtime import AspectRuntime
from devchain.chain import blocks, rlp
from devchain.chain.blocks import Block, Header, Receipt
from devchain.chain.evm import MAX_INIT_CODE_SIZE, REVERTED, BlockContext, Log
from devchain.chain.execution import BlockSoFar, ChainMessage, IntrinsicGasTooLow, Outcome, execute
from devchain.chain.join_points import AspectRun
from devchain.chain.mempool import Mempool
from devchain.chain.state import World
from devchain.chain.store import Store, encode_writes, state_digest
from devchain.chain.transactions import AccessList, Transaction, TransactionRefused, decode, intrinsic_gas
from devchain.config import ChainConfig, ForkRules

QUESTION_GAS_CAP: Final = 25_000_000
"""Most gas that `eth_call` and `eth_estimateGas` give; the node's default."""
LEAST_GAS: Final = 21_000
QUESTION_EXTRA_INTRINSIC: Final = 150_000
"""What the node adds to the intrinsic gas of a question with data: it takes any data for a validation envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPreset:
    """Facts of the next block that somebody else decides (a recording, `evm_mine`). None: the chain's own rule."""

    number: int | None = None
    timestamp: int | None = None
    parent_hash: bytes | None = None
    hash: bytes | None = None
    base_fee: int | None = None
    miner: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
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
    panics: tuple[tuple[Transaction, str], ...]
    """Transactions at which the node would have crashed, and where: no receipt, but the nonce is used."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `Chain.revert` goes back to: the head, the clock, and what waits for a block."""

    number: int
    clock_offset: int
    next_timestamp: int | None
    waiting: tuple[Transaction, ...]
    """In the order of their arrival."""

    @property
    def bytes(self) -> int:
        return sum(len(transaction.raw) for transaction in self.waiting)


BlockListener = Callable[[MinedBlock], None]


class Chain:
    """Blocks in, blocks out. Nothing here knows of hex strings or sockets."""

    def __init__(self, config: ChainConfig, state_file: Path | None, clock: Callable[[], float]) -> None:
        """Opens or begins the chain in `state_file` (None: in memory). Raises StoreUnusable."""
        self.config = config
        self._clock = clock
        self._clock_offset = 0
        self._next_timestamp: int | None = None
        self._store = Store(state_file, config.chain_id)
        self._runtime = AspectRuntime()
        self.pool = Mempool()
        self._listeners: list[BlockListener] = []
        self._arrival_listeners: list[Callable[[Transaction], None]] = []
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
        writes = world.take_writes()
        changes = encode_writes(writes)
        digest = state_digest(blocks.ZERO_HASH, changes)
        header = self._header(
            number=0, parent_hash=blocks.ZERO_HASH, timestamp=int(self._clock()), base_fee=self.config.base_fee,
            miner=self.config.miner, block_hash=None, receipts=(), gas_wanted=0, digest=digest,
        )  # fmt: skip
        self._store.append(Block(header, ()), changes, writes.codes)
        return header

    # -- reading

    @property
    def head(self) -> Header:
        return self._head

    @property
    def store(self) -> Store:
        return self._store

    def world_at(self, number: int) -> World:
        """The world after block `number`; the head's is the live one, look but do not touch."""
        return self._world if number >= self._head.number else World(self._store.at(number))

    def pending_nonce(self, sender: bytes) -> int:
        return self.pool.next_nonce(sender, self._world.get_nonce(sender))

    def next_base_fee(self) -> int:
        head = self._head
        return blocks.next_base_fee(head.base_fee, self._gas_for_fee(head), head.gas_limit)

    def _gas_for_fee(self, header: Header) -> int:
        # the fee market looks at what was asked for, discounted, not only at what was used
        return max(header.gas_used, int(header.gas_wanted * self.config.min_gas_multiplier))

    # -- transactions

    def submit(self, raw: bytes) -> Transaction:
        """Take a signed transaction into the pool. Raises TransactionRefused with the node's words."""
        transaction = decode(raw, self.config.chain_id)
        self._check(transaction)
        self.pool.add(transaction)
        for listener in self._arrival_listeners:
            listener(transaction)
        return transaction

    def _check(self, transaction: Transaction) -> None:
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

    def _check_narrow_gate(self, transaction: Transaction) -> None:
        fee = transaction.gas * transaction.fee_cap
        if fee > FEE_CAP:
            raise TransactionRefused(f"tx fee ({fee / 10**18:.2f} art) exceeds the configured cap (1.00 art)")
        if transaction.chain_id is None:
            raise TransactionRefused("only replay-protected (EIP-155) transactions allowed over RPC")
        if len(transaction.raw) > RAW_LIMIT:
            raise TransactionRefused(": tx too large")

    def _check_nonce(self, transaction: Transaction) -> None:
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

    def on_arrival(self, listener: Callable[[Transaction], None]) -> None:
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

    def _ready(self, base_fee: int) -> list[Transaction]:
        return self.pool.ready(self._world.get_nonce, base_fee, self._head.gas_limit)

    def _make(self, transactions: list[Transaction], preset: BlockPreset, base_fee: int) -> Block:
        try:
            return self._seal(transactions, preset, base_fee)
        except BaseException:
            # a full disk, a bug: memory goes back to what the file says, and the transactions are out of the pool
            self._world = World(self._store.at(self._head.number))
            raise

    def _seal(self, transactions: list[Transaction], preset: BlockPreset, base_fee: int) -> Block:
        parent = self._head
        number = parent.number + 1 if preset.number is None else preset.number
        timestamp = self._timestamp() if preset.timestamp is None else preset.timestamp
        parent_hash = parent.hash if preset.parent_hash is None else preset.parent_hash
        miner = preset.miner or self.config.miner
        context = self._context(number, timestamp, base_fee, parent_hash)
        facts = BlockFacts(
            number=number,
            timestamp=timestamp,
            parent_hash=parent_hash,
            miner=miner,
            max_gas=self.config.block_gas_limit,
            max_bytes=self.config.block_bytes_limit,
        )
        receipts: list[Receipt] = []
        runs: list[tuple[AspectRun, ...]] = []
        panics: list[tuple[Transaction, str]] = []
        used = wanted = 0
        logs: tuple[Log, ...] = ()
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
                Receipt(
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

    def _run(self, transaction: Transaction, block: BlockSoFar, index: int) -> Outcome | None:
        """Execute on the world. None: it cannot even begin any more, and leaves no trace. Raises NodePanic."""
        world, price = self._world, transaction.price(block.context.base_fee)
        world.begin_transaction()
        fee = transaction.gas * price
        balance = world.get_balance(transaction.sender)
        if balance < transaction.cost or world.get_nonce(transaction.sender) != transaction.nonce:
            return None
        world.set_balance(transaction.sender, balance - fee)
        world.increment_nonce(transaction.sender)
        paid = world.snapshot()
        message = ChainMessage(
            facts=_facts(transaction, index, self.config.chain_id),
            nonce=transaction.nonce,
            gas=transaction.gas,
            price=price,
            is_call=False,
        )
        try:
            outcome = execute(world, self._runtime, block, message, self.config)
        except NodePanic:
            world.rollback_transaction(paid)
            world.end_transaction()
            raise
        if outcome.error is not None:
            world.rollback_transaction(paid)
        world.delta_balance(transaction.sender, (transaction.gas - outcome.gas_used) * price)
        world.end_transaction()
        return outcome

    def _timestamp(self) -> int:
        chosen, self._next_timestamp = self._next_timestamp, None
        if chosen is not None:
            self._clock_offset = chosen - int(self._clock())
            return max(chosen, self._head.timestamp)
        # several blocks may share a second, as on the node; none goes back
        return max(int(self._clock()) + self._clock_offset, self._head.timestamp)

    def _context(self, number: int, timestamp: int, base_fee: int, parent_hash: bytes) -> BlockContext:
        def ancestor(wanted: int) -> bytes:
            if wanted == number - 1:
                return parent_hash
            return self._store.block_hash(wanted) or blocks.ZERO_HASH

        return BlockContext(
            number=number,
            timestamp=timestamp,
            coinbase=self.config.operator,
            gas_limit=self.config.block_gas_limit,
            base_fee=base_fee,
            chain_id=self.config.chain_id,
            ancestor_hash=ancestor,
        )

    def _header(
        self,
        *,
        number: int,
        parent_hash: bytes,
        timestamp: int,
        base_fee: int,
        miner: bytes,
        block_hash: bytes | None,
        receipts: tuple[Receipt, ...],
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

    # -- questions

    def ask(self, question: Question, number: int, gas: int | None = None) -> Outcome:
        """Run a question on the state after block `number`; nothing is kept. With `gas` it is one try of an estimate.

        Raises IntrinsicGasTooLow, and NodePanic where the node's own call would crash.
        """
        header = self._store.header(number)
        if header is None:
            raise KeyError(number)
        world = self.world_at(number)
        context = self._context(header.number, header.timestamp, header.base_fee, header.parent_hash)
        nonce = world.get_nonce(question.sender)
        # the node fills the nonce in before it shows a call to Aspects, but after it shows them an estimate
        shown = nonce if gas is None else question.nonce or 0
        if gas is None:
            gas = QUESTION_GAS_CAP if question.gas is None else min(question.gas, QUESTION_GAS_CAP)
        block = BlockSoFar(
            context=context,
            facts=BlockFacts(
                number=header.number,
                timestamp=header.timestamp,
                parent_hash=header.parent_hash,
                miner=header.miner,
                max_gas=None,
                max_bytes=None,
            ),
        )
        message = ChainMessage(
            facts=_question_facts(question, shown, self.config.chain_id),
            nonce=nonce,
            gas=gas,
            price=question.price(header.base_fee),
            is_call=True,
            extra_intrinsic=QUESTION_EXTRA_INTRINSIC if question.data else 0,
        )
        world.begin_transaction()
        try:
            return execute(world, self._runtime, block, message, self.config)
        finally:
            world.rollback_transaction()
            world.begin_transaction()
            world.forget_new_codes()
            world.trim()

    def call(self, question: Question, number: int) -> bytes:
        """`eth_call`. Raises CallFailed; a node panic answers empty, as the node's RPC does."""
        try:
            outcome = self.ask(question, number)
        except IntrinsicGasTooLow:
            raise CallFailed("apply message: intrinsic gas too low") from None
        except NodePanic:
            return b""
        if outcome.error is not None:
            raise CallFailed(outcome.error, outcome.output)
        return outcome.output

    def estimate(self, question: Question, number: int) -> int:
        """`eth_estimateGas`: the smallest gas limit with which the question succeeds. Raises CallFailed."""
        high = self.config.block_gas_limit
        if question.gas is not None and question.gas >= LEAST_GAS:
            high = min(question.gas, QUESTION_GAS_CAP)
        spent = self._try(question, number, high)
        # almost always what it used is what it needs: two tries settle that, and only a program that looks at its gas is searched
        if spent < high and self._succeeds(question, number, spent):
            if not self._succeeds(question, number, spent - 1):
                return spent
            high = spent - 1
        low = LEAST_GAS - 1
        while low + 1 < high:
            middle = (low + high) // 2
            if self._succeeds(question, number, middle):
                high = middle
            else:
                low = middle
        return high

    def _succeeds(self, question: Question, number: int, gas: int) -> bool:
        try:
            self._try(question, number, gas)
        except CallFailed:
            return False
        return True

    def _try(self, question: Question, number: int, gas: int) -> int:
        """Gas used before refunds at this limit. Raises CallFailed in the words of an estimate."""
        try:
            outcome = self.ask(question, number, gas)
        except IntrinsicGasTooLow:
            raise CallFailed(f"gas required exceeds allowance ({gas})") from None
        except NodePanic as panic:
            raise CallFailed(str(panic)) from None
        if outcome.error == "out of gas":
            raise CallFailed(f"gas required exceeds allowance ({gas})")
        if outcome.error is not None:
            raise CallFailed(outcome.error, outcome.output)
        return outcome.gas_before_refund

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


def _facts(transaction: Transaction, index: int, chain_id: int) -> TransactionFacts:
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


def _question_facts(question: Question, nonce: int, chain_id: int) -> TransactionFacts:
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
