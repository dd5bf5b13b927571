"""Pay by `novel` and `fair` on the devchain: to the wei what Python says, and nothing else can be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, replace

import numpy as np
import pytest

from devchain.chain.blocks import StoredReceipt
from linklearner.chain import contracts
from linklearner.chain.contracts import POOL, VAULT
from linklearner.domain.capacity import CALLDATA, example_gas, pay_bytes, pay_examples, pay_gas
from linklearner.domain.capacity import GAS as GAS_OF_A_BLOCK
from linklearner.domain.digest import weight_bytes
from linklearner.domain.encodings import INT8
from linklearner.domain.events import SettledRound
from linklearner.domain.notation import LL_WEI
from linklearner.domain.replay import Replay, TaskReplay
from linklearner.domain.rules.evidence.credit import HORIZON
from linklearner.domain.rules.evidence.ledger import PayKind
from linklearner.domain.rules.evidence.network import IntegerNetwork
from tests.contracts.evidence_chain import BOND, EVIDENCE, NETWORK, EvidenceTask, events_of, first_weights, shape_of
from tests.contracts.task_chain import Reverted, TaskChain, address_of, agrees

THREE = (2, 2, 2)
"""Batches that three rounds use up: then nothing more is opened, and all of them may be paid."""


class Watched:
    """A chain replayed as it goes on: who pays has what he must hand in from there."""

    def __init__(self, world: TaskChain) -> None:
        self.world = world
        self._replay: Replay = world.replay()
        self._next_block = 1

    def task(self, number: int) -> TaskReplay:
        self.caught_up()
        return self._replay.tasks[number]

    def caught_up(self) -> Replay:
        for event in self.world.history(self._next_block):
            self._replay.feed(event)
        self._next_block = self.world.chain.head.number + 1
        self._replay.finish()
        return self._replay

    def rounds(self, number: int, count: int) -> tuple[int, bytes, list[SettledRound]]:
        """What pays the next `count` rounds: the first of these, the base, and the rounds."""
        task = self.task(number)
        ledger = task.pay_ledger
        assert ledger is not None
        versions = range(ledger.first_version, ledger.next_version + count)
        base = ledger.base_of(versions.start).astype("<i2").tobytes()
        return ledger.next_version, base, [task.handed_in[version] for version in versions]

    def pay(
        self, number: int, count: int = 1, who: int = 4, change: Callable[[list[SettledRound]], object] = lambda _: None
    ) -> StoredReceipt:
        """change: what a cheat does to the rounds."""
        first, base, rounds = self.rounds(number, count)
        change(rounds)
        return self.world.send(who, self.world.pool, contracts.pay(number, first, base, rounds))


@pytest.fixture(scope="module")
def watched() -> Watched:
    return Watched(TaskChain.deployed(9))


@pytest.fixture
def world(watched: Watched) -> TaskChain:
    return watched.world


def earned(world: TaskChain, task: EvidenceTask, people: Sequence[int] = (1, 2, 3)) -> list[int]:
    return [world.number(POOL, "earnedBy", task.task, address_of(who)) for who in people]


@pytest.mark.parametrize("kind", [PayKind.NOVEL, PayKind.FAIR])
def test_rounds_are_paid_as_python_says_in_batches_and_one_by_one(
    watched: Watched, world: TaskChain, kind: PayKind
) -> None:
    """Thirteen rounds, so that the memory's end is passed; one contributor copies another's last update in each fourth."""
    task = EvidenceTask.begun(world, sizes=(2,) * 14, pay=kind, pot=2000 * LL_WEI)
    last = task.work(1)
    for number in range(13):
        works = [task.work(10 * number + who) for who in (1, 2)]
        works.append(last if number % 4 == 1 else task.work(10 * number + 3, -1 if number % 3 == 2 else 1))
        for who, steps in zip((1, 2, 3), works, strict=True):
            task.submit(who, steps)
        last = works[0]
        pot = world.status(task.task)["pot"]
        task.close()
        task.open()
        _, events = task.settled()
        (aside,) = [event.values["amount"] for event in events if event.name == "PaySetAside"]
        fees = sum(event.values["amount"] for event in events if event.name == "SettlerPaid")
        assert world.status(task.task)["pot"] == pot - aside - fees
        assert not any(event.name == "ContributionPaid" for event in events)
    assert earned(world, task) == [0, 0, 0]
    copies = 0
    for count in (1, 2, 10):
        if count == 10:
            world.wait(HORIZON * EVIDENCE.drop_seconds)  # nobody opens any more
        before, pot, payer = earned(world, task), world.status(task.task)["pot"], world.balance(address_of(4))
        expected = watched.task(task.task)
        ledger = expected.pay_ledger
        assert ledger is not None
        aside = sum(ledger.owed[ledger.next_version + n].shared for n in range(count))
        events = events_of(watched.pay(task.task, count), world)
        agrees(world, watched.caught_up())
        parts = [b - a for a, b in zip(before, earned(world, task), strict=True)]
        back = sum(event.values["amount"] for event in events if event.name == "PayReturned")
        fees = world.balance(address_of(4)) - payer
        assert sum(parts) + back + fees == aside
        assert fees == sum(event.values["amount"] for event in events if event.name == "SettlerPaid") > 0
        assert world.status(task.task)["pot"] == pot + back
        credited = [event.values for event in events if event.name == "UpdateCredited"]
        assert len(credited) == 3 * count
        for who in (1, 2, 3):
            (sums,) = world.read(POOL, "creditOf", task.task, address_of(who)).values()
            known = ledger.accounts.get(address_of(who))
            if kind is PayKind.FAIR:
                assert not any(sums.values())
            else:
                assert known is not None
                assert tuple(sums.values()) == (known.gain, known.novel, known.direct, known.paid)
        copies += sum(owners == () for one in ledger.memory.owners[-count:] for owners in one)
    assert sum(earned(world, task)) > 0
    assert copies > 0
    assert world.read(POOL, "payOf", task.task) == {"pay_": kind, "full": 1000, "next": 14}


@pytest.fixture
def played(world: TaskChain) -> EvidenceTask:
    """A task all of whose three rounds may be paid."""
    task = EvidenceTask.begun(world, sizes=THREE, pay=PayKind.NOVEL)
    for number in range(3):
        task.play(number)
    return task


def test_a_round_is_paid_once(watched: Watched, world: TaskChain, played: EvidenceTask) -> None:
    first, base, rounds = watched.rounds(played.task, 1)
    call = contracts.pay(played.task, first, base, rounds)
    world.send(4, world.pool, call)
    with pytest.raises(Reverted, match="WrongVersion"):
        world.send(4, world.pool, call)
    again = [replace(rounds[0], kept=bytes(3)), rounds[0]]  # the same round under the next one's number
    with pytest.raises(Reverted, match=r"NotTheSettledRound|WrongBase"):
        world.send(4, world.pool, contracts.pay(played.task, 2, base, again))


def test_a_round_is_not_paid_before_ten_more_batches_are_opened_or_long_after(
    watched: Watched, world: TaskChain
) -> None:
    task = EvidenceTask.begun(world, sizes=(1,) * 13, pay=PayKind.NOVEL)
    for number in range(HORIZON):
        task.play(number, (1,))
        with pytest.raises(Reverted, match="PayNotDue"):
            watched.pay(task.task)
    task.submit(1, task.work(99))
    task.close()
    task.open()  # the eleventh batch: W of the first round is known, whether or not the open one is settled
    with pytest.raises(Reverted, match="PayNotDue"):
        watched.pay(task.task, 2)
    watched.pay(task.task)
    task.settled()
    with pytest.raises(Reverted, match="PayNotDue"):
        watched.pay(task.task)
    world.wait(HORIZON * EVIDENCE.drop_seconds)  # nobody opens any more
    watched.pay(task.task, 10)
    agrees(world, watched.caught_up())


def test_a_round_that_is_not_settled_is_not_paid(watched: Watched, world: TaskChain, played: EvidenceTask) -> None:
    first, base, rounds = watched.rounds(played.task, 3)
    forged = replace(rounds[2], before=rounds[2].digest, round=4)
    with pytest.raises(Reverted, match=r"NotTheSettledRound|WrongBase"):
        world.send(4, world.pool, contracts.pay(played.task, first, base, [*rounds, forged]))
    other = EvidenceTask.begun(world, sizes=THREE, pay=PayKind.NOVEL)
    with pytest.raises(Reverted, match=r"NoExamples|NotTheSettledRound"):
        world.send(4, world.pool, contracts.pay(other.task, 1, base, rounds[:1]))


def test_rounds_are_paid_in_order_and_with_their_memory(
    watched: Watched, world: TaskChain, played: EvidenceTask
) -> None:
    _, base, rounds = watched.rounds(played.task, 3)
    bases = {version: one.base.astype("<i2").tobytes() for version, one in played_ledger(watched, played).owed.items()}
    skipping = [replace(rounds[0], kept=bytes(len(rounds[0].updates))), *rounds[1:]]
    with pytest.raises(Reverted, match="WrongVersion"):
        world.send(4, world.pool, contracts.pay(played.task, 2, base, skipping[:2]))
    with pytest.raises(Reverted, match="NotTheSettledRound"):  # the second in the first's place
        world.send(4, world.pool, contracts.pay(played.task, 1, bases[2], rounds[1:2]))
    watched.pay(played.task)
    with pytest.raises(Reverted, match="NothingToPay"):  # without the memory, where the chain knows of it
        world.send(4, world.pool, contracts.pay(played.task, 2, bases[2], rounds[1:2]))
    other = [replace(rounds[1], kept=bytes(len(rounds[1].updates))), rounds[2]]  # another round in the memory's place
    with pytest.raises(Reverted, match="NotTheSettledRound"):
        world.send(4, world.pool, contracts.pay(played.task, 2, bases[2], other))
    watched.pay(played.task, 2)


def played_ledger(watched: Watched, task: EvidenceTask):  # type: ignore[no-untyped-def]
    ledger = watched.task(task.task).pay_ledger
    assert ledger is not None
    return ledger


def changed(index: int, **values: object) -> Callable[[list[SettledRound]], object]:
    def change(rounds: list[SettledRound]) -> None:
        rounds[index] = replace(rounds[index], **values)  # type: ignore[arg-type]

    return change


def updates(index: int, make: Callable[[tuple], tuple]) -> Callable[[list[SettledRound]], object]:
    def change(rounds: list[SettledRound]) -> None:
        rounds[index] = replace(rounds[index], updates=make(rounds[index].updates))

    return change


def merged_otherwise(rounds: list[SettledRound]) -> None:
    rounds[1] = replace(rounds[1], merged=rounds[1].merged ^ 1)


CHEATS: dict[str, tuple[Callable[[list[SettledRound]], object], str]] = {
    "left out": (updates(1, lambda all_: all_[:-1]), "NotTheSettledRound|WrongBase"),
    "left out of the memory": (updates(0, lambda all_: all_[1:]), "NotTheSettledRound|WrongBase|WrongMemory"),
    "reordered": (updates(1, lambda all_: all_[::-1]), "NotTheSettledRound|WrongBase"),
    "twice": (updates(1, lambda all_: (*all_, all_[0])), "NotTheSettledRound|WrongBase"),
    "in another's name": (
        updates(1, lambda all_: (replace(all_[0], contributor=address_of(5)), *all_[1:])),
        "NotTheSettledRound",
    ),
    "more influence": (
        updates(1, lambda all_: (replace(all_[0], weight=99), *all_[1:])),
        "NotTheSettledRound|WrongBase",
    ),
    "other pages": (
        updates(1, lambda all_: (replace(all_[0], pages=all_[2].pages), *all_[1:])),
        "WrongDigest|WrongBase",
    ),
    "other pages of an update that was refused": (
        updates(1, lambda all_: (*all_[:2], replace(all_[2], pages=all_[0].pages))),
        "WrongDigest",
    ),
    "one that was not merged": (merged_otherwise, "NotTheSettledRound|WrongBase"),
    "more to share": (changed(1, shared=10**24), "NotTheSettledRound"),
    "less stake": (changed(1, eligible=4), "NotTheSettledRound|WrongBase"),
    "another batch": (changed(1, batch=0), "NotTheSettledRound"),
    "settled long ago": (changed(1, settled_at=1), "NotTheSettledRound"),
    "another round's seed": (changed(1, round=9), "NotTheSettledRound"),
    "another result": (changed(1, digest=bytes(32)), "NotTheSettledRound|WrongBase"),
    "another memory": (changed(0, kept=b"\0\0"), "NotTheSettledRound"),
    "an own memory": (changed(1, kept=b"\0\0\0"), "NotTheSettledRound"),
}


@pytest.mark.parametrize("name", CHEATS)
def test_only_the_settled_updates_are_paid_whole_and_in_order(
    watched: Watched, world: TaskChain, shared_task: EvidenceTask, name: str
) -> None:
    change, refusal = CHEATS[name]
    with pytest.raises(Reverted, match=refusal):
        watched.pay(shared_task.task, change=change)


@pytest.fixture(scope="module")
def shared_task(watched: Watched) -> EvidenceTask:
    """Three rounds, the first paid: the second has a memory. Nothing that a test does to it succeeds."""
    task = EvidenceTask.begun(watched.world, sizes=THREE, pay=PayKind.NOVEL)
    for number, people in (
        (0, (1, 2)),
        (2, (1, 2, 3)),
        (1, (1, 2)),
    ):  # the second round's last update is harm, and refused
        task.play(number, people)
    watched.pay(task.task)
    return task


def test_a_forged_base_is_refused(watched: Watched, world: TaskChain, shared_task: EvidenceTask) -> None:
    first, base, rounds = watched.rounds(shared_task.task, 1)
    forged = bytes([base[0] ^ 1]) + base[1:]
    with pytest.raises(Reverted, match="not the weights that the first round began with"):
        world.send(4, world.pool, contracts.pay(shared_task.task, first, forged, rounds))
    with pytest.raises(Reverted, match="WrongBase"):
        world.send(4, world.pool, contracts.pay(shared_task.task, first, base[:-2], rounds))
    # With a head that fits the forged base the Aspect is content; the pool is not.
    lying = [replace(rounds[0], before=rounds[0].digest), *rounds[1:]]
    with pytest.raises(Reverted, match=r"WrongBase|NotTheSettledRound"):
        world.send(4, world.pool, contracts.pay(shared_task.task, first, base, lying))


def test_a_memory_whose_kept_owners_break_off_or_go_on_is_refused(
    watched: Watched, world: TaskChain, shared_task: EvidenceTask
) -> None:
    for make, text in (
        (lambda kept: kept[:-1], "breaks off"),
        (lambda kept: b"\xff" + kept[1:], "breaks off"),
        (lambda kept: kept + b"\0", "goes on"),
    ):

        def change(rounds: list[SettledRound], make: Callable[[bytes], bytes] = make) -> None:
            rounds[0] = replace(rounds[0], kept=make(rounds[0].kept))

        with pytest.raises(Reverted, match=text):
            watched.pay(shared_task.task, change=change)


def test_after_all_these_cheats_the_honest_call_pays(
    watched: Watched, world: TaskChain, shared_task: EvidenceTask
) -> None:
    watched.pay(shared_task.task, 2)
    agrees(world, watched.caught_up())


def test_stake_stays_locked_until_the_last_update_is_paid(watched: Watched, world: TaskChain) -> None:
    task = EvidenceTask.begun(world, sizes=THREE, pay=PayKind.NOVEL)
    task.play(0)
    task.play(1, (1, 2))
    task.play(2, (1, 2))
    for who in (1, 3):
        world.call(who, VAULT, "unlock", task.task, 100)
    world.wait(EVIDENCE.stake_seconds + 1)
    for who in (1, 3):
        with pytest.raises(Reverted, match="StakeAwaitsPay"):
            world.call(who, VAULT, "withdraw", task.task)
    watched.pay(task.task)
    before = world.balance(address_of(3))
    world.call(3, VAULT, "withdraw", task.task)
    assert world.balance(address_of(3)) > before
    with pytest.raises(Reverted, match="StakeAwaitsPay"):
        world.call(1, VAULT, "withdraw", task.task)
    watched.pay(task.task, 2)
    world.call(1, VAULT, "withdraw", task.task)
    agrees(world, watched.caught_up())


def test_a_task_that_is_closed_pays_at_once_and_the_rest_goes_to_its_creator(
    watched: Watched, world: TaskChain
) -> None:
    """Two contributors only, half of all stake away: what they do not earn is left."""
    task = EvidenceTask.begun(world, sizes=(2,) * 13, pay=PayKind.NOVEL)
    for number in range(2):
        task.play(number)
    with pytest.raises(Reverted, match="PayNotDue"):
        watched.pay(task.task)
    world.call(1, POOL, "closeTask", task.task)
    assert world.status(task.task)["pot"] == 0
    creator = world.balance(address_of(1))
    events = events_of(watched.pay(task.task, 2), world)
    back = sum(event.values["amount"] for event in events if event.name == "PayReturned")
    assert back > 0
    assert world.balance(address_of(1)) - creator == back
    assert world.status(task.task)["pot"] == 0
    agrees(world, watched.caught_up())


def test_a_round_whose_updates_were_all_refused_is_paid_to_nobody_and_remembered(
    watched: Watched, world: TaskChain
) -> None:
    task = EvidenceTask.begun(world, sizes=(20, 1), pay=PayKind.NOVEL)
    for who in (1, 2):
        task.submit(who, task.work(who, -1))
    task.close()
    task.open()
    expected, _ = task.settled()
    assert not any(verdict.merged for verdict in expected.verdicts)
    task.play(1, (1,))
    aside = played_ledger(watched, task).owed[1].shared
    events = events_of(watched.pay(task.task), world)
    credits = [event.values for event in events if event.name == "UpdateCredited"]
    assert all(credit["gain"] < 0 for credit in credits)
    assert not any(event.name == "ContributionPaid" for event in events)
    fee = aside * EVIDENCE.settler_bps // 10_000
    assert [event.values["amount"] for event in events if event.name == "PayReturned"] == [aside - fee]
    watched.pay(task.task)
    agrees(world, watched.caught_up())


def test_a_contributor_alone_is_paid(watched: Watched, world: TaskChain) -> None:
    """Nobody's updates are in the memory but its own, which do not count against it; there is no reference."""
    task = EvidenceTask.begun(world, stakes=(100,), sizes=(9, 9, 9), pay=PayKind.NOVEL)
    for number in range(3):
        task.play(number, (1,))
    watched.pay(task.task, 3)
    assert earned(world, task, (1,))[0] > 0
    agrees(world, watched.caught_up())


def test_a_round_pays_an_account_no_more_than_its_part_of_it_and_what_is_due_beyond_later(
    watched: Watched, world: TaskChain
) -> None:
    """With `full` so low that a round's part is all earned at once; and paid as soon as the last batch is opened, before it is settled."""
    task = EvidenceTask.begun(world, stakes=(100,), sizes=(9, 9, 9), pay=PayKind.NOVEL, full=1)
    for number in range(2):
        task.play(number, (1,))
    task.submit(1, task.work(31))
    task.close()
    task.open()
    shared = [played_ledger(watched, task).owed[version].shared for version in (1, 2)]
    watched.pay(task.task, 2)
    fees = [one * EVIDENCE.settler_bps // 10_000 for one in shared]
    assert earned(world, task, (1,))[0] <= sum(one - fee for one, fee in zip(shared, fees, strict=True)) // 4
    assert earned(world, task, (1,))[0] > 0
    agrees(world, watched.caught_up())
    task.settled()


def test_a_copy_is_paid_nothing_and_a_new_account_begins_with_the_deposit(watched: Watched, world: TaskChain) -> None:
    """Account 3 copies what 1 did a round before; account 4 is its next name, which pays the deposit once more."""
    task = EvidenceTask.begun(world, stakes=(100, 100, 100, 100), sizes=(6,) * 4, pay=PayKind.NOVEL, pot=1000 * LL_WEI)
    works = [task.work(n) for n in range(4)]
    for number in range(4):
        task.submit(1, works[number])
        if number:
            task.submit(3 if number < 3 else 4, works[number - 1])
        task.close()
        task.open()
        task.settled()
    events = events_of(watched.pay(task.task, 4), world)
    assert earned(world, task, (3, 4)) == [0, 0]
    assert earned(world, task, (1,))[0] > 0
    copied = [
        event.values
        for event in events
        if event.name == "UpdateCredited" and event.values["contributor"] in (address_of(3), address_of(4))
    ]
    assert len(copied) == 3
    assert all(max(one["gain"], one["direct"], one["novel"]) <= 0 for one in copied)
    agrees(world, watched.caught_up())


def test_credits_are_clamped_at_two_nats(watched: Watched, world: TaskChain) -> None:
    """Weights at the ends of int16 and updates as long as they can be: an example's loss goes from the cap to nothing and back."""
    weights = np.where(np.arange(NETWORK.weight_count) % 2, 32767, -32768).astype(np.int16)
    task = EvidenceTask.begun(
        world, sizes=THREE, weights=weights, shape=shape_of(NETWORK, 2**31), pay=PayKind.NOVEL, full=2**15
    )
    for number in range(3):
        for who in (1, 2, 3):
            size = 9000 * (1 + 2 * number)
            task.submit(who, np.random.default_rng(10 * number + who).normal(0, size, NETWORK.weight_count))
        task.close()
        task.open()
        task.settled()
    events = events_of(watched.pay(task.task, 3), world)
    credits = [event.values for event in events if event.name == "UpdateCredited"]
    assert {2**15, -(2**15)} & {one[name] for one in credits for name in ("direct", "novel")}
    agrees(world, watched.caught_up())


def test_a_dropped_round_owes_nothing_and_its_batch_is_one_of_the_later_ones(
    watched: Watched, world: TaskChain
) -> None:
    task = EvidenceTask.begun(world, sizes=THREE, pay=PayKind.NOVEL)
    task.play(0)
    task.submit(3, task.work(5))
    task.close()
    task.open()
    world.wait(EVIDENCE.drop_seconds)
    world.drop(4, task.task)
    task.sent = []
    task.play(2, (1, 2))
    watched.pay(task.task, 2)
    world.call(3, VAULT, "unlock", task.task, 100)
    world.wait(EVIDENCE.stake_seconds + 1)
    world.call(3, VAULT, "withdraw", task.task)
    agrees(world, watched.caught_up())


def test_pay_is_named_once_in_time_by_the_creator_and_only_where_it_fits_a_block(world: TaskChain) -> None:
    shape = shape_of(NETWORK)
    task = world.number(POOL, "nextTask")
    world.call(1, POOL, "openTask", task, shape.encode(), "{}", astuple(EVIDENCE))
    with pytest.raises(Reverted, match="NoExamples"):
        world.call(1, POOL, "namePay", task, PayKind.NOVEL, 1000)
    world.call(1, POOL, "commitExamples", task, b"\1" * 32, 3, 9, 4, 0, BOND)
    for who, kind, full, refusal in (
        (2, 1, 1000, "NotCreator"),
        (1, 0, 1000, "BadTerms.*pay"),
        (1, 3, 1000, "BadTerms.*pay"),
        (1, 1, 0, "BadTerms.*full"),
        (1, 1, 2**15 + 1, "BadTerms.*full"),
    ):
        with pytest.raises(Reverted, match=refusal):
            world.call(who, POOL, "namePay", task, kind, full)
    world.call(1, POOL, "namePay", task, PayKind.FAIR, 1000)
    with pytest.raises(Reverted, match="TaskAlreadyLoaded"):
        world.call(1, POOL, "namePay", task, PayKind.NOVEL, 1000)
    world.call(1, POOL, "loadPages", task, 0, weight_bytes(first_weights(NETWORK)))
    with pytest.raises(Reverted, match="TaskAlreadyLoaded"):
        world.call(1, POOL, "namePay", task, PayKind.NOVEL, 1000)

    full = world.number(POOL, "nextTask")
    world.call(1, POOL, "openTask", full, shape.encode(), "{}", astuple(replace(EVIDENCE, max_updates=257)))
    world.call(1, POOL, "commitExamples", full, b"\1" * 32, 3, 9, 4, 0, BOND)
    with pytest.raises(Reverted, match=r"BadTerms.*maxUpdates"):
        world.call(1, POOL, "namePay", full, PayKind.NOVEL, 1000)


@pytest.mark.parametrize(("batches", "examples"), [(3, 9), (20, 50)])
def test_a_task_refuses_what_cannot_be_paid_in_a_block_with_the_figures(
    world: TaskChain, batches: int, examples: int
) -> None:
    shape = shape_of(NETWORK)
    work = example_gas(NETWORK.widths)
    judging = pay_examples(batches, examples)
    sizes = {count: pay_bytes(count, shape) for count in range(1, 120)}
    gas = {count: pay_gas(count, shape, judging, work, size) for count, size in sizes.items()}
    most = max(count for count in sizes if sizes[count] <= CALLDATA and gas[count] <= GAS_OF_A_BLOCK)
    for count in (most, most + 1):
        task = world.number(POOL, "nextTask")
        world.call(1, POOL, "openTask", task, shape.encode(), "{}", astuple(replace(EVIDENCE, max_updates=count)))
        world.call(1, POOL, "commitExamples", task, b"\1" * 32, batches, examples, 4, 0, BOND)
        if count == most:
            world.call(1, POOL, "namePay", task, PayKind.NOVEL, 1000)
            continue
        figures = f"'gas': {gas[count]}, 'mostGas': {GAS_OF_A_BLOCK}, 'bytes_': {sizes[count]}, 'mostBytes': {CALLDATA}"
        with pytest.raises(Reverted, match=f"PayDoesNotFit.*{figures}"):
            world.call(1, POOL, "namePay", task, PayKind.NOVEL, 1000)


@pytest.mark.parametrize("alike", [True, False])
def test_full_rounds_of_the_dearest_updates_cost_no_more_than_they_may(
    watched: Watched, world: TaskChain, alike: bool
) -> None:
    """int8 and dense, as long as they can be. Alike: each is as good as any other; not alike: none stands out."""
    network = IntegerNetwork((24, 12, 4), (12,) * 4, 4)
    task = EvidenceTask.begun(
        world,
        stakes=(100,) * 6,
        terms=replace(EVIDENCE, max_updates=6),
        network=network,
        sizes=(2,) * 9,
        shape=shape_of(network, 2**31, page_length=512),
        weights=np.zeros(network.weight_count, dtype=np.int16),
        pay=PayKind.NOVEL,
    )
    generator = np.random.default_rng(1)
    for _ in range(9):
        common = generator.normal(0, 9000, network.weight_count)
        for who in range(1, 7):
            task.submit(who, common if alike else generator.normal(0, 9000, network.weight_count), INT8)
        task.close()
        task.open()
        task.settled()
    watched.pay(task.task, 8)
    first, base, rounds = watched.rounds(task.task, 1)
    data = contracts.pay(task.task, first, base, rounds)
    used = world.send(4, world.pool, data).gas_used
    assert used <= pay_gas(6, task.shape, 2, example_gas(network.widths), len(data))
    assert len(data) <= pay_bytes(6, task.shape)


def test_a_task_that_pays_by_gain_owes_nothing(watched: Watched, world: TaskChain) -> None:
    task = EvidenceTask.begun(world, sizes=THREE)
    task.play(0)
    other = EvidenceTask.begun(world, sizes=THREE, pay=PayKind.NOVEL)
    other.play(0)  # the same updates at the same weights, in a task that pays later
    _, base, rounds = watched.rounds(other.task, 1)
    with pytest.raises(Reverted, match="WrongVersion"):
        world.send(4, world.pool, contracts.pay(task.task, 1, base, rounds))
    with pytest.raises(Reverted, match="NothingToPay"):
        world.send(4, world.pool, contracts.pay(task.task, 0, base, rounds))
    assert not world.number(POOL, "isUnpaid", task.task, address_of(1))
    world.call(1, VAULT, "unlock", task.task, 100)
    world.wait(EVIDENCE.stake_seconds + 1)
    world.call(1, VAULT, "withdraw", task.task)
