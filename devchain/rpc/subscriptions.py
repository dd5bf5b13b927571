"""What WebSocket clients hear of without asking: new heads, logs, arriving transactions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

from devchain.chain.blocks import Block
from devchain.chain.store import LogEntry
from devchain.rpc import bounds, codec
from devchain.rpc.blocks import header_json, receipt_log_entries
from devchain.rpc.codec import RpcError, data
from devchain.rpc.logs import LogFilter, log_json, parse_log_filter


class Subscriptions:
    """The subscriptions of one connection. Runs on the server's loop."""

    def __init__(self, *, plain_numbers: bool) -> None:
        """plain_numbers: heads carry JSON numbers where hex belongs, as the node sends them."""
        self._plain_numbers = plain_numbers
        self._wanted: dict[str, tuple[str, LogFilter | None]] = {}

    def __len__(self) -> int:
        return len(self._wanted)

    def subscribe(self, params: list[Any]) -> str:
        """`eth_subscribe`. Raises RpcError."""
        kind = codec.argument(params, 0)
        if kind not in ("newHeads", "logs", "newPendingTransactions", "syncing"):
            raise RpcError(codec.METHOD_NOT_FOUND, f'no "{kind!s:.60}" subscription in eth namespace')
        if len(self._wanted) >= bounds.SUBSCRIPTIONS:
            raise RpcError(codec.SERVER_ERROR, f"too many subscriptions: at most {bounds.SUBSCRIPTIONS} a connection")
        wanted = None
        if kind == "logs":
            wanted = parse_log_filter(params[1] if len(params) > 1 and params[1] else {}, strict=self._plain_numbers)
            criteria = wanted.criteria + sum(kept.criteria for _, kept in self._wanted.values() if kept is not None)
            if criteria > bounds.CRITERIA:
                text = f"too many addresses and topics in subscriptions: at most {bounds.CRITERIA} a connection"
                raise RpcError(codec.SERVER_ERROR, text)
        identifier = "0x" + secrets.token_hex(16)
        self._wanted[identifier] = (kind, wanted)
        return identifier

    def unsubscribe(self, params: list[Any]) -> bool:
        """`eth_unsubscribe`. Raises RpcError."""
        identifier = codec.argument(params, 0)
        if not isinstance(identifier, str) or self._wanted.pop(identifier, None) is None:
            raise RpcError(codec.SERVER_ERROR, "subscription not found")
        return True

    def block(self, block: Block) -> Iterator[dict[str, Any]]:
        """The notifications due after a block."""
        head: dict[str, Any] | None = None
        entries: list[LogEntry] | None = None
        for identifier, (kind, wanted) in self._wanted.items():
            if kind == "newHeads":
                head = head or self._head(block)
                yield _notification(identifier, head)
            elif kind == "logs" and wanted is not None:
                if entries is None:
                    entries = [e for r in block.receipts for e in receipt_log_entries(r, block.header)]
                for entry in entries:
                    if wanted.matches(entry.log):
                        yield _notification(identifier, log_json(entry))

    def transaction(self, transaction_hash: bytes) -> Iterator[dict[str, Any]]:
        for identifier, (kind, _) in self._wanted.items():
            if kind == "newPendingTransactions":
                yield _notification(identifier, data(transaction_hash))

    def _head(self, block: Block) -> dict[str, Any]:
        head = header_json(block.header)
        if self._plain_numbers:
            for key in ("number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas", "difficulty"):
                head[key] = int(head[key], 16)
        return head


def _notification(identifier: str, result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": identifier, "result": result}}
