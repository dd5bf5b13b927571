"""Transactions that wait for a block, by sender and nonce."""

from __future__ import annotations

from collections.abc import Callable

from devchain.chain.transactions import SignedTransaction, TransactionRefused

_QUEUE_LIMIT = 4096
"""Transactions that may wait altogether; a development chain with more has lost its miner."""
_ACCOUNT_LIMIT = 1024
"""Of one account."""
_QUEUE_BYTES = 32 * 1024 * 1024
"""Of their signed encodings; in memory they take a few times as much."""
_ACCOUNT_BYTES = 8 * 1024 * 1024


class Mempool:
    """What was accepted and is not in a block yet."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, dict[int, SignedTransaction]] = {}
        self._by_hash: dict[bytes, SignedTransaction] = {}
        self._arrival: dict[bytes, int] = {}
        self._arrivals = 0
        self._bytes = 0
        self._bytes_of: dict[bytes, int] = {}
        """By sender."""

    def __len__(self) -> int:
        return len(self._by_hash)

    def get(self, transaction_hash: bytes) -> SignedTransaction | None:
        return self._by_hash.get(transaction_hash)

    def all(self) -> list[SignedTransaction]:
        return list(self._by_hash.values())

    def next_nonce(self, sender: bytes, nonce: int) -> int:
        """The first nonce from `nonce` on that nothing waiting uses."""
        waiting = self._waiting.get(sender, {})
        while nonce in waiting:
            nonce += 1
        return nonce

    def add(self, transaction: SignedTransaction) -> None:
        """Raises TransactionRefused: pool full, too much of one account, or a replacement that pays less than a tenth more."""
        waiting = self._waiting.get(transaction.sender, {})
        old = waiting.get(transaction.nonce)
        size = len(transaction.raw) - (0 if old is None else len(old.raw))
        if old is not None:
            if 10 * transaction.fee_cap < 11 * old.fee_cap or 10 * transaction.tip_cap < 11 * old.tip_cap:
                raise TransactionRefused("replacement transaction underpriced")
        elif len(self._by_hash) >= _QUEUE_LIMIT:
            raise TransactionRefused("txpool is full")
        elif len(waiting) >= _ACCOUNT_LIMIT:
            raise TransactionRefused(
                f"account limit exceeded: {_ACCOUNT_LIMIT} transactions of this account wait already"
            )
        if self._bytes + size > _QUEUE_BYTES:
            raise TransactionRefused("txpool is full")
        if self._bytes_of.get(transaction.sender, 0) + size > _ACCOUNT_BYTES:
            raise TransactionRefused(f"account limit exceeded: {_ACCOUNT_BYTES} bytes of one account may wait")
        if old is not None:
            self.remove(old)
        self._waiting.setdefault(transaction.sender, {})[transaction.nonce] = transaction
        self._bytes += len(transaction.raw)
        self._bytes_of[transaction.sender] = self._bytes_of.get(transaction.sender, 0) + len(transaction.raw)
        self._by_hash[transaction.hash] = transaction
        self._arrivals += 1
        self._arrival[transaction.hash] = self._arrivals

    def remove(self, transaction: SignedTransaction) -> None:
        if self._by_hash.pop(transaction.hash, None) is None:
            return
        del self._arrival[transaction.hash]
        waiting = self._waiting[transaction.sender]
        del waiting[transaction.nonce]
        self._bytes -= len(transaction.raw)
        self._bytes_of[transaction.sender] -= len(transaction.raw)
        if not waiting:
            del self._waiting[transaction.sender], self._bytes_of[transaction.sender]

    def drop_stale(self, nonce_of: Callable[[bytes], int]) -> None:
        """Forget what can never land because its nonce is used."""
        for sender, waiting in list(self._waiting.items()):
            current = nonce_of(sender)
            for nonce in [n for n in waiting if n < current]:
                self.remove(waiting[nonce])

    def ready(self, nonce_of: Callable[[bytes], int], base_fee: int, gas_limit: int) -> list[SignedTransaction]:
        """Transactions for the next block: per sender in order of nonce without gaps, else by arrival, within the block's gas."""
        heads = {sender: nonce_of(sender) for sender in self._waiting}
        chosen: list[SignedTransaction] = []
        room = gas_limit
        while True:
            candidates = [
                waiting[heads[sender]]
                for sender, waiting in self._waiting.items()
                if heads[sender] in waiting and waiting[heads[sender]].fee_cap >= base_fee
            ]
            if not candidates:
                return chosen
            first = min(candidates, key=lambda transaction: self._arrival[transaction.hash])
            if first.gas > room:
                return chosen
            room -= first.gas
            chosen.append(first)
            heads[first.sender] += 1

    def clear(self) -> None:
        self._waiting.clear()
        self._by_hash.clear()
        self._arrival.clear()
        self._bytes_of.clear()
        self._bytes = 0
