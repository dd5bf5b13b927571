"""What a chain gateway is told at its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from linklearner.chain.endpoints import split_urls
from linklearner.domain.errors import InvalidConfig

PREFIX = "LINKLEARNER_GATEWAY_"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Read once, from the environment in `__main__` or from whoever embeds the gateway. Names files of secrets, holds none."""

    rpc_url: str = "http://127.0.0.1:8545"
    """JSON-RPC endpoint of the chain, or several of the same chain separated by commas: where one fails, the next is asked."""
    start_wait_s: float = 60.0
    """Seconds that a start waits for a chain that does not answer yet, saying so; 0: not at all."""
    witness_rpc_url: str = ""
    """A second node that must tell the same history before it is believed; empty: none."""
    deployment: Path = Path(".linklearner/deployment.json")
    """What `deploy` wrote: where the contracts are."""
    keystore: Path = Path(".linklearner/keys")
    """Folder of encrypted keyfiles (*.json), one for each account."""
    password_file: Path = Path(".linklearner/secrets/password")
    """File whose first line opens all of them; not in their folder, so that a copy of it opens nothing."""
    outbox: Path = Path(".linklearner/outbox.sqlite")
    """Signed transactions and known history; one process each."""
    listen: str = "127.0.0.1:50051"
    """host:port of the gRPC server; port 0 takes a free one."""
    access: Path = Path(".linklearner/access")
    """Folder of the credentials of those who may call (*.json); operator, contributor and reader are made in an empty one."""
    auto_settle: bool = True
    """Settle rounds that may be settled, of every task, and be paid for it."""
    receipt_s: float = 60.0
    """Seconds after which a caller is told that there is no receipt yet; the transaction is watched on."""
    max_gas_price_gwei: float = 500.0
    """Gwei per gas that are paid at most, whatever the node asks: more is refused before anything is signed. Idle nodes ask up to 20."""
    poll_s: float = 0.5
    """Seconds between two looks at the chain's head while nothing else tells that it moved."""
    max_head_age_s: float = 0.0
    """Work only on a chain whose newest block is at most so many seconds old; 0 for chains that make blocks only on demand."""
    log_level: str = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("receipt_s", 0.1, 3600),
            ("start_wait_s", 0, 86400),
            ("poll_s", 0.01, 60),
            ("max_gas_price_gwei", 0.001, 1_000_000),
            ("max_head_age_s", 0, 86400),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidConfig(f"{name} lies between {low} and {high}, not at {value}", facts={"setting": name})
        for name in ("rpc_url", "witness_rpc_url"):
            url = getattr(self, name)
            try:
                if url or name == "rpc_url":
                    split_urls(url)
            except InvalidConfig as error:
                raise InvalidConfig(f"{name}: {error.message}", facts={"setting": name}) from None
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise InvalidConfig(f"log_level is debug, info, warning or error, not {self.log_level!r}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """From LINKLEARNER_GATEWAY_RPC_URL and so on. Raises InvalidConfig, also for a name that no setting has."""
        settings: dict[str, object] = {}
        known = {field.name: field.type for field in fields(cls)}
        for variable, text in environment.items():
            if not variable.startswith(PREFIX):
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name not in known:
                names = ", ".join(PREFIX + known_name.upper() for known_name in known)
                raise InvalidConfig(f"{variable} is no setting of the chain gateway; there are {names}")
            settings[name] = _parsed(variable, str(known[name]), text)
        return cls(**settings)  # type: ignore[arg-type]


def _parsed(variable: str, kind: str, text: str) -> object:
    if kind == "Path":
        return Path(text)
    if kind == "bool":
        if text not in ("true", "false"):
            raise InvalidConfig(f"{variable} is true or false, not {text!r}")
        return text == "true"
    if kind == "float":
        try:
            return float(text)
        except ValueError:
            raise InvalidConfig(f"{variable} is a number, not {text!r}") from None
    return text
