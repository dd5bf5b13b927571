"""`linklearner status`: what trainers do and wait for, on a screen as narrow as a telephone's and for programs."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from linklearner.cli import app, status
from linklearner.domain.errors import InvalidInput
from linklearner.domain.training import Activity, TaskActivity, TrainerStatus
from linklearner.rpc import convert
from linklearner.rpc.server import RpcServer
from linklearner.testing.gateway import FakeGateway
from linklearner.v1.trainer_pb2_grpc import TrainerServiceServicer, add_TrainerServiceServicer_to_server
from services.trainer.config import TrainerConfig
from services.trainer.trainer import Trainer

NOBODY = "127.0.0.1:1"
ACCOUNT = b"\x01" * 20
NOW = 1_800_000_000
TRAINS = TaskActivity(1, Activity.TRAINING, NOW - 3, round=7, step=40, step_count=100, cpu_seconds=0.25)
WAITS = TaskActivity(
    2, Activity.WAITING, NOW - 600, "OthersBusy", "others use 57 % of the processor, and this trainer works while it is at most 25",
    NOW + 4, 9, 12, 100,
)  # fmt: skip


@pytest.fixture(autouse=True)
def quiet(home: Path) -> None:
    """The servers of this process write into no command's output."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@asynccontextmanager
async def trainer(*tasks: TaskActivity) -> AsyncIterator[str]:
    """One that says this of itself."""

    class Says(TrainerServiceServicer):
        async def GetTrainer(self, request: Any, context: Any) -> Any:  # noqa: N802
            return convert.trainer_message(TrainerStatus(ACCOUNT, 1, 300, 359, (30,) * 10, False, tasks))

    def add(server: Any) -> None:
        add_TrainerServiceServicer_to_server(Says(), server)

    async with RpcServer("127.0.0.1:0", add, ("linklearner.v1.TrainerService",)) as server:
        yield server.address


async def said(*arguments: str, columns: int = 44) -> tuple[int, str]:
    """Exit status and everything printed, on a terminal of so many columns."""
    runner = CliRunner(env={"COLUMNS": str(columns), "FORCE_COLOR": "1", "TERM": "xterm"})
    done = await asyncio.to_thread(runner.invoke, app, ["status", *arguments])
    return done.exit_code, done.output


async def test_each_task_says_what_is_done_for_it_and_why_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status.time, "time", lambda: NOW)
    async with FakeGateway(seed=1).served() as gateway, trainer(TRAINS, WAITS) as where:
        code, output = await said("--trainer", where, "--format", "json")
        assert code == 0
        (found,) = json.loads(output)["trainers"]
        assert (found["address"], found["samples"], found["held_out"], found["busy"]) == (where, 300, 359, False)
        assert found["tasks"][0] == {
            "task": 1, "activity": "training", "reason": None, "detail": None, "since_s": NOW - 3, "again_s": None, "round": 7,
            "step": 40, "step_count": 100, "cpu_seconds": 0.25, "earned": None,
        }  # fmt: skip
        assert (found["tasks"][1]["reason"], found["tasks"][1]["again_s"]) == ("OthersBusy", NOW + 4)
        code, output = await said("--trainer", where, "--gateway", gateway, "--format", "json")
        document = json.loads(output)
        assert code == 0 and document["gateway"]["chain_id"] == 11820
        assert document["trainers"][0]["tasks"][0]["earned"] is None  # this chain has no task 2


async def test_it_fits_a_narrow_screen_and_says_it_in_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status.time, "time", lambda: NOW)
    async with trainer(TRAINS, WAITS) as where:
        code, output = await said("--trainer", where)
    assert code == 0
    plain = "".join(part.partition("m")[2] if at else part for at, part in enumerate(output.split("\x1b[")))
    assert max(map(len, plain.splitlines())) <= 44
    told = " ".join(plain.split())
    assert "task 1: trains, step 40 of 100, round 7, for 3 s" in told
    assert "task 2: waits (OthersBusy), step 12 of 100, round 9, for 10 min" in told
    assert "others use 57 % of the processor, and this trainer works while it is at most 25; looks again in 4 s" in told
    assert "last training 0.25 CPU-s" in told


async def test_who_does_not_answer_is_named_and_the_others_are_shown(home: Path) -> None:
    async with trainer(TRAINS) as where, FakeGateway(seed=1).served() as gateway:
        code, output = await said("--trainer", NOBODY, "--trainer", where, "--gateway", gateway, "--format", "json")
        assert code == 1
        nobody, one = json.loads(output)["trainers"]
        assert nobody["error"] == "UNAVAILABLE" and "error" not in one
        code, output = await said("--trainer", where, "--gateway", NOBODY)
        assert code == 1 and "nobody answers" in output and "trains" in output
        code, output = await said("--trainer", gateway, columns=160)
        assert code == 1 and "is a chain gateway, not a trainer" in " ".join(output.split())
    code, output = await said()
    assert code == 2 and "linklearner up" in output


async def test_what_a_trainer_says_is_neither_markup_nor_a_command_to_the_terminal() -> None:
    evil = replace(WAITS, reason="[red]Busy", detail="\x1b]0;owned\x07[bold]see[/bold] \x9b2J http://x")
    async with trainer(evil) as where:
        code, output = await said("--trainer", where, columns=120)
    assert code == 0 and "[bold]see[/bold]" in output and "([red]Busy)" in output
    assert "\x1b]0" not in output and "\x07" not in output and "\x9b" not in output


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("activity", 0),
        ("activity", 9),
        ("task", 0),
        ("step", 101),
        ("cpu_seconds", -1.0),
        ("cpu_seconds", float("nan")),
        ("cpu_seconds", float("inf")),
        ("since_s", 2**64 - 1),
        ("detail", "x" * 5000),
    ],
)
def test_an_activity_that_makes_no_sense_is_refused(field: str, value: Any) -> None:
    message = convert.activity_message(TRAINS)
    setattr(message, field, value)
    with pytest.raises(InvalidInput):
        convert.activity_of(message)


async def test_a_real_trainer_and_its_gateway(tmp_path: Path, home: Path) -> None:
    chain = FakeGateway(seed=1)
    chain.auto_settle = False
    access = home / "access"
    async with chain.served() as gateway:
        config = TrainerConfig(
            listen="127.0.0.1:0", gateway=gateway, credential="", access=access, shard="0/5", rounds=-1, state_dir=tmp_path / "state"
        )  # fmt: skip
        async with Trainer.start(config) as one:
            await one.ready()
            async with asyncio.timeout(60):
                while not chain.rounds[-1].contributions:
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.2)
            code, output = await said("--trainer", one.address, "--gateway", gateway, "--format", "json")
    document = json.loads(output)
    assert code == 0, document
    (task,) = document["trainers"][0]["tasks"]
    assert (task["activity"], task["reason"], task["round"], task["earned"]) == ("waiting", "NextRound", 1, "0")
    assert task["cpu_seconds"] > 0 and document["gateway"]["head_block"] >= 1
