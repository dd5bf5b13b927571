"""The settings of a stack: .env, over it the environment; and the files that only this machine has."""

import configparser
import errno
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from linklearner.domain.errors import InvalidInput
from linklearner.domain.notation import whole
from linklearner.keyfile import encrypted
from linklearner.rpc.access import Credential, Role
from tools.stack.contributors import LIMIT

ROOT = Path(__file__).resolve().parents[2]
IMAGE_UID = 10001
FAUCET_SCRYPT_N = 2**12
"""Its password is 256 random bits, which need no stretching."""


class Trouble(Exception):
    """What keeps the stack from running, and what to do: for a person to read."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of this machine. variable: the setting that chooses it."""

    number: int
    variable: str
    service: str


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """One stack. home: folder of its passwords, credentials and logs. variables: what docker-compose.yml is filled in with."""

    project: str
    home: Path
    contributors: int
    rounds: int
    profile: str
    rpc_port: int
    gateway_port: int
    model_server_port: int
    metrics_port: int
    page_port: int
    rpc_url: str
    key_file: str
    key_password_file: str
    variables: Mapping[str, str]

    @classmethod
    def read(cls, environment: Mapping[str, str], root: Path = ROOT) -> Self:
        """From the environment and, below it, root/.env. Raises Trouble for a value that makes no sense."""
        given = {**_dotenv(root / ".env"), **{name: value for name, value in environment.items() if value}}

        def number(name: str, low: int, high: int) -> int:
            try:
                return whole(given.get(name, ""), name, low, high)
            except InvalidInput as error:
                raise Trouble(error.message) from None

        profile = given.get("COMPOSE_PROFILES", "devchain")
        if profile not in ("devchain", "artela"):
            raise Trouble(f"COMPOSE_PROFILES must be devchain or artela, got {profile!r}")
        rpc_url, key_file = given.get("RPC_URL", ""), given.get("KEY_FILE", "")
        if profile == "artela" and not (rpc_url and key_file):
            raise Trouble(
                "the profile artela needs RPC_URL, the node as containers reach it (host.docker.internal is this machine), "
                "and KEY_FILE, the file of a funded key there"
            )
        project = given.get("COMPOSE_PROJECT_NAME") or (
            "linklearner" if profile == "devchain" else "linklearner-artela"
        )
        contributors = number("CONTRIBUTORS", 1, LIMIT)
        gateway_port = number("GATEWAY_PORT", 1, 65535 - LIMIT)
        home = Path(given.get("STACK_HOME") or root / ".linklearner" / project).absolute()
        return cls(
            project=project,
            home=home,
            contributors=contributors,
            rounds=number("ROUNDS", -1, 1_000_000),
            profile=profile,
            rpc_port=number("RPC_PORT", 1, 65535),
            gateway_port=gateway_port,
            model_server_port=number("MODEL_SERVER_PORT", 1, 65535),
            metrics_port=number("METRICS_PORT", 1, 65535),
            page_port=number("PAGE_PORT", 1, 65535),
            rpc_url=rpc_url if profile == "artela" else "",
            key_file=key_file if profile == "artela" else "",
            key_password_file=given.get("KEY_PASSWORD_FILE", "") if profile == "artela" else "",
            variables={name: given[name] for name in _HANDED_ON if given.get(name)},
        )

    @property
    def uid(self) -> int:
        """Who the services run as: whoever may read this user's files; never root."""
        return os.getuid() or IMAGE_UID

    def ports(self) -> tuple[Port, ...]:
        """Every port of this machine that the stack publishes."""
        gateways = tuple(
            Port(number=self.gateway_port + i, variable="GATEWAY_PORT", service=f"gateway-{i + 1}")
            for i in range(self.contributors)
        )
        chain = (Port(number=self.rpc_port, variable="RPC_PORT", service="devchain"),)
        return (
            Port(
                number=self.page_port,
                variable="PAGE_PORT",
                service="page" if self.profile == "devchain" else "page-artela",
            ),
            *(chain if self.profile == "devchain" else ()),
            *gateways,
            Port(number=self.model_server_port, variable="MODEL_SERVER_PORT", service="model_server"),
            Port(number=self.metrics_port, variable="METRICS_PORT", service="model_server"),
        )

    def compose_environment(self) -> dict[str, str]:
        """The variables of docker-compose.yml."""
        owner = self.home / "secrets" / "owner-key"
        password = self.home / "secrets" / "owner-password"
        return {
            **build_files(self.home),
            **self.variables,
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_PROFILES": self.profile,
            "CONTRIBUTORS": str(self.contributors),
            "ROUNDS": str(self.rounds),
            "RPC_PORT": str(self.rpc_port),
            "MODEL_SERVER_PORT": str(self.model_server_port),
            "METRICS_PORT": str(self.metrics_port),
            "PAGE_PORT": str(self.page_port),
            **{f"GATEWAY_PORT_{i + 1}": str(self.gateway_port + i) for i in range(self.contributors)},
            "RPC_URL": self.rpc_url,
            "KEY_FILE": str(owner) if self.key_file else "",
            "KEY_PASSWORD_FILE": str(password) if self.key_password_file else "",
            "STACK_HOME": str(self.home),
            "STACK_UID": str(self.uid),
        }

    def make_secrets(self) -> None:
        """What is not there yet, mode 0600 and readable by the services: for each contributor a password and the credentials of
        those who call its gateway, one for the model server; for the devchain the page's faucet, for artela a copy of the key."""
        folder = self.home / "secrets"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for index in range(1, self.contributors + 1):
            path = folder / f"contributor-{index}"
            if not path.exists():
                self._keep(path, secrets.token_hex(32) + "\n")
            for name, role in ((f"operator-{index}", Role.SPEND), (f"trainer-{index}", Role.CONTRIBUTE)):
                self._keep_credential(folder / name, role)
        self._keep_credential(folder / "reader", Role.READ)
        if self.profile == "devchain":
            self._make_faucet(folder)
        for source, name in ((self.key_file, "owner-key"), (self.key_password_file, "owner-password")):
            if source:
                try:
                    text = Path(source).expanduser().read_text()
                except OSError as error:
                    raise Trouble(f"the key file {source} cannot be read: {error.strerror}") from None
                (folder / name).unlink(missing_ok=True)
                self._keep(folder / name, text)

    def _make_faucet(self, folder: Path) -> None:
        """An account of its own, its password, and who may spend from it and from no other. All three, or all three anew: money that is
        worth nothing is not worth a question."""
        key, password, credential = (folder / name for name in ("faucet-key", "faucet-password", "faucet"))
        if credential.exists() and key.exists() and password.exists():
            return
        for path in (credential, key, password):
            path.unlink(missing_ok=True)
        phrase = secrets.token_hex(32)
        keyfile = encrypted(secrets.token_bytes(32), phrase, scrypt_n=FAUCET_SCRYPT_N)
        account = bytes.fromhex(json.loads(keyfile)["address"])
        self._keep(password, phrase + "\n")
        self._keep(key, keyfile)
        self._keep(credential, Credential.new("faucet", Role.SPEND, account).to_json())

    def _keep_credential(self, path: Path, role: Role) -> None:
        if not path.exists():
            self._keep(path, Credential.new(path.name, role).to_json())

    def _keep(self, path: Path, text: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            if os.getuid() == 0:
                os.fchown(file.fileno(), self.uid, self.uid)
            file.write(text)


_HANDED_ON = ("PYTHON_IMAGE", "TORCH_INDEX", "WHEELS", "BUILD_CA", "PIP_CONF", "STACK_TAG")


def _dotenv(path: Path) -> dict[str, str]:
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs if value}


def build_files(home: Path) -> dict[str, str]:
    """BUILD_CA, PIP_CONF and WHEELS as this machine's own pip is configured, so that a build reaches what pip here reaches."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    configured: dict[str, str] = {}
    for line in asked.splitlines():
        name, _, value = line.partition("=")
        configured[name.rpartition(".")[2]] = value.strip("'\"")
    found: dict[str, str] = {}
    authority = configured.get("cert", "")
    if Path(authority).is_file():
        found["BUILD_CA"] = authority
    for place in configured.get("find-links", "").split():
        if Path(place).is_dir():
            found["WHEELS"] = place
    served = {
        name: " ".join(url for url in configured.get(name, "").split() if not url.startswith("file:"))
        for name in ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
    }
    served = {name: value for name, value in served.items() if value}
    if served:
        text = configparser.ConfigParser(interpolation=None)
        text["global"] = served
        home.mkdir(parents=True, exist_ok=True)
        path = home / "pip.conf"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # an index may carry credentials
        with os.fdopen(descriptor, "w") as file:
            text.write(file)
        found["PIP_CONF"] = str(path)
    return found


def check_ports(ports: tuple[Port, ...], ours: frozenset[int]) -> None:
    """Raises Trouble that names the first port in use by others. ours: ports that this stack's own containers hold."""
    seen: dict[int, Port] = {}
    for port in ports:
        if port.number in seen:
            raise Trouble(
                f"{seen[port.number].service} and {port.service} would both take port {port.number}: "
                f"choose another {port.variable}"
            )
        seen[port.number] = port
        if port.number in ours:
            continue
        with socket.socket() as probe:
            # as the engine does: a port whose last connection lingers is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port.number))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                raise Trouble(
                    f"port {port.number}, wanted for {port.service}, is in use or not yours to take: "
                    f"stop what uses it or choose another one, {port.variable}=… make up"
                ) from None
