"""`python -m services.chain_gateway`: serves until SIGINT or SIGTERM, settings from LINKLEARNER_GATEWAY_*.

`… create-account` makes an encrypted key, `… deploy` puts contracts, Aspect and a task on a chain.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from linklearner import log, process
from linklearner.chain.contracts import POOL, TOKEN
from linklearner.domain.errors import InvalidConfig
from linklearner.domain.notation import address, node_urls, whole
from linklearner.domain.stakes import MAX_ELIGIBLE
from linklearner.keyfile import read_password
from services.chain_gateway.chain import Chain
from services.chain_gateway.config import GatewayConfig
from services.chain_gateway.deploy import DeploymentPlan, TaskPlan, deploy, digits
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.keystore import Keystore, looks_random

MAX_ACCOUNTS: Final = 1000
"""Made by one command."""
MAX_COIN_WEI: Final = 10**30
"""For each contributor: 10**12 coins, so that a slip of the hand is noticed."""


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="services.chain_gateway", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    create = commands.add_parser("create-account", help="make an encrypted key in the keystore folder")
    create.add_argument("--keystore", type=Path, required=True, help="folder of the keyfiles")
    create.add_argument(
        "--password-file",
        type=Path,
        required=True,
        help="its first line is the password; made with 256 random bits if there is none",
    )
    create.add_argument("--count", default="1", help="how many accounts (default %(default)s)")
    place = commands.add_parser("deploy", help="contracts, Aspect and a task; goes on where it was interrupted")
    place.add_argument("--rpc", required=True, help="JSON-RPC endpoint of the chain, or several, separated by commas")
    place.add_argument(
        "--wait", type=float, default=60.0, help="seconds to wait for a chain that is away (default %(default)g)"
    )
    place.add_argument(
        "--key-file", type=Path, required=True, help="who owns and pays: a private key in hex or a keyfile"
    )
    place.add_argument("--password-file", type=Path, help="password of the key file, if it is encrypted")
    place.add_argument("--out", type=Path, required=True, help="the deployment file to write")
    place.add_argument("--outbox", type=Path, help="signed transactions (default: beside the deployment file)")
    place.add_argument(
        "--contributor", action="append", default=[], help="0x address to fund; may be given several times"
    )
    place.add_argument("--keystore", type=Path, help="keys of contributors: funded, and their stake is locked")
    place.add_argument(
        "--keystore-password-file", type=Path, help="password of that keystore; keep it in another folder"
    )
    place.add_argument(
        "--stake-units", default="1000", help="0.001 $LL each, for every contributor (default %(default)s)"
    )
    place.add_argument("--coin-wei", help="coin for every contributor (default: enough for 200 million gas)")
    place.add_argument("--task", type=Path, help="JSON with the task's settings (default: digits)")
    place.add_argument(
        "--hold", action="store_true", help="stop before the first weights, so that others can lock stake first"
    )
    return parser.parse_args(argv)


async def serve(config: GatewayConfig) -> None:
    await process.serve(Gateway.start(config), lambda gateway: f"chain_gateway {gateway.address}", Gateway.broken)


def create_accounts(options: argparse.Namespace) -> None:
    count = whole(options.count, "--count", 1, MAX_ACCOUNTS)
    path: Path = options.password_file
    password = read_password(path) if path.exists() else Keystore.new_password(path)
    for _ in range(count):
        address_made = Keystore.create(options.keystore, password, random_password=looks_random(password))
        print("0x" + address_made.hex())


async def place(options: argparse.Namespace) -> None:
    owner = Keystore.of_key_file(options.key_file, options.password_file and read_password(options.password_file))
    contributors = _contributors(options.keystore, options.keystore_password_file)
    addresses = [address(text) for text in options.contributor]
    node_urls(options.rpc, "--rpc")
    addresses += [a for a in (contributors.addresses if contributors else ()) if a not in addresses]
    task = digits(quorum=max(1, len(addresses))) if options.task is None else TaskPlan.from_json(_text(options.task))
    plan = DeploymentPlan(
        task=task,
        contributors=addresses,
        stake_units=whole(options.stake_units, "--stake-units", 1, MAX_ELIGIBLE),
        coin_wei=None if options.coin_wei is None else whole(options.coin_wei, "--coin-wei", 0, MAX_COIN_WEI),
        load=not options.hold,
    )
    async with Chain.connect(options.rpc, (POOL, TOKEN), wait_s=options.wait) as chain:
        deployment = await deploy(
            chain,
            owner,
            options.outbox or options.out.with_name(options.out.name + ".outbox"),
            plan,
            contributors=contributors,
            deployment_path=options.out,
            progress=lambda name, done, total: print(f"[{done}/{total}] {name}", file=sys.stderr, flush=True),
        )
    print(f"pool 0x{deployment.pool.hex()} aspect 0x{deployment.aspect.hex()}; written to {options.out}")


def _contributors(folder: Path | None, password_file: Path | None) -> Keystore | None:
    if folder is None:
        return None
    if password_file is None:
        raise InvalidConfig("a keystore needs its password: name the file with --keystore-password-file")
    return Keystore.unlock(folder, read_password(password_file))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InvalidConfig(f"cannot read {path}: {error.strerror}") from None


def main() -> None:
    options = arguments()
    if options.command == "create-account":
        create_accounts(options)
    elif options.command == "deploy":
        log.configure(service="chain_gateway", level="warning")
        asyncio.run(place(options))
    else:
        process.run_service("chain_gateway", GatewayConfig.from_environment, serve)


if __name__ == "__main__":
    sys.exit(process.run("chain_gateway", main))
