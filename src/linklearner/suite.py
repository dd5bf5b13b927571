"""Where the services are: a file that a running suite leaves in its home folder."""

import json
import os
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Self

from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidConfig
from linklearner.domain.strictjson import NotJson

FILE = "suite.json"
FILE_BYTES = 1 << 20


def home() -> Path:
    """LINKLEARNER_HOME, else (also where that is empty) .linklearner in the present folder."""
    return Path(os.environ.get("LINKLEARNER_HOME") or ".linklearner")


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Addresses of a running suite, each host:port unless it is a URL."""

    rpc_url: str
    chain_id: int
    pool: str
    vault: str
    token: str
    aspect: str
    deployed_block: int
    task: int
    gateway: str
    trainers: tuple[str, ...]
    model_server: str
    metrics: str
    page: str
    """URL of the page."""
    keys: str
    """Folder of the accounts' encrypted keys, `<address, lower case, no 0x>.json`."""
    password_file: str
    """File of their password; in another folder, so that a copy of the keys alone opens nothing."""
    credential: str
    """File of the operator's credential: gateway and trainers answer whoever shows it."""
    accounts: tuple[str, ...]
    """0x addresses of the contributors, in the order of the trainers."""
    creator: str
    """Opened the task; the gateway holds its key."""
    sponsor: str
    """Filled its pot; the gateway holds its key."""
    owner: str
    """Of the pool; its key is not the gateway's."""
    pid: int

    def write(self, folder: Path) -> None:
        """Replaces the file in one step: a reader sees the old one or the new one."""
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / (FILE + ".new")
        fresh.write_text(json.dumps(asdict(self), indent=2) + "\n")
        fresh.replace(folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises InvalidConfig if nothing has been started there."""
        path = folder / FILE
        try:
            fields = strictjson.loads(path.read_bytes(), max_bytes=FILE_BYTES, max_values=FILE_BYTES)
        except FileNotFoundError as error:
            raise InvalidConfig(
                f"no suite has been started in {folder}: run `linklearner up` (or `make demo KEEP=1`), "
                "or name the services with --gateway, --trainer, --model-server and --rpc"
            ) from error
        except (OSError, NotJson) as error:
            raise InvalidConfig(f"{path} cannot be read: {error}") from error
        try:
            suite = cls(**{**fields, "trainers": tuple(fields["trainers"]), "accounts": tuple(fields["accounts"])})
        except (KeyError, TypeError) as error:
            raise InvalidConfig(f"{path} was written by another version: run `linklearner up` again") from error
        for field in dataclass_fields(cls):
            if not _fits(fields[field.name], field.type):
                raise InvalidConfig(
                    f"{path} is damaged: {field.name} is {fields[field.name]!r:.60}; run `linklearner up` again"
                )
        return suite


def _fits(value: object, kind: object) -> bool:
    """Whether a value of the file is of a field's kind: JSON's true is no number, a text no list of texts."""
    if kind in (int, str):
        return type(value) is kind
    return isinstance(value, list) and all(type(one) is str for one in value)
