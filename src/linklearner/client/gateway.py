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
from linklearner.domain.errors import DataLoss, Exhausted, InvalidInput, Unavailable
from linklearner.domain.model import ModelVersion
from linklearner.domain.rounds import Terms
from linklearner.domain.rules.evidence.batches import decode_batch, is_committed
from linklearner.domain.rules.evidence.sets import ExampleBatches
from linklearner.domain.shape import Shape
from linklearner.domain.tasks import (
    Balance,
    ChainStatus,
    Claimed,
    Closed,
    Earnings,
    Funded,
    Mined,
    Opened,
    OpenedBatch,
    Round,
    Settled,
    StakeStatus,
    Submitted,
    Task,
)
from linklearner.rpc import convert
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc

SEND_S = 600.0
"""Seconds for a transaction. A gateway gives up on a receipt long before; this only ends a call whose gateway hangs."""
LOAD_BYTES, LOAD_S = 80_000, 10.0
"""Of a task's first weights in one transaction, and the seconds that each may take beyond that."""
STALL_S = 10.0
"""Seconds between two parts of a model's weights after which a download is given up."""
SLOWEST_BYTES_S = 100_000
"""A download that is slower on the whole is given up: a byte now and then must not hold its caller."""
CHUNK_BYTES = 1 << 20
"""Of the weights in one message, at most."""
LIST_BYTES = 64 << 20
"""Of the tasks that are listed at once: anyone may open tasks, and a gateway may make them up."""


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

    async def list_tasks(self, creator: bytes = b"", after_task: int = 0) -> tuple[Task, ...]:
        """All tasks of the pool, or of one creator (20 bytes), with a number above `after_task`, oldest first.

        Anyone opens tasks: what they mean is not looked at here (`Task.spec` raises for a model that this program cannot read). Raises
        Exhausted (TooManyTasks) for more than LIST_BYTES of them.
        """
        found: list[Task] = []
        size = 0
        while True:
            request = pb.ListTasksRequest(creator=creator, after_task=after_task)
            answer = await self._ask(self._stub.ListTasks, request)
            size += answer.ByteSize()
            if size > LIST_BYTES:
                raise Exhausted(
                    f"there are more than {LIST_BYTES >> 20} MiB of tasks: name their creator, or a task to begin after",
                    reason="TooManyTasks",
                    facts={"after_task": after_task},
                )
            with self._sense():
                for task in map(convert.task_of, answer.tasks):
                    if task.task <= after_task:
                        raise InvalidInput(f"tasks after {after_task} were asked for, {task.task} is described")
                    if creator and task.creator != creator:
                        raise InvalidInput(
                            f"tasks of 0x{creator.hex()} were asked for, one of 0x{task.creator.hex()} is described"
                        )
                    after_task = task.task
                    found.append(task)
                if answer.more and not answer.tasks:
                    raise InvalidInput("more tasks are promised in a page that has none")
            if not answer.more:
                return tuple(found)

    async def earnings(self, account: bytes, task: int) -> Earnings:
        """account: 20 bytes. With its record, where the task's rule keeps one. Raises NotFound for an unknown task."""
        answer = await self._ask(self._stub.GetEarnings, pb.GetEarningsRequest(account=account, task=task))
        with self._sense():
            return convert.earned_of(answer)

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
                        # the first part comes when the gateway has read all of it from its chain, and checked it
                        patience = STALL_S if found is not None else STALL_S + expected / SLOWEST_BYTES_S
                        async with asyncio.timeout(patience):
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

    async def examples(self, task: Task, first_batch: int = 0) -> tuple[OpenedBatch, ...]:
        """What a task by rule `evidence` has opened, from that batch on, oldest first; () for a task by another rule.

        Each is the batch that the root in `task` binds to its place, and whole examples of the task's network: a gateway that makes up
        others has to make up the root, too, and so the verdicts of all rounds (`linklearner verify`). Raises DataLoss, Unavailable where
        the stream stalls.
        """
        if task.examples is None:
            return ()
        with self._sense():
            network = task.network
        found: list[OpenedBatch] = []
        most = task.examples.batches - first_batch
        with self._errors(), self._sense():
            stream = self._stub.GetExamples(pb.GetExamplesRequest(task=task.task, first_batch=first_batch))
            parts = aiter(stream)
            try:
                async with asyncio.timeout(READ_S):
                    async for part in parts:
                        batch = convert.opened_batch_of(part)
                        if len(found) == most:
                            raise InvalidInput(f"the set has {task.examples.batches} batches, more are sent")
                        if batch.batch != first_batch + len(found):
                            raise InvalidInput(f"batch {first_batch + len(found)} comes next, {batch.batch} is sent")
                        if not is_committed(task.examples.root, batch.batch, batch.examples, batch.proof):
                            raise InvalidInput(
                                f"what is sent as batch {batch.batch} is not what the task's creator committed to",
                                reason="WrongExamples",
                            )
                        decode_batch(batch.examples, network)
                        found.append(batch)
            except TimeoutError as late:
                raise Unavailable(
                    f"the gateway at {self.address} stopped answering in the middle of a download", reason="Stalled"
                ) from late
            finally:
                stream.cancel()
        return tuple(found)

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

    async def open_task(
        self,
        request_id: str,
        account: bytes,
        model: str,
        shape: Shape,
        terms: Terms,
        weights: bytes,
        examples: ExampleBatches | None = None,
    ) -> Opened:
        """Opens a task, the account's, and loads its first weights: little-endian int16, as many as the shape has.

        examples: by which rule `evidence` judges; the gateway keeps and opens them, and must be the creator's own, or trusted not to show
        them to anybody.

        Several transactions; one that was interrupted goes on when it is repeated. Raises InvalidInput for weights of another length,
        Refused (BadTerms, …), DataLoss if something else than these weights became version 1.
        """
        expected = 2 * shape.weight_count
        if len(weights) != expected:
            raise InvalidInput(f"the model has {expected} bytes of weights, not {len(weights)}", reason="WrongLength")

        async def parts() -> AsyncIterator[pb.OpenTaskRequest]:
            yield pb.OpenTaskRequest(
                plan=pb.OpenTaskRequest.Plan(
                    request_id=request_id,
                    account=account,
                    model=model,
                    shape=shape.encode(),
                    terms=convert.terms_message(terms),
                    input_exponent=0 if examples is None else examples.input_exponent,
                )
            )
            for batch in () if examples is None else examples.batches:
                yield pb.OpenTaskRequest(examples=batch)
            for start in range(0, len(weights), CHUNK_BYTES):
                yield pb.OpenTaskRequest(weights=weights[start : start + CHUNK_BYTES])

        loading_s = LOAD_S * len(weights) / LOAD_BYTES  # one transaction after another
        answer = await self._ask(self._stub.OpenTask, parts(), SEND_S + loading_s)
        with self._sense():
            opened = convert.opened_of(answer)
        digest = await asyncio.to_thread(model_digest, np.frombuffer(weights, "<i2").astype(np.int16), shape)
        if (opened.version.version, opened.version.digest) != (1, digest):
            raise DataLoss(
                f"the gateway at {self.address} says that task {opened.task} began with version {opened.version.version} of digest "
                f"{opened.version.digest.hex()}, the weights sent give {digest.hex()}: ask another one",
                reason="WrongDigest",
                facts={"task": opened.task},
            )
        return opened

    async def fund_task(self, request_id: str, account: bytes, task: int, amount_wei: int) -> Funded:
        """Adds $LL of the account to a task's pot. Raises Refused (TaskIsClosing, ERC20InsufficientBalance)."""
        request = pb.FundTaskRequest(
            request_id=request_id, account=account, task=task, amount_wei=convert.wei_message(amount_wei)
        )
        answer = await self._ask(self._stub.FundTask, request, SEND_S)
        with self._sense():
            return convert.funded_of(answer)

    async def grant_emission(self, request_id: str, account: bytes, task: int, amount_wei: int) -> Funded:
        """Adds new $LL to a task's pot; the account owns the pool. Raises Refused (BeyondEmission, OwnableUnauthorizedAccount)."""
        request = pb.GrantEmissionRequest(
            request_id=request_id, account=account, task=task, amount_wei=convert.wei_message(amount_wei)
        )
        answer = await self._ask(self._stub.GrantEmission, request, SEND_S)
        with self._sense():
            return convert.funded_of(answer)

    async def close_task(self, request_id: str, account: bytes, task: int) -> Closed:
        """No round opens after the open one; the account opened the task. Raises Refused (NotCreator, TaskIsClosing)."""
        request = pb.CloseTaskRequest(request_id=request_id, account=account, task=task)
        answer = await self._ask(self._stub.CloseTask, request, SEND_S)
        with self._sense():
            return convert.closed_of(answer)

    async def claim(self, request_id: str, account: bytes, task: int) -> Claimed:
        """Pays out to the account what it has earned in a task and its fees; nothing is sent where that is nothing."""
        request = pb.ClaimEarningsRequest(request_id=request_id, account=account, task=task)
        answer = await self._ask(self._stub.ClaimEarnings, request, SEND_S)
        with self._sense():
            return convert.claimed_of(answer)

    async def lock(self, request_id: str, account: bytes, task: int, units: int) -> tuple[Mined, StakeStatus]:
        """Counts in rounds that open one to two times the task's `stake_seconds` later."""
        request = pb.LockStakeRequest(request_id=request_id, account=account, task=task, units=units)
        return self._stake(await self._ask(self._stub.LockStake, request, SEND_S))

    async def unlock(self, request_id: str, account: bytes, task: int, units: int) -> tuple[Mined, StakeStatus]:
        """Stops counting, may be withdrawn the task's `stake_seconds` later, and not before the end of a round with an update of the
        account."""
        request = pb.UnlockStakeRequest(request_id=request_id, account=account, task=task, units=units)
        return self._stake(await self._ask(self._stub.UnlockStake, request, SEND_S))

    async def withdraw(self, request_id: str, account: bytes, task: int) -> tuple[Mined, StakeStatus]:
        """Raises Refused (StakeStillLocked) before its time."""
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
