"""Asks a gateway and trainers, and hands on what is new."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing

from linklearner.client.gateway import GatewayClient
from linklearner.client.trainer import TrainerClient
from linklearner.domain.errors import Exhausted, LinkLearnerError, TimedOut, Unavailable
from linklearner.domain.tasks import Task
from linklearner.rpc.access import Credential
from linklearner.watching.watched import Happened, Watched

LOOK_S = 2.0
"""Between two looks at the open round; a new version wakes at once."""
TRAINERS_S = 5.0
"""Between two looks at the trainers."""
ANSWER_S = 5.0
"""In which a trainer says how it is."""
LONGEST_PAUSE_S = 15.0
"""Between two tries at a gateway that does not answer; the first is LOOK_S, each is twice the last."""
ROUNDS_ASKED = 20
"""Rounds that are over, at most, that one look asks for."""
PASSING = (Unavailable, TimedOut, Exhausted)
"""Errors that may pass: watching goes on. Every other one ends it."""

Show = Callable[[Sequence[Happened]], None]
"""Called with what is new, which may be nothing."""


class Watcher:
    """Runs until it is cancelled, the task is closed, or something is wrong that waiting does not mend."""

    def __init__(
        self, gateway: GatewayClient, task: int, trainers: Sequence[tuple[str, Credential | None]], show: Show
    ):
        self._gateway = gateway
        self._task = task
        self._trainers = trainers
        self._show = show
        self._wake = asyncio.Event()
        self._measure = asyncio.Event()
        self.watched = Watched()

    async def run(self) -> None:
        """Raises NotFound, InvalidModel, PermissionDenied …; Unavailable only if the gateway has never answered."""
        self._saw(self.watched.saw_task(await self._gateway.task(self._task), time.time()))
        await self._look_at_round()
        others = [asyncio.create_task(self._follow_versions())]
        if self._trainers:
            others.append(asyncio.create_task(self._follow_trainers()))
        looking = asyncio.create_task(self._follow_rounds())
        try:
            done, _ = await asyncio.wait((looking, *others), return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in (looking, *others):
                one.cancel()
            await asyncio.gather(looking, *others, return_exceptions=True)

    async def _follow_rounds(self) -> None:
        pause = LOOK_S
        while self.watched.task is not None and not self.watched.task.closed:
            await self._pause(pause)
            try:
                await self._look()
            except PASSING as error:
                self._saw(self.watched.saw_trouble(error.message, time.time()))
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                pause = LOOK_S

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _look(self) -> None:
        before = self.watched.task
        task = await self._gateway.task(self._task)
        assert before is not None
        over = range(before.round.round, task.round.round if not task.closed else before.round.round + 1)
        over = range(max(over.start, 1), over.stop)
        if len(over) > ROUNDS_ASKED:
            self._saw(self.watched.saw_skipped(over.start, over.stop - ROUNDS_ASKED - 1, time.time()))
            over = over[-ROUNDS_ASKED:]
        for number in over:  # how they ended is told before what follows them
            self._saw(self.watched.saw_round(await self._gateway.round(self._task, number), time.time()))
        new_round = bool(over)
        self._saw(self.watched.saw_task(task, time.time()))
        if task.version > before.version:
            self._measure.set()
        shown = len(self.watched.open.contributions) if self.watched.open is not None else -1
        if new_round or task.round.accepted != shown:
            await self._look_at_round()

    async def _look_at_round(self) -> None:
        task: Task | None = self.watched.task
        if task is not None and task.round.round and not task.closed:
            self._saw(self.watched.saw_round(await self._gateway.round(self._task), time.time()))

    async def _follow_versions(self) -> None:
        """Wakes the look at the rounds with each version; a stream that breaks is opened again."""
        pause = LOOK_S
        while True:
            after = self.watched.task.version if self.watched.task else 0
            try:
                async with aclosing(self._gateway.versions(self._task, after)) as versions:
                    async for _ in versions:
                        pause = LOOK_S
                        self._wake.set()
            except PASSING:
                await asyncio.sleep(pause)  # whoever looks at the rounds says so
                pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _follow_trainers(self) -> None:
        """How each is; and the newest version measured by the first that answers and trains this task."""
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(TrainerClient.connect(where, credential))
                for where, credential in self._trainers
            ]
            measured = 0
            while True:
                await asyncio.gather(*(self._look_at(one) for one in clients))
                newest = self.watched.task.version if self.watched.task else 0
                if newest > measured and await self._measured(clients):
                    measured = newest
                try:
                    async with asyncio.timeout(TRAINERS_S):
                        await self._measure.wait()
                except TimeoutError:
                    pass
                self._measure.clear()

    async def _look_at(self, trainer: TrainerClient) -> None:
        try:
            status = await trainer.status(timeout_s=ANSWER_S)
        except LinkLearnerError:
            status = None
        self._saw(self.watched.saw_trainer(trainer.address, status, time.time()))

    async def _measured(self, trainers: Sequence[TrainerClient]) -> bool:
        for one in trainers:
            status = self.watched.trainers.get(one.address)
            if status is None or status.task != self._task:
                continue
            try:
                self._saw(self.watched.saw_score(await one.evaluate(), time.time()))
            except LinkLearnerError:
                continue  # it may not measure for us, or is gone: the next one may
            return True
        return False

    def _saw(self, happened: Iterable[Happened]) -> None:
        self._show(list(happened))
