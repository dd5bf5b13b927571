"""Sealed rounds by rule `evidence` on the devchain, and the creator's bond: each guard against whoever would get round it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import pytest

from linklearner.chain.contracts import POOL, TOKEN, VAULT
from linklearner.domain import events as happened
from linklearner.domain.errors import Divergence
from linklearner.domain.notation import LL_WEI
from linklearner.domain.rounds import Due, Phase, Standing, Step
from linklearner.domain.rules.evidence.course import Forfeit, bond_shares
from linklearner.domain.rules.evidence.rule import EVIDENCE as EVIDENCE_RULE
from tests.contracts.evidence_chain import BOND, EVIDENCE, NETWORK, EvidenceTask, events_of, shape_of
from tests.contracts.task_chain import Reverted, TaskChain, address_of, agrees

REVEAL_S = 30
ROUND_S = EVIDENCE.round_seconds
SALT = b"\5" * 32


@pytest.fixture(scope="module")
def world() -> TaskChain:
    world = TaskChain.deployed(9)
    world.call(0, TOKEN, "transfer", address_of(1), 100_000 * LL_WEI)  # many pots and bonds
    return world


def sealed(world: TaskChain, **options: Any) -> EvidenceTask:
    return EvidenceTask.begun(world, reveal_seconds=REVEAL_S, **options)


def committed(world: TaskChain, *who: int, **options: Any) -> EvidenceTask:
    """A round in which these have committed, and may reveal now."""
    task = sealed(world, **options)
    for one in who:
        task.commit(one, task.work(one))
    world.wait(ROUND_S)
    return task


def entries(task: EvidenceTask, number: int = 1) -> list[tuple[bytes, bytes, int, int]]:
    """The updates of a round as `claimBond` takes them."""
    found = []
    for _, log, _ in task.world.logs():
        event = POOL.decode_log(log.topics, log.data) if log.address == task.world.pool else None
        if event is not None and event.name == "UpdateAccepted":
            values = event.values
            if (values["task"], values["round"]) == (task.task, number):
                found.append((values["digest"], values["contributor"], values["weight"], values["effective"]))
    return found


def claim(task: EvidenceTask, who: int, number: int = 1, of: list[Any] | None = None) -> None:
    task.world.call(who, POOL, "claimBond", task.task, number, entries(task, number) if of is None else of)


# -- phases


def test_sealed_rounds_are_judged_merged_and_paid_like_others(world: TaskChain) -> None:
    task = sealed(world)
    for number in range(2):
        for who in (1, 2, 3):
            task.commit(who, task.work(10 * number + who))
        world.wait(ROUND_S)
        for who in (3, 1, 2):
            task.reveal(who)
        task.open()  # all is revealed: there is nothing to wait for
        task.settled()
    assert sum(world.number(POOL, "earnedBy", task.task, address_of(who)) for who in (1, 2, 3)) > 0


def test_nobody_reveals_before_nobody_can_commit_any_more(world: TaskChain) -> None:
    task = sealed(world)
    task.commit(1, task.work(1))
    world.wait(ROUND_S - 1)
    task.commit(2, task.work(2))
    with pytest.raises(Reverted, match="RevealsNotBegun"):
        task.reveal(1)
    world.wait(1)
    with pytest.raises(Reverted, match="PhaseOver"):
        task.commit(3, task.work(3))
    task.reveal(1)
    with pytest.raises(Reverted, match="PhaseOver"):
        task.commit(3, task.work(3))


def test_a_quorum_of_commitments_or_of_reveals_shortens_nothing(world: TaskChain) -> None:
    """Else a large account could shut out the others' reveals, or commit for the others' time to be over and reveal nothing."""
    task = sealed(world)
    for who in (1, 2, 3):
        task.commit(who, task.work(who))
    world.wait(EVIDENCE.min_round_seconds)
    with pytest.raises(Reverted, match="RevealsNotBegun"):
        task.reveal(1)
    world.wait(ROUND_S - EVIDENCE.min_round_seconds)
    for who in (1, 2):
        task.reveal(who)
    with pytest.raises(Reverted, match="NotYetRevealed"):
        task.open()
    task.reveal(3)
    task.open()
    task.settled()


def test_nobody_reveals_once_the_examples_may_be_opened(world: TaskChain) -> None:
    task = committed(world, 1, 2)
    task.reveal(1)
    world.wait(REVEAL_S)
    with pytest.raises(Reverted, match="PhaseOver"):
        task.reveal(2)
    task.open()
    with pytest.raises(Reverted, match="PhaseOver"):
        task.reveal(2)
    task.settled()


def test_examples_are_not_opened_while_updates_are_committed_or_revealed(world: TaskChain) -> None:
    task = sealed(world)
    with pytest.raises(Reverted, match="NoUpdates"):
        task.open()
    task.commit(1, task.work(1))
    task.commit(2, task.work(2))
    for wait in (0, ROUND_S):
        world.wait(wait)
        with pytest.raises(Reverted, match="NoUpdates"):
            task.open()
    task.reveal(1)
    for wait in (0, REVEAL_S - 1):
        world.wait(wait)
        with pytest.raises(Reverted, match="NotYetRevealed"):
            task.open()
    world.wait(1)
    task.open()
    with pytest.raises(Reverted, match="ExamplesOpen"):
        task.open()
    task.settled()


def test_examples_are_opened_too_late_when_the_round_may_be_dropped(world: TaskChain) -> None:
    task = committed(world, 1)
    task.reveal(1)
    world.wait(EVIDENCE.drop_seconds - ROUND_S)
    with pytest.raises(Reverted, match="PhaseOver"):
        task.open()


def test_a_sealed_round_is_not_settled_before_its_examples_are_opened(world: TaskChain) -> None:
    task = committed(world, 1, 2)
    with pytest.raises(Reverted, match="NoUpdates"):
        world.call(2, POOL, "settle", task.task, task.number, 0, [])
    task.reveal(1)
    for wait in (0, REVEAL_S):
        world.wait(wait)
        with pytest.raises(Reverted, match="ExamplesNotOpened"):
            world.settle_group(2, task.task, task.shape, 0)
    task.open()
    task.settled()


def test_stake_that_is_committed_and_not_revealed_blocks_no_settlement_and_no_later_round(world: TaskChain) -> None:
    task = committed(world, 1, 2, 3, stakes=(100, 500, 500))
    task.reveal(1)
    world.wait(REVEAL_S)
    task.open()
    task.settled()
    task.commit(1, task.work(9))
    world.wait(ROUND_S)
    task.reveal(1)
    task.open()
    task.settled()


def test_a_round_in_which_nothing_is_revealed_is_over_when_nothing_can_be(world: TaskChain) -> None:
    task = committed(world, 1, 2)
    number = task.number
    world.wait(REVEAL_S - 1)
    with pytest.raises(Reverted, match="NotYetDroppable"):
        world.drop(5, task.task)
    world.wait(1)
    receipt = world.drop(5, task.task)
    assert [event.name for event in events_of(receipt, world)] == [
        "RoundDropped"
    ]  # nobody's work is lost: no bond is forfeited
    assert task.number == number + 1
    task.commit(1, task.work(3))


def test_a_round_with_commitments_is_not_ended_early_for_stake_that_has_become_ripe(world: TaskChain) -> None:
    """A round without updates may be ended for that; here it would cost the committed their work, and then their record."""
    task = sealed(world)
    world.call(4, VAULT, "lock", task.task, 100)
    world.wait(2 * EVIDENCE.stake_seconds)
    task.commit(1, task.work(1))
    with pytest.raises(Reverted, match="NotYetDroppable"):
        world.drop(4, task.task)


# -- commitments


def test_an_update_is_revealed_as_it_was_committed_or_not_at_all(world: TaskChain) -> None:
    task = committed(world, 1, 2)
    other = task.update(task.work(7))
    for update, salt in ((other, None), (None, SALT), (None, task.sealed[2][1]), task.sealed[2]):
        with pytest.raises(Reverted, match="NotCommitted"):
            task.reveal(1, update, salt)
    task.sealed[3] = task.sealed[1]
    with pytest.raises(Reverted, match="NotCommitted"):  # who has committed to nothing
        task.reveal(3)
    task.reveal(1)
    with pytest.raises(Reverted, match="NotCommitted"):  # twice
        task.reveal(1)
    assert world.read(POOL, "committedIn", task.task, address_of(1)) == {"round": 1, "revealed": True}
    assert world.read(POOL, "committedIn", task.task, address_of(2)) == {"round": 1, "revealed": False}


def test_a_commitment_is_its_senders(world: TaskChain) -> None:
    """Copied from the mempool, it is worth nothing: the copier can never reveal it."""
    task = sealed(world)
    task.commit(1, task.work(1))
    update, salt = task.sealed[1]
    copy = task.commitment(1, update, salt)
    world.call(2, POOL, "commitUpdate", task.task, task.number, copy)
    task.sealed[2] = (update, salt)
    world.wait(ROUND_S)
    task.reveal(1)
    with pytest.raises(Reverted, match="NotCommitted"):
        task.reveal(2)


def test_a_commitment_is_of_its_round_and_task(world: TaskChain) -> None:
    one, two = sealed(world), sealed(world)
    update = one.update(one.work(1))
    elsewhere = one.commitment(1, update, SALT)
    with pytest.raises(Reverted, match="WrongRound"):
        world.call(1, POOL, "commitUpdate", one.task, one.number + 1, elsewhere)
    world.call(1, POOL, "commitUpdate", two.task, two.number, elsewhere)
    two.sealed[1] = (replace(update, task=two.task), SALT)
    one.commit(2, one.work(2))  # and nobody reveals it
    world.wait(ROUND_S)
    with pytest.raises(Reverted, match="NotCommitted"):
        two.reveal(1)
    world.wait(REVEAL_S)
    world.drop(5, one.task)
    before, salt = one.sealed[2]
    world.call(2, POOL, "commitUpdate", one.task, 2, seal_of(one, 2, before, salt, number=1))  # of round 1
    world.wait(ROUND_S)
    with pytest.raises(Reverted, match="NotCommitted"):
        one.reveal(2)


def seal_of(task: EvidenceTask, who: int, update: Any, salt: bytes, number: int) -> bytes:
    digest = update.digest(task.shape)
    (value,) = task.world.read(POOL, "commitmentOf", task.task, number, address_of(who), digest, salt).values()
    return bytes(value)


def test_the_pool_says_what_python_says_of_a_commitment(world: TaskChain) -> None:
    task = sealed(world)
    update = task.update(task.work(1))
    assert seal_of(task, 4, update, SALT, task.number) == task.commitment(4, update, SALT)


def test_a_commitment_of_a_round_before_is_not_revealed_in_the_next(world: TaskChain) -> None:
    task = committed(world, 1, 2)
    world.wait(REVEAL_S)
    world.drop(5, task.task)
    task.commit(3, task.work(3))
    world.wait(ROUND_S)
    with pytest.raises(Reverted, match="NotCommitted"):
        task.reveal(1)


def test_an_account_commits_once_a_round_and_with_stake_that_counts(world: TaskChain) -> None:
    task = sealed(world)
    task.commit(1, task.work(1))
    with pytest.raises(Reverted, match="AlreadySubmitted"):
        task.commit(1, task.work(2))
    with pytest.raises(Reverted, match="BelowMinimumStake"):
        task.commit(6, task.work(3))


def test_committed_stake_stays_until_the_round_is_over(world: TaskChain) -> None:
    """Who could take it back would commit without anything at stake."""
    task = sealed(world)
    eligible = world.status(task.task)["eligible"]
    task.commit(1, task.work(1))
    world.call(1, VAULT, "unlock", task.task, 100)
    assert world.status(task.task)["eligible"] == eligible
    world.wait(ROUND_S)
    with pytest.raises(Reverted, match="NoStake"):  # what is unlocked has no influence
        task.reveal(1)
    world.wait(EVIDENCE.stake_seconds - ROUND_S)
    with pytest.raises(Reverted, match="StakeStillLocked"):
        world.call(1, VAULT, "withdraw", task.task)
    world.drop(2, task.task)
    world.call(1, VAULT, "withdraw", task.task)


def test_sealed_updates_are_not_submitted_in_the_open_and_open_ones_not_committed(world: TaskChain) -> None:
    task = sealed(world)
    with pytest.raises(Reverted, match="GateClosed"):
        task.submit(1, task.work(1))
    unsealed = EvidenceTask.begun(world)
    with pytest.raises(Reverted, match="GateClosed"):
        unsealed.commit(1, unsealed.work(1))
    unsealed.sealed[1] = (unsealed.update(unsealed.work(1)), SALT)
    with pytest.raises(Reverted, match="NotCommitted"):
        unsealed.reveal(1)
    mean = world.open_task(1, shape_of(NETWORK), stakes=[10])
    with pytest.raises(Reverted, match="GateClosed"):
        world.call(1, POOL, "commitUpdate", mean, 1, SALT)


def test_no_more_commit_than_can_reveal(world: TaskChain) -> None:
    """Else a large account could fill the round before others have revealed, and they would have lost their work and their record."""
    task = sealed(world, terms=replace(EVIDENCE, max_updates=2))
    task.commit(1, task.work(1))
    task.commit(2, task.work(2))
    with pytest.raises(Reverted, match="RoundFull"):
        task.commit(3, task.work(3))
    world.wait(ROUND_S)
    task.reveal(2)
    task.reveal(1)
    task.open()
    task.settled()


# -- what it costs to commit and not to reveal


def merged_once(world: TaskChain, **options: Any) -> EvidenceTask:
    """Accounts 1, 2 and 3 have had a round; 1 has a record above 0."""
    task = committed(world, 1, 2, 3, sizes=(20, 2, 2, 2, 2), **options)
    for who in (1, 2, 3):
        task.reveal(who)
    task.open()
    task.settled()
    assert task.records[address_of(1)] > 0
    return task


def test_who_commits_and_does_not_reveal_loses_his_record(world: TaskChain) -> None:
    """Sealed or not, he might wait for what others reveal, or for no answer at all; a round is not held up by it, and stake is not the
    price, since a gateway that crashes is no attack."""
    task = merged_once(world)
    task.commit(1, task.work(11))
    task.commit(2, task.work(12))
    world.wait(ROUND_S)
    task.reveal(2)
    world.wait(REVEAL_S)
    task.open()
    task.settled()
    (event,) = events_of(task.commit(1, task.work(21)), world)
    assert event.values["recordLost"] is True
    assert world.number(POOL, "recordOf", task.task, address_of(1)) == 0
    world.wait(ROUND_S)
    task.reveal(1)
    task.open()
    task.settled()  # judged like a new account


def test_who_reveals_keeps_his_record_and_who_has_none_loses_none(world: TaskChain) -> None:
    task = merged_once(world)
    record = task.records[address_of(1)]
    (event,) = events_of(task.commit(1, task.work(11)), world)
    assert event.values["recordLost"] is False
    assert world.number(POOL, "recordOf", task.task, address_of(1)) == record
    world.wait(ROUND_S + REVEAL_S)
    world.drop(5, task.task)
    world.wait(ROUND_S)
    task.commit(1, task.work(13))
    world.wait(ROUND_S + REVEAL_S)
    world.drop(5, task.task)
    (event,) = events_of(task.commit(1, task.work(14)), world)  # what is gone cannot be lost again
    assert event.values["recordLost"] is False


# -- the creator's bond


def test_the_bond_goes_to_the_pool_with_the_commitment_and_back_when_the_task_closes(world: TaskChain) -> None:
    before = world.balance(address_of(1))
    task = EvidenceTask.begun(world, pot=0, stakes=(), bond=3 * BOND)
    assert world.balance(address_of(1)) == before - 3 * BOND
    assert world.read(POOL, "sealingOf", task.task)["bond"] == 3 * BOND
    receipt = world.call(1, POOL, "closeTask", task.task)
    assert [event.name for event in events_of(receipt, world)] == ["TaskClosing", "TaskClosed", "BondReturned"]
    assert world.balance(address_of(1)) == before
    assert world.read(POOL, "sealingOf", task.task)["bond"] == 0


def test_a_bond_is_at_least_what_a_round_may_take_from_the_pot(world: TaskChain) -> None:
    for terms, least in ((EVIDENCE, EVIDENCE.reward), (replace(EVIDENCE, reward=1), LL_WEI)):
        with pytest.raises(Reverted, match="BadTerms"):
            EvidenceTask.begun(world, terms=terms, bond=least - 1)
        EvidenceTask.begun(world, terms=terms, bond=least)


def test_a_task_that_is_closing_takes_no_commitment_to_examples_and_no_bond(world: TaskChain) -> None:
    task = world.number(POOL, "nextTask")
    world.call(1, POOL, "openTask", task, shape_of(NETWORK).encode(), "{}", astuple(EVIDENCE))
    world.call(1, POOL, "closeTask", task)
    with pytest.raises(Reverted, match="TaskIsClosing"):
        world.call(1, POOL, "commitExamples", task, SALT, 1, 1, 4, 0, BOND)


def test_reveals_end_before_the_round_may_be_dropped(world: TaskChain) -> None:
    task = world.number(POOL, "nextTask")
    world.call(1, POOL, "openTask", task, shape_of(NETWORK).encode(), "{}", astuple(EVIDENCE))
    longest = EVIDENCE.drop_seconds - EVIDENCE.round_seconds - 1
    with pytest.raises(Reverted, match="BadTerms"):
        world.call(1, POOL, "commitExamples", task, SALT, 1, 1, 4, longest + 1, BOND)
    world.call(1, POOL, "commitExamples", task, SALT, 1, 1, 4, longest, BOND)


def void(world: TaskChain, *who: int, reveal: bool = True, **options: Any) -> EvidenceTask:
    """Round 1 was dropped: its examples were never opened."""
    if reveal:
        task = committed(world, *who, **options)
        for one in who:
            task.reveal(one)
    else:
        task = EvidenceTask.begun(world, **options)
        for one in who:
            task.submit(one, task.work(one))
    world.wait(EVIDENCE.drop_seconds)
    receipt = world.drop(8, task.task)
    assert [event.name for event in events_of(receipt, world)][:2] == ["BondForfeited", "RoundDropped"]
    task.sent = []
    return task


@pytest.mark.parametrize("reveal", [True, False], ids=["sealed", "unsealed"])
def test_a_bond_is_shared_by_stake_among_those_who_revealed_to_the_wei(world: TaskChain, reveal: bool) -> None:
    bond = BOND + 1
    task = void(world, 3, 1, 2, stakes=(7, 40, 30, 50), bond=bond, reveal=reveal)
    weights = [(entry[1], entry[2]) for entry in entries(task)]
    shares = bond_shares(bond, weights)
    assert sum(shares.values()) == bond
    assert shares[address_of(3)] > bond * weights[0][1] // sum(weight for _, weight in weights)  # what is left over
    held = world.balance(world.pool)
    for who in (1, 2, 3):
        before = world.balance(address_of(who))
        claim(task, who)
        assert world.balance(address_of(who)) - before == shares[address_of(who)]
    assert held - world.balance(world.pool) == bond


def test_a_share_of_the_bond_is_claimed_once_and_by_whom_it_is_due_only(world: TaskChain) -> None:
    task = void(world, 1, 2, stakes=(100, 100, 100))
    listed = entries(task)
    (digest, _, weight, effective) = listed[0]
    claim(task, 1)
    for what in (
        lambda: claim(task, 1),  # twice
        lambda: claim(task, 3),  # who has stake, and did not reveal
        lambda: claim(task, 3, of=[(digest, address_of(3), weight, effective), listed[1]]),
        lambda: claim(task, 3, of=[*listed, (digest, address_of(3), weight, effective)]),
        lambda: claim(task, 2, of=[listed[0], (*listed[1][:2], 10 * weight, effective)]),
        lambda: claim(task, 2, of=listed[1:]),
        lambda: claim(task, 2, of=listed[::-1]),
        lambda: claim(task, 2, of=[]),
        lambda: claim(task, 2, number=2),  # of a round whose bond was not forfeited
        lambda: world.call(2, POOL, "claimBond", task.task + 1, 1, listed),
    ):
        with pytest.raises(Reverted, match="NoShare"):
            what()
    claim(task, 2)


def test_who_committed_and_did_not_reveal_has_no_share(world: TaskChain) -> None:
    task = committed(world, 1, 2)
    task.reveal(1)
    world.wait(EVIDENCE.drop_seconds)
    world.drop(8, task.task)
    with pytest.raises(Reverted, match="NoShare"):
        claim(task, 2)
    before = world.balance(address_of(1))
    claim(task, 1)
    assert world.balance(address_of(1)) == before + BOND


def test_the_creator_alone_gets_his_bond_back_in_the_end(world: TaskChain) -> None:
    """He harmed nobody but himself."""
    before = world.balance(address_of(1))
    task = void(world, 1, stakes=(100,), pot=0)
    claim(task, 1)
    world.call(1, VAULT, "unlock", task.task, 100)
    world.wait(EVIDENCE.stake_seconds)
    world.call(1, VAULT, "withdraw", task.task)
    assert world.balance(address_of(1)) == before


def test_without_a_bond_no_update_is_taken_until_there_is_another_one(world: TaskChain) -> None:
    for reveal in (True, False):
        task = void(world, 2, reveal=reveal)
        send = task.commit if reveal else task.submit
        with pytest.raises(Reverted, match="GateClosed"):
            send(2, task.work(3))
        with pytest.raises(Reverted, match="BadTerms"):
            world.call(3, POOL, "putBond", task.task, BOND - 1)
        world.call(3, POOL, "putBond", task.task, 2 * BOND)
        with pytest.raises(Reverted, match="BondPresent"):
            world.call(3, POOL, "putBond", task.task, BOND)
        send(2, task.work(3))
        if reveal:
            world.wait(ROUND_S)
            task.reveal(2)
        world.wait(EVIDENCE.drop_seconds)
        world.drop(8, task.task)  # forfeited again, and both are there for whom they are due
        for number, amount in ((2, 2 * BOND), (1, BOND)):
            before = world.balance(address_of(2))
            claim(task, 2, number)
            assert world.balance(address_of(2)) == before + amount


def test_a_bond_is_not_put_down_again_for_a_task_that_is_closing(world: TaskChain) -> None:
    task = void(world, 2)
    world.call(1, POOL, "closeTask", task.task)
    with pytest.raises(Reverted, match="TaskIsClosing"):
        world.call(3, POOL, "putBond", task.task, BOND)


@pytest.mark.parametrize("reveal", [True, False], ids=["sealed", "unsealed"])
def test_a_creator_who_closes_the_task_in_the_middle_of_a_round_does_not_save_his_bond(
    world: TaskChain, reveal: bool
) -> None:
    task = sealed(world) if reveal else EvidenceTask.begun(world)
    before = world.balance(address_of(1))
    task.commit(2, task.work(2)) if reveal else task.submit(2, task.work(2))
    receipt = world.call(1, POOL, "closeTask", task.task)
    assert [event.name for event in events_of(receipt, world)] == [
        "TaskClosing"
    ]  # not closed, with a commitment in the round
    if reveal:
        world.wait(ROUND_S)
        task.reveal(2)
    world.wait(EVIDENCE.drop_seconds)
    receipt = world.drop(1, task.task)
    assert [event.name for event in events_of(receipt, world)] == ["BondForfeited", "RoundDropped", "TaskClosed"]
    assert world.balance(address_of(1)) == before + 200 * LL_WEI  # the pot
    before = world.balance(address_of(2))
    claim(task, 2)
    assert world.balance(address_of(2)) == before + BOND


def test_a_task_that_is_closed_with_nothing_but_commitments_returns_the_bond(world: TaskChain) -> None:
    task = sealed(world)
    task.commit(2, task.work(2))
    world.call(1, POOL, "closeTask", task.task)
    world.wait(ROUND_S + REVEAL_S)
    receipt = world.drop(2, task.task)
    assert [event.name for event in events_of(receipt, world)] == ["RoundDropped", "TaskClosed", "BondReturned"]


def test_a_creator_who_has_opened_the_examples_keeps_his_bond_though_nobody_settles(world: TaskChain) -> None:
    task = committed(world, 1)
    task.reveal(1)
    task.open()
    world.wait(EVIDENCE.drop_seconds)
    receipt = world.drop(2, task.task)
    assert [event.name for event in events_of(receipt, world)] == ["RoundDropped"]
    assert world.read(POOL, "sealingOf", task.task)["bond"] == BOND


def test_sealed_rounds_with_one_contributor_and_with_all_refused(world: TaskChain) -> None:
    alone = committed(world, 1, stakes=(100,), sizes=(20, 2))
    alone.reveal(1)
    alone.open()
    expected, _ = alone.settled()
    assert expected.verdicts[0].merged
    refused = sealed(world, sizes=(20, 2))
    for who in (1, 2):
        refused.commit(who, refused.work(who, -1))
    world.wait(ROUND_S)
    for who in (1, 2):
        refused.reveal(who)
    refused.open()
    expected, _ = refused.settled()
    assert not any(verdict.merged for verdict in expected.verdicts)


# -- replaying


def lived() -> TaskChain:
    """Rounds that are settled, with commitments that are not revealed, with none revealed, and void; bonds returned and claimed."""
    world = TaskChain.deployed(9)
    task = sealed(world, stakes=(70, 100, 90))
    for number in range(3):
        for who in (1, 2, 3):
            task.commit(who, task.work(10 * number + who))
        world.wait(ROUND_S)
        for who in (1, 2) if number == 1 else (1, 2, 3):
            task.reveal(who)
        world.wait(REVEAL_S)
        task.open()
        task.settled()
    task.commit(2, task.work(40))
    world.wait(ROUND_S + REVEAL_S)
    world.drop(5, task.task)
    for who in (3, 1):
        task.commit(who, task.work(50 + who))
    world.wait(ROUND_S)
    for who in (3, 1):
        task.reveal(who)
    world.wait(EVIDENCE.drop_seconds)
    world.drop(5, task.task)
    task.sent = []
    claim(task, 1, 5)
    world.call(4, POOL, "putBond", task.task, 2 * BOND)
    task.commit(2, task.work(61))
    world.wait(ROUND_S)
    task.reveal(2)
    task.open()
    task.settled()
    claim(task, 3, 5)
    task.commit(1, task.work(71))
    world.call(1, POOL, "closeTask", task.task)
    world.wait(ROUND_S)
    task.reveal(1)
    task.open()
    task.settled()
    return world


@pytest.fixture(scope="module")
def history() -> tuple[TaskChain, list[happened.Event]]:
    world = lived()
    return world, world.history()


def diverges(world: TaskChain, events: list[happened.Event]) -> bool:
    replay = world.replay()
    try:
        for event in events:
            replay.feed(event)
        replay.finish()
    except Divergence:
        return True
    return False


def test_replaying_sealed_rounds_and_bonds_agrees_to_the_wei(history: tuple[TaskChain, list[happened.Event]]) -> None:
    world, events = history
    kinds = {type(event) for event in events}
    assert {
        happened.UpdateCommitted,
        happened.BondPut,
        happened.BondForfeited,
        happened.BondClaimed,
        happened.BondReturned,
    } <= kinds
    replay = world.replay()
    for event in events:
        replay.feed(event)
    replay.finish()
    agrees(world, replay)
    course = replay.tasks[1].course
    assert course is not None
    for who in (1, 2, 3):
        assert course.records[address_of(who)] == world.number(POOL, "recordOf", 1, address_of(who))
    assert any(event.record_lost for event in events if isinstance(event, happened.UpdateCommitted))


Change = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("kind", "field", "change"),
    [
        (happened.ExamplesCommitted, "reveal_seconds", lambda value: value + 1),
        (happened.ExamplesCommitted, "reveal_seconds", lambda value: 0),
        (happened.BondPut, "amount", lambda value: value - 1),
        (happened.UpdateCommitted, "commitment", lambda value: bytes(32)),
        (happened.UpdateCommitted, "contributor", lambda value: address_of(6)),
        (happened.UpdateCommitted, "round", lambda value: value + 1),
        (happened.UpdateCommitted, "record_lost", lambda value: not value),
        (happened.UpdateSubmitted, "salt", lambda value: bytes(32)),
        (happened.UpdateSubmitted, "salt", lambda value: None),
        (happened.UpdateSubmitted, "time_s", lambda value: value - ROUND_S),
        (happened.BondForfeited, "amount", lambda value: value - 1),
        (happened.BondForfeited, "round", lambda value: value - 1),
        (happened.BondClaimed, "amount", lambda value: value + 1),
        (happened.BondClaimed, "contributor", lambda value: address_of(6)),
        (happened.BondClaimed, "round", lambda value: value - 1),
        (happened.BondReturned, "amount", lambda value: value + 1),
    ],
)
def test_what_is_altered_in_sealed_rounds_is_noticed(
    history: tuple[TaskChain, list[happened.Event]], kind: type, field: str, change: Change
) -> None:
    world, events = history
    places = [index for index, event in enumerate(events) if type(event) is kind]
    for at in places[:2]:
        altered = list(events)
        altered[at] = replace(altered[at], **{field: change(getattr(altered[at], field))})
        assert diverges(world, altered), at
        if kind is not happened.BondClaimed:  # which nobody has to make
            assert diverges(world, [*events[:at], *events[at + 1 :]]), at


def test_a_bond_that_is_claimed_twice_is_noticed(history: tuple[TaskChain, list[happened.Event]]) -> None:
    world, events = history
    at = next(index for index, event in enumerate(events) if isinstance(event, happened.BondClaimed))
    assert diverges(world, [*events[: at + 1], events[at], *events[at + 1 :]])


# -- the rule in Python


def test_the_phases_of_a_sealed_round_have_absolute_times() -> None:
    terms, first_s = EVIDENCE, 1030
    open_ = Standing(1, 0, 0, 100, 0, 1000, reveal_seconds=REVEAL_S)
    committing = replace(open_, committed=2, first_s=first_s)
    one = replace(committing, accepted=1, present=100)
    both = replace(one, accepted=2)
    reveals_s, until_s = EVIDENCE_RULE.reveals_s(terms, committing)
    assert (reveals_s, until_s) == (first_s + ROUND_S, first_s + ROUND_S + REVEAL_S)
    drop = Due(Step.DROPPED, first_s + terms.drop_seconds)
    assert EVIDENCE_RULE.due(terms, open_) == (Due(Step.COMMITTED), Due(Step.DROPPED, 1000 + terms.drop_seconds))
    assert EVIDENCE_RULE.phase(committing) is EVIDENCE_RULE.phase(one) is Phase.COLLECTING
    assert EVIDENCE_RULE.due(terms, committing) == (
        Due(Step.COMMITTED),
        Due(Step.ACCEPTED, reveals_s),
        Due(Step.DROPPED, until_s),
    )
    assert EVIDENCE_RULE.due(terms, one) == (Due(Step.ACCEPTED, reveals_s), Due(Step.EXAMPLES_OPENED, until_s), drop)
    assert EVIDENCE_RULE.due(terms, both) == (Due(Step.EXAMPLES_OPENED, reveals_s), drop)
    assert EVIDENCE_RULE.due(terms, replace(both, examples_opened=True)) == (Due(Step.SETTLED), drop)
    assert EVIDENCE_RULE.next_step(terms, committing) == Due(Step.DROPPED, until_s)


def test_a_bond_is_shared_without_remainder() -> None:
    accounts = [bytes([n]) * 20 for n in range(3)]
    assert bond_shares(10, [(accounts[0], 1), (accounts[1], 1), (accounts[2], 1)]) == dict(
        zip(accounts, (4, 3, 3), strict=True)
    )
    forfeit = Forfeit(bond_shares(7, [(accounts[0], 5)]), set())
    assert (forfeit.left, forfeit.claim(accounts[0]), forfeit.left) == (7, 7, 0)
