"""A task on a chain of its own, contributors who have locked stake in it, and their gateway and trainers, which come and go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account

from bench.suite import deployed, gateway_config
from devchain import Devchain
from linklearner.domain.plan import TaskPlan
from linklearner.rpc.access import CONTRIBUTOR, OPERATOR, Credential
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.keystore import Keystore
from services.trainer.config import TrainerConfig
from services.trainer.trainer import Trainer


@dataclass
class Town:
    """What is on disk: keys, credentials of the gateway and of the trainers, states."""

    folder: Path
    rpc_url: str
    accounts: tuple[bytes, ...]

    @property
    def operator(self) -> Credential:
        return self.credential(OPERATOR)

    def credential(self, name: str) -> Credential:
        return Credential.read(self.folder / "access" / name)

    @asynccontextmanager
    async def gateway(self, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
        """Its address."""
        async with Gateway.start(gateway_config(self.folder, self.rpc_url, listen=listen)) as gateway:
            yield gateway.address

    @asynccontextmanager
    async def trainer(self, gateway: str, index: int, **settings: object) -> AsyncIterator[str]:
        """The address of one that is ready, and learns from its part of the samples."""
        given = {
            "listen": "127.0.0.1:0",
            "gateway": gateway,
            "credential": str(self.folder / "access" / CONTRIBUTOR),
            "access": self.folder / "access",
            "account": "0x" + self.accounts[index].hex(),
            "shard": f"{index}/{len(self.accounts)}",
            "state_dir": self.folder / f"trainer-{index}",
            **settings,
        }
        async with Trainer.start(TrainerConfig(**given)) as trainer:  # type: ignore[arg-type]
            await trainer.ready()
            yield trainer.address


@asynccontextmanager
async def town_of(folder: Path, task: TaskPlan, contributors: int) -> AsyncIterator[Town]:
    async with Devchain.start() as devchain:
        first = devchain.accounts[0]
        owner = Keystore({first.address: Account.from_key(first.key)})
        keys = await deployed(folder, devchain.url, owner, task, contributors)
        yield Town(folder, devchain.url, keys.addresses)
