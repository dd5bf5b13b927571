"""What has to happen once before a stack can train: keys, contracts, Aspect, task, coins and stake, first weights.

Runs at every start in the image of the chain gateway, where it finds most or all of it done: each step is a request of a durable outbox,
so an interrupted start goes on where it was. Later contributors get their key, coins and stake when they appear; the terms of the task
stay as they were opened.

Environment: CONTRIBUTORS, RPC_URL and who owns and pays, OWNER_KEY (a private key in hex, or a keyfile that OWNER_PASSWORD opens) or
OWNER_KEYS (what a devchain writes beside its state; its first account).
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import structlog

from linklearner import log
from linklearner.chain.contracts import CONTRACTS
from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidConfig, InvalidInput, LinkLearnerError
from linklearner.domain.notation import whole
from linklearner.domain.plan import digits
from linklearner.domain.strictjson import NotJson
from linklearner.keyfile import read_password
from linklearner.process import exit_status
from services.chain_gateway.chain import START_WAIT_S, Chain
from services.chain_gateway.deploy import DeploymentPlan, deploy
from services.chain_gateway.keystore import Keystore

HOME = Path("/var/lib/linklearner")
SECRETS = Path("/run/secrets")
FAUCET_KEY = SECRETS / "faucet-key"
"""Keyfile of the page's faucet, where there is one. Only its address is read here."""
FAUCET_COIN_WEI = 1000 * 10**18
"""Of a devchain's own coin, which is worth nothing: five thousand newcomers."""
TASK_SEED = 1
STAKE_S = 10
"""Seconds for which stake is held: who comes later counts ten to twenty seconds after."""
STAKE_UNITS = 100_000
"""100 $LL for each contributor."""
MAX_CONTRIBUTORS = 64
"""Updates that a round takes."""

logger = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Config:
    """contributors: how many; each has a folder HOME/contributors/N for its keyfile and a password SECRETS/contributor-N."""

    contributors: int
    rpc_url: str
    owner_key: Path | None = None
    owner_password: Path | None = None
    owner_keys: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises InvalidConfig."""
        try:
            contributors = whole(environment.get("CONTRIBUTORS", ""), "CONTRIBUTORS", 1, MAX_CONTRIBUTORS)
        except InvalidInput as error:
            raise InvalidConfig(error.message) from None
        if not environment.get("RPC_URL"):
            raise InvalidConfig("RPC_URL names no node: the profile artela needs RPC_URL and KEY_FILE")
        paths = {
            name.lower(): Path(environment[name])
            for name in ("OWNER_KEY", "OWNER_PASSWORD", "OWNER_KEYS")
            if environment.get(name)
        }
        return cls(contributors=contributors, rpc_url=environment["RPC_URL"], **paths)

    def owner(self) -> Keystore:
        """The account that owns the contracts and pays. Raises InvalidConfig."""
        if self.owner_keys is not None:
            return _first_devchain_account(self.owner_keys)
        if self.owner_key is None or not _text(self.owner_key):
            raise InvalidConfig("no owner's key: the profile artela needs KEY_FILE, a funded key on that chain")
        encrypted = self.owner_password is not None and bool(_text(self.owner_password))
        return Keystore.of_key_file(self.owner_key, read_password(self.owner_password) if encrypted else None)  # type: ignore[arg-type]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InvalidConfig(f"cannot read {path}: {error.strerror}; it must be readable by uid {os.getuid()}") from None


def _first_devchain_account(path: Path) -> Keystore:
    try:
        key = next(iter(strictjson.loads(_text(path), max_bytes=1 << 20, max_values=1000).values()))
    except (NotJson, AttributeError, StopIteration):
        raise InvalidConfig(f"{path} holds no keys of a devchain") from None
    alone = Path("/tmp/owner")  # this container's own tmpfs
    alone.touch(mode=0o600)
    alone.write_text(str(key))
    try:
        return Keystore.of_key_file(alone)
    finally:
        alone.unlink()


def contributor(index: int) -> Keystore:
    """The key of contributor `index`, from 1; made if there is none. Raises InvalidConfig for a password that does not open it."""
    folder = HOME / "contributors" / str(index)
    password = read_password(SECRETS / f"contributor-{index}")
    if not any(folder.glob("*.json")):
        address = Keystore.create(folder, password, random_password=True)
        logger.info("key_made", contributor=index, account="0x" + address.hex())
    return Keystore.unlock(folder, password)


def faucet() -> bytes | None:
    """The account that gives newcomers of the page what they begin with. Raises InvalidConfig for a file that is no keyfile."""
    if not FAUCET_KEY.exists():
        return None
    try:
        return bytes.fromhex(strictjson.loads(_text(FAUCET_KEY), max_bytes=1 << 16, max_values=100)["address"])
    except (NotJson, KeyError, TypeError, ValueError):
        raise InvalidConfig(f"{FAUCET_KEY} names no address of an account") from None


def planned(folder: Path, contributors: int) -> int:
    """The number of contributors when the task was first planned: all of them are its quorum, and its terms are fixed."""
    plan = folder / "plan.json"
    if not plan.exists():
        half = folder / ".plan.json.new"
        half.write_text(json.dumps({"contributors": contributors}) + "\n")
        half.replace(plan)
    try:
        return int(strictjson.loads(plan.read_text(), max_bytes=1 << 20, max_values=1000)["contributors"])
    except (NotJson, ValueError, KeyError, TypeError):
        raise InvalidConfig(
            f'{plan} is damaged or of an earlier version: it holds how many the task was planned for, as {{"contributors": 3}}'
        ) from None


async def start(config: Config) -> None:
    everybody = Keystore({})
    for index in range(1, config.contributors + 1):
        everybody |= contributor(index)
    folder = HOME / "deployment"
    plan = DeploymentPlan(
        task=digits(
            contributors=planned(folder, config.contributors),
            seed=TASK_SEED,
            min_round_seconds=1,
            stake_seconds=STAKE_S,
        ),
        contributors=everybody.addresses,
        stake_units=STAKE_UNITS,
        faucet=faucet(),
        faucet_coin_wei=FAUCET_COIN_WEI,
    )
    started = time.monotonic()

    def progress(name: str, done: int, total: int) -> None:
        logger.info("deploying", step=name, done=done, of=total)

    async with Chain.connect(config.rpc_url, CONTRACTS, wait_s=START_WAIT_S) as chain:
        deployment = await deploy(
            chain,
            config.owner(),
            folder / "deploy.sqlite",
            plan,
            contributors=everybody,
            deployment_path=folder / "deployment.json",
            progress=progress,
        )
    facts: dict[str, Any] = {name: "0x" + getattr(deployment, name).hex() for name in ("pool", "token", "aspect")}
    logger.info("deployed", chain_id=deployment.chain_id, seconds=round(time.monotonic() - started, 1), **facts)


def main() -> int:
    log.configure(service="deploy")
    try:
        asyncio.run(start(Config.from_environment(os.environ)))
    except LinkLearnerError as error:
        logger.error("not_deployed", reason=error.reason, detail=error.message)
        return exit_status(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
