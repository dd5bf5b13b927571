"""The settings of a trainer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from linklearner.domain.encodings import ENCODINGS, TWO_BITS, Encoding, encoding_named
from linklearner.domain.errors import InvalidConfig, OutOfRange
from linklearner.domain.notation import address, shown
from linklearner.settings import AddressField, Between, HostPort, LogLevel, OneOf, OneOfKinds, Settings, TaskNumbers
from services.trainer.data import Shard
from services.trainer.manners import MIB, Conditions, Hours, HoursOfDay
from services.trainer.privacy import OFF, PRIVACY, DpSgd, PrivacySettings
from services.trainer.recipe import ADAM, MAX_SECONDS, MAX_STEPS, MIN_STEPS, OPTIMISERS, Optimiser, Recipe

ENDLESS = -1
"""Of `rounds`."""
MAX_TASK = 2**21 - 1
TASKS = TaskNumbers(MAX_TASK, 16)
MAX_SEED = 2**63 - 1
MAX_MB = 2**30 - 1


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
    """Local optimiser steps a round, unless there is a time budget. Left at its default, what the task advises wins, as for batch_size and
    learning_rate."""
    seconds: Annotated[float, Between(0, MAX_SECONDS)] = 0.0
    """Time budget of a round's local steps, pauses left out, in place of their number; 0: none. At least 10 steps are made."""
    batch_size: Annotated[int, Between(1, 2**20)] = 64
    """Samples a step."""
    optimiser: Annotated[Optimiser, OneOfKinds(OPTIMISERS)] = ADAM
    """adamw, or sgd with momentum."""
    proximal: Annotated[float, Between(0, 1000)] = 0.0
    """FedProx: how strongly local training is pulled to where it began, for data unlike the others'; 0: not at all, 0.01 to 1 is usual."""
    encoding: Annotated[str, OneOf(tuple(row.name for row in ENCODINGS.values()))] = TWO_BITS.name
    """How updates are written: two-bits or int8."""
    seed: Annotated[int, Between(0, MAX_SEED)] = 0
    """Seed of the batches' order."""
    dp: Annotated[PrivacySettings, OneOfKinds(PRIVACY)] = OFF
    """Differential privacy of the updates: off; sgd: of each sample, by DP-SGD; update: of the whole data set, by noise on each update.
    """
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
    turns: Annotated[str, OneOf(("as-they-come", "by-pay"))] = "as-they-come"
    """Which of several tasks is trained for next, where more than one waits: as-they-come, or by-pay: the one whose round is expected to
    pay most a processor second (one that was passed over four times goes first)."""
    hours: Annotated[str, HoursOfDay()] = ""
    """Hours of the day at which it trains, local time, such as 22:00-07:00 or 0-6, 12-13; empty: the whole day."""
    on_battery: bool = True
    """false: train on mains power only; a machine without a battery has it always."""
    others_cpu: Annotated[float, Between(0, 100)] = 100.0
    """Train only while other processes use at most this share of all cores together, percent; 100: whatever they use."""
    cpu_cap: Annotated[float, Between(1, 100)] = 100.0
    """Share of the time in which a training computes, percent, on as many cores as there are threads; it rests for the remainder."""
    nice: Annotated[int, Between(0, 19)] = 0
    """How much the training thread gives way to other processes (see nice(1)); on macOS all of the process."""
    temperature_c: Annotated[float, Between(0, 120)] = 0.0
    """Train only while the processor is no hotter than this, degrees Celsius; 0: whatever it is."""
    free_memory_mb: Annotated[int, Between(0, MAX_MB)] = 0
    """Train only while so much memory is free for others, MiB; 0: however little."""
    memory_mb: Annotated[int, Between(0, MAX_MB)] = 0
    """Train only while this process takes no more memory than this, MiB; 0: whatever it takes."""
    log_level: LogLevel = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.shard_of_data()
        self.update_encoding()
        self.recipe()
        if isinstance(self.dp, DpSgd) and self.seconds:
            raise InvalidConfig(
                f"seconds must be 0 with dp=sgd, got {self.seconds:g}: what a round spends is counted before it begins, by its steps",
                facts={"setting": "seconds"},
            )

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
            # Python reads 1_0 as 10, and digits of other scripts
            plain = self.alpha if self.alpha.isascii() and "_" not in self.alpha else ""
            alpha = None if self.alpha == "iid" else float(plain)
        except ValueError:
            raise InvalidConfig(
                f"alpha must be a number or iid, got {shown(self.alpha)}", facts={"setting": "alpha"}
            ) from None
        return Shard(int(index), int(count), alpha, self.shard_seed)

    def update_encoding(self) -> Encoding:
        return encoding_named(self.encoding)

    def conditions(self) -> Conditions:
        """Under which it trains."""
        return Conditions(
            others_cpu=self.others_cpu,
            on_battery=self.on_battery,
            hours=Hours.parse(self.hours, "hours"),
            temperature_c=self.temperature_c,
            free_memory=self.free_memory_mb * MIB,
            memory=self.memory_mb * MIB,
            cpu_cap=self.cpu_cap,
            nice=self.nice,
        )

    def recipe(self) -> Recipe:
        try:
            return Recipe(
                step_count=self.steps,
                seconds=self.seconds,
                batch_size=self.batch_size,
                optimiser=self.optimiser,
                proximal=self.proximal,
            )
        except OutOfRange as error:
            raise InvalidConfig(error.message) from error
