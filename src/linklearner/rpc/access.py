"""Who may call a service: one bearer credential per caller, one role per method.

A credential is a small JSON file of mode 0600 that the caller and the server both hold:

    {"caller": "trainer-1", "role": "contribute", "account": "0x…", "token": "<64 hex digits>"}

The server reads a folder of them once, at its start. The check looks at the call's metadata alone, before a byte of the message is
read: without a known token the answer is UNAUTHENTICATED, with a role that is too small PERMISSION_DENIED. A method that the service's
table does not name needs the greatest role, so a new method is closed until someone decides. Health and reflection stay open.

The token travels in clear text: over loopback or a private network only, until channels have TLS. `account`, where given, is the only
account that the caller may act for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidConfig, PermissionDenied, Unauthenticated
from linklearner.domain.strictjson import NotJson
from linklearner.rpc.entrance import Context, Entrance

AUTHORIZATION: Final = "authorization"
MAX_FILE_BYTES: Final = 4096
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_TOKEN: Final = re.compile(r"[0-9a-f]{64}")
_ACCOUNT: Final = re.compile(r"0x[0-9a-fA-F]{40}")


class Role(IntEnum):
    """What a caller may do; each role includes those below it."""

    READ = 1
    """Look at public state through this service."""
    CONTRIBUTE = 2
    """Train and submit updates."""
    SPEND = 3
    """Move, lock and unlock money."""

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One whose token is known. account: 20 bytes, the only one this caller may act for; None: any that the service holds."""

    name: str
    role: Role
    account: bytes | None = None

    def check_account(self, account: bytes) -> None:
        """Raises PermissionDenied if this caller may not act for `account`."""
        if self.account is not None and account != self.account:
            raise PermissionDenied(
                f"caller {self.name} may act for 0x{self.account.hex()} only, not for 0x{account.hex()}",
                reason="WrongAccount",
                facts={"caller": self.name},
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A caller and the token that proves it. The token is 32 random bytes in hex and stays out of every repr and log."""

    caller: Caller
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.caller.name):
            raise InvalidConfig(f"a caller's name is 1 to 32 of a-z, 0-9, - and _, not {self.caller.name[:40]!r}")
        if not _TOKEN.fullmatch(self.token):
            raise InvalidConfig(f"the token of caller {self.caller.name} must be 64 lower-case hex digits")

    @classmethod
    def new(cls, name: str, role: Role, account: bytes | None = None) -> Self:
        return cls(caller=Caller(name=name, role=role, account=account), token=secrets.token_hex(32))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InvalidConfig for a file that is missing, open to other users or not a credential."""
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise InvalidConfig(
                f"cannot read the credential {path}: {error.strerror or error}; a gateway makes some in its access folder at its "
                "first start"
            ) from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidConfig(f"other users may read the credential {path}: make it private (chmod 600 {path})")
        if len(text) > MAX_FILE_BYTES:
            raise InvalidConfig(f"{path} is not a credential: it is larger than {MAX_FILE_BYTES} bytes")
        return cls._parsed(path, text)

    @classmethod
    def _parsed(cls, path: Path, text: bytes) -> Self:
        try:
            fields = strictjson.loads(text, max_bytes=MAX_FILE_BYTES, max_values=16, max_depth=1)
        except NotJson as error:
            raise InvalidConfig(f"{path} is not a credential: {error.message}") from error
        if not isinstance(fields, dict) or not {"caller", "role", "token"} <= set(fields) <= {
            "caller",
            "role",
            "token",
            "account",
        }:
            raise InvalidConfig(
                f"{path} is not a credential: it needs the fields caller, role, token and perhaps account"
            )
        name, role, token, account = (fields.get(key) for key in ("caller", "role", "token", "account"))
        if not isinstance(name, str) or not isinstance(token, str):
            raise InvalidConfig(f"{path} is not a credential: caller and token must be text")
        if role not in [one.word for one in Role]:
            raise InvalidConfig(f"{path}: role must be {', '.join(one.word for one in Role)}, got {str(role)[:40]!r}")
        if account is not None and not (isinstance(account, str) and _ACCOUNT.fullmatch(account)):
            raise InvalidConfig(f"{path}: account must be 0x and 40 hex digits")
        return cls(
            caller=Caller(
                name=name, role=Role[role.upper()], account=None if account is None else bytes.fromhex(account[2:])
            ),
            token=token,
        )

    def to_json(self) -> str:
        """What `read` reads; it holds the token."""
        fields = {"caller": self.caller.name, "role": self.caller.role.word, "token": self.token}
        if self.caller.account is not None:
            fields["account"] = "0x" + self.caller.account.hex()
        return json.dumps(fields, indent=2) + "\n"

    def write(self, path: Path) -> None:
        """Makes the file, whole and with mode 0600 from its first moment. Raises FileExistsError rather than replace one."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self.to_json())
            os.link(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)

    @classmethod
    def kept(cls, path: Path, role: Role, account: bytes | None = None) -> Self:
        """The credential of that file, made with this role if there is none; the file's name is the caller's.

        Raises InvalidConfig if the file is there and stands for something else.
        """
        if not path.exists():
            with contextlib.suppress(FileExistsError):  # another process, started at the same time, was faster
                cls.new(path.stem, role, account).write(path)
        credential = cls.read(path)
        if (credential.caller.role, credential.caller.account) != (role, account):
            raise InvalidConfig(f"{path} is a credential of another role or account: move it away and start again")
        return credential


OPERATOR: Final = "operator.json"
CONTRIBUTOR: Final = "contributor.json"
READER: Final = "reader.json"


class Access:
    """The credentials that a service accepts."""

    def __init__(self, credentials: Iterable[Credential]) -> None:
        """Raises InvalidConfig if two share a name or a token."""
        # Looked up by digest, so that the time a look-up takes says nothing about a token.
        self._callers: dict[bytes, Caller] = {}
        names: set[str] = set()
        for credential in credentials:
            key = _digest(credential.token)
            if credential.caller.name in names or key in self._callers:
                raise InvalidConfig(f"two credentials share the name or the token of caller {credential.caller.name}")
            names.add(credential.caller.name)
            self._callers[key] = credential.caller

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The credentials of a folder, *.json; in an empty or absent one makes operator, contributor and reader first.

        Raises InvalidConfig for a folder or file that cannot be used.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            paths = sorted(folder.glob("*.json"))
            if not paths:
                for name, role in ((OPERATOR, Role.SPEND), (CONTRIBUTOR, Role.CONTRIBUTE), (READER, Role.READ)):
                    Credential.kept(folder / name, role)
                paths = sorted(folder.glob("*.json"))
        except OSError as error:
            raise InvalidConfig(
                f"cannot use {folder} as the folder of credentials: {error.strerror or error}"
            ) from error
        return cls(map(Credential.read, paths))

    def caller(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Who sent a call's metadata. Raises Unauthenticated."""
        given = [value for key, value in metadata if key == AUTHORIZATION]
        if len(given) != 1 or not isinstance(given[0], str):
            raise Unauthenticated(
                "this service answers callers with a credential: name its file (--credential, or the service's "
                "…_CREDENTIAL setting)",
                reason="NoCredential",
            )
        scheme, _, token = given[0].partition(" ")
        found = self._callers.get(_digest(token)) if scheme.lower() == "bearer" else None
        if found is None:
            raise Unauthenticated(
                "the credential is not one that this service accepts: take the file from its access folder",
                reason="UnknownCredential",
            )
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


_calling: ContextVar[Caller | None] = ContextVar("calling", default=None)


def calling() -> Caller:
    """Who makes the call that is being answered. Raises Unauthenticated on a server without credentials: nobody is known there."""
    caller = _calling.get()
    if caller is None:
        raise Unauthenticated("this server knows no callers", reason="NoCredential")
    return caller


class CallerEntrance(Entrance):
    """Lets in callers who may at least `role`, by a call's metadata alone; their names are the parties."""

    def __init__(self, access: Access, role: Role) -> None:
        super().__init__()
        self._access = access
        self._role = role

    async def enter(self, context: Context) -> str:
        """Raises Unauthenticated or PermissionDenied. The handler runs in this very task, so `calling` finds the caller there."""
        caller = self._access.caller(context.invocation_metadata() or ())
        if caller.role < self._role:
            raise PermissionDenied(
                f"caller {caller.name} may {caller.role.word}; this call needs a credential that may {self._role.word}",
                reason="RoleTooSmall",
                facts={"caller": caller.name, "role": caller.role.word, "needed": self._role.word},
            )
        _calling.set(caller)
        return caller.name


def entrances(access: Access, roles: Mapping[str, Role]) -> dict[str, Entrance]:
    """For RpcServer: what each method needs, by full name ("/package.Service/Method")."""
    return {method: CallerEntrance(access, role) for method, role in roles.items()}
