"""The settings of a chain gateway."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from linklearner.settings import Between, HostPort, LogLevel, NodeUrls, Settings


@dataclass(frozen=True, kw_only=True)
class GatewayConfig(Settings):
    """Read once, from the environment in `__main__` or from whoever embeds the gateway. Names files of secrets, holds none."""

    PREFIX: ClassVar = "LINKLEARNER_GATEWAY_"

    rpc_url: Annotated[str, NodeUrls()] = "http://127.0.0.1:8545"
    """JSON-RPC endpoint of the chain, or several of the same chain separated by commas: where one fails, the next is asked."""
    start_wait_s: Annotated[float, Between(0, 86400)] = 60.0
    """Seconds that a start waits for a chain that does not answer yet, saying so; 0: not at all."""
    witness_rpc_url: Annotated[str, NodeUrls(optional=True)] = ""
    """A second node that must tell the same history before it is believed; empty: none."""
    deployment: Path = Path(".linklearner/deployment.json")
    """What `deploy` wrote: where the contracts are."""
    keystore: Path = Path(".linklearner/keys")
    """Folder of encrypted keyfiles (*.json), one for each account."""
    password_file: Path = Path(".linklearner/secrets/password")
    """File whose first line opens all of them; not in their folder, so that a copy of it opens nothing."""
    outbox: Path = Path(".linklearner/outbox.sqlite")
    """Signed transactions and known history; one process each."""
    listen: Annotated[str, HostPort(any_port=True)] = "127.0.0.1:50051"
    """host:port of the gRPC server; port 0 takes a free one."""
    access: Path = Path(".linklearner/access")
    """Folder of the credentials of those who may call (*.json); operator, contributor and reader are made in an empty one."""
    auto_settle: bool = True
    """Settle rounds that may be settled, of the tasks in which its accounts have a part, and be paid for it."""
    receipt_s: Annotated[float, Between(0.1, 3600)] = 60.0
    """Seconds after which a caller learns that there is no receipt yet; the transaction is watched on."""
    max_gas_price_gwei: Annotated[float, Between(0.001, 1_000_000)] = 500.0
    """Gwei per gas that are paid at most, whatever the node asks: more is refused before anything is signed. Idle nodes ask up to 20."""
    poll_s: Annotated[float, Between(0.01, 60)] = 0.5
    """Seconds between two looks at the chain's head while nothing else tells that it moved."""
    max_head_age_s: Annotated[float, Between(0, 86400)] = 0.0
    """Work only on a chain whose newest block is at most so many seconds old; 0 for chains that make blocks only on demand."""
    on_demand: bool = False
    """true: the chain makes blocks only when asked; false: that is found out where its clock stands still, which takes two seconds."""
    log_level: LogLevel = "info"
    """debug, info, warning or error."""

    @property
    def examples(self) -> Path:
        """Folder of the examples that tasks of ours have not opened yet: beside the outbox, which is as private and as much to be kept."""
        return self.outbox.parent / "examples"
