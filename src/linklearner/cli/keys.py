"""Keys that a caller keeps in a file."""

from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidConfig
from linklearner.domain.strictjson import NotJson

KEYFILE_BYTES = 1 << 20


def key_from(key_file: Path, password_file: Path | None) -> LocalAccount:
    """The account in a file: 64 hex digits, or an encrypted JSON key with its password in another file.

    Raises InvalidConfig if either cannot be read or the password is wrong.
    """
    try:
        text = key_file.read_text().strip()
        if not text.startswith("{"):
            return Account.from_key(text)  # type: ignore[no-any-return]
        if password_file is None:
            raise InvalidConfig(f"{key_file} is encrypted: name the file of its password with --password-file")
        keyfile = strictjson.loads(text, max_bytes=KEYFILE_BYTES, max_values=1000)
        return Account.from_key(Account.decrypt(keyfile, password_file.read_text().strip()))  # type: ignore[no-any-return]
    except OSError as error:
        raise InvalidConfig(f"{error.filename} cannot be read: {error.strerror}") from error
    except (NotJson, ValueError) as error:
        # eth-keyfile says "MAC mismatch" for a wrong password, eth-keys quotes the value it was given: neither is repeated.
        raise InvalidConfig(f"{key_file} does not hold a key that this password opens") from error
