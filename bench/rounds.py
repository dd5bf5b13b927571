"""How long a round takes on a chain as far away as a public one: `python -m bench.rounds`.

Five contributors with one gateway, on a devchain that makes a block every half second, behind a proxy that adds 100 ms to each call. As
trainers do, each reads the task and the newest weights and submits an update; the gateway settles the round by itself and the trainers
learn of the new version. Nothing is trained, so what is left is the chain's time and ours. `--loss 0.1` loses one call in ten on top.

Printed are seconds, blocks and JSON-RPC calls (each entry of a batch is one) of every round, and the calls by method. Ends with status 1 if
the goal is missed: at most 5 blocks and 1 s, and 60 calls. With --json one JSON document instead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.process import DevchainProcess, ask
from bench.proxy import Proxy
from bench.suite import deployed, gateway_config
from linklearner import log
from linklearner.client.gateway import GatewayClient
from linklearner.domain.digits import SHAPE
from linklearner.domain.encodings import TWO_BITS
from linklearner.domain.plan import digits
from linklearner.domain.quantise import quantise_delta
from linklearner.rpc.access import OPERATOR, Credential, Role
from services.chain_gateway.gateway import Gateway
from services.chain_gateway.keystore import Keystore

CONTRIBUTORS = 5
BLOCK_S = 0.5
MOST_BLOCKS, MOST_BESIDE_S, MOST_CALLS = 5, 1.0, 60


@dataclass(frozen=True, slots=True)
class RoundTiming:
    """What one round took."""

    seconds: float
    blocks: int
    calls: dict[str, int]

    @property
    def call_count(self) -> int:
        return sum(self.calls.values())


async def measure(rounds: int, delay_s: float, loss: float) -> list[RoundTiming]:
    """Rounds one after another; a first one, in which the gateway gets to know the chain, is not counted."""
    with (
        tempfile.TemporaryDirectory() as name,
        DevchainProcess(Path(name) / "chain.sqlite", "--strict-rpc", "--mining", f"interval:{BLOCK_S}") as devchain,
    ):
        folder = Path(name)
        key_file = folder / "owner.key"
        key_file.write_text(devchain.account.key.hex())
        owner = Keystore.of_key_file(key_file, None)
        await deployed(folder, devchain.url, owner, digits(contributors=CONTRIBUTORS, stake_seconds=1), CONTRIBUTORS)
        operator = Credential.kept(folder / "access" / OPERATOR, Role.SPEND)
        async with (
            Proxy.start(devchain.url, delay_s=delay_s, loss=loss) as proxy,
            Gateway.start(gateway_config(folder, proxy.url)) as gateway,
            GatewayClient.connect(gateway.address, operator) as client,
        ):
            found = [await one_round(client, proxy, devchain.url, number) for number in range(rounds + 1)]
    return found[1:]


async def one_round(client: GatewayClient, proxy: Proxy, url: str, seed: int) -> RoundTiming:
    accounts = await client.accounts()
    version = (await client.task(1)).version
    first = int(str(ask(url, "eth_blockNumber")), 16)
    proxy.calls = Counter()
    begun = time.perf_counter()
    await asyncio.gather(*(contribute(client, account, seed, n) for n, account in enumerate(accounts)))
    await client.next_version(1, version)
    took = time.perf_counter() - begun
    blocks = int(str(ask(url, "eth_blockNumber")), 16) - first
    return RoundTiming(took, blocks, dict(proxy.calls))


async def contribute(client: GatewayClient, account: bytes, seed: int, number: int) -> None:
    """What a trainer asks of its gateway in a round."""
    task = await client.task(1)
    version, _ = await client.weights(task, task.version)
    delta = np.random.default_rng([seed, number]).normal(0.0, 0.01, SHAPE.weight_count)
    update = quantise_delta(delta, SHAPE, 1, version.version, TWO_BITS).update
    await client.submit(f"{seed}/{number}", account, update.encode(SHAPE), update.digest(SHAPE))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.rounds", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--delay-ms", type=float, default=100.0, help="added to each call (default %(default)g)")
    parser.add_argument("--loss", type=float, default=0.0, help="part of the calls that is lost (default %(default)g)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    log.configure(service="bench", level="error")
    rounds = asyncio.run(measure(options.rounds, options.delay_ms / 1000, options.loss))
    seconds, blocks = median(one.seconds for one in rounds), median(one.blocks for one in rounds)
    calls = median(one.call_count for one in rounds)
    holds = seconds <= MOST_BLOCKS * BLOCK_S + MOST_BESIDE_S and calls <= MOST_CALLS
    if options.json:
        print(json.dumps({"rounds": [asdict(one) for one in rounds], "holds": holds}))
        return 0 if holds else 1
    console = Console()
    table = Table("round", "seconds", "blocks", "calls")
    for number, one in enumerate(rounds, 1):
        table.add_row(str(number), f"{one.seconds:.2f}", str(one.blocks), str(one.call_count))
    table.add_row("median", f"{seconds:.2f}", f"{blocks:g}", f"{calls:g}")
    table.add_row("goal", f"<= {MOST_BLOCKS * BLOCK_S + MOST_BESIDE_S:.2f}", "", f"<= {MOST_CALLS}")
    console.print(table)
    by_method: Counter[str] = Counter()
    for one in rounds:
        by_method.update(one.calls)
    methods = Table("method", "calls a round")
    for method, count in by_method.most_common():
        methods.add_row(method, f"{count / len(rounds):.1f}")
    console.print(methods)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
