"""What attackers of a task's economy can gain, each by real transactions."""

import dataclasses

import pytest

from bench.pool import CREATOR, TERMS, PoolChain, Reverted, account
from bench.pool_rounds import FLAT, opened
from linklearner.domain.encodings import TWO_BITS
from linklearner.domain.update import Update


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
