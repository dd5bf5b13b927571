"""Contributors of one task on the embedded chain, with its contracts and Aspect; gateways and trainers come and go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account

from devchain import Devchain
from linklearner.chain.contracts import POOL, TOKEN
from linklearner.client.gateway import GatewayClient
from linklearner.rpc.access import CONTRIBUTOR, OPERATOR, Credential
from services.chain_gateway.chain import Chain
from services.chain_gateway.config import GatewayConfig
from services.chain_gateway.deploy import DeploymentPlan, TaskPlan, deploy
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.keystore import Keystore
from services.trainer.config import TrainerConfig
from services.trainer.trainer import Trainer


@dataclass
class Town:
    folder: Path
    rpc_url: str
    accounts: tuple[bytes, ...]

    def credential(self, name: str) -> str:
        return str(self.folder / "access" / name)

    @property
    def operator(self) -> Credential:
        return Credential.read(Path(self.credential(OPERATOR)))

    @asynccontextmanager
    async def gateway(self, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
        """The address of a gateway that settles by itself."""
        config = GatewayConfig(
            rpc_url=self.rpc_url,
            deployment=self.folder / "deployment.json",
            keystore=self.folder / "keys",
            password_file=self.folder / "keys/password",
            outbox=self.folder / "outbox.sqlite",
            listen=listen,
            auto_settle=True,
            access=self.folder / "access",
        )
        async with Gateway.start(config) as gateway:
            yield gateway.address

    @asynccontextmanager
    async def asking(self, gateway: str) -> AsyncIterator[GatewayClient]:
        async with GatewayClient.connect(gateway, self.operator) as client:
            yield client

    @asynccontextmanager
    async def trainer(self, gateway: str, index: int, *, steps: int) -> AsyncIterator[Trainer]:
        """The trainer of the account with this index, on its share of the samples; ready."""
        config = TrainerConfig(
            listen="127.0.0.1:0",
            gateway=gateway,
            credential=self.credential(CONTRIBUTOR),
            access=self.folder / "access",
            account="0x" + self.accounts[index].hex(),
            shard=f"{index}/{len(self.accounts)}",
            steps=steps,
            state_dir=self.folder / f"trainer-{index}",
        )
        async with Trainer.start(config) as trainer:
            await trainer.ready()
            yield trainer


@asynccontextmanager
async def built(folder: Path, task: TaskPlan, contributors: int) -> AsyncIterator[Town]:
    """A chain with the task; every contributor has stake in it."""
    password = Keystore.new_password(folder / "keys" / "password")
    for _ in range(contributors):
        Keystore.create(folder / "keys", password, random_password=True)
    keys = Keystore.unlock(folder / "keys", password)
    async with Devchain.start() as devchain:
        owner = devchain.accounts[0]
        async with Chain.connect(devchain.url, (POOL, TOKEN)) as chain:
            await deploy(
                chain,
                Keystore({owner.address: Account.from_key(owner.key)}),
                folder / "deploy.sqlite",
                DeploymentPlan(task=task, contributors=keys.addresses),
                contributors=keys,
                deployment_path=folder / "deployment.json",
            )
        yield Town(folder, devchain.url, keys.addresses)
