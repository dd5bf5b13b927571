"""Keys stay where they are, and sign what we define and nothing else."""

import json
from pathlib import Path

import pytest
from eth_account import Account

from linklearner.domain.errors import InvalidConfig, NotFound
from linklearner.keyfile import read_password
from services.chain_gateway.keystore import SCRYPT_N_FOR_PEOPLE, SCRYPT_N_FOR_RANDOM, Keystore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def create(folder: Path, password: str = "secret", **options: object) -> bytes:
    return Keystore.create(folder, password, random_password=True, **options)  # type: ignore[arg-type]


def test_what_was_created_is_unlocked(folder: Path) -> None:
    addresses = sorted(create(folder) for _ in range(3))
    assert Keystore.unlock(folder, "secret").addresses == tuple(addresses)


def test_keyfiles_and_passwords_are_readable_by_their_owner_alone(folder: Path) -> None:
    address = create(folder)
    password = Keystore.new_password(folder / "password")
    assert (folder / f"{address.hex()}.json").stat().st_mode & 0o777 == 0o600
    assert (folder / "password").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert read_password(folder / "password") == password
    assert len(bytes.fromhex(password)) == 32
    assert sorted(path.name for path in folder.iterdir()) == sorted([f"{address.hex()}.json", "password"])


def test_a_keyfile_is_one_that_other_wallets_open(folder: Path) -> None:
    address = create(folder)
    key = Account.decrypt(json.loads((folder / f"{address.hex()}.json").read_text()), "secret")
    assert bytes.fromhex(Account.from_key(key).address[2:]) == address


def test_passwords_of_people_are_stretched_and_random_ones_hardly(folder: Path) -> None:
    hard = Keystore.create(folder, "of a person")
    light = create(folder)
    for address, n in ((hard, SCRYPT_N_FOR_PEOPLE), (light, SCRYPT_N_FOR_RANDOM)):
        assert json.loads((folder / f"{address.hex()}.json").read_text())["crypto"]["kdfparams"]["n"] == n


def test_a_key_is_never_overwritten(folder: Path) -> None:
    create(folder, key=b"\1" * 32)
    before = [path.read_bytes() for path in folder.iterdir()]
    with pytest.raises(InvalidConfig, match="never overwritten"):
        create(folder, "other", key=b"\1" * 32)
    Keystore.new_password(folder / "password")
    with pytest.raises(InvalidConfig, match="never overwritten"):
        Keystore.new_password(folder / "password")
    assert [path.read_bytes() for path in folder.iterdir() if path.suffix == ".json"] == before


def test_a_wrong_password_is_told_without_repeating_it(folder: Path) -> None:
    create(folder)
    with pytest.raises(InvalidConfig, match="does not open") as error:
        Keystore.unlock(folder, "wrong-one")
    assert error.value.reason == "WrongPassword"
    assert "wrong-one" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "nonsense", '{"version": 3}', '{"version": 9}', '{"version": 3, "crypto": {"kdf": "x"}}'],
)
def test_a_file_that_is_no_keyfile_is_named(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "odd.json").write_text(content)
    with pytest.raises(InvalidConfig, match=r"odd\.json"):
        Keystore.unlock(folder, "secret")


def test_an_empty_or_missing_folder_says_what_to_do(folder: Path) -> None:
    with pytest.raises(InvalidConfig, match="create"):
        Keystore.unlock(folder, "secret")
    folder.mkdir()
    with pytest.raises(InvalidConfig, match="create"):
        Keystore.unlock(folder, "secret")


def test_the_first_line_of_a_password_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "password"
    for content, password in (("a b \n", "a b "), ("x\r\nrest", "x")):
        path.write_bytes(content.encode())
        assert read_password(path) == password
    for content in ("", "\n"):
        path.write_text(content)
        with pytest.raises(InvalidConfig, match="empty"):
            read_password(path)
    with pytest.raises(InvalidConfig, match="cannot read"):
        read_password(tmp_path / "nowhere")


def test_a_key_file_holds_hex_or_a_keyfile(tmp_path: Path, folder: Path) -> None:
    key = b"\7" * 32
    path = tmp_path / "key"
    for text in (key.hex(), "0x" + key.hex() + "\n"):
        path.write_text(text)
        assert Keystore.of_key_file(path).addresses == (create(tmp_path / text[:3], key=key),)
    address = create(folder, key=key)
    assert Keystore.of_key_file(folder / f"{address.hex()}.json", "secret").addresses == (address,)
    with pytest.raises(InvalidConfig, match="password"):
        Keystore.of_key_file(folder / f"{address.hex()}.json")
    for text in ("", "0x12", "zz" * 32, "00" * 32, "ff" * 32):
        path.write_text(text)
        with pytest.raises(InvalidConfig) as error:
            Keystore.of_key_file(path)
        assert error.value.__cause__ is None and (not text or text not in str(error.value))


def test_a_keystore_shows_addresses_only(folder: Path) -> None:
    key = bytes(range(1, 33))
    address = create(folder, key=key)
    shown = repr(Keystore.unlock(folder, "secret"))
    assert address.hex() in shown
    assert key.hex() not in shown and str(int.from_bytes(key, "big")) not in shown


def test_nothing_but_transactions_is_signed(folder: Path) -> None:
    create(folder)
    assert {name for name in dir(Keystore.unlock(folder, "secret")) if "sign" in name} == {"sign_transaction"}


def test_an_address_without_a_key_is_not_found(folder: Path) -> None:
    create(folder)
    keystore = Keystore.unlock(folder, "secret")
    stranger = bytes(20)
    assert stranger not in keystore
    for ask in (
        lambda: keystore.require(stranger),
        lambda: keystore.sign_transaction(stranger, {}),
    ):
        with pytest.raises(NotFound) as error:
            ask()
        assert error.value.reason == "UnknownAccount"
