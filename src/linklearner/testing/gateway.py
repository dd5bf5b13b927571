"""A chain gateway whose chain is a few Python values: a real gRPC server, the domain's own merge, stakes and pay, nothing persisted.

    gateway = FakeGateway(seed=1)
    async with gateway.served() as address:
        ...

`tests/client` runs one suite against this and against a real gateway with its chain. Beyond what that suite promises, tests make it lie,
lose answers, hang, vanish and come back.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import numpy as np
from eth_hash.auto import keccak
from numpy.typing import NDArray

from linklearner.domain.digest import model_digest, weight_bytes
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.errors import (
    InvalidInput,
    InvalidUpdate,
    NotFound,
    OutOfRange,
    Refused,
    RequestIdReused,
    Unavailable,
)
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.model import ModelSpec, ModelVersion
from linklearner.domain.notation import LL_WEI, UNIT_WEI
from linklearner.domain.pay import FRACTION_BITS, round_pay, share_fee
from linklearner.domain.rounds import BPS, RULE_EVIDENCE, Standing, Step, Terms
from linklearner.domain.rules.evidence.batches import BatchTree
from linklearner.domain.rules.evidence.course import Course, least_bond
from linklearner.domain.rules.evidence.credit import gain_share
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.rule import EVIDENCE
from linklearner.domain.rules.evidence.sets import ExampleBatches
from linklearner.domain.rules.rule import Contribution, Merged
from linklearner.domain.rules.table import rule_of
from linklearner.domain.shape import Shape
from linklearner.domain.stakes import MAX_ELIGIBLE, StakeLedger, influence
from linklearner.domain.tasks import (
    AcceptedUpdate,
    Balance,
    ChainStatus,
    Claimed,
    Closed,
    Earnings,
    ExampleSet,
    Funded,
    Judged,
    Mined,
    Opened,
    OpenedBatch,
    Round,
    RoundExamples,
    RoundStatus,
    Settled,
    StakeStatus,
    Submitted,
    Task,
)
from linklearner.domain.terms import check_examples
from linklearner.domain.update import Update
from linklearner.rpc import convert
from linklearner.rpc.server import RpcServer
from linklearner.v1 import chain_gateway_pb2 as pb
from linklearner.v1 import chain_gateway_pb2_grpc as pb_grpc

SERVICE: Final = "linklearner.v1.ChainGatewayService"
STREAMS: Final = ("GetModel", "WatchVersions", "GetExamples")
CHAIN_ID: Final = 11820
POOL, VAULT, TOKEN, ASPECT = b"\xaa" * 20, b"\xab" * 20, b"\xbb" * 20, b"\xcc" * 20
CREATOR: Final = b"\xdd" * 20
"""Of the task that is there from the start; the gateway does not hold its key."""
OWNER: Final = b"\xee" * 20
STAKE: Final = 1000
"""Units that each of the gateway's accounts has locked from the start."""
COIN: Final = 10**18
"""Wei that each of the gateway's accounts has."""
POT: Final = 10_000 * LL_WEI
"""Of the task that is there from the start, wei."""
EMITTABLE: Final = 1_000_000 * LL_WEI
CHUNK: Final = 1000
"""Bytes in one message of GetModel; small, so that even a small model comes in several."""
PAGE: Final = 100
"""Tasks in one answer of ListTasks at most."""
MAX_REQUEST_ID: Final = 128
SUBMISSION_OVERHEAD: Final = 300
"""Bytes of a signed submission beside its update."""


def weights_of(seed: int, spec: ModelSpec = DIGITS, shape: Shape = SHAPE) -> NDArray[np.int16]:
    """(N,) int16: random weights of the model; another seed, another model."""
    return quantise_weights(spec.initial(seed), shape)


def terms_for(accounts: int) -> Terms:
    """So many accounts with equal stake are the quorum: each of them counts a quarter at most."""
    return Terms(
        quorum_bps=min(BPS, accounts * BPS // 4),
        max_updates=20,
        min_round_seconds=1,
        round_seconds=60,
        drop_seconds=600,
        stake_seconds=1,
        min_stake=1,
        settler_bps=500,
        server_bps=2000,
        reward=100 * LL_WEI,
    )


@dataclass
class Accepted:
    """An update in a round."""

    contribution: Contribution
    mined: Mined
    digest: bytes
    paid: int | None = None
    verdict: Judged | None = None


@dataclass
class FakeRound:
    """base_version: of its updates. version: the one that it made, 0 until it is settled."""

    base_version: int
    contributions: list[Accepted] = field(default_factory=list)
    version: int = 0
    dropped: bool = False
    opened_s: int = 0
    first_update_s: int = 0
    idle_s: int = 0
    """Of the rounds without updates just before it."""
    settlements: tuple[Mined, ...] = ()
    settler: bytes = b""
    fee: int = 0
    examples: RoundExamples | None = None


@dataclass
class Earned:
    """Of an account, wei, as the contract keeps it."""

    earned: int = 0
    missed: int = 0
    pay_claimed: int = 0
    fees_claimed: int = 0


class FakeChain:
    """What its tasks share: blocks, a clock, money."""

    def __init__(self) -> None:
        self.block = 1
        self.clock: Callable[[], float] = time.time
        self.tokens: dict[bytes, int] = {}
        self.coins: dict[bytes, int] = {}

    def now_s(self) -> int:
        return int(self.clock())

    def mine(self, length: int = 200) -> Mined:
        self.block += 1
        return Mined(bytes(keccak(self.block.to_bytes(8, "big"))), self.block, 100_000, length)

    def credit(self, account: bytes, wei: int) -> None:
        self.tokens[account] = self.tokens.get(account, 0) + wei

    def debit(self, account: bytes, wei: int) -> None:
        if self.tokens.get(account, 0) < wei:
            _refuse("ERC20InsufficientBalance", "the account has too little $LL")
        self.tokens[account] = self.tokens.get(account, 0) - wei


class FakeTask:
    """A task: its versions and rounds, its pot, the stake in it, and what its accounts have earned."""

    def __init__(self, chain: FakeChain, number: int, creator: bytes, model: str, shape: Shape, terms: Terms) -> None:
        self.chain = chain
        self.number = number
        self.creator = creator
        self.model = model
        self.shape = shape
        self.terms = terms
        self.pot = 0
        self.shares = 0
        self.closing = False
        self.versions: list[ModelVersion] = []
        self.weights: list[NDArray[np.int16]] = []
        self.bodies: dict[int, bytes] = {}
        """By version: what is sent for its weights."""
        self.rounds: list[FakeRound] = []
        self.stakes = StakeLedger(terms.stake_seconds)
        self.fees_per_share = 0
        self.earned: dict[bytes, Earned] = {}
        self.changed = asyncio.Event()
        """Of the versions; another one after each."""
        self.course: Course | None = None
        """By rule `evidence`: examples and records."""
        self.batches: tuple[bytes, ...] = ()
        """Of the task's examples, opened or not."""

    @property
    def closed(self) -> bool:
        return self.stakes.closed

    def publish(
        self, weights: NDArray[np.int16], *, body: bytes | None = None, accepted: int = 0, saturated: int = 0
    ) -> ModelVersion:
        """The next version, made by the open round; the first one opens the first round. body: what is sent instead of its weights."""
        version = ModelVersion(
            task=self.number,
            version=len(self.versions) + 1,
            digest=model_digest(weights, self.shape),
            round=len(self.rounds),
            block_number=self.chain.mine().block,
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

    def commit(self, batches: Sequence[bytes], input_exponent: int) -> None:
        """By rule `evidence`: the creator commits to the examples. Raises as the pool refuses it, InvalidModel."""
        if self.terms.rule != RULE_EVIDENCE:
            _refuse("BadTerms", "rule is out of range")
        tree = BatchTree(batches)
        course = Course(self.shape, tree.root, len(batches), len(batches), input_exponent)
        width = 2 * (course.network.widths[0] + 1)
        course.examples = sum(len(batch) // width for batch in batches)
        self.course, self.batches = course, tuple(batches)
        self.chain.mine()

    def open_examples(self) -> Mined:
        """The creator opens the next batch, whenever that is."""
        assert self.course is not None
        batch, one = self.course.opened_batches, self.rounds[-1]
        if batch >= len(self.batches):
            _refuse("WrongExamples", "the set is used up")
        self.course.open(batch, self.batches[batch], BatchTree(self.batches).proof(batch))
        mined = self.chain.mine()
        one.examples = RoundExamples(batch, self.course.fresh, len(self.course.opened), mined)
        return mined

    def opened_examples(self) -> list[OpenedBatch]:
        """What everybody may see of the examples."""
        if self.course is None:
            _refuse("NoExamples", "the task's rule judges by none")
        tree = BatchTree(self.batches)
        return [
            OpenedBatch(one.examples.batch, number, self.batches[one.examples.batch], tree.proof(one.examples.batch))
            for number, one in enumerate(self.rounds, 1)
            if one.examples is not None
        ]

    def _divided(self, shared: int) -> tuple[tuple[int, ...], Merged]:
        """What each update of the open round is paid, and the next weights."""
        accepted, rule = self.rounds[-1].contributions, rule_of(self.terms.rule)
        updates, eligible = [one.contribution for one in accepted], self.stakes.eligible
        weights = [one.weight for one in updates]
        if self.course is None:
            shares = rule.divide(self.terms, shared, weights, [one.effective for one in updates])
            return shares, rule.merge(self.weights[-1], updates, eligible, self.shape)
        merged, judgement = self.course.settle(self.weights[-1], updates, eligible)
        for one, verdict in zip(accepted, judgement.verdicts, strict=True):
            one.verdict = Judged(verdict.gain, verdict.record, verdict.outcome)
        return tuple(
            gain_share(shared, weight, eligible, verdict.gain, verdict.merged)
            for weight, verdict in zip(weights, judgement.verdicts, strict=True)
        ), merged

    def settle(self, settler: bytes = b"\x01" * 20) -> Settled:
        """Merges the open round and pays for it."""
        one = self.rounds[-1]
        elapsed_s = self.chain.now_s() - one.opened_s + one.idle_s
        pay = round_pay(self.terms, self.pot, elapsed_s, self.present, self.stakes.eligible)
        shares, merged = self._divided(pay.shared)
        for accepted, share in zip(one.contributions, shares, strict=True):
            accepted.paid = share
            self._earn(accepted.contribution.contributor, share)
        self.pot -= pay.fee + sum(shares)
        self.shares += sum(shares)
        one.settler, one.fee = settler, pay.fee
        self.chain.credit(settler, pay.fee)
        one.settlements = tuple(self.chain.mine() for _ in range(self.shape.group_count))
        version = self.publish(merged.weights, accepted=len(one.contributions), saturated=merged.saturated)
        return Settled(one.settlements, version)

    def drop(self) -> None:
        """Gives up the open round."""
        self.chain.mine()
        one = self.rounds[-1]
        one.dropped = True
        self._next_round()
        if not one.contributions:
            self.rounds[-1].idle_s = one.idle_s + self.rounds[-1].opened_s - one.opened_s

    def set_stake(self, account: bytes, units: int) -> None:
        """What an account has locked from now on; it need not have the $LL."""
        self.chain.mine()
        locked = self.stakes.of(account).amount
        if units > locked:
            self.stakes.lock(account, units - locked, self.chain.now_s())
        elif units < locked:
            self.stakes.unlock(account, locked - units, self.chain.now_s())

    def share_fee(self, amount: int) -> None:
        """Somebody paid `amount` wei for inference: contributors and stake get half each."""
        self.chain.mine()
        shared = share_fee(amount, self.shares, self.stakes.sharing)
        if shared.to_stake:
            self.stakes.share_fees(shared.to_stake)
        if shared.to_contributors:
            self.fees_per_share += (shared.to_contributors << FRACTION_BITS) // self.shares
        if self.closed:
            self.chain.credit(self.creator, shared.to_pot)
        else:
            self.pot += shared.to_pot

    def updates(self, round: int) -> list[Update]:
        """Those that a round has accepted."""
        return [accepted.contribution.update for accepted in self.rounds[round - 1].contributions]

    def version(self, version: int = 0) -> ModelVersion:
        """0: the newest. Raises NotFound."""
        if not 1 <= (version or len(self.versions)) <= len(self.versions):
            raise NotFound(
                f"task {self.number} has versions 1 to {len(self.versions)}, not {version}", reason="UnknownVersion"
            )
        return self.versions[(version or len(self.versions)) - 1]

    @property
    def present(self) -> int:
        """S of the open round, units."""
        return sum(one.contribution.weight for one in self.rounds[-1].contributions) if self.rounds else 0

    def standing(self) -> Standing:
        one = self.rounds[-1] if self.rounds else FakeRound(0)
        return Standing(
            version=len(self.versions),
            accepted=len(one.contributions),
            present=self.present,
            eligible=self.stakes.eligible,
            merged_groups=0,
            opened_s=one.opened_s,
            first_s=one.first_update_s,
            ripe=self.stakes.ripe(self.chain.now_s()),
            examples_opened=one.examples is not None,
        )

    def described(self) -> Task:
        """As a gateway tells it."""
        rule, at = rule_of(self.terms.rule), self.standing()
        status = RoundStatus(
            round=len(self.rounds),
            accepted=at.accepted,
            present=at.present,
            eligible=at.eligible,
            merged_groups=0,
            opened_s=at.opened_s,
            first_update_s=at.first_s,
            ripe=at.ripe,
            phase=rule.phase(at),
            due=rule.due(self.terms, at),
        )
        return Task(
            task=self.number,
            creator=self.creator,
            model=self.model,
            shape=self.shape,
            terms=self.terms,
            pot=self.pot,
            shares=self.shares,
            closing=self.closing,
            version=len(self.versions),
            announced=self.version() if self.versions else None,
            round=status,
            examples=None if self.course is None else _told_set(self.course),
        )

    def round(self, number: int) -> Round:
        """0: the open one. Raises NotFound."""
        number = number or len(self.rounds)
        if not 1 <= number <= len(self.rounds):
            raise NotFound(f"task {self.number} has rounds 1 to {len(self.rounds)}, not {number}")
        one = self.rounds[number - 1]
        contributions = tuple(
            AcceptedUpdate(
                contributor=accepted.contribution.contributor,
                digest=accepted.digest,
                weight=accepted.contribution.weight,
                effective=accepted.contribution.effective,
                mined=accepted.mined,
                update_bytes=accepted.mined.length - SUBMISSION_OVERHEAD,
                paid=accepted.paid,
                verdict=accepted.verdict,
            )
            for accepted in one.contributions
        )
        version = self.version(one.version) if one.version else None
        settler = one.settler or (self.creator if version else b"")
        return Round(
            number,
            one.base_version,
            contributions,
            version,
            one.settlements,
            settler,
            one.fee,
            one.dropped,
            one.examples,
        )

    def stake_of(self, account: bytes) -> StakeStatus:
        stake = self.stakes.of(account)
        return StakeStatus(
            eligible=self.stakes.eligible_of(account),
            locked=stake.amount,
            matures_s=stake.matures_s,
            unlocking=stake.unlocking,
            withdrawable_s=stake.withdrawable_s,
        )

    def earnings(self, account: bytes) -> Earnings:
        one = self.earned.get(account, Earned())
        shared = one.earned * self.fees_per_share >> FRACTION_BITS
        return Earnings(
            earned=one.earned,
            pay=one.earned - one.pay_claimed,
            fees=max(0, shared - one.missed - one.fees_claimed),
            stake_fees=self.stakes.fees_of(account),
            record=None if self.course is None else self.course.records.get(account, 0),
        )

    # --- what accounts do; refused as the contracts refuse it

    def submit(self, account: bytes, data: bytes) -> Submitted:
        update = Update.decode(data, self.shape)
        self._require_open()
        one = self.rounds[-1]
        stake, eligible = self.stakes.eligible_of(account), self.stakes.eligible
        closed_s = EVIDENCE.closed_s(self.terms, self.standing()) if self.course is not None else None
        if one.examples is not None or (closed_s is not None and self.chain.now_s() >= closed_s):
            raise Refused(
                "PhaseOver: the round takes no more updates, its examples may be on their way",
                reason="PhaseOver",
                facts={"until": closed_s or 0},
            )
        if len(one.contributions) >= self.terms.max_updates:
            _refuse("RoundFull", "the round takes no more updates")
        if any(accepted.contribution.contributor == account for accepted in one.contributions):
            _refuse("AlreadySubmitted", "one update per account and round is taken")
        if stake < self.terms.floor(eligible):
            _refuse("BelowMinimumStake", "lock more $LL for this task")
        if update.base_version != one.base_version:
            _refuse("StaleBase", f"the base is version {one.base_version}")
        weight = influence(stake, eligible)
        try:
            norm = update.checked_norm(self.shape)
        except OutOfRange as error:
            _refuse(error.reason, error.message)
        effective = rule_of(self.terms.rule).verdict(weight, norm, self.shape.norm_bound)
        digest = update.digest(self.shape)
        mined = self.chain.mine(len(data) + SUBMISSION_OVERHEAD)
        one.first_update_s = one.first_update_s or self.chain.now_s()
        self.stakes.record_update(account)
        one.contributions.append(Accepted(Contribution(account, weight, effective, update), mined, digest))
        return Submitted(mined, digest, len(self.rounds), weight, effective)

    def settle_when_due(self, settler: bytes, round: int) -> Settled:
        if round != len(self.rounds):
            _refuse("WrongRound", f"round {round} is not the open one, round {len(self.rounds)} is")
        if not self.rounds[-1].contributions:
            _refuse("NoUpdates", "the round has no accepted update yet")
        if self.course is not None and not self.course.opened_batches:  # the Aspect, which comes first
            _refuse("ExamplesNotOpened", "the task has no batch of examples opened")
        over = (Step.SETTLED, Step.EXAMPLES_OPENED)
        steps = rule_of(self.terms.rule).due(self.terms, self.standing())
        settleable_s = next(due.from_s for due in steps if due.step in over)
        if self.chain.now_s() < settleable_s:
            raise Refused(
                "RoundNotOver: wait for more updates or for the time given",
                reason="RoundNotOver",
                facts={"settleableAt": settleable_s},
            )
        if self.course is not None and self.rounds[-1].examples is None:
            _refuse("ExamplesNotOpened", "the round's examples have to be opened first")
        return self.settle(settler)

    def fund(self, account: bytes, wei: int) -> Mined:
        self._require_fundable(wei)
        self.chain.debit(account, wei)
        self.pot += wei
        return self.chain.mine()

    def grant(self, wei: int) -> Mined:
        self._require_fundable(wei)
        self.pot += wei
        return self.chain.mine()

    def close(self, account: bytes) -> Mined:
        if account != self.creator:
            _refuse("NotCreator", "only who opened the task may do that")
        if self.closing:
            _refuse("TaskIsClosing", "the task takes no further round")
        self.closing = True
        mined = self.chain.mine()
        if not self.rounds or not self.rounds[-1].contributions:
            self._next_round()
        return mined

    def lock(self, account: bytes, units: int) -> Mined:
        if self.closed:
            _refuse("TaskClosed", "the task is closed")
        if not units:
            _refuse("ZeroUnits", "name at least one unit")
        if self.stakes.total + units > MAX_ELIGIBLE:
            _refuse("StakeLimit", f"a task holds at most {MAX_ELIGIBLE} units")
        self.chain.debit(account, units * UNIT_WEI)
        self.stakes.lock(account, units, self.chain.now_s())
        return self.chain.mine()

    def unlock(self, account: bytes, units: int) -> Mined:
        if not units:
            _refuse("ZeroUnits", "name at least one unit")
        if units > self.stakes.of(account).amount:
            _refuse("InsufficientStake", "that much stake is not locked")
        self.stakes.unlock(account, units, self.chain.now_s())
        return self.chain.mine()

    def withdraw(self, account: bytes) -> Mined:
        stake = self.stakes.of(account)
        if not stake.unlocking:
            _refuse("ZeroUnits", "name at least one unit")
        takes_part = bool(self.rounds) and stake.submitted == self.stakes.round and not self.closed
        if takes_part or self.chain.now_s() < stake.withdrawable_s:
            raise Refused(
                "StakeStillLocked: withdraw at the time given, and after the round given",
                reason="StakeStillLocked",
                facts={"withdrawableAt": stake.withdrawable_s, "round": self.stakes.round if takes_part else 0},
            )
        self.chain.credit(account, self.stakes.withdraw(account, self.chain.now_s()) * UNIT_WEI)
        return self.chain.mine()

    def claim(self, account: bytes) -> Claimed:
        earned = self.earnings(account)
        mined = []
        if earned.pay + earned.fees:
            one = self.earned[account]
            one.pay_claimed += earned.pay
            one.fees_claimed += earned.fees
            mined.append(self.chain.mine())
        if earned.stake_fees:
            self.stakes.claim(account)
            mined.append(self.chain.mine())
        self.chain.credit(account, earned.pay + earned.fees + earned.stake_fees)
        return Claimed(tuple(mined), earned)

    # --- inside

    def _next_round(self) -> None:
        now_s = self.chain.now_s()
        self.stakes.next_round(now_s, closing=self.closing)
        self.rounds.append(FakeRound(base_version=len(self.versions), opened_s=0 if self.closing else now_s))
        if self.closing:
            self.chain.credit(self.creator, self.pot)
            self.pot = 0
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _earn(self, account: bytes, wei: int) -> None:
        one = self.earned.setdefault(account, Earned())
        one.earned += wei
        one.missed += -(-wei * self.fees_per_share >> FRACTION_BITS)

    def _require_open(self) -> None:
        if not self.versions:
            _refuse("TaskNotReady", "the first weights are being loaded")
        if self.closed:
            _refuse("TaskIsClosing", "the task takes no further round")

    def _require_fundable(self, wei: int) -> None:
        if self.closing:
            _refuse("TaskIsClosing", "the task takes no further round")
        if not wei:
            _refuse("ZeroAmount", "name an amount")


def _of_first(name: str) -> Any:
    """An attribute of the task that is there from the start."""
    return property(
        lambda gateway: getattr(gateway.first, name), lambda gateway, value: setattr(gateway.first, name, value)
    )


class FakeGateway(pb_grpc.ChainGatewayServiceServicer):
    """A chain with one task, `first`, beside which others can be opened, and the money of accounts. Every change makes a block.

    What `first` has, the gateway has too, for the tests in which there is no other task. accounts: how many keys it holds, each with stake.
    seed: of the weights of version 1; None: still being loaded (until `publish`).
    """

    model = _of_first("model")
    shape = _of_first("shape")
    terms = _of_first("terms")
    versions = _of_first("versions")
    weights = _of_first("weights")
    bodies = _of_first("bodies")
    rounds = _of_first("rounds")
    stakes = _of_first("stakes")
    publish = _of_first("publish")
    settle = _of_first("settle")
    drop = _of_first("drop")
    set_stake = _of_first("set_stake")
    updates = _of_first("updates")
    version = _of_first("version")

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
        pot: int = POT,
    ) -> None:
        self.chain = FakeChain()
        self.task = task
        shape = shape or spec.shape(exponents=12, page_length=SHAPE.page_length, group_pages=2, norm_bound=2**25)
        self.chain_id = chain_id
        self.accounts = tuple(bytes([i + 1] * 20) for i in range(accounts))
        self.owner = OWNER
        self.emittable = EMITTABLE
        """Wei of $LL that the token's schedule has released."""
        self.first = FakeTask(self.chain, task, CREATOR, spec.to_json(), shape, terms or terms_for(accounts))
        self.first.pot = pot
        self.tasks = {task: self.first}
        self.head_time_s = 0
        """Unix seconds of the head; 0: now."""
        self.chain.coins = dict.fromkeys(self.accounts, COIN)
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
        for account in self.accounts:
            self.first.stakes.lock(account, STAKE, self.chain.now_s())
        if seed is not None:
            self.publish(weights_of(seed, spec, shape))

    @property
    def block(self) -> int:
        """The head's number."""
        return self.chain.block

    @block.setter
    def block(self, number: int) -> None:
        self.chain.block = number

    @property
    def tokens(self) -> dict[bytes, int]:
        """$LL of accounts, wei."""
        return self.chain.tokens

    @property
    def coins(self) -> dict[bytes, int]:
        """The chain's coin of accounts, wei."""
        return self.chain.coins

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

    # --- questions

    async def GetChain(self, request: pb.GetChainRequest, context: Any) -> pb.GetChainResponse:  # noqa: N802
        self.chain_reads += 1
        status = ChainStatus(
            chain_id=self.chain_id,
            head_block=self.block,
            head_time_s=self.head_time_s or self.chain.now_s(),
            pool=POOL,
            vault=VAULT,
            token=TOKEN,
            aspect=ASPECT,
            deployed_block=0,
            rpc_url="http://chain.invalid",
        )
        return convert.chain_message(status)

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Any) -> pb.ListAccountsResponse:  # noqa: N802
        return pb.ListAccountsResponse(accounts=self.accounts)

    async def GetBalance(self, request: pb.GetBalanceRequest, context: Any) -> pb.GetBalanceResponse:  # noqa: N802
        self.balance_reads += 1
        account = convert.address_of(request.account, "account")
        stake = self._know(request.task).stake_of(account) if request.task else None
        balance = Balance(self.tokens.get(account, 0), self.coins.get(account, 0), stake, self.block)
        return convert.balance_message(balance)

    async def ListTasks(self, request: pb.ListTasksRequest, context: Any) -> pb.ListTasksResponse:  # noqa: N802
        if request.creator:
            convert.address_of(request.creator, "creator")
        if request.page_size > PAGE:
            raise InvalidInput(f"a page has at most {PAGE} tasks, not {request.page_size}")
        found = [
            task
            for number, task in sorted(self.tasks.items())
            if number > request.after_task and request.creator in (b"", task.creator)
        ]
        most = request.page_size or PAGE
        messages = [convert.task_message(task.described()) for task in found[:most]]
        return pb.ListTasksResponse(tasks=messages, more=len(found) > most)

    async def GetTask(self, request: pb.GetTaskRequest, context: Any) -> pb.GetTaskResponse:  # noqa: N802
        return pb.GetTaskResponse(task=convert.task_message(self._know(request.task).described()))

    async def GetEarnings(self, request: pb.GetEarningsRequest, context: Any) -> pb.GetEarningsResponse:  # noqa: N802
        account = convert.address_of(request.account, "account")
        earnings = self._know(request.task).earnings(account)
        return pb.GetEarningsResponse(
            earnings=convert.earnings_message(earnings),
            block_number=self.block,
            record=convert.record_message(earnings.record),
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> AsyncIterator[pb.GetModelResponse]:  # noqa: N802
        task = self._know(request.task)
        version = task.version(request.version)
        yield pb.GetModelResponse(version=convert.version_message(version))
        body = task.bodies[version.version]
        for start in range(0, len(body), CHUNK):
            yield pb.GetModelResponse(weights=body[start : start + CHUNK])

    async def WatchVersions(  # noqa: N802
        self, request: pb.WatchVersionsRequest, context: Any
    ) -> AsyncIterator[pb.WatchVersionsResponse]:
        task = self._know(request.task)
        seen = request.after_version
        while True:
            changed = task.changed
            if self.announcing and not self.hanging:
                for version in task.versions[seen:]:
                    yield pb.WatchVersionsResponse(version=convert.version_message(version))
                    seen = version.version
            await changed.wait()

    async def GetRound(self, request: pb.GetRoundRequest, context: Any) -> pb.GetRoundResponse:  # noqa: N802
        return convert.round_message(self._know(request.task).round(request.round))

    async def GetExamples(  # noqa: N802
        self, request: pb.GetExamplesRequest, context: Any
    ) -> AsyncIterator[pb.GetExamplesResponse]:
        for batch in self._know(request.task).opened_examples():
            if batch.batch >= request.first_batch:
                yield convert.opened_batch_message(batch)

    def _know(self, task: int) -> FakeTask:
        if task not in self.tasks:
            raise NotFound(f"there is no task {task} at this pool", reason="UnknownTask", facts={"task": task})
        return self.tasks[task]

    # --- transactions

    async def OpenTask(self, requests: AsyncIterator[pb.OpenTaskRequest], context: Any) -> pb.OpenTaskResponse:  # noqa: N802
        parts = [part async for part in requests]
        if not parts or not parts[0].HasField("plan") or any(part.HasField("plan") for part in parts[1:]):
            raise InvalidInput("a task is opened by its plan, and then its weights")
        plan, data = parts[0].plan, b"".join(part.weights for part in parts)
        shape, terms = Shape.decode(plan.shape), convert.terms_of(plan.terms)
        if len(data) != 2 * shape.weight_count:
            raise InvalidInput(
                f"the model has {2 * shape.weight_count} bytes of weights, not {len(data)}", reason="WrongLength"
            )

        batches, examples = [part.examples for part in parts if part.examples], None
        if batches:
            examples = ExampleBatches(
                plan.input_exponent, IntegerNetwork.of_shape(shape, plan.input_exponent).widths[0], tuple(batches)
            )
        check_examples(terms, shape, examples)

        def act() -> Opened:
            _check_terms(terms)
            task = FakeTask(self.chain, max(self.tasks) + 1, plan.account, plan.model, shape, terms)
            if batches:
                self.chain.debit(plan.account, least_bond(terms))
                task.commit(batches, plan.input_exponent)
            mined = tuple(self.chain.mine() for _ in range(3 if batches else 2))
            self.tasks[task.number] = task
            return Opened(task.number, mined, task.publish(np.frombuffer(data, "<i2").astype(np.int16)))

        contents = plan.SerializeToString(deterministic=True) + data + b"".join(batches)
        return convert.opened_message(self._once(plan, act, contents))

    async def FundTask(self, request: pb.FundTaskRequest, context: Any) -> pb.FundTaskResponse:  # noqa: N802
        task, wei = self._know(request.task), convert.wei_of(request.amount_wei)
        mined = self._once(request, lambda: task.fund(request.account, wei))
        return convert.funded_message(Funded(mined, task.pot))

    async def GrantEmission(  # noqa: N802
        self, request: pb.GrantEmissionRequest, context: Any
    ) -> pb.GrantEmissionResponse:
        task, wei = self._know(request.task), convert.wei_of(request.amount_wei)

        def act() -> Mined:
            if request.account != self.owner:
                _refuse("OwnableUnauthorizedAccount", "only the pool's owner may do that")
            if wei > self.emittable:
                _refuse("BeyondEmission", "the schedule has not released that much yet")
            mined = task.grant(wei)
            self.emittable -= wei
            return mined

        return convert.granted_message(Funded(self._once(request, act), task.pot))

    async def CloseTask(self, request: pb.CloseTaskRequest, context: Any) -> pb.CloseTaskResponse:  # noqa: N802
        task = self._know(request.task)
        mined = self._once(request, lambda: task.close(request.account))
        return convert.closed_message(Closed(mined, task.closed))

    async def ClaimEarnings(self, request: pb.ClaimEarningsRequest, context: Any) -> pb.ClaimEarningsResponse:  # noqa: N802
        task = self._know(request.task)
        return convert.claimed_message(self._once(request, lambda: task.claim(request.account)))

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
        task = self._know(int.from_bytes(data[2:10], "big"))
        if self.refuse:
            reason, self.refuse = self.refuse, ""
            _refuse(reason, "the chain says so")
        submitted = task.submit(account, data)
        if task is self.first and self.auto_settle and len(task.rounds[-1].contributions) == len(self.accounts):
            task.settle()
        return submitted

    async def SettleRound(self, request: pb.SettleRoundRequest, context: Any) -> pb.SettleRoundResponse:  # noqa: N802
        task = self._know(request.task)
        settled = self._once(request, lambda: task.settle_when_due(request.account, request.round))
        return convert.settled_message(settled)

    async def LockStake(self, request: pb.LockStakeRequest, context: Any) -> pb.LockStakeResponse:  # noqa: N802
        task = self._know(request.task)
        mined = convert.receipt_message(self._once(request, lambda: task.lock(request.account, request.units)))
        return pb.LockStakeResponse(receipt=mined, stake=convert.stake_message(task.stake_of(request.account)))

    async def UnlockStake(self, request: pb.UnlockStakeRequest, context: Any) -> pb.UnlockStakeResponse:  # noqa: N802
        task = self._know(request.task)
        mined = convert.receipt_message(self._once(request, lambda: task.unlock(request.account, request.units)))
        return pb.UnlockStakeResponse(receipt=mined, stake=convert.stake_message(task.stake_of(request.account)))

    async def WithdrawStake(self, request: pb.WithdrawStakeRequest, context: Any) -> pb.WithdrawStakeResponse:  # noqa: N802
        task = self._know(request.task)
        mined = convert.receipt_message(self._once(request, lambda: task.withdraw(request.account)))
        return pb.WithdrawStakeResponse(receipt=mined, stake=convert.stake_message(task.stake_of(request.account)))

    async def Transfer(self, request: pb.TransferRequest, context: Any) -> pb.TransferResponse:  # noqa: N802
        to = convert.address_of(request.to, "to")
        amount = request.WhichOneof("amount")
        if amount is None:
            raise InvalidInput("name the amount: token_wei or coin_wei")
        wei = convert.wei_of(request.token_wei if amount == "token_wei" else request.coin_wei)

        def act() -> Mined:
            if amount == "token_wei":
                self.chain.debit(request.account, wei)
                self.chain.credit(to, wei)
                return self.chain.mine()
            if self.coins[request.account] < wei:
                _refuse("InsufficientFunds", "send the account more of the chain's coin")
            self.coins[request.account] -= wei
            self.coins[to] = self.coins.get(to, 0) + wei
            return self.chain.mine()

        return pb.TransferResponse(receipt=convert.receipt_message(self._once(request, act)))

    def _once(self, request: Any, act: Callable[[], Any], contents: bytes = b"") -> Any:
        """What a request_id has come to, by `act` unless it has succeeded before. Raises its refusal, RequestIdReused."""
        account = convert.address_of(request.account, "account")
        if not 1 <= len(request.request_id) <= MAX_REQUEST_ID:
            raise InvalidInput(f"a request_id has 1 to {MAX_REQUEST_ID} characters, got {len(request.request_id)}")
        if account not in self.accounts:
            raise NotFound(f"this gateway does not hold the key of 0x{account.hex()}", reason="UnknownAccount")
        contents = type(request).__name__.encode() + (contents or request.SerializeToString(deterministic=True))
        known, outcome = self._answers.get(request.request_id, (contents, None))
        if known != contents:
            raise RequestIdReused(f"the request_id {request.request_id!r} stands for another request")
        if outcome is None:
            self._answers[request.request_id] = contents, None
            outcome = act()
            self._answers[request.request_id] = contents, outcome
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


def _told_set(course: Course) -> ExampleSet:
    return ExampleSet(
        course.root,
        course.batches,
        course.examples,
        course.input_exponent,
        course.opened_batches,
        len(course.opened),
    )


def _check_terms(terms: Terms) -> None:
    """As the pool does, field by field."""
    wrong = {
        "quorumBps": not 0 < terms.quorum_bps <= BPS,
        "maxUpdates": not terms.max_updates,
        "roundSeconds": not 0 < terms.min_round_seconds <= terms.round_seconds,
        "dropSeconds": terms.drop_seconds <= terms.round_seconds,
        "stakeSeconds": not terms.stake_seconds,
        "settlerBps": terms.settler_bps > BPS,
        "serverBps": terms.server_bps > BPS // 2,
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            _refuse("BadTerms", f"{name} is out of range")


def _refuse(reason: str, why: str) -> NoReturn:
    raise Refused(f"{reason}: {why}", reason=reason)
