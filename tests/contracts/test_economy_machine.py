"""Vault, pool, token, escrow and Aspect together: random histories of all that accounts can do, against the Python model, step by step.

Before each transaction the model says whether the chain takes it, or by which names it may be refused, and what every balance is
afterwards, to the wei. After it the events are replayed; at the end of a history, and now and then on the way, all that the contracts say
is what the replay knows, and in the end everybody leaves with what is his.

In short form with the other tests. Long form, about ten minutes of one core:

    ECONOMY_EXAMPLES=100 ECONOMY_STEPS=200 .venv/bin/python -m pytest tests/contracts/test_economy_machine.py
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from bench.escrow import DELAY_S, EscrowChain, EscrowReverted, FeePool, Voucher, deploy_escrow
from bench.pool import PoolChain, account
from bench.pool_rounds import some_update, some_weights
from devchain.chain.blocks import StoredReceipt
from linklearner.chain.abi import Interface
from linklearner.chain.contracts import POOL, TOKEN, VAULT
from linklearner.domain.digest import weight_bytes
from linklearner.domain.encodings import INT8, TWO_BITS, Encoding
from linklearner.domain.notation import LL_WEI, UNIT_WEI
from linklearner.domain.pay import round_pay, share_fee
from linklearner.domain.replay import TaskReplay
from linklearner.domain.rounds import Phase, Step, Terms
from linklearner.domain.rules.table import rule_of
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.stakes import MAX_ELIGIBLE
from linklearner.domain.voucher import domain_separator
from tests.contracts.escrow_model import Model, Shown
from tests.contracts.task_chain import (
    CAP,
    GENESIS,
    PEOPLE,
    PER_SECOND,
    Reverted,
    TaskChain,
    address_of,
    agrees,
)
from tests.state_machine import run

GROUPED = Shape((Tensor(10, 12), Tensor(7, 8)), 8, 2, 2**12)
"""Three pages in two groups; some updates are scaled down."""
FLAT = Shape((Tensor(9, 12),), 16, 1, 2**20)
SHAPES = (GROUPED, FLAT)
TASKS = 4
"""At most so many are opened in a history."""
OWNER = 0
HUGE = (2**128 - 1, 2**128, 2**255)

people = st.integers(1, PEOPLE - 1)
anybody = st.integers(0, PEOPLE - 1)
numbers = st.sampled_from((1, 1, 1, 1, 2, 2, 2, 3, TASKS))
"""Of tasks, of which some are not opened."""
amounts = st.one_of(
    st.integers(0, 3), st.integers(0, 20 * LL_WEI), st.integers(0, 20 * LL_WEI), st.sampled_from((0, *HUGE))
)

waits = st.sampled_from((0, 1, 3, 7, 15, 16, 20, 41, 100, DELAY_S))
terms = st.builds(
    Terms,
    quorum_bps=st.sampled_from((1, 3_333, 6_667, 10_000)),
    max_updates=st.sampled_from((1, 2, 4, 20)),
    min_round_seconds=st.sampled_from((1, 3, 20)),
    round_seconds=st.sampled_from((20, 21)),
    drop_seconds=st.sampled_from((22, 40)),
    stake_seconds=st.sampled_from((1, 7, 15, 60)),
    min_stake=st.sampled_from((0, 1, 2, 50)),
    settler_bps=st.sampled_from((0, 777, 10_000)),
    server_bps=st.sampled_from((0, 1, 2_000, 5_000)),
    reward=st.sampled_from((0, 1, LL_WEI + 1, 50 * LL_WEI, 2**128 - 1)),
)
ROUND: dict[str, Any] = {
    "task": numbers,
    "chosen": st.sets(people, min_size=1),
    "seed": st.integers(0, 2**32),
    "settler": people,
    "groups": st.sampled_from((0, 1, 9, 9, 9)),
    "patience_s": st.integers(0, 22),
}


@cache
def deployed() -> tuple[TaskChain, EscrowChain]:
    """No task yet; the escrow may take everybody's $LL."""
    world = TaskChain.deployed()
    world.chain.questions._seconds = 3600.0  # a node's limit of time: on a busy machine no fault of a history's
    pool = PoolChain(world.chain, world.pool, world.vault, world.token, world.aspect)
    escrow = EscrowChain(pool, FeePool(), deploy_escrow(pool))
    for who in range(PEOPLE):
        escrow.approve(account(who))
    return world, escrow


class Economy(RuleBasedStateMachine):
    """Accounts 1 and up may do anything in any task; account 0 owns the pool. Time moves only when somebody waits."""

    @initialize(opening=terms, shape=st.sampled_from(SHAPES))
    def begin(self, opening: Terms, shape: Shape) -> None:
        self.world, self.chain_of_escrow = deployed()
        self.head, self.started_s = self.world.chain.head.number, self.world.clock.now_s
        self.read = self.head
        self.replay = self.world.replay()
        self.shapes: list[Shape] = []
        self.contracts = {
            "pool": self.world.pool,
            "vault": self.world.vault,
            "escrow": self.chain_of_escrow.escrow,
        }
        self.names = {who: address_of(who) for who in range(PEOPLE)} | self.contracts
        self.balances = defaultdict(int, {who: self.world.balance(at) for who, at in self.names.items()})
        self.given = dict.fromkeys(self.contracts, 0)
        self.escrow = Model({}, {})
        self.shown: list[Shown] = []
        self.delegates: dict[int, int] = {}
        self.steps = 0
        self.open_task(creator=1, drawn=opening, shape=shape, ahead=0)
        for who, units in ((1, 100), (2, 80), (3, 60), (4, 3)):
            self.lock(task=1, who=who, units=units)
        self.load(task=1, who=1, pages=9, skip=0)
        self.fund(task=1, who=1, amount=10 * LL_WEI)

    # -- what the model knows

    @property
    def now_s(self) -> int:
        return self.world.clock.now_s

    def task(self, number: int) -> TaskReplay | None:
        return self.replay.tasks.get(number)

    def _pay(self, who: int | str, to: int | str, amount: int) -> None:
        self.balances[who] -= amount
        self.balances[to] += amount

    def _person(self, address: bytes) -> int:
        return next(who for who in range(PEOPLE) if address_of(who) == address)

    def _share(self, number: int, amount: int) -> None:
        """A fee that the pool has just got: of a closed task what nobody shares is its creator's."""
        task = self.replay.tasks[number]
        shared = share_fee(amount, task.shares.total, task.ledger.sharing)
        if task.ledger.closed:
            self._pay("pool", self._person(task.creator), shared.to_pot)

    # -- a transaction

    def _expect(
        self, refusals: Iterable[str], send: Callable[..., StoredReceipt], *arguments: Any
    ) -> StoredReceipt | None:
        """Sends it. It is refused if and only if the model has a reason, by one of the model's reasons; else its events are replayed."""
        reasons = set(refusals)
        receipt = None
        try:
            receipt = send(*arguments)
        except (Reverted, EscrowReverted) as reverted:
            assert reverted.name in reasons, (reverted, reasons)
        else:
            assert not reasons, reasons
        head = self.world.chain.head
        assert head.timestamp == self.now_s
        for event in self.world.history(self.read + 1):
            assert receipt is not None
            self.replay.feed(event)
        self.replay.finish()
        self.read = head.number
        return receipt

    def _call(self, refusals: Iterable[str], who: int, interface: Interface, function: str, *arguments: Any) -> bool:
        return self._expect(refusals, self.world.call, who, interface, function, *arguments) is not None

    def _short(self, who: int | str, amount: int) -> list[str]:
        return ["ERC20InsufficientBalance"] * (self.balances[who] < amount)

    # -- tasks and pots

    @precondition(lambda self: len(self.shapes) < TASKS)
    @rule(creator=people, drawn=terms, shape=st.sampled_from(SHAPES), ahead=st.sampled_from((0, 0, 0, -1, 1)))
    def open_task(self, creator: int, drawn: Terms, shape: Shape, ahead: int) -> None:
        number = len(self.shapes) + 1 + ahead
        reasons = ["WrongTaskId"] * (ahead != 0) + ["TaskExists"] * (ahead < 0)
        if self._call(reasons, creator, POOL, "openTask", number, shape.encode(), "{}", dataclasses.astuple(drawn)):
            self.shapes.append(shape)
            self.escrow.server_bps[number] = drawn.server_bps

    @rule(task=numbers, who=people, pages=st.sampled_from((1, 2, 9)), skip=st.sampled_from((0, 0, 0, 1)))
    def load(self, task: int, who: int, pages: int, skip: int) -> None:
        """By whoever opened it, mostly; the next pages, or those after them."""
        at = self.task(task)
        shape = self.shapes[task - 1] if at else FLAT
        if at and who % 3:
            who = self._person(at.creator)
        first = (-(-at.weights.size // shape.page_length) if at and not at.version else 0) + skip
        weights = some_weights(shape, task)[first * shape.page_length : (first + pages) * shape.page_length]
        reasons = ["UnknownTask", "NoSuchTask"] * (at is None)
        if at is not None:
            reasons += ["NotCreator"] * (self._person(at.creator) != who)
            reasons += ["TaskLoaded", "TaskAlreadyLoaded"] * (at.version != 0)
            reasons += ["TaskIsClosing"] * at.closing
            reasons += ["WrongPage"] * (skip != 0) + ["WrongShape"] * (not weights.size)
        self._call(reasons, who, POOL, "loadPages", task, first, weight_bytes(weights))

    def _not_fundable(self, task: int, amount: int) -> list[str]:
        at = self.task(task)
        if at is None:
            return ["UnknownTask"]
        # So much there cannot be: the pot's sum overflows before the token says so.
        return ["TaskIsClosing"] * at.closing + ["ZeroAmount"] * (amount == 0) + ["Panic"] * (amount >= 2**127)

    @rule(task=numbers, who=people, amount=amounts)
    def fund(self, task: int, who: int, amount: int) -> None:
        reasons = [*self._not_fundable(task, amount), *self._short(who, amount)]
        if self._call(reasons, who, POOL, "fund", task, amount):
            self._pay(who, "pool", amount)

    @rule(task=numbers, who=st.sampled_from((OWNER, OWNER, OWNER, 1)), amount=amounts, to_the_wei=st.booleans())
    def grant(self, task: int, who: int, amount: int, to_the_wei: bool) -> None:
        most = self.world.emission().emittable(self.replay.emitted, self.now_s)
        if to_the_wei:  # all that there is, or one more
            amount = most + amount % 2
        reasons = self._not_fundable(task, amount)
        reasons += ["OwnableUnauthorizedAccount"] * (who != OWNER) + ["BeyondEmission"] * (amount > most)
        if self._call(reasons, who, POOL, "grant", task, amount):
            self.balances["pool"] += amount

    @rule(task=numbers, who=people, really=st.sampled_from((True, False, False, False, False, False)))
    def close(self, task: int, who: int, really: bool) -> None:
        if not really:  # or few rounds would be played
            return
        at = self.task(task)
        reasons = ["UnknownTask"] * (at is None)
        ends = False
        if at is not None:
            if who % 2:
                who = self._person(at.creator)
            reasons += ["NotCreator"] * (self._person(at.creator) != who) + ["TaskIsClosing"] * at.closing
            ends = not at.accepted
            rest = at.pot
        if self._call(reasons, who, POOL, "closeTask", task) and ends:
            self._pay("pool", who, rest)

    # -- stake

    @rule(task=numbers, who=people, units=st.integers(0, 300) | st.sampled_from((MAX_ELIGIBLE, 2**40 - 1)))
    def lock(self, task: int, who: int, units: int) -> None:
        at = self.task(task)
        reasons = ["UnknownTask"] * (at is None) + ["ZeroUnits"] * (units == 0) + self._short(who, units * UNIT_WEI)
        if at is not None:
            reasons += ["TaskClosed"] * at.ledger.closed + ["StakeLimit"] * (at.ledger.total + units > MAX_ELIGIBLE)
        if self._call(reasons, who, VAULT, "lock", task, units):
            self._pay(who, "vault", units * UNIT_WEI)

    @rule(task=numbers, who=people, units=st.integers(0, 60), everything=st.sampled_from((True, False, False, False)))
    def unlock(self, task: int, who: int, units: int, everything: bool) -> None:
        at = self.task(task)
        locked = at.ledger.of(address_of(who)).amount if at else 0
        units = locked if everything else units
        reasons = ["UnknownTask"] * (at is None) + ["ZeroUnits"] * (units == 0)
        reasons += ["InsufficientStake"] * (units > locked)
        self._call(reasons, who, VAULT, "unlock", task, units)

    @rule(task=numbers, who=people, late=st.sampled_from((None, 0, 0, -1)))
    def withdraw(self, task: int, who: int, late: int | None) -> None:
        """Now, at the second from which on it can be, or just before."""
        at = self.task(task)
        reasons = ["UnknownTask"] * (at is None)
        unlocking = 0
        if at is not None:
            stake = at.ledger.of(address_of(who))
            if late is not None and stake.unlocking:
                self.world.wait(max(stake.withdrawable_s + late - self.now_s, 0))
            unlocking = stake.unlocking
            takes_part = at.phase in (Phase.COLLECTING, Phase.SETTLING) and stake.submitted == at.ledger.round
            reasons += ["ZeroUnits"] * (not unlocking)
            reasons += ["StakeStillLocked"] * (self.now_s < stake.withdrawable_s or takes_part)
        if self._call(reasons, who, VAULT, "withdraw", task):
            self._pay("vault", who, unlocking * UNIT_WEI)

    @rule(task=numbers, who=people)
    def mature(self, task: int, who: int) -> None:
        self._call(["UnknownTask"] * (self.task(task) is None), who, VAULT, "mature", task)

    @rule(task=numbers, who=people)
    def claim_of_stake(self, task: int, who: int) -> None:
        at = self.task(task)
        fees = at.ledger.fees_of(address_of(who)) if at else 0
        if self._call([], who, VAULT, "claim", task):
            self._pay("pool", who, fees)

    @rule(who=people, whom=anybody)
    def delegate(self, who: int, whom: int) -> None:
        if self._call([], who, VAULT, "delegate", to_checksum_address(address_of(whom))):
            self.delegates[who] = whom

    # -- rounds

    @rule(
        task=numbers,
        who=people,
        seed=st.integers(0, 2**32),
        encoding=st.sampled_from((TWO_BITS, INT8)),
        shift=st.sampled_from((-8, -1, 0, 3, 4)),
        stale=st.sampled_from((0, 0, 0, 0, 1)),
    )
    def submit(self, task: int, who: int, seed: int, encoding: Encoding, shift: int, stale: int) -> None:
        at = self.task(task)
        shape = self.shapes[task - 1] if at else FLAT
        base = (at.version if at else 1) + stale
        update = some_update(shape, task, base, seed, encoding, shift=shift)
        reasons = ["NoSuchTask"] * (at is None)
        if at is not None:
            ledger = at.ledger
            counting = ledger.eligible_of(address_of(who))
            reasons += (
                ["NotLoaded"] * (not at.version) + ["StaleBase"] * stale + ["NoStake"] * (not counting or ledger.closed)
            )
            reasons += ["EmptyUpdate"] * (update.squared_norm(shape) < 2**16)
            reasons += ["TaskIsClosing"] * ledger.closed + ["RoundSettling"] * (at.merged_groups != 0)
            reasons += ["RoundFull"] * (len(at.accepted) >= at.terms.max_updates)
            reasons += ["BelowMinimumStake"] * (counting < at.terms.floor(ledger.eligible))
            reasons += ["AlreadySubmitted"] * (ledger.of(address_of(who)).submitted == ledger.round)
        data = (task, update.digest(shape), update.header(shape), list(update.groups(shape)))
        self._call(reasons, who, POOL, "submit", *data)

    @rule(**ROUND)
    def play_another_round(self, **drawn: Any) -> None:
        """Rules are drawn alike, and rounds are what matters."""
        self.play_a_round(**drawn)

    @rule(**ROUND)
    def play_a_round(self, task: int, chosen: set[int], seed: int, settler: int, groups: int, patience_s: int) -> None:
        """Those of the chosen ones whose stake counts contribute; then so many groups are settled as soon as it may be, or later."""
        at = self.task(task)
        if at is None:
            return
        for who in sorted(chosen):
            if at.ledger.eligible_of(address_of(who)):
                self.submit(task, who, seed + who, (TWO_BITS, INT8)[(seed + who) % 2], 3, 0)
        if not at.accepted or not groups:
            return
        due = rule_of(at.terms.rule).due(at.terms, at.standing(self.now_s))
        self.world.wait(max(next(one.from_s for one in due if one.step is Step.SETTLED) - self.now_s, 0) + patience_s)
        for _ in range(min(groups, self.shapes[task - 1].group_count - at.merged_groups)):
            self.settle_group(task, settler, None)

    @rule(task=numbers, who=people, units=st.integers(1, 300))
    def join(self, task: int, who: int, units: int) -> None:
        """Locks, waits until it is mature, and has the next round open if that depends on nobody else."""
        self.lock(task, who, units)
        at = self.task(task)
        if at is not None:
            self.world.wait(max(at.ledger.of(address_of(who)).matures_s - self.now_s, 0))
            if not at.accepted:
                self.drop(task, who, False)

    def _not_in_time(self, at: TaskReplay, step: Step, error: str) -> list[str]:
        due = next(
            (one for one in rule_of(at.terms.rule).due(at.terms, at.standing(self.now_s)) if one.step is step), None
        )
        return [error] * (due is not None and self.now_s < due.from_s)

    @rule(task=numbers, who=people, group=st.sampled_from((None, None, None, 0, 1, 2)))
    def settle_group(self, task: int, who: int, group: int | None) -> None:
        """The next one, or any."""
        at = self.task(task)
        if at is None:
            self._call(["NoSuchTask"], who, POOL, "settle", task, 1, 0, [])
            return
        shape = self.shapes[task - 1]
        group = at.merged_groups if group is None else group
        reasons = ["WrongRound"] * (not at.version) + ["NoUpdates"] * (not at.accepted)
        reasons += ["WrongGroup"] * (group != at.merged_groups)
        reasons += self._not_in_time(at, Step.SETTLED, "RoundNotOver")
        last = group == shape.group_count - 1
        fee = paid = most = 0
        rest = at.pot
        if at.accepted and last:
            elapsed_s = at.idle_s + self.now_s - at.ledger.opened_s  # with the rounds without updates just before
            pay = round_pay(at.terms, at.pot, elapsed_s, at.present, at.ledger.eligible)
            fee = pay.fee
            earned = rule_of(at.terms.rule).divide(
                at.terms,
                pay.shared,
                [one.event.weight for one in at.accepted],
                [one.event.effective for one in at.accepted],
            )
            paid = fee + sum(earned)
            most = min(
                at.pot,
                at.terms.reward * min(elapsed_s, at.terms.round_seconds) // at.terms.round_seconds,
            )
        settlement = self._settlement(at, shape, min(group, shape.group_count - 1))
        receipt = self._expect(reasons, self.world.call, who, POOL, "settle", task, at.ledger.round, group, settlement)
        if receipt is None or not last:
            return
        self._is_within(receipt, most)
        self._pay("pool", who, fee)
        if at.ledger.closed:
            self._pay("pool", self._person(at.creator), rest - paid)

    def _is_within(self, receipt: StoredReceipt, most: int) -> None:
        """The chain's own words, without the model's arithmetic: all together no more than the round may take, and nobody twice."""
        events = [POOL.decode_log(log.topics, log.data) for log in receipt.logs if log.address == self.world.pool]
        paid = [event.values for event in events if event and event.name == "ContributionPaid"]
        fees = [event.values for event in events if event and event.name == "SettlerPaid"]
        assert sum(values["amount"] for values in (*paid, *fees)) <= most
        assert len({values["contributor"] for values in paid}) == len(paid)

    def _settlement(self, at: TaskReplay, shape: Shape, group: int) -> list[tuple[Any, ...]]:
        found = []
        for one in at.accepted:
            groups = one.update.groups(shape)
            event = one.event
            found.append(
                (
                    event.contributor,
                    event.weight,
                    event.effective,
                    event.header,
                    [keccak(part) for part in groups],
                    groups[group],
                )
            )
        return found

    @rule(task=numbers, who=people, how=st.sampled_from(("without one", "twice", "swapped", "for another", "stronger")))
    def settle_falsely(self, task: int, who: int, how: str) -> None:
        at = self.task(task)
        if at is None or not at.accepted:
            return
        shape = self.shapes[task - 1]
        honest = self._settlement(at, shape, at.merged_groups)
        head = honest[0]
        false = {
            "without one": honest[1:],
            "twice": [*honest, head],
            "swapped": [*honest[1:], head],
            "for another": [(address_of(who), *head[1:]), *honest[1:]],
            "stronger": [(head[0], head[1] + 1, *head[2:]), *honest[1:]],
        }[how]
        if false != honest:
            reasons = ["RunningHashMismatch", *self._not_in_time(at, Step.SETTLED, "RoundNotOver")]
            self._call(reasons, who, POOL, "settle", task, at.ledger.round, at.merged_groups, false)

    @rule(task=numbers, who=people, patient=st.booleans())
    def drop(self, task: int, who: int, patient: bool) -> None:
        at = self.task(task)
        if at is None:
            self._call(["NoSuchTask"], who, POOL, "drop", task)
            return
        due = rule_of(at.terms.rule).due(at.terms, at.standing(self.now_s))
        from_s = next((one.from_s for one in due if one.step is Step.DROPPED), 0)
        if patient:
            self.world.wait(max(from_s - self.now_s, 0))
        reasons = ["TaskNotReady"] * (not at.version) + ["TaskIsClosing"] * at.ledger.closed
        reasons += self._not_in_time(at, Step.DROPPED, "NotYetDroppable")
        rest = at.pot
        if self._call(reasons, who, POOL, "drop", task) and at.ledger.closed:
            self._pay("pool", self._person(at.creator), rest)

    # -- fees and earnings

    @rule(task=numbers, who=people, amount=amounts)
    def share_fees(self, task: int, who: int, amount: int) -> None:
        unknown = self.task(task) is None
        if not unknown and self.balances[who] >= amount:
            self._pay(who, "pool", amount)
            self._share(task, amount)
            assert self._call([], who, POOL, "shareFees", task, amount)
        else:
            self._call(["UnknownTask"] * unknown + self._short(who, amount), who, POOL, "shareFees", task, amount)

    @rule(task=numbers, who=people)
    def claim(self, task: int, who: int) -> None:
        at = self.task(task)
        pay = sum(at.shares.claimable_by(address_of(who))) if at else 0
        if self._call(["UnknownTask"] * (at is None), who, POOL, "claim", task):
            self._pay("pool", who, pay)

    # -- $LL itself

    @rule(who=people, to=anybody | st.sampled_from(("pool", "vault", "escrow")), amount=amounts)
    def transfer(self, who: int, to: int | str, amount: int) -> None:
        """To somebody, or to a contract that was not asked: lost, and nobody's."""
        receiver = to_checksum_address(self.names[to])
        if self._call(self._short(who, amount), who, TOKEN, "transfer", receiver, amount):
            self._pay(who, to, amount)
            if isinstance(to, str):
                self.given[to] += amount

    @rule(who=people, task=numbers, what=st.integers(0, 8))
    def what_is_not_for_him(self, who: int, task: int, what: int) -> None:
        him = to_checksum_address(address_of(who))
        name, interface, function, arguments = (
            ("NotThePool", TOKEN, "emitToPool", (1,)),
            ("NotThePool", VAULT, "recordUpdate", (task, him, 1, 1, 0)),
            ("NotThePool", VAULT, "applyChanges", (task, 1)),
            ("NotThePool", VAULT, "shareFees", (task, 10**18)),
            ("NotTheVault", POOL, "release", (task, 1)),
            ("NotTheVault", POOL, "payFees", (him, 1)),
            ("OwnableUnauthorizedAccount", POOL, "setAspect", (him,)),
            ("OwnableUnauthorizedAccount", POOL, "transferOwnership", (him,)),
            ("ERC20InsufficientAllowance", TOKEN, "transferFrom", (to_checksum_address(self.world.pool), him, 1)),
        )[what]
        self._call([name], who, interface, function, *arguments)

    # -- the escrow

    @rule(client=people, server=people, amount=amounts)
    def deposit(self, client: int, server: int, amount: int) -> None:
        error = self._escrow_model(self.escrow.deposit, client, server, amount)
        self._escrowed(error, self.chain_of_escrow.deposit, client, server, amount)
        if error is None:
            self._pay(client, "escrow", amount)

    @rule(client=people, server=people)
    def ask_back(self, client: int, server: int) -> None:
        error = self._escrow_model(self.escrow.ask, client, server, self.now_s)
        self._escrowed(error, self.chain_of_escrow.transact, account(client), "askWithdrawal", account(server).address)

    @rule(client=people, server=people, late=st.sampled_from((None, 0, -1)))
    def take_back(self, client: int, server: int, late: int | None) -> None:
        due = self.escrow.withdrawable_at[client, server]
        if due and late is not None:
            self.world.wait(max(due + late - self.now_s, 0))
        before = self.escrow.deposits[client, server]
        error = self._escrow_model(self.escrow.withdraw, client, server, self.now_s)
        self._escrowed(error, self.chain_of_escrow.transact, account(client), "withdraw", account(server).address)
        if error is None:
            self._pay("escrow", client, before)

    @rule(
        server=people,
        drawn=st.lists(
            st.builds(
                Shown,
                client=people,
                server=st.just(0),
                task=numbers,
                amount=amounts,
                lifetime=st.sampled_from((0, 500, 10**9)),
                signer=st.sampled_from((0, 0, 0, 0, 1)),
                elsewhere=st.sampled_from((False, False, False, True)),
            ),
            min_size=1,
            max_size=5,
        ),
        again=st.integers(0, 2),
        stray=st.sampled_from((0, 0, 0, 0, 1)),
    )
    def redeem(self, server: int, drawn: list[Shown], again: int, stray: int) -> None:
        batch = [dataclasses.replace(one, server=server) for one in drawn]
        batch += [one for one in self.shown if one.server == server or stray][-again:] * (again > 0)
        self.shown += [one for one in batch if one not in self.shown]
        held = sum(self.escrow.deposits.values())
        before = self._escrow_model_balances()
        error, paid = self.escrow.redeem(server, batch, self.now_s - self.started_s)
        if error is None:
            self._pay("escrow", "pool", sum(amount for _, amount in self.escrow.last_fees))
            self._pay("escrow", server, self.escrow.balances[server] - before[server])
            assert sum(self.escrow.deposits.values()) == held - sum(paid) >= 0
            for task, amount in self.escrow.last_fees:
                self._share(task, amount)
        signed = [self._signed(one) for one in batch]
        receipt = self._escrowed(error, self.chain_of_escrow.redeem, server, signed)
        if receipt is not None:
            values = [event for event in self.chain_of_escrow.events(receipt) if event.name.startswith("Voucher")]
            assert [event.values.get("paid", 0) for event in values] == paid

    def _escrow_model_balances(self) -> dict[int, int]:
        self.escrow.balances = {who: self.balances[who] for who in range(PEOPLE)}
        return dict(self.escrow.balances)

    def _escrow_model(self, step: Callable[..., str | None], *arguments: int) -> str | None:
        self._escrow_model_balances()
        return step(*arguments)

    def _escrowed(self, error: str | None, send: Callable[..., StoredReceipt], *arguments: Any) -> StoredReceipt | None:
        return self._expect([error] if error else [], send, *arguments)

    def _signed(self, shown: Shown) -> tuple[Voucher, bytes]:
        chain = self.chain_of_escrow
        voucher, signature = chain.voucher(
            shown.client, shown.server, shown.amount, shown.task, expiry=self.started_s + shown.lifetime
        )
        if shown.signer or shown.elsewhere:
            elsewhere = domain_separator(1, chain.escrow) if shown.elsewhere else None
            signature = chain.sign(shown.signer or shown.client, voucher, elsewhere)
        return voucher, signature

    # -- time

    @rule(seconds=waits)
    def wait(self, seconds: int) -> None:
        self.world.wait(seconds)

    # -- what must always hold

    @invariant()
    def nothing_is_made_lost_or_overdrawn(self) -> None:
        if not hasattr(self, "steps"):
            return
        world = self.world
        held = {who: world.balance(at) for who, at in self.names.items()}
        assert held == dict(self.balances)
        supply = world.number(TOKEN, "totalSupply")
        assert sum(held.values()) == supply == GENESIS + self.replay.emitted
        released = PER_SECOND * (self.now_s - self.world.emission().start_s)
        assert supply <= min(CAP, GENESIS + released)
        assert held["escrow"] == sum(self.escrow.deposits.values()) + self.given["escrow"]
        tasks = self.replay.tasks.values()
        assert held["pool"] - self.given["pool"] >= sum(task.pool_owes for task in tasks)
        assert held["vault"] - self.given["vault"] == sum(task.vault_owes for task in tasks)
        for number, task in self.replay.tasks.items():
            assert world.status(number)["pot"] == task.pot >= 0
            self._omega_is_what_counts(number, task)
        self.steps += 1
        if self.steps % 10 == 0:
            self._agrees()

    def _omega_is_what_counts(self, number: int, task: TaskReplay) -> None:
        """And what was unlocked by those who take part in the round, or while it is merged."""
        if task.phase in (Phase.LOADING, Phase.CLOSED):
            return
        counting = sum(task.ledger.eligible_of(address_of(who)) for who in range(PEOPLE))
        leaving = self.world.read(VAULT, "changesOf", number)["leaving"]
        assert task.ledger.eligible == counting + leaving
        assert task.present <= task.ledger.eligible

    def _agrees(self) -> None:
        agrees(self.world, self.replay, given=self.given)
        for client in range(1, PEOPLE):
            for server in range(1, PEOPLE):
                channel = (client, server)
                expected = (self.escrow.deposits.get(channel, 0), self.escrow.withdrawable_at.get(channel, 0))
                if any(expected):
                    assert self.chain_of_escrow.channel(*channel) == expected
        for (client, server, task), amount in self.escrow.redeemed.items():
            assert self.chain_of_escrow.redeemed(client, server, task) == amount
        votes: dict[int, int] = defaultdict(int)
        for who, whom in self.delegates.items():
            votes[whom] += sum(task.ledger.of(address_of(who)).amount for task in self.replay.tasks.values())
        for who in range(PEOPLE):
            assert self.world.number(VAULT, "getVotes", to_checksum_address(address_of(who))) == votes[who]

    def teardown(self) -> None:
        """Everybody leaves with what is his; what stays is what divisions left over and what was given to nobody."""
        if not hasattr(self, "steps"):
            return
        try:
            self._agrees()
            self._everybody_leaves()
            self._agrees()
        finally:
            self.world.chain.rewind(self.head)
            self.world.clock.now_s = self.started_s

    def _everybody_leaves(self) -> None:
        for number, task in self.replay.tasks.items():
            if not task.closing:
                self.close(number, self._person(task.creator) | 1, True)
            if not task.ledger.closed:
                self.drop(number, 1, True)
            assert task.phase is Phase.CLOSED
            for who in range(1, PEOPLE):
                if task.ledger.of(address_of(who)).amount:
                    self.unlock(number, who, 0, True)
        self.world.wait(max((task.terms.stake_seconds for task in self.replay.tasks.values()), default=0))
        for number, task in self.replay.tasks.items():
            for who in range(1, PEOPLE):
                if task.ledger.of(address_of(who)).unlocking:
                    self.withdraw(number, who, None)
                if sum(task.shares.claimable_by(address_of(who))):
                    self.claim(number, who)
                if task.ledger.fees_of(address_of(who)):
                    self.claim_of_stake(number, who)
            assert task.pot == task.pool_owes == task.vault_owes == 0
        for client, server in [channel for channel, left in self.escrow.deposits.items() if left]:
            if not self.escrow.withdrawable_at[client, server]:
                self.ask_back(client, server)
            self.take_back(client, server, 0)
        self.nothing_is_made_lost_or_overdrawn()
        roundings = sum(task.flows.roundings for task in self.replay.tasks.values())
        for name, given in self.given.items():
            assert 0 <= self.balances[name] - given <= roundings * (name == "pool"), name


def test_the_economy_does_what_its_model_does() -> None:
    run(Economy, "ECONOMY", examples=6, steps=60)
