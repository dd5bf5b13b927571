"""What waits for a block, in go-ethereum's three shapes. A node has them with its namespace `txpool` switched on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devchain.chain.chain import EmbeddedChain
from devchain.chain.transactions import SignedTransaction
from devchain.rpc import codec
from devchain.rpc.blocks import transaction_json
from devchain.rpc.codec import checksum_address, quantity

_Kept = dict[str, dict[str, SignedTransaction]]


def table(chain: EmbeddedChain) -> dict[str, Callable[[list[Any]], Any]]:
    def split() -> tuple[_Kept, _Kept]:
        """(what could go into the next block but for its gas, what waits behind a gap of nonces), by sender and nonce."""
        pending: _Kept = {}
        queued: _Kept = {}
        for waiting in sorted(chain.pool.all(), key=lambda t: (t.sender, t.nonce)):
            where = pending if waiting.nonce < chain.pending_nonce(waiting.sender) else queued
            where.setdefault(checksum_address(waiting.sender), {})[str(waiting.nonce)] = waiting
        return pending, queued

    def shown(show: Callable[[SignedTransaction], Any]) -> dict[str, Any]:
        return {
            name: {sender: {nonce: show(t) for nonce, t in own.items()} for sender, own in kept.items()}
            for name, kept in zip(("pending", "queued"), split(), strict=True)
        }

    def status(_: list[Any]) -> dict[str, str]:
        return {
            name: quantity(sum(map(len, kept.values())))
            for name, kept in zip(("pending", "queued"), split(), strict=True)
        }

    def content_from(params: list[Any]) -> dict[str, Any]:
        sender = checksum_address(codec.parse_address(codec.argument(params, 0), 0))
        return {name: kept.get(sender, {}) for name, kept in shown(_whole).items()}

    return {
        "txpool_content": lambda _: shown(_whole),
        "txpool_contentFrom": content_from,
        "txpool_inspect": lambda _: shown(_line),
        "txpool_status": status,
    }


def _whole(transaction: SignedTransaction) -> dict[str, Any]:
    return transaction_json(transaction, None, None)


def _line(transaction: SignedTransaction) -> str:
    to = "contract creation" if transaction.to is None else checksum_address(transaction.to)
    return f"{to}: {transaction.value} wei + {transaction.gas} gas × {transaction.fee_cap} wei"
