"""Keys in encrypted files, and the one thing that is signed with them: transactions.

A folder of Ethereum keyfiles (version 3 JSON, scrypt), one per account, readable by their owner alone. Unlocked keys live in this object
and nowhere else. There is no way to have it sign bytes of the caller's choice. The salts of sealed updates follow from the keys, too.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from eth_account.signers.local import LocalAccount

from linklearner.domain.errors import InvalidConfig, NotFound
from linklearner.keyfile import encrypted, read_account

CREATE: Final = "python -m services.chain_gateway create-account"
"""The command that makes accounts."""
SALT_DOMAIN: Final = b"LinkLearner salt\0"
PASSWORD_BYTES: Final = 32
"""Of a password that we make: as many random bits as a key has."""
SCRYPT_N_FOR_PEOPLE: Final = 2**18
"""What geth uses for passwords that people make up: about a second and 256 MiB for each guess."""
SCRYPT_N_FOR_RANDOM: Final = 2**12
"""For passwords that we make. Stretching exists to make guessing dear; nobody guesses 256 random bits, at whatever price, so five demo keys
need not take five seconds."""


class Keystore:
    """Unlocked keys by address. Shows addresses only, also in its repr."""

    def __init__(self, accounts: Mapping[bytes, LocalAccount]) -> None:
        self._accounts = dict(accounts)

    @classmethod
    def unlock(cls, folder: Path, password: str) -> Keystore:
        """Opens every *.json in `folder` with the one password.

        Raises InvalidConfig for a missing or empty folder, a file that is no keyfile, or a password that does not open one.
        """
        if not folder.is_dir():
            raise InvalidConfig(f"there is no keystore folder {folder}; make one with `{CREATE}` or name yours")
        paths = sorted(folder.glob("*.json"))
        if not paths:
            raise InvalidConfig(
                f"the keystore {folder} holds no keyfile (*.json); make an account with `{CREATE}` first"
            )
        return cls.of_accounts(read_account(path, password) for path in paths)

    @classmethod
    def of_key_file(cls, path: Path, password: str | None = None) -> Keystore:
        """One key from a file: 32 bytes in hex (0x or not), or a keyfile that `password` opens. Raises InvalidConfig."""
        return cls.of_accounts([read_account(path, password)])

    @classmethod
    def of_accounts(cls, accounts: Iterable[LocalAccount]) -> Keystore:
        """Keys that were read already."""
        return cls({_address(account): account for account in accounts})

    @staticmethod
    def create(folder: Path, password: str, *, random_password: bool = False, key: bytes | None = None) -> bytes:
        """Makes a new account (or takes `key`) and writes its keyfile, mode 0600. Returns the address, 20 bytes.

        random_password: it is one of `new_password`, so a light key derivation is enough.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = key or secrets.token_bytes(32)
        address = _address(Account.from_key(key))
        content = encrypted(key, password, scrypt_n=SCRYPT_N_FOR_RANDOM if random_password else SCRYPT_N_FOR_PEOPLE)
        _write_private(folder / f"{address.hex()}.json", content)
        return address

    @staticmethod
    def new_password(path: Path) -> str:
        """Makes a random password and keeps it in `path`, mode 0600. Raises InvalidConfig if the file is there already."""
        password = secrets.token_hex(PASSWORD_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_private(path, password + "\n")
        return password

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """20 bytes each, in a fixed order."""
        return tuple(sorted(self._accounts))

    def __contains__(self, address: object) -> bool:
        return address in self._accounts

    def __or__(self, other: Keystore) -> Keystore:
        return Keystore(self._accounts | other._accounts)

    def sign_transaction(self, address: bytes, transaction: Mapping[str, Any]) -> bytes:
        """The signed transaction as it travels. transaction: web3's fields, complete. Raises NotFound for an address without a key."""
        return bytes(self._of(address).sign_transaction(dict(transaction)).raw_transaction)

    def salt(self, address: bytes, purpose: bytes) -> bytes:
        """32 bytes that follow from the key and `purpose`, and that nobody without the key can compute or trace back to it: no signature.

        Raises NotFound for an address without a key.
        """
        return hmac.digest(bytes(self._of(address).key), SALT_DOMAIN + purpose, "sha256")

    def require(self, address: bytes) -> None:
        """Raises NotFound for an address whose key is not held."""
        self._of(address)

    def __repr__(self) -> str:
        return f"Keystore({', '.join('0x' + address.hex() for address in self.addresses)})"

    def _of(self, address: bytes) -> LocalAccount:
        try:
            return self._accounts[address]
        except KeyError:
            raise NotFound(
                f"this gateway holds no key of 0x{address.hex()}; ListAccounts names those it holds",
                reason="UnknownAccount",
                facts={"account": "0x" + address.hex()},
            ) from None


def looks_random(password: str) -> bool:
    """Whether it is taken for one that `Keystore.new_password` made earlier."""
    return len(password) == 2 * PASSWORD_BYTES and set(password) <= set("0123456789abcdef")


def _address(account: LocalAccount) -> bytes:
    return bytes.fromhex(account.address.removeprefix("0x"))


def _write_private(path: Path, text: str) -> None:
    # whole or not at all, never overwriting, and with its mode from the first moment
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(half, path)
    except FileExistsError:
        raise InvalidConfig(f"{path} exists already; it is never overwritten") from None
    finally:
        half.unlink()
