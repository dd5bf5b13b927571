"""Prefunded development accounts: keys made at first start, kept beside the state file where only the owner can read them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import coincurve
from eth_hash.auto import keccak

from devchain import strictjson
from devchain.config import InvalidChainConfig

DEVELOPMENT_ACCOUNTS: Final = 10
DEVELOPMENT_BALANCE: Final = 10_000 * 10**18
"""wei for each of them at genesis."""

_KEY_FILE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DevelopmentAccount:
    """A key for play money. The key never shows in a repr."""

    address: bytes
    key: bytes = field(repr=False)

    @classmethod
    def create(cls) -> DevelopmentAccount:
        return cls.from_key(coincurve.PrivateKey().secret)

    @classmethod
    def from_key(cls, key: bytes) -> DevelopmentAccount:
        public = coincurve.PrivateKey(key).public_key.format(compressed=False)
        return cls(keccak(public[1:])[12:], key)


def key_file(state_file: Path) -> Path:
    """Where the keys of a state file lie."""
    return state_file.with_name(state_file.name + ".keys.json")


def load_or_create(state_file: Path | None) -> tuple[DevelopmentAccount, ...]:
    """The accounts of a chain: read from its key file, made if there is none; in memory only without a state file.

    Raises InvalidChainConfig for a file that holds no keys.
    """
    if state_file is None:
        return tuple(DevelopmentAccount.create() for _ in range(DEVELOPMENT_ACCOUNTS))
    path = key_file(state_file)
    if path.exists():
        try:
            with path.open("rb") as file:
                raw = file.read(_KEY_FILE_BYTES + 1)
            keys = strictjson.loads(raw, max_bytes=_KEY_FILE_BYTES, max_values=1000, max_depth=1)
            accounts = tuple(
                DevelopmentAccount.from_key(bytes.fromhex(key.removeprefix("0x"))) for key in keys.values()
            )
        except OSError as error:
            raise InvalidChainConfig(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidChainConfig(f"{path} is not a devchain's key file: {type(error).__name__}") from None
        if not accounts:
            raise InvalidChainConfig(f"{path} is not a devchain's key file: it holds no key")
        return accounts
    accounts = tuple(DevelopmentAccount.create() for _ in range(DEVELOPMENT_ACCOUNTS))
    text = json.dumps({"0x" + a.address.hex(): "0x" + a.key.hex() for a in accounts}, indent=2)
    # created with its mode, so that no moment exists in which others could read it
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
    return accounts
