"""One reader of keys for every program: what it opens is the right key, and what it cannot open it names."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy import first_start
from linklearner.domain.errors import InvalidConfig, InvalidInput, LinkLearnerError
from linklearner.keyfile import ORDER, decrypted, encrypted, read_account, read_password
from services.chain_gateway.keystore import Keystore

CASES = Path(__file__).parent / "data" / "cases"
KEY = bytes(range(1, 33))
GOOD = encrypted(KEY, "pw", scrypt_n=2)
ADDRESS = Account.from_key(KEY).address


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(GOOD)
    change(document)
    return json.dumps(document)


def put(*path: str, value: Any) -> str:
    """GOOD with the field at `path` set, or removed for `...`."""

    def change(document: dict[str, Any]) -> None:
        for name in path[:-1]:
            document = document[name]
        if value is ...:
            del document[path[-1]]
        else:
            document[path[-1]] = value

    return changed(change)


def kdf(**parameters: Any) -> str:
    return put("crypto", "kdfparams", value={**json.loads(GOOD)["crypto"]["kdfparams"], **parameters})


PBKDF2 = {"dklen": 32, "c": 10**12, "prf": "hmac-sha256", "salt": "00" * 16}


def pbkdf2(**parameters: Any) -> str:
    text = json.loads(put("crypto", "kdf", value="pbkdf2"))
    text["crypto"]["kdfparams"] = {**PBKDF2, **parameters}
    return json.dumps(text)


UNREADABLE = {
    "no crypto": (put("crypto", value=...), "no 'crypto'"),
    "crypto is a list": (put("crypto", value=[]), "no 'crypto'"),
    "no version": (put("version", value=...), "names no version"),
    "version 1": (put("version", value=1), "version '1'"),
    "version as text": (put("version", value="3"), "only version 3"),
    "version 3.0": (put("version", value=3.0), "only version 3"),
    "a validator's key": (put("version", value=4), "BLS"),
    "cbc": (put("crypto", "cipher", value="aes-128-cbc"), "cipher must be aes-128-ctr"),
    "aes-256": (put("crypto", "cipher", value="aes-256-ctr"), "cipher must be aes-128-ctr"),
    "no cipher": (put("crypto", "cipher", value=...), "cipher must be aes-128-ctr"),
    "argon2": (put("crypto", "kdf", value="argon2id"), "scrypt or pbkdf2, got 'argon2id'"),
    "no kdf": (put("crypto", "kdf", value=...), "scrypt or pbkdf2"),
    "no parameters": (put("crypto", "kdfparams", value=...), "'kdfparams' is missing"),
    "scrypt without n": (put("crypto", "kdfparams", "n", value=...), "'n' must be a whole number, and is missing"),
    "scrypt n of text": (kdf(n="262144"), "'n' must be a whole number"),
    "scrypt n true": (kdf(n=True), "'n' must be a whole number"),
    "scrypt n odd": (kdf(n=4097), "power of two"),
    "scrypt n 0": (kdf(n=0), "'n' must be between"),
    "scrypt n a bomb": (kdf(n=2**24), "more than is done"),
    "scrypt n beyond everything": (kdf(n=2**300), "huge number"),
    "scrypt r a bomb": (kdf(r=2**20), "'r' must be between 1 and 64"),
    "scrypt p a bomb": (kdf(p=2**20), "'p' must be between 1 and 64"),
    "scrypt dklen": (kdf(dklen=16), "'dklen' must be between 32 and 32"),
    "salt no hex": (kdf(salt="zz"), "'salt' must be bytes in hex"),
    "salt empty": (kdf(salt=""), "'salt' must be bytes in hex"),
    "salt a number": (kdf(salt=7), "'salt' must be bytes in hex"),
    "pbkdf2 a bomb": (pbkdf2(), "'c' must be between"),
    "pbkdf2 with sha1": (pbkdf2(prf="hmac-sha1", c=1), "hmac-sha256"),
    "iv missing": (put("crypto", "cipherparams", value={}), "'iv' must be 16 bytes"),
    "iv short": (put("crypto", "cipherparams", "iv", value="00" * 15), "'iv' must be 16 bytes"),
    "iv damaged": (put("crypto", "cipherparams", "iv", value="00" * 16), "opens as another one"),
    "mac missing": (put("crypto", "mac", value=...), "'mac' must be 32 bytes in hex, and is missing"),
    "ciphertext of 31 bytes": (put("crypto", "ciphertext", value="00" * 31), "'ciphertext' must be 32 bytes"),
    "ciphertext null": (put("crypto", "ciphertext", value=None), "'ciphertext' must be 32 bytes"),
    "another's address": (put("address", value="11" * 20), "opens as another one"),
    "address no hex": (put("address", value="hello"), "'address' must be 40 hex digits"),
    "address a list": (put("address", value=[1]), "'address' must be 40 hex digits"),
    "a vault": ('{"data": "x", "iv": "y", "salt": "z"}', "vault"),
    "a presale wallet": ('{"encseed": "x", "ethaddr": "y"}', "presale"),
    "a list": ("[1, 2, 3]", "Solana"),
    "twice": (GOOD.replace('"version": 3', '"version": 1, "version": 3'), "names a field twice"),
    "cut off": (GOOD[:-3], "not JSON"),
    "deep": ("[" * 8000, "too deep"),
    "large": ('{"a": "' + "x" * 20_000 + '"}', "more than 16 KiB"),
}  # fmt: skip


def every_reader(path: Path, password: str) -> list[Callable[[], object]]:
    """All programs' ways to a key file: CLI, gateway, deployment in the image."""
    password_file = path.with_name("password-of-readers")
    password_file.write_text(password + "\n")
    config = first_start.Config(contributors=1, rpc_url="http://x", owner_key=path, owner_password=password_file)
    return [
        lambda: read_account(path, read_password(password_file)),
        lambda: Keystore.of_key_file(path, read_password(password_file)),
        config.owner,
    ]


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read_is_named_with_the_reason_by_every_program(name: str, tmp_path: Path) -> None:
    text, complaint = UNREADABLE[name]
    path = tmp_path / "odd.json"
    path.write_text(text)
    for read in every_reader(path, "pw"):
        with pytest.raises(InvalidConfig, match=complaint) as error:
            read()
        assert "odd.json" in error.value.message
        assert "\n" not in error.value.message


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.glob("22-*.json")))
def test_the_cases_that_failed_are_refused_by_every_program(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes((CASES / name).read_bytes())
    for read in every_reader(path, "pw"):
        with pytest.raises(InvalidConfig, match=name) as error:
            read()
        assert error.value.reason != "WrongPassword"


@pytest.mark.parametrize("write", ["scrypt", "pbkdf2"])
def test_keyfiles_of_other_tools_are_opened(write: str, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(Account.encrypt(KEY, "pw", kdf=write, iterations=2)))  # type: ignore[arg-type]
    assert read_account(path, "pw").key == KEY


def test_names_in_capitals_and_a_missing_address_are_what_some_tools_write() -> None:
    text = GOOD.replace('"crypto"', '"Crypto"')
    assert decrypted(text, "pw", "x").address == ADDRESS
    assert decrypted(put("address", value=...), "pw", "x").address == ADDRESS


@pytest.mark.parametrize(("n", "r", "p"), [(2**18, 8, 1), (2**18, 1, 8), (4096, 8, 6), (8192, 8, 1)])
def test_what_usual_keyfiles_cost_is_within_the_bounds(n: int, r: int, p: int) -> None:
    with pytest.raises(InvalidConfig, match="'iv'"):  # the next thing that is looked at; nothing was computed
        broken = json.loads(kdf(n=n, r=r, p=p))
        del broken["crypto"]["cipherparams"]["iv"]
        decrypted(json.dumps(broken), "pw", "x")


NAMES = st.sampled_from(["version", "crypto", "kdf", "kdfparams", "n", "data", "iv", "salt"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda one: st.lists(one) | st.dictionaries(NAMES, one),
)


@settings(deadline=None, max_examples=60)
@given(text=st.text() | VALUES.map(json.dumps))
def test_no_text_ends_in_anything_but_the_error_tree(text: str) -> None:
    with pytest.raises(LinkLearnerError):
        decrypted(text, "pw", "x")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(data=st.data())
def test_a_damaged_keyfile_opens_as_the_right_key_or_not_at_all(data: st.DataObject) -> None:
    document = json.loads(GOOD)
    places = [("address",), ("version",), *(("crypto", name) for name in document["crypto"])]
    places += [("crypto", inner, name) for inner in ("cipherparams", "kdfparams") for name in document["crypto"][inner]]
    place = data.draw(st.sampled_from(places))
    value = data.draw(
        st.none()
        | st.booleans()
        | st.integers(-2, 2**13)
        | st.text(alphabet="0123456789abcdefx", max_size=70)
        | st.just({})
    )
    target = document
    for name in place[:-1]:
        target = target[name]
    target[place[-1]] = copy.deepcopy(value)
    try:
        account = decrypted(json.dumps(document), "pw", "x")
    except InvalidConfig:
        return
    assert account.key == KEY


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1" * 63, "it has 63 digits"),
        ("0x" + "1" * 63, "it has 63 digits"),
        ("1" * 65, "it has 65 digits"),
        ("0x", "64 hex digits"),
        ("11 " * 32, "64 hex digits"),
        ("１" * 64, "64 hex digits"),
        ("zz" * 32, "64 hex digits"),
        ("0" * 64, "no private key"),
        (f"{ORDER:064x}", "no private key"),
        ("f" * 64, "no private key"),
        ("legal winner thank year wave sausage worth useful legal winner thank yellow", "mnemonic"),
        ("", "64 hex digits"),
    ],
)
def test_what_is_no_private_key_signs_as_nobody(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    for read in (lambda: read_account(path), lambda: Keystore.of_key_file(path)):
        with pytest.raises(InvalidConfig, match=complaint) as error:
            read()
        assert error.value.__cause__ is None and (len(text) < 3 or text not in error.value.message)


def test_the_least_and_the_greatest_key_are_keys(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for key in (1, ORDER - 1):
        path.write_text(f"0x{key:064X}\n")
        assert int.from_bytes(read_account(path).key, "big") == key
    for key in (bytes(32), ORDER.to_bytes(32, "big"), b"\1" * 31):
        with pytest.raises(InvalidInput):
            encrypted(key, "pw", scrypt_n=2)


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"pw", "pw"),
        (b"pw\n", "pw"),
        (b"pw\r\n", "pw"),
        (b"pw \n", "pw "),
        (b" pw\n", " pw"),
        ((CASES / "22-pw-two-lines.txt").read_bytes(), "pw"),
        ("é\n".encode(), "é"),
    ],
)
def test_the_first_line_of_a_password_file_is_the_password_for_every_program(
    content: bytes, password: str, tmp_path: Path
) -> None:
    (tmp_path / "key.json").write_text(encrypted(KEY, password, scrypt_n=2))
    path = tmp_path / "password"
    path.write_bytes(content)
    assert read_password(path) == password
    config = first_start.Config(
        contributors=1, rpc_url="http://x", owner_key=tmp_path / "key.json", owner_password=path
    )
    assert config.owner().addresses == (bytes.fromhex(ADDRESS[2:]),)
    assert read_account(tmp_path / "key.json", read_password(path)).address == ADDRESS


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "empty"), (b"\n", "empty"), (b"\npw\n", "empty"), (b"\xff\xfe", "not text"), ("\ufeffpw\n".encode(), "byte order mark"),
     (b"p\tw\n", "control"), (b"p\rw\n", "control"), (b"p\0w\n", "control"), (b"x" * 20_000, "16 KiB")],
)  # fmt: skip
def test_a_password_file_that_could_be_read_in_two_ways_is_refused(
    content: bytes, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(InvalidConfig, match=complaint):
        read_password(path)


def test_a_blank_that_may_be_too_much_is_pointed_to() -> None:
    with pytest.raises(InvalidConfig, match="ends or begins with a blank") as error:
        decrypted(GOOD, "pw ", "x")
    assert error.value.reason == "WrongPassword"


def test_folders_devices_and_nothing_are_told_apart(tmp_path: Path) -> None:
    for path, complaint in (
        (tmp_path, "directory"),
        (tmp_path / "no", "No such file"),
        (Path("/dev/zero"), "more than 16 KiB"),
    ):
        for read in (read_account, read_password):
            with pytest.raises(InvalidConfig, match=complaint):
                read(path)
