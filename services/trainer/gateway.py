"""The trainer's view of a chain gateway: domain values in and out, its errors in our tree."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import numpy as np
from numpy.typing import NDArray

from linklearner.domain.digest import model_digest
from linklearner.domain.errors import DataLoss, InvalidConfig, Unavailable
from linklearner.domain.model import ModelSpec, ModelVersion
from linklearner.domain.shape import Shape
from linklearner.rpc.status import from_rpc_error
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc
from linklearner.v1 import model_pb2

CONNECT_TIMEOUT_S = 3.0
"""Longer than the longest pause before a channel connects anew, so that a gateway that is back is found."""
READ_TIMEOUT_S = 60.0
SUBMIT_TIMEOUT_S = 600.0
"""A gateway gives up on a receipt long before; this only ends a call whose gateway hangs."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Which chain and pool a gateway serves."""

    chain_id: int
    pool: bytes


@dataclass(frozen=True, slots=True)
class TaskState:
    """A task as one look at the chain saw it."""

    spec: ModelSpec
    shape: Shape
    version: ModelVersion
    round: int
    """The open one."""


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """What became of a round, or how far it is. `accepted`: its updates by (contributor, digest), as their submission was answered."""

    base_version: int
    accepted: Mapping[tuple[bytes, bytes], pb.SubmitUpdateResponse]
    settled: bool
    dropped: bool


class Gateway:
    """One gateway at one address. Every method raises Unavailable, saying what to do, when nobody answers there."""

    def __init__(self, wire: grpc.aio.Channel, address: str) -> None:
        self._wire = wire
        self._stub = pb_grpc.ChainGatewayServiceStub(wire)
        self._address = address

    async def connection(self) -> AsyncIterator[bool]:
        """Whether the gateway is there, now and at each change; keeps the connection up, without a call of its own."""
        while True:
            state = self._wire.get_state(try_to_connect=True)
            yield state is grpc.ChannelConnectivity.READY
            await self._wire.wait_for_state_change(state)

    async def chain(self) -> Chain:
        await self._there()
        with self._errors():
            answer = await self._stub.GetChain(pb.GetChainRequest(), timeout=READ_TIMEOUT_S)
        return Chain(answer.chain_id, answer.pool)

    async def account(self, wanted: bytes | None) -> bytes:
        """The account to contribute with: `wanted` if its key is held there, or the only one. Raises InvalidConfig otherwise."""
        with self._errors():
            answer = await self._stub.ListAccounts(pb.ListAccountsRequest(), timeout=READ_TIMEOUT_S)
        held: list[bytes] = list(answer.accounts)
        names = ", ".join("0x" + account.hex() for account in held) or "none"
        if wanted is None:
            if len(held) != 1:
                raise InvalidConfig(
                    f"the gateway at {self._address} holds several accounts or none; choose one of: {names}"
                )
            return held[0]
        if wanted not in held:
            raise InvalidConfig(
                f"the gateway at {self._address} does not hold the key of 0x{wanted.hex()}; it holds: {names}"
            )
        return wanted

    async def task(self, task: int) -> TaskState:
        await self._there()
        with self._errors():
            answer = (await self._stub.GetTask(pb.GetTaskRequest(task=task), timeout=READ_TIMEOUT_S)).task
        if answer.version.version == 0:
            raise Unavailable(f"the first weights of task {task} are still being loaded: try again shortly")
        return TaskState(
            ModelSpec.from_json(answer.model), Shape.decode(answer.shape), _version(answer.version), answer.round.round
        )

    async def weights(self, task: int, version: int, shape: Shape) -> tuple[ModelVersion, NDArray[np.int16]]:
        """A version (0: the newest) and its weights, (N,) int16. Raises DataLoss if they do not give its digest."""
        found: ModelVersion | None = None
        data = bytearray()
        with self._errors():
            stream = self._stub.GetModel(pb.GetModelRequest(task=task, version=version), timeout=READ_TIMEOUT_S)
            async for message in stream:
                if message.HasField("version"):
                    found = _version(message.version)
                else:
                    data += message.weights
        if found is None or len(data) != 2 * shape.weight_count:
            raise DataLoss(f"the gateway sent {len(data)} bytes of weights for a model of {shape.weight_count}")
        weights = np.frombuffer(bytes(data), dtype="<i2").astype(np.int16)
        digest = model_digest(weights, shape)
        if digest != found.digest:
            raise DataLoss(
                f"the weights of version {found.version} give the digest {digest.hex()}, announced was {found.digest.hex()}: "
                "ask another gateway",
                facts={"version": found.version},
            )
        return found, weights

    async def submit(self, submission_id: str, account: bytes, update: bytes) -> pb.SubmitUpdateResponse:
        request = pb.SubmitUpdateRequest(request_id=submission_id, account=account, update=update)
        with self._errors():
            answer: pb.SubmitUpdateResponse = await self._stub.SubmitUpdate(request, timeout=SUBMIT_TIMEOUT_S)
        return answer

    async def round(self, task: int, round: int) -> RoundRecord:
        with self._errors():
            answer = await self._stub.GetRound(pb.GetRoundRequest(task=task, round=round), timeout=READ_TIMEOUT_S)
        return RoundRecord(
            base_version=answer.base_version,
            accepted={
                (one.contributor, one.digest): pb.SubmitUpdateResponse(
                    receipt=one.receipt,
                    digest=one.digest,
                    round=answer.round,
                    weight_units=one.weight_units,
                    effective_units=one.effective_units,
                )
                for one in answer.contributions
            },
            settled=answer.HasField("version"),
            dropped=answer.dropped,
        )

    async def next_version(self, task: int, after: int) -> ModelVersion:
        """Waits for a version later than `after`."""
        with self._errors():
            async for message in self._stub.WatchVersions(pb.WatchVersionsRequest(task=task, after_version=after)):
                return _version(message.version)
        raise Unavailable(f"the gateway at {self._address} ended the stream of versions: call again")

    async def _there(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._wire.channel_ready()
        except TimeoutError as late:
            raise self._absent() from late

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as failure:
            error = from_rpc_error(failure)
            if error.reason == grpc.StatusCode.UNAVAILABLE.name:  # gRPC's own word, not the gateway's about its chain
                raise self._absent() from failure
            raise error from failure

    def _absent(self) -> Unavailable:
        return Unavailable(
            f"no chain gateway answers at {self._address}: start one there (python -m services.chain_gateway) or set "
            "LINKLEARNER_TRAINER_GATEWAY to where it listens, then call again",
            facts={"gateway": self._address},
        )


def _version(message: model_pb2.ModelVersion) -> ModelVersion:
    return ModelVersion(
        task=message.task,
        version=message.version,
        digest=message.digest,
        round=message.round,
        block_number=message.block_number,
        accepted_count=message.accepted_count,
        saturated_count=message.saturated_count,
    )
