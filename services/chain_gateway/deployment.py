"""Where the contracts of one LinkLearner are: a small JSON file that `deploy` writes and everybody else reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidConfig
from linklearner.domain.strictjson import NotJson

FORMAT = 1
FILE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Addresses of 20 bytes each. block: of the pool's deployment; history starts there."""

    chain_id: int
    pool: bytes
    token: bytes
    aspect: bytes
    block: int
    owner: bytes

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """Raises InvalidConfig."""
        try:
            fields = strictjson.loads(path.read_bytes(), max_bytes=FILE_BYTES, max_values=FILE_BYTES)
            if fields["format"] != FORMAT:
                raise InvalidConfig(f"{path} has format {fields['format']!r}; this program knows {FORMAT}")
            return cls(
                chain_id=int(fields["chain_id"]),
                block=int(fields["block"]),
                **{name: _address(fields[name]) for name in ("pool", "token", "aspect", "owner")},
            )
        except OSError as error:
            raise InvalidConfig(
                f"cannot read the deployment file {path} ({error.strerror}); `python -m services.chain_gateway deploy` writes one"
            ) from None
        except (NotJson, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidConfig(f"{path} is no deployment file: {error!s:.100}") from None

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        fields: dict[str, Any] = {"format": FORMAT, "chain_id": self.chain_id, "block": self.block}
        for name in ("pool", "token", "aspect", "owner"):
            fields[name] = "0x" + getattr(self, name).hex()
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.new")
        half.write_text(json.dumps(fields, indent=2) + "\n")
        half.replace(path)


def _address(text: str) -> bytes:
    address = bytes.fromhex(text.removeprefix("0x"))
    if len(address) != 20:
        raise ValueError(f"{text!r:.60} is no address")
    return address
