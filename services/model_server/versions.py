"""Following a task's versions through a gateway, and letting only checked ones go live.

`WatchVersions` only wakes: what a version is, GetTask and GetModel say, and they are asked again every `poll_s` seconds even if nothing
wakes us, so a stream that hangs or lies dead delays a version and loses none. Before a version replaces the live one, its weights must
have the length of the task's shape and give the digest that the chain announced (the gateway client sees to that), the ONNX graph must
run, and a blank input must get a finite answer. Anything else is counted and logged, and the live version stays.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from linklearner.client.gateway import GatewayClient
from linklearner.domain.errors import DataLoss, InvalidInput, InvalidModel, LinkLearnerError, TimedOut, Unavailable
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.model import ModelSpec, ModelVersion
from linklearner.domain.shape import Shape
from linklearner.frozen import read
from linklearner.log import of_round
from linklearner.onnx_graph import onnx_model
from services.model_server.endurance import Endurance
from services.model_server.inference import LoadedModels, Model

CALL_TIMEOUT_S = 5.0
BACKOFF_S = (0.1, 5.0)
"""First and longest wait after a failure; doubled each time."""
UNUSABLE_S = 600.0
"""For so long a version that makes no working model is not fetched and built again: only another one will do, or more memory."""

log = structlog.get_logger()


def load(
    spec: ModelSpec, shape: Shape, version: ModelVersion, weights: NDArray[np.int16], frozen: Path | None = None
) -> Model:
    """A warm model out of a version's checked weights, (N,) int16. Works for milliseconds to seconds: call it in a thread.

    frozen: the folder of frozen tensors. Raises InvalidModel if they make no working model, InvalidConfig if such a tensor is missing.
    """
    base = read(frozen, spec.graph.frozen) if frozen is not None else {}
    return Model(spec, version, onnx_model(spec, dequantise_weights(weights, shape), frozen=base))


@dataclass(frozen=True, slots=True)
class _Unusable:
    """Weights that make no working model, and why. until: by the monotonic clock."""

    digest: bytes
    why: str
    until: float


class VersionFollower:
    """Keeps the newest version of one task live.

    max_bytes: of a model's int16 weights; larger tasks are not downloaded. frozen: the folder of tensors that nobody trains.
    on_refused: called with the reason whenever a version, or the gateway's word about it, does not hold.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        task: int,
        loaded: LoadedModels,
        *,
        poll_s: float,
        max_bytes: int = 128 << 20,
        frozen: Path | None = None,
        on_live: Callable[[Model], None] = lambda model: None,
        on_refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._gateway = gateway
        self._task = task
        self._loaded = loaded
        self._poll_s = poll_s
        self._max_bytes = max_bytes
        self._frozen = frozen
        self._on_live = on_live
        self._on_refused = on_refused
        self._news = asyncio.Event()
        self._terms: tuple[str, bytes] | None = None
        self._trouble: str | None = None
        self._unusable: _Unusable | None = None

    async def run(self) -> None:
        """Follows until cancelled. Raises whatever has gone wrong for so long that only another start can help (`Endurance`)."""
        with ThreadPoolExecutor(1, thread_name_prefix="model-build") as worker:
            watching = asyncio.create_task(self._watch())
            try:
                await self._follow(worker)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _follow(self, worker: ThreadPoolExecutor) -> None:
        backoff = BACKOFF_S[0]
        endurance = Endurance()
        while True:
            self._news.clear()
            self._loaded.forget_expired()
            try:
                more = await self._catch_up(worker)
            except LinkLearnerError as error:
                endurance.failed(error)
                self._complain(error)
                wait, backoff = backoff, min(backoff * 2, BACKOFF_S[1])
            except Exception as error:
                endurance.failed(error)
                self._on_refused("Bug")
                log.exception("versions_failed", task=self._task)
                self._trouble = str(error)
                wait, backoff = backoff, min(backoff * 2, BACKOFF_S[1])
            else:
                endurance.succeeded()
                if self._trouble is not None:
                    log.info("versions_readable", task=self._task)
                self._trouble = None
                wait, backoff = (0.0 if more else self._poll_s), BACKOFF_S[0]
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                pass

    def _complain(self, error: LinkLearnerError) -> None:
        if not isinstance(error, Unavailable | TimedOut):
            self._on_refused(error.reason)
            if self._trouble != error.message:
                log.error("version_refused", task=self._task, reason=error.reason, detail=error.message)
        elif self._trouble != error.message:
            log.warning("versions_unreadable", task=self._task, reason=error.reason, detail=error.message)
        self._trouble = error.message

    async def _watch(self) -> None:
        """Sets `_news` whenever the gateway announces a version."""
        backoff = BACKOFF_S[0]
        while True:
            live = self._loaded.live
            announced = self._gateway.versions(self._task, live.version.version if live else 0)
            try:
                async with aclosing(announced):
                    async for _ in announced:
                        backoff = BACKOFF_S[0]
                        self._news.set()
            except LinkLearnerError:
                pass  # the follower asks on its own and says what is wrong; this stream only saves time
            except Exception:
                log.exception("watching_failed", task=self._task)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, BACKOFF_S[1])

    async def _catch_up(self, worker: ThreadPoolExecutor) -> bool:
        """Makes the newest version live if it is newer than the live one. Returns whether to look again at once."""
        task = await self._gateway.task(self._task, timeout_s=CALL_TIMEOUT_S)
        spec, shape, announced = task.spec, task.shape, task.newest
        terms = (task.model, shape.encode())
        if self._terms is not None and self._terms != terms:
            raise DataLoss(
                f"the gateway now describes task {self._task} differently, but tasks never change: it follows another chain. "
                "Restart this server if that is meant",
                reason="OtherTask",
            )
        live = self._loaded.live
        if live is not None and announced.version <= live.version.version:
            if announced.version == live.version.version and announced.digest != live.version.digest:
                raise DataLoss(
                    f"the gateway announces version {announced.version} with the digest 0x{announced.digest.hex()}; the live one "
                    f"has 0x{live.version.digest.hex()}",
                    reason="TwoDigests",
                )
            if announced.version < live.version.version:
                raise Unavailable(
                    f"the gateway's newest version is {announced.version}, but {live.version.version} has been seen",
                    reason="VersionWentBack",
                )
            return False
        if 2 * shape.weight_count > self._max_bytes:
            raise InvalidInput(
                f"the model of task {self._task} has {2 * shape.weight_count} bytes; this server takes {self._max_bytes} (its setting "
                "max_model_bytes)",
                reason="TooLarge",
            )
        known = self._unusable
        if known is not None and known.digest == announced.digest and time.monotonic() < known.until:
            raise InvalidModel(known.why)
        version, weights = await self._gateway.weights(task)
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            model = await loop.run_in_executor(worker, load, spec, shape, version, weights, self._frozen)
        except InvalidModel as error:
            self._unusable = _Unusable(version.digest, error.message, time.monotonic() + UNUSABLE_S)
            raise
        self._terms = terms
        self._loaded.put(model)
        self._on_live(model)
        with of_round(self._task, version.round):
            log.info(
                "version_live",
                task=self._task,
                version=version.version,
                round=version.round,
                block=version.block_number,
                digest=f"0x{version.digest.hex()}",
                ms=round((time.perf_counter() - began) * 1e3, 1),
            )
        return True
