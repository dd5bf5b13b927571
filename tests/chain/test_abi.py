"""Calldata, results, logs and errors, both ways, over the contracts' own ABI."""

from contextlib import suppress

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from linklearner import artifacts
from linklearner.chain.abi import Interface, error_string
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


# -- what stands on a chain passed solc's decoder, not ours (tests/differential/calldata.py compares the two)

SUBMISSION = POOL.encode_call("submit", 1, b"\5" * 32, b"header", [b"first", b"second", b""])
VALUES = {"task": 1, "digest": b"\5" * 32, "header": b"header", "groups": (b"first", b"second", b"")}


def changed(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    "data",
    [
        changed(SUBMISSION, 4 + 192 - 1, b"\1"),
        SUBMISSION + b"\1",
        SUBMISSION + bytes(64),
        POOL.encode_call("submit", 1, b"\5" * 32, b"header", [b"first", b"second"])[:-26],
    ],
    ids=["dirty padding", "a byte behind", "words behind", "cut off padding"],
)
def test_what_solc_takes_is_read_and_is_not_canonical(data: bytes) -> None:
    values = POOL.decode_call(data).values
    assert (values["header"], values["groups"][:2]) == (VALUES["header"], (b"first", b"second"))
    with pytest.raises(InvalidInput, match="canonical"):
        POOL.decode_call(data, canonical=True)


def test_what_is_encoded_is_canonical() -> None:
    assert POOL.decode_call(SUBMISSION, canonical=True).values == VALUES


@given(U64, WORD, st.binary(max_size=70), st.lists(st.binary(max_size=70), max_size=4), st.data())
def test_no_bytes_break_the_reading_of_calls(
    task: int, digest: bytes, header: bytes, groups: list[bytes], draw: st.DataObject
) -> None:
    data = bytearray(POOL.encode_call("submit", task, digest, header, groups))
    for _ in range(draw.draw(st.integers(1, 4))):
        at = 4 + 32 * draw.draw(st.integers(0, len(data) // 32 - 1))
        data[at : at + 32] = draw.draw(st.integers(-(2**9), 2**9) | st.integers(-(2**255), 2**255)).to_bytes(
            33, "big", signed=True
        )[1:]
    with suppress(InvalidInput):
        POOL.decode_call(bytes(data))


@pytest.mark.parametrize("size", [1 << 10, 1 << 20])
def test_offsets_that_all_lead_to_one_tail_are_not_followed(size: int) -> None:
    """A thousand groups that are one megabyte would be a gigabyte; each of these is half of the calldata."""
    count = size // 64
    array = count.to_bytes(32, "big") + (32 * count).to_bytes(32, "big") * count
    tail = (size // 2).to_bytes(32, "big") + bytes(size // 2)
    head = b"".join(number.to_bytes(32, "big") for number in (1, 5, 32 * (5 + 1 + count), 160))
    data = POOL.selector("submit") + head + bytes(32) + array + tail
    with pytest.raises(InvalidInput, match="overlap"):
        POOL.decode_call(data)


def test_two_offsets_that_share_a_tail_are_followed_as_solc_does() -> None:
    data = POOL.encode_call("submit", 1, b"\5" * 32, b"same", [b"same", b"same"])
    first = 4 + 192 + 32  # the array's first offset; its second one is made equal
    assert POOL.decode_call(changed(data, first + 32, data[first : first + 32])).values["groups"] == (b"same", b"same")


def test_an_offset_may_lead_back_to_before_the_calldata_where_all_is_zero() -> None:
    first = 4 + 192 + 32
    data = changed(SUBMISSION, first, (2**256 - 2**200).to_bytes(32, "big"))
    assert POOL.decode_call(data).values["groups"] == (b"", b"second", b"")


def test_text_that_is_not_utf_8_is_read() -> None:
    terms = (1, 1, 1, 1, 1, 2, 1, 0, 0, 0, 0)
    data = POOL.encode_call("openTask", 1, b"", "name", terms).replace(b"name", b"n\xffme")
    assert POOL.decode_call(data).values["model"] == "n\ufffdme"
    with pytest.raises(InvalidInput, match="canonical"):
        POOL.decode_call(data, canonical=True)


@pytest.mark.parametrize("bits", [0, 64, 160, 255])
def test_numbers_out_of_their_range_are_refused(bits: int) -> None:
    data = changed(SUBMISSION, 4, (1 << bits).to_bytes(32, "big"))
    if bits < 64:
        assert POOL.decode_call(data).values["task"] == 1
    else:
        with pytest.raises(InvalidInput, match="uint64"):
            POOL.decode_call(data)
