"""The text that callers sign, who signed it, and how long it counts."""

import pytest
from coincurve import PrivateKey
from eth_account import Account
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.errors import Exhausted, InvalidInput, LinkLearnerError, Unauthenticated
from services.model_server.sessions import Challenges, Holding, Sessions, SignIn, network_of, recover
from tests.services.model_server.conftest import address_of, sign

HOST = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-:[]", min_size=1, max_size=60)
SIGN_INS = st.builds(
    SignIn,
    domain=HOST,
    address=st.binary(min_size=20, max_size=20),
    statement=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=200),
    uri=HOST.map("grpc://{}".format),
    chain_id=st.integers(1, 2**64 - 1),
    nonce=st.binary(min_size=16, max_size=16).map(bytes.hex),
    issued_s=st.integers(0, 4102444800),
    expires_s=st.integers(0, 4102444800),
)
ONE = SignIn(
    domain="127.0.0.1:50061",
    address=bytes.fromhex("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
    statement="Hello.",
    uri="grpc://127.0.0.1:50061/inference.GRPCInferenceService",
    chain_id=11820,
    nonce="00112233445566778899aabbccddeeff",
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
        "Nonce: 00112233445566778899aabbccddeeff\n"
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
    except Unauthenticated:
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
    with pytest.raises(Unauthenticated, match="not a text that this server issued"):
        SignIn.parse(ONE.text().replace(old, new))


@given(
    st.binary(min_size=32, max_size=32).filter(lambda secret: 0 < int.from_bytes(secret) < 2**255),
    st.text(max_size=300),
)
def test_recovering_finds_the_signer_that_eth_account_signed_for(secret: bytes, text: str) -> None:
    account = Account.from_key(secret)
    signature = sign(account, text)
    assert recover(text, signature) == address_of(account)
    assert recover(text, signature[:64] + bytes((signature[64] - 27,))) == address_of(account)


def test_a_signature_has_one_form() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    account = Account.create()
    good = sign(account, "x")
    high_s = good[:32] + (order - int.from_bytes(good[32:64])).to_bytes(32) + bytes((good[64] ^ 7,))  # 27 <-> 28
    for bad in (b"", good[:64], good + b"\0", good[:64] + b"\x1d", good[:64] + b"\x02", high_s, bytes(64) + b"\x1b"):
        with pytest.raises(Unauthenticated, match="a signature has 65 bytes"):
            recover("x", bad)


def test_recovery_agrees_with_another_implementation_of_the_curve() -> None:
    key = PrivateKey(b"\x01" * 32)
    digest = keccak(b"\x19Ethereum Signed Message:\n2hi")
    signature = key.sign_recoverable(digest, hasher=None)
    assert recover("hi", signature) == address_of(Account.from_key(b"\x01" * 32))


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("ipv4:10.1.2.3:4567", "10.1.2.3"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:99", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2:ffff::1]:99", "2001:db8:1:2::/64"),
        ("ipv6:[fe80::1%eth0]:99", "fe80::/64"),
        ("unix:/run/x", "unix:/run/x"),
    ],
)
def test_bounds_see_one_caller_behind_an_address_or_a_64(peer: str, network: str) -> None:
    assert network_of(peer) == network


def issue(challenges: Challenges, now: float, *, network: str = "a", address: bytes = b"\1" * 20) -> str:
    return challenges.issue(
        address, network=network, domain="d:1", uri="grpc://d:1/x", chain_id=5, statement="s", wall_s=1e9 + now, now=now
    ).text()


def test_a_challenge_is_taken_once() -> None:
    challenges = Challenges(180, 10, 10)
    text = issue(challenges, 0)
    assert challenges.take(text, 1).text() == text
    with pytest.raises(Unauthenticated, match="unknown, used or expired"):
        challenges.take(text, 1)


def test_a_challenge_lives_for_its_seconds_and_no_longer() -> None:
    challenges = Challenges(180, 10, 10)
    first, second = issue(challenges, 0), issue(challenges, 0)
    challenges.take(first, 179.9)
    with pytest.raises(Unauthenticated, match="unknown, used or expired"):
        challenges.take(second, 180)


def test_an_altered_challenge_is_refused_and_used_up() -> None:
    challenges = Challenges(180, 10, 10)
    text = issue(challenges, 0)
    with pytest.raises(Unauthenticated, match="not a text that this server issued"):
        challenges.take(text.replace("Chain ID: 5", "Chain ID: 6"), 0)
    with pytest.raises(Unauthenticated, match="unknown, used or expired"):
        challenges.take(text, 0)


def test_open_challenges_are_bounded_for_a_network_and_in_all() -> None:
    challenges = Challenges(180, 5, 3)
    texts = [issue(challenges, 0) for _ in range(3)]
    with pytest.raises(Exhausted) as caught:
        issue(challenges, 1)
    assert caught.value.facts == {"retry_after_s": "180"}
    for network in ("b", "c"):
        issue(challenges, 1, network=network)
    with pytest.raises(Exhausted):
        issue(challenges, 1, network="d")
    challenges.take(texts[0], 1)
    issue(challenges, 1)
    with pytest.raises(Exhausted):
        issue(challenges, 1)
    assert len(challenges) == 5
    issue(challenges, 182, network="d")  # time frees what nobody answered
    assert len(challenges) == 1


def test_an_address_has_twenty_bytes() -> None:
    for length in (0, 19, 21):
        with pytest.raises(InvalidInput):
            issue(Challenges(180, 5, 3), 0, address=bytes(length))


def test_a_session_lives_for_its_seconds_and_no_longer() -> None:
    sessions = Sessions(600, 10, 10)
    token = sessions.open(Holding(b"\1" * 20), 0)
    assert sessions.find(token, 599.9) is not None
    assert sessions.find(token, 600) is None
    assert sessions.find(token + "x", 0) is None


def test_a_token_is_kept_nowhere() -> None:
    sessions = Sessions(600, 10, 10)
    token = sessions.open(Holding(b"\1" * 20), 0)
    assert len(token) == 43  # 256 bits
    assert token not in repr(vars(sessions)) and token not in repr(sessions.find(token, 0))


def test_sessions_are_bounded_for_an_address_and_in_all() -> None:
    sessions = Sessions(600, 5, 3)

    def open_one(address: int, now: float = 0) -> str:
        return sessions.open(sessions.holding(bytes((address,)) * 20), now)

    tokens = [open_one(1) for _ in range(3)]
    with pytest.raises(Exhausted, match="this address has 3 open sessions") as caught:
        open_one(1)
    assert caught.value.reason == "TooManySessions"
    open_one(2)
    open_one(3)
    with pytest.raises(Exhausted, match="as many open sessions as it allows") as full:
        open_one(4)
    assert full.value.facts == {"retry_after_s": "600"}
    sessions.close(tokens[0])
    sessions.close(tokens[0])
    open_one(4)
    assert len(sessions) == 5
    open_one(4, now=601)
    assert len(sessions) == 1 and len(sessions.holdings()) == 1


def test_sessions_of_one_address_share_what_is_known_of_its_stake() -> None:
    sessions = Sessions(600, 5, 3)
    first = sessions.open(sessions.holding(b"\1" * 20), 0)
    second = sessions.open(sessions.holding(b"\1" * 20), 0)
    one, two = sessions.find(first, 0), sessions.find(second, 0)
    assert one is not None and two is not None and one.holding is two.holding


@given(st.lists(st.sampled_from(["open1", "open2", "close", "later"]), max_size=40))
def test_the_books_of_sessions_balance(steps: list[str]) -> None:
    sessions, tokens, now = Sessions(600, 6, 4), list[str](), 0.0
    for step in steps:
        if step == "later":
            now += 250
        elif step == "close" and tokens:
            sessions.close(tokens.pop(0))
        elif step.startswith("open"):
            try:
                tokens.append(sessions.open(sessions.holding(step[4:].encode() * 20), now))
            except LinkLearnerError as error:
                assert error.reason in ("TooManySessions", "ServerFull")
        assert sum(holding.sessions for holding in sessions.holdings()) == len(sessions) <= 6
        assert all(1 <= holding.sessions <= 4 for holding in sessions.holdings())
