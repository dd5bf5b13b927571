"""`status`: what each trainer does and what it waits for, the gateway and the chain beside it; narrow enough for a telephone."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import grpc
import typer
from rich.padding import Padding
from rich.text import Text

from linklearner.cli.arguments import host_port
from linklearner.cli.calls import CredentialOption, FormatOption, GatewayOption, credential_for
from linklearner.cli.far_side import wrong_service
from linklearner.client.gateway import GatewayClient
from linklearner.client.trainer import TrainerClient
from linklearner.domain.errors import InvalidConfig, LinkLearnerError
from linklearner.domain.rules.evidence.verdicts import record_text
from linklearner.domain.tasks import ChainStatus
from linklearner.domain.training import Activity, TaskActivity, TrainerStatus
from linklearner.output import Format, address, console, ll, passed, printable, reporting, until, write_json
from linklearner.process import FAILED
from linklearner.suite import Suite, home

ASK_S = 5.0
"""Seconds in which a service answers, or is said not to."""
WRITTEN = {
    Activity.IDLE: "idle",
    Activity.WAITING: "waits",
    Activity.TRAINING: "trains",
    Activity.SUBMITTING: "submits",
}

TrainersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trainer",
        parser=host_port("--trainer"),
        help="host:port of a trainer, as often as there are some; those of the suite here if left out",
        envvar="LINKLEARNER_TRAINER",
    ),
]


@dataclass(frozen=True)
class Found:
    """What became of asking one service."""

    address: str
    trainer: TrainerStatus | None = None
    chain: ChainStatus | None = None
    earned: dict[int, int] | None = None
    """By a trainer's account in each of its tasks, wei; None where the gateway could not say."""
    judged: dict[int, tuple[int, str]] | None = None
    """By rule evidence: the account's record in a task, Q16, and what became of its update in the last round that is settled."""
    error: LinkLearnerError | None = None


def status(
    format: FormatOption = Format.TEXT,
    trainer_addresses: TrainersOption = None,
    gateway_address: GatewayOption = None,
    credential: CredentialOption = None,
) -> None:
    """What every trainer does for each of its tasks, why it waits and when it looks again; gateway and chain beside it.

    Exit status 0 if all of them answer, whatever they wait for; 1 if one does not, after what the others say.
    """

    async def ask_gateway(where: str) -> Found:
        async def ask() -> Found:
            async with (
                wrong_service(where, "a chain gateway"),
                GatewayClient.connect(where, credential_for(where, credential)) as one,
            ):
                return Found(where, chain=await one.chain(timeout_s=ASK_S))

        return await _answered(where, ask)

    async def ask_trainer(where: str, gateway: str | None) -> Found:
        async def ask() -> Found:
            async with (
                wrong_service(where, "a trainer"),
                TrainerClient.connect(where, credential_for(where, credential)) as one,
            ):
                found = await one.status(timeout_s=ASK_S)
            told = None if gateway is None else await earned(found, gateway)
            return Found(where, found, earned=told and told[0], judged=told and told[1])

        return await _answered(where, ask)

    async def earned(found: TrainerStatus, gateway: str) -> tuple[dict[int, int], dict[int, tuple[int, str]]] | None:
        """A gateway that cannot say is complained of once, in its own line."""
        try:
            async with (
                asyncio.timeout(ASK_S),
                GatewayClient.connect(gateway, credential_for(gateway, credential)) as one,
            ):
                told = {task.task: await one.earnings(found.account, task.task) for task in found.tasks}
                judged = {
                    number: (earnings.record, await last_verdict(one, number, found.account))
                    for number, earnings in told.items()
                    if earnings.record is not None
                }
                return {number: earnings.earned for number, earnings in told.items()}, judged
        except (LinkLearnerError, TimeoutError):
            return None

    async def ask_all(trainers: list[str], gateway: str | None) -> tuple[Found | None, list[Found]]:
        asked = [ask_trainer(where, gateway) for where in trainers]
        if gateway is None:
            return None, list(await asyncio.gather(*asked))
        first, *rest = await asyncio.gather(ask_gateway(gateway), *asked)
        return first, list(rest)

    with reporting(format):
        trainers, gateway = _where(trainer_addresses, gateway_address)
        about_gateway, about_trainers = asyncio.run(ask_all(trainers, gateway))
    now_s = time.time()
    if format is Format.JSON:
        write_json(_document(about_gateway, about_trainers), indent=2)
    else:
        _write(about_gateway, about_trainers, now_s)
    every = [*about_trainers, *([about_gateway] if about_gateway else [])]
    if any(one.error is not None for one in every):
        raise typer.Exit(FAILED)


async def last_verdict(gateway: GatewayClient, task: int, account: bytes) -> str:
    """What became of the account's update in the last round that is over, and what it was paid; "" where it had none."""
    over = (await gateway.task(task)).round.round - 1
    if over < 1:
        return ""
    found = await gateway.round(task, over)
    for one in found.contributions:
        if one.contributor == account and found.dropped:
            return f"round {over}: dropped, nobody was paid"
        if one.contributor == account and one.verdict is not None and found.examples is not None:
            return f"round {over}: {one.verdict.text(found.examples.examples)}; paid {ll(one.paid or 0)} $LL"
    return ""


def _where(trainers: list[str] | None, gateway: str | None) -> tuple[list[str], str | None]:
    """Addresses of trainers and gateway: those that were named; the rest from the suite that runs here, if nothing else was named.

    Raises InvalidConfig if nothing was named and no suite runs here.
    """
    if trainers:
        return trainers, gateway
    if gateway is not None:
        return [], gateway
    suite = Suite.read(home())
    return list(suite.trainers), suite.gateway


async def _answered(where: str, ask: Callable[[], Awaitable[Found]]) -> Found:
    try:
        return await ask()
    except InvalidConfig:  # a credential that cannot be read: the caller's
        raise
    except LinkLearnerError as error:
        return Found(where, error=error)


def _document(gateway: Found | None, trainers: list[Found]) -> dict[str, Any]:
    document: dict[str, Any] = {"trainers": [_trainer(one) for one in trainers]}
    if gateway is not None:
        chain = gateway.chain
        document["gateway"] = {"address": gateway.address, **_error(gateway)} | (
            {}
            if chain is None
            else {
                "chain_id": chain.chain_id,
                "head_block": chain.head_block,
                "head_time_s": chain.head_time_s,
                "pool": address(chain.pool),
            }
        )
    return document


def _trainer(one: Found) -> dict[str, Any]:
    if one.trainer is None:
        return {"address": one.address, **_error(one)}
    return {
        "address": one.address,
        **_error(one),
        "account": address(one.trainer.account),
        "samples": one.trainer.samples,
        "held_out": one.trainer.held_out,
        "busy": one.trainer.busy,
        "tasks": [_task(task, one.earned, one.judged) for task in one.trainer.tasks],
    }


def _task(
    one: TaskActivity, earned: dict[int, int] | None, judged: dict[int, tuple[int, str]] | None
) -> dict[str, Any]:
    return {
        "task": one.task,
        "activity": one.activity.value,
        "reason": one.reason or None,
        "detail": one.detail or None,
        "since_s": one.since_s,
        "again_s": one.again_s or None,
        "round": one.round or None,
        "step": one.step,
        "step_count": one.step_count,
        "cpu_seconds": one.cpu_seconds or None,
        "earned": None if earned is None else ll(earned[one.task]),
        **(dict(zip(("record", "verdict"), judged[one.task], strict=True)) if judged and one.task in judged else {}),
    }


def _error(one: Found) -> dict[str, Any]:
    return {} if one.error is None else {"error": one.error.reason, "message": one.error.message}


def _write(gateway: Found | None, trainers: list[Found], now_s: float) -> None:
    """Each fact in a line of its own, folded where the terminal ends; nothing that a service says is taken for markup or a command."""
    screen = console(Format.TEXT)
    if gateway is not None:
        screen.print(Text.assemble("gateway ", (gateway.address, "bold")))
        if gateway.chain is not None:
            age = passed(now_s - gateway.chain.head_time_s)
            screen.print(
                Padding(
                    Text(f"chain {gateway.chain.chain_id}, block {gateway.chain.head_block:,}, {age}"), (0, 0, 0, 2)
                )
            )
        else:
            screen.print(Padding(_complaint(gateway), (0, 0, 0, 2), expand=False))
    for one in trainers:
        screen.print(Text.assemble("trainer ", (one.address, "bold")))
        if one.trainer is None:
            screen.print(Padding(_complaint(one), (0, 0, 0, 2), expand=False))
            continue
        screen.print(Padding(Text(address(one.trainer.account), "dim"), (0, 0, 0, 2), expand=False))
        for task in one.trainer.tasks:
            screen.print(Padding(Text(f"task {task.task}: {_sentence(task, now_s)}"), (0, 0, 0, 2), expand=False))
            if task.activity is Activity.WAITING:
                again = f"; looks again {until(task.again_s - now_s)}" if task.again_s > now_s else ""
                screen.print(Padding(Text(printable(task.detail) + again), (0, 0, 0, 4), expand=False))
            facts = []
            if one.earned is not None:
                facts.append(f"earned {ll(one.earned[task.task])} $LL")
            record, verdict = (one.judged or {}).get(task.task, (None, ""))
            if record is not None:
                facts.append(f"record {record_text(record)}")
            if task.cpu_seconds:
                facts.append(f"last training {task.cpu_seconds:.2f} CPU-s")
            if facts:
                screen.print(Padding(Text(", ".join(facts), "dim"), (0, 0, 0, 4), expand=False))
            if verdict:
                screen.print(Padding(Text(printable(verdict), "dim"), (0, 0, 0, 4), expand=False))


def _sentence(task: TaskActivity, now_s: float) -> str:
    """`trains, step 40 of 100, round 7, for 3 s`."""
    parts = [WRITTEN[task.activity] + (f" ({printable(task.reason)})" if task.reason else "")]
    if task.step_count:
        parts.append(f"step {task.step:,} of {task.step_count:,}")
    if task.round:
        parts.append(f"round {task.round:,}")
    spent = until(now_s - task.since_s)
    parts.append("since now" if spent == "now" else "for " + spent.removeprefix("in "))
    return ", ".join(parts)


def _complaint(one: Found) -> Text:
    assert one.error is not None
    message = one.error.message
    if one.error.reason == grpc.StatusCode.UNAVAILABLE.name:  # gRPC's own words: nobody listens there
        message = "nobody answers"
    return Text(f"{printable(one.error.reason)}: {printable(message)}", "red")
