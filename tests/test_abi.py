"""Calldata, results, logs and errors, both ways, over the contracts' own ABI."""

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from linklearner import artifacts
from linklearner.abi import Interface, error_string
from linklearner.domain.errors import InvalidInput

POOL = Interface(artifacts.contract("TrainingPool").abi)
U64 = st.integers(0, 2**64 - 1)
ADDRESS = st.binary(min_size=20, max_size=20)
WORD = st.binary(min_size=32, max_size=32)


@given(U64, WORD, st.binary(max_size=40), st.lists(st.binary(max_size=40), max_size=4))
def test_decoding_a_call_gives_back_its_arguments(task: int, digest: bytes, header: bytes, groups: list[bytes]) -> None:
    decoded = POOL.decode_call(POOL.encode_call("submit", task, digest, header, groups))
    assert decoded.name == "submit"
    assert decoded.values == {"task": task, "digest": digest, "header": header, "groups": tuple(groups)}


@given(
    st.lists(
        st.tuples(ADDRESS, U64, U64, st.binary(max_size=9), st.lists(WORD, max_size=2), st.binary(max_size=9)),
        max_size=3,
    )
)
def test_structs_come_out_by_name_and_addresses_as_bytes(
    updates: list[tuple[bytes, int, int, bytes, list[bytes], bytes]],
) -> None:
    decoded = POOL.decode_call(POOL.encode_call("settle", 1, 2, 3, updates)).values["updates"]
    names = ("contributor", "weight", "effective", "header", "digests", "pages")
    assert [tuple(one[name] for name in names) for one in decoded] == [(*u[:4], tuple(u[4]), u[5]) for u in updates]


def test_selectors_are_those_of_the_signatures() -> None:
    selector = keccak(b"settle(uint64,uint64,uint32,(address,uint64,uint64,bytes,bytes32[],bytes)[])")[:4]
    assert POOL.encode_call("settle", 1, 1, 0, [])[:4] == selector


def test_a_log_is_decoded_from_topics_and_data() -> None:
    topics = [POOL.topic("UpdateAccepted"), *(encode(["uint64"], [n]) for n in (1, 2)), bytes(12) + b"\7" * 20]
    decoded = POOL.decode_log(topics, encode(["bytes32", "uint64", "uint64"], [b"\5" * 32, 3, 4]))
    assert decoded is not None
    assert decoded.name == "UpdateAccepted"
    assert decoded.values == {
        "task": 1,
        "round": 2,
        "contributor": b"\7" * 20,
        "digest": b"\5" * 32,
        "weight": 3,
        "effective": 4,
    }
    assert list(decoded.values) == ["task", "round", "contributor", "digest", "weight", "effective"]


def test_what_belongs_to_another_contract_is_none_and_what_is_broken_is_refused() -> None:
    assert POOL.decode_log([b"\1" * 32], b"") is None
    assert POOL.decode_log([], b"") is None
    assert POOL.decode_error(b"\1\2\3\4") is None
    assert POOL.decode_error(keccak(b"WrongRound(uint64,uint64)")[:4] + b"\1") is None
    for broken in (
        lambda: POOL.decode_log([POOL.topic("GroupMerged")], b""),
        lambda: POOL.decode_call(b"\1\2\3\4"),
        lambda: POOL.decode_call(b""),
    ):
        with pytest.raises(InvalidInput):
            broken()
    with pytest.raises(InvalidInput):
        POOL.decode_result("isOwner", b"\1")


@given(st.text())
def test_revert_strings_are_read_back(text: str) -> None:
    try:
        data = bytes.fromhex("08c379a0") + encode(["string"], [text])
    except UnicodeEncodeError:
        return
    assert error_string(data) == text


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading_of_reverts(data: bytes) -> None:
    error_string(data)
    error_string(bytes.fromhex("08c379a0") + data)
    error_string(bytes.fromhex("4e487b71") + data)
    POOL.decode_error(data)
