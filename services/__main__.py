"""`python -m services`: a chain, a gateway with all their keys, a trainer each, a model server and the page, in one process.

They talk gRPC and JSON-RPC over loopback exactly as they do in containers of their own. Everything that must survive lies in the home
folder; started again there, the suite goes on where it was. Standard output says each step, to a program as one JSON document a line; the
log goes to standard error, or where that is a terminal to a file in the home folder: the page's address is to stay in sight.
"""

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TextIO

import numpy as np
from eth_account import Account
from eth_utils.address import to_checksum_address

from linklearner import log
from linklearner.domain import strictjson
from linklearner.domain.errors import InvalidConfig, InvalidInput, LinkLearnerError, Unavailable
from linklearner.domain.notation import node_urls, shown_urls, whole
from linklearner.domain.plan import TaskPlan
from linklearner.domain.rounds import RULE_EVIDENCE
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.table import rule_named
from linklearner.domain.strictjson import NotJson
from linklearner.keyfile import read_account, read_password
from linklearner.process import FAILED, exit_status
from linklearner.rpc.access import OPERATOR, READER, Credential, Role
from linklearner.suite import Suite

STAKE_UNITS = 100_000
"""100 $LL for each contributor: five equal stakes, none above a quarter of all."""
STAKE_S = 1
"""Seconds for which stake is held: everybody here is in one process, and nobody should have to wait."""
ROUND_S = 120
"""Seconds after which a round takes its whole reward from the pot, and goes on without who has not come."""
MAX_ROUND_S = 24 * 3600
QUORUM_BPS = 3000
"""Of the stake, with which a round that the gateway settles by itself ends soon: five trainers carry ten visitors who locked and left."""
INSTANT = "instant"
"""A block for each transaction."""
DROP_S = 3600
"""Seconds more after which it may be dropped."""
FAUCET = "faucet.json"
"""Credential of the page's faucet: it may spend from one account alone."""
FAUCET_COIN_WEI = 10**24
"""Of the embedded chain's own coin, from its first block on."""
MAX_CONTRIBUTORS = 64
"""Updates that a round takes."""
MAX_SEED = 2**32 - 1
"""Small enough that every trainer's own seed, made from it, fits its setting."""
DRAWS = 64
"""Of who gets which samples, until everybody has enough."""


@dataclass(frozen=True, kw_only=True)
class SuiteSettings:
    """What to start. rpc_url None: the embedded chain. settle: the gateway settles rounds by itself.

    password_file: of the key file, if that is encrypted. round_seconds: of the task that is opened, once.
    """

    home: Path
    contributors: int
    seed: int
    rpc_url: str | None
    key_file: Path | None
    password_file: Path | None = None
    settle: bool = True
    round_seconds: int = ROUND_S
    mining: str = INSTANT
    """How the embedded chain makes blocks."""
    rule: str = MEAN.name
    """Of the task that is opened. By evidence the gateway opens examples and settles, whatever `settle` says."""
    example_rounds: int = 20
    """Rounds that the examples of such a task are for."""

    def __post_init__(self) -> None:
        rule_named(self.rule)
        bounds = (
            ("contributors", 1, MAX_CONTRIBUTORS), ("seed", 0, MAX_SEED), ("round_seconds", 1, MAX_ROUND_S),
            ("example_rounds", 1, 1000),
        )  # fmt: skip
        for name, low, high in bounds:
            if not low <= getattr(self, name) <= high:
                raise InvalidConfig(f"{name} must be between {low} and {high}, got {getattr(self, name)}")
        if self.rpc_url is not None:
            node_urls(self.rpc_url, "--rpc")
        if self.password_file is not None and self.key_file is None:
            raise InvalidConfig("--password-file is of a key file: name that with --key-file")
        if (self.rpc_url is None) != (self.key_file is None):
            raise InvalidConfig("a chain that is already there needs --rpc and --key-file, the embedded one neither")


@dataclass(frozen=True, kw_only=True)
class People:
    """Whose keys the suite holds: addresses of 20 bytes. None of them owns the pool."""

    contributors: tuple[bytes, ...]
    creator: bytes
    """Opens the task."""
    sponsor: bytes
    """Fills its pot."""
    faucet: bytes
    """Gives newcomers of the page what they begin with, on the embedded chain."""

    @property
    def everybody(self) -> tuple[bytes, ...]:
        return (*self.contributors, self.creator, self.sponsor, self.faucet)

    @classmethod
    def of_home(cls, home: Path, keys: Path, password_file: Path, contributors: int) -> Self:
        """Those of this home, made at its first start. Raises InvalidConfig for a home that was made for another number."""
        from services.chain_gateway.keystore import Keystore

        path = home / "people.json"
        if not path.exists():
            password = read_password(password_file) if password_file.exists() else Keystore.new_password(password_file)
            made = list(Keystore.unlock(keys, password).addresses) if any(keys.glob("*.json")) else []
            while len(made) < contributors + 3:  # some are there where an earlier start was interrupted
                made.append(Keystore.create(keys, password, random_password=True))
            creator, sponsor, faucet, *others = (one.hex() for one in made)
            half = path.with_name(path.name + ".new")
            people = {"contributors": others, "creator": creator, "sponsor": sponsor, "faucet": faucet}
            half.write_text(json.dumps(people) + "\n")
            half.replace(path)
        try:
            people = strictjson.loads(path.read_bytes(), max_bytes=1 << 20, max_values=1000)
            found = cls(
                contributors=tuple(bytes.fromhex(one) for one in people["contributors"]),
                creator=bytes.fromhex(people["creator"]),
                sponsor=bytes.fromhex(people["sponsor"]),
                faucet=bytes.fromhex(people["faucet"]),
            )
        except (NotJson, KeyError, TypeError, ValueError) as error:
            raise InvalidConfig(f"{path} is damaged ({error}): name another home folder") from None
        if len(found.contributors) != contributors:
            raise InvalidConfig(
                f"{home} was made for {len(found.contributors)} contributors, not {contributors}: "
                "use that number or another home folder"
            )
        return found


def say(event: str, **facts: Any) -> None:
    """One step for whoever reads our standard output: JSON for a program, a line for a person."""
    if not sys.stdout.isatty():
        print(json.dumps({"event": event, **facts}), flush=True)
    elif "error" in facts:
        print(f"\n{facts['error']}: {facts['message']}", flush=True)
    elif "text" in facts:  # in one line, until it is done
        text, after = facts["text"], f"  {facts['seconds']:.1f} s\n" if facts.get("done") else " ..."
        room = shutil.get_terminal_size().columns - 10
        print(
            f"\r\x1b[K  {text if facts.get('done') or len(text) <= room else text[: room - 1] + '…'}{after}",
            end="",
            flush=True,
        )
    else:
        ready = facts.pop("ready", False)
        print("\n".join(f"  {name:<14}{value}" for name, value in facts.items()), flush=True)
        if ready:
            print("Open the page in a browser. Ctrl-C stops everything.", flush=True)


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
    shard_seed = _shard_seed(settings)
    owner = None if settings.key_file is None else read_account(settings.key_file, _password(settings.password_file))
    async with step("loading the EVM, web3, torch and onnxruntime"):
        # Not at the top of the file: this takes seconds, and whoever started us wants to see that something happens.
        from devchain.chain.store import StoreUnavailable, StoreUnusable
        from devchain.config import InvalidChainConfig
        from devchain.server import Devchain
        from linklearner.chain.contracts import CONTRACTS
        from linklearner.domain.plan import digits
        from services.chain_gateway import config as gateway_config
        from services.chain_gateway import deploy
        from services.chain_gateway.chain import START_WAIT_S, Chain
        from services.chain_gateway.deployment import Deployment
        from services.chain_gateway.example_store import ExampleStore
        from services.chain_gateway.gateway import Gateway
        from services.chain_gateway.keystore import Keystore
        from services.company import Company
        from services.model_server import config as server_config
        from services.model_server.admission.stake import StakeSettings
        from services.model_server.server import ModelServer
        from services.page.config import PageConfig
        from services.page.server import PageServer
        from services.trainer import config as trainer_config
        from services.trainer import data, training  # noqa: F401  # torch, now
        from services.trainer.trainer import Trainer
    judged = rule_named(settings.rule).number == RULE_EVIDENCE
    keys, password = home / "keys", home / "secrets" / "password"
    if (home / "deployment.json").exists():
        Deployment.load(home / "deployment.json")  # raises why a home of an earlier version cannot go on
    password.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    people = People.of_home(home, keys, password, settings.contributors)
    if settings.rpc_url is None:
        async with step("starting the embedded chain"):
            try:
                devchain = await stack.enter_async_context(
                    Devchain.start(
                        state=home / "chain.sqlite",
                        accounts={people.faucet.hex(): FAUCET_COIN_WEI},
                        mining=settings.mining,
                    )
                )
            except (StoreUnusable, InvalidChainConfig) as error:  # a damaged file, or one that another chain holds
                raise InvalidConfig(str(error)) from error
            except StoreUnavailable as error:
                raise Unavailable(str(error), reason="DatabaseAway") from error
        rpc_url, owner = devchain.url, Account.from_key(devchain.accounts[0].key)
    else:
        rpc_url = settings.rpc_url
    assert owner is not None  # Settings has checked it
    held = {who: Keystore.of_key_file(keys / f"{who.hex()}.json", read_password(password)) for who in people.everybody}
    contributors = people.contributors
    everybody = Keystore({})
    for who in contributors:
        everybody |= held[who]
    plan = digits(
        contributors=settings.contributors,
        seed=settings.seed,
        round_seconds=settings.round_seconds,
        drop_seconds=settings.round_seconds + DROP_S,
        stake_seconds=STAKE_S,
        **({"quorum_bps": QUORUM_BPS} if settings.settle and not judged else {}),
    )
    if judged:
        async with step("making the examples that judge the task"):
            plan = await asyncio.to_thread(_judged, plan, settings)
            assert plan.examples is not None
            ExampleStore(home / "examples").keep(plan.examples)  # where the gateway looks for them
    deploying = "deploying pool, vault, token and Aspect; an account opens a task, a sponsor fills its pot, contributors lock stake"
    connected = Chain.connect(rpc_url, CONTRACTS, wait_s=START_WAIT_S, tell=lambda why: say("step", text=why))
    async with step(deploying), connected as chain:
        deployment = await deploy.deploy(
            chain,
            Keystore.of_accounts([owner]),
            home / "deploy.sqlite",
            deploy.DeploymentPlan(
                task=plan,
                contributors=contributors,
                stake_units=STAKE_UNITS,
                faucet=people.faucet if settings.rpc_url is None else None,
            ),
            creator=held[people.creator],
            sponsor=held[people.sponsor],
            contributors=everybody,
            deployment_path=home / "deployment.json",
            progress=lambda name, done, total: say("step", text=f"deploying {done}/{total}: {name}"),
        )
    access = home / "access"
    operator = Credential.kept(access / OPERATOR, Role.SPEND)
    Credential.kept(access / FAUCET, Role.SPEND, people.faucet)
    Credential.kept(access / READER, Role.READ)
    for index, account in enumerate(contributors):
        Credential.kept(access / f"trainer-{index}.json", Role.CONTRIBUTE, account)
    page_socket = _page_socket(home)  # before the model server, which has to know the page's address
    page_port = page_socket.getsockname()[1]
    stack.callback(page_socket.close)
    async with step("starting gateway, trainers, model server and page"):
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
                    auto_settle=settings.settle or judged,
                    on_demand=settings.rpc_url is None and settings.mining == INSTANT,
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
                        task=str(deployment.task),
                        shard=f"{index}/{settings.contributors}",
                        shard_seed=shard_seed,
                        seed=settings.seed * 64 + index,
                        state_dir=home / f"trainer-{index}",
                    )
                )
            )
            for index, account in enumerate(contributors)
        ]
        server = await stack.enter_async_context(
            ModelServer.start(
                server_config.ModelServerConfig(
                    gateway=gateway.address,
                    credential=str(access / READER),
                    task=str(deployment.task),
                    listen="127.0.0.1:0",
                    metrics_listen="127.0.0.1:0",
                    admission=StakeSettings(
                        origins=f"http://127.0.0.1:{page_port}, http://localhost:{page_port}", stake_refresh_s=1.0
                    ),
                )
            )
        )
        page = await stack.enter_async_context(
            PageServer.start(
                PageConfig(
                    gateway=gateway.address,
                    credential=str(access / READER),
                    model_server=server.address,
                    rpc_url=rpc_url,
                    task=deployment.task,
                    # where money is worth nothing
                    faucet=str(access / FAUCET) if settings.rpc_url is None else "",
                ),
                page_socket,
            )
        )
        await asyncio.gather(server.ready(), *(trainer.ready() for trainer in trainers))
    _, held_out = data.load("digits", data.Shard())
    np.savez(home / "held-out.npz", x=held_out.inputs["x"], y=held_out.y)
    suite = Suite(
        rpc_url=rpc_url,
        chain_id=deployment.chain_id,
        pool=to_checksum_address(deployment.pool),
        vault=to_checksum_address(deployment.vault),
        token=to_checksum_address(deployment.token),
        aspect=to_checksum_address(deployment.aspect),
        deployed_block=deployment.block,
        task=deployment.task,
        gateway=gateway.address,
        trainers=tuple(trainer.address for trainer in trainers),
        model_server=server.address,
        metrics=server.metrics_address,
        page=page.url,
        keys=str(keys.absolute()),
        credential=str((access / OPERATOR).absolute()),
        password_file=str(password.absolute()),
        accounts=tuple(to_checksum_address(account) for account in contributors),
        creator=to_checksum_address(people.creator),
        sponsor=to_checksum_address(people.sponsor),
        owner=to_checksum_address(deployment.owner),
        pid=os.getpid(),
    )
    suite.write(home)
    say(
        "ready",
        ready=True,
        page=suite.page,
        chain=shown_urls(suite.rpc_url),
        gateway=suite.gateway,
        trainers=", ".join(suite.trainers),
        model_server=suite.model_server,
        metrics=f"http://{suite.metrics}/metrics",
    )
    company = Company(
        gateway.address,
        [trainer.address for trainer in trainers],
        operator,
        task=deployment.task,
        accounts=contributors,
        settle=not (settings.settle or judged),
        stake_s=STAKE_S,
    )
    begins = asyncio.Event()
    if settings.settle:
        begins.set()
    else:  # whoever settles on request, as the demo does, says when it is over
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, begins.set)

    async def keep_company() -> None:
        await begins.wait()
        await company.run()

    return [gateway.broken(), server.wait(), keep_company(), *(trainer.wait() for trainer in trainers)]


def _log_file(home: Path) -> TextIO | None:
    """Appended to by every start; None if the folder cannot be had, which is for others to say."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (home / "suite.log").open("a", buffering=1)
    except OSError:
        return None
    say("log", log=file.name)
    return file


def _judged(plan: TaskPlan, settings: SuiteSettings) -> TaskPlan:
    """The plan by rule evidence, with examples of what everybody holds out. They follow from the seed, so that a start that was interrupted
    goes on with the same task: good for a chain of one's own, where nobody is paid."""
    from services.trainer import data
    from services.trainer.examples import A_ROUND, make

    plan = replace(plan, terms=replace(plan.terms, rule=RULE_EVIDENCE, max_updates=2 * settings.contributors))
    learn, held_out = data.load("digits", data.Shard())
    rounds = settings.example_rounds
    made = make(
        plan, learn, held_out, rounds=rounds, size=round(A_ROUND * rounds),
        generator=np.random.default_rng([settings.seed, 14]), control=False,
    )  # fmt: skip
    return replace(plan, examples=made.examples)


def _page_socket(home: Path) -> socket.socket:
    """Where the page was last time, because browsers keep drawings by address; else at its own port, else at a free one."""
    from services.page.config import PageConfig
    from services.page.server import bound

    places = [PageConfig.listen]
    with contextlib.suppress(InvalidConfig):
        places.insert(0, Suite.read(home).page.removeprefix("http://"))
    for place in places:
        with contextlib.suppress(InvalidConfig, InvalidInput):
            return bound(place)
    return bound("127.0.0.1:0")


def _shard_seed(settings: SuiteSettings) -> int:
    """By which the digits are dealt to the contributors: the first of DRAWS, the settings' seed itself being the first of all, that leaves
    nobody with fewer samples than a trainer takes. The same settings give the same.

    Raises InvalidConfig if none does: an update of so small a shard gives its samples away.
    """
    from services.trainer import data
    from services.trainer.config import TrainerConfig

    learn, _ = data.load("digits", data.Shard())
    alpha, least = float(TrainerConfig.alpha), TrainerConfig.min_samples

    def drawn(count: int) -> int | None:
        if count * least > len(learn):
            return None
        seeds = (settings.seed + draw * (MAX_SEED + 1) for draw in range(DRAWS))
        return next((s for s in seeds if min(map(len, data.shards(learn.y, count, alpha, s))) >= least), None)

    seed = drawn(settings.contributors)
    if seed is not None:
        return seed
    works = next(count for count in range(settings.contributors - 1, 0, -1) if drawn(count) is not None)
    raise InvalidConfig(
        f"{len(learn)} digits dealt to {settings.contributors} contributors leave someone fewer than {least}, the least that a trainer "
        f"takes, in each of {DRAWS} draws by seed {settings.seed}: {works} contributors work with this seed",
        facts={"contributors": settings.contributors, "works": works},
    )


def _password(path: Path | None) -> str | None:
    return None if path is None else read_password(path)


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
    """Runs until a signal comes or a part breaks, whose error is raised. SIGUSR1 to a suite that settles on request: go on by yourself."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        stack.enter_context(_held(settings.home))
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
    parser.add_argument("--contributors", default="5")
    parser.add_argument("--seed", default="1", help="who gets which samples, and the first weights")
    parser.add_argument("--rpc", default=None, help="JSON-RPC URL of a chain that is already there")
    parser.add_argument("--key-file", type=Path, default=None, help="a funded key on that chain")
    parser.add_argument("--password-file", type=Path, default=None, help="its password, if it is encrypted")
    parser.add_argument("--settle-on-request", action="store_true", help="no round is settled unless someone asks")
    parser.add_argument("--round-seconds", default=str(ROUND_S), help="in which a round earns its whole reward")
    parser.add_argument("--rule", default=MEAN.name, help="of the task: mean, or evidence")
    parser.add_argument("--example-rounds", default="20", help="by rule evidence: rounds that its examples are for")
    parser.add_argument(
        "--mining", default=INSTANT, help="of the embedded chain: instant, or interval:SECONDS as a node does"
    )
    options = parser.parse_args()
    try:
        log.configure(service="suite", stream=_log_file(options.home) if sys.stderr.isatty() else None)
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
                    round_seconds=whole(options.round_seconds, "--round-seconds", 1, MAX_ROUND_S),
                    mining=options.mining,
                    rule=options.rule,
                    example_rounds=whole(options.example_rounds, "--example-rounds", 1, 1000),
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
