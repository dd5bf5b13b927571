"""What a node says, as values or Malformed; nothing else."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.chain import answers
from linklearner.chain.answers import Log, Malformed, Receipt, data, quantity

POOL = b"\1" * 20
HASH = b"\2" * 32
LOG = {
    "address": "0x" + POOL.hex(), "topics": ["0x" + "03" * 32], "data": "0x04", "blockNumber": "0x5", "logIndex": "0x6",
    "transactionHash": "0x" + HASH.hex(), "blockHash": "0x" + HASH.hex(), "removed": False,
}  # fmt: skip
RECEIPT = {
    "transactionHash": "0x" + HASH.hex(), "blockNumber": "0x5", "status": "0x1", "gasUsed": "0x5208",
    "contractAddress": None, "logs": [LOG],
}  # fmt: skip
READ_LOG = Log(POOL, (b"\3" * 32,), b"\4", 5, 6, HASH)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70) | st.binary(max_size=33),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from([*LOG, *RECEIPT]), inner, max_size=5),
    max_leaves=8,
)


def test_a_log_and_a_receipt_are_read() -> None:
    assert answers.log(LOG) == READ_LOG
    assert answers.receipt(RECEIPT, HASH) == Receipt(HASH, 5, True, 21_000, None, (READ_LOG,))


def test_numbers_and_bytes_may_be_as_web3_has_read_them() -> None:
    assert quantity(42, "number") == quantity("0x2A", "number") == 42
    assert data(b"\1\2", "bytes") == data("0x0102", "bytes") == b"\1\2"


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 2**63, 1.0, "", "0x", "1", "-0x1", "0x-1", "0x1_0", " 0x1", "0x" + "f" * 65, "0xg", [], {}],
)
def test_what_is_no_number_is_malformed(value: object) -> None:
    with pytest.raises(Malformed):
        quantity(value, "number")


@pytest.mark.parametrize("value", [None, 1, "", "00", "0x0", "0xzz", "0x00 ", [], {}, "0x" + "00" * 31])
def test_what_is_no_hash_is_malformed(value: object) -> None:
    with pytest.raises(Malformed):
        data(value, "hash", 32)


@pytest.mark.parametrize("name", [name for name in LOG if name != "removed"])
@given(value=JUNK)
def test_no_field_of_a_log_can_break_anything(name: str, value: Any) -> None:
    without = {key: one for key, one in LOG.items() if key != name}
    with pytest.raises(Malformed):
        answers.log(without)
    with contextlib.suppress(Malformed):
        answers.log(without | {name: value})


@pytest.mark.parametrize("name", [name for name in RECEIPT if name != "contractAddress"])
@given(value=JUNK)
def test_no_field_of_a_receipt_can_break_anything(name: str, value: Any) -> None:
    without = {key: one for key, one in RECEIPT.items() if key != name}
    with pytest.raises(Malformed):
        answers.receipt(without, HASH)
    with contextlib.suppress(Malformed):
        answers.receipt(without | {name: value}, HASH)


@given(JUNK)
def test_no_answer_can_break_anything(answer: Any) -> None:
    for read in (answers.log, lambda one: answers.receipt(one, HASH), lambda one: answers.logs(one, (POOL,), 0, 9)):
        with contextlib.suppress(Malformed):
            read(answer)


@pytest.mark.parametrize("status", ["0x2", None, "", "0xff"])
def test_a_status_is_0_or_1(status: object) -> None:
    with pytest.raises(Malformed):
        answers.receipt(RECEIPT | {"status": status}, HASH)
    assert not answers.receipt(RECEIPT | {"status": "0x0"}, HASH).succeeded


def test_a_receipt_of_another_transaction_is_no_answer() -> None:
    with pytest.raises(Malformed, match="another"):
        answers.receipt(RECEIPT, bytes(32))


@pytest.mark.parametrize(
    "changes",
    [{"address": "0x" + "09" * 20}, {"blockNumber": "0x4"}, {"blockNumber": "0x8"}, {"blockNumber": hex(2**63)}, {}],
    ids=["another contract", "earlier", "later", "no number that SQLite keeps", "twice"],
)
def test_logs_that_were_not_asked_for_are_no_answer(changes: dict[str, str]) -> None:
    assert answers.logs([LOG | {"logIndex": "0x7"}, LOG], (POOL,), 5, 7)[0] == READ_LOG
    with pytest.raises(Malformed):
        answers.logs([LOG, LOG | changes], (POOL,), 5, 7)


def test_logs_of_two_contracts_are_one_stream_and_of_one_block_have_one_hash() -> None:
    other = LOG | {"address": "0x" + "09" * 20, "logIndex": "0x7"}
    found = answers.logs([other, LOG], (POOL, b"\x09" * 20), 5, 5)
    assert [one.address for one in found] == [POOL, b"\x09" * 20]
    with pytest.raises(Malformed, match="two blocks"):
        answers.logs([other | {"blockHash": "0x" + "08" * 32}, LOG], (POOL, b"\x09" * 20), 5, 5)


HEADER = {"number": "0x5", "hash": "0x" + HASH.hex(), "timestamp": "0x6553f100"}


@pytest.mark.parametrize(
    "changes",
    [{"number": "0x6"}, {"hash": "0x" + "08" * 32}, {"timestamp": hex(2**32)}, {"timestamp": None}, {"hash": "0x"}],
    ids=["number", "hash", "after 2106", "no time", "no hash"],
)
def test_a_header_that_is_not_the_one_asked_for_is_no_answer(changes: dict[str, Any]) -> None:
    assert answers.header(HEADER, 5, HASH) == answers.Header(5, HASH, 1_700_000_000)
    with pytest.raises(Malformed):
        answers.header(HEADER | changes, 5, HASH)
    for answer in (None, [], "0x"):
        with pytest.raises(Malformed):
            answers.header(answer, 5, HASH)
