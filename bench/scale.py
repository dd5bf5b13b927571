"""What a model's size costs: `python -m bench.scale`.

For each size a devchain of its own with ordinary blocks (20 M gas, a transaction of 1 MiB at most, a block every half second) and a
gateway, each a process; trainers speak gRPC to the gateway. Through it a task is opened, its first weights are loaded and stake is locked;
then several contributors train on shards of the digits, real gradient steps, and send quantised updates, for some rounds, which the
gateway's keeper settles group by group; at the end `linklearner verify` replays all of it in a process of its own, and its digest must be
the one that the gateway gives.

Printed of each phase are the gas of all its transactions, the blocks it took, seconds, CPU seconds of chain and gateway, and the most
memory that either had in it; of submitting and settling, the mean of a round. Then how each grows: per weight from one size to the next,
and the exponent between them (1 is linear). The record beside it is FLoBC's, the largest model merged by consensus code that we know of:
608,338 weights, by permissioned validators and without gas.

Linux only. --markdown prints the table as docs/scale.md has it, --json one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from math import log as ln
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.models import digits_mlp_of
from bench.process import ROOT, DevchainProcess, ask
from bench.suite import gateway_config, new_keys
from linklearner import log
from linklearner.chain.contracts import CONTRACTS
from linklearner.client.gateway import GatewayClient
from linklearner.client.trainer import TrainerClient
from linklearner.domain import capacity
from linklearner.domain.digest import weight_bytes
from linklearner.domain.encodings import TWO_BITS, Encoding, encoding_named
from linklearner.domain.plan import TaskPlan, digits
from linklearner.domain.tasks import Mined, Submitted
from linklearner.domain.training import UpdateQuantised
from linklearner.rpc.access import OPERATOR, Credential, Role
from services.chain_gateway.chain import Chain
from services.chain_gateway.config import GatewayConfig
from services.chain_gateway.deploy import DeploymentPlan, deploy
from services.chain_gateway.keystore import Keystore
from services.trainer.config import TrainerConfig
from services.trainer.trainer import Trainer

SIZES = (2_000, 25_000, 250_000, 1_000_000)
FLOBC = 608_338
ROUNDS, CONTRIBUTORS, STEPS = 2, 3, 10
BLOCK_S = 0.5
STAKE_UNITS = 1000
MOST_UPDATES = 10
"""That a round of the task may take; what the groups are cut for."""
PHASES = ("open", "submit", "settle", "verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one phase. gas: of all its transactions; largest_gas, largest_bytes: of the dearest and the longest of them.

    *_cpu_s: what the processes took; *_bytes: the most resident memory that they had in the phase.
    """

    gas: int = 0
    transactions: int = 0
    largest_gas: int = 0
    largest_bytes: int = 0
    blocks: int = 0
    seconds: float = 0.0
    chain_cpu_s: float = 0.0
    gateway_cpu_s: float = 0.0
    chain_bytes: int = 0
    gateway_bytes: int = 0
    verifier_cpu_s: float = 0.0
    verifier_bytes: int = 0

    def over(self, rounds: int) -> Cost:
        """The mean of so many rounds; what is a maximum stays one."""
        return replace(
            self, gas=self.gas // rounds, transactions=self.transactions // rounds, blocks=round(self.blocks / rounds),
            seconds=self.seconds / rounds, chain_cpu_s=self.chain_cpu_s / rounds,
            gateway_cpu_s=self.gateway_cpu_s / rounds,
        )  # fmt: skip

    def __add__(self, other: Cost) -> Cost:
        summed = ("gas", "transactions", "blocks", "seconds", "chain_cpu_s", "gateway_cpu_s")
        mine, theirs = asdict(self), asdict(other)
        return Cost(**{k: mine[k] + theirs[k] if k in summed else max(mine[k], theirs[k]) for k in mine})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One size. accuracy: of the last version on the held-out digits, to show that it was trained."""

    weights: int
    pages: int
    groups: int
    update_bytes: int
    contributors: int
    rounds: int
    accuracy: float
    trainer_bytes: int
    """The most resident memory of this process, which holds all trainers and torch."""
    costs: dict[str, Cost]


class Meter:
    """What two processes take between two moments."""

    def __init__(self, devchain: DevchainProcess, gateway_pid: int) -> None:
        self._devchain = devchain
        self._pids = (devchain.pid, gateway_pid)
        self._mark()

    def _mark(self) -> None:
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM begins anew
        self._begun, self._cpu, self._block = time.perf_counter(), self._cpu_s(), self._head()

    def _cpu_s(self) -> tuple[float, ...]:
        return tuple(map(cpu_s, self._pids))

    def _head(self) -> int:
        return int(str(ask(self._devchain.url, "eth_blockNumber")), 16)

    def taken(self, mined: Sequence[Mined]) -> Cost:
        """Since the last call, by a phase that made these transactions."""
        seconds, cpu = time.perf_counter() - self._begun, self._cpu_s()
        cost = Cost(
            gas=sum(one.gas_used for one in mined),
            transactions=len(mined),
            largest_gas=max((one.gas_used for one in mined), default=0),
            largest_bytes=max((one.length for one in mined), default=0),
            blocks=self._head() - self._block,
            seconds=seconds,
            chain_cpu_s=cpu[0] - self._cpu[0],
            gateway_cpu_s=cpu[1] - self._cpu[1],
            chain_bytes=peak_bytes(self._pids[0]),
            gateway_bytes=peak_bytes(self._pids[1]),
        )
        self._mark()
        return cost


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """The most resident memory since `clear_refs`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)  # a zombie has none


def plan_of(weights: int, contributors: int) -> TaskPlan:
    """A task of about so many weights, cut for rounds of MOST_UPDATES."""
    model, usual = digits_mlp_of(weights), digits(contributors=contributors)
    page_length, group_pages = capacity.layout([one.length for one in model.tensors()], MOST_UPDATES)
    terms = replace(usual.terms, max_updates=MOST_UPDATES, stake_seconds=1)
    return replace(usual, model=model, page_length=page_length, group_pages=group_pages, terms=terms)


def environment_of(config: GatewayConfig) -> dict[str, str]:
    """The variables that give these settings."""
    found = {}
    for field in fields(config):
        value = getattr(config, field.name)
        found[GatewayConfig.PREFIX + field.name.upper()] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


@asynccontextmanager
async def trainer(
    config: TrainerConfig,
) -> AsyncIterator[TrainerClient]:
    """A trainer in this process, spoken to over gRPC."""
    async with Trainer.start(config) as running:
        await running.ready()
        async with TrainerClient.connect(running.address, Credential.read(config.access / OPERATOR)) as client:
            yield client


def verified(url: str, pool: bytes, task: int, digest: bytes, block: int) -> Cost:
    """`linklearner verify` in a process of its own. Raises RuntimeError unless it ends at this digest."""
    command = [
        sys.executable, "-c", "from linklearner.cli import app; app()", "verify", "--rpc", url, "--pool", "0x" + pool.hex(),
        "--from-block", str(block), "--task", str(task), "--format", "json",
    ]  # fmt: skip
    begun, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, text=True)
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            peak = max(
                peak, peak_bytes(process.pid)
            )  # what `wait4` tells counts this process's memory before the exec, too
            time.sleep(0.01)
        seconds = time.perf_counter() - begun
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        answer = said.read()
    if process.returncode or json.loads(answer)["digest"] != "0x" + digest.hex():
        raise RuntimeError(f"verify does not agree: {answer}")
    return Cost(seconds=seconds, verifier_cpu_s=usage.ru_utime + usage.ru_stime, verifier_bytes=peak)


@asynccontextmanager
async def gateway_process(config: GatewayConfig) -> AsyncIterator[tuple[str, int]]:
    """`python -m services.chain_gateway`; its address and process id."""
    environment = {**os.environ, **environment_of(config)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.chain_gateway", cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 120)).decode().split()
        if line[:1] != ["chain_gateway"]:
            raise RuntimeError(f"the gateway did not start: {line}")
        yield line[1], process.pid
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 60)


async def measure(
    weights: int,
    rounds: int = ROUNDS,
    contributors: int = CONTRIBUTORS,
    steps: int = STEPS,
    encoding: Encoding = TWO_BITS,
    mining: str = f"interval:{BLOCK_S}",
) -> Measured:
    """All phases of one size. mining: the devchain's."""
    plan = plan_of(weights, contributors)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        devchain = stack.enter_context(DevchainProcess(folder / "chain.sqlite", "--strict-rpc", "--mining", mining))
        creator, *others = new_keys(folder, contributors + 1).addresses
        key_file = folder / "owner.key"
        key_file.write_text(devchain.account.key.hex())
        deployed = DeploymentPlan(task=None, contributors=(creator, *others), stake_units=2 * STAKE_UNITS)
        async with Chain.connect(devchain.url, CONTRACTS) as chain:
            deployment = await deploy(
                chain, Keystore.of_key_file(key_file, None), folder / "deploy.sqlite", deployed,
                deployment_path=folder / "deployment.json",
            )  # fmt: skip
        operator = Credential.kept(folder / "access" / OPERATOR, Role.SPEND)
        config = gateway_config(folder, devchain.url, log_level="error")
        address, pid = await stack.enter_async_context(gateway_process(config))
        client = await stack.enter_async_context(GatewayClient.connect(address, operator, connect_s=30))
        meter = Meter(devchain, pid)
        opened = await client.open_task(
            "open", creator, plan.model.to_json(), plan.shape, plan.terms, weight_bytes(plan.first_weights())
        )
        costs = {"open": meter.taken(opened.mined), "submit": Cost(), "settle": Cost()}
        await client.fund_task("fund", creator, opened.task, STAKE_UNITS * 10**15)
        for account in others:
            await client.lock(f"lock/{account.hex()}", account, opened.task, STAKE_UNITS)
        await asyncio.sleep(2 * plan.terms.stake_seconds + 2 * BLOCK_S)
        trainers = [
            await stack.enter_async_context(
                trainer(
                    TrainerConfig(
                        listen="127.0.0.1:0", gateway=address, credential=str(folder / "access" / OPERATOR),
                        access=folder / f"access{i}", task=str(opened.task), account="0x" + account.hex(),
                        shard=f"{i}/{contributors}", steps=steps, encoding=encoding.name, seed=i,
                        state_dir=folder / f"trainer{i}",
                    )
                )
            )
            for i, account in enumerate(others)
        ]  # fmt: skip
        size = 0
        for number in range(rounds):
            version = (await client.task(opened.task)).version
            for one in trainers:
                async with aclosing(one.train(f"round {number}")) as events:
                    async for event in events:
                        match event:
                            case UpdateQuantised():
                                size = event.update_bytes
                                meter.taken(())  # training is not counted
                            case Submitted():
                                costs["submit"] += meter.taken((event.mined,))
            await client.next_version(opened.task, version)
            settled = await client.round(opened.task, event.round)
            costs["settle"] += meter.taken(settled.settlements)
        evaluation = await trainers[0].evaluate()
        newest = (await client.task(opened.task)).newest
        costs["verify"] = verified(devchain.url, deployment.pool, opened.task, newest.digest, deployment.block)
    for phase in ("submit", "settle"):
        costs[phase] = costs[phase].over(rounds)
    return Measured(
        weights=plan.shape.weight_count, pages=plan.shape.page_count, groups=plan.shape.group_count, update_bytes=size,
        contributors=contributors, rounds=rounds, accuracy=evaluation.value,
        trainer_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, costs=costs,
    )  # fmt: skip


def growth(found: Sequence[Measured]) -> list[dict[str, object]]:
    """From each size to the next, for each phase: what a weight more costs, by how much a weight costs more, and the exponent."""
    rows: list[dict[str, object]] = []
    for small, large in pairwise(found):
        for phase in PHASES:
            a, b = figures(small.costs[phase]), figures(large.costs[phase])
            for name in a:
                if a[name] > 0 and b[name] > 0:
                    rows.append(
                        {
                            "from": small.weights, "to": large.weights, "phase": phase, "figure": name,
                            "per_weight": (b[name] - a[name]) / (large.weights - small.weights),
                            "ratio": b[name] / large.weights / (a[name] / small.weights),
                            "exponent": ln(b[name] / a[name]) / ln(large.weights / small.weights),
                        }
                    )  # fmt: skip
    return rows


def figures(cost: Cost) -> dict[str, float]:
    """What is compared: gas, blocks, seconds, CPU seconds of all processes, bytes of the larger."""
    return {
        "gas": cost.gas,
        "blocks": cost.blocks,
        "seconds": cost.seconds,
        "CPU s": cost.chain_cpu_s + cost.gateway_cpu_s + cost.verifier_cpu_s,
        "memory": max(cost.chain_bytes, cost.gateway_bytes, cost.verifier_bytes),
    }


COLUMNS = (
    "weights", "phase", "gas", "gas a weight", "transactions", "largest: gas", "largest: kB", "blocks", "seconds", "CPU s",
    "chain MB", "gateway MB", "verify MB",
)  # fmt: skip


def rows(found: Sequence[Measured]) -> list[tuple[str, ...]]:
    """The table, as texts. FLoBC's record stands where its size belongs."""
    table: list[tuple[str, ...]] = []
    record = (f"{FLOBC:,}", "FLoBC: permissioned", "none", *("",) * (len(COLUMNS) - 3))
    for one in found:
        if one.weights > FLOBC and record not in table:
            table.append(record)
        for phase in PHASES:
            cost = one.costs[phase]
            cpu = cost.chain_cpu_s + cost.gateway_cpu_s + cost.verifier_cpu_s
            per_weight = cost.gas / one.weights
            table.append(
                (
                    f"{one.weights:,}" if phase == PHASES[0] else "", phase, f"{cost.gas:,}" if cost.gas else "",
                    f"{per_weight:,.0f}" if per_weight >= 100 else f"{per_weight:.1f}" if cost.gas else "",
                    f"{cost.transactions}" if cost.gas else "", f"{cost.largest_gas:,}" if cost.gas else "",
                    f"{cost.largest_bytes / 1e3:.0f}" if cost.gas else "", f"{cost.blocks}" if cost.blocks else "",
                    f"{cost.seconds:.1f}", f"{cpu:.1f}",
                    *(f"{size / 1e6:.0f}" if size else "" for size in (cost.chain_bytes, cost.gateway_bytes, cost.verifier_bytes)),
                )
            )  # fmt: skip
    return table


def growth_rows(found: Sequence[Measured]) -> list[tuple[str, ...]]:
    shown = []
    for small, large in pairwise(found):
        for phase in PHASES:
            mine = [row for row in growth([small, large]) if row["phase"] == phase]
            cells = {str(row["figure"]): f"{row['exponent']:.2f}" for row in mine}
            of_gas = [row for row in mine if row["figure"] == "gas"]
            gas = [
                f"{of_gas[0][name]:.{places}f}" if of_gas else "" for name, places in (("per_weight", 1), ("ratio", 2))
            ]
            shown.append(
                (
                    f"{small.weights:,} to {large.weights:,}" if phase == PHASES[0] else "", phase, *gas,
                    *(cells.get(name, "") for name in figures(Cost())),
                )
            )  # fmt: skip
    return shown


GROWTH_COLUMNS = (
    "from … to",
    "phase",
    "gas of a weight more",
    "gas a weight, ratio",
    *(f"exponent: {name}" for name in figures(Cost())),
)


def markdown(columns: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", "---", *("---:" for _ in columns[2:])], *table]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="weights, at least (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--contributors", type=int, default=CONTRIBUTORS)
    parser.add_argument("--steps", type=int, default=STEPS, help="local Adam steps a round (default %(default)s)")
    parser.add_argument("--encoding", default=TWO_BITS.name)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    log.configure(service="bench", level="error")
    found = []
    for size in sorted(options.sizes):
        print(f"{size:,} weights …", file=sys.stderr, flush=True)
        encoding = encoding_named(options.encoding)
        found.append(asyncio.run(measure(size, options.rounds, options.contributors, options.steps, encoding)))
    if options.json:
        print(json.dumps({"sizes": [asdict(one) for one in found], "growth": growth(found)}))
        return 0
    if options.markdown:
        print(markdown(COLUMNS, rows(found)), markdown(GROWTH_COLUMNS, growth_rows(found)), sep="\n\n")
        return 0
    console = Console(width=max(180, Console().width))
    for title, columns, table in (
        ("What a model's size costs; submit: all updates of a round; settle: a round", COLUMNS, rows(found)),
        ("How it grows: exponent 1 is linear", GROWTH_COLUMNS, growth_rows(found)),
    ):
        shown = Table(title=title, title_justify="left")
        for column in columns:
            shown.add_column(column, justify="left" if column in ("phase", "from … to") else "right")
        for line in table:
            shown.add_row(*line)
        console.print(shown)
    for one in found:
        console.print(
            f"{one.weights:,} weights: {one.pages} pages in {one.groups} groups, {one.update_bytes:,} bytes an update, "
            f"{one.contributors} contributors, {one.rounds} rounds, accuracy {one.accuracy:.3f}, trainers {one.trainer_bytes / 1e6:.0f} MB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
