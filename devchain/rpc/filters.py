"""Filters that a client polls: what is new since it last asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from devchain.chain.chain import EmbeddedChain
from devchain.rpc import bounds, codec
from devchain.rpc.codec import RpcError, data, quantity
from devchain.rpc.logs import LogFilter, logs_json, parse_log_filter

_LIFETIME_S: Final = 300.0
"""A filter that nobody asks for this long is gone, as on every node."""


@dataclass(slots=True)
class _Filter:
    kind: str
    """logs, blocks or transactions."""
    wanted: LogFilter | None
    next_block: int
    """The first that its owner has not seen."""
    asked_at: float
    hashes: list[bytes]
    """Of transactions that arrived since."""


class Filters:
    """The filters of one chain. Runs on the chain's thread."""

    def __init__(self, chain: EmbeddedChain, clock: Callable[[], float]) -> None:
        self._chain = chain
        self._clock = clock
        self._filters: dict[int, _Filter] = {}
        self._made = 0

    def table(self) -> dict[str, Callable[[list[Any]], Any]]:
        """The methods, for the method table."""
        return {
            "eth_newFilter": lambda p: self._add("logs", parse_log_filter(codec.argument(p, 0)).begun(self._chain)),
            "eth_newBlockFilter": lambda _: self._add("blocks", None),
            "eth_newPendingTransactionFilter": lambda _: self._add("transactions", None),
            "eth_getFilterChanges": self._changes,
            "eth_getFilterLogs": self._logs,
            "eth_uninstallFilter": self._remove,
        }

    def transaction_arrived(self, transaction_hash: bytes) -> None:
        self._forget()
        for identifier, kept in list(self._filters.items()):
            if kept.kind == "transactions":
                if len(kept.hashes) >= bounds.ARRIVALS:
                    del self._filters[identifier]  # better gone than wrong: its owner hears of it
                else:
                    kept.hashes.append(transaction_hash)

    def rewound(self) -> None:
        """The chain went back: blocks that take the place of those that are gone are new to every filter."""
        following = self._chain.head.number + 1
        for kept in self._filters.values():
            kept.next_block = min(kept.next_block, following)

    def _forget(self) -> None:
        oldest = self._clock() - _LIFETIME_S
        for identifier in [i for i, kept in self._filters.items() if kept.asked_at < oldest]:
            del self._filters[identifier]

    def _add(self, kind: str, wanted: LogFilter | None) -> str:
        self._forget()
        if len(self._filters) >= bounds.FILTERS:
            raise RpcError(codec.SERVER_ERROR, f"too many filters: at most {bounds.FILTERS}; uninstall some")
        if wanted is not None:
            criteria = wanted.criteria + sum(kept.wanted.criteria for kept in self._filters.values() if kept.wanted)
            if criteria > 10 * bounds.CRITERIA:
                text = f"too many addresses and topics in filters: at most {10 * bounds.CRITERIA}; uninstall some"
                raise RpcError(codec.SERVER_ERROR, text)
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
        first = kept.next_block
        if kept.kind == "transactions":
            hashes, kept.hashes = kept.hashes, []
            return [data(transaction_hash) for transaction_hash in hashes]
        if kept.kind == "blocks":
            kept.next_block = head + 1
            found = [self._chain.store.block_hash(number) for number in range(first, head + 1)]
            return [data(block_hash) for block_hash in found if block_hash is not None]
        assert kept.wanted is not None
        low, high = kept.wanted.range(self._chain)
        changes = self._find(kept.wanted, max(first, low), min(high, head))
        kept.next_block = head + 1  # now, not before: what was too much for one answer is not lost
        return changes

    def _logs(self, params: list[Any]) -> list[Any]:
        kept = self._get(params)
        if kept.wanted is None:
            raise RpcError(codec.SERVER_ERROR, "filter not found")
        return self._find(kept.wanted, *kept.wanted.range(self._chain))

    def _find(self, wanted: LogFilter, first: int, last: int) -> list[Any]:
        return logs_json(self._chain.store.logs(first, last, wanted.addresses, wanted.topics))

    def _remove(self, params: list[Any]) -> bool:
        return self._filters.pop(codec.parse_number(codec.argument(params, 0), 0), None) is not None
