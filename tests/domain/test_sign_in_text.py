"""The text that callers sign, and which texts they do not sign."""

import secrets
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.errors import InvalidInput, UntrustedChallenge
from linklearner.domain.sign_in import SignIn, check, statement_of, uri_of

HOST = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-:[]", min_size=1, max_size=60)
SIGN_INS = st.builds(
    SignIn,
    domain=HOST,
    address=st.binary(min_size=20, max_size=20),
    statement=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=200),
    uri=HOST.map("grpc://{}".format),
    chain_id=st.integers(1, 2**64 - 1),
    nonce=st.binary(min_size=32, max_size=32).map(bytes.hex),
    issued_s=st.integers(0, 4102444800),
    expires_s=st.integers(0, 4102444800),
)
ONE = SignIn(
    domain="127.0.0.1:50061",
    address=bytes.fromhex("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
    statement="Hello.",
    uri="grpc://127.0.0.1:50061/inference.GRPCInferenceService",
    chain_id=11820,
    nonce="00112233445566778899aabbccddeeff" * 2,
    issued_s=1_700_000_000,
    expires_s=1_700_000_180,
)


def test_the_text_is_eip_4361() -> None:
    assert ONE.text() == (
        "127.0.0.1:50061 wants you to sign in with your Ethereum account:\n"
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\n"
        "\n"
        "Hello.\n"
        "\n"
        "URI: grpc://127.0.0.1:50061/inference.GRPCInferenceService\n"
        "Version: 1\n"
        "Chain ID: 11820\n"
        "Nonce: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
        "Issued At: 2023-11-14T22:13:20Z\n"
        "Expiration Time: 2023-11-14T22:16:20Z"
    )


@given(SIGN_INS)
def test_parsing_inverts_writing(sign_in: SignIn) -> None:
    assert SignIn.parse(sign_in.text()) == sign_in


@given(st.data())
def test_a_text_that_parses_is_exactly_the_text_of_what_it_says(data: st.DataObject) -> None:
    text = ONE.text()
    place = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    other = text[:place] + data.draw(st.text(max_size=3)) + text[place + cut :]
    try:
        parsed = SignIn.parse(other)
    except InvalidInput:
        return
    assert parsed.text() == other


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"),
        ("Version: 1", "Version: 2"),
        ("Chain ID: 11820", "Chain ID: 011820"),
        ("22:13:20Z", "22:13:20.000Z"),
        ("2023-11-14", "2023-11-31"),
        ("Expiration", "Not Before: 2023-11-14T22:13:20Z\nExpiration"),
        ("22:16:20Z", "22:16:20Z\n"),
        ("\n", "\r\n"),
    ],
)
def test_nothing_but_the_exact_format_parses(old: str, new: str) -> None:
    with pytest.raises(InvalidInput, match="not a sign-in text"):
        SignIn.parse(ONE.text().replace(old, new))


NOW = 1_700_000_010.0
MINE = bytes.fromhex("00112233445566778899aabbccddeeff")
GOOD = replace(ONE, statement=statement_of(7))


def judge(text: str, **expected: Any) -> SignIn:
    given: dict[str, Any] = {
        "domain": ONE.domain,
        "address": ONE.address,
        "nonce": MINE,
        "wall_s": NOW,
        "chain_id": 11820,
        "task": 7,
    }
    return check(text, **{**given, **expected})


def test_the_sign_in_that_was_asked_for_is_signed() -> None:
    assert judge(GOOD.text()) == GOOD
    assert judge(GOOD.text(), chain_id=None, task=None) == GOOD
    for wall_s in (GOOD.issued_s - 120, GOOD.issued_s + 120):
        judge(GOOD.text(), wall_s=wall_s)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"domain": "good.example:443", "uri": uri_of("good.example:443")}, "for 'good.example:443'"),
        ({"domain": "good.example:443"}, "for 'good.example:443'"),
        ({"uri": uri_of("good.example:443")}, "which may be another server"),
        ({"uri": "grpc://127.0.0.1:50061/other.Service"}, "which may be another server"),
        ({"address": bytes(20)}, "for the account 0x0000"),
        ({"chain_id": 1}, "for chain 1, not for chain 11820"),
        ({"nonce": "00" * 32}, "may be an old one"),
        ({"nonce": "00" * 16 + MINE.hex()}, "may be an old one"),
        ({"statement": "I give all my coins to 0x00."}, "its text states 'I give all"),
        ({"statement": statement_of(8)}, "its text states 'Ask the model of LinkLearner task 8"),
        ({"expires_s": GOOD.issued_s + 301}, "lives for 301 s"),
        ({"expires_s": GOOD.issued_s}, "lives for 0 s"),
        ({"expires_s": GOOD.issued_s - 1}, "lives for -1 s"),
        ({"issued_s": GOOD.issued_s - 111, "expires_s": GOOD.issued_s}, "121 s before this moment"),
        ({"issued_s": GOOD.issued_s + 131, "expires_s": GOOD.issued_s + 140}, "121 s after this moment"),
    ],
)
def test_a_text_for_anything_else_is_not_signed(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UntrustedChallenge, match="Nothing was signed") as caught:
        judge(replace(GOOD, **changes).text())
    assert why in str(caught.value)


def test_without_a_named_task_the_statement_must_still_be_ours() -> None:
    for statement in ("I give all my coins to 0x00.", statement_of(7) + " And all my coins.", "x" + statement_of(7)):
        with pytest.raises(UntrustedChallenge, match="its text states"):
            judge(replace(GOOD, statement=statement).text(), task=None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "0x" + "00" * 32,
        GOOD.text() + "\nResources:\n- https://evil.example",
        GOOD.text() + "\n",
        "x" * 10**6,
    ],
)
def test_free_text_is_not_signed(text: str) -> None:
    with pytest.raises(UntrustedChallenge, match="its text is not the sign-in of a model server"):
        judge(text)


@given(st.data())
def test_no_text_but_the_very_one_is_signed(data: st.DataObject) -> None:
    text = GOOD.text()
    place, cut = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 3))
    other = text[:place] + data.draw(st.text(max_size=3)) + text[place + cut :]
    try:
        given = judge(other)
    except UntrustedChallenge:
        return
    # the server's half of the nonce is the server's to choose, and moments within the bounds are as good as others
    assert (given.domain, given.uri, given.address, given.chain_id) == (GOOD.domain, GOOD.uri, GOOD.address, 11820)
    assert given.statement == GOOD.statement and given.nonce.startswith(MINE.hex()) and given.text() == other


def test_an_old_text_of_the_same_server_is_not_signed() -> None:
    with pytest.raises(UntrustedChallenge, match="old"):
        judge(GOOD.text(), nonce=secrets.token_bytes(16))
