"""Who signed a text, and how long a challenge and a session count."""

import pickle

import pytest
from coincurve import PrivateKey
from eth_account import Account
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.errors import InvalidInput, Unauthenticated
from services.model_server.admission.sessions import Challenges, Holding, Sessions, recover
from tests.services.model_server.conftest import address_of, sign


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


def issue(challenges: Challenges, now: float, *, address: bytes = b"\1" * 20, nonce: bytes = b"") -> str:
    return challenges.issue(
        address, nonce=nonce, domain="d:1", uri="grpc://d:1/x", chain_id=5, statement="s", wall_s=1e9 + now, now=now
    ).text()


def refuse(challenges: Challenges, text: str, now: float, reason: str = "UnknownChallenge") -> None:
    with pytest.raises(Unauthenticated) as caught:
        challenges.check(text, now)
    assert caught.value.reason == reason


def test_a_challenge_opens_one_session() -> None:
    challenges = Challenges(180)
    text = issue(challenges, 0)
    given = challenges.check(text, 1)
    assert given.text() == text
    challenges.use(given, 1)
    refuse(challenges, text, 1)
    with pytest.raises(Unauthenticated, match="just been used"):
        challenges.use(given, 1)


def test_a_challenge_lives_for_its_seconds_and_no_longer() -> None:
    challenges = Challenges(180)
    text = issue(challenges, 10)
    challenges.check(text, 189.9)
    refuse(challenges, text, 190)


def test_another_servers_challenge_and_an_altered_one_are_refused() -> None:
    challenges = Challenges(180)
    text = issue(challenges, 0)
    refuse(Challenges(180), text, 0, "AlteredChallenge")
    for old, new in (("Chain ID: 5", "Chain ID: 6"), ("d:1", "e:1"), ("0x0101", "0x0201")):
        refuse(challenges, text.replace(old, new), 0, "AlteredChallenge")
    nonce = text.partition("Nonce: ")[2][:64]
    for place in range(64):
        other = nonce[:place] + f"{int(nonce[place], 16) ^ 1:x}" + nonce[place + 1 :]
        refuse(challenges, text.replace(nonce, other), 0, "AlteredChallenge")
    challenges.check(text, 0)


def test_the_callers_half_of_the_nonce_comes_first() -> None:
    challenges = Challenges(180)
    assert f"Nonce: {'ab' * 16}" in issue(challenges, 0, nonce=b"\xab" * 16)
    for length in (1, 15, 17):
        with pytest.raises(InvalidInput, match="16 bytes"):
            issue(challenges, 0, nonce=bytes(length))


def test_challenges_that_wait_take_no_room_and_used_ones_are_bounded() -> None:
    challenges = Challenges(180, most_used=3)
    state = len(pickle.dumps(vars(challenges)))
    texts = [issue(challenges, number) for number in range(1000)]
    assert len(pickle.dumps(vars(challenges))) == state
    for number in range(900, 904):
        challenges.use(challenges.check(texts[number], 1000), 1000)
    for number in range(900, 904):  # 900 was pushed out, and is refused by its age now
        refuse(challenges, texts[number], 1000)
    refuse(challenges, texts[899], 1000)
    challenges.check(texts[904], 1000)


def test_what_has_expired_is_forgotten() -> None:
    challenges = Challenges(180, most_used=3)
    for number in (0, 1, 2):
        challenges.use(challenges.check(issue(challenges, number), 3), 3)
    challenges.use(challenges.check(issue(challenges, 200), 200), 200)
    challenges.check(issue(challenges, 150), 200)  # nobody had to give way


def test_an_address_has_twenty_bytes() -> None:
    for length in (0, 19, 21):
        with pytest.raises(InvalidInput):
            issue(Challenges(180), 0, address=bytes(length))


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


def test_sessions_are_bounded_for_an_address_and_in_all_and_newcomers_get_in() -> None:
    sessions = Sessions(600, 5, 3)

    def open_one(address: int, now: float = 0) -> str:
        return sessions.open(sessions.holding(bytes((address,)) * 20), now)

    def is_open(token: str) -> bool:
        return sessions.find(token, 0) is not None

    ones = [open_one(1, now) for now in (0, 1, 2)]
    first = sessions.find(ones[0], 0)
    assert first is not None
    first.used = 3  # of the three, the second has been idle longest
    ones.append(open_one(1, 4))
    assert [is_open(token) for token in ones] == [True, False, True, True]
    others = [open_one(address, 5) for address in (2, 3)]
    assert len(sessions) == 5
    others.append(open_one(4, 6))
    assert [is_open(token) for token in ones] == [True, False, False, True]
    assert all(map(is_open, others)) and len(sessions) == 5
    sessions.close(ones[0])
    sessions.close(ones[0])
    assert len(sessions) == 4
    open_one(4, now=607)
    assert len(sessions) == 1 and len(sessions.holdings()) == 1


def test_sessions_of_one_address_share_what_is_known_of_its_stake() -> None:
    sessions = Sessions(600, 5, 3)
    first = sessions.open(sessions.holding(b"\1" * 20), 0)
    second = sessions.open(sessions.holding(b"\1" * 20), 0)
    one, two = sessions.find(first, 0), sessions.find(second, 0)
    assert one is not None and two is not None and one.holding is two.holding


@given(st.lists(st.sampled_from(["open1", "open2", "open3", "close", "later"]), max_size=40))
def test_the_books_of_sessions_balance(steps: list[str]) -> None:
    sessions, tokens, now = Sessions(600, 6, 4), list[str](), 0.0
    for step in steps:
        if step == "later":
            now += 250
        elif step == "close" and tokens:
            sessions.close(tokens.pop(0))
        elif step.startswith("open"):
            tokens.append(sessions.open(sessions.holding(step[4:].encode() * 20), now))
        assert sum(len(holding.sessions) for holding in sessions.holdings()) == len(sessions) <= 6
        assert all(1 <= len(holding.sessions) <= 4 for holding in sessions.holdings())
