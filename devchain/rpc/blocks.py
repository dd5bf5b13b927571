"""Blocks, transactions and receipts on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from devchain.chain.blocks import EMPTY_ROOT, EMPTY_UNCLES_HASH, ZERO_HASH, Header, StoredReceipt
from devchain.chain.store import LogEntry
from devchain.chain.transactions import SignedTransaction
from devchain.rpc import codec
from devchain.rpc.codec import data, quantity
from devchain.rpc.logs import log_json


def header_json(header: Header) -> dict[str, Any]:
    return {
        "baseFeePerGas": quantity(header.base_fee),
        "difficulty": "0x0",
        "extraData": "0x",
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "hash": data(header.hash),
        "logsBloom": data(header.bloom),
        "miner": data(header.miner),
        "mixHash": data(ZERO_HASH),
        "nonce": "0x0000000000000000",
        "number": quantity(header.number),
        "parentHash": data(header.parent_hash),
        "receiptsRoot": data(EMPTY_ROOT),
        "sha3Uncles": data(EMPTY_UNCLES_HASH),
        "stateRoot": data(header.state_digest),
        "timestamp": quantity(header.timestamp),
        "transactionsRoot": data(header.transactions_root),
    }


def transaction_json(
    transaction: SignedTransaction, header: Header | None, receipt: StoredReceipt | None
) -> dict[str, Any]:
    """header and receipt: None while it waits."""
    price = transaction.fee_cap if receipt is None else receipt.price
    answer: dict[str, Any] = {
        "blockHash": None if header is None else data(header.hash),
        "blockNumber": None if header is None else quantity(header.number),
        "from": data(transaction.sender),
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(price),
        "hash": data(transaction.hash),
        "input": data(transaction.data),
        "nonce": quantity(transaction.nonce),
        "to": None if transaction.to is None else data(transaction.to),
        "transactionIndex": None if receipt is None else quantity(receipt.index),
        "value": quantity(transaction.value),
        "type": quantity(transaction.type),
    }
    if transaction.type == 2:
        answer["maxFeePerGas"] = quantity(transaction.fee_cap)
        answer["maxPriorityFeePerGas"] = quantity(transaction.tip_cap)
    if transaction.type:
        answer["accessList"] = [
            {"address": data(address), "storageKeys": [data(key) for key in keys]}
            for address, keys in transaction.access_list
        ]
    if transaction.chain_id is not None:
        answer["chainId"] = quantity(transaction.chain_id)
    answer |= {"v": quantity(transaction.v), "r": quantity(transaction.r), "s": quantity(transaction.s)}
    return answer


def receipt_json(receipt: StoredReceipt, header: Header, *, always_price: bool) -> dict[str, Any]:
    """always_price: `effectiveGasPrice` also for types 0 and 1, for which the node leaves it out."""
    transaction = receipt.transaction
    contract = receipt.contract_address
    answer: dict[str, Any] = {
        "blockHash": data(header.hash),
        "blockNumber": quantity(header.number),
        "contractAddress": None if contract is None else data(contract),
        "cumulativeGasUsed": quantity(receipt.cumulative_gas_used),
        "from": codec.checksum_address(transaction.sender),
        "gasUsed": quantity(receipt.gas_used),
        "logs": [log_json(entry) for entry in receipt_log_entries(receipt, header)],
        "logsBloom": data(receipt.bloom),
        "status": quantity(receipt.status),
        "to": None if transaction.to is None else data(transaction.to),
        "transactionHash": data(transaction.hash),
        "transactionIndex": quantity(receipt.index),
        "type": quantity(transaction.type),
    }
    if transaction.type == 2 or always_price:
        answer["effectiveGasPrice"] = quantity(receipt.price)
    return answer


def receipt_log_entries(receipt: StoredReceipt, header: Header) -> Iterator[LogEntry]:
    for offset, log in enumerate(receipt.logs):
        yield LogEntry(
            log, header.number, header.hash, receipt.transaction.hash, receipt.index, receipt.first_log_index + offset
        )
