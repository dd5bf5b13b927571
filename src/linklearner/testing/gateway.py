"""A chain gateway whose chain is a few Python values: a real gRPC server, the domain's own merge, stakes and pay, nothing persisted.

    gateway = FakeGateway(seed=1)
    async with gateway.served() as address:
        ...

`tests/client` runs one suite against this and against a real gateway with its chain. Beyond what that suite promises, tests make it lie,
lose answers, hang, vanish and come back.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import numpy as np
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.domain.digest import model_digest, weight_bytes
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.errors import InvalidInput, InvalidUpdate, NotFound, Refused, RequestIdReused, Unavailable
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.model import ModelSpec, ModelVersion
from linklearner.domain.notation import UNIT_WEI
from linklearner.domain.rounds import Standing, Step, Terms
from linklearner.domain.rules.rule import Contribution as Contributed
from linklearner.domain.rules.table import rule_of
from linklearner.domain.shape import Shape
from linklearner.domain.stakes import MAX_ELIGIBLE, StakeLedger, influence
from linklearner.domain.tasks import (
    Balance,
    ChainStatus,
    Contribution,
    Mined,
    Round,
    RoundStatus,
    Settled,
    StakeStatus,
    Submitted,
    Task,
)
from linklearner.domain.update import Update
from linklearner.rpc import convert
from linklearner.rpc.server import RpcServer
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc

SERVICE: Final = "linklearner.v1.ChainGatewayService"
STREAMS: Final = ("GetModel", "WatchVersions")
CHAIN_ID: Final = 11820
POOL, TOKEN, ASPECT = b"\xaa" * 20, b"\xbb" * 20, b"\xcc" * 20
STAKE: Final = 1000
"""Units that each of the gateway's accounts has locked from the start."""
COIN: Final = 10**18
"""Wei that each of the gateway's accounts has."""
CHUNK: Final = 1000
"""Bytes in one message of GetModel; small, so that even a small model comes in several."""
MAX_REQUEST_ID: Final = 128
SUBMISSION_OVERHEAD: Final = 300
"""Bytes of a signed submission beside its update."""


def weights_of(seed: int, spec: ModelSpec = DIGITS, shape: Shape = SHAPE) -> NDArray[np.int16]:
    """(N,) int16: random weights of the model; another seed, another model."""
    return quantise_weights(spec.initial(seed), shape)


@dataclass
class Accepted:
    """An update in a round."""

    contribution: Contributed
    mined: Mined
    digest: bytes
    paid: int | None = None


@dataclass
class FakeRound:
    """base_version: of its updates. version: the one that it made, 0 until it is settled."""

    base_version: int
    contributions: list[Accepted] = field(default_factory=list)
    version: int = 0
    dropped: bool = False
    opened_s: int = 0
    first_update_s: int = 0
    settlements: tuple[Mined, ...] = ()
    settler: bytes = b""
    fee: int = 0


class FakeGateway(pb_grpc.ChainGatewayServiceServicer):
    """One task, its versions and rounds, and the stake and money of accounts. Every change makes a block.

    accounts: how many keys it holds, each with stake. seed: of the weights of version 1; None: still being loaded (until `publish`).
    """

    def __init__(
        self,
        *,
        task: int = 1,
        spec: ModelSpec = DIGITS,
        shape: Shape | None = None,
        accounts: int = 1,
        seed: int | None = None,
        chain_id: int = CHAIN_ID,
        terms: Terms | None = None,
    ) -> None:
        self.task = task
        self.model = spec.to_json()
        self.shape = shape or spec.shape(exponent=12, page_length=SHAPE.page_length, group_pages=2, norm_bound=2**25)
        self.chain_id = chain_id
        self.accounts = tuple(bytes([i + 1] * 20) for i in range(accounts))
        self.terms = terms or Terms(
            quorum=accounts,
            max_updates=20,
            round_seconds=60,
            drop_seconds=600,
            min_stake=1,
            settler_bps=500,
            reward=100 * 10**18,
        )
        self.block = 1
        self.head_time_s = 0
        """Unix seconds of the head; 0: now."""
        self.versions: list[ModelVersion] = []
        self.weights: list[NDArray[np.int16]] = []
        self.bodies: dict[int, bytes] = {}
        """By version: what is sent for its weights."""
        self.rounds: list[FakeRound] = []
        self.stakes = StakeLedger()
        self.tokens: dict[bytes, int] = {}
        self.coins = dict.fromkeys(self.accounts, COIN)
        self.auto_settle = True
        """Settle as soon as every account has an update in the round."""

        self.refuse = ""
        """The reason with which the next submission is refused."""
        self.lose = ""
        """What gets lost at the next submission: the "request", the "answer", or the "caller", who waits for an answer until he ends."""
        self.hold = asyncio.Event()
        """While not set, submissions wait."""
        self.hold.set()
        self.hanging = False
        """Calls are taken and not answered."""
        self.announcing = True
        """WatchVersions says what it knows."""
        self.lies: dict[str, Callable[[Any], Any]] = {}
        """By method: what a bad gateway makes of its answer (of each message of a stream), or raises instead."""
        self.submissions = self.balance_reads = self.chain_reads = 0
        """Calls so far."""

        self._answers: dict[str, tuple[bytes, Any]] = {}
        self._changed = asyncio.Event()
        for account in self.accounts:
            self.stakes.lock(account, STAKE)
        if seed is not None:
            self.publish(weights_of(seed, spec, self.shape))

    @asynccontextmanager
    async def served(self, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
        """Gives the address, host:port."""
        async with RpcServer(
            listen,
            lambda server: pb_grpc.add_ChainGatewayServiceServicer_to_server(_Rim(self), server),
            (SERVICE,),
            grace_s=0.05,
        ) as server:
            yield server.address

    # --- what happens on the chain

    def publish(
        self, weights: NDArray[np.int16], *, body: bytes | None = None, accepted: int = 0, saturated: int = 0
    ) -> ModelVersion:
        """The next version, made by the open round; the first one opens the first round. body: what is sent instead of its weights."""
        version = ModelVersion(
            task=self.task,
            version=len(self.versions) + 1,
            digest=model_digest(weights, self.shape),
            round=len(self.rounds),
            block_number=self._mine().block,
            accepted_count=accepted,
            saturated_count=saturated,
        )
        self.versions.append(version)
        self.weights.append(weights)
        self.bodies[version.version] = weight_bytes(weights) if body is None else body
        if self.rounds:
            self.rounds[-1].version = version.version
        self._next_round()
        return version

    def settle(self, settler: bytes = b"\x01" * 20) -> Settled:
        """Merges the open round and pays for it."""
        one = self.rounds[-1]
        updates = [accepted.contribution for accepted in one.contributions]
        rule = rule_of(self.terms.rule)
        one.fee, shares = rule.pay(self.terms, [update.weight for update in updates], self.stakes.eligible)
        for accepted, share in zip(one.contributions, shares, strict=True):
            accepted.paid = share
            self._credit(accepted.contribution.contributor, share)
        one.settler = settler
        self._credit(settler, one.fee)
        one.settlements = tuple(self._mine() for _ in range(self.shape.group_count))
        merged = rule.merge(self.weights[-1], updates, self.stakes.eligible, self.shape)
        version = self.publish(merged.weights, accepted=len(updates), saturated=merged.saturated)
        return Settled(one.settlements, version)

    def drop(self) -> None:
        """Gives up the open round."""
        self._mine()
        self.rounds[-1].dropped = True
        self._next_round()

    def set_stake(self, address: bytes, units: int) -> None:
        """What an address has locked from now on; it need not have the $LL."""
        self._mine()
        locked = self.stakes.of(address).amount
        if units > locked:
            self.stakes.lock(address, units - locked)
        elif units < locked:
            self.stakes.unlock(address, locked - units)

    def updates(self, round: int) -> list[Update]:
        """Those that a round has accepted."""
        return [accepted.contribution.update for accepted in self.rounds[round - 1].contributions]

    def version(self, version: int = 0) -> ModelVersion:
        """0: the newest. Raises NotFound."""
        if not 1 <= (version or len(self.versions)) <= len(self.versions):
            raise NotFound(
                f"task {self.task} has versions 1 to {len(self.versions)}, not {version}", reason="UnknownVersion"
            )
        return self.versions[(version or len(self.versions)) - 1]

    def _mine(self, length: int = 200) -> Mined:
        self.block += 1
        return Mined(bytes(keccak(self.block.to_bytes(8, "big"))), self.block, 100_000, length)

    def _next_round(self) -> None:
        self.rounds.append(FakeRound(base_version=len(self.versions), opened_s=int(time.time())))
        self.stakes.next_round()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _credit(self, account: bytes, wei: int) -> None:
        self.tokens[account] = self.tokens.get(account, 0) + wei

    def _debit(self, account: bytes, wei: int) -> None:
        if self.tokens.get(account, 0) < wei:
            _refuse("ERC20InsufficientBalance", "the account has too little $LL")
        self.tokens[account] = self.tokens.get(account, 0) - wei

    # --- questions

    async def GetChain(self, request: pb.GetChainRequest, context: Any) -> pb.GetChainResponse:  # noqa: N802
        self.chain_reads += 1
        head_time_s = self.head_time_s or int(time.time())
        return convert.chain_message(
            ChainStatus(self.chain_id, self.block, head_time_s, POOL, TOKEN, ASPECT, 0, "http://chain.invalid")
        )

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Any) -> pb.ListAccountsResponse:  # noqa: N802
        return pb.ListAccountsResponse(accounts=self.accounts)

    async def GetBalance(self, request: pb.GetBalanceRequest, context: Any) -> pb.GetBalanceResponse:  # noqa: N802
        self.balance_reads += 1
        account = convert.address_of(request.account, "account")
        if request.task:
            self._know(request.task)
        stake = self._stake(account) if request.task else None
        balance = Balance(self.tokens.get(account, 0), self.coins.get(account, 0), stake, self.block)
        return convert.balance_message(balance)

    async def GetTask(self, request: pb.GetTaskRequest, context: Any) -> pb.GetTaskResponse:  # noqa: N802
        self._know(request.task)
        one = self.rounds[-1] if self.rounds else FakeRound(0)
        rule, at = rule_of(self.terms.rule), self._standing()
        status = RoundStatus(
            round=len(self.rounds),
            accepted=len(one.contributions),
            present=sum(accepted.contribution.weight for accepted in one.contributions),
            eligible=self.stakes.eligible,
            merged_groups=0,
            first_update_s=one.first_update_s,
            phase=rule.phase(at),
            due=rule.due(self.terms, at),
        )
        newest = self.version() if self.versions else None
        task = Task(self.task, self.model, self.shape, self.terms, len(self.versions), newest, status)
        return pb.GetTaskResponse(task=convert.task_message(task))

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> AsyncIterator[pb.GetModelResponse]:  # noqa: N802
        self._know(request.task)
        version = self.version(request.version)
        yield pb.GetModelResponse(version=convert.version_message(version))
        body = self.bodies[version.version]
        for start in range(0, len(body), CHUNK):
            yield pb.GetModelResponse(weights=body[start : start + CHUNK])

    async def WatchVersions(  # noqa: N802
        self, request: pb.WatchVersionsRequest, context: Any
    ) -> AsyncIterator[pb.WatchVersionsResponse]:
        self._know(request.task)
        seen = request.after_version
        while True:
            changed = self._changed
            if self.announcing and not self.hanging:
                for version in self.versions[seen:]:
                    yield pb.WatchVersionsResponse(version=convert.version_message(version))
                    seen = version.version
            await changed.wait()

    async def GetRound(self, request: pb.GetRoundRequest, context: Any) -> pb.GetRoundResponse:  # noqa: N802
        self._know(request.task)
        number = request.round or len(self.rounds)
        if not 1 <= number <= len(self.rounds):
            raise NotFound(f"task {self.task} has rounds 1 to {len(self.rounds)}, not {number}")
        one = self.rounds[number - 1]
        contributions = tuple(
            Contribution(
                contributor=accepted.contribution.contributor,
                digest=accepted.digest,
                weight=accepted.contribution.weight,
                effective=accepted.contribution.effective,
                mined=accepted.mined,
                update_bytes=accepted.mined.length - SUBMISSION_OVERHEAD,
                paid=accepted.paid,
            )
            for accepted in one.contributions
        )
        version = self.version(one.version) if one.version else None
        settler = one.settler or (self.accounts[0] if version else b"")
        return convert.round_message(
            Round(number, one.base_version, contributions, version, one.settlements, settler, one.fee, one.dropped)
        )

    def _standing(self) -> Standing:
        one = self.rounds[-1] if self.rounds else FakeRound(0)
        since_s = one.first_update_s or one.opened_s
        return Standing(len(self.versions), len(one.contributions), self.stakes.eligible, 0, since_s)

    def _know(self, task: int) -> None:
        if task != self.task:
            raise NotFound(f"there is no task {task} at this pool", reason="UnknownTask", facts={"task": task})

    def _stake(self, account: bytes) -> StakeStatus:
        stake = self.stakes.of(account)
        return StakeStatus(self.stakes.eligible_of(account), stake.amount, stake.unlocking, stake.unlocked_in)

    # --- transactions

    async def SubmitUpdate(self, request: pb.SubmitUpdateRequest, context: Any) -> pb.SubmitUpdateResponse:  # noqa: N802
        self.submissions += 1
        await self.hold.wait()
        lose, self.lose = self.lose, ""
        if lose == "request":
            raise Unavailable("the chain is away", reason="ChainAway")
        try:
            answer = self._once(request, lambda: self._submit(request.account, request.update))
        finally:
            if lose == "caller":
                await asyncio.Event().wait()
            if lose == "answer":
                raise Unavailable("the answer got lost", reason="ChainAway")
        return convert.submitted_message(answer)

    def _submit(self, account: bytes, data: bytes) -> Submitted:
        if len(data) < 18:
            raise InvalidUpdate(f"an update begins with 18 bytes of header, these are {len(data)}")
        self._know(int.from_bytes(data[2:10], "big"))
        update = Update.decode(data, self.shape)
        if self.refuse:
            reason, self.refuse = self.refuse, ""
            _refuse(reason, "the chain says so")
        if not self.rounds:
            _refuse("TaskNotReady", "the first weights are being loaded")
        one = self.rounds[-1]
        stake = self.stakes.eligible_of(account)
        if any(accepted.contribution.contributor == account for accepted in one.contributions):
            _refuse("AlreadySubmitted", "one update per account and round is taken")
        if stake < self.terms.min_stake:
            _refuse("BelowMinimumStake", "lock more $LL for this task")
        if len(one.contributions) >= self.terms.max_updates:
            _refuse("RoundFull", "the round takes no more updates")
        if update.base_version != one.base_version:
            _refuse("StaleBase", f"the base is version {one.base_version}")
        weight = influence(stake, self.stakes.eligible)
        effective = rule_of(self.terms.rule).verdict(weight, update.squared_norm(self.shape), self.shape.norm_bound)
        digest = update.digest(self.shape)
        mined = self._mine(len(data) + SUBMISSION_OVERHEAD)
        one.first_update_s = one.first_update_s or int(time.time())
        one.contributions.append(Accepted(Contributed(account, weight, effective, update), mined, digest))
        submitted = Submitted(mined, digest, len(self.rounds), weight, effective)
        if self.auto_settle and len(one.contributions) == len(self.accounts):
            self.settle()
        return submitted

    async def SettleRound(self, request: pb.SettleRoundRequest, context: Any) -> pb.SettleRoundResponse:  # noqa: N802
        self._know(request.task)

        def act() -> Settled:
            if request.round != len(self.rounds):
                _refuse("WrongRound", f"round {request.round} is not the open one, round {len(self.rounds)} is")
            one = self.rounds[-1]
            if not one.contributions:
                _refuse("NoUpdates", "the round has no accepted update yet")
            due = rule_of(self.terms.rule).due(self.terms, self._standing())
            if not any(step.step is Step.SETTLED and step.from_s <= int(time.time()) for step in due):
                _refuse("RoundNotOver", "wait for more updates or for the end of the round")
            return self.settle(request.account)

        return convert.settled_message(self._once(request, act))

    async def LockStake(self, request: pb.LockStakeRequest, context: Any) -> pb.LockStakeResponse:  # noqa: N802
        self._know(request.task)

        def act() -> Mined:
            if not request.units:
                _refuse("ZeroUnits", "name at least one unit")
            if self.stakes.eligible + self.stakes.joining + request.units > MAX_ELIGIBLE:
                _refuse("StakeLimit", f"a task holds at most {MAX_ELIGIBLE} units")
            self._debit(request.account, request.units * UNIT_WEI)
            self.stakes.lock(request.account, request.units)
            return self._mine()

        return pb.LockStakeResponse(**self._staked(request, act))

    async def UnlockStake(self, request: pb.UnlockStakeRequest, context: Any) -> pb.UnlockStakeResponse:  # noqa: N802
        self._know(request.task)

        def act() -> Mined:
            if not request.units:
                _refuse("ZeroUnits", "name at least one unit")
            if request.units > self.stakes.of(request.account).amount:
                _refuse("InsufficientStake", "that much stake is not locked")
            self._credit(request.account, self.stakes.unlock(request.account, request.units) * UNIT_WEI)
            return self._mine()

        return pb.UnlockStakeResponse(**self._staked(request, act))

    async def WithdrawStake(self, request: pb.WithdrawStakeRequest, context: Any) -> pb.WithdrawStakeResponse:  # noqa: N802
        self._know(request.task)

        def act() -> Mined:
            if not self.stakes.withdrawable(request.account):
                if not self.stakes.of(request.account).unlocking:
                    _refuse("ZeroUnits", "name at least one unit")
                _refuse("StakeStillLocked", "withdraw when the round given has begun")
            self._credit(request.account, self.stakes.withdraw(request.account) * UNIT_WEI)
            return self._mine()

        return pb.WithdrawStakeResponse(**self._staked(request, act))

    def _staked(self, request: Any, act: Callable[[], Mined]) -> dict[str, Any]:
        """What every answer about stake holds."""
        receipt = convert.receipt_message(self._once(request, act))
        return {"receipt": receipt, "stake": convert.stake_message(self._stake(request.account))}

    async def Transfer(self, request: pb.TransferRequest, context: Any) -> pb.TransferResponse:  # noqa: N802
        to = convert.address_of(request.to, "to")
        amount = request.WhichOneof("amount")
        if amount is None:
            raise InvalidInput("name the amount: token_wei or coin_wei")
        wei = convert.wei_of(request.token_wei if amount == "token_wei" else request.coin_wei)

        def act() -> Mined:
            if amount == "token_wei":
                self._debit(request.account, wei)
                self._credit(to, wei)
                return self._mine()
            if self.coins[request.account] < wei:
                _refuse("InsufficientFunds", "send the account more of the chain's coin")
            self.coins[request.account] -= wei
            self.coins[to] = self.coins.get(to, 0) + wei
            return self._mine()

        return pb.TransferResponse(receipt=convert.receipt_message(self._once(request, act)))

    def _once(self, request: Any, act: Callable[[], Any]) -> Any:
        """What a request_id has come to, by `act` if it is new. Raises the refusal that it ended with, RequestIdReused."""
        account = convert.address_of(request.account, "account")
        if not 1 <= len(request.request_id) <= MAX_REQUEST_ID:
            raise InvalidInput(f"a request_id has 1 to {MAX_REQUEST_ID} characters, got {len(request.request_id)}")
        if account not in self.accounts:
            raise NotFound(f"this gateway does not hold the key of 0x{account.hex()}", reason="UnknownAccount")
        contents = type(request).__name__.encode() + request.SerializeToString(deterministic=True)
        if request.request_id not in self._answers:
            try:
                outcome = act()
            except Refused as refused:
                outcome = refused
            self._answers[request.request_id] = contents, outcome
        known, outcome = self._answers[request.request_id]
        if known != contents:
            raise RequestIdReused(f"the request_id {request.request_id!r} stands for another request")
        if isinstance(outcome, Refused):
            raise outcome
        return outcome


class _Rim:
    """The gateway's methods as a server calls them: hanging, and with what `lies` makes of their answers."""

    def __init__(self, gateway: FakeGateway) -> None:
        self._gateway = gateway

    def __getattr__(self, method: str) -> Callable[[Any, Any], AsyncIterator[Any] | Awaitable[Any]]:
        async def unary(request: Any, context: Any) -> Any:
            await self._awake()
            return self._told(method, await getattr(self._gateway, method)(request, context))

        async def streaming(request: Any, context: Any) -> AsyncIterator[Any]:
            await self._awake()
            async for message in getattr(self._gateway, method)(request, context):
                yield self._told(method, message)

        return streaming if method in STREAMS else unary

    def _told(self, method: str, answer: Any) -> Any:
        lie = self._gateway.lies.get(method)
        return answer if lie is None else lie(answer)

    async def _awake(self) -> None:
        while self._gateway.hanging:
            await asyncio.sleep(0.02)


def sets(**fields: object) -> Callable[[Any], Any]:
    """A lie that overwrites fields of an answer; `a__b` is field b of message a."""

    def lie(answer: Any) -> Any:
        spoilt = type(answer)()
        spoilt.CopyFrom(answer)
        for path, value in fields.items():
            *parents, name = path.split("__")
            message = spoilt
            for parent in parents:
                message = getattr(message, parent)
            setattr(message, name, value)
        return spoilt

    return lie


def _refuse(reason: str, why: str) -> NoReturn:
    raise Refused(f"{reason}: {why}", reason=reason)
