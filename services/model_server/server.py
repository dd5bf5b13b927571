"""A whole model server as one value: start it, use its address, leave the block.

async with ModelServer.start(Config(gateway="127.0.0.1:50051", listen="127.0.0.1:0")) as server:
    await server.ready()
    print(server.address)
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Self

import grpc
import structlog

from linklearner.client.gateway import GatewayClient
from linklearner.oip import open_inference_grpc_pb2_grpc as oip_grpc
from linklearner.rpc.access import Credential
from linklearner.rpc.entrance import Entrance, Places
from linklearner.rpc.server import RpcServer
from linklearner.v1 import session_pb2 as session
from services.model_server.admission.admission import Guarded
from services.model_server.config import ModelServerConfig
from services.model_server.inference import MAX_REQUEST_BYTES, Inference, LoadedModels, Model
from services.model_server.metrics import Metrics
from services.model_server.servicer import INFER, INFERENCE, InferenceEntrance, InferenceServicer
from services.model_server.versions import VersionFollower

UNGATED_BODIES, UNGATED_BODY_S, UNGATED_BYTES = 8, 5.0, 16384
"""Messages of all calls but ModelInfer (signing in, metadata, health) that are received at once, their seconds and their bytes."""
UNGATED_STREAMS = 64
"""Streams of gRPC's health and reflection services."""
BODY_S = 30.0
"""Seconds in which the message of an admitted call must arrive."""

log = structlog.get_logger()


class ModelServer:
    """Serves from the first moment; health says NOT_SERVING and inference UNAVAILABLE until the first version is live."""

    def __init__(self, address: str, metrics_address: str, loaded: LoadedModels) -> None:
        self.address = address
        """host:port of the gRPC server."""
        self.metrics_address = metrics_address
        """host:port of the metrics."""
        self.loaded = loaded
        self._first = asyncio.Event()
        self._work: list[asyncio.Task[None]] = []

    async def ready(self) -> None:
        """Until the first version is live."""
        await self._first.wait()

    async def wait(self) -> None:
        """For as long as the server works. Raises what broke it, if anything does."""
        for done in (await asyncio.wait(self._work, return_when=asyncio.FIRST_EXCEPTION))[0]:
            done.result()

    @classmethod
    @asynccontextmanager
    async def start(cls, config: ModelServerConfig) -> AsyncIterator[Self]:
        """A listening server of one task (`Config.each`). Raises InvalidConfig if a port is in use; an absent gateway is waited for."""
        (task,) = config.tasks()
        metrics = Metrics()
        loaded = LoadedModels(
            config.keep_previous_s,
            keep_versions=config.keep_previous_versions,
            keep_bytes=config.keep_previous_bytes,
        )
        credential = Credential.read(Path(config.credential)) if config.credential else None
        async with GatewayClient.connect(config.gateway, credential) as gateway:
            admission = config.admission.admission(
                Guarded(task=task, gateway=gateway, terms=lambda: terms_of(inference, task), registry=metrics.registry)
            )
            inference = Inference(
                loaded,
                max_rows=config.max_rows,
                server_version=distribution_version("linklearner"),
                extensions=admission.extensions,
            )
            bodies = Places(config.max_bodies, BODY_S)
            ungated = Entrance(
                bodies=Places(UNGATED_BODIES, UNGATED_BODY_S),
                streams=Places(UNGATED_STREAMS, None),
                max_bytes=UNGATED_BYTES,
            )
            metrics.bodies.set_function(lambda: len(bodies))

            def register(server: grpc.aio.Server) -> None:
                oip_grpc.add_GRPCInferenceServiceServicer_to_server(
                    InferenceServicer(inference, admission, metrics), server
                )
                admission.register(server)

            rpc = RpcServer(
                config.listen,
                register,
                (INFERENCE, *admission.services),
                quiet=(INFER,),
                entrances={INFER: InferenceEntrance(admission, metrics, bodies=bodies)},
                entrance=ungated,
                options=(("grpc.max_receive_message_length", MAX_REQUEST_BYTES),),
            )
            await rpc.set_ready(False)
            async with metrics.served(config.metrics_listen) as metrics_address, rpc:
                admission.listening(rpc.address)
                server = cls(rpc.address, metrics_address, loaded)

                def live(model: Model) -> None:
                    metrics.version.set(model.version.version)
                    metrics.swaps.inc()
                    server._first.set()

                follower = VersionFollower(
                    gateway,
                    task,
                    loaded,
                    poll_s=config.poll_s,
                    frozen=config.frozen,
                    max_bytes=config.max_model_bytes,
                    on_live=live,
                    on_refused=lambda reason: metrics.refused.labels(reason=reason).inc(),
                )
                server._work = [
                    asyncio.create_task(part) for part in (follower.run(), admission.run(), server._announce(rpc))
                ]
                for part in server._work:
                    part.add_done_callback(_log_failure)
                log.info("model_server", address=server.address, metrics=metrics_address, task=task)
                try:
                    yield server
                finally:
                    for part in server._work:
                        part.cancel()
                    await asyncio.gather(*server._work, return_exceptions=True)
                    inference.close()

    async def _announce(self, rpc: RpcServer) -> None:
        await self._first.wait()
        await rpc.set_ready(True)


def terms_of(inference: Inference, task: int) -> session.GetTermsResponse:
    """What the live model takes. Raises Unavailable while there is none."""
    spec, max_rows = inference.terms()
    first = spec.inputs[0]
    low, high = first.range or (0.0, 0.0)
    return session.GetTermsResponse(
        task=task,
        model=spec.name,
        input_name=first.name,
        input_count=first.length,
        input_min=low,
        input_max=high,
        labels=spec.labels,
        max_rows=max_rows,
        max_request_bytes=MAX_REQUEST_BYTES,
    )


def _log_failure(done: asyncio.Task[None]) -> None:
    """A bug in the background must not look like a quiet day."""
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("background_failed", exc_info=error)
