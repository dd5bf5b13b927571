"""The settings of a model server. Those of its admission lie with that (`admission`), under the same prefix."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Self

from linklearner.domain.errors import InvalidConfig, InvalidInput
from linklearner.domain.notation import UINT64, Endpoint
from linklearner.settings import Between, HostPort, LogLevel, OneOfKinds, Settings, TaskNumbers
from services.model_server.admission.admission import AdmissionSettings, beyond
from services.model_server.admission.stake import StakeSettings
from services.model_server.admission.table import ADMISSIONS

BY_STAKE = StakeSettings()
TASKS = TaskNumbers(UINT64, 64)


@dataclass(frozen=True, kw_only=True)
class ModelServerConfig(Settings):
    """Read once, from the environment in `__main__` or from whoever embeds the server. It holds no key and no secret."""

    PREFIX: ClassVar = "LINKLEARNER_MODEL_SERVER_"

    gateway: Annotated[str, HostPort(any_port=True)] = "127.0.0.1:50051"
    """host:port of the chain gateway whose word about versions and stakes is taken."""
    credential: str = ".linklearner/access/reader.json"
    """File that proves to the gateway who calls; one that may read is enough, and all this server should have. Empty: none."""
    task: Annotated[str, TASKS] = "1"
    """The task whose model is served, from 1; or several, separated by commas: each has ports, sessions and metrics of its own, the second
    one at the next ports after those below, and so on."""
    admission: Annotated[AdmissionSettings, OneOfKinds(ADMISSIONS)] = BY_STAKE
    """Who may ask: stake (an address with $LL locked in the task signs in) or open (everybody; at loopback addresses only)."""
    listen: Annotated[str, HostPort(any_port=True)] = "127.0.0.1:50061"
    """host:port of the gRPC server; port 0 takes a free one."""
    metrics_listen: Annotated[str, HostPort(any_port=True)] = "127.0.0.1:9461"
    """host:port of the Prometheus metrics (plain HTTP, on a loopback address by default); port 0 takes a free one."""
    keep_previous_s: Annotated[float, Between(0, 3600)] = 60.0
    """Seconds for which a replaced version still answers to its number, bounds below permitting."""
    poll_s: Annotated[float, Between(0.01, 300)] = 10.0
    """Seconds between two looks for a new version when no announcement wakes the server."""
    max_rows: Annotated[int, Between(1, 65536)] = 1024
    """Rows in one inference request at most."""
    max_bodies: Annotated[int, Between(1, 4096)] = 32
    """Messages of admitted calls that are being received at once; each may have up to 4 MiB, and takes twice that. One more ends the oldest
    of the caller that has the most under way. All other calls share 8 more such places, by network."""
    keep_previous_versions: Annotated[int, Between(0, 1000)] = 8
    """Replaced versions that are kept at most, however young."""
    keep_previous_bytes: Annotated[int, Between(0, 2**40)] = 256 << 20
    """Bytes of their weights, as float32, that replaced versions may take in all; the oldest go first."""
    max_model_bytes: Annotated[int, Between(2, 2**29)] = 128 << 20
    """The largest model, in bytes of its int16 weights, that is downloaded; a task that needs more is refused beforehand."""
    frozen: Path = Path(".linklearner/frozen")
    """Folder of *.safetensors files for tasks whose models stand on a frozen base; each is found by its digest, whatever its name."""
    log_level: LogLevel = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.admission.check_listener(Endpoint.parse(self.listen, any_port=True))
        self.each()

    def tasks(self) -> tuple[int, ...]:
        """Their numbers, in the order in which they are named."""
        return TASKS.read(self.task, "task")

    def each(self) -> tuple[Self, ...]:
        """The settings of the server of each task. Raises InvalidConfig where there are too few ports behind the first one."""
        tasks = self.tasks()
        if len(tasks) == 1:
            return (self,)
        try:
            return tuple(
                replace(
                    self,
                    task=str(task),
                    listen=beyond(self.listen, place),
                    metrics_listen=beyond(self.metrics_listen, place),
                    admission=self.admission.beyond(place),
                )
                for place, task in enumerate(tasks)
            )
        except InvalidInput as error:
            raise InvalidConfig(f"{len(tasks)} tasks need as many ports: {error.message}") from None
