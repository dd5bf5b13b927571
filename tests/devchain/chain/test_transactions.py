"""Signed transactions: what is taken, from whom, and what is refused in which words."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from devchain.chain import rlp
from devchain.chain.transactions import SECP256K1_N, TransactionRefused, decode, intrinsic_gas

ME = Account.from_key(b"\x01" * 32)
TO = b"\x77" * 20
CHAIN = 11820
small = st.integers(0, 2**64 - 2)
accesses = st.lists(
    st.fixed_dictionaries(
        {
            "address": st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
            "storageKeys": st.lists(st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex()), max_size=3),
        }
    ),
    max_size=3,
)
common = {"nonce": small, "gas": small, "value": st.integers(0, 2**256 - 1), "data": st.binary(max_size=80)}
price = st.integers(0, 2**256 - 1)
shapes = st.one_of(
    st.fixed_dictionaries({**common, "gasPrice": price}),
    st.fixed_dictionaries({**common, "gasPrice": price, "accessList": accesses}),
    st.fixed_dictionaries({**common, "maxFeePerGas": price, "maxPriorityFeePerGas": price, "accessList": accesses}),
)


@given(shape=shapes, creates=st.booleans())
def test_what_a_wallet_signs_is_read_back_field_by_field(shape: dict[str, Any], creates: bool) -> None:
    fields = {**shape, "chainId": CHAIN, **({} if creates else {"to": TO})}
    if "accessList" in shape and "gasPrice" in shape:
        fields["type"] = 1
    signed = ME.sign_transaction(fields)
    got = decode(bytes(signed.raw_transaction), CHAIN)
    assert (got.hash, got.sender) == (bytes(signed.hash), bytes.fromhex(ME.address[2:]))
    assert (got.nonce, got.gas, got.value, got.data) == tuple(shape[k] for k in ("nonce", "gas", "value", "data"))
    assert (got.to, got.chain_id) == (None if creates else TO, CHAIN)
    cap = shape.get("gasPrice", shape.get("maxFeePerGas"))
    assert (got.fee_cap, got.tip_cap) == (cap, shape.get("maxPriorityFeePerGas", cap))
    assert [(("0x" + a.hex()), ["0x" + k.hex() for k in keys]) for a, keys in got.access_list] == [
        (entry["address"], entry["storageKeys"]) for entry in shape.get("accessList", [])
    ]
    assert got.type == (2 if "maxFeePerGas" in shape else 1 if "accessList" in shape else 0)


def legacy(**changes: Any) -> list[rlp.Item]:
    fields: dict[str, Any] = {"nonce": 0, "gas": 21_000, "gasPrice": 1, "value": 0, "to": TO, "chainId": CHAIN}
    items = list(rlp.decode(bytes(ME.sign_transaction(fields).raw_transaction)))
    for position, value in changes.items():
        items[int(position[1:])] = value
    return items


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "typed transaction too short"),
        (b"\x01", "typed transaction too short"),
        (b"\x03\xc0", "transaction type not supported"),
        (b"\x7f\xc0", "transaction type not supported"),
        (b"\xc0", "rlp: too few elements for types.LegacyTx"),
        (rlp.encode([*legacy(), b""]), "rlp: input list has too many elements for types.LegacyTx"),
        (b"\x02\xc0", "rlp: too few elements for types.DynamicFeeTx"),
        (rlp.encode(legacy(f0=b"\0")), "rlp: non-canonical integer (leading zero bytes)"),
        (rlp.encode(legacy(f0=b"\1" * 9)), "rlp: input string too long"),
        (rlp.encode(legacy(f3=b"\1" * 19)), "rlp: input string too short for common.Address"),
        (rlp.encode(legacy(f6=b"\x05")), "invalid transaction v, r, s values"),
        (rlp.encode(legacy(f7=b"")), "invalid transaction v, r, s values"),
        (rlp.encode(legacy(f8=rlp.integer(SECP256K1_N // 2 + 1))), "invalid transaction v, r, s values"),
        (rlp.encode(legacy(f7=rlp.integer(SECP256K1_N))), "invalid transaction v, r, s values"),
        (rlp.encode(legacy(f6=b"", f7=b"", f8=b"")),
         "not supported: without a signature a transaction asks a verifier Aspect for its sender"),
    ],
)  # fmt: skip
def test_what_is_no_transaction_is_refused_with_a_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(TransactionRefused) as refused:
        decode(raw, CHAIN)
    assert str(refused.value) == reason


@given(raw=st.binary(max_size=200), kind=st.sampled_from([b"", b"\x01", b"\x02"]))
def test_noise_is_refused_and_nothing_else_happens(raw: bytes, kind: bytes) -> None:
    with pytest.raises(TransactionRefused):
        decode(kind + raw, CHAIN)


@given(data=st.data())
def test_a_flipped_bit_is_another_sender_or_a_refusal(data: st.DataObject) -> None:
    fields: dict[str, Any] = {
        "nonce": 3,
        "gas": 21_000,
        "maxFeePerGas": 9,
        "maxPriorityFeePerGas": 1,
        "value": 5,
        "to": TO,
    }
    raw = bytearray(ME.sign_transaction({**fields, "chainId": CHAIN}).raw_transaction)
    place = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[place // 8] ^= 1 << place % 8
    with contextlib.suppress(TransactionRefused):
        assert decode(bytes(raw), CHAIN).sender != bytes.fromhex(ME.address[2:])


def test_a_transaction_for_another_chain_is_refused() -> None:
    fields = {"nonce": 0, "gas": 21_000, "gasPrice": 1, "value": 0, "to": TO, "chainId": 1}
    with pytest.raises(TransactionRefused, match="invalid chain id for signer: have 1 want 11820"):
        decode(bytes(ME.sign_transaction(fields).raw_transaction), CHAIN)


@given(
    zeros=st.integers(0, 50),
    others=st.integers(0, 50),
    creates=st.booleans(),
    keys=st.lists(st.integers(0, 3), max_size=3),
)
def test_intrinsic_gas_counts_bytes_and_accesses(zeros: int, others: int, creates: bool, keys: list[int]) -> None:
    access_list = tuple((TO, (bytes(32),) * count) for count in keys)
    gas = intrinsic_gas(bytes(zeros) + b"\x01" * others, creates=creates, access_list=access_list)
    base = 53_000 if creates else 21_000
    assert gas == base + 4 * zeros + 16 * others + 2400 * len(keys) + 1900 * sum(keys)
