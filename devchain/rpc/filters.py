"""Filters that a client polls: what is new since it last asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from devchain.chain.chain import Chain
from devchain.rpc import codec
from devchain.rpc.codec import RpcError, data, quantity
from devchain.rpc.logs import LogFilter, log_json, parse_log_filter

_LIFETIME_S: Final = 300.0
"""A filter that nobody asks for this long is gone, as on every node."""
_LIMIT: Final = 1000


@dataclass(slots=True)
class _Filter:
    kind: str
    """logs, blocks or transactions."""
    wanted: LogFilter | None
    next_block: int
    asked_at: float
    hashes: list[bytes]
    """Of transactions that arrived since."""


class Filters:
    """The filters of one chain. Runs on the chain's thread."""

    def __init__(self, chain: Chain, clock: Callable[[], float]) -> None:
        self._chain = chain
        self._clock = clock
        self._filters: dict[int, _Filter] = {}
        self._made = 0

    def table(self) -> dict[str, Callable[[list[Any]], Any]]:
        """The methods, for the method table."""
        return {
            "eth_newFilter": lambda p: self._add("logs", parse_log_filter(codec.argument(p, 0))),
            "eth_newBlockFilter": lambda _: self._add("blocks", None),
            "eth_newPendingTransactionFilter": lambda _: self._add("transactions", None),
            "eth_getFilterChanges": self._changes,
            "eth_getFilterLogs": self._logs,
            "eth_uninstallFilter": self._remove,
        }

    def transaction_arrived(self, transaction_hash: bytes) -> None:
        self._forget()
        for kept in self._filters.values():
            if kept.kind == "transactions":
                kept.hashes.append(transaction_hash)

    def _forget(self) -> None:
        oldest = self._clock() - _LIFETIME_S
        for identifier in [i for i, kept in self._filters.items() if kept.asked_at < oldest]:
            del self._filters[identifier]

    def _add(self, kind: str, wanted: LogFilter | None) -> str:
        self._forget()
        if len(self._filters) >= _LIMIT:
            raise RpcError(codec.SERVER_ERROR, f"too many filters: at most {_LIMIT}; uninstall some")
        self._made += 1
        self._filters[self._made] = _Filter(kind, wanted, self._chain.head.number + 1, self._clock(), [])
        return quantity(self._made)

    def _get(self, params: list[Any]) -> _Filter:
        self._forget()
        kept = self._filters.get(codec.parse_number(codec.argument(params, 0), 0))
        if kept is None:
            raise RpcError(codec.SERVER_ERROR, "filter not found")
        kept.asked_at = self._clock()
        return kept

    def _changes(self, params: list[Any]) -> list[Any]:
        kept = self._get(params)
        head = self._chain.head.number
        first, kept.next_block = min(kept.next_block, head + 1), head + 1
        if kept.kind == "transactions":
            hashes, kept.hashes = kept.hashes, []
            return [data(transaction_hash) for transaction_hash in hashes]
        if kept.kind == "blocks":
            found = [self._chain.store.block_hash(number) for number in range(first, head + 1)]
            return [data(block_hash) for block_hash in found if block_hash is not None]
        assert kept.wanted is not None
        low, high = kept.wanted.range(self._chain)
        return self._find(kept.wanted, max(first, low), high)

    def _logs(self, params: list[Any]) -> list[Any]:
        kept = self._get(params)
        if kept.wanted is None:
            raise RpcError(codec.SERVER_ERROR, "filter not found")
        return self._find(kept.wanted, *kept.wanted.range(self._chain))

    def _find(self, wanted: LogFilter, first: int, last: int) -> list[Any]:
        return [log_json(entry) for entry in self._chain.store.logs(first, last, wanted.addresses, wanted.topics)]

    def _remove(self, params: list[Any]) -> bool:
        return self._filters.pop(codec.parse_number(codec.argument(params, 0), 0), None) is not None
