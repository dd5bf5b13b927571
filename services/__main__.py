"""`python -m services`: a chain, a gateway with everybody's keys, a trainer each and a model server, in one process.

They talk gRPC and JSON-RPC over loopback exactly as they do in containers of their own. Everything that must survive lies in the home
folder; started again there, the suite goes on where it was. Standard output says each step, to a program as one JSON document a line; the
log goes to standard error.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from eth_utils.address import to_checksum_address

from linklearner import log
from linklearner.domain.errors import InvalidConfig, LinkLearnerError
from linklearner.suite import Suite

TASK = 1
STAKE_UNITS = 100_000
"""100 $LL for each contributor: five equal stakes, none above a quarter of all."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to start. rpc_url None: the embedded chain. settle: the gateway settles rounds by itself."""

    home: Path
    contributors: int
    seed: int
    rpc_url: str | None
    key_file: Path | None
    settle: bool

    def __post_init__(self) -> None:
        if not 1 <= self.contributors <= 64:
            raise InvalidConfig(f"1 to 64 contributors, not {self.contributors}")
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


async def start(settings: Settings, stack: AsyncExitStack) -> list[Coroutine[Any, Any, None]]:
    """Starts everything in the order in which one needs the other, and writes down where it all is. Returns what to watch."""
    home = settings.home
    async with step("loading the EVM, web3, torch and onnxruntime"):
        # Not at the top of the file: this takes seconds, and whoever started us wants to see that something happens.
        from devchain.server import Devchain
        from services.chain_gateway import config as gateway_config
        from services.chain_gateway import deploy
        from services.chain_gateway.chain import Chain
        from services.chain_gateway.deployment import POOL, TOKEN
        from services.chain_gateway.gateway import Gateway
        from services.chain_gateway.keystore import Keystore, read_password
        from services.model_server import config as server_config
        from services.model_server.server import ModelServer
        from services.trainer import config as trainer_config
        from services.trainer import data, training  # noqa: F401  # torch, now
        from services.trainer.trainer import Trainer
    keys, password, key_file = home / "keys", home / "keys" / "password", settings.key_file
    if settings.rpc_url is None:
        async with step("starting the embedded chain"):
            devchain = await stack.enter_async_context(Devchain.start(state=home / "chain.sqlite"))
        rpc_url, key_file = devchain.url, home / "owner.key"
        _write_private(key_file, devchain.accounts[0].key.hex())
    else:
        rpc_url = settings.rpc_url
    assert key_file is not None  # Settings has checked it
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
    async with step(deploying), Chain.connect(rpc_url, (POOL, TOKEN)) as chain:
        deployment = await deploy.deploy(
            chain,
            Keystore.of_key_file(key_file),
            home / "deploy.sqlite",
            deploy.Plan(
                task=deploy.digits(quorum=settings.contributors, seed=settings.seed),
                contributors=contributors.addresses,
                stake_units=STAKE_UNITS,
            ),
            contributors=contributors,
            deployment_path=home / "deployment.json",
            progress=lambda name, done, total: say("step", text=f"deploying {done}/{total}: {name}"),
        )
    async with step("starting gateway, trainers and model server"):
        gateway = await stack.enter_async_context(
            Gateway.start(
                gateway_config.Config(
                    rpc_url=rpc_url,
                    deployment=home / "deployment.json",
                    keystore=keys,
                    password_file=password,
                    outbox=home / "outbox.sqlite",
                    listen="127.0.0.1:0",
                    auto_settle=settings.settle,
                )
            )
        )
        trainers = [
            await stack.enter_async_context(
                Trainer.start(
                    trainer_config.Config(
                        listen="127.0.0.1:0",
                        gateway=gateway.address,
                        account="0x" + account.hex(),
                        task=TASK,
                        shard=f"{index}/{settings.contributors}",
                        shard_seed=settings.seed,
                        seed=settings.seed * 64 + index,
                        state_dir=str(home / f"trainer-{index}"),
                    )
                )
            )
            for index, account in enumerate(contributors.addresses)
        ]
        server = await stack.enter_async_context(
            ModelServer.start(
                server_config.Config(
                    gateway=gateway.address, task=TASK, listen="127.0.0.1:0", metrics_listen="127.0.0.1:0"
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
        accounts=tuple(to_checksum_address(account) for account in contributors.addresses),
        pid=os.getpid(),
    )
    suite.write(home)
    say(
        "ready",
        ready=True,
        chain=suite.rpc_url,
        gateway=suite.gateway,
        trainers=", ".join(suite.trainers),
        model_server=suite.model_server,
        metrics=f"http://{suite.metrics}/metrics",
    )
    return [gateway.broken(), server.wait(), *(trainer.wait() for trainer in trainers)]


def _write_private(path: Path, text: str) -> None:
    # made with its mode, so that there is no moment in which others could read it
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")


async def main(settings: Settings) -> None:
    """Runs until a signal comes or a part breaks, whose error is raised."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        stopped = asyncio.create_task(stop.wait())
        starting = asyncio.create_task(start(settings, stack))
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return
        watched = [asyncio.create_task(part) for part in starting.result()]
        await asyncio.wait((*watched, stopped), return_when=asyncio.FIRST_COMPLETED)
        broken = [part for part in watched if part.done()]
        for part in watched:
            part.cancel()
        await asyncio.gather(*watched, return_exceptions=True)
        for part in broken:
            part.result()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="services", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder for chain, keys, outbox and residuals")
    parser.add_argument("--contributors", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="who gets which samples, and the first weights")
    parser.add_argument("--rpc", default=None, help="JSON-RPC URL of a chain that is already there")
    parser.add_argument("--key-file", type=Path, default=None, help="a funded key on that chain")
    parser.add_argument("--settle-on-request", action="store_true", help="no round is settled unless somebody asks")
    options = parser.parse_args()
    log.configure(service="suite")
    try:
        asyncio.run(
            main(
                Settings(
                    home=options.home,
                    contributors=options.contributors,
                    seed=options.seed,
                    rpc_url=options.rpc,
                    key_file=options.key_file,
                    settle=not options.settle_on_request,
                )
            )
        )
    except LinkLearnerError as error:
        say("failed", error=error.reason, message=error.message)
        sys.exit(2 if isinstance(error, InvalidConfig) else 1)
