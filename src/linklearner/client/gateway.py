"""A chain gateway from outside: domain values in and out, its errors in our tree.

    async with GatewayClient.connect("127.0.0.1:50051", credential) as gateway:
        task = await gateway.task(1)
        version, weights = await gateway.weights(task)

A gateway is another program, often another party's, and may answer anything. Whatever does not make sense is DataLoss, never an
exception of a parser and never a value that something further in stumbles over. What it streams is bounded by the task's shape, in bytes
and in time, and weights are handed on only if they give the digest that they were announced with.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from linklearner.client.service import READ_S, ServiceClient
from linklearner.domain.digest import model_digest
from linklearner.domain.errors import DataLoss, InvalidInput, Unavailable
from linklearner.domain.model import ModelVersion
from linklearner.domain.tasks import Balance, ChainStatus, Mined, Round, Settled, StakeStatus, Submitted, Task
from linklearner.rpc import convert
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc

SEND_S = 600.0
"""Seconds for a transaction. A gateway gives up on a receipt long before; this only ends a call whose gateway hangs."""
STALL_S = 10.0
"""Seconds between two parts of a model's weights after which a download is given up."""
SLOWEST_BYTES_S = 100_000
"""A download that is slower on the whole is given up: a byte now and then must not hold its caller."""


class GatewayClient(ServiceClient):
    """One gateway at one address.

    connect_s: seconds in which `chain` and `task` wait for a connection before they ask; with 0 they fail at once where nobody listens.
    remedy: what to do then; it is said in place of gRPC's own words.

    Every method raises Unavailable where nobody answers, TimedOut, what the gateway itself raises, and DataLoss for an answer that makes
    no sense (reason NonsensicalAnswer, or what is wrong with it).
    """

    kind = "gateway"
    full_kind = "chain gateway"
    advice = "ask another one"

    def __init__(self, wire: grpc.aio.Channel, address: str, *, connect_s: float = 0.0, remedy: str = "") -> None:
        super().__init__(wire, address, connect_s=connect_s, remedy=remedy)
        self._stub = pb_grpc.ChainGatewayServiceStub(wire)

    async def connection(self) -> AsyncIterator[bool]:
        """Whether the gateway is there, now and at each change; keeps the connection up, without a call of its own."""
        while True:
            state = self._wire.get_state(try_to_connect=True)
            yield state is grpc.ChannelConnectivity.READY
            await self._wire.wait_for_state_change(state)

    # --- questions

    async def chain(self, *, timeout_s: float = READ_S) -> ChainStatus:
        await self._reached()
        answer = await self._ask(self._stub.GetChain, pb.GetChainRequest(), timeout_s)
        with self._sense():
            return convert.chain_of(answer)

    async def accounts(self) -> tuple[bytes, ...]:
        """The accounts whose keys it holds, 20 bytes each."""
        answer = await self._ask(self._stub.ListAccounts, pb.ListAccountsRequest())
        with self._sense():
            return tuple(convert.address_of(one, "an account") for one in answer.accounts)

    async def balance(self, account: bytes, task: int = 0, *, timeout_s: float = READ_S) -> Balance:
        """account: 20 bytes. The stake is read too unless task is 0. Raises NotFound for an unknown task."""
        answer = await self._ask(self._stub.GetBalance, pb.GetBalanceRequest(account=account, task=task), timeout_s)
        with self._sense():
            balance = convert.balance_of(answer)
            if task and balance.stake is None:
                raise InvalidInput(f"the stake in task {task} was asked for, none is in the answer")
        return balance

    async def task(self, task: int, *, timeout_s: float = READ_S) -> Task:
        """A task whose model and shape belong together. Raises NotFound, InvalidModel for a model that this program cannot read."""
        await self._reached()
        answer = (await self._ask(self._stub.GetTask, pb.GetTaskRequest(task=task), timeout_s)).task
        with self._sense():
            if answer.task != task:
                raise InvalidInput(f"task {task} was asked for, {answer.task} is described")
            found = convert.task_of(answer)
            found.spec  # noqa: B018  # raises if it is none, or not of this shape
        return found

    async def weights(self, task: Task, version: int = 0) -> tuple[ModelVersion, NDArray[np.int16]]:
        """A version (0: the newest, at least as new as `task` says) and its weights, (N,) int16.

        Raises Unavailable while `task` has no weights, NotFound, and DataLoss if the weights do not give the version's digest, or if it
        is another one than `task` announced (TwoDigests). The stream is left at the first byte too many, at a message that carries
        nothing, and where it stalls (Unavailable, Stalled): a gateway cannot fill the memory.
        """
        task.newest  # noqa: B018  # raises if there is none yet
        expected = 2 * task.shape.weight_count
        found: ModelVersion | None = None
        data = bytearray()
        with self._errors(), self._sense():
            stream = self._stub.GetModel(pb.GetModelRequest(task=task.task, version=version))
            parts = aiter(stream)
            try:
                async with asyncio.timeout(STALL_S + expected / SLOWEST_BYTES_S):
                    while True:
                        async with asyncio.timeout(STALL_S):
                            part = await anext(parts, None)
                        if part is None:
                            break
                        if part.HasField("version"):
                            if found is not None:
                                raise InvalidInput("two versions are announced in one stream", reason="WrongVersion")
                            found = _expected(convert.version_of(part.version), task, version)
                        elif not part.weights:
                            raise InvalidInput("a message carries neither a version nor weights", reason="WrongLength")
                        elif len(data) + len(part.weights) > expected:
                            raise InvalidInput(
                                f"more than the {expected} bytes of weights that the model has are sent",
                                reason="WrongLength",
                            )
                        else:
                            data += part.weights
            except TimeoutError as late:
                raise Unavailable(
                    f"the gateway at {self.address} stopped answering in the middle of a download", reason="Stalled"
                ) from late
            finally:
                stream.cancel()
            if found is None:
                raise InvalidInput("weights are sent without saying of which version", reason="WrongVersion")
            if len(data) != expected:
                raise InvalidInput(
                    f"{len(data)} bytes of weights are sent for a model of {task.shape.weight_count}",
                    reason="WrongLength",
                )
        weights = np.frombuffer(bytes(data), dtype="<i2").astype(np.int16)
        digest = await asyncio.to_thread(model_digest, weights, task.shape)
        if digest != found.digest:
            raise DataLoss(
                f"the weights of version {found.version} give the digest {digest.hex()}, announced was {found.digest.hex()}: "
                "ask another gateway",
                reason="WrongDigest",
                facts={"version": found.version},
            )
        return found, weights

    async def versions(self, task: int, after: int = 0) -> AsyncGenerator[ModelVersion, None]:
        """Every version later than `after` as it is announced, oldest first, without end.

        Raises DataLoss for an announcement that is not later than the last, NotFound, Unavailable if the gateway ends the stream. To be
        closed by who leaves it early (`aclosing`).
        """
        with self._errors(), self._sense():
            stream = self._stub.WatchVersions(pb.WatchVersionsRequest(task=task, after_version=after))
            try:
                async for message in stream:
                    version = convert.version_of(message.version)
                    if version.task != task:
                        raise InvalidInput(
                            f"versions of task {task} were asked for, one of {version.task} is announced"
                        )
                    if version.version <= after:
                        raise InvalidInput(f"versions after {after} were asked for, {version.version} is announced")
                    after = version.version
                    yield version
            finally:
                stream.cancel()
        raise Unavailable(f"the gateway at {self.address} ended the stream of versions: call again")

    async def next_version(self, task: int, after: int) -> ModelVersion:
        """Waits for a version later than `after`."""
        async with aclosing(self.versions(task, after)) as versions:
            return await anext(versions)

    async def round(self, task: int, round: int = 0) -> Round:
        """A round with its contributions; 0: the open one. Raises NotFound for one that has not begun."""
        answer = await self._ask(self._stub.GetRound, pb.GetRoundRequest(task=task, round=round))
        with self._sense():
            if round and answer.round != round:
                raise InvalidInput(f"round {round} was asked for, {answer.round} is described")
            return convert.round_of(answer)

    # --- transactions: the same request_id always ends in the same one, so after Unavailable and TimedOut the call is to be repeated

    async def submit(self, request_id: str, account: bytes, update: bytes, digest: bytes) -> Submitted:
        """digest: 32 bytes, the update's. Raises Refused with the chain's reason, DataLoss if something else is confirmed."""
        request = pb.SubmitUpdateRequest(request_id=request_id, account=account, update=update)
        answer = await self._ask(self._stub.SubmitUpdate, request, SEND_S)
        with self._sense():
            if answer.digest != digest:
                raise InvalidInput(
                    f"the update {digest.hex()} was sent, {answer.digest[:32].hex() or 'nothing'} is confirmed"
                )
            return convert.submitted_of(answer)

    async def settle(self, request_id: str, account: bytes, task: int, round: int) -> Settled:
        """Raises Refused: WrongRound if it is not the open one, RoundNotOver, NoUpdates."""
        request = pb.SettleRoundRequest(request_id=request_id, account=account, task=task, round=round)
        answer = await self._ask(self._stub.SettleRound, request, SEND_S)
        with self._sense():
            settled = convert.settled_of(answer)
            if (settled.version.task, settled.version.round) != (task, round):
                raise InvalidInput(
                    f"round {round} of task {task} was to be settled, the answer is the version that round {settled.version.round} of task "
                    f"{settled.version.task} made"
                )
        return settled

    async def lock(self, request_id: str, account: bytes, task: int, units: int) -> tuple[Mined, StakeStatus]:
        """Counts from the next round on."""
        request = pb.LockStakeRequest(request_id=request_id, account=account, task=task, units=units)
        return self._stake(await self._ask(self._stub.LockStake, request, SEND_S))

    async def unlock(self, request_id: str, account: bytes, task: int, units: int) -> tuple[Mined, StakeStatus]:
        """Stops counting at once, may be withdrawn when the present round is over."""
        request = pb.UnlockStakeRequest(request_id=request_id, account=account, task=task, units=units)
        return self._stake(await self._ask(self._stub.UnlockStake, request, SEND_S))

    async def withdraw(self, request_id: str, account: bytes, task: int) -> tuple[Mined, StakeStatus]:
        """Raises Refused (StakeStillLocked) before its round is over."""
        request = pb.WithdrawStakeRequest(request_id=request_id, account=account, task=task)
        return self._stake(await self._ask(self._stub.WithdrawStake, request, SEND_S))

    async def transfer_token(self, request_id: str, account: bytes, to: bytes, wei: int) -> Mined:
        """$LL."""
        request = pb.TransferRequest(request_id=request_id, account=account, to=to, token_wei=convert.wei_message(wei))
        return await self._transfer(request)

    async def transfer_coin(self, request_id: str, account: bytes, to: bytes, wei: int) -> Mined:
        """The chain's own coin."""
        request = pb.TransferRequest(request_id=request_id, account=account, to=to, coin_wei=convert.wei_message(wei))
        return await self._transfer(request)

    async def _transfer(self, request: pb.TransferRequest) -> Mined:
        answer = await self._ask(self._stub.Transfer, request, SEND_S)
        with self._sense():
            return convert.receipt_of(answer.receipt)

    def _stake(self, answer: Any) -> tuple[Mined, StakeStatus]:
        with self._sense():
            return convert.receipt_of(answer.receipt), convert.stake_of(answer.stake)


def _expected(found: ModelVersion, task: Task, asked: int) -> ModelVersion:
    """The version that a stream of weights begins with. Raises InvalidInput if it is not the one that was asked for."""
    if found.task != task.task:
        raise InvalidInput(
            f"weights of task {task.task} were asked for, of {found.task} are sent", reason="WrongVersion"
        )
    if asked and found.version != asked:
        raise InvalidInput(f"version {asked} was asked for, {found.version} is sent", reason="WrongVersion")
    if found.version < task.version and not asked:
        raise InvalidInput(
            f"version {task.version} has been announced, {found.version} is sent as the newest", reason="WrongVersion"
        )
    if task.announced is not None and found.version == task.version and found.digest != task.announced.digest:
        raise InvalidInput(f"version {found.version} has two digests", reason="TwoDigests")
    return found
