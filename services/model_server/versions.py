"""Following a task's versions through a gateway, and letting only checked ones go live.

`WatchVersions` only wakes: what a version is, GetTask and GetModel say, and they are asked again every `poll_s` seconds even if nothing
wakes us, so a stream that hangs or lies dead delays a version and loses none. Before a version replaces the live one, its weights must
have the length of the task's shape and give the digest that the chain announced, the ONNX graph must run, and a blank input must get a
finite answer. Anything else is counted and logged, and the live version stays.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import grpc
import numpy as np
import structlog

from linklearner.domain.digest import model_digest
from linklearner.domain.errors import DataLoss, InvalidInput, LinkLearnerError, TimedOut, Unavailable
from linklearner.domain.model import ModelSpec, ModelVersion
from linklearner.domain.shape import Shape
from linklearner.log import of_round
from linklearner.onnx_graph import onnx_model
from linklearner.rpc.status import from_rpc_error
from linklearner.v1 import chain_gateway_pb2 as gateway
from linklearner.v1 import chain_gateway_pb2_grpc as gateway_grpc
from linklearner.v1 import model_pb2
from services.model_server.endurance import Endurance
from services.model_server.inference import Model, Shelf

CALL_TIMEOUT_S = 5.0
STALL_S = 10.0
"""Seconds between two chunks of weights after which a download is given up."""
SLOWEST_BYTES_S = 100_000
"""A download that is slower on the whole is given up: a byte now and then must not hold the follower."""
BACKOFF_S = (0.1, 5.0)
"""First and longest wait after a failure; doubled each time."""

log = structlog.get_logger()


def load(spec: ModelSpec, shape: Shape, version: ModelVersion, weights: bytes) -> Model:
    """A checked, warm model out of a version's bytes (int16 little endian). Works for milliseconds to seconds: call it in a thread.

    Raises DataLoss if the bytes are not that version's, InvalidModel if they make no working model.
    """
    if len(weights) != 2 * shape.weight_count:
        raise DataLoss(
            f"version {version.version} came with {len(weights)} bytes; its task has {shape.weight_count} weights of two bytes",
            reason="WrongLength",
        )
    values = np.frombuffer(weights, "<i2")
    digest = model_digest(values, shape)
    if digest != version.digest:
        raise DataLoss(
            f"the weights of version {version.version} give the digest 0x{digest.hex()}; the chain announced "
            f"0x{version.digest.hex()}",
            reason="WrongDigest",
        )
    return Model(spec, version, onnx_model(spec, shape, values))


class VersionFollower:
    """Keeps a shelf's live model the newest version of one task.

    max_bytes: of a model's int16 weights; larger tasks are not downloaded.
    on_refused: called with the reason whenever a version, or the gateway's word about it, does not hold.
    """

    def __init__(
        self,
        stub: gateway_grpc.ChainGatewayServiceStub,
        task: int,
        shelf: Shelf,
        *,
        poll_s: float,
        max_bytes: int = 128 << 20,
        on_live: Callable[[Model], None] = lambda model: None,
        on_refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._stub = stub
        self._task = task
        self._shelf = shelf
        self._poll_s = poll_s
        self._max_bytes = max_bytes
        self._on_live = on_live
        self._on_refused = on_refused
        self._news = asyncio.Event()
        self._terms: tuple[str, bytes] | None = None
        self._trouble: str | None = None

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
            self._shelf.forget_expired()
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
            log.error("version_refused", task=self._task, reason=error.reason, detail=error.message)
        elif self._trouble != error.message:
            log.warning("versions_unreadable", task=self._task, reason=error.reason, detail=error.message)
        self._trouble = error.message

    async def _watch(self) -> None:
        """Sets `_news` whenever the gateway announces a version."""
        backoff = BACKOFF_S[0]
        while True:
            live = self._shelf.live
            stream = self._stub.WatchVersions(
                gateway.WatchVersionsRequest(task=self._task, after_version=live.version.version if live else 0)
            )
            try:
                async for _ in stream:
                    backoff = BACKOFF_S[0]
                    self._news.set()
            except grpc.RpcError:
                pass  # the follower asks on its own and says what is wrong; this stream only saves time
            except Exception:
                log.exception("watching_failed", task=self._task)
            finally:
                stream.cancel()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, BACKOFF_S[1])

    async def _catch_up(self, worker: ThreadPoolExecutor) -> bool:
        """Puts the newest version on the shelf if it is newer than the live one. Returns whether to look again at once."""
        async with _gateway_errors():
            answer = await self._stub.GetTask(gateway.GetTaskRequest(task=self._task), timeout=CALL_TIMEOUT_S)
        task = answer.task
        if self._terms is not None and self._terms != (task.model, task.shape):
            raise DataLoss(
                f"the gateway now describes task {self._task} differently, but tasks never change: it follows another chain. "
                "Restart this server if that is meant",
                reason="OtherTask",
            )
        if task.version.version == 0:
            raise Unavailable(f"task {self._task} has no weights yet", reason="NoModelYet")
        announced = _version(task.version)
        live = self._shelf.live
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
        spec, shape = ModelSpec.from_json(task.model), Shape.decode(task.shape)
        if not spec.fits(shape):
            raise InvalidInput(
                f"the model and the shape of task {self._task} have different tensors", reason="WrongShape"
            )
        if 2 * shape.weight_count > self._max_bytes:
            raise InvalidInput(
                f"the model of task {self._task} has {2 * shape.weight_count} bytes; this server takes {self._max_bytes} (its setting "
                "max_model_bytes)",
                reason="TooLarge",
            )
        version, weights = await self._download(shape)
        if version.version == announced.version and version.digest != announced.digest:
            raise DataLoss(f"the gateway gives version {version.version} two digests", reason="TwoDigests")
        if version.task != self._task or version.version < announced.version:
            raise DataLoss(
                f"asked for the newest version of task {self._task} ({announced.version}), the gateway sent version "
                f"{version.version} of task {version.task}",
                reason="WrongVersion",
            )
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        model = await loop.run_in_executor(worker, load, spec, shape, version, weights)
        self._terms = (task.model, task.shape)
        self._shelf.put(model)
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

    async def _download(self, shape: Shape) -> tuple[ModelVersion, bytes]:
        """The newest version and its bytes; never more of them than the task has."""
        limit = 2 * shape.weight_count
        version: ModelVersion | None = None
        weights = bytearray()
        async with _gateway_errors():
            stream = self._stub.GetModel(gateway.GetModelRequest(task=self._task))
            parts = aiter(stream)
            try:
                async with asyncio.timeout(STALL_S + limit / SLOWEST_BYTES_S):
                    while True:
                        async with asyncio.timeout(STALL_S):
                            part = await anext(parts, None)
                        if part is None:
                            break
                        if version is None and part.WhichOneof("part") == "version":
                            version = _version(part.version)
                        elif not part.weights:
                            raise DataLoss("the gateway sends parts without weights", reason="WrongLength")
                        weights += part.weights
                        if len(weights) > limit:
                            raise DataLoss(
                                f"the gateway sends more than the task's {limit} bytes", reason="WrongLength"
                            )
            finally:
                stream.cancel()
        if version is None:
            raise DataLoss("the gateway sent weights without saying of which version", reason="WrongVersion")
        return version, bytes(weights)


def _version(message: model_pb2.ModelVersion) -> ModelVersion:
    if len(message.digest) != 32:
        raise DataLoss(
            f"version {message.version} has a digest of {len(message.digest)} bytes, not 32", reason="WrongDigest"
        )
    return ModelVersion(
        task=message.task,
        version=message.version,
        digest=message.digest,
        round=message.round,
        block_number=message.block_number,
        accepted_count=message.accepted_count,
        saturated_count=message.saturated_count,
    )


@asynccontextmanager
async def _gateway_errors() -> AsyncIterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
    except TimeoutError as error:
        raise Unavailable("the gateway stopped answering in the middle of a download", reason="Stalled") from error
