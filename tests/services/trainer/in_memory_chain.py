"""A chain gateway whose chain is a Python object: the domain's own merge, stakes all alike, nothing persisted. For the trainer's tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.domain.digest import model_digest
from linklearner.domain.digits import DIGITS
from linklearner.domain.errors import NotFound, Refused, RequestIdReused, Unavailable
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.model import ModelSpec
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.shape import Shape
from linklearner.domain.stakes import influence
from linklearner.domain.update import Update
from linklearner.rpc.server import RpcServer
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc
from linklearner.v1 import model_pb2

STAKE = 1000
TASK = 1


@dataclass
class Round:
    base_version: int
    contributions: list[tuple[Contribution, bytes, int]] = field(default_factory=list)
    version: int = 0
    dropped: bool = False


class InMemoryChain(pb_grpc.ChainGatewayServiceServicer):
    """One task, `digits` unless told otherwise. Settles by itself when every account has an update in the round.

    refuse: the reason with which the next submission is refused. lose: what gets lost at the next submission, the "request", the "answer",
    or the "caller", who waits for an answer until he is killed. hold: while not set, submissions wait. lies: by method, what a bad gateway
    makes of the answer, or raises instead of it; of each message of a stream.
    """

    def __init__(self, accounts: int = 1, spec: ModelSpec = DIGITS, seed: int = 1, chain_id: int = 1337) -> None:
        self.accounts = [bytes([i + 1] * 20) for i in range(accounts)]
        self.spec = spec
        self.shape: Shape = spec.shape(12, 2048, 2, 2**25)
        self.versions: list[NDArray[np.int16]] = [quantise_weights(spec.initial(seed), self.shape)]
        self.rounds = [Round(base_version=1)]
        self.chain_id = chain_id
        self.auto_settle = True
        self.refuse = ""
        self.lose = ""
        self.tamper = False
        self.hold = asyncio.Event()
        self.hold.set()
        self.submissions = 0
        self.lies: dict[str, Callable[[Any], Any]] = {}
        self._answers: dict[str, tuple[bytes, pb.SubmitUpdateResponse | Refused]] = {}
        self._moved = asyncio.Condition()

    def server(self, listen: str = "127.0.0.1:0") -> RpcServer:
        return RpcServer(
            listen,
            lambda server: pb_grpc.add_ChainGatewayServiceServicer_to_server(_Liar(self), server),  # type: ignore[arg-type]
            ("linklearner.v1.ChainGatewayService",),
        )

    def updates(self, round: int) -> list[Update]:
        return [contribution.update for contribution, _, _ in self.rounds[round - 1].contributions]

    async def settle(self) -> None:
        one = self.rounds[-1]
        merged = MEAN.merge(
            self.versions[-1], [c for c, _, _ in one.contributions], STAKE * len(self.accounts), self.shape
        )
        self.versions.append(merged.weights)
        one.version = len(self.versions)
        await self._next()

    async def drop(self) -> None:
        self.rounds[-1].dropped = True
        await self._next()

    async def _next(self) -> None:
        self.rounds.append(Round(base_version=len(self.versions)))
        async with self._moved:
            self._moved.notify_all()

    def _version(self, version: int) -> model_pb2.ModelVersion:
        if not 1 <= version <= len(self.versions):
            raise NotFound(f"version {version} does not exist")
        maker = next((i for i, one in enumerate(self.rounds, 1) if one.version == version), 0)
        return model_pb2.ModelVersion(
            task=TASK,
            version=version,
            digest=model_digest(self.versions[version - 1], self.shape),
            round=maker,
            accepted_count=len(self.rounds[maker - 1].contributions) if maker else 0,
        )

    async def GetChain(self, request: pb.GetChainRequest, context: object) -> pb.GetChainResponse:  # noqa: N802
        return pb.GetChainResponse(chain_id=self.chain_id, pool=b"\xaa" * 20)

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: object) -> pb.ListAccountsResponse:  # noqa: N802
        return pb.ListAccountsResponse(accounts=self.accounts)

    async def GetTask(self, request: pb.GetTaskRequest, context: object) -> pb.GetTaskResponse:  # noqa: N802
        if request.task != TASK:
            raise NotFound(f"task {request.task} does not exist")
        return pb.GetTaskResponse(
            task=model_pb2.Task(
                task=TASK,
                model=self.spec.to_json(),
                shape=self.shape.encode(),
                version=self._version(len(self.versions)),
                round=model_pb2.RoundStatus(round=len(self.rounds), accepted_count=len(self.rounds[-1].contributions)),
            )
        )

    async def GetModel(self, request: pb.GetModelRequest, context: object) -> AsyncIterator[pb.GetModelResponse]:  # noqa: N802
        version = request.version or len(self.versions)
        yield pb.GetModelResponse(version=self._version(version))
        data = bytearray(self.versions[version - 1].astype("<i2").tobytes())
        if self.tamper:
            data[7] ^= 1
        for start in range(0, len(data), 1000):
            yield pb.GetModelResponse(weights=bytes(data[start : start + 1000]))

    async def WatchVersions(  # noqa: N802
        self, request: pb.WatchVersionsRequest, context: object
    ) -> AsyncIterator[pb.WatchVersionsResponse]:
        seen = request.after_version
        while True:
            while seen < len(self.versions):
                seen += 1
                yield pb.WatchVersionsResponse(version=self._version(seen))
            async with self._moved:
                await self._moved.wait()

    async def SubmitUpdate(self, request: pb.SubmitUpdateRequest, context: object) -> pb.SubmitUpdateResponse:  # noqa: N802
        self.submissions += 1
        await self.hold.wait()
        lose, self.lose = self.lose, ""
        if lose == "request":
            raise Unavailable("the chain is away", reason="ChainAway")
        contents = request.account + request.update
        if request.request_id in self._answers:
            known, answer = self._answers[request.request_id]
            if known != contents:
                raise RequestIdReused("another update has this request_id")
        else:
            answer = self._submit(request)
            self._answers[request.request_id] = (contents, answer)
            if self.auto_settle and len(self.rounds[-1].contributions) == len(self.accounts):
                await self.settle()
        if lose == "caller":
            await asyncio.Event().wait()
        if lose == "answer":
            raise Unavailable("the answer got lost", reason="ChainAway")
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _submit(self, request: pb.SubmitUpdateRequest) -> pb.SubmitUpdateResponse | Refused:
        update = Update.decode(request.update, self.shape)
        one = self.rounds[-1]
        if self.refuse:
            reason, self.refuse = self.refuse, ""
            return Refused(f"{reason}: the chain says so", reason=reason)
        if update.base_version != one.base_version:
            return Refused(f"StaleBase: the base is version {one.base_version}", reason="StaleBase")
        if any(contribution.contributor == request.account for contribution, _, _ in one.contributions):
            return Refused("AlreadySubmitted: one update a round", reason="AlreadySubmitted")
        weight = influence(STAKE, STAKE * len(self.accounts))
        effective = MEAN.verdict(weight, update.squared_norm(self.shape), self.shape.norm_bound)
        one.contributions.append(
            (Contribution(request.account, weight, effective, update), update.digest(self.shape), len(request.update))
        )
        return pb.SubmitUpdateResponse(
            receipt=self._receipt(request.update),
            digest=update.digest(self.shape),
            round=len(self.rounds),
            weight_units=weight,
            effective_units=effective,
        )

    def _receipt(self, update: bytes) -> pb.Receipt:
        return pb.Receipt(transaction_hash=keccak(update), block_number=len(self.rounds), gas_used=100_000)

    async def GetRound(self, request: pb.GetRoundRequest, context: object) -> pb.GetRoundResponse:  # noqa: N802
        number = request.round or len(self.rounds)
        if number > len(self.rounds):
            raise NotFound(f"round {number} is not open yet")
        one = self.rounds[number - 1]
        return pb.GetRoundResponse(
            round=number,
            base_version=one.base_version,
            contributions=[
                pb.Contribution(
                    contributor=contribution.contributor,
                    digest=digest,
                    weight_units=contribution.weight,
                    effective_units=contribution.effective,
                    receipt=self._receipt(contribution.update.encode(self.shape)),
                    update_bytes=size,
                )
                for contribution, digest, size in one.contributions
            ],
            version=self._version(one.version) if one.version else None,
            dropped=one.dropped,
        )


class _Liar:
    """The chain's methods, with what `lies` makes of their answers."""

    def __init__(self, chain: InMemoryChain) -> None:
        self._chain = chain

    def __getattr__(self, method: str) -> Any:
        def told(answer: Any) -> Any:
            lie = self._chain.lies.get(method)
            return answer if lie is None else lie(answer)

        async def unary(request: Any, context: Any) -> Any:
            return told(await getattr(self._chain, method)(request, context))

        async def streaming(request: Any, context: Any) -> AsyncIterator[Any]:
            async for message in getattr(self._chain, method)(request, context):
                yield told(message)

        return streaming if method in ("GetModel", "WatchVersions") else unary
