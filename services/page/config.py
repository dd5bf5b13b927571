"""The settings of the page's server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from linklearner.domain.errors import InvalidConfig
from linklearner.domain.notation import UINT64
from linklearner.settings import Between, HostPort, LogLevel, NodeUrls, Origins, Settings

ORIGINS = Origins()


@dataclass(frozen=True, kw_only=True)
class PageConfig(Settings):
    """Read once, from the environment in `__main__` or from whoever embeds the server. It holds no key."""

    PREFIX: ClassVar = "LINKLEARNER_PAGE_"

    listen: Annotated[str, HostPort(any_port=True)] = "127.0.0.1:8780"
    """host:port of the web server; port 0 takes a free one. Browsers keep drawings by address: one that changes loses them."""
    origins: Annotated[str, ORIGINS] = ""
    """Further addresses under which browsers reach it, as https://learn.example behind a proxy. Loopback names and the address that it
    listens on are served anyhow; every other name is refused, because a stranger's name may point here."""
    gateway: Annotated[str, HostPort()] = "127.0.0.1:50051"
    """host:port of the chain gateway, which is asked and never made to send."""
    credential: str = ".linklearner/access/reader.json"
    """File that proves to the gateway who calls; one that may read is enough. Empty: none."""
    model_server: Annotated[str, HostPort(optional=True)] = "127.0.0.1:50061"
    """host:port of the model server, whose setting `origins` names this page; empty: nobody can be asked."""
    rpc_url: Annotated[str, NodeUrls()] = "http://127.0.0.1:8545"
    """JSON-RPC endpoint of the chain: what pages and wallets read and send through /rpc goes there. Several, separated by commas: where one
    does not answer, the next is asked."""
    task: Annotated[int, Between(1, UINT64)] = 1
    """The task that the page begins with."""
    faucet: str = ""
    """File of a credential that may spend from one account: development coin and $LL for newcomers come from there. Empty: no faucet. For
    chains whose money is worth nothing."""
    faucet_coin: Annotated[float, Between(0, 1000)] = 0.2
    """Coin that a newcomer has after asking."""
    faucet_ll: Annotated[float, Between(0, 100_000)] = 120.0
    """$LL that a newcomer has after asking."""
    faucet_a_day: Annotated[int, Between(1, 1_000_000)] = 200
    """Accounts that are given something within a day, from this start on."""
    calls_a_second: Annotated[float, Between(0.1, 100_000)] = 60.0
    """Calls that one client (an IPv4 address, an IPv6 /64) may make in the long run; ten times as many at once."""
    log_level: LogLevel = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.faucet and not Path(self.faucet).is_file():
            raise InvalidConfig(f"there is no credential {self.faucet} for the faucet", facts={"setting": "faucet"})
