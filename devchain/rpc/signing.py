"""Transactions that the devchain signs itself, for its development accounts."""

from __future__ import annotations

import coincurve
from eth_hash.auto import keccak

from devchain.chain import rlp
from devchain.chain.questions import Question


def sign(question: Question, key: bytes, *, nonce: int, gas: int, base_fee: int, chain_id: int) -> bytes:
    """The raw transaction that sends what a question asks.

    With `gas_price` it is of type 0 or 1, else of type 2; a missing fee cap allows for twice the base fee, as the node's does.
    """
    to, value, data = question.to or b"", rlp.integer(question.value), question.data
    accesses: rlp.Item = [[address, list(keys)] for address, keys in question.access_list or ()]
    if question.gas_price is not None and question.access_list is None:
        body: list[rlp.Item] = [*map(rlp.integer, (nonce, question.gas_price, gas)), to, value, data]
        digest = keccak(rlp.encode([*body, rlp.integer(chain_id), b"", b""]))
        parity, r, s = _signature(digest, key)
        return rlp.encode([*body, *map(rlp.integer, (2 * chain_id + 35 + parity, r, s))])
    if question.gas_price is not None:
        kind, fees = b"\x01", [question.gas_price]
    else:
        tip = question.tip_cap or 0
        cap = tip + 2 * base_fee if question.fee_cap is None else question.fee_cap
        kind, fees = b"\x02", [tip, cap]
    body = [*map(rlp.integer, (chain_id, nonce, *fees, gas)), to, value, data, accesses]
    return kind + rlp.encode([*body, *map(rlp.integer, _signature(keccak(kind + rlp.encode(body)), key))])


def _signature(digest: bytes, key: bytes) -> tuple[int, int, int]:
    """(parity, r, s) with the lower s."""
    raw = coincurve.PrivateKey(key).sign_recoverable(digest, hasher=None)
    return raw[64], int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big")
