"""Headers alone, transactions as the bytes that were signed, and what waits: as go-ethereum and Artela's nodes answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devchain.chain.chain import EmbeddedChain
from devchain.rpc import codec
from devchain.rpc.blocks import header_json, transaction_json
from devchain.rpc.codec import data, quantity


def table(chain: EmbeddedChain, number_of: Callable[[Any, int], int]) -> dict[str, Callable[[list[Any]], Any]]:
    """number_of: the block that a tag means."""

    def by_number(params: list[Any]) -> dict[str, Any] | None:
        header = chain.store.header(number_of(codec.argument(params, 0), 0))
        if header is None:
            return None
        answer = header_json(header) | {"size": quantity(header.size)}
        return answer | {"hash": None, "nonce": None, "miner": None} if params[0] == "pending" else answer

    def by_hash(params: list[Any]) -> dict[str, Any] | None:
        header = chain.store.header_by_hash(codec.parse_hash(codec.argument(params, 0), 0))
        return None if header is None else header_json(header) | {"size": quantity(header.size)}

    def raw_by_hash(params: list[Any]) -> str | None:
        wanted = codec.parse_hash(codec.argument(params, 0), 0)
        found = chain.store.receipt(wanted)
        transaction = chain.pool.get(wanted) if found is None else found[1].transaction
        return None if transaction is None else data(transaction.raw)

    def raw_at(number: int, params: list[Any]) -> str | None:
        index = codec.parse_quantity(codec.argument(params, 1), 1, 64)
        receipts = chain.store.receipts(number)
        return data(receipts[index].transaction.raw) if index < len(receipts) else None

    def raw_by_block_hash(params: list[Any]) -> str | None:
        header = chain.store.header_by_hash(codec.parse_hash(codec.argument(params, 0), 0))
        return None if header is None else raw_at(header.number, params)

    return {
        "eth_getHeaderByNumber": by_number,
        "eth_getHeaderByHash": by_hash,
        "eth_getRawTransactionByHash": raw_by_hash,
        "eth_getRawTransactionByBlockNumberAndIndex": lambda p: raw_at(number_of(codec.argument(p, 0), 0), p),
        "eth_getRawTransactionByBlockHashAndIndex": raw_by_block_hash,
        "eth_pendingTransactions": lambda _: [transaction_json(waiting, None, None) for waiting in chain.pool.all()],
    }
