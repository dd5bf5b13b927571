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
from linklearner.v1 import session_pb2_grpc as session_grpc
from services.model_server.config import Config
from services.model_server.gate import Admission, Gate
from services.model_server.inference import MAX_REQUEST_BYTES, Inference, Model, Shelf
from services.model_server.metrics import Metrics
from services.model_server.servicer import (
    INFER,
    INFERENCE,
    SESSIONS,
    InferenceEntrance,
    InferenceServicer,
    SessionServicer,
)
from services.model_server.sessions import Challenges, Sessions
from services.model_server.stakes import StakeWatch
from services.model_server.versions import VersionFollower

STRANGERS_BODIES, STRANGERS_BODY_S, STRANGERS_BYTES = 8, 5.0, 16384
"""Messages of calls without a session (signing in, metadata, health) that are received at once, their seconds and their bytes."""
STRANGERS_STREAMS = 64
"""Streams of gRPC's health and reflection services."""
BODY_S = 30.0
"""Seconds in which a session's message must arrive."""

log = structlog.get_logger()


class ModelServer:
    """Serves from the first moment; health says NOT_SERVING and inference UNAVAILABLE until the first version is live."""

    def __init__(self, address: str, metrics_address: str, shelf: Shelf) -> None:
        self.address = address
        """host:port of the gRPC server."""
        self.metrics_address = metrics_address
        """host:port of the metrics."""
        self.shelf = shelf
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
    async def start(cls, config: Config, *, admission: Admission | None = None) -> AsyncIterator[Self]:
        """A listening server. Raises InvalidConfig if a port is in use; an absent gateway is waited for.

        admission: what stands in front of ModelInfer instead of the gate by locked stake.
        """
        metrics = Metrics()
        shelf = Shelf(
            config.keep_previous_s,
            keep_versions=config.keep_previous_versions,
            keep_bytes=config.keep_previous_bytes,
        )
        inference = Inference(shelf, max_rows=config.max_rows, server_version=distribution_version("linklearner"))
        challenges = Challenges(config.challenge_s)
        sessions = Sessions(config.session_s, config.max_sessions, config.max_sessions_per_address)
        credential = Credential.read(Path(config.credential)) if config.credential else None
        async with GatewayClient.connect(config.gateway, credential) as gateway:
            stakes = StakeWatch(
                gateway, config.task, refresh_s=config.stake_refresh_s, head_stale_s=config.head_stale_s
            )
            gate = Gate(
                stakes,
                challenges,
                sessions,
                task=config.task,
                required_units=config.required_units,
                session_s=config.session_s,
                stale_s=config.stake_stale_s,
            )
            metrics.sessions.set_function(lambda: len(sessions))
            bodies = Places(config.max_bodies, BODY_S)
            strangers = Entrance(
                bodies=Places(STRANGERS_BODIES, STRANGERS_BODY_S),
                streams=Places(STRANGERS_STREAMS, None),
                max_bytes=STRANGERS_BYTES,
            )
            guarded = InferenceEntrance(
                admission or gate, metrics, bodies=bodies, max_calls=config.max_calls_per_session
            )
            terms = session.GetTermsResponse(
                task=config.task,
                max_request_bytes=MAX_REQUEST_BYTES,
                max_calls=config.max_calls_per_session,
                required_units=config.required_units,
            )
            metrics.bodies.set_function(lambda: len(bodies))
            metrics.stakes_readable.set_function(lambda: stakes.trouble is None)

            def register(server: grpc.aio.Server) -> None:
                oip_grpc.add_GRPCInferenceServiceServicer_to_server(InferenceServicer(inference, metrics), server)
                session_grpc.add_SessionServiceServicer_to_server(
                    SessionServicer(gate, inference, metrics, terms), server
                )

            rpc = RpcServer(
                config.listen,
                register,
                (INFERENCE, SESSIONS),
                quiet=(INFER,),
                entrances={INFER: guarded},
                entrance=strangers,
                options=(("grpc.max_receive_message_length", MAX_REQUEST_BYTES),),
            )
            await rpc.set_ready(False)
            async with metrics.served(config.metrics_listen) as metrics_address, rpc:
                gate.domain = config.domain or rpc.address
                if gate.domain.startswith(("0.0.0.0:", "[::]:")):
                    log.warning(
                        "domain_unset",
                        detail="callers sign only texts that name the address they dialled: set `domain` to that address",
                        domain=gate.domain,
                    )
                server = cls(rpc.address, metrics_address, shelf)

                def live(model: Model) -> None:
                    metrics.version.set(model.version.version)
                    metrics.swaps.inc()
                    server._first.set()

                follower = VersionFollower(
                    gateway,
                    config.task,
                    shelf,
                    poll_s=config.poll_s,
                    max_bytes=config.max_model_bytes,
                    on_live=live,
                    on_refused=lambda reason: metrics.refused.labels(reason=reason).inc(),
                )
                server._work = [
                    asyncio.create_task(part)
                    for part in (follower.run(), stakes.run(gate.active), server._announce(rpc))
                ]
                for part in server._work:
                    part.add_done_callback(_loud)
                log.info("model_server", address=server.address, metrics=metrics_address, task=config.task)
                try:
                    yield server
                finally:
                    for part in server._work:
                        part.cancel()
                    await asyncio.gather(*server._work, return_exceptions=True)

    async def _announce(self, rpc: RpcServer) -> None:
        await self._first.wait()
        await rpc.set_ready(True)


def _loud(done: asyncio.Task[None]) -> None:
    """A bug in the background must not look like a quiet day."""
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("background_failed", exc_info=error)
