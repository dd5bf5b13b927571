"""The commands, each a few gRPC calls."""

import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import grpc
import numpy as np
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from linklearner.cli import demo as demonstration
from linklearner.cli.keys import key_from
from linklearner.cli.output import UNIT_WEI, Format, address, console, ll, show, told, units
from linklearner.cli.verification import HistoryOf, verified
from linklearner.domain.errors import InvalidConfig, InvalidInput, NotFound
from linklearner.domain.model import ModelSpec
from linklearner.domain.shape import Shape
from linklearner.inference import InferenceClient
from linklearner.rpc.channel import channel
from linklearner.suite import Suite, home
from linklearner.v1 import chain_gateway_pb2 as gateway
from linklearner.v1 import chain_gateway_pb2_grpc as gateway_grpc
from linklearner.v1 import model_pb2 as model
from linklearner.v1 import trainer_pb2 as trainer
from linklearner.v1 import trainer_pb2_grpc as trainer_grpc

T = TypeVar("T")

app = typer.Typer(
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
    str | None, typer.Option("--gateway", help="host:port of a chain gateway", envvar="LINKLEARNER_GATEWAY")
]
TrainerOption = Annotated[
    str | None, typer.Option("--trainer", help="host:port of a trainer", envvar="LINKLEARNER_TRAINER")
]
ServerOption = Annotated[
    str | None, typer.Option("--model-server", help="host:port of a model server", envvar="LINKLEARNER_MODEL_SERVER")
]
TaskOption = Annotated[int | None, typer.Option("--task", min=1, help="the task's number; the suite's own if left out")]
AmountArgument = Annotated[str, typer.Argument(help="$LL, at most three decimals")]
AccountOption = Annotated[
    str | None, typer.Option("--account", help="0x address; the gateway's first account if left out")
]


def _run(work: Coroutine[Any, Any, T], format: Format) -> T:
    with told(format):
        return asyncio.run(work)


def _named(option: str | None, fallback: str) -> str:
    """An address given by hand, or the one that the running suite wrote down."""
    if option:
        return option
    suite = Suite.read(home())
    value = getattr(suite, fallback)
    return str(value[0] if isinstance(value, tuple) else value)


def _task(number: int | None) -> int:
    return number if number is not None else Suite.read(home()).task


def _address(text: str) -> bytes:
    raw = text.removeprefix("0x")
    if len(raw) != 40 or any(c not in "0123456789abcdefABCDEF" for c in raw):
        raise InvalidInput(f"'{text}' is not an address: 0x and 40 hex digits")
    return bytes.fromhex(raw)


async def _account(stub: gateway_grpc.ChainGatewayServiceStub, given: str | None) -> bytes:
    if given:
        return _address(given)
    listed = await stub.ListAccounts(gateway.ListAccountsRequest())
    if not listed.accounts:
        raise NotFound("this gateway holds no key: name an account with --account")
    return bytes(listed.accounts[0])


# --- looking -----------------------------------------------------------------------------------------------------------------

Ask = Callable[[gateway_grpc.ChainGatewayServiceStub], Coroutine[Any, Any, T]]


def _gateway(address_given: str | None, format: Format, ask: Ask[T]) -> T:
    """Runs what a command asks of a gateway."""

    async def work() -> T:
        async with channel(_named(address_given, "gateway")) as wire:
            return await ask(gateway_grpc.ChainGatewayServiceStub(wire))

    return _run(work(), format)


@task_app.command("show")
def task_show(
    format: FormatOption = Format.TEXT, gateway_address: GatewayOption = None, task: TaskOption = None
) -> None:
    """A task's architecture, terms, newest version and open round."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> dict[str, Any]:
        found = (await stub.GetTask(gateway.GetTaskRequest(task=_task(task)))).task
        spec, shape = ModelSpec.from_json(found.model), Shape.decode(found.shape)
        return {
            "task": found.task,
            "model": f"{spec.name}: MLP {'-'.join(map(str, spec.layers))}",
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

    show(format, _gateway(gateway_address, format, ask))


@app.command()
def balance(
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    account: AccountOption = None,
    task: TaskOption = None,
) -> None:
    """$LL, stake and gas money of every account of a gateway, or of one."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> list[dict[str, Any]]:
        accounts = [_address(account)] if account else (await stub.ListAccounts(gateway.ListAccountsRequest())).accounts
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

    show(format, _gateway(gateway_address, format, ask))


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
    account: AccountOption = None,
    task: TaskOption = None,
) -> None:
    """What an account has locked."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> dict[str, Any]:
        who = await _account(stub, account)
        found = await stub.GetBalance(gateway.GetBalanceRequest(account=who, task=_task(task)))
        return _stake_row(who, found.stake)

    show(format, _gateway(gateway_address, format, ask))


@stake_app.command("lock")
def stake_lock(
    amount: AmountArgument,
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    account: AccountOption = None,
    task: TaskOption = None,
) -> None:
    """Lock $LL; it counts from the next round on."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> dict[str, Any]:
        who = await _account(stub, account)
        request = gateway.LockStakeRequest(request_id=_request_id(), account=who, task=_task(task), units=units(amount))
        done = await stub.LockStake(request)
        return _stake_row(who, done.stake, done.receipt)

    show(format, _gateway(gateway_address, format, ask))


@stake_app.command("unlock")
def stake_unlock(
    amount: AmountArgument,
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    account: AccountOption = None,
    task: TaskOption = None,
) -> None:
    """Ask for $LL back; it stops counting at once and may be withdrawn when the present round is over."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> dict[str, Any]:
        who = await _account(stub, account)
        request = gateway.UnlockStakeRequest(
            request_id=_request_id(), account=who, task=_task(task), units=units(amount)
        )
        done = await stub.UnlockStake(request)
        return _stake_row(who, done.stake, done.receipt)

    show(format, _gateway(gateway_address, format, ask))


@stake_app.command("withdraw")
def stake_withdraw(
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    account: AccountOption = None,
    task: TaskOption = None,
) -> None:
    """Take unlocked $LL home."""

    async def ask(stub: gateway_grpc.ChainGatewayServiceStub) -> dict[str, Any]:
        who = await _account(stub, account)
        request = gateway.WithdrawStakeRequest(request_id=_request_id(), account=who, task=_task(task))
        done = await stub.WithdrawStake(request)
        return _stake_row(who, done.stake, done.receipt)

    show(format, _gateway(gateway_address, format, ask))


def _request_id() -> str:
    return "cli-" + secrets.token_hex(12)


# --- training and inference --------------------------------------------------------------------------------------------------


@app.command()
def train(
    format: FormatOption = Format.TEXT,
    trainer_address: TrainerOption = None,
    encoding: Annotated[str, typer.Option(help="two-bits or int8")] = "two-bits",
    steps: Annotated[int, typer.Option(min=0, help="local optimiser steps; 0: the trainer's own setting")] = 0,
) -> None:
    """Train one round on a trainer's private data and submit the update."""

    async def work() -> dict[str, Any]:
        try:
            wanted = {"two-bits": model.ENCODING_TWO_BITS, "int8": model.ENCODING_INT8}[encoding]
        except KeyError:
            raise InvalidInput(f"'{encoding}' is not an encoding: two-bits or int8") from None
        quantised = None
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), console=console(format), transient=True
        ) as bar:
            line = bar.add_task("pulling the newest weights", total=None)
            async with channel(_named(trainer_address, "trainers")) as wire:
                stub = trainer_grpc.TrainerServiceStub(wire)
                request = trainer.TrainRoundRequest(request_id=_request_id(), encoding=wanted, step_count=steps)
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
        Path, typer.Argument(help=".npy of (B, inputs) numbers, or .csv with one row an input; - reads csv")
    ],
    key_file: Annotated[
        Path | None, typer.Option(help="key of an address with $LL locked; left out: ask without a session")
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help="password of an encrypted key file")] = None,
    model_name: Annotated[str, typer.Option("--model")] = "digits",
    format: FormatOption = Format.TEXT,
    server: ServerOption = None,
) -> None:
    """Ask the model server; each answer names the weights that gave it."""

    async def work() -> list[dict[str, Any]]:
        values = _inputs(inputs)
        caller = key_from(key_file, password_file) if key_file else None
        async with InferenceClient(_named(server, "model_server"), caller) as client:
            answer = await client.infer(model_name, values)
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


def _inputs(path: Path) -> NDArray[np.float32]:
    """(B, n) float32 from .npy or csv. Raises InvalidInput with what is wrong."""
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            values = np.loadtxt(sys.stdin if str(path) == "-" else path, delimiter=",", ndmin=2)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is not a table of numbers: {error}") from error
    if values.ndim == 1:
        values = values[None, :]
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise InvalidInput(f"{path} holds {values.dtype} of shape {values.shape}; rows of numbers are needed")
    return np.asarray(values, dtype=np.float32)


# --- verifying ---------------------------------------------------------------------------------------------------------------


@app.command()
def verify(
    format: FormatOption = Format.TEXT,
    rpc: Annotated[str | None, typer.Option("--rpc", help="JSON-RPC URL of a chain", envvar="LINKLEARNER_RPC")] = None,
    pool: Annotated[str | None, typer.Option(help="address of the TrainingPool")] = None,
    from_block: Annotated[int | None, typer.Option(min=0, help="block of the pool's deployment")] = None,
    task: TaskOption = None,
) -> None:
    """Replay the chain's history in Python: every verdict, weight, digest and payment, byte for byte."""
    show(format, _run(verified(_history_of(rpc, pool, from_block, task, format), format), format))


def _history_of(
    rpc: str | None, pool: str | None, from_block: int | None, task: int | None, format: Format
) -> HistoryOf:
    with told(format):
        if rpc and pool:
            return HistoryOf(rpc_url=rpc, pool=_address(pool), from_block=from_block or 0, task=task or 1)
        suite = Suite.read(home())
        return HistoryOf(
            rpc_url=rpc or suite.rpc_url,
            pool=_address(pool or suite.pool),
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


@app.command()
def up(
    contributors: Annotated[int, typer.Option(min=1, max=64)] = 5,
    rpc: Annotated[
        str | None, typer.Option("--rpc", help="a chain that is already there; left out: the embedded one")
    ] = None,
    key_file: Annotated[Path | None, typer.Option(help="a funded key on that chain; pays for everybody")] = None,
) -> None:
    """Start everything here, in one process, and leave it running until Ctrl-C."""
    with told(Format.TEXT):
        arguments = [
            sys.executable,
            "-m",
            "services",
            "--home",
            str(home().absolute()),
            "--contributors",
            str(contributors),
        ]
        if rpc:
            if key_file is None:
                raise InvalidConfig("a chain that is already there needs a funded key: name its file with --key-file")
            arguments += ["--rpc", rpc, "--key-file", str(key_file.absolute())]
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
    rpc: Annotated[
        str | None, typer.Option("--rpc", help="a chain that is already there; left out: the embedded one")
    ] = None,
    key_file: Annotated[Path | None, typer.Option(help="a funded key on that chain; pays for everybody")] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100)] = 5,
    encoding: Annotated[str, typer.Option(help="two-bits or int8")] = "two-bits",
    seed: Annotated[int, typer.Option(help="who gets which samples, and the first weights")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="leave it running and print the addresses")] = False,
    format: FormatOption = Format.TEXT,
) -> None:
    """Five people train one model on a chain, one cheats, and the result answers behind a token."""
    with told(format):
        if rpc and key_file is None:
            raise InvalidConfig("a chain that is already there needs a funded key: name its file with --key-file")
        if encoding not in ("two-bits", "int8"):
            raise InvalidInput(f"'{encoding}' is not an encoding: two-bits or int8")
        root = checkout()
    plan = demonstration.Plan(
        root=root,
        rpc_url=rpc,
        key_file=key_file.absolute() if key_file else None,
        rounds=rounds,
        encoding=model.ENCODING_INT8 if encoding == "int8" else model.ENCODING_TWO_BITS,
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
    target: Annotated[str, typer.Argument(help="host:port")],
    timeout: Annotated[float, typer.Option(help="seconds")] = 2.0,
) -> None:
    """Exit status 0 if a gRPC server there is ready; for container health checks."""

    async def work() -> bool:
        async with grpc.aio.insecure_channel(target) as wire:
            answer = await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    started = time.monotonic()
    if not _run(work(), Format.TEXT):
        typer.echo(f"{target} is up but not ready (asked for {time.monotonic() - started:.1f} s)", err=True)
        raise typer.Exit(1)
