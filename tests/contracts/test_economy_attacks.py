"""What attackers of a task's economy can gain, each by real transactions."""

import dataclasses

import numpy as np
import pytest
from eth_abi.abi import encode

from bench.pool import (
    CREATOR,
    POOL,
    PRE_CONTRACT_CALL,
    SYSTEM,
    TERMS,
    PoolChain,
    Reverted,
    account,
    address_of,
    selector,
    terms_tuple,
)
from bench.pool_rounds import FLAT, opened
from linklearner import artifacts
from linklearner.domain.encodings import INT8, TWO_BITS
from linklearner.domain.rounds import Terms
from linklearner.domain.update import Update
from tests.contracts import puppet
from tests.contracts.evm import relay


def test_dust_earns_no_more_than_its_share_and_shuts_nobody_out(world: PoolChain) -> None:
    """Five accounts with 0.1 LL each against 500 LL once filled the quorum of heads, settled at once and minted 107.6 LL in 20 rounds."""
    honest, dust = range(1, 6), range(6, 11)
    round_ = opened(world, FLAT, [20_000] * 5 + [100] * 5, dataclasses.replace(TERMS, max_updates=300))
    for _ in range(20):
        with pytest.raises(Reverted, match="EmptyUpdate"):
            round_.submit(6, Update(round_.task, round_.version, TWO_BITS, (0, 0, 0), ()))
        for who in dust:
            round_.submit(who)
        with pytest.raises(Reverted, match="RoundNotOver"):
            round_.settle_group(0, settler=6)
        for who in honest:
            round_.submit(who)
        assert world.status(round_.task)["accepted"] == 10
        round_.settle(settler=11)
    income = {who: world.earned(round_.task, who) for who in (*honest, *dust)}
    assert sum(income[who] for who in dust) * 100_500 <= sum(income.values()) * 500
    assert all(income[who] for who in honest)


def test_dust_below_the_floor_does_not_fill_a_round(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100_000, 100])  # a round of 20: an eightieth of all stake
    with pytest.raises(Reverted, match="BelowMinimumStake"):
        round_.submit(2)


def test_stake_locked_and_unlocked_in_a_round_dilutes_nobody(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [1_000, 1_000])
    world.transact_vault(account(3), "lock", round_.task, 1_000_000)
    world.transact_vault(account(3), "unlock", round_.task, 1_000_000)
    round_.submit(1)
    round_.submit(2)
    round_.settle()
    assert world.status(round_.task)["eligible"] == 2_000
    world.transact_vault(account(2), "unlock", round_.task, 400)
    assert world.status(round_.task)["eligible"] == 1_600
    with pytest.raises(Reverted, match="StakeStillLocked"):
        world.transact_vault(account(2), "withdraw", round_.task)
    world.wait(TERMS.stake_seconds)
    world.transact_vault(account(2), "withdraw", round_.task)


def test_nothing_is_emitted_beyond_the_schedule_or_twice(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100])
    left = world.read_token("emittable")
    with pytest.raises(Reverted, match="BeyondEmission"):
        world.transact(account(0), "grant", round_.task, left + 1)
    with pytest.raises(Reverted, match="OwnableUnauthorizedAccount"):
        world.transact(account(1), "grant", round_.task, 1)
    world.wait(100)
    left = world.read_token("emittable")
    world.transact(account(0), "grant", round_.task, left)
    with pytest.raises(Reverted, match="BeyondEmission"):
        world.transact(account(0), "grant", round_.task, 1)


def test_the_creator_cannot_take_the_pot_from_a_round_under_way(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [100, 100])
    round_.submit(1)
    round_.submit(2)
    pot = world.status(round_.task)["pot"]
    world.transact(account(CREATOR), "closeTask", round_.task)
    assert world.status(round_.task)["pot"] == pot
    round_.settle()
    assert world.earned(round_.task, 1) > 0
    assert world.status(round_.task)["pot"] == 0


def test_two_accounts_with_one_accounts_stake_earn_what_it_earns(world: PoolChain) -> None:
    """Below the quarter; above it an account gains influence by splitting, which docs/protocol.md says."""
    terms = dataclasses.replace(TERMS, settler_bps=0)
    whole = opened(world, FLAT, [1_000, 2_000, 2_000, 2_000], terms)
    split = opened(world, FLAT, [500, 2_000, 2_000, 2_000, 500], terms)
    for round_, accounts in ((whole, 4), (split, 5)):
        for who in range(1, accounts + 1):
            round_.submit(who)
        round_.settle(settler=11)
    one = world.earned(whole.task, 1)
    two = world.earned(split.task, 1) + world.earned(split.task, 5)
    assert two <= one


@pytest.mark.parametrize("stake", [1_000, 10**6])
def test_filling_a_round_with_dust_takes_a_quarter_of_all_stake(world: PoolChain, stake: int) -> None:
    terms = dataclasses.replace(TERMS, max_updates=4)
    floor = stake // 11  # just above Omega / (4 * maxUpdates)
    round_ = opened(world, FLAT, [stake, *[floor] * 4, floor // 2], terms)
    eligible = world.status(round_.task)["eligible"]
    with pytest.raises(Reverted, match="BelowMinimumStake") as reverted:
        round_.submit(6)
    assert reverted.value.values == {"counting": floor // 2, "minimum": eligible // 16}
    for who in (2, 3, 4, 5):
        round_.submit(who)
    with pytest.raises(Reverted, match="RoundFull"):
        round_.submit(1)
    assert 4 * floor * 4 >= eligible


def test_a_one_weight_update_is_paid_like_any_other_and_no_more(world: PoolChain) -> None:
    """The pool cannot tell work from little work; stake bounds what either earns. Nothing at all is refused (EmptyUpdate)."""
    round_ = opened(world, FLAT, [1_000, 1_000])
    values = np.zeros(FLAT.weight_count, dtype=np.int8)
    values[3] = 1
    round_.submit(1, Update(round_.task, 1, INT8, (3, 0, 0), ((0, values),)))
    round_.submit(2)
    round_.settle(settler=11)
    assert world.earned(round_.task, 1) == world.earned(round_.task, 2)


def test_nobody_settles_in_the_block_of_the_opening_even_with_all_stake(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [1_000] * 4)
    for who in (1, 2, 3, 4):
        round_.submit(who)
    for _ in range(TERMS.min_round_seconds):
        with pytest.raises(Reverted, match="RoundNotOver"):
            round_.settle_group(0)
        world.wait(1)
    round_.settle_group(0)


def test_a_round_is_not_stretched_by_whoever_comes_late(world: PoolChain) -> None:
    """Its time counts from its first update: another one moves nothing."""
    round_ = opened(world, FLAT, [1_000, 1_000, 10_000])
    round_.submit(1)
    first = world.now
    world.wait(TERMS.round_seconds - 1)
    round_.submit(2)
    world.wait_until(first + TERMS.round_seconds)
    round_.settle_group(0)
    assert world.earned(round_.task, 1) > 0


def test_a_copied_settlement_pays_its_sender_the_fee_and_the_contributors_the_same(world: PoolChain) -> None:
    """Harmless: whoever is first does the work that the fee is for; the second's transaction fails and changes nothing."""
    round_ = opened(world, FLAT, [1_000] * 4)
    for who in (1, 2, 3, 4):
        round_.submit(who)
    round_.ripen()
    settlement = round_.settlement(0)
    thief, victim = (world.balance(address_of(account(who))) for who in (12, 11))
    paid = world.events(round_.settle_group(0, 12, settlement))
    fee = next(event.values["amount"] for event in paid if event.name == "SettlerPaid")
    with pytest.raises(Reverted, match=r"NotDue|WrongRound"):
        world.transact(account(11), "settle", round_.task, 1, 0, settlement)
    assert world.balance(address_of(account(12))) == thief + fee
    assert world.balance(address_of(account(11))) == victim
    assert {world.earned(round_.task, who) for who in (1, 2, 3, 4)} == {(paid_out(TERMS, 10) - fee) // 4}


def paid_out(terms: Terms, seconds: int) -> int:
    """What a round of so many seconds with all stake present takes from its pot, wei."""
    return terms.reward * seconds // terms.round_seconds


def test_empty_rounds_are_not_turned_over_for_pay_or_to_shut_anybody_out(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [1_000])
    pot = world.status(round_.task)["pot"]
    world.transact_vault(account(2), "lock", round_.task, 1)
    world.wait(2 * TERMS.stake_seconds)
    world.transact(account(2), "drop", round_.task)
    with pytest.raises(Reverted, match="NotYetDroppable"):
        world.transact(account(2), "drop", round_.task)
    assert world.status(round_.task)["pot"] == pot
    round_.submit(1)  # the base is the same


def test_ending_empty_rounds_takes_no_pay_from_those_who_work(world: PoolChain) -> None:
    """A unit locked each epoch lets its owner end an empty round each epoch; the time that it had lasted was once paid to nobody.

    Two tasks with the same work at the same times. In one of them account 9 ends the empty round just before the updates come: it cost
    honest accounts five sixths of their pay, and him the gas of a lock and a drop.
    """
    honest = (1, 2, 3, 4)
    terms = dataclasses.replace(TERMS, settler_bps=0)
    left_alone, attacked = (opened(world, FLAT, [1_000] * 4, terms) for _ in range(2))
    gas = ended = 0
    for _ in range(4):
        gas += world.transact_vault(account(9), "lock", attacked.task, 1).gas_used
        world.wait(2 * TERMS.stake_seconds)
        gas += world.transact(account(9), "drop", attacked.task).gas_used
        ended += 1
        for round_ in (left_alone, attacked):
            for who in honest:
                round_.submit(who)
        world.wait(TERMS.min_round_seconds)
        for round_ in (left_alone, attacked):
            round_.settle(settler=11)
    assert ended == 4 and gas < 4 * 200_000
    income, before = (sum(world.earned(round_.task, who) for who in honest) for round_ in (attacked, left_alone))
    assert before == 4 * TERMS.reward
    assert income == before - world.earned(attacked.task, 9)


def test_the_time_of_empty_rounds_is_paid_once_and_as_one_round_at_most(world: PoolChain) -> None:
    """Ended again and again, or late, they make no round worth more than its reward, and what was paid for is not paid for again."""
    terms = dataclasses.replace(TERMS, settler_bps=0, stake_seconds=10, drop_seconds=61)
    round_ = opened(world, FLAT, [1_000] * 4, terms)
    for _ in range(3):
        world.wait(61)
        world.transact(account(9), "drop", round_.task)

    def worth(seconds: int) -> int:
        return terms.reward * seconds // 60 // 4 * 4

    def played(wait_s: int) -> int:
        before = sum(world.earned(round_.task, who) for who in (1, 2, 3, 4))
        for who in (1, 2, 3, 4):
            round_.submit(who)
        world.wait(wait_s)
        round_.settle(settler=11)
        return sum(world.earned(round_.task, who) for who in (1, 2, 3, 4)) - before

    assert played(10) == worth(60)
    assert played(12) == worth(12)

    def empty(seconds: int) -> None:
        """An empty round of so many seconds, ended by stake that has become ripe."""
        world.transact_vault(account(9), "lock", round_.task, 1)
        world.wait(seconds)
        world.transact(account(9), "drop", round_.task)

    empty(20)
    empty(21)
    assert played(10) == worth(51)
    assert played(10) == worth(10)
    empty(20)
    round_.submit(1)  # and nobody settles: what was saved up is gone with this round
    world.wait(terms.drop_seconds)
    world.transact(account(9), "drop", round_.task)
    round_.accepted = []
    assert played(10) == worth(10)


# ── Who can change the rules ─────────────────────────────────────────────────────────────────────────────────────────────


def unbinding(world: PoolChain) -> bytes:
    return selector("unbind(address,address)") + encode(
        ["address", "address"], ["0x" + world.aspect.hex(), "0x" + world.pool.hex()]
    )


def upgrade(world: PoolChain) -> bytes:
    return selector("upgrade(address,bytes,(string,bytes)[],uint256)") + encode(
        ["address", "bytes", "(string,bytes)[]", "uint256"],
        ["0x" + world.aspect.hex(), artifacts.aspect("aggregator"), [], PRE_CONTRACT_CALL],
    )


@pytest.mark.parametrize("who", [0, 1, CREATOR], ids=["owner", "contributor", "creator"])
def test_nobody_binds_unbinds_or_upgrades_an_aspect_once_it_is_named(world: PoolChain, who: int) -> None:
    assert world.read("isOwner", account(who).address) == {"0": False}
    round_ = opened(world, FLAT, [1_000, 1_000])
    round_.submit(1)
    with pytest.raises(Reverted):
        world.send(account(who), SYSTEM, unbinding(world))
    with pytest.raises(Reverted):
        world.send(account(who), SYSTEM, upgrade(world))
    second = PoolChain(world.chain, world.pool, world.vault, world.token)
    second.aspect = second.deploy_aspect(account(who), owner=address_of(account(who)))
    with pytest.raises(Reverted):
        second.bind(account(who), world.pool)
    round_.submit(2)
    round_.settle()


def test_before_the_aspect_is_named_the_owner_and_nobody_else_binds_and_unbinds(world: PoolChain) -> None:
    bare = PoolChain(world.chain)
    bare.create_pool(account(0))
    bare.aspect = bare.deploy_aspect(account(0))
    assert bare.read("isOwner", account(0).address) == {"0": True}
    assert bare.read("isOwner", account(1).address) == {"0": False}
    with pytest.raises(Reverted):
        bare.bind(account(1), bare.pool)
    bare.bind(account(0), bare.pool)
    with pytest.raises(Reverted):
        bare.send(account(1), SYSTEM, unbinding(bare))
    bare.send(account(0), SYSTEM, unbinding(bare))


def test_whoever_owns_an_aspect_can_upgrade_it_so_ours_has_no_owner(world: PoolChain) -> None:
    """The same upgrade, with the one property changed: it is this property that refuses it."""
    other = PoolChain(world.chain, world.pool, world.vault, world.token)
    other.aspect = other.deploy_aspect(account(0), owner=address_of(account(0)))
    with pytest.raises(Reverted):
        other.send(account(1), SYSTEM, upgrade(other))
    other.send(account(0), SYSTEM, upgrade(other))


def test_a_new_owner_binds_nothing_either(world: PoolChain) -> None:
    world.transact(account(0), "transferOwnership", account(5).address)
    world.transact(account(5), "acceptOwnership")
    assert world.read("isOwner", account(5).address) == {"0": False}
    with pytest.raises(Reverted):
        world.send(account(5), SYSTEM, unbinding(world))


@pytest.mark.parametrize("number", ["zero", "taken", "ahead"])
def test_a_task_number_that_is_not_the_next_is_refused_by_aspect_and_pool(world: PoolChain, number: str) -> None:
    taken = opened(world, FLAT, [1_000]).task
    task = {"zero": 0, "taken": taken, "ahead": taken + 2}[number]
    with pytest.raises(Reverted, match="TaskExists" if number == "taken" else "WrongTaskId"):
        world.transact(account(7), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    assert world.status(taken)["creator"] == address_of(account(CREATOR))


def test_the_pool_itself_refuses_a_taken_number() -> None:
    world = PoolChain.deployed(2, puppet.CODE)
    try:
        for task in (1, 2):
            puppet.transact(world, CREATOR, "o", puppet.opened(task), "openTask", task, b"", "", terms_tuple(TERMS))
        with pytest.raises(Reverted) as reverted:
            puppet.transact(world, 1, "o", puppet.opened(1), "openTask", 1, b"", "", terms_tuple(TERMS))
        assert (reverted.value.name, reverted.value.values) == ("WrongTaskId", {"given": 1, "next": 3})
    finally:
        world.chain.close()


def test_the_pool_itself_takes_no_call_of_a_contract() -> None:
    """A caught revert would undo the pool's part of a call and not the Aspect's, which says nothing here."""
    world = PoolChain.deployed(2, puppet.CODE)
    try:
        puppet.transact(world, CREATOR, "o", puppet.opened(1), "openTask", 1, b"", "", terms_tuple(TERMS))
        puppet.transact(world, CREATOR, "l", puppet.loaded(1), "loadPages", 1, 0, b"")
        world.wait(TERMS.drop_seconds)
        contract = world.create(account(1), relay("CALL"))
        with pytest.raises(Reverted, match="NotDirect"):
            world.send(account(1), contract, world.pool + POOL.encode_call("drop", 1))
        world.transact(account(1), "drop", 1)
    finally:
        world.chain.close()
