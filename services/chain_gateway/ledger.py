"""The use cases: what a gateway does for those who hold no key.

Everything that sends goes through the outbox under the caller's request_id; everything that reads names the block it was read at or comes
from the event index.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from typing import Any, Final, Generic, TypeVar

import numpy as np
from eth_hash.auto import keccak

from linklearner.abi import Interface
from linklearner.domain import gas
from linklearner.domain.digest import model_digest
from linklearner.domain.errors import (
    DataLoss,
    InvalidInput,
    InvalidUpdate,
    LinkLearnerError,
    NotFound,
    Refused,
    Unavailable,
)
from linklearner.domain.model import ModelVersion
from linklearner.domain.replay import Settlement
from linklearner.domain.rounds import Terms
from linklearner.domain.rules.rule import Contribution as Contributed
from linklearner.domain.rules.table import rule_of
from linklearner.domain.shape import Shape
from linklearner.domain.tasks import (
    Balance,
    Contribution,
    Mined,
    Round,
    RoundStatus,
    Settled,
    StakeStatus,
    Submitted,
    Task,
)
from linklearner.domain.update import Update, join
from services.chain_gateway.aspect import read_weights
from services.chain_gateway.chain import Call, Chain
from services.chain_gateway.deployment import POOL, TOKEN, Deployment
from services.chain_gateway.events import Event, EventIndex
from services.chain_gateway.heads import Head
from services.chain_gateway.outbox import Outbox, Outcome, Prepare, Request, State, always

STANDSTILL_S: Final = 2.0
"""A chain without a new block for so long makes none unless asked; Artela makes one a second at least."""
CACHED_WEIGHT_BYTES: Final = 256 << 20
"""Weights of verified versions kept in memory, and calldata of submissions beside them: so that five trainers cost one read."""
STAKE_GAS: Final = {"lock": gas.LOCK, "unlock": gas.UNLOCK, "withdraw": gas.WITHDRAW}

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Submission:
    """The calldata of an accepted update."""

    header: bytes = field(repr=False)
    groups: tuple[bytes, ...] = field(repr=False)
    mined: Mined


class Ledger:
    """All that a gateway does with one deployment."""

    def __init__(
        self,
        chain: Chain,
        outbox: Outbox,
        events: EventIndex,
        deployment: Deployment,
        *,
        max_head_age_s: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """max_head_age_s: refuse to work on a chain whose newest block is older; 0 for a chain that makes blocks on demand only."""
        self.chain = chain
        self.deployment = deployment
        self.events = events
        self._outbox = outbox
        self._max_head_age_s = max_head_age_s
        self._clock = clock
        self._weights = _Kept[tuple[int, int], bytes](CACHED_WEIGHT_BYTES, len)
        self._submissions = _Kept[bytes, Submission](CACHED_WEIGHT_BYTES, lambda kept: sum(map(len, kept.groups)))
        self._mined = _Kept[bytes, Mined](100_000, lambda _: 1)
        self._shapes: dict[int, Shape] = {}
        self._views: dict[tuple[bytes, bytes], asyncio.Task[bytes]] = {}
        self._views_at = b""

    @property
    def accounts(self) -> tuple[bytes, ...]:
        return self._outbox.accounts

    # -- reading

    async def head(self) -> Head:
        """The newest block. Raises Unavailable if it is older than it may be."""
        head = await self.chain.head()
        self.check_age(head)
        return head

    def check_age(self, head: Head) -> None:
        """Raises Unavailable for a block that is too old to be the newest."""
        age = self._clock() - head.time_s
        if 0 < self._max_head_age_s < age:
            raise Unavailable(
                f"the chain's newest block {head.number} is {age:.0f} s old, {self._max_head_age_s:g} s are allowed: "
                "the node is stuck or lagging behind",
                reason="StaleChain",
                facts={"head": head.number, "age_s": int(age)},
            )

    async def balance(self, account: bytes, task: int) -> Balance:
        """The stake is read too unless task is 0. Raises NotFound for an unknown task."""
        block = (await self.head()).number
        token, coin = await asyncio.gather(
            self._view(TOKEN, self.deployment.token, "balanceOf", account, block=block),
            self.chain.balance(account, block),
        )
        stake = await self.stake(account, task, block) if task else None
        return Balance(token["0"], coin, stake, block)

    async def stake(self, account: bytes, task: int, block: int | None = None) -> StakeStatus:
        """Raises NotFound for an unknown task."""
        stake, unlocking = await asyncio.gather(
            self._pool("stakeOf", task, account, block=block), self._pool("unlockingOf", task, account, block=block)
        )
        return StakeStatus(stake["eligible"], stake["locked"], unlocking["units"], unlocking["round"])

    async def task(self, task: int) -> Task:
        """Raises NotFound for an unknown task."""
        block = (await self.head()).number
        status = (await self._pool("taskOf", task, block=block))["status"]
        await self.events.sync(block)
        opened = self._opened(task)
        version: int = status["version"]
        return Task(
            task,
            opened.values["model"],
            self.shape(task),
            _terms(opened.values["terms"]),
            version,
            self._version(task, version) if version else None,
            RoundStatus(
                status["round"],
                status["accepted"],
                status["present"],
                status["eligible"],
                status["merged"],
                status["firstAt"],
                status["openedAt"],
            ),
        )

    def tasks(self) -> tuple[int, ...]:
        """The tasks that are known so far."""
        return tuple(event.values["task"] for event in self.events.find("TaskOpened"))

    def shape(self, task: int) -> Shape:
        """Of a task whose opening is known. Raises NotFound."""
        if task not in self._shapes:
            self._shapes[task] = Shape.decode(self._opened(task).values["shape"])
        return self._shapes[task]

    async def model(self, task: int, version: int) -> tuple[ModelVersion, bytes]:
        """A version (0: the newest) and its weights, little-endian int16, whose digest has been checked.

        Raises NotFound for an unknown version or one whose state the node no longer has, DataLoss if the weights are others than announced.
        """
        head = (await self.head()).number
        await self.events.sync(head)
        self._opened(task)
        announced = self._version(task, version)
        key = (task, announced.version)
        data = self._weights.get(key)
        if data is None:
            data = await self._read_weights(announced, head)
            self._weights.put(key, data)
        return announced, data

    async def _read_weights(self, announced: ModelVersion, head: int) -> bytes:
        shape = self.shape(announced.task)
        # At the newest block if that still is this version (old state may be pruned), else at the block that announced it.
        for block in (head, announced.block_number):
            weights = await read_weights(self.chain, self.deployment.aspect, announced.task, shape, block)
            if (weights.version, weights.merged_groups) == (announced.version, 0):
                break
        else:
            raise NotFound(
                f"version {announced.version} of task {announced.task} stands at the end of no block: the next one began in the same",
                reason="StateGone",
            )
        digest = model_digest(np.frombuffer(weights.data, "<i2"), shape)
        if digest != announced.digest:
            raise DataLoss(
                f"the chain's weights of task {announced.task}, version {announced.version}, do not give the announced digest",
                facts={"announced": "0x" + announced.digest.hex(), "actual": "0x" + digest.hex(), "block": block},
            )
        return weights.data

    async def watch_versions(self, task: int, after: int) -> AsyncIterator[ModelVersion]:
        """Every version above `after`, oldest first, for ever. Raises NotFound for an unknown task."""
        await self.events.sync()
        self._opened(task)
        while True:
            generation = self.events.generation
            for event in self.events.find("ModelUpdated", task, above=after):
                announced = _announced(event)
                after = announced.version
                yield announced
            await self.events.wait(generation, 60.0)

    async def round(self, task: int, number: int) -> Round:
        """A round with its contributions; 0: the open one. Raises NotFound for a round that has not begun."""
        head = (await self.head()).number
        status = (await self._pool("taskOf", task, block=head))["status"]
        await self.events.sync(head)
        number = number or status["round"]
        if not 1 <= number <= status["round"]:
            raise NotFound(
                f"task {task} has rounds 1 to {status['round']}, not {number}"
                if status["round"]
                else f"task {task} has no round yet: its first weights are being loaded"
            )
        merges = self.events.find("GroupMerged", task, second=number)
        versions = [_announced(event) for event in self.events.find("ModelUpdated", task)]
        made = self._made_by(task, number)
        dropped = self.events.find("RoundDropped", task, second=number)
        if made is not None:
            base = made.version - 1
        else:
            end = dropped[0].block if dropped else head
            base = max((version.version for version in versions if version.block_number <= end), default=0)
        paid = {
            event.values["contributor"]: event.values["amount"]
            for event in self.events.find("ContributionPaid", task, second=number)
        }
        fee = self.events.find("SettlerPaid", task, second=number)
        accepted = self.events.find("UpdateAccepted", task, second=number)
        submissions = await asyncio.gather(*(self.submission(event.transaction) for event in accepted))
        contributions = tuple(
            Contribution(
                event.values["contributor"],
                event.values["digest"],
                event.values["weight"],
                event.values["effective"],
                submission.mined,
                len(submission.header) + sum(map(len, submission.groups)),
                paid.get(event.values["contributor"]) if made is not None else None,
            )
            for event, submission in zip(accepted, submissions, strict=True)
        )
        settlements = tuple(await asyncio.gather(*(self._transaction(event.transaction) for event in merges)))
        settler = b""
        if made is not None:
            settler = fee[0].values["settler"] if fee else (await self.chain.landed(merges[-1].transaction)).sender
        return Round(
            number,
            base,
            contributions,
            made,
            settlements,
            settler,
            fee[0].values["amount"] if fee else 0,
            bool(dropped),
        )

    async def submission(self, transaction: bytes) -> Submission:
        """What an accepted update's transaction carried."""
        kept = self._submissions.get(transaction)
        if kept is not None:
            return kept
        landed, mined = await asyncio.gather(self.chain.landed(transaction), self._transaction(transaction))
        if landed.call.to != self.deployment.pool:
            raise DataLoss(f"transaction 0x{transaction.hex()} made the pool accept an update and does not go to it")
        try:
            call = POOL.decode_call(landed.call.data)
        except InvalidInput as error:
            raise DataLoss(
                f"the pool accepted an update by transaction 0x{transaction.hex()}, which cannot be read: {error.message}"
            ) from error
        if call.name != "submit":
            raise DataLoss(f"the pool accepted an update by transaction 0x{transaction.hex()}, which calls {call.name}")
        submission = Submission(call.values["header"], call.values["groups"], mined)
        self._submissions.put(transaction, submission)
        return submission

    async def _transaction(self, transaction: bytes) -> Mined:
        kept = self._mined.get(transaction)
        if kept is None:
            landed, receipt = await asyncio.gather(self.chain.landed(transaction), self.chain.receipt(transaction))
            if receipt is None:
                raise Unavailable(f"the node has transaction 0x{transaction.hex()} and no receipt for it yet; retry")
            kept = Mined(transaction, receipt.block_number, receipt.gas_used, landed.length)
            self._mined.put(transaction, kept)
        return kept

    # -- sending

    async def submit_update(self, request_id: str, account: bytes, update: bytes) -> Submitted:
        """Sends one update. Raises InvalidUpdate for bytes that the task cannot read, Refused with the chain's reason."""

        async def prepare() -> Call:
            return await self.submit_call(update)

        outcome = await self._send(request_id, account, "submit", update, prepare)
        accepted = next(
            decoded.values
            for entry in outcome.receipt.logs
            if (decoded := POOL.decode_log(entry.topics, entry.data)) and decoded.name == "UpdateAccepted"
        )
        mined = _mined(outcome)
        decoded_update = Update.decode(update, shape := self.shape(accepted["task"]))
        self._keep(Submission(decoded_update.header(shape), decoded_update.groups(shape), mined))
        self.events.poke()
        return Submitted(mined, accepted["digest"], accepted["round"], accepted["weight"], accepted["effective"])

    async def submit_call(self, update: bytes) -> Call:
        """The transaction that submits an update. Raises InvalidUpdate, NotFound for its task."""
        if len(update) < 18:
            raise InvalidUpdate(f"an update begins with 18 bytes of header, these are {len(update)}")
        task = int.from_bytes(update[2:10], "big")
        await self._know(task)
        shape = self.shape(task)
        decoded = Update.decode(update, shape)
        data = POOL.encode_call(
            "submit", task, decoded.digest(shape), decoded.header(shape), list(decoded.groups(shape))
        )
        return Call(self.deployment.pool, data, known_gas=gas.submit_limit(data, decoded, shape))

    def _keep(self, submission: Submission) -> None:
        """What we have sent ourselves need not be read from the chain."""
        self._submissions.put(submission.mined.transaction, submission)
        self._mined.put(submission.mined.transaction, submission.mined)

    async def settle(self, request_id: str, account: bytes, task: int, number: int) -> Settled:
        """Settles a round, group after group; groups that others merge meanwhile are theirs.

        Raises Refused: WrongRound if it is not the open one, RoundNotOver, NoUpdates.
        """
        contents = task.to_bytes(8, "big") + number.to_bytes(8, "big")
        await self._know(task)
        steps = [f"{request_id}/group/{group}" for group in range(self.shape(task).group_count)]
        ours = [self._outbox.state(step) not in (None, State.PLANNED, State.REFUSED) for step in steps]
        merged = await self._merged(task, number)
        if merged is None and not any(ours):
            raise await self._wrong_round(task, number)
        mined: list[Mined] = []
        for group, step in enumerate(steps):
            if not ours[group] and (merged is None or group < merged):
                continue  # somebody else did this one
            request = Request(request_id=step, account=account, kind="settle", contents=contents)
            try:
                outcome = await self._settle_group(request, partial(self.settle_call, task, number, group))
            except Refused as refused:
                if refused.reason not in ("WrongGroup", "WrongRound"):
                    raise
                merged = await self._merged(task, number)
                if merged is not None and merged <= group:
                    raise
                continue  # somebody else was faster
            mined.append(_mined(outcome))
            self._mined.put(mined[-1].transaction, mined[-1])
        await self.events.sync(max((part.block for part in mined), default=0))
        made = self._made_by(task, number)
        if made is None:
            raise Unavailable(f"round {number} of task {task} is merged in part; repeat the request to go on")
        if not mined:
            raise await self._wrong_round(task, number)
        return Settled(tuple(mined), made)

    async def _settle_group(self, request: Request, prepare: Prepare) -> Outcome:
        try:
            return await self._fulfil(request, prepare)
        except Refused as refused:
            ends_at = int(refused.facts.get("endsAt", 0))
            if refused.reason != "RoundNotOver" or not await self._stands_still_before(ends_at):
                raise
        # A chain that makes blocks on demand only stands still in time, too: the round ends with the block that we cause.
        tick = Request(request_id=f"{request.request_id}/{ends_at}", account=request.account, kind="tick", contents=b"")
        await self._fulfil(tick, always(Call(request.account)))
        return await self._fulfil(request, prepare)

    async def _stands_still_before(self, time_s: int) -> bool:
        """Whether the chain's clock is before a time that has passed, and no block comes to change that."""
        if self._clock() < time_s:
            return False
        before = await self.chain.head()
        await asyncio.sleep(STANDSTILL_S)
        return before.time_s < time_s and (await self.chain.head()).number == before.number

    async def _merged(self, task: int, number: int) -> int | None:
        """Groups of a round that are merged; None if it is not the open one."""
        status = await self._status(task)
        return status["merged"] if status["round"] == number else None

    async def _status(self, task: int) -> dict[str, Any]:
        """The open round, at the newest block."""
        block = (await self.chain.head()).number
        status: dict[str, Any] = (await self._pool("taskOf", task, block=block))["status"]
        return status

    async def _wrong_round(self, task: int, number: int) -> Refused:
        current = (await self._status(task))["round"]
        return Refused(
            f"round {number} of task {task} is not the open one, round {current} is",
            reason="WrongRound",
            facts={"given": number, "current": current},
        )

    def _made_by(self, task: int, number: int) -> ModelVersion | None:
        versions = map(_announced, self.events.find("ModelUpdated", task))
        return next((version for version in versions if version.round == number), None)

    async def settle_call(self, task: int, number: int, group: int) -> Call:
        """The transaction that merges one group of a round, from the chain's history. Raises Refused (WrongRound)."""
        await self.events.sync()
        if await self._merged(task, number) is None:
            raise await self._wrong_round(task, number)
        settlements = await self.settlements(task, number, group)
        call = self.settle_with(task, number, group, settlements)
        return replace(call, known_gas=await self._settle_gas(call.data, task, number, group, settlements))

    async def _settle_gas(
        self, data: bytes, task: int, number: int, group: int, settlements: Sequence[Settlement]
    ) -> int | None:
        """A limit for a settlement, None if the updates are not such as we can read: then the node is to say.

        Raises Refused (GasLimitTooHigh) if no block holds it.
        """
        shape, terms = self.shape(task), _terms(self._opened(task).values["terms"])
        events = self.events.find("UpdateAccepted", task, second=number)
        submissions = await asyncio.gather(*(self.submission(event.transaction) for event in events))
        try:
            updates = [Update.decode(join(one.header, one.groups), shape) for one in submissions]
        except InvalidUpdate:
            return None
        merged = None
        try:
            status = await self._status(task)
            _, weights = await self.model(task, 0)
            base = np.frombuffer(weights, "<i2").astype(np.int16)
            pages = shape.group_page_range(group)
            contributions = [
                Contributed(one.contributor, one.weight, one.effective, update.within(pages, shape))
                for one, update in zip(settlements, updates, strict=True)
            ]
            merged = await asyncio.to_thread(rule_of(terms.rule).merge, base, contributions, status["eligible"], shape)
        except LinkLearnerError:
            pass  # the base is not to be had: then every page is taken to change
        paid = {event.values["contributor"] for event in self.events.find("ContributionPaid", task)}
        return gas.settle_limit(
            data,
            rule_of(terms.rule),
            updates,
            shape,
            group,
            merged=merged,
            rewarded=terms.reward > 0,
            newly_paid=len({one.contributor for one in settlements} - paid) + 1,
        )

    async def settlements(self, task: int, number: int, group: int) -> list[Settlement]:
        """The accepted updates of a round that is known here, in their order, with the bytes of one group."""
        accepted = self.events.find("UpdateAccepted", task, second=number)
        submissions = await asyncio.gather(*(self.submission(event.transaction) for event in accepted))
        return [
            Settlement(
                contributor=event.values["contributor"],
                weight=event.values["weight"],
                effective=event.values["effective"],
                header=submission.header,
                digests=tuple(bytes(keccak(part)) for part in submission.groups),
                pages=submission.groups[group],
            )
            for event, submission in zip(accepted, submissions, strict=True)
        ]

    def settle_with(self, task: int, number: int, group: int, updates: Sequence[Settlement]) -> Call:
        """The transaction that hands in these updates, whatever they are."""
        data = POOL.encode_call("settle", task, number, group, [astuple(update) for update in updates])
        return Call(self.deployment.pool, data)

    async def drop(self, request_id: str, account: bytes, task: int, number: int) -> Mined:
        """Gives up a round that nobody settled in time. Raises Refused: WrongRound, NotYetDroppable, RoundSettling."""

        async def prepare() -> Call:
            if await self._merged(task, number) is None:
                raise await self._wrong_round(task, number)
            return Call(self.deployment.pool, POOL.encode_call("drop", task), known_gas=gas.DROP)

        contents = task.to_bytes(8, "big") + number.to_bytes(8, "big")
        outcome = await self._send(request_id, account, "drop", contents, prepare)
        self.events.poke()
        return _mined(outcome)

    async def lock(self, request_id: str, account: bytes, task: int, units: int) -> tuple[Mined, StakeStatus]:
        """The pool needs no approval to lock its caller's $LL."""
        return await self._stake_call(request_id, account, task, "lock", task, units)

    async def unlock(self, request_id: str, account: bytes, task: int, units: int) -> tuple[Mined, StakeStatus]:
        return await self._stake_call(request_id, account, task, "unlock", task, units)

    async def withdraw(self, request_id: str, account: bytes, task: int) -> tuple[Mined, StakeStatus]:
        return await self._stake_call(request_id, account, task, "withdraw", task)

    async def _stake_call(
        self, request_id: str, account: bytes, task: int, name: str, *arguments: int
    ) -> tuple[Mined, StakeStatus]:
        contents = b"".join(argument.to_bytes(8, "big") for argument in arguments)

        async def prepare() -> Call:
            await self._know(task)
            return Call(self.deployment.pool, POOL.encode_call(name, *arguments), known_gas=STAKE_GAS[name])

        outcome = await self._send(request_id, account, name, contents, prepare)
        self.events.poke()
        return _mined(outcome), await self.stake(account, task)

    async def transfer_token(self, request_id: str, account: bytes, to: bytes, amount: int) -> Mined:
        """$LL, wei."""
        contents = to + amount.to_bytes(32, "big")
        data = TOKEN.encode_call("transfer", to, amount)
        call = Call(self.deployment.token, data, known_gas=gas.TRANSFER_TOKEN)
        return _mined(await self._send(request_id, account, "transfer token", contents, always(call)))

    async def transfer_coin(self, request_id: str, account: bytes, to: bytes, amount: int) -> Mined:
        """The chain's coin, wei."""
        contents = to + amount.to_bytes(32, "big")
        call = Call(to, value=amount, known_gas=gas.TRANSFER_COIN)
        return _mined(await self._send(request_id, account, "transfer coin", contents, always(call)))

    async def _send(self, request_id: str, account: bytes, kind: str, contents: bytes, prepare: Prepare) -> Outcome:
        return await self._fulfil(
            Request(request_id=request_id, account=account, kind=kind, contents=contents), prepare
        )

    async def _fulfil(self, request: Request, prepare: Prepare) -> Outcome:
        async def prepared() -> Call:
            await self.head()  # not on a chain that has stopped
            return await prepare()

        return await self._outbox.fulfil(request, prepared)

    # -- inside

    async def _know(self, task: int) -> None:
        """Raises NotFound if the task does not exist."""
        if not self.events.find("TaskOpened", task):
            await self._pool("termsOf", task)  # says whether it exists
            await self.events.sync()

    def _opened(self, task: int) -> Event:
        found = self.events.find("TaskOpened", task)
        if not found:
            raise NotFound(f"there is no task {task} at this pool", reason="UnknownTask", facts={"task": task})
        return found[0]

    def _version(self, task: int, version: int) -> ModelVersion:
        """0: the newest. Raises NotFound."""
        found = self.events.find("ModelUpdated", task, second=version or None)
        if not found:
            newest = len(self.events.find("ModelUpdated", task))
            raise NotFound(
                f"task {task} has versions 1 to {newest}, not {version}"
                if newest
                else f"task {task} has no version yet: its first weights are being loaded",
                reason="UnknownVersion",
                facts={"task": task, "version": version, "newest": newest},
            )
        return _announced(found[-1])

    async def _pool(self, name: str, *arguments: Any, block: int | None = None) -> dict[str, Any]:
        try:
            return await self._view(POOL, self.deployment.pool, name, *arguments, block=block)
        except Refused as refused:
            if refused.reason == "UnknownTask":
                raise NotFound(refused.message, reason=refused.reason, facts=refused.facts) from None
            raise

    async def _view(
        self, interface: Interface, to: bytes, name: str, *arguments: Any, block: int | None
    ) -> dict[str, Any]:
        answer = await self._shared_call(to, interface.encode_call(name, *arguments), block)
        try:
            return interface.decode_result(name, answer)
        except InvalidInput as error:
            raise DataLoss(
                f"there is no such contract at 0x{to.hex()} on this chain ({error.message}); does the deployment file belong to it?"
            ) from error

    async def _shared_call(self, to: bytes, data: bytes, block: int | None) -> bytes:
        """eth_call; at the newest block, once for all who ask the same."""
        newest = self.chain.heads.newest
        if newest is None or block != newest.number:
            return await self.chain.call(to, data, block=block)
        if self._views_at != newest.hash:
            self._views, self._views_at = {}, newest.hash
        views, key = self._views, (to, data)
        asked = views.get(key)
        if asked is None:
            asked = views[key] = asyncio.create_task(self.chain.call(to, data, block=block))
            asked.add_done_callback(lambda done: views.pop(key, None) if done.cancelled() or done.exception() else None)
        return await asyncio.shield(asked)


class _Kept(Generic[K, V]):
    """The values used last, up to a bound on the sum of their sizes."""

    def __init__(self, bound: int, size: Callable[[V], int]) -> None:
        self._values: OrderedDict[K, V] = OrderedDict()
        self._size = size
        self._left = bound

    def get(self, key: K) -> V | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        if key in self._values:
            return
        self._values[key] = value
        self._left -= self._size(value)
        while self._left < 0 and len(self._values) > 1:
            self._left += self._size(self._values.popitem(last=False)[1])


def _mined(outcome: Outcome) -> Mined:
    receipt = outcome.receipt
    return Mined(receipt.transaction_hash, receipt.block_number, receipt.gas_used, outcome.length)


def _announced(event: Event) -> ModelVersion:
    values = event.values
    return ModelVersion(
        task=values["task"],
        version=values["version"],
        digest=values["digest"],
        round=values["round"],
        block_number=event.block,
        accepted_count=values["accepted"],
        saturated_count=values["saturated"],
    )


def _terms(values: dict[str, Any]) -> Terms:
    return Terms(
        rule=values["rule"],
        quorum=values["quorum"],
        max_updates=values["maxUpdates"],
        round_seconds=values["roundSeconds"],
        drop_seconds=values["dropSeconds"],
        min_stake=values["minStake"],
        settler_bps=values["settlerBps"],
        reward=values["reward"],
    )
