"""The one reader of private keys and their passwords, for every program that holds a key.

A file holds either a private key as 64 hex digits or an Ethereum keyfile ("Web3 Secret Storage", version 3): the key encrypted with
AES-128-CTR by a key that scrypt or PBKDF2 made of the password, and a MAC over the ciphertext. The library behind it does what the file
says without asking whether it should, and that is not enough here:

- The MAC covers neither cipher nor IV. A file that names another cipher, or whose IV is damaged, opens as a key that nobody owns, without
  a word. So the cipher must be the one that is used, and the key's address must be the file's `address` where there is one (some tools,
  such as Foundry's, write none).
- The file chooses what a try of the password costs. It is bounded before anything is computed.
- Other wallets write other things into `.json` files. Each is named, so that the reader of the error knows what to export instead.

No message and no chained exception quotes a key or a password.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_keyfile.exceptions import EthKeyfileException
from eth_keyfile.keyfile import create_keyfile_json, decode_keyfile_json

from linklearner.domain.errors import InvalidConfig, InvalidInput
from linklearner.domain.notation import address as address_of
from linklearner.domain.notation import shown

ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""Order of the group of secp256k1: a private key is 1 to ORDER - 1."""
MAX_FILE_BYTES: Final = 16 << 10
MAX_NESTING: Final = 32
"""Brackets and braces that are opened at most, of six in a keyfile: the parser recurses, and a file must not choose how deep."""
MAX_SCRYPT_BYTES: Final = 512 << 20
"""128 n r. geth's keyfiles take 256 MiB."""
MAX_SCRYPT_WORK: Final = 2**23
"""n r p (r and p at most 64), four times what geth's keyfiles take: some four seconds."""
MAX_PBKDF2_ROUNDS: Final = 10_000_000
"""Ten times what eth-keyfile writes: some four seconds."""

_PRIVATE_KEY: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{64})", re.ASCII)
_HEX: Final = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})*)", re.ASCII)
_HEXLIKE: Final = re.compile(r"(?:0x)?[0-9a-fA-F]+", re.ASCII)


def read_password(path: Path) -> str:
    """The first line of a password file without its line ending, as geth reads it: blanks count, further lines do not.

    Raises InvalidConfig if the file cannot be read, is not UTF-8 text, or its first line is empty.
    """
    text = _text(path, "password file")
    if text.startswith("\ufeff"):
        raise InvalidConfig(f"the password file {path} begins with a byte order mark: save it as plain UTF-8")
    password = _first_line(text)
    if not password:
        raise InvalidConfig(f"the password file {path} is empty (its first line counts)")
    if not password.isprintable():
        raise InvalidConfig(f"the password in {path} holds a control character: one line of text is needed")
    return password


def read_account(path: Path, password: str | None = None) -> LocalAccount:
    """The account of a file: 64 hex digits (0x or not), or a keyfile that `password` opens.

    Raises InvalidConfig that names the file and says what is wrong with it; reason WrongPassword if only the password is.
    """
    text = _text(path, "key file").strip()
    if text.startswith(("{", "[")):
        if password is None:
            raise InvalidConfig(f"{path} is encrypted: name the file of its password with --password-file")
        return decrypted(text, password, str(path))
    match = _PRIVATE_KEY.fullmatch(text)
    if match is None:
        raise InvalidConfig(
            f"{path} holds neither a private key (64 hex digits) nor an encrypted keyfile{_why_no_key(text)}"
        )
    return _account(bytes.fromhex(match[1]), str(path))


def decrypted(text: str, password: str, name: str) -> LocalAccount:
    """The account of a keyfile's text. name: of the file, for messages. Raises InvalidConfig as `read_account` does."""
    document = _document(text, name)
    crypto = _crypto(document, name)
    try:
        key = bytes(decode_keyfile_json(crypto, password.encode()))
    except EthKeyfileException:  # all that is left to be wrong: the MAC
        hint = "; the password ends or begins with a blank" if password != password.strip() else ""
        raise InvalidConfig(
            f"the password does not open {name}; check the password file (its first line counts{hint})",
            reason="WrongPassword",
        ) from None
    account = _account(key, name)
    given = document.get("address")
    if given and account.address.lower() != "0x" + given.lower().removeprefix("0x"):
        raise InvalidConfig(
            f"{name} says that it holds the key of {shown(given)}, and opens as another one: it is damaged"
        )
    return account


def encrypted(key: bytes, password: str, *, scrypt_n: int) -> str:
    """A keyfile's text. key: 32 bytes. Raises InvalidInput for what is no private key."""
    if len(key) != 32 or not 1 <= int.from_bytes(key, "big") < ORDER:
        raise InvalidInput("a private key has 32 bytes and lies between 1 and the order of secp256k1")
    return json.dumps(create_keyfile_json(key, password.encode(), kdf="scrypt", iterations=scrypt_n))


def _account(key: bytes, name: str) -> LocalAccount:
    if not 1 <= int.from_bytes(key, "big") < ORDER:
        raise InvalidConfig(
            f"{name} holds 32 bytes that are no private key: it must lie between 1 and the order of secp256k1"
        )
    account: LocalAccount = Account.from_key(key)
    return account


def _why_no_key(text: str) -> str:
    if _HEXLIKE.fullmatch(text):
        return f": it has {len(text.removeprefix('0x'))} digits"
    words = text.split()
    if len(words) in (12, 15, 18, 21, 24) and all(word.isalpha() for word in words):
        return ": this looks like a mnemonic phrase; export the private key or a keyfile of the one account"
    return ""


def _document(text: str, name: str) -> dict[str, Any]:
    """The JSON object of a keyfile of version 3. Raises InvalidConfig."""
    if len(text) > MAX_FILE_BYTES or text.count("{") + text.count("[") > MAX_NESTING:
        raise InvalidConfig(f"{name} is no Ethereum keyfile (version 3 JSON): too large, or too deep")
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except ValueError:  # a JSONDecodeError carries the whole text
        raise InvalidConfig(
            f"{name} is no Ethereum keyfile (version 3 JSON): it is not JSON, or names a field twice"
        ) from None
    other = _other_wallet(document)
    if other:
        raise InvalidConfig(
            f"{name} is {other}; an Ethereum keyfile (version 3 JSON) is needed: export one from that wallet"
        )
    assert isinstance(document, dict)
    if "version" not in document:
        raise InvalidConfig(f"{name} is no Ethereum keyfile (version 3 JSON): it names no version")
    version = document["version"]
    if type(version) is not int or version != 3:
        kind = " (a validator's BLS key, which signs no transactions)" if version == 4 else ""
        raise InvalidConfig(f"{name} is a keyfile of version {shown(str(version))}{kind}; only version 3 can be read")
    if not isinstance(document.get("crypto"), dict):
        raise InvalidConfig(f"{name} is no Ethereum keyfile (version 3 JSON): it has no 'crypto', the encrypted key")
    given = document.get("address")
    if given not in (None, ""):
        try:
            address_of("0x" + given.removeprefix("0x").lower())
        except (InvalidInput, AttributeError):
            raise InvalidConfig(f"{name}: 'address' must be 40 hex digits, got {shown(str(given))}") from None
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # lower case, as old wallets write "Crypto"; a name twice would be read by one program this way and by another that way
    found = {name.lower(): value for name, value in pairs}
    if len(found) != len(pairs):
        raise ValueError
    return found


def _other_wallet(document: object) -> str:
    """What a JSON document is, if it is something else than a keyfile."""
    if isinstance(document, list):
        return "a list, as Solana's wallets write keys,"
    if not isinstance(document, dict):
        return "no JSON object"
    if {"data", "iv", "salt"} <= document.keys() and "crypto" not in document:
        return "a wallet's vault (as MetaMask keeps it), which holds many keys"
    if "encseed" in document:
        return "a presale wallet"
    if "crypto" not in document and ({"mnemonic", "seed", "accounts"} & document.keys()):
        return "another wallet's own file"
    return ""


def _crypto(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The parts of a keyfile that are used, each checked. Raises InvalidConfig that names the first that cannot be read."""
    crypto = document["crypto"]

    def bad(what: str) -> InvalidConfig:
        return InvalidConfig(f"{name} cannot be read: {what}")

    def part(of: Mapping[str, Any], field: str) -> dict[str, Any]:
        value = of.get(field)
        if not isinstance(value, dict):
            raise bad(f"'{field}' is missing")
        return value

    def octets(of: Mapping[str, Any], field: str, size: int | None) -> str:
        value = of.get(field)
        match = _HEX.fullmatch(value) if isinstance(value, str) else None
        if match is None or (len(match[1]) != 2 * size if size is not None else not match[1]):
            raise bad(
                f"'{field}' must be {'bytes' if size is None else f'{size} bytes'} in hex"
                + ("" if field in of else ", and is missing")
            )
        return match[1]

    def number(of: Mapping[str, Any], field: str, low: int, high: int) -> int:
        value = of.get(field)
        if type(value) is not int:  # True is an int, too
            raise bad(f"'{field}' must be a whole number" + ("" if field in of else ", and is missing"))
        if not low <= value <= high:
            raise bad(
                f"'{field}' must be between {low} and {high}, got {shown(str(value) if abs(value) < 10**60 else 'a huge number')}"
            )
        return value

    if crypto.get("cipher") != "aes-128-ctr":
        raise bad(f"the cipher must be aes-128-ctr, got {shown(str(crypto.get('cipher')))}")
    parameters = part(crypto, "kdfparams")
    salt = octets(parameters, "salt", None)
    size = number(parameters, "dklen", 32, 32)
    kdf = crypto.get("kdf")
    used: dict[str, Any]
    if kdf == "scrypt":
        n, r, p = (
            number(parameters, field, low, high) for field, low, high in (("n", 2, 2**24), ("r", 1, 64), ("p", 1, 64))
        )
        if n & (n - 1):
            raise bad(f"scrypt's n must be a power of two, got {n}")
        if 128 * n * r > MAX_SCRYPT_BYTES or n * r * p > MAX_SCRYPT_WORK:
            raise bad(
                f"scrypt with n {n}, r {r}, p {p} takes {128 * n * r >> 20} MiB and {n * r * p / 2**21:.0f} times the work of a usual "
                f"keyfile: more than is done for a file (512 MiB, 4 times)"
            )
        used = {"n": n, "r": r, "p": p}
    elif kdf == "pbkdf2":
        if parameters.get("prf") != "hmac-sha256":
            raise bad(f"pbkdf2's 'prf' must be hmac-sha256, got {shown(str(parameters.get('prf')))}")
        used = {"c": number(parameters, "c", 1, MAX_PBKDF2_ROUNDS), "prf": "hmac-sha256"}
    else:
        raise bad(f"the key derivation must be scrypt or pbkdf2, got {shown(str(kdf))}")
    return {
        "version": 3,
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": octets(part(crypto, "cipherparams"), "iv", 16)},
            "ciphertext": octets(crypto, "ciphertext", 32),
            "kdf": kdf,
            "kdfparams": {"dklen": size, "salt": salt, **used},
            "mac": octets(crypto, "mac", 32),
        },
    }


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0].removesuffix("\r")


def _text(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)  # a device or a wrong file has no end
        if len(raw) > MAX_FILE_BYTES:
            raise InvalidConfig(
                f"cannot read the {what} {path}: it has more than {MAX_FILE_BYTES >> 10} KiB; is it the right file?"
            )
        return raw.decode()
    except OSError as error:
        raise InvalidConfig(f"cannot read the {what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidConfig(f"cannot read the {what} {path}: it is not text") from None
    except ValueError:  # a path with a NUL
        raise InvalidConfig(f"cannot read the {what}: {shown(str(path))} is no path") from None
