"""The trainer's view of a chain gateway: domain values in and out, its errors in our tree.

A gateway is another program, often another party's, and may answer anything. Whatever does not make sense is DataLoss, never an
exception of a parser and never a value that something further in stumbles over; what it streams is bounded by the model's known size.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import numpy as np
from numpy.typing import NDArray

from linklearner.domain.digest import model_digest
from linklearner.domain.errors import DataLoss, InvalidConfig, InvalidInput, InvalidModel, Unavailable
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
MAX_COUNT = 2**63 - 1
"""Of versions and rounds: what the journal's SQLite can hold."""
NAMED_ACCOUNTS = 10
"""At most so many of a gateway's accounts are listed in a message."""


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
        with self._sense():
            _length("the pool's address", answer.pool, 20)
        return Chain(answer.chain_id, answer.pool)

    async def account(self, wanted: bytes | None) -> bytes:
        """The account to contribute with: `wanted` if its key is held there, or the only one. Raises InvalidConfig otherwise."""
        with self._errors():
            answer = await self._stub.ListAccounts(pb.ListAccountsRequest(), timeout=READ_TIMEOUT_S)
        held: list[bytes] = list(answer.accounts)
        with self._sense():
            for one in held:
                _length("an account", one, 20)
        names = ", ".join("0x" + account.hex() for account in held[:NAMED_ACCOUNTS]) or "none"
        if len(held) > NAMED_ACCOUNTS:
            names += f" and {len(held) - NAMED_ACCOUNTS} more"
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
        with self._sense():
            spec, shape = ModelSpec.from_json(answer.model), Shape.decode(answer.shape)
            if not spec.fits(shape):
                raise InvalidInput(f"the shape of {shape.weight_count} weights is not that of model {spec.name:.60}")
            _count("the open round", answer.round.round)
            return TaskState(spec, shape, _version(answer.version, task), answer.round.round)

    async def weights(self, task: int, version: int, shape: Shape) -> tuple[ModelVersion, NDArray[np.int16]]:
        """A version (0: the newest) and its weights, (N,) int16. Raises DataLoss if they do not give its digest.

        The stream is left at the first byte too many, and at a message that carries nothing: a gateway cannot fill the memory.
        """
        found: ModelVersion | None = None
        data = bytearray()
        expected = 2 * shape.weight_count
        with self._errors(), self._sense():
            stream = self._stub.GetModel(pb.GetModelRequest(task=task, version=version), timeout=READ_TIMEOUT_S)
            try:
                async for message in stream:
                    if message.HasField("version"):
                        if found is not None:
                            raise InvalidInput("two versions are announced in one stream")
                        found = _version(message.version, task)
                        if version and found.version != version:
                            raise InvalidInput(f"version {version} was asked for, {found.version} is sent")
                    elif not message.weights:
                        raise InvalidInput("a message carries neither a version nor weights")
                    elif len(data) + len(message.weights) > expected:
                        raise InvalidInput(f"more than the {expected} bytes of weights that the model has are sent")
                    else:
                        data += message.weights
            finally:
                stream.cancel()
        if found is None or len(data) != expected:
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

    async def submit(self, submission_id: str, account: bytes, update: bytes, digest: bytes) -> pb.SubmitUpdateResponse:
        """digest: 32 bytes, the update's. Raises DataLoss if the gateway confirms something else."""
        request = pb.SubmitUpdateRequest(request_id=submission_id, account=account, update=update)
        with self._errors():
            answer: pb.SubmitUpdateResponse = await self._stub.SubmitUpdate(request, timeout=SUBMIT_TIMEOUT_S)
        with self._sense():
            if answer.digest != digest:
                raise InvalidInput(
                    f"the update {digest.hex()} was sent, {answer.digest[:32].hex() or 'nothing'} is confirmed"
                )
            _count("the update's round", answer.round)
            _length("a transaction's hash", answer.receipt.transaction_hash, 32)
        return answer

    async def round(self, task: int, round: int) -> RoundRecord:
        with self._errors():
            answer = await self._stub.GetRound(pb.GetRoundRequest(task=task, round=round), timeout=READ_TIMEOUT_S)
        with self._sense():
            if answer.round != round:
                raise InvalidInput(f"round {round} was asked for, {answer.round} is described")
            _count("the round's base version", answer.base_version)
            for one in answer.contributions:
                _length("a contributor", one.contributor, 20)
                _length("a digest", one.digest, 32)
            if answer.HasField("version") and answer.dropped:
                raise InvalidInput(f"round {round} is said to be both settled and dropped")
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
        """Waits for a version later than `after`. Raises DataLoss for an earlier one."""
        with self._errors(), self._sense():
            stream = self._stub.WatchVersions(pb.WatchVersionsRequest(task=task, after_version=after))
            try:
                async for message in stream:
                    version = _version(message.version, task)
                    if version.version <= after:
                        raise InvalidInput(f"versions after {after} were asked for, {version.version} is announced")
                    return version
            finally:
                stream.cancel()
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

    @contextmanager
    def _sense(self) -> Iterator[None]:
        """An answer that is no answer is the gateway's fault, not the caller's."""
        try:
            yield
        except InvalidModel:  # perhaps written for a later version of this program; says so itself
            raise
        except InvalidInput as error:
            raise DataLoss(
                f"the gateway at {self._address} answers what makes no sense ({error.message}): ask another one",
                reason="NonsensicalAnswer",
            ) from error

    def _absent(self) -> Unavailable:
        return Unavailable(
            f"no chain gateway answers at {self._address}: start one there (python -m services.chain_gateway) or set "
            "LINKLEARNER_TRAINER_GATEWAY to where it listens, then call again",
            facts={"gateway": self._address},
        )


def _length(what: str, value: bytes, length: int) -> None:
    if len(value) != length:
        raise InvalidInput(f"{what} has {length} bytes, not {len(value)}")


def _count(what: str, value: int) -> None:
    if not 1 <= value <= MAX_COUNT:
        raise InvalidInput(f"{what} is a number from 1 to {MAX_COUNT}, not {value}")


def _version(message: model_pb2.ModelVersion, task: int) -> ModelVersion:
    if message.task != task:
        raise InvalidInput(f"a version of task {task} was asked for, one of {message.task} is sent")
    _count("a version", message.version)
    return ModelVersion(
        task=message.task,
        version=message.version,
        digest=message.digest,
        round=message.round,
        block_number=message.block_number,
        accepted_count=message.accepted_count,
        saturated_count=message.saturated_count,
    )
