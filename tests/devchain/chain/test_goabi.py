"""ABI decoding as go-ethereum does it: what encoders write, what noise does, and the words of refusals."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi import encode
from hypothesis import given
from hypothesis import strategies as st

from devchain.chain import goabi
from devchain.chain.goabi import AbiError

TYPES: tuple[goabi.Type, ...] = ("address", "bytes", [("string", "bytes")], "uint256", "uint64", "int8")
NAMES = ["address", "bytes", "(string,bytes)[]", "uint256", "uint64", "int8"]
values = st.tuples(
    st.binary(min_size=20, max_size=20),
    st.binary(max_size=70),
    st.lists(st.tuples(st.text(max_size=40), st.binary(max_size=70)), max_size=4),
    st.integers(0, 2**256 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(-128, 127),
)


@given(given=values, tail=st.binary(max_size=40))
def test_what_encoders_write_is_read_back_whatever_follows_it(given: tuple[Any, ...], tail: bytes) -> None:
    address, payload, pairs, *numbers = given
    data = encode(NAMES, ["0x" + address.hex(), payload, pairs, *numbers])
    got = goabi.decode(TYPES, data + tail)
    assert got[:2] == [address, payload]
    assert [(bytes(key).decode("utf-8", "surrogatepass"), bytes(value)) for key, value in got[2]] == pairs
    assert got[3:] == numbers


@given(data=st.binary(max_size=400))
def test_noise_is_decoded_or_refused(data: bytes) -> None:
    try:
        goabi.decode(TYPES, data)
    except AbiError as refused:
        assert str(refused).startswith("abi: ")


@given(
    words=st.lists(
        st.one_of(st.integers(0, 400), st.integers(2**63 - 400, 2**64 + 400), st.integers(2**256 - 400, 2**256 - 1))
    )
)
def test_offsets_and_lengths_of_any_size_are_decoded_or_refused(words: list[int]) -> None:
    try:
        goabi.decode(TYPES, b"".join(word.to_bytes(32, "big") for word in words))
    except AbiError as refused:
        assert str(refused).startswith("abi: ")


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.mark.parametrize(
    ("types", "data", "text"),
    [
        (("address",), b"", "abi: attempting to unmarshall an empty string while arguments are expected"),
        (("address",), bytes(31), "abi: cannot marshal in to go type: length insufficient 31 require 32"),
        (("address", "uint64"), bytes(63), "abi: cannot marshal in to go type: length insufficient 63 require 64"),
        (("uint64",), word(2**64), "abi: improperly encoded uint64 value"),
        (("int8",), word(128), "abi: improperly encoded int8 value"),
        (("int8",), word(2**256 - 129), "abi: improperly encoded int8 value"),
        (("bytes",), word(32), "abi: cannot marshal in to go slice: offset 64 would go over slice boundary (len=32)"),
        (("bytes",), word(32) + word(1), "abi: cannot marshal in to go type: length insufficient 64 require 65"),
        (("bytes",), word(0) + word(2**63), None),
        (("bytes",), word(32) + word(2**63), f"abi: length larger than int64: {2**63 + 64}"),
        ((["address"],), word(32) + word(2) + word(7),
         "abi: cannot marshal into go array: offset 64 would go over slice boundary (len=32)"),
    ],
)  # fmt: skip
def test_a_refusal_has_go_ethereums_words(types: tuple[goabi.Type, ...], data: bytes, text: str | None) -> None:
    if text is None:
        assert goabi.decode(types, data) == [b""]
        return
    with pytest.raises(AbiError) as refused:
        goabi.decode(types, data)
    assert str(refused.value) == text
