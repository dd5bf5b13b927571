"""A deployed pool, its contributors' keys and their gateway's settings in one folder: where benches and tests of rounds begin."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from linklearner.chain.contracts import CONTRACTS
from linklearner.domain.plan import TaskPlan
from services.chain_gateway.chain import Chain
from services.chain_gateway.config import GatewayConfig
from services.chain_gateway.deploy import DeploymentPlan, deploy
from services.chain_gateway.keystore import Keystore


def new_keys(folder: Path, count: int) -> Keystore:
    """`count` new keys in `folder`/keys, whose password lies beside them."""
    password = Keystore.new_password(folder / "keys" / "password")
    for _ in range(count):
        Keystore.create(folder / "keys", password, random_password=True)
    return Keystore.unlock(folder / "keys", password)


async def deployed(
    folder: Path, rpc_url: str, owner: Keystore, task: TaskPlan, contributors: int, creator: Keystore | None = None
) -> Keystore:
    """The keys of so many contributors, who have locked stake in the task of a new pool; `folder`/deployment.json says where it is.

    owner: one key, which pays for everything. creator: one key, whose account opens the task; None: the owner's.
    """
    keys = new_keys(folder, contributors)
    plan = DeploymentPlan(task=task, contributors=keys.addresses)
    async with Chain.connect(rpc_url, CONTRACTS) as chain:
        await deploy(
            chain, owner, folder / "deploy.sqlite", plan,
            creator=creator, contributors=keys, deployment_path=folder / "deployment.json",
        )  # fmt: skip
    return keys


def gateway_config(folder: Path, rpc_url: str, **changes: Any) -> GatewayConfig:
    """Of the gateway that holds the contributors' keys, on a free port."""
    config = GatewayConfig(
        rpc_url=rpc_url,
        deployment=folder / "deployment.json",
        keystore=folder / "keys",
        password_file=folder / "keys" / "password",
        outbox=folder / "outbox.sqlite",
        listen="127.0.0.1:0",
        access=folder / "access",
    )
    return replace(config, **changes)
