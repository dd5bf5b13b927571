"""`linklearner watch`: what happens to a task is told once, in order, and watching ends when its user wants."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from linklearner.client.gateway import GatewayClient
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.encodings import INT8
from linklearner.domain.errors import NotFound, Unavailable
from linklearner.domain.model import ModelVersion
from linklearner.domain.rounds import Due, Phase, Step
from linklearner.domain.tasks import Task
from linklearner.domain.training import Activity, Evaluation, TaskActivity
from linklearner.domain.update import Update
from linklearner.rpc.server import RpcServer
from linklearner.testing.gateway import FakeGateway
from linklearner.v1 import trainer_pb2_grpc as pb_grpc
from linklearner.watching import watcher as watching
from linklearner.watching.screen import frame, sparkline, stake_bar, when
from linklearner.watching.watched import Happened, Scored, Watched
from linklearner.watching.watcher import Watcher
from tests.client.test_trainer_client import STATUS, FakeTrainer

ACCOUNTS = tuple(bytes([n]) * 20 for n in range(1, 5))


def update_of(fake: FakeGateway, seed: int) -> bytes:
    """A dense one on the newest version."""
    generator = np.random.default_rng(seed)
    pages = tuple(
        (page, generator.integers(1, 9, SHAPE.page_weights(page)).astype(np.int8)) for page in range(SHAPE.page_count)
    )
    version = fake.tasks[1].described().version
    return Update(1, version, INT8, (0,) * len(SHAPE.tensors), pages).encode(SHAPE)


class Story:
    """What a watcher told so far; `until` waits for an event of that name that is new."""

    def __init__(self) -> None:
        self.told: list[Happened] = []
        self._new = asyncio.Event()

    def show(self, happened: object) -> None:
        assert isinstance(happened, list)
        self.told += happened
        self._new.set()

    async def until(self, event: str, count: int = 1) -> list[Happened]:
        async with asyncio.timeout(30):
            while sum(one.event == event for one in self.told) < count:
                await self._new.wait()
                self._new.clear()
        return [one for one in self.told if one.event == event]

    @property
    def names(self) -> list[str]:
        return [one.event for one in self.told]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 0.05)
    monkeypatch.setattr(watching, "TRAINERS_S", 0.05)
    monkeypatch.setattr(watching, "LONGEST_PAUSE_S", 0.2)


@asynccontextmanager
async def watched(address: str, story: Story, trainers: tuple[str, ...] = (), task: int = 1) -> AsyncIterator[Watcher]:
    async with GatewayClient.connect(address) as gateway:
        watcher = Watcher(gateway, task, [(one, None) for one in trainers], story.show)
        running = asyncio.create_task(watcher.run())
        try:
            await story.until("watching")
            yield watcher
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def fake() -> FakeGateway:
    return FakeGateway(seed=1, accounts=4)


async def test_a_round_is_told_from_its_first_contribution_to_the_next_round(fake: FakeGateway) -> None:
    story = Story()
    async with fake.served() as address, watched(address, story) as watcher:
        for n, account in enumerate(ACCOUNTS):
            fake.tasks[1].submit(account, update_of(fake, n))
        await story.until("contribution", 4)
        assert watcher.watched.open is not None and len(watcher.watched.open.contributions) == 4
        async with asyncio.timeout(30):
            while watcher.watched.quorum_share < 1.0:
                await asyncio.sleep(0.02)
        fake.tasks[1].settle(ACCOUNTS[2])
        await story.until("opened")
        (settled,) = await story.until("settled")
        assert settled.facts["version"] == 2 and settled.facts["updates"] == 4
        assert "0x0303" in settled.text
        assert story.names == ["watching", *["contribution"] * 4, "settled", "opened"]
        async with asyncio.timeout(30):
            while watcher.watched.open.round < 2:
                await asyncio.sleep(0.02)
        assert not watcher.watched.open.contributions


async def test_contributions_of_a_round_that_ended_between_two_looks_are_told_too(
    fake: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 60.0)  # only a version wakes it
    story = Story()
    async with fake.served() as address, watched(address, story):
        for n, account in enumerate(ACCOUNTS):
            fake.tasks[1].submit(account, update_of(fake, n))
        fake.tasks[1].settle()
        await story.until("opened")
        assert story.names == ["watching", *["contribution"] * 4, "settled", "opened"]


async def test_a_dropped_round_and_a_closed_task_are_told_and_end_it(fake: FakeGateway) -> None:
    story = Story()
    async with fake.served() as address, GatewayClient.connect(address) as gateway:
        running = asyncio.create_task(Watcher(gateway, 1, [], story.show).run())
        await story.until("watching")
        fake.tasks[1].submit(ACCOUNTS[0], update_of(fake, 1))
        await story.until("contribution")
        fake.tasks[1].drop()
        await story.until("dropped")
        await story.until("opened")
        fake.tasks[1].close(fake.tasks[1].creator)
        async with asyncio.timeout(30):
            await running
    assert story.names[-1] == "closed" and story.names.count("dropped") == 1


async def test_a_gateway_that_goes_away_is_told_once_and_found_again(fake: FakeGateway) -> None:
    story = Story()
    async with fake.served() as address, watched(address, story) as watcher:
        fake.failure = None
        real = watcher._gateway.task
        tries = 0

        async def failing(task: int) -> Task:
            nonlocal tries
            tries += 1
            raise Unavailable("the node is away")

        watcher._gateway.task = failing  # type: ignore[method-assign, assignment]
        await story.until("unreachable")
        while tries < 3:
            await asyncio.sleep(0.05)
        watcher._gateway.task = real  # type: ignore[method-assign]
        await story.until("reached")
        assert story.names.count("unreachable") == 1 and not watcher.watched.trouble


async def test_a_task_that_is_not_there_is_said_at_once(fake: FakeGateway) -> None:
    async with fake.served() as address, GatewayClient.connect(address) as gateway:
        with pytest.raises(NotFound):
            await Watcher(gateway, 7, [], Story().show).run()
    async with GatewayClient.connect("127.0.0.1:1") as gateway:
        with pytest.raises(Unavailable):
            await Watcher(gateway, 1, [], Story().show).run()


async def test_trainers_are_looked_at_and_one_measures_each_version(fake: FakeGateway) -> None:
    story, trainer = Story(), FakeTrainer()
    async with (
        RpcServer(
            "127.0.0.1:0", lambda server: pb_grpc.add_TrainerServiceServicer_to_server(trainer, server), ()
        ) as server,
        fake.served() as address,
        watched(address, story, ("127.0.0.1:1", server.address)) as watcher,
    ):
        (measured,) = await story.until("measured")
        assert measured.facts["value"] == 0.75
        assert watcher.watched.trainers["127.0.0.1:1"] is None
        trainer.lies["GetTrainer"] = lambda answer: type(answer)(
            account=answer.account, task=answer.task, sample_count=80, busy=True
        )
        (busy,) = await story.until("trainer")
        assert busy.text.endswith("trains")
        for n, account in enumerate(ACCOUNTS):
            fake.tasks[1].submit(account, update_of(fake, n))
        fake.tasks[1].settle()
        await story.until("measured", 2)


def test_what_a_trainer_waits_for_is_told_when_it_changes() -> None:
    state = seen()
    waiting = replace(STATUS, tasks=(TaskActivity(1, Activity.WAITING, 5, "OnBattery", "for mains power"),))
    for status in (waiting, waiting, replace(STATUS, tasks=(TaskActivity(1, Activity.TRAINING, 6),)), None, waiting):
        told = [one.text for one in state.saw_trainer("127.0.0.1:9", status, 5.0)]
        assert told in (
            ["trainer 127.0.0.1:9 waits: for mains power"], [], ["trainer 127.0.0.1:9 trains"],
            ["trainer 127.0.0.1:9 does not answer any more"], ["trainer 127.0.0.1:9 answers again: waits: for mains power"],
        )  # fmt: skip
    assert [one.event for one in state.events].count("trainer") == 4
    assert "for mains power" in drawn(state, 120)


def seen(**changes: object) -> Watched:
    """A task with everything to show."""
    fake = FakeGateway(seed=1, accounts=4)
    told = fake.tasks[1].described()
    state = Watched()
    list(state.saw_task(replace(told, **changes), 1.0))  # type: ignore[arg-type]
    list(state.saw_round(fake.tasks[1].round(1), 1.0))
    list(state.saw_trainer("127.0.0.1:9", STATUS, 1.0))
    list(state.saw_trainer("127.0.0.1:8", None, 1.0))
    for n in range(50):
        list(state.saw_score(Evaluation(ModelVersion(1, n + 1, b"\7" * 32, n, 1), 20, "accuracy", n / 50, 0.5), 2.0))
    return state


def drawn(state: Watched, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")
    console.print(frame(state, 100.0, width))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_round_of_this_second_was_opened_now() -> None:
    status = FakeGateway(seed=1, accounts=4).tasks[1].described().round
    assert "opened now" in drawn(seen(round=replace(status, opened_s=100)), 200)  # it is drawn at 100
    assert "now ago" not in drawn(seen(round=replace(status, opened_s=100)), 200)
    assert "opened 7 s ago" in drawn(seen(round=replace(status, opened_s=93)), 200)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_frame_says_all_of_it_at_any_width(width: int) -> None:
    said = drawn(seen(), width)
    assert "digits" in said and "Round 1" in said and "does not" in said and "█" in said
    assert "asking" in drawn(Watched(), width)


def test_what_others_wrote_moves_no_cursor() -> None:
    hostile = "\x1b[2J\x1b]0;gone\x07[red]x[/red]\r\n\u202e"
    model = replace(DIGITS, name=hostile)
    state = seen(model=model.to_json())
    state.trouble = hostile
    list(state.saw_score(replace(Evaluation(ModelVersion(1, 60, b"\7" * 32, 1, 1), 20, hostile, 0.5, 0.5)), 3.0))
    said = drawn(state, 120)
    assert "\x1b[2J" not in said and "\x1b]0" not in said and "\u202e" not in said and "\r" not in said
    assert "[red]x" in said


def test_a_line_of_scores_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([Scored(n, "accuracy", n / 7, 1.0) for n in range(8)]) == "▁▂▃▄▅▆▇█"
    assert len(set(sparkline([Scored(1, "accuracy", 0.5, 1.0)] * 3))) == 1
    assert sparkline([Scored(1, "R²", float("-inf"), 1.0)]) != ""


def test_the_bar_of_stake_has_its_mark_at_the_quorum() -> None:
    assert stake_bar(0.5, 0.75).plain.strip().index("┃") == 30
    assert stake_bar(5.0, 1.0).plain.count("█") == 39


def test_what_a_round_waits_for_is_said() -> None:
    task = FakeGateway(seed=1, accounts=4).tasks[1].described()
    collecting = replace(task.round, phase=Phase.COLLECTING, due=(Due(Step.SETTLED, 130), Due(Step.DROPPED, 500)))
    assert when(replace(task, round=collecting), 100.0) == "can be settled in 30 s, dropped in 7 min"
    assert when(replace(task, round=replace(task.round, phase=Phase.OPEN)), 100.0) == "waits for the first update"


@pytest.mark.parametrize(("number", "format"), [(signal.SIGINT, "text"), (signal.SIGTERM, "json")])
async def test_without_a_terminal_it_is_a_line_an_event_until_a_signal(
    fake: FakeGateway, tmp_path: Path, number: signal.Signals, format: str
) -> None:
    async with fake.served() as address:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from linklearner.cli import app; app()", "watch", "--gateway", address, "--task", "1", "--format",
            format,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "LINKLEARNER_HOME": str(tmp_path)},
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(60):
            first = (await process.stdout.readline()).decode()
            fake.tasks[1].submit(ACCOUNTS[0], update_of(fake, 1))
            second = (await process.stdout.readline()).decode()
            process.send_signal(number)
            out, errors = await process.communicate()
    assert (process.returncode, out, errors) == (0, b"", b"")
    if format == "json":
        assert json.loads(first)["event"] == "watching" and json.loads(second)["event"] == "contribution"
    else:
        assert "version 1" in first and "contributed" in second and "\x1b" not in first + second
