"""What people type: the right notation gives its value and back, everything else raises InvalidInput and nothing else."""

from collections.abc import Callable

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.notation import (
    MAX_WEI,
    UINT64,
    UNIT_WEI,
    Endpoint,
    address,
    address_text,
    amount,
    amount_text,
    is_loopback,
    is_loopback_url,
    node_urls,
    stake_units,
    whole,
)
from linklearner.domain.stakes import MAX_ELIGIBLE

ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # the first example of EIP-55
PARSERS: tuple[Callable[[str], object], ...] = (
    amount, stake_units, address, Endpoint.parse, node_urls, lambda text: whole(text, "x"), is_loopback_url,
)  # fmt: skip
TYPED = st.text() | st.text(alphabet="0123456789.,-+eExX_ ²٣１abcdef[]:/%hlopst\n", max_size=90)


@given(st.integers(0, MAX_WEI))
def test_an_amount_is_read_as_it_was_written(wei: int) -> None:
    assert amount(amount_text(wei)) == wei


@given(st.integers(1, MAX_ELIGIBLE))
def test_units_of_stake_are_read_as_they_were_written(units: int) -> None:
    assert stake_units(amount_text(units * UNIT_WEI)) == units


@given(st.integers(0, UINT64))
def test_a_whole_number_is_read_as_it_was_written(number: int) -> None:
    assert whole(str(number), "x") == number


@given(st.binary(min_size=20, max_size=20))
def test_an_address_is_read_in_each_of_its_three_notations(raw: bytes) -> None:
    assert address_text(raw) == to_checksum_address(raw)
    for text in (address_text(raw), "0x" + raw.hex(), "0x" + raw.hex().upper()):
        assert address(text) == raw


@given(st.binary(min_size=20, max_size=20), st.data())
def test_a_changed_letter_or_its_case_is_noticed(raw: bytes, data: st.DataObject) -> None:
    text = address_text(raw)
    letters = [i for i, c in enumerate(text) if i >= 2 and c.isalpha()]
    if {text[i].islower() for i in letters} != {True, False}:
        return  # without both cases there is no checksum
    at = data.draw(st.sampled_from(letters))
    changed = text[:at] + text[at].swapcase() + text[at + 1 :]
    if {changed[i].islower() for i in letters} == {True, False}:
        with pytest.raises(InvalidInput, match="checksum"):
            address(changed)


@given(TYPED)
def test_whatever_else_is_typed_raises_the_error_tree_and_no_other(text: str) -> None:
    for parse in PARSERS:
        try:
            value = parse(text)
        except InvalidInput as error:
            assert "\n" not in error.message
            continue
        if parse is amount:
            assert isinstance(value, int) and amount(amount_text(value)) == value
        if parse is Endpoint.parse:
            assert Endpoint.parse(str(value)) == value


@pytest.mark.parametrize(
    "text",
    ["1,5", "1,000", "²", "٣", "１", "", " ", "1 ", " 1", "+1", "-1", "1.", ".5", "1.5.0", "1e3", "0x10", "1_000", "NaN", "inf", "1\n",
     "1." + "0" * 19, "9" * 79, "9" * 5000],
)  # fmt: skip
def test_what_is_no_amount_is_refused(text: str) -> None:
    for parse in (amount, stake_units):
        with pytest.raises(InvalidInput, match="amount of"):
            parse(text)


@pytest.mark.parametrize("text", ["0", "0.000", "0.0005", "1.0001", "0.000000000000000001", "9" * 26, "274877906.945"])
def test_stake_is_whole_units_within_bounds_and_never_rounded(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"0\.001"):
        stake_units(text)


def test_bounds_of_stake_and_amount_hold_from_both_sides() -> None:
    assert stake_units("0.001") == 1
    assert stake_units("0.0010000") == 1
    assert stake_units("274877906.944") == MAX_ELIGIBLE
    assert amount(amount_text(MAX_WEI)) == MAX_WEI
    with pytest.raises(OutOfRange):
        amount(amount_text(MAX_WEI + 1))


@pytest.mark.parametrize(
    "text", ["", "1.0", "1,0", "²", "٣", "１", "+1", "1_0", " 1", "1\n", "one", "0x1", "--1", "9" * 5000]
)
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="x must be a whole number between 0 and"):
        whole(text, "x")


@pytest.mark.parametrize("text", ["0", "6", "-1", "99999999999999999999"])
def test_a_number_beyond_its_bounds_is_told_them(text: str) -> None:
    with pytest.raises(OutOfRange, match=f"x must be between 1 and 5, got {text}"):
        whole(text, "x", 1, 5)


@pytest.mark.parametrize(
    "text", ["", "0x", ADDRESS[2:], ADDRESS[:-1], ADDRESS + "0", "0X" + ADDRESS[2:], ADDRESS + "\n", "0x" + "１" * 40]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="40 hex digits"):
        address(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("http://127.0.0.1:50051", "without a scheme"),
        ("dns:///127.0.0.1:50051", "without a scheme"),
        ("127.0.0.1", "names no port"),
        ("127.0.0.1:", "names no port"),
        ("[::1]", "names no port"),
        (":50051", "names no host"),
        ("", "names no host"),
        ("two words:1", "names no host"),
        ("user@host:1", "names no host"),
        ("host/path:1", "names no host"),
        ("::1:50051", "brackets"),
        ("[1:2]:3", "IPv6"),
        ("127.0.0.1:http", "port of the address must be a whole number between 1 and 65535"),
        ("127.0.0.1:٣", "port of the address must be a whole number"),
        ("127.0.0.1:0", "between 1 and 65535"),
        ("127.0.0.1:65536", "between 1 and 65535"),
    ],
)
def test_what_is_no_host_and_port_is_told_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        Endpoint.parse(text)


def test_endpoints_of_every_notation_are_read() -> None:
    assert Endpoint.parse("gateway-1.control:9000") == Endpoint("gateway-1.control", 9000)
    assert str(Endpoint.parse("[::1]:9000")) == "[::1]:9000"
    assert Endpoint.parse("127.0.0.1:0", any_port=True).port == 0


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "0.0.0.0", "::ffff:127.0.0.1"],
)
def test_this_machine_is_known_by_its_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["example.org", "localhost.example.org", "10.0.0.1", "128.0.0.1", "::2", "", "1270.0.0.1"]
)
def test_another_machine_is_not_taken_for_this_one(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "text", ["", "example.org", "ftp://example.org", "http://", "http://[", "http://a:x", "http://a b", "http://a\n"]
)
def test_what_is_no_url_of_a_node_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="http://"):
        node_urls(text, "--rpc")
