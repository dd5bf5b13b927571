"""Where the contracts of one LinkLearner are: a small JSON file that `deploy` writes and everybody else reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from linklearner.domain import strictjson
from linklearner.domain.addresses import token_of, vault_of
from linklearner.domain.errors import InvalidConfig
from linklearner.domain.strictjson import NotJson

FORMAT: Final = 2
"""1 was a pool that held the stake itself and whose owner alone opened tasks."""
FILE_BYTES: Final = 1 << 20
_ADDRESSES: Final = ("pool", "vault", "token", "aspect", "owner")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Addresses of 20 bytes each. block: of the pool's deployment; history starts there. task: that was opened with it, 0 if none was."""

    chain_id: int
    pool: bytes
    vault: bytes
    token: bytes
    aspect: bytes
    block: int
    owner: bytes
    task: int

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """Raises InvalidConfig, also for vault and token that are not the pool's."""
        try:
            fields = strictjson.loads(path.read_bytes(), max_bytes=FILE_BYTES, max_values=FILE_BYTES)
            if fields["format"] != FORMAT:
                raise InvalidConfig(_other_format(path, fields["format"]))
            found = cls(
                chain_id=int(fields["chain_id"]),
                block=int(fields["block"]),
                task=int(fields["task"]),
                **{name: _address(fields[name]) for name in _ADDRESSES},
            )
        except OSError as error:
            raise InvalidConfig(
                f"cannot read the deployment file {path} ({error.strerror}); `python -m services.chain_gateway deploy` writes one"
            ) from None
        except (NotJson, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidConfig(f"{path} is no deployment file: {error!s:.100}") from None
        for name, theirs in (("vault", vault_of(found.pool)), ("token", token_of(found.pool))):
            if getattr(found, name) != theirs:
                raise InvalidConfig(
                    f"{path} names another {name} than the pool 0x{found.pool.hex()} has: 0x{theirs.hex()}"
                )
        return found

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        fields: dict[str, Any] = {"format": FORMAT, "chain_id": self.chain_id, "block": self.block, "task": self.task}
        for name in _ADDRESSES:
            fields[name] = "0x" + getattr(self, name).hex()
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.new")
        half.write_text(json.dumps(fields, indent=2) + "\n")
        half.replace(path)


def _other_format(path: Path, found: object) -> str:
    if found == 1:
        return (
            f"{path} is of an older pool, whose tasks were its owner's; this program does not serve it, and nothing is carried over: "
            "deploy anew, with another deployment file and another outbox; stake in the old pool is withdrawn with the program of its time"
        )
    return f"{path} has format {found!r:.20}; this program knows {FORMAT}"


def _address(text: str) -> bytes:
    address = bytes.fromhex(text.removeprefix("0x"))
    if len(address) != 20:
        raise ValueError(f"{text!r:.60} is no address")
    return address
