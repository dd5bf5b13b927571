"""What a model server is told at its start."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from linklearner.domain.errors import InvalidConfig, InvalidInput
from linklearner.domain.notation import Endpoint, whole

PREFIX = "LINKLEARNER_MODEL_SERVER_"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Read once, from the environment in `__main__` or from whoever embeds the server. It holds no key and no secret."""

    gateway: str = "127.0.0.1:50051"
    """host:port of the chain gateway whose word about versions and stakes is taken."""
    credential: str = ".linklearner/access/reader.json"
    """File that proves to the gateway who calls; one that may read is enough, and all this server should have. Empty: none."""
    task: int = 1
    """The task whose model is served, from 1."""
    listen: str = "127.0.0.1:50061"
    """host:port of the gRPC server; port 0 takes a free one."""
    metrics_listen: str = "127.0.0.1:9461"
    """host:port of the Prometheus metrics (plain HTTP, loopback unless told otherwise); port 0 takes a free one."""
    domain: str = ""
    """host:port under which callers know this server; signatures are bound to it. Empty: the address it listens on."""
    required_units: int = 1000
    """$LL, in units of 10^15 wei, that a caller's address must have locked in the task; the default is one $LL. 0: any address."""
    challenge_s: float = 180.0
    """Seconds in which a challenge may be signed: 120 to 300."""
    session_s: float = 720.0
    """Seconds that a session lasts: 600 to 900."""
    stake_refresh_s: float = 2.0
    """Seconds between two looks at the chain's head; a new head makes the stakes of active callers be read again."""
    stake_stale_s: float = 10.0
    """Seconds after which a stake that could not be confirmed opens no gate: the longest time that service outlives an unlock."""
    head_stale_s: float = 0.0
    """Refuse gated calls when the chain's newest block is older than this many seconds; 0 for chains that make blocks only on demand."""
    keep_previous_s: float = 60.0
    """Seconds for which a replaced version still answers to its number, bounds below permitting."""
    poll_s: float = 10.0
    """Seconds between two looks for a new version when no announcement wakes the server."""
    max_rows: int = 1024
    """Rows in one inference request at most."""
    max_sessions: int = 4096
    """Open sessions at most; one more ends the idlest of the address that has the most."""
    max_sessions_per_address: int = 8
    """Open sessions of one address at most; one more ends the one that has been idle longest."""
    max_calls_per_session: int = 128
    """Inference calls that one session may have open at once."""
    max_bodies: int = 32
    """Messages of sessions that are being received at once; each may have up to 4 MiB, and takes twice that. One more ends the oldest
    of the session that has the most under way. Calls without a session share 8 more such places, by network."""
    keep_previous_versions: int = 8
    """Replaced versions that are kept at most, however young."""
    keep_previous_bytes: int = 256 << 20
    """Bytes of their weights, as float32, that replaced versions may take in all; the oldest go first."""
    max_model_bytes: int = 128 << 20
    """The largest model, in bytes of its int16 weights, that is downloaded; a task that needs more is refused beforehand."""
    log_level: str = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("task", 1, 2**64 - 1),
            ("required_units", 0, 2**64 - 1),
            ("challenge_s", 120, 300),
            ("session_s", 600, 900),
            ("stake_refresh_s", 0.01, 60),
            ("stake_stale_s", 0.05, 300),
            ("head_stale_s", 0, 86400),
            ("keep_previous_s", 0, 3600),
            ("poll_s", 0.01, 300),
            ("max_rows", 1, 65536),
            ("max_sessions", 1, 1_000_000),
            ("max_sessions_per_address", 1, 1_000_000),
            ("max_calls_per_session", 1, 1_000_000),
            ("max_bodies", 1, 4096),
            ("keep_previous_versions", 0, 1000),
            ("keep_previous_bytes", 0, 2**40),
            ("max_model_bytes", 2, 2**29),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidConfig(f"{name} must be between {low} and {high}, got {value}", facts={"setting": name})
        if self.stake_stale_s <= self.stake_refresh_s:
            raise InvalidConfig(
                f"stake_stale_s ({self.stake_stale_s}) must exceed stake_refresh_s ({self.stake_refresh_s}): otherwise "
                "every stake is stale before it is read again",
                facts={"setting": "stake_stale_s"},
            )
        if any(character.isspace() for character in self.domain):
            raise InvalidConfig("domain is a host:port without spaces", facts={"setting": "domain"})
        for name in ("listen", "metrics_listen", "gateway"):
            try:
                Endpoint.parse(getattr(self, name), name, any_port=True)
            except InvalidInput as error:
                raise InvalidConfig(error.message, facts={"setting": name}) from None
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise InvalidConfig(f"log_level is debug, info, warning or error, not {self.log_level!r}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """LINKLEARNER_MODEL_SERVER_GATEWAY and so on: the field names in capitals. Raises InvalidConfig for unknown names or values."""
        types = {field.name: field.type for field in fields(cls)}
        given: dict[str, object] = {}
        for key, text in environment.items():
            if not key.startswith(PREFIX):
                continue
            name = key.removeprefix(PREFIX).lower()
            if name not in types:
                raise InvalidConfig(f"{key} is no setting of the model server; known: {', '.join(sorted(types))}")
            kind = types[name]
            assert isinstance(kind, type)
            try:
                given[name] = whole(text, key, -(10**78), 10**78) if kind is int else kind(text)
            except (InvalidInput, ValueError):
                raise InvalidConfig(f"{key} is a number, not {text!r}", facts={"setting": name}) from None
        return cls(**given)  # type: ignore[arg-type]  # converted by the fields' own types above
