"""The trainer's settings."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from linklearner.domain.encodings import TWO_BITS, Encoding, encoding_named
from linklearner.domain.errors import InvalidConfig, InvalidInput, OutOfRange
from linklearner.domain.notation import Endpoint, address, whole
from services.trainer.data import Shard
from services.trainer.recipe import Recipe

PREFIX = "LINKLEARNER_TRAINER_"
FOREVER = -1

BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Read once, from the environment in `__main__` or from whoever embeds the trainer. It holds no key and no secret."""

    listen: str = "127.0.0.1:50071"
    """host:port of the gRPC server; port 0 takes a free one."""
    gateway: str = "127.0.0.1:50051"
    """host:port of the chain gateway that holds this trainer's account."""
    credential: str = ".linklearner/access/contributor.json"
    """File that proves to the gateway who calls; one that may contribute is enough. Empty: none."""
    access: str = ".linklearner/access"
    """Folder of the credentials of those who may call this trainer (*.json); some are made in an empty one."""
    account: str = ""
    """Address to contribute with, 0x and 40 hex digits; empty: the only account of the gateway."""
    task: int = 1
    """The task to contribute to, from 1."""
    data: str = "digits"
    """Where the samples come from: digits, mnist:FOLDER, emnist:FOLDER or npz:FILE."""
    allow_range: bool = False
    """true: train also on samples whose range is far from the one that the task's model expects (`task show` tells it)."""
    shard: str = "0/1"
    """Which part of them is this trainer's, INDEX/COUNT; to play several contributors with one public data set."""
    alpha: str = "1"
    """How the labels are spread over the shards: Dirichlet's concentration (smaller is more skewed), or iid."""
    shard_seed: int = 0
    """Seed of the cut into shards; the same for all trainers of a cut."""
    min_samples: int = 32
    """Fewer samples than this are refused: from the update of a handful, the samples could be reconstructed."""
    steps: int = 100
    """Local Adam steps a round."""
    batch_size: int = 64
    """Samples a step."""
    learning_rate: float = 0.01
    """Adam's."""
    encoding: str = TWO_BITS.name
    """How updates are written: two-bits or int8."""
    seed: int = 0
    """Seed of the batches' order."""
    rounds: int = 0
    """Rounds to contribute to without being asked, counted from each start; 0: on request only, -1: for ever."""
    state_dir: str = ".linklearner/trainer"
    """Folder for what must survive a restart; one trainer each."""
    threads: int = 1
    """Threads of torch; small models are fastest with one."""
    log_level: str = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("task", 1, 2**21 - 1),
            ("shard_seed", 0, 2**63 - 1),
            ("min_samples", 1, 2**31),
            ("seed", 0, 2**63 - 1),
            ("rounds", FOREVER, 2**31),
            ("threads", 1, 1024),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidConfig(f"{name} lies between {low} and {high}, not at {value}", facts={"setting": name})
        for name in ("listen", "gateway"):
            try:
                Endpoint.parse(getattr(self, name), name, any_port=True)
            except InvalidInput as error:
                raise InvalidConfig(error.message, facts={"setting": name}) from None
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise InvalidConfig(f"log_level is debug, info, warning or error, not {self.log_level!r}")
        self.account_bytes()
        self.shard_of_data()
        self.update_encoding()
        self.recipe()

    def account_bytes(self) -> bytes | None:
        """20 bytes; None: the gateway's only account."""
        if not self.account:
            return None
        try:
            return address(self.account)
        except InvalidInput as error:
            raise InvalidConfig(f"account: {error.message}", facts={"setting": "account"}) from None

    def shard_of_data(self) -> Shard:
        index, _, count = self.shard.partition("/")
        if not all(number.isdecimal() and number.isascii() and len(number) <= 9 for number in (index, count)):
            raise InvalidConfig(f"shard is INDEX/COUNT, not {self.shard!r}", facts={"setting": "shard"})
        try:
            alpha = None if self.alpha == "iid" else float(self.alpha)
        except ValueError:
            raise InvalidConfig(f"alpha is a number or iid, not {self.alpha!r}", facts={"setting": "alpha"}) from None
        return Shard(int(index), int(count), alpha, self.shard_seed)

    def update_encoding(self) -> Encoding:
        try:
            return encoding_named(self.encoding)
        except InvalidInput as error:
            raise InvalidConfig(f"encoding: {error.message}", facts={"setting": "encoding"}) from None

    def recipe(self) -> Recipe:
        try:
            return Recipe(step_count=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate)
        except OutOfRange as error:
            raise InvalidConfig(error.message) from error

    def state_folder(self) -> Path:
        return Path(self.state_dir)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """LINKLEARNER_TRAINER_GATEWAY and so on: the field names in capitals. Raises InvalidConfig for unknown names or values."""
        types = {field.name: field.type for field in fields(cls)}
        given: dict[str, object] = {}
        for key, text in environment.items():
            if not key.startswith(PREFIX):
                continue
            name = key.removeprefix(PREFIX).lower()
            if name not in types:
                raise InvalidConfig(f"{key} is no setting of the trainer; known: {', '.join(sorted(types))}")
            kind = types[name]
            assert isinstance(kind, type)
            if kind is bool:
                if text.lower() not in BOOLEANS:
                    raise InvalidConfig(f"{key} must be true or false, got {text!r:.60}", facts={"setting": name})
                given[name] = BOOLEANS[text.lower()]
                continue
            try:
                given[name] = whole(text, key, -(10**78), 10**78) if kind is int else kind(text)
            except (InvalidInput, ValueError):
                raise InvalidConfig(f"{key} is a number, not {text!r:.60}", facts={"setting": name}) from None
        return cls(**given)  # type: ignore[arg-type]  # converted by the fields' own types above
