"""A small chain gateway that keeps its chain in memory: what a model server reads, answered as the real one answers it.

It is a real gRPC server (`linklearner.rpc.RpcServer`) with real digests; only the chain behind it is a few Python values. Tests make it
lie, hang, vanish and come back.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.digest import model_digest, weight_bytes
from linklearner.domain.errors import NotFound
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import ModelSpec
from linklearner.domain.shape import Shape
from linklearner.rpc.server import RpcServer
from linklearner.v1 import chain_gateway_pb2 as gateway
from linklearner.v1 import chain_gateway_pb2_grpc as gateway_grpc
from linklearner.v1 import model_pb2

DIGITS = ModelSpec("digits", Mlp((64, 32, 10)), tuple("0123456789"), "pixels", 1 / 16, (0.0, 16.0))
SHAPE = DIGITS.shape(exponent=12, page_length=1024, group_pages=4, norm_bound=2**20)
CHAIN_ID = 11820
CHUNK = 1000
"""Bytes in one message of GetModel; small, so that even this model comes in several."""


def weights_of(seed: int, spec: ModelSpec = DIGITS, shape: Shape = SHAPE) -> NDArray[np.int16]:
    """(N,) int16: random weights of the model; another seed, another model."""
    return quantise_weights(spec.initial(seed), shape)


class InMemoryGateway(gateway_grpc.ChainGatewayServiceServicer):
    """One task, its versions, and the stakes of its accounts. Every change makes a block."""

    def __init__(self, *, task: int = 1, spec: ModelSpec = DIGITS, shape: Shape = SHAPE) -> None:
        self.task = task
        self.model = spec.to_json()
        self.shape = shape
        self.chain_id = CHAIN_ID
        self.block = 1
        self.head_time_s = 0
        """Unix seconds of the head; 0: now."""
        self.versions: list[model_pb2.ModelVersion] = []
        self.bodies: dict[int, bytes] = {}
        self.stakes: dict[bytes, int] = {}
        self.balance_reads = 0
        self.chain_reads = 0
        self.hanging = False
        """Calls are taken and never answered."""
        self.announcing = True
        """WatchVersions says what it knows."""
        self._changed = asyncio.Event()

    def publish(self, weights: NDArray[np.int16], *, body: bytes | None = None) -> model_pb2.ModelVersion:
        """The next version. body: what is sent instead of its weights."""
        self.block += 1
        version = model_pb2.ModelVersion(
            task=self.task,
            version=len(self.versions) + 1,
            digest=model_digest(weights, self.shape),
            round=len(self.versions),
            accepted_count=5,
            block_number=self.block,
        )
        self.versions.append(version)
        self.bodies[version.version] = weight_bytes(weights) if body is None else body
        self._changed.set()
        self._changed = asyncio.Event()
        return version

    def lock(self, address: bytes, units: int) -> None:
        """Sets what an address has locked."""
        self.block += 1
        self.stakes[address] = units

    @asynccontextmanager
    async def served(self, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
        """Gives the address."""
        async with RpcServer(
            listen,
            lambda server: gateway_grpc.add_ChainGatewayServiceServicer_to_server(self, server),
            ("linklearner.v1.ChainGatewayService",),
            grace_s=0.05,
        ) as server:
            yield server.address

    async def GetChain(self, request: gateway.GetChainRequest, context: Any) -> gateway.GetChainResponse:  # noqa: N802
        await self._maybe_hang()
        self.chain_reads += 1
        return gateway.GetChainResponse(
            chain_id=self.chain_id, head_block_number=self.block, head_time_s=self.head_time_s or int(time.time())
        )

    async def GetBalance(self, request: gateway.GetBalanceRequest, context: Any) -> gateway.GetBalanceResponse:  # noqa: N802
        await self._maybe_hang()
        self.balance_reads += 1
        return gateway.GetBalanceResponse(
            stake=gateway.StakeStatus(locked_units=self.stakes.get(request.account, 0)), block_number=self.block
        )

    async def GetTask(self, request: gateway.GetTaskRequest, context: Any) -> gateway.GetTaskResponse:  # noqa: N802
        await self._maybe_hang()
        self._check(request.task)
        newest = self.versions[-1] if self.versions else model_pb2.ModelVersion(task=self.task)
        return gateway.GetTaskResponse(
            task=model_pb2.Task(task=self.task, model=self.model, shape=self.shape.encode(), version=newest)
        )

    async def GetModel(  # noqa: N802
        self, request: gateway.GetModelRequest, context: Any
    ) -> AsyncIterator[gateway.GetModelResponse]:
        await self._maybe_hang()
        self._check(request.task)
        version = self.versions[(request.version or len(self.versions)) - 1]
        yield gateway.GetModelResponse(version=version)
        body = self.bodies[version.version]
        for start in range(0, len(body), CHUNK):
            yield gateway.GetModelResponse(weights=body[start : start + CHUNK])

    async def WatchVersions(  # noqa: N802
        self, request: gateway.WatchVersionsRequest, context: Any
    ) -> AsyncIterator[gateway.WatchVersionsResponse]:
        told = request.after_version
        while True:
            changed = self._changed
            if self.announcing and not self.hanging:
                for version in self.versions[told:]:
                    yield gateway.WatchVersionsResponse(version=version)
                    told = version.version
            await changed.wait()

    def _check(self, task: int) -> None:
        if task != self.task:
            raise NotFound(f"task {task} does not exist")

    async def _maybe_hang(self) -> None:
        while self.hanging:
            await asyncio.sleep(0.02)
