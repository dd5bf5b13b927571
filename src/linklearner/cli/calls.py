"""What commands share: their options, and a call of a service with whatever goes wrong said in one sentence."""

import asyncio
import inspect
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from eth_account.signers.local import LocalAccount

from linklearner.cli.arguments import account_address, host_port, number
from linklearner.cli.far_side import wrong_service
from linklearner.client.gateway import GatewayClient
from linklearner.domain.errors import InvalidConfig, NotFound
from linklearner.domain.notation import UINT64, is_loopback
from linklearner.keyfile import read_account, read_password
from linklearner.output import Format, reporting, show
from linklearner.rpc.access import OPERATOR, Credential
from linklearner.suite import Suite, home

T = TypeVar("T")
Rows = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What a command prints: one record, or several with the same fields."""

FormatOption = Annotated[Format, typer.Option("--format", help="text for people, json for programs")]
GatewayOption = Annotated[
    str | None,
    typer.Option(
        "--gateway", parser=host_port("--gateway"), help="host:port of a chain gateway", envvar="LINKLEARNER_GATEWAY"
    ),
]
CredentialOption = Annotated[
    Path | None,
    typer.Option(
        "--credential",
        help="file that proves who calls; the operator's of the suite here if left out",
        envvar="LINKLEARNER_CREDENTIAL",
    ),
]
TaskOption = Annotated[
    int | None,
    typer.Option("--task", parser=number("--task", 1, UINT64), help="the task's number; the suite's own if left out"),
]
AccountOption = Annotated[
    bytes | None,
    typer.Option("--account", parser=account_address, help="0x address; the gateway's first account if left out"),
]


def run(work: Coroutine[Any, Any, T], format: Format) -> T:
    """What `work` returns; a failure is printed and ends the program."""
    with reporting(format):
        return asyncio.run(work)


def request_id() -> str:
    """A fresh one: typing a command again is another request."""
    return "cli-" + secrets.token_hex(12)


def service_address(option: str | None, fallback: str) -> str:
    """An address given by hand, or the one that the running suite wrote down (the first of several)."""
    if option is not None:
        return option
    suite = Suite.read(home())
    value = getattr(suite, fallback)
    if not isinstance(value, tuple):
        return str(value)
    if not value:
        raise InvalidConfig(f"the suite in {home()} has no {fallback}: name one with --{fallback.removesuffix('s')}")
    return str(value[0])


def credential_for(address: str, credential: Path | None) -> Credential | None:
    """The one that was named, or the operator's own: that goes to services on this machine only, unless it is named."""
    if credential is None:
        operator = _operators()
        if operator.exists() and is_loopback(address.rpartition(":")[0]):
            credential = operator
    return None if credential is None else Credential.read(credential)


def _operators() -> Path:
    """The operator's of the suite that runs here (what `demo --keep` left running lies in a folder of its own), or of this home."""
    kept = home() / "access" / OPERATOR
    try:
        return Path(Suite.read(home()).credential or kept)
    except InvalidConfig:
        return kept


def account_of(key_file: Path | None, password_file: Path | None) -> LocalAccount | None:
    """The account whose key is named after a command; None if none is. Raises InvalidConfig for a password without a key."""
    if key_file is None:
        if password_file is not None:
            raise InvalidConfig("--password-file is of a key file: name that with --key-file")
        return None
    return read_account(key_file, None if password_file is None else read_password(password_file))


@dataclass(frozen=True)
class GatewayCall:
    """A gateway that answers, and which task is meant."""

    gateway: GatewayClient
    _task: int | None

    @property
    def task(self) -> int:
        """Raises InvalidConfig if none was named and no suite runs here."""
        return self._task if self._task is not None else Suite.read(home()).task

    async def account(self, given: bytes | None) -> bytes:
        """The account that was named, or the gateway's first. Raises NotFound if it holds none."""
        if given:
            return given
        for first in await self.gateway.accounts():
            return first
        raise NotFound("this gateway holds no key: name an account with --account")


def asks_gateway(work: Callable[..., Coroutine[Any, Any, Rows]]) -> Callable[..., None]:
    """Makes a command of a coroutine function that asks a gateway: the command prints the rows that `work` returns.

    work: takes a GatewayCall, then its own arguments and options by name, as Typer reads them; the options of every such command are
    added behind them.
    """
    return _asking(work, of_task=True)


def asks_gateway_of_all(work: Callable[..., Coroutine[Any, Any, Rows]]) -> Callable[..., None]:
    """The same without `--task`: no one task is meant."""
    return _asking(work, of_task=False)


def _asking(work: Callable[..., Coroutine[Any, Any, Rows]], *, of_task: bool) -> Callable[..., None]:
    @wraps(work)
    def command(
        *, format: Format, gateway_address: str | None, credential: Path | None, task: int | None = None, **own: Any
    ) -> None:
        async def ask() -> Rows:
            where = service_address(gateway_address, "gateway")
            shown = credential_for(where, credential)
            async with wrong_service(where, "a chain gateway"), GatewayClient.connect(where, shown) as gateway:
                return await work(GatewayCall(gateway, task), **own)

        show(format, run(ask(), format))

    def shared(
        *,
        format: FormatOption = Format.TEXT,
        gateway_address: GatewayOption = None,
        credential: CredentialOption = None,
        task: TaskOption = None,
    ) -> None:
        """Only its signature is used."""

    _, *own = inspect.signature(work).parameters.values()
    options = [*own, *inspect.signature(shared).parameters.values()]
    if not of_task:
        options.pop()
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
    )
    command.__annotations__ = {option.name: option.annotation for option in options}
    return command
