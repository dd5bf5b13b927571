"""`python -m services`: a chain, a gateway with all their keys, a trainer each and a model server, in one process.

They talk gRPC and JSON-RPC over loopback exactly as they do in containers of their own. Everything that must survive lies in the home
folder; started again there, the suite goes on where it was. Standard output says each step, to a program as one JSON document a line; the
log goes to standard error.
"""

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from eth_account import Account
from eth_utils.address import to_checksum_address

from linklearner import log, process
from linklearner.domain.errors import InvalidConfig, LinkLearnerError
from linklearner.domain.notation import node_urls, shown_urls, whole
from linklearner.keyfile import read_account, read_password
from linklearner.process import FAILED, exit_status
from linklearner.rpc.access import OPERATOR, READER, Credential, Role
from linklearner.suite import Suite

TASK = 1
STAKE_UNITS = 100_000
"""100 $LL for each contributor: five equal stakes, none above a quarter of all."""
MAX_CONTRIBUTORS = 64
"""Updates that a round takes."""
MAX_SEED = 2**32 - 1
"""Small enough that every trainer's own seed, made from it, fits its setting."""


@dataclass(frozen=True, kw_only=True)
class SuiteSettings:
    """What to start. rpc_url None: the embedded chain. settle: the gateway settles rounds by itself.

    password_file: of the key file, if that is encrypted.
    """

    home: Path
    contributors: int
    seed: int
    rpc_url: str | None
    key_file: Path | None
    password_file: Path | None = None
    settle: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (("contributors", 1, MAX_CONTRIBUTORS), ("seed", 0, MAX_SEED)):
            if not low <= getattr(self, name) <= high:
                raise InvalidConfig(f"{name} must be between {low} and {high}, got {getattr(self, name)}")
        if self.rpc_url is not None:
            node_urls(self.rpc_url, "--rpc")
        if self.password_file is not None and self.key_file is None:
            raise InvalidConfig("--password-file is of a key file: name that with --key-file")
        if (self.rpc_url is None) != (self.key_file is None):
            raise InvalidConfig("a chain that is already there needs --rpc and --key-file, the embedded one neither")


def say(event: str, **facts: Any) -> None:
    """One step for whoever reads our standard output: JSON for a program, a line for a person."""
    if not sys.stdout.isatty():
        print(json.dumps({"event": event, **facts}), flush=True)
    elif "error" in facts:
        print(f"{facts['error']}: {facts['message']}", flush=True)
    elif "text" in facts:
        print(f"  {facts['text']}" + (f"  {facts['seconds']:.1f} s" if facts.get("done") else " ..."), flush=True)
    else:
        print("\n".join(f"  {name:<14}{value}" for name, value in facts.items()), flush=True)


@asynccontextmanager
async def step(text: str) -> AsyncIterator[None]:
    """Says that a step begins, and that it is done and how long it took."""
    say("step", text=text)
    started = time.monotonic()
    yield
    say("step", text=text, done=True, seconds=time.monotonic() - started)


async def start(settings: SuiteSettings, stack: AsyncExitStack) -> list[Coroutine[Any, Any, None]]:
    """Starts everything in the order in which one needs the other, and writes down where it all is. Returns what to watch."""
    home = settings.home
    _enough_samples(settings)
    owner = None if settings.key_file is None else read_account(settings.key_file, _password(settings.password_file))
    async with step("loading the EVM, web3, torch and onnxruntime"):
        # Not at the top of the file: this takes seconds, and whoever started us wants to see that something happens.
        from devchain.config import InvalidChainConfig
        from devchain.server import Devchain
        from linklearner.chain.contracts import POOL, TOKEN
        from services.chain_gateway import config as gateway_config
        from services.chain_gateway import deploy
        from services.chain_gateway.chain import START_WAIT_S, Chain
        from services.chain_gateway.gateway import Gateway
        from services.chain_gateway.keystore import Keystore
        from services.model_server import config as server_config
        from services.model_server.server import ModelServer
        from services.trainer import config as trainer_config
        from services.trainer import data, training  # noqa: F401  # torch, now
        from services.trainer.trainer import Trainer
    keys, password = home / "keys", home / "secrets" / "password"
    _moved_apart(keys / "password", password)
    if settings.rpc_url is None:
        async with step("starting the embedded chain"):
            try:
                devchain = await stack.enter_async_context(Devchain.start(state=home / "chain.sqlite"))
            except InvalidChainConfig as error:  # a damaged file, or one that another chain holds
                raise InvalidConfig(str(error)) from error
        rpc_url, owner = devchain.url, Account.from_key(devchain.accounts[0].key)
    else:
        rpc_url = settings.rpc_url
    assert owner is not None  # Settings has checked it
    if not password.exists():
        fresh = Keystore.new_password(password)
        for _ in range(settings.contributors):
            Keystore.create(keys, fresh, random_password=True)
    contributors = Keystore.unlock(keys, read_password(password))
    if len(contributors.addresses) != settings.contributors:
        raise InvalidConfig(
            f"{home} was made for {len(contributors.addresses)} contributors, not {settings.contributors}: "
            "use that number or another home folder"
        )
    deploying = "deploying token, pool and Aspect, opening the task, locking stake, loading the first weights"
    connected = Chain.connect(rpc_url, (POOL, TOKEN), wait_s=START_WAIT_S, tell=lambda why: say("step", text=why))
    async with step(deploying), connected as chain:
        deployment = await deploy.deploy(
            chain,
            Keystore.of_accounts([owner]),
            home / "deploy.sqlite",
            deploy.DeploymentPlan(
                task=deploy.digits(quorum=settings.contributors, seed=settings.seed),
                contributors=contributors.addresses,
                stake_units=STAKE_UNITS,
            ),
            contributors=contributors,
            deployment_path=home / "deployment.json",
            progress=lambda name, done, total: say("step", text=f"deploying {done}/{total}: {name}"),
        )
    access = home / "access"
    Credential.kept(access / OPERATOR, Role.SPEND)
    Credential.kept(access / READER, Role.READ)
    for index, account in enumerate(contributors.addresses):
        Credential.kept(access / f"trainer-{index}.json", Role.CONTRIBUTE, account)
    async with step("starting gateway, trainers and model server"):
        gateway = await stack.enter_async_context(
            Gateway.start(
                gateway_config.GatewayConfig(
                    rpc_url=rpc_url,
                    deployment=home / "deployment.json",
                    keystore=keys,
                    password_file=password,
                    outbox=home / "outbox.sqlite",
                    access=access,
                    listen="127.0.0.1:0",
                    auto_settle=settings.settle,
                )
            )
        )
        trainers = [
            await stack.enter_async_context(
                Trainer.start(
                    trainer_config.TrainerConfig(
                        listen="127.0.0.1:0",
                        gateway=gateway.address,
                        credential=str(access / f"trainer-{index}.json"),
                        access=access,
                        account="0x" + account.hex(),
                        task=TASK,
                        shard=f"{index}/{settings.contributors}",
                        shard_seed=settings.seed,
                        seed=settings.seed * 64 + index,
                        state_dir=home / f"trainer-{index}",
                    )
                )
            )
            for index, account in enumerate(contributors.addresses)
        ]
        server = await stack.enter_async_context(
            ModelServer.start(
                server_config.ModelServerConfig(
                    gateway=gateway.address,
                    credential=str(access / READER),
                    task=TASK,
                    listen="127.0.0.1:0",
                    metrics_listen="127.0.0.1:0",
                )
            )
        )
        await asyncio.gather(server.ready(), *(trainer.ready() for trainer in trainers))
    _, held_out = data.load("digits", data.Shard())
    np.savez(home / "held-out.npz", x=held_out.x, y=held_out.y)
    suite = Suite(
        rpc_url=rpc_url,
        chain_id=deployment.chain_id,
        pool=to_checksum_address(deployment.pool),
        token=to_checksum_address(deployment.token),
        aspect=to_checksum_address(deployment.aspect),
        deployed_block=deployment.block,
        task=TASK,
        gateway=gateway.address,
        trainers=tuple(trainer.address for trainer in trainers),
        model_server=server.address,
        metrics=server.metrics_address,
        keys=str(keys.absolute()),
        credential=str((access / OPERATOR).absolute()),
        password_file=str(password.absolute()),
        accounts=tuple(to_checksum_address(account) for account in contributors.addresses),
        pid=os.getpid(),
    )
    suite.write(home)
    say(
        "ready",
        ready=True,
        chain=shown_urls(suite.rpc_url),
        gateway=suite.gateway,
        trainers=", ".join(suite.trainers),
        model_server=suite.model_server,
        metrics=f"http://{suite.metrics}/metrics",
    )
    return [gateway.broken(), server.wait(), *(trainer.wait() for trainer in trainers)]


def _enough_samples(settings: SuiteSettings) -> None:
    """Raises InvalidConfig if the digits cannot be dealt to so many: a shard so small that updates give its samples away is refused."""
    from services.trainer import data
    from services.trainer.config import TrainerConfig

    learn, _ = data.load("digits", data.Shard())
    alpha, least = float(TrainerConfig.alpha), TrainerConfig.min_samples

    def smallest(count: int) -> int:
        return min(len(part) for part in data.shards(learn.y, count, alpha, settings.seed)) if count > 1 else len(learn)

    if smallest(settings.contributors) >= least:
        return
    works = next(count for count in range(settings.contributors - 1, 0, -1) if smallest(count) >= least)
    raise InvalidConfig(
        f"{len(learn)} digits dealt to {settings.contributors} contributors by seed {settings.seed} leave someone fewer than {least}, the "
        f"least that a trainer takes: {works} contributors work with this seed, or try another seed",
        facts={"contributors": settings.contributors, "works": works},
    )


def _password(path: Path | None) -> str | None:
    return None if path is None else read_password(path)


def _moved_apart(old: Path, new: Path) -> None:
    """Homes of earlier versions had the password among the keys, where a copy of the folder takes it along."""
    new.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if old.exists() and not new.exists():
        old.rename(new)


@contextmanager
def _held(home: Path) -> Iterator[None]:
    """The home folder, made if there is none, for this process alone. Raises InvalidConfig if it cannot be had."""
    path = home / "suite.lock"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = path.open("a+")
    except (FileExistsError, NotADirectoryError):
        raise InvalidConfig(f"the home {home} is, or lies below, a file: name a folder with LINKLEARNER_HOME") from None
    except OSError as error:
        raise InvalidConfig(
            f"the home {home} cannot be written: {error.strerror}; name another folder with LINKLEARNER_HOME"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise InvalidConfig(
                f"a suite runs in {home} already (process {lock.read(20).strip() or 'unknown'}): stop it with `linklearner down`, or "
                "start this one elsewhere with LINKLEARNER_HOME=folder"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


async def main(settings: SuiteSettings) -> None:
    """Runs until a signal comes or a part breaks, whose error is raised."""
    stop = process.stop_signal()
    async with AsyncExitStack() as stack:
        stack.enter_context(_held(settings.home))
        stopped = asyncio.create_task(stop.wait())
        starting = asyncio.create_task(start(settings, stack))
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            await process.cancelled((starting,))
            return
        watched = [asyncio.create_task(part) for part in starting.result()]
        await asyncio.wait((*watched, stopped), return_when=asyncio.FIRST_COMPLETED)
        broken = [part for part in watched if part.done()]
        await process.cancelled(watched)
        for part in broken:
            part.result()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="services", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder for chain, keys, outbox and residuals")
    parser.add_argument("--contributors", default="5")
    parser.add_argument("--seed", default="1", help="who gets which samples, and the first weights")
    parser.add_argument("--rpc", default=None, help="JSON-RPC URL of a chain that is already there")
    parser.add_argument("--key-file", type=Path, default=None, help="a funded key on that chain")
    parser.add_argument("--password-file", type=Path, default=None, help="its password, if it is encrypted")
    parser.add_argument("--settle-on-request", action="store_true", help="no round is settled unless someone asks")
    options = parser.parse_args()
    log.configure(service="suite")
    try:
        asyncio.run(
            main(
                SuiteSettings(
                    home=options.home,
                    contributors=whole(options.contributors, "--contributors", 1, MAX_CONTRIBUTORS),
                    seed=whole(options.seed, "--seed", 0, MAX_SEED),
                    rpc_url=options.rpc,
                    key_file=options.key_file,
                    password_file=options.password_file,
                    settle=not options.settle_on_request,
                )
            )
        )
    except LinkLearnerError as error:
        say("failed", error=error.reason, message=error.message)
        sys.exit(exit_status(error))
    except OSError as error:  # a full disk, a folder that became read-only
        message = f"the system refuses{f' {error.filename}' if error.filename else ''}: {error.strerror or error}"
        with contextlib.suppress(OSError):  # standard output may be what is full
            say("failed", error=type(error).__name__, message=message)
        sys.exit(FAILED)
