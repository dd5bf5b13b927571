"""The commands, each a few gRPC calls."""

import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import grpc
import typer
from eth_account.signers.local import LocalAccount
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from linklearner import arrays
from linklearner.cli import demo as demonstration
from linklearner.cli.arguments import Commands, account_address, host_port, number, stake_amount, url
from linklearner.cli.far_side import wrong_service
from linklearner.cli.output import Format, address, console, ll, show, told
from linklearner.cli.verification import HistoryOf, verified
from linklearner.domain.encodings import ENCODINGS, TWO_BITS, encoding_named
from linklearner.domain.errors import InvalidConfig, NotFound
from linklearner.domain.model import ModelSpec
from linklearner.domain.notation import UINT64, UNIT_WEI, is_loopback
from linklearner.domain.notation import address as address_of
from linklearner.domain.shape import Shape
from linklearner.inference import InferenceClient
from linklearner.keyfile import read_account, read_password
from linklearner.rpc.access import OPERATOR, Credential
from linklearner.rpc.channel import channel
from linklearner.suite import Suite, home
from linklearner.v1 import chain_gateway_pb2 as gateway
from linklearner.v1 import chain_gateway_pb2_grpc as gateway_grpc
from linklearner.v1 import model_pb2 as model
from linklearner.v1 import trainer_pb2 as trainer
from linklearner.v1 import trainer_pb2_grpc as trainer_grpc

T = TypeVar("T")

MAX_SEED = 2**32 - 1

app = typer.Typer(
    cls=Commands,
    help="Train a shared model on private data, merge it on a chain, serve it behind a token.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
task_app = typer.Typer(help="Look at a task.", no_args_is_help=True)
stake_app = typer.Typer(help="Lock $LL for a task: it gives influence, pay and access.", no_args_is_help=True)
app.add_typer(task_app, name="task")
app.add_typer(stake_app, name="stake")

FormatOption = Annotated[Format, typer.Option("--format", help="text for people, json for programs")]
GatewayOption = Annotated[
    str | None,
    typer.Option(
        "--gateway", parser=host_port("--gateway"), help="host:port of a chain gateway", envvar="LINKLEARNER_GATEWAY"
    ),
]
CredentialOption = Annotated[
    Path | None,
    typer.Option(
        "--credential",
        help="file that proves who calls; the operator's of the suite here if left out",
        envvar="LINKLEARNER_CREDENTIAL",
    ),
]
TrainerOption = Annotated[
    str | None,
    typer.Option(
        "--trainer", parser=host_port("--trainer"), help="host:port of a trainer", envvar="LINKLEARNER_TRAINER"
    ),
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--model-server",
        parser=host_port("--model-server"),
        help="host:port of a model server",
        envvar="LINKLEARNER_MODEL_SERVER",
    ),
]
TaskOption = Annotated[
    int | None,
    typer.Option("--task", parser=number("--task", 1, UINT64), help="the task's number; the suite's own if left out"),
]
AmountArgument = Annotated[int, typer.Argument(parser=stake_amount, help="$LL, at most three decimals")]
AccountOption = Annotated[
    bytes | None,
    typer.Option("--account", parser=account_address, help="0x address; the gateway's first account if left out"),
]


def _run(work: Coroutine[Any, Any, T], format: Format) -> T:
    with told(format):
        return asyncio.run(work)


def _named(option: str | None, fallback: str) -> str:
    """An address given by hand, or the one that the running suite wrote down."""
    if option is not None:
        return option
    suite = Suite.read(home())
    value = getattr(suite, fallback)
    return str(value[0] if isinstance(value, tuple) else value)


def _wire(address: str, credential: Path | None) -> grpc.aio.Channel:
    """A channel that proves who calls. The operator's own credential goes to services on this machine only, unless it is named."""
    if credential is None:
        operator = home() / "access" / OPERATOR
        if operator.exists() and is_loopback(address.rpartition(":")[0]):
            credential = operator
    return channel(address, None if credential is None else Credential.read(credential))


def _task(number: int | None) -> int:
    return number if number is not None else Suite.read(home()).task


async def _account(stub: gateway_grpc.ChainGatewayServiceStub, given: bytes | None) -> bytes:
    if given:
        return given
    listed = await stub.ListAccounts(gateway.ListAccountsRequest())
    if not listed.accounts:
        raise NotFound("this gateway holds no key: name an account with --account")
    return bytes(listed.accounts[0])


# --- looking -----------------------------------------------------------------------------------------------------------------

Ask = Callable[[gateway_grpc.ChainGatewayServiceStub], Coroutine[Any, Any, T]]


def _gateway(address_given: str | None, credential: Path | None, format: Format, ask: Ask[T]) -> T:
    """Runs what a command asks of a gateway."""

    async def work() -> T:
        where = _named(address_given, "gateway")
        async with wrong_service(where, "a chain gateway"), _wire(where, credential) as wire:
            return await ask(gateway_grpc.ChainGatewayServiceStub(wire))

    return _run(work(), format)


def _inputs_of(spec: ModelSpec) -> str:
    """What the model is asked and trained with, as measured: it scales by itself."""
    told_range = "of unstated range" if spec.input_range is None else "from {:g} to {:g}".format(*spec.input_range)
    return f"{spec.layers[0]} numbers {told_range}, called {spec.input_name}"


@task_app.command("show")
def task_show(
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    credential: CredentialOption = None,
    task: TaskOption = None,
) -> None:
    """A task's architecture, terms, newest version and open round."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> dict[str, Any]:
        found = (await stub.GetTask(gateway.GetTaskRequest(task=_task(task)))).task
        spec, shape = ModelSpec.from_json(found.model), Shape.decode(found.shape)
        return {
            "task": found.task,
            "model": f"{spec.name}: MLP {'-'.join(map(str, spec.layers))}",
            "inputs": _inputs_of(spec),
            "weights": shape.weight_count,
            "pages": f"{shape.page_count} of {shape.page_length} weights",
            "version": found.version.version,
            "digest": "0x" + found.version.digest.hex(),
            "round": found.round.round,
            "accepted": f"{found.round.accepted_count} of {found.terms.quorum}",
            "eligible_stake": ll(found.round.eligible_units * UNIT_WEI) + " $LL",
            "reward_a_round": ll(found.terms.reward_wei) + " $LL",
            "minimum_stake": ll(found.terms.min_stake_units * UNIT_WEI) + " $LL",
        }

    show(format, _gateway(gateway_address, credential, format, ask))


@app.command()
def balance(
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    credential: CredentialOption = None,
    account: AccountOption = None,
    task: TaskOption = None,
) -> None:
    """$LL, stake and gas money of every account of a gateway, or of one."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> list[dict[str, Any]]:
        accounts = [account] if account else (await stub.ListAccounts(gateway.ListAccountsRequest())).accounts
        rows = []
        for one in accounts:
            found = await stub.GetBalance(gateway.GetBalanceRequest(account=one, task=_task(task)))
            rows.append(
                {
                    "account": address(one),
                    "$LL": ll(found.token_wei),
                    "locked": ll(found.stake.locked_units * UNIT_WEI),
                    "counts_this_round": ll(found.stake.eligible_units * UNIT_WEI),
                    "coin": ll(found.coin_wei),
                }
            )
        return rows

    show(format, _gateway(gateway_address, credential, format, ask))


# --- stake -------------------------------------------------------------------------------------------------------------------


def _stake_row(account: bytes, stake: gateway.StakeStatus, receipt: gateway.Receipt | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "account": address(account),
        "locked": ll(stake.locked_units * UNIT_WEI) + " $LL",
        "counts_this_round": ll(stake.eligible_units * UNIT_WEI) + " $LL",
        "unlocking": ll(stake.unlocking_units * UNIT_WEI) + " $LL",
    }
    if stake.unlocking_units:
        row["withdrawable_after_round"] = stake.unlocking_round
    if receipt is not None:
        row |= {"transaction": "0x" + receipt.transaction_hash.hex(), "gas": receipt.gas_used}
    return row


@stake_app.command("show")
def stake_show(
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    credential: CredentialOption = None,
    account: AccountOption = None,
    task: TaskOption = None,
) -> None:
    """What an account has locked."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> dict[str, Any]:
        who = await _account(stub, account)
        found = await stub.GetBalance(gateway.GetBalanceRequest(account=who, task=_task(task)))
        return _stake_row(who, found.stake)

    show(format, _gateway(gateway_address, credential, format, ask))


@stake_app.command("lock")
def stake_lock(
    amount: AmountArgument,
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    credential: CredentialOption = None,
    account: AccountOption = None,
    task: TaskOption = None,
) -> None:
    """Lock $LL; it counts from the next round on."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> dict[str, Any]:
        who = await _account(stub, account)
        request = gateway.LockStakeRequest(request_id=_request_id(), account=who, task=_task(task), units=amount)
        done = await stub.LockStake(request)
        return _stake_row(who, done.stake, done.receipt)

    show(format, _gateway(gateway_address, credential, format, ask))


@stake_app.command("unlock")
def stake_unlock(
    amount: AmountArgument,
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    credential: CredentialOption = None,
    account: AccountOption = None,
    task: TaskOption = None,
) -> None:
    """Ask for $LL back; it stops counting at once and may be withdrawn when the present round is over."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> dict[str, Any]:
        who = await _account(stub, account)
        request = gateway.UnlockStakeRequest(request_id=_request_id(), account=who, task=_task(task), units=amount)
        done = await stub.UnlockStake(request)
        return _stake_row(who, done.stake, done.receipt)

    show(format, _gateway(gateway_address, credential, format, ask))


@stake_app.command("withdraw")
def stake_withdraw(
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    credential: CredentialOption = None,
    account: AccountOption = None,
    task: TaskOption = None,
) -> None:
    """Take unlocked $LL home."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> dict[str, Any]:
        who = await _account(stub, account)
        request = gateway.WithdrawStakeRequest(request_id=_request_id(), account=who, task=_task(task))
        done = await stub.WithdrawStake(request)
        return _stake_row(who, done.stake, done.receipt)

    show(format, _gateway(gateway_address, credential, format, ask))


def _encoding(name: str) -> model.Encoding:
    return cast("model.Encoding", encoding_named(name).code)


def _request_id() -> str:
    return "cli-" + secrets.token_hex(12)


# --- training and inference --------------------------------------------------------------------------------------------------


@app.command()
def train(
    format: FormatOption = Format.TEXT,
    trainer_address: TrainerOption = None,
    credential: CredentialOption = None,
    encoding: Annotated[str, typer.Option(help=" or ".join(one.name for one in ENCODINGS.values()))] = TWO_BITS.name,
    steps: Annotated[
        int,
        typer.Option(
            parser=number("--steps", 0, 2**32 - 1), help="local optimiser steps; 0: the trainer's own setting"
        ),
    ] = 0,
    allow_range: Annotated[
        bool, typer.Option("--allow-range", help="train also on data far from the range that `task show` tells")
    ] = False,
) -> None:
    """Train one round on a trainer's private data and submit the update."""

    async def work() -> dict[str, Any]:
        wanted = _encoding(encoding)
        quantised = None
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), console=console(format), transient=True
        ) as bar:
            line = bar.add_task("pulling the newest weights", total=None)
            where = _named(trainer_address, "trainers")
            async with wrong_service(where, "a trainer"), _wire(where, credential) as wire:
                stub = trainer_grpc.TrainerServiceStub(wire)
                request = trainer.TrainRoundRequest(
                    request_id=_request_id(), encoding=wanted, step_count=steps, allow_range=allow_range
                )
                async for event in stub.TrainRound(request):
                    match event.WhichOneof("event"):
                        case "pulled":
                            bar.update(line, description=f"training on version {event.pulled.version.version}")
                        case "progress":
                            done = event.progress
                            bar.update(
                                line, description=f"loss {done.loss:.3f}", completed=done.step, total=done.step_count
                            )
                        case "quantised":
                            quantised = event.quantised
                            bar.update(line, description=f"submitting {quantised.update_bytes:,} bytes", total=None)
                        case "submitted":
                            done = event.submitted
                            return {
                                "verdict": "accepted",
                                "round": done.round,
                                "digest": "0x" + done.digest.hex(),
                                "bytes": quantised.update_bytes if quantised else 0,
                                "influence": ll(done.effective_units * UNIT_WEI) + " $LL of stake",
                                "transaction": "0x" + done.receipt.transaction_hash.hex(),
                                "gas": done.receipt.gas_used,
                            }
        raise NotFound("the trainer ended the stream without an outcome: look at its log")

    show(format, _run(work(), format))


@app.command()
def infer(
    inputs: Annotated[
        Path,
        typer.Argument(
            help="one row a question, as measured (digits: 64 pixels from 0 to 16; `task show` tells the range): .npy of (B, n) numbers, "
            "or .csv; either also as .gz; - reads csv"
        ),
    ],
    key_file: Annotated[
        Path | None, typer.Option(help="key of an address with $LL locked; left out: ask without a session")
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help="password of an encrypted key file")] = None,
    model_name: Annotated[str, typer.Option("--model")] = "digits",
    format: FormatOption = Format.TEXT,
    server: ServerOption = None,
    allow_range: Annotated[
        bool,
        typer.Option(
            "--allow-range", help="ask even about numbers far outside of the range that the task was made for"
        ),
    ] = False,
    chain_id: Annotated[
        int | None,
        typer.Option(
            parser=number("--chain-id", 1, UINT64),
            help="sign in on this chain only; left out: the suite's, at the suite's server",
        ),
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="host:port by which the server knows itself, if a tunnel leads to it")
    ] = None,
) -> None:
    """Ask the model server; each answer names the weights that gave it.

    Inputs are unscaled, in the range that the task was made for: 0 to 16 for the pixels of the digits, and for every task as
    `linklearner task show` and the server (SessionService.GetTerms) tell it. A row that lies further outside than the range is wide is
    refused, since its label would mean nothing.
    """

    async def work() -> list[dict[str, Any]]:
        values = arrays.inputs(inputs)
        caller = _caller(key_file, password_file)
        where = _named(server, "model_server")
        chain = chain_id or _chain_at(where)
        async with (
            wrong_service(where, "a model server"),
            InferenceClient(where, caller, chain_id=chain, domain=domain) as client,
        ):
            answer = await client.infer(model_name, values, allow_range=allow_range)
        return [
            {
                "row": row,
                "label": int(label),
                "logit": float(answer.logits[row, label]),
                "version": answer.version,
                "digest": "0x" + answer.digest.hex(),
            }
            for row, label in enumerate(answer.labels)
        ]

    show(format, _run(work(), format))


def _caller(key_file: Path | None, password_file: Path | None) -> LocalAccount | None:
    if key_file is None:
        if password_file is not None:
            raise InvalidConfig("--password-file is of a key file: name that with --key-file")
        return None
    return read_account(key_file, None if password_file is None else read_password(password_file))


def _chain_at(server: str) -> int | None:
    """The chain of the suite here, if the server is the suite's."""
    try:
        suite = Suite.read(home())
    except InvalidConfig:
        return None
    return suite.chain_id if suite.model_server == server else None


# --- verifying ---------------------------------------------------------------------------------------------------------------


@app.command()
def verify(
    format: FormatOption = Format.TEXT,
    rpc: Annotated[
        str | None, typer.Option("--rpc", parser=url("--rpc"), help="JSON-RPC URL of a chain", envvar="LINKLEARNER_RPC")
    ] = None,
    pool: Annotated[bytes | None, typer.Option(parser=account_address, help="address of the TrainingPool")] = None,
    from_block: Annotated[
        int | None, typer.Option(parser=number("--from-block", 0, UINT64), help="block of the pool's deployment")
    ] = None,
    task: TaskOption = None,
) -> None:
    """Replay the chain's history in Python: every verdict, weight, digest and payment, byte for byte."""
    show(format, _run(verified(_history_of(rpc, pool, from_block, task, format), format), format))


def _history_of(
    rpc: str | None, pool: bytes | None, from_block: int | None, task: int | None, format: Format
) -> HistoryOf:
    with told(format):
        if rpc and pool:
            return HistoryOf(rpc_url=rpc, pool=pool, from_block=from_block or 0, task=task or 1)
        suite = Suite.read(home())
        return HistoryOf(
            rpc_url=rpc or suite.rpc_url,
            pool=pool or address_of(suite.pool),
            from_block=suite.deployed_block if from_block is None else from_block,
            task=suite.task if task is None else task,
        )


# --- running -----------------------------------------------------------------------------------------------------------------


def checkout() -> Path:
    """The folder that holds `services/`. Raises InvalidConfig where only the wheel is installed."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "services" / "__main__.py").exists():
        raise InvalidConfig(
            "the services run from a checkout of LinkLearner (or from its images), not from the installed package"
        )
    return root


RpcOption = Annotated[
    str | None,
    typer.Option("--rpc", parser=url("--rpc"), help="a chain that is already there; left out: the embedded one"),
]
FundedKeyOption = Annotated[
    Path | None, typer.Option("--key-file", help="a funded key on that chain; pays for everybody")
]
FundedPasswordOption = Annotated[Path | None, typer.Option("--password-file", help="its password, if it is encrypted")]
SeedOption = Annotated[
    int,
    typer.Option("--seed", parser=number("--seed", 0, MAX_SEED), help="who gets which samples, and the first weights"),
]


def _funded(rpc: str | None, key_file: Path | None, password_file: Path | None) -> list[str]:
    """Arguments of `services` for a chain that is already there, its key opened once: whatever is wrong is said before anything starts."""
    if rpc is None:
        if key_file is not None or password_file is not None:
            raise InvalidConfig(
                "--key-file and --password-file are for a chain that is already there: name it with --rpc"
            )
        return []
    if key_file is None:
        raise InvalidConfig("a chain that is already there needs a funded key: name its file with --key-file")
    _caller(key_file, password_file)
    arguments = ["--rpc", rpc, "--key-file", str(key_file.absolute())]
    return arguments if password_file is None else [*arguments, "--password-file", str(password_file.absolute())]


@app.command()
def up(
    contributors: Annotated[int, typer.Option(parser=number("--contributors", 1, 64))] = 5,
    seed: SeedOption = 1,
    rpc: RpcOption = None,
    key_file: FundedKeyOption = None,
    password_file: FundedPasswordOption = None,
) -> None:
    """Start everything here, in one process, and leave it running until Ctrl-C."""
    with told(Format.TEXT):
        arguments = [sys.executable, "-m", "services", "--home", str(home().absolute())]
        arguments += ["--contributors", str(contributors), "--seed", str(seed), *_funded(rpc, key_file, password_file)]
        os.chdir(checkout())
        os.execv(sys.executable, arguments)  # home and key file are absolute by now


@app.command()
def down() -> None:
    """Stop the suite that `up` or `demo --keep` left running here."""
    with told(Format.TEXT):
        suite = Suite.read(home())
        command = Path(f"/proc/{suite.pid}/cmdline")
        if command.parent.parent.exists() and (not command.exists() or b"services" not in command.read_bytes()):
            raise NotFound(f"process {suite.pid} is not running any more")
        try:
            os.kill(suite.pid, signal.SIGTERM)
        except ProcessLookupError:
            raise NotFound(f"process {suite.pid} is not running any more") from None
    typer.echo(f"asked process {suite.pid} to stop")


@app.command()
def demo(
    rpc: RpcOption = None,
    key_file: FundedKeyOption = None,
    password_file: FundedPasswordOption = None,
    rounds: Annotated[int, typer.Option(parser=number("--rounds", 1, 100))] = 5,
    encoding: Annotated[str, typer.Option(help=" or ".join(one.name for one in ENCODINGS.values()))] = TWO_BITS.name,
    seed: SeedOption = 1,
    keep: Annotated[bool, typer.Option("--keep", help="leave it running and print the addresses")] = False,
    format: FormatOption = Format.TEXT,
) -> None:
    """Five people train one model on a chain, one cheats, and the result answers behind a token."""
    with told(format):
        plan = demonstration.Plan(
            root=checkout(),
            chain=_funded(rpc, key_file, password_file),
            rounds=rounds,
            encoding=_encoding(encoding),
            seed=seed,
            keep=keep,
        )
    _run(demonstration.run(plan, format), format)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def devchain(context: typer.Context) -> None:
    """The embedded chain on its own: a JSON-RPC node that runs Aspects (its own --help)."""
    with told(Format.TEXT):
        root = checkout()
    # Not with cwd=root: files named on the command line are the caller's, beside where he stands.
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    # In place of this process, not as its child: whatever signal ends us ends the chain.
    arguments = [sys.executable, "-m", "devchain", *context.args]
    os.execve(sys.executable, arguments, {**os.environ, "PYTHONPATH": path})


@app.command()
def health(
    target: Annotated[str, typer.Argument(parser=host_port("the target"), help="host:port")],
    timeout: Annotated[int, typer.Option(parser=number("--timeout", 1, 3600), help="seconds")] = 2,
) -> None:
    """Exit status 0 if a gRPC server there is ready; for container health checks."""

    async def work() -> bool:
        async with wrong_service(target, "a server with health checks"), channel(target) as wire:
            answer = await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    started = time.monotonic()
    if not _run(work(), Format.TEXT):
        typer.echo(f"{target} is up but not ready (asked for {time.monotonic() - started:.1f} s)", err=True)
        raise typer.Exit(1)
