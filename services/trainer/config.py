"""The settings of a trainer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from linklearner.domain.encodings import ENCODINGS, TWO_BITS, Encoding, encoding_named
from linklearner.domain.errors import InvalidConfig, OutOfRange
from linklearner.domain.notation import address, shown
from linklearner.settings import AddressField, Between, HostPort, LogLevel, OneOf, Settings, TaskNumbers
from services.trainer.data import Shard
from services.trainer.recipe import MAX_STEPS, MIN_STEPS, Recipe

ENDLESS = -1
"""Of `rounds`."""
MAX_TASK = 2**21 - 1
TASKS = TaskNumbers(MAX_TASK, 16)
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(Settings):
    """Read once, from the environment in `__main__` or from whoever embeds the trainer. It holds no key and no secret."""

    PREFIX: ClassVar = "LINKLEARNER_TRAINER_"

    listen: Annotated[str, HostPort(any_port=True)] = "127.0.0.1:50071"
    """host:port of the gRPC server; port 0 takes a free one."""
    gateway: Annotated[str, HostPort(any_port=True)] = "127.0.0.1:50051"
    """host:port of the chain gateway that holds this trainer's account."""
    credential: str = ".linklearner/access/contributor.json"
    """File that proves to the gateway who calls; one that may contribute is enough. Empty: none."""
    access: Path = Path(".linklearner/access")
    """Folder of the credentials of those who may call this trainer (*.json); some are made in an empty one."""
    account: Annotated[str, AddressField()] = ""
    """Address to contribute with, 0x and 40 hex digits; empty: the only account of the gateway."""
    task: Annotated[str, TASKS] = "1"
    """The tasks to contribute to, from 1: one, or several separated by commas, which take turns; requests are about the first of them."""
    data: str = "digits"
    """Where the samples come from, KIND:PLACE?OPTIONS (docs/data.md): digits, diabetes, npz:FILE, npy:PLACE, csv:FILE, parquet:FILE,
    images:FOLDER, mnist:FOLDER, emnist:FOLDER, qmnist:FOLDER, idx:FILE or python:FILE.py."""
    allow_range: bool = False
    """true: train also on samples whose range is far from the one that the task's model expects (`task show` tells it)."""
    shard: str = "0/1"
    """Which part of them is this trainer's, INDEX/COUNT; to play several contributors with one public data set."""
    alpha: str = "1"
    """How labels (of a regression, tenths by the size of the target) are spread over the shards: Dirichlet's concentration (smaller is
    more skewed), or iid."""
    shard_seed: Annotated[int, Between(0, MAX_SEED)] = 0
    """Seed of the cut into shards; the same for all trainers of a cut."""
    min_samples: Annotated[int, Between(1, 2**31)] = 32
    """Fewer samples than this are refused: from the update of a handful, the samples could be reconstructed."""
    steps: Annotated[int, Between(MIN_STEPS, MAX_STEPS)] = 100
    """Local Adam steps a round."""
    batch_size: Annotated[int, Between(1, 2**20)] = 64
    """Samples a step."""
    learning_rate: float = 0.01
    """Adam's."""
    encoding: Annotated[str, OneOf(tuple(row.name for row in ENCODINGS.values()))] = TWO_BITS.name
    """How updates are written: two-bits or int8."""
    seed: Annotated[int, Between(0, MAX_SEED)] = 0
    """Seed of the batches' order."""
    rounds: Annotated[int, Between(ENDLESS, 2**31)] = 0
    """Rounds to contribute to without being asked, counted from each start; 0: on request only, -1: without end."""
    only_paid: bool = False
    """true: leave rounds alone while the task's pot is empty; false: work unpaid then, and say so in the log."""
    state_dir: Path = Path(".linklearner/trainer")
    """Folder for what must survive a restart; one trainer each."""
    frozen: Path = Path(".linklearner/frozen")
    """Folder of *.safetensors files for tasks whose models stand on a frozen base; each is found by its digest, whatever its name."""
    threads: Annotated[int, Between(1, 1024)] = 1
    """Threads of torch; small models are fastest with one."""
    log_level: LogLevel = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.shard_of_data()
        self.update_encoding()
        self.recipe()

    def tasks(self) -> tuple[int, ...]:
        """Their numbers, in the order in which they are named."""
        return TASKS.read(self.task, "task")

    def account_bytes(self) -> bytes | None:
        """20 bytes; None: the gateway's only account."""
        return address(self.account) if self.account else None

    def shard_of_data(self) -> Shard:
        index, _, count = self.shard.partition("/")
        if not all(number.isdecimal() and number.isascii() and len(number) <= 9 for number in (index, count)):
            raise InvalidConfig(f"shard must be INDEX/COUNT, got {shown(self.shard)}", facts={"setting": "shard"})
        try:
            alpha = None if self.alpha == "iid" else float(self.alpha)
        except ValueError:
            raise InvalidConfig(
                f"alpha must be a number or iid, got {shown(self.alpha)}", facts={"setting": "alpha"}
            ) from None
        return Shard(int(index), int(count), alpha, self.shard_seed)

    def update_encoding(self) -> Encoding:
        return encoding_named(self.encoding)

    def recipe(self) -> Recipe:
        try:
            return Recipe(step_count=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate)
        except OutOfRange as error:
            raise InvalidConfig(error.message) from error
