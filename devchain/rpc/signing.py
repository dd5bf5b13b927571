"""Transactions that the devchain signs itself, for its development accounts."""

from __future__ import annotations

from typing import Any

import coincurve
from eth_hash.auto import keccak

from devchain.chain import rlp
from devchain.chain.questions import CallRequest
from devchain.rpc import codec


def sign(question: CallRequest, key: bytes, *, nonce: int, gas: int, base_fee: int, chain_id: int) -> bytes:
    """The raw transaction that sends what a question asks.

    With `gas_price` it is of type 0 or 1, else of type 2; a missing fee cap allows for twice the base fee, as the node's does.
    """
    kind, body = _body(question, nonce=nonce, gas=gas, base_fee=base_fee, chain_id=chain_id)
    if not kind:
        digest = keccak(rlp.encode([*body, rlp.integer(chain_id), b"", b""]))
        parity, r, s = _signature(digest, key)
        return rlp.encode([*body, *map(rlp.integer, (2 * chain_id + 35 + parity, r, s))])
    return kind + rlp.encode([*body, *map(rlp.integer, _signature(keccak(kind + rlp.encode(body)), key))])


def unsigned(
    question: CallRequest, *, nonce: int, gas: int, base_fee: int, chain_id: int
) -> tuple[bytes, dict[str, Any]]:
    """(the same transaction as go-ethereum encodes one with an empty signature, and as JSON)."""
    kind, body = _body(question, nonce=nonce, gas=gas, base_fee=base_fee, chain_id=chain_id)
    raw = kind + rlp.encode([*body, b"", b"", b""])
    tip, cap = _fees(question, base_fee)
    answer: dict[str, Any] = {
        "blockHash": None,
        "blockNumber": None,
        "from": codec.data(question.sender),
        "gas": codec.quantity(gas),
        "gasPrice": codec.quantity(cap),
        "hash": codec.data(keccak(raw)),
        "input": codec.data(question.data),
        "nonce": codec.quantity(nonce),
        "to": None if question.to is None else codec.data(question.to),
        "transactionIndex": None,
        "value": codec.quantity(question.value),
        "type": codec.quantity(kind[0] if kind else 0),
    }
    if kind == b"\x02":
        answer |= {"maxFeePerGas": codec.quantity(cap), "maxPriorityFeePerGas": codec.quantity(tip)}
    if kind:
        answer |= {
            "accessList": [
                {"address": codec.data(address), "storageKeys": [codec.data(slot) for slot in slots]}
                for address, slots in question.access_list or ()
            ],
            "chainId": codec.quantity(chain_id),
        }
    return raw, answer | {"v": "0x0", "r": "0x0", "s": "0x0"}


def _fees(question: CallRequest, base_fee: int) -> tuple[int, int]:
    """(tip cap, fee cap)"""
    if question.gas_price is not None:
        return question.gas_price, question.gas_price
    tip = question.tip_cap or 0
    return tip, tip + 2 * base_fee if question.fee_cap is None else question.fee_cap


def _body(question: CallRequest, *, nonce: int, gas: int, base_fee: int, chain_id: int) -> tuple[bytes, list[rlp.Item]]:
    """(type byte, empty for type 0; the fields that are signed, but for the three that type 0 adds)."""
    to, value, data = question.to or b"", rlp.integer(question.value), question.data
    accesses: rlp.Item = [[address, list(keys)] for address, keys in question.access_list or ()]
    tip, cap = _fees(question, base_fee)
    if question.gas_price is not None and question.access_list is None:
        return b"", [*map(rlp.integer, (nonce, cap, gas)), to, value, data]
    kind, fees = (b"\x01", [cap]) if question.gas_price is not None else (b"\x02", [tip, cap])
    return kind, [*map(rlp.integer, (chain_id, nonce, *fees, gas)), to, value, data, accesses]


def _signature(digest: bytes, key: bytes) -> tuple[int, int, int]:
    """(parity, r, s) with the lower s."""
    raw = coincurve.PrivateKey(key).sign_recoverable(digest, hasher=None)
    return raw[64], int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big")
