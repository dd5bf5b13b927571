"""A voucher's digest is EIP-712's, in the reading of others too; the contract's reading: tests/contracts/test_inference_escrow.py."""

import dataclasses
import json
from typing import Any

import pytest
from coincurve import PublicKey
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.voucher import NAME, VERSION, Voucher, domain_separator
from tests.vectors.generate import HERE, account

VECTORS: list[dict[str, str]] = json.loads((HERE / "vouchers.json").read_text())
ADDRESS = st.binary(min_size=20, max_size=20)
U64, U256 = st.integers(0, 2**64 - 1), st.integers(0, 2**256 - 1)
VOUCHERS = st.builds(Voucher, client=ADDRESS, server=ADDRESS, task=U64, amount=U256, expiry=U64)
SOME = Voucher(client=account(1), server=account(2), task=1, amount=5, expiry=9)


def of_vector(vector: dict[str, str]) -> Voucher:
    return Voucher(
        client=bytes.fromhex(vector["client"]),
        server=bytes.fromhex(vector["server"]),
        task=int(vector["task"]),
        amount=int(vector["amount"]),
        expiry=int(vector["expiry"]),
    )


def digest_by_eth_account(voucher: Voucher, chain_id: int, escrow: bytes) -> bytes:
    """An independent implementation of EIP-712: the one that wallets in Python sign with."""
    kinds = {"client": "address", "server": "address", "task": "uint64", "amount": "uint256", "expiry": "uint64"}
    message: dict[str, Any] = dataclasses.asdict(voucher)
    message |= {name: "0x" + message[name].hex() for name in ("client", "server")}
    typed = encode_typed_data(
        {"name": NAME, "version": VERSION, "chainId": chain_id, "verifyingContract": "0x" + escrow.hex()},
        {"Voucher": [{"name": name, "type": kind} for name, kind in kinds.items()]},
        message,
    )
    return bytes(keccak(b"\x19" + typed.version + typed.header + typed.body))


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors_give_their_digests_and_were_signed_by_the_test_key(vector: dict[str, str]) -> None:
    chain_id, escrow = int(vector["chain_id"]), bytes.fromhex(vector["escrow"])
    voucher = of_vector(vector)
    separator = domain_separator(chain_id, escrow)
    assert separator.hex() == vector["separator"]
    assert voucher.digest(separator).hex() == vector["digest"]
    assert digest_by_eth_account(voucher, chain_id, escrow).hex() == vector["digest"]
    signature = bytes.fromhex(vector["signature"])
    recoverable = signature[:64] + bytes([signature[64] - 27])
    key = PublicKey.from_signature_and_message(recoverable, bytes.fromhex(vector["digest"]), hasher=None)
    assert bytes(keccak(key.format(compressed=False)[1:])[-20:]) == account(1)


@given(VOUCHERS, U256, ADDRESS)
def test_any_voucher_has_the_digest_that_wallets_sign(voucher: Voucher, chain_id: int, escrow: bytes) -> None:
    assert voucher.digest(domain_separator(chain_id, escrow)) == digest_by_eth_account(voucher, chain_id, escrow)


def test_every_field_and_the_domain_are_in_the_digest() -> None:
    digests = {vector["digest"] for vector in VECTORS}
    assert len(digests) == len(VECTORS)


@pytest.mark.parametrize("field", ["client", "server"])
@pytest.mark.parametrize("length", [0, 19, 21, 32])
def test_an_address_has_twenty_bytes(field: str, length: int) -> None:
    with pytest.raises(InvalidInput, match=f"{field} must be an address of 20 bytes, got {length}"):
        dataclasses.replace(SOME, **{field: bytes(length)})
    with pytest.raises(InvalidInput, match="the escrow must be"):
        domain_separator(1, bytes(length))


@pytest.mark.parametrize(("field", "bits"), [("task", 64), ("amount", 256), ("expiry", 64)])
def test_numbers_hold_their_bounds_from_both_sides(field: str, bits: int) -> None:
    for good in (0, 2**bits - 1):
        assert getattr(dataclasses.replace(SOME, **{field: good}), field) == good
    for bad in (-1, 2**bits):
        with pytest.raises(OutOfRange, match=rf"{field} must be between 0 and 2\^{bits} - 1, got {bad}"):
            dataclasses.replace(SOME, **{field: bad})
    with pytest.raises(OutOfRange, match="the chain id"):
        domain_separator(2**256, bytes(20))
