"""What rounds pay and how fees are shared, to the wei as linklearner.domain.pay counts it, by transactions on a chain."""

import dataclasses
from typing import Any

import pytest

from bench.pool import CREATOR, POT, TERMS, TOKEN, PoolChain, account, address_of, terms_tuple
from bench.pool_rounds import FLAT, SMALL, PlayedRound, opened
from devchain.chain.blocks import StoredReceipt
from linklearner.domain.encodings import INT8
from linklearner.domain.notation import LL_WEI
from linklearner.domain.pay import MIN_SHARES, ContributionShares, FeeShares, round_pay, share_fee
from linklearner.domain.rounds import Terms
from linklearner.domain.rules.mean import MEAN
from tests.contracts.test_training_pool import refused

SETTLER, SPONSOR = 20, 21
REWARD = TERMS.reward


def balance(world: PoolChain, who: int) -> int:
    return world.balance(address_of(account(who)))


def claimable(world: PoolChain, task: int, who: int) -> tuple[int, int]:
    """Pay and fees."""
    pay, fees = world.read("claimable", task, account(who).address).values()
    return int(pay), int(fees)


def stake_fees(world: PoolChain, task: int, who: int) -> int:
    (fees,) = world.read_vault("feesOf", task, account(who).address).values()
    return int(fees)


def event(world: PoolChain, receipt: StoredReceipt, name: str) -> dict[str, Any]:
    (found,) = [one for one in world.events(receipt) if one.name == name]
    return found.values


def settled(round_: PlayedRound, terms: Terms = TERMS, settler: int = SETTLER) -> dict[int, int]:
    """Settles as soon as it may be, checks every payment against Python and that no wei is lost; what each contributor earned."""
    world, task = round_.world, round_.task
    round_.ripen()
    before, contributions = world.status(task), round_.contributions()
    weights, effective = [c.weight for c in contributions], [c.effective for c in contributions]
    pay = round_pay(
        terms, before["pot"], world.now - before["openedAt"], before["present"], before["eligible"]
    )  # fmt: skip
    amounts = MEAN.divide(terms, pay.shared, weights, effective)
    held, had = world.balance(world.pool), balance(world, settler)
    *_, receipt = round_.settle(settler)
    paid = [one.values for one in world.events(receipt) if one.name == "ContributionPaid"]
    assert [(one["contributor"], one["amount"]) for one in paid] == [
        (c.contributor, amount) for c, amount in zip(contributions, amounts, strict=True)
    ]
    after = world.status(task)
    assert balance(world, settler) - had == held - world.balance(world.pool) == pay.fee
    assert before["pot"] - after["pot"] == pay.fee + sum(amounts)
    assert after["shares"] - before["shares"] == sum(amounts)
    numbers = {address_of(account(number)): number for number in range(24)}
    return {numbers[c.contributor]: amount for c, amount in zip(contributions, amounts, strict=True)}


# ── Rounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("seconds", "part"), [(10, 6), (30, 2), (60, 1), (100, 1)])
def test_a_round_earns_by_its_time_and_never_more_than_its_reward(world: PoolChain, seconds: int, part: int) -> None:
    terms = dataclasses.replace(TERMS, settler_bps=0)
    round_ = opened(world, FLAT, [1_000] * 4, terms)
    for who in (1, 2, 3, 4):
        round_.submit(who)
    world.wait(seconds)
    assert settled(round_, terms) == dict.fromkeys((1, 2, 3, 4), REWARD // part // 4)


def test_two_rounds_in_the_time_of_one_pay_what_one_pays(world: PoolChain) -> None:
    terms = dataclasses.replace(TERMS, settler_bps=0)
    fast, slow = (opened(world, FLAT, [1_000] * 4, terms) for _ in range(2))
    for who in (1, 2, 3, 4):
        slow.submit(who)
    for _ in range(3):
        for who in (1, 2, 3, 4):
            fast.submit(who)
        world.wait(20)
        settled(fast, terms)
    settled(slow, terms)
    difference = world.earned(slow.task, 1) - world.earned(fast.task, 1)
    assert 0 <= difference <= 3  # a rounding each


def test_a_long_empty_wait_is_paid_as_one_round(world: PoolChain) -> None:
    terms = dataclasses.replace(TERMS, settler_bps=0)
    round_ = opened(world, FLAT, [1_000] * 4, terms)
    world.wait(1_000_000)
    for who in (1, 2, 3, 4):
        round_.submit(who)
    assert sum(settled(round_, terms).values()) == REWARD


def test_absent_stake_leaves_its_part_in_the_pot(world: PoolChain) -> None:
    """S of 100 in Omega 1100, floor(Omega / 4) = 275."""
    round_ = opened(world, FLAT, [100, 1_000])
    round_.submit(1)
    earned = settled(round_)
    paid = REWARD * 100 // 275
    assert earned == {1: paid - paid * 500 // 10_000}
    assert world.status(round_.task)["pot"] == POT - paid


def test_unequal_stakes_divide_to_the_wei(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [997, 113, 401, 331], dataclasses.replace(TERMS, reward=REWARD + 1))
    for who in (1, 2, 3, 4):
        round_.submit(who)
    world.wait(37)
    earned = settled(round_, dataclasses.replace(TERMS, reward=REWARD + 1))
    assert earned[2] > 0 and earned[1] / earned[2] == pytest.approx(460 / 113)


def test_over_long_updates_are_paid_by_what_is_left_of_them(world: PoolChain) -> None:
    """e, not omega: once an update of e = 82 of 1000 was paid like work. What it does not earn stays in the pot."""
    terms = dataclasses.replace(TERMS, settler_bps=0)
    round_ = opened(world, FLAT, [1_000] * 4, terms)
    round_.submit(1, round_.update(1, encoding=INT8, shift=7))
    for who in (2, 3, 4):
        round_.submit(who)
    (_, _, weight, effective), *_ = round_.accepted
    assert 0 < effective < weight // 4
    world.wait(60)
    earned = settled(round_, terms)
    assert earned[1] == REWARD * effective // 4_000
    assert earned[2] == REWARD // 4
    assert world.status(round_.task)["pot"] == POT - sum(earned.values())


@pytest.mark.parametrize("pot", [1, 7, 10**18])
def test_a_pot_pays_all_it_has_and_then_nothing(world: PoolChain, pot: int) -> None:
    round_ = opened(world, FLAT, [1_000] * 4, pot=pot)
    for _ in range(2):
        for who in (1, 2, 3, 4):
            round_.submit(who)
        world.wait(60)
        settled(round_)
    assert world.status(round_.task)["pot"] < 4
    assert world.status(round_.task)["version"] == 3


def test_a_task_without_a_pot_learns_and_pays_nothing(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [1_000, 1_000], pot=0)
    round_.submit(1)
    round_.submit(2)
    assert settled(round_) == {1: 0, 2: 0}
    *_, paid = [one.name for one in world.events() if one.name in ("ContributionPaid", "SettlerPaid")]
    assert paid == "ContributionPaid"  # of nothing; there is no fee to tell of


@pytest.mark.parametrize(("bps", "fee"), [(0, 0), (500, REWARD // 20), (10_000, REWARD)])
def test_the_settlers_fee_is_transferred_at_once(world: PoolChain, bps: int, fee: int) -> None:
    terms = dataclasses.replace(TERMS, settler_bps=bps)
    round_ = opened(world, FLAT, [1_000] * 4, terms)
    for who in (1, 2, 3, 4):
        round_.submit(who)
    world.wait(60)
    before = balance(world, SETTLER)
    settled(round_, terms)
    assert balance(world, SETTLER) - before == fee


def test_of_several_groups_only_the_last_pays(world: PoolChain) -> None:
    round_ = opened(world, SMALL, [1_000] * 4)
    for who in (1, 2, 3, 4):
        round_.submit(who)
    round_.ripen()
    for group in (0, 1):
        round_.settle_group(group, SETTLER)
        assert world.status(round_.task)["pot"] == POT
        assert world.earned(round_.task, 1) == 0
    last = round_.settle_group(2, SETTLER)
    assert event(world, last, "SettlerPaid")["amount"] > 0


# ── Claims ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_earned_is_credited_and_claimed_once(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [1_000] * 4)
    before = balance(world, 1)
    for _ in range(2):
        for who in (1, 2, 3, 4):
            round_.submit(who)
        settled(round_)
    earned = world.earned(round_.task, 1)
    assert claimable(world, round_.task, 1) == (earned, 0)
    assert balance(world, 1) == before  # credited, not sent
    receipt = world.transact(account(1), "claim", round_.task)
    assert event(world, receipt, "EarningsClaimed") == {
        "task": round_.task, "account": address_of(account(1)), "pay": earned, "fees": 0,
    }  # fmt: skip
    assert balance(world, 1) - before == earned
    again = world.transact(account(1), "claim", round_.task)
    assert (world.events(again), balance(world, 1) - before) == ([], earned)
    assert world.earned(round_.task, 1) == earned  # which is also its share in fees
    assert claimable(world, round_.task, 2)[0] == earned


def test_who_earned_nothing_claims_nothing(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [1_000] * 4)
    for who in (1, 2, 3):
        round_.submit(who)
    settled(round_)
    other = opened(world, FLAT, [1_000])
    for who, task in ((4, round_.task), (9, round_.task), (1, other.task)):
        before = balance(world, who)
        assert world.events(world.transact(account(who), "claim", task)) == []
        assert world.events(world.transact_vault(account(who), "claim", task)) == []
        assert balance(world, who) == before


# ── The pot ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_anybody_fills_a_pot_with_his_own_and_without_an_approval(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [1_000], pot=0)
    before, held = balance(world, SPONSOR), world.balance(world.pool)
    receipt = world.transact(account(SPONSOR), "fund", round_.task, 5 * LL_WEI)
    assert event(world, receipt, "PotFunded") == {
        "task": round_.task, "funder": address_of(account(SPONSOR)), "amount": 5 * LL_WEI,
    }  # fmt: skip
    assert before - balance(world, SPONSOR) == world.balance(world.pool) - held == 5 * LL_WEI
    assert world.status(round_.task)["pot"] == 5 * LL_WEI
    refused("ZeroAmount", lambda: world.transact(account(SPONSOR), "fund", round_.task, 0))
    refused("ZeroAmount", lambda: world.transact(account(0), "grant", round_.task, 0))
    refused(
        "ERC20InsufficientBalance",
        lambda: world.transact(account(SPONSOR), "fund", round_.task, balance(world, SPONSOR) + 1),
    )


def test_pots_do_not_mix(world: PoolChain) -> None:
    rich, poor = opened(world, FLAT, [1_000] * 4), opened(world, FLAT, [1_000] * 4, pot=3)
    for who in (1, 2, 3, 4):
        poor.submit(who)
    settled(poor)
    world.transact(account(CREATOR), "closeTask", poor.task)
    assert world.status(rich.task)["pot"] == POT


def test_a_task_that_closes_in_an_empty_round_refunds_at_once(world: PoolChain) -> None:
    round_ = opened(world, FLAT, [1_000], pot=0)
    world.transact(account(SPONSOR), "fund", round_.task, 5 * LL_WEI)
    for who in (0, 1, SPONSOR):  # neither the pool's owner nor who filled the pot
        refused("NotCreator", lambda who=who: world.transact(account(who), "closeTask", round_.task))
    before = balance(world, CREATOR)
    receipt = world.transact(account(CREATOR), "closeTask", round_.task)
    assert [one.name for one in world.events(receipt)] == ["TaskClosing", "TaskClosed"]
    assert event(world, receipt, "TaskClosed")["refund"] == balance(world, CREATOR) - before == 5 * LL_WEI
    status = world.status(round_.task)
    assert (status["pot"], status["openedAt"], status["closing"]) == (0, 0, True)
    refused("TaskIsClosing", lambda: world.transact(account(CREATOR), "closeTask", round_.task))
    refused("TaskIsClosing", lambda: world.transact(account(SPONSOR), "fund", round_.task, 1))
    refused("TaskIsClosing", lambda: world.transact(account(0), "grant", round_.task, 1))
    refused("TaskIsClosing", lambda: round_.submit(1))
    world.wait(10_000)
    refused("TaskIsClosing", lambda: world.transact(account(1), "drop", round_.task))


def test_a_task_that_closes_before_its_weights_refunds_at_once(world: PoolChain) -> None:
    task = world.number("nextTask")
    world.transact(account(CREATOR), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    world.transact(account(SPONSOR), "fund", task, 7)
    assert event(world, world.transact(account(CREATOR), "closeTask", task), "TaskClosed")["refund"] == 7
    page = bytes(2 * FLAT.weight_count)
    refused("TaskIsClosing", lambda: world.transact(account(CREATOR), "loadPages", task, 0, page))


@pytest.mark.parametrize("end", ["settled", "dropped"])
def test_the_last_round_is_still_ended_and_then_the_creator_gets_the_rest(world: PoolChain, end: str) -> None:
    round_ = opened(world, FLAT, [1_000] * 4)
    for who in (1, 2, 3):
        round_.submit(who)
    receipt = world.transact(account(CREATOR), "closeTask", round_.task)
    assert [one.name for one in world.events(receipt)] == ["TaskClosing"]
    round_.submit(4)  # nobody is shut out of the last round
    before = balance(world, CREATOR)
    if end == "settled":
        round_.ripen()
        *_, receipt = round_.settle(SETTLER)
    else:
        world.wait(TERMS.drop_seconds)
        receipt = world.transact(account(9), "drop", round_.task)
    refund = event(world, receipt, "TaskClosed")["refund"]
    assert balance(world, CREATOR) - before == refund
    paid = sum(one.values["amount"] for one in world.events(receipt) if one.name in ("ContributionPaid", "SettlerPaid"))
    assert refund + paid == POT and bool(paid) == (end == "settled")
    refused("TaskIsClosing", lambda: round_.submit(1))
    assert world.earned(round_.task, 4) == claimable(world, round_.task, 4)[0]
    before = balance(world, 4)
    world.transact(account(4), "claim", round_.task)
    assert balance(world, 4) - before == world.earned(round_.task, 4)


# ── Fees ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def share(world: PoolChain, task: int, amount: int) -> FeeShares:
    """A sponsor's fee; how it was shared, as the event tells. All of it stays in the pool until it is claimed."""
    held = world.balance(world.pool), world.balance(world.vault), balance(world, SPONSOR)
    values = event(world, world.transact(account(SPONSOR), "shareFees", task, amount), "FeesShared")
    shares = FeeShares(values["toContributors"], values["toStake"], values["toPot"])
    assert shares.to_contributors + shares.to_stake + shares.to_pot == amount
    assert held[2] - balance(world, SPONSOR) == amount
    kept = shares.to_contributors + shares.to_stake + (shares.to_pot if world.status(task)["openedAt"] else 0)
    assert world.balance(world.pool) - held[0] == kept
    assert world.balance(world.vault) == held[1]
    return shares


@pytest.fixture
def worked(world: PoolChain) -> PlayedRound:
    """Four accounts of unequal stake have earned something; their stake shares in fees since they submitted."""
    round_ = opened(world, FLAT, [997, 113, 401, 331])
    for who in (1, 2, 3, 4):
        round_.submit(who)
    settled(round_)
    return round_


def test_a_fee_is_shared_half_by_work_and_half_by_stake(world: PoolChain, worked: PlayedRound) -> None:
    task, amount = worked.task, 3 * LL_WEI + 1
    shares = share(world, task, amount)
    assert shares == share_fee(amount, world.status(task)["shares"], 1_842)
    assert (shares.to_contributors, shares.to_stake) == (amount - amount // 2, amount // 2)
    model = ContributionShares()
    for who in (1, 2, 3, 4):
        model.credit(address_of(account(who)), world.earned(task, who))
    model.share_fees(shares.to_contributors)
    for who, units in enumerate((997, 113, 401, 331), 1):
        assert claimable(world, task, who) == model.claimable_by(address_of(account(who)))
        assert stake_fees(world, task, who) == units * ((shares.to_stake << 128) // 1_842) >> 128


def test_dust_stays_behind_and_nobody_is_paid_what_is_not_there(world: PoolChain, worked: PlayedRound) -> None:
    task, total = worked.task, FeeShares(0, 0, 0)
    for amount in (1, 2, 7, 101, LL_WEI + 3, 5):
        one = share(world, task, amount)
        total = FeeShares(total.to_contributors + one.to_contributors, total.to_stake + one.to_stake, 0)
    by_work = sum(claimable(world, task, who)[1] for who in (1, 2, 3, 4))
    by_stake = sum(stake_fees(world, task, who) for who in (1, 2, 3, 4))
    assert total.to_contributors - 6 - 4 <= by_work <= total.to_contributors
    assert total.to_stake - 6 - 4 <= by_stake <= total.to_stake
    held = world.balance(world.pool), world.balance(world.vault)
    for who in (1, 2, 3, 4):
        pay, fees = claimable(world, task, who)
        values = event(world, world.transact(account(who), "claim", task), "EarningsClaimed")
        assert (values["pay"], values["fees"]) == (pay, fees)
        owed = stake_fees(world, task, who)
        assert event(world, world.transact_vault(account(who), "claim", task), "StakeFeesClaimed")["amount"] == owed
        for transact in (world.transact, world.transact_vault):
            assert world.events(transact(account(who), "claim", task)) == []
    assert held[0] - world.balance(world.pool) == by_work + by_stake + world.status(task)["shares"]
    assert held[1] == world.balance(world.vault)


def test_where_nobody_is_there_to_share_the_pot_gets_it(world: PoolChain) -> None:
    """Claims with zero totals: nobody has earned anything, and no stake shares before a round has counted it."""
    task = opened(world, FLAT, [1_000], pot=5).task
    assert share(world, task, 9) == FeeShares(0, 0, 9)
    assert world.status(task)["pot"] == 14
    world.transact_vault(account(1), "mature", task)
    assert share(world, task, 9) == FeeShares(0, 4, 5)
    assert world.status(task)["pot"] == 19
    assert stake_fees(world, task, 1) == 3  # 4, less the rounding of the accumulator
    assert claimable(world, task, 1) == (0, 0)


def test_a_task_whose_weights_are_being_loaded_keeps_its_fees_in_its_pot(world: PoolChain) -> None:
    """No round of it is open, and it is not closed: its creator gets nothing yet."""
    task = world.number("nextTask")
    world.transact(account(CREATOR), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    held, had = world.balance(world.pool), balance(world, CREATOR)
    shared = event(world, world.transact(account(SPONSOR), "shareFees", task, 9), "FeesShared")
    assert (shared["toContributors"], shared["toStake"], shared["toPot"]) == (0, 0, 9)
    assert (world.status(task)["pot"], world.balance(world.pool), balance(world, CREATOR)) == (9, held + 9, had)


def test_stake_that_was_fresh_when_its_task_closed_shares_in_fees_that_come_later(world: PoolChain) -> None:
    """No round will ever open that could count it."""
    task = opened(world, FLAT, [1_000], pot=5).task
    world.transact_vault(account(2), "lock", task, 1_000)
    world.transact(account(CREATOR), "closeTask", task)
    assert world.read_vault("stakeOf", task, account(2).address)["counting"] == 1_000
    for who in (1, 2):
        world.transact_vault(account(who), "mature", task)
    assert share(world, task, 400).to_stake == 200
    assert [stake_fees(world, task, who) for who in (1, 2)] == [99, 99]  # 100, less the rounding of the accumulator


def test_a_fee_of_nothing_changes_nothing(world: PoolChain, worked: PlayedRound) -> None:
    before = [claimable(world, worked.task, who) for who in (1, 2, 3, 4)]
    assert share(world, worked.task, 0) == FeeShares(0, 0, 0)
    assert [claimable(world, worked.task, who) for who in (1, 2, 3, 4)] == before


@pytest.mark.parametrize(("reward", "shared"), [(MIN_SHARES - 1, False), (MIN_SHARES, True)])
def test_a_first_depositor_of_a_few_wei_cannot_run_the_accumulator_away(
    world: PoolChain, reward: int, shared: bool
) -> None:
    terms = dataclasses.replace(TERMS, reward=reward, settler_bps=0)
    round_ = opened(world, FLAT, [1_000], terms, pot=10 * MIN_SHARES)
    round_.submit(1)
    assert settled(round_, terms) == {1: reward}
    fee = 10**4 * LL_WEI - 1
    shares = share(world, round_.task, fee)
    assert shares == share_fee(fee, reward, 1_000)
    assert bool(shares.to_contributors) == shared
    round_.submit(1)
    settled(round_, terms)
    assert world.earned(round_.task, 1) == 2 * reward
    assert shares.to_contributors - 1 <= claimable(world, round_.task, 1)[1] <= shares.to_contributors or not shared


def test_the_whole_supply_as_a_fee_of_the_fewest_shares_overflows_nothing(world: PoolChain) -> None:
    terms = dataclasses.replace(TERMS, reward=MIN_SHARES, settler_bps=0)
    round_ = opened(world, FLAT, [1], terms, pot=10 * MIN_SHARES)
    round_.submit(1)
    world.wait(60)
    settled(round_, terms)
    for _ in range(3):
        all_of_it = world.balance(address_of(account(0)))
        world.transact(account(0), "shareFees", round_.task, all_of_it)
        round_.submit(1)
        world.wait(60)
        settled(round_, terms)
        before = balance(world, 1)
        world.transact(account(1), "claim", round_.task)
        world.transact_vault(account(1), "claim", round_.task)
        back = balance(world, 1) - before
        assert 0 <= all_of_it + 2 * MIN_SHARES - back <= 2 * MIN_SHARES
        world.send(account(1), world.token, TOKEN.encode_call("transfer", account(0).address, back))


def test_new_shares_get_nothing_of_old_fees(world: PoolChain, worked: PlayedRound) -> None:
    task = worked.task
    share(world, task, LL_WEI)
    fees = {who: claimable(world, task, who)[1] for who in (1, 2, 3, 4)}
    for who in (1, 2, 3, 4):
        worked.submit(who)
    settled(worked)
    for who in (1, 2, 3, 4):
        assert fees[who] - 1 <= claimable(world, task, who)[1] <= fees[who]
    assert claimable(world, task, 5) == (0, 0)
    world.transact(account(1), "claim", task)
    assert claimable(world, task, 1) == (0, 0)


def test_stake_locked_for_a_fee_gets_nothing_of_it(world: PoolChain, worked: PlayedRound) -> None:
    """Just in time: before the fee, after it, in the same block or for a day before a round has counted it."""
    task = worked.task
    for transaction in ("lock", "unlock"):
        world.transact_vault(account(5), transaction, task, 10**6)
    world.transact_vault(account(6), "lock", task, 10**6)
    assert world.events(world.transact_vault(account(6), "mature", task)) == []  # no round has counted it
    world.wait(86_400)
    world.transact_vault(account(6), "mature", task)
    shares = share(world, task, LL_WEI)
    assert shares.to_stake == LL_WEI // 2
    for who in (5, 6):
        assert stake_fees(world, task, who) == 0
    world.transact(account(6), "drop", task)  # a round counts it from now on
    world.transact_vault(account(6), "mature", task)
    assert stake_fees(world, task, 6) == 0
    share(world, task, LL_WEI)
    units = 1_842 + 10**6
    assert stake_fees(world, task, 6) == 10**6 * ((LL_WEI // 2 << 128) // units) >> 128


def test_fees_of_unlocked_stake_stay_its_accounts(world: PoolChain, worked: PlayedRound) -> None:
    task = worked.task
    share(world, task, LL_WEI)
    owed = stake_fees(world, task, 1)
    world.transact_vault(account(1), "unlock", task, 997)
    share(world, task, LL_WEI)
    assert stake_fees(world, task, 1) == owed
    per_unit = sum((LL_WEI // 2 << 128) // units for units in (1_842, 1_842 - 997))
    assert stake_fees(world, task, 2) == 113 * per_unit >> 128
    world.wait(1_000)
    world.transact_vault(account(1), "withdraw", task)
    before = balance(world, 1)
    world.transact_vault(account(1), "claim", task)
    assert balance(world, 1) - before == owed


def test_of_a_closed_task_what_nobody_shares_is_its_creators(world: PoolChain) -> None:
    task = opened(world, FLAT, [1_000], pot=0).task
    world.transact(account(CREATOR), "closeTask", task)
    before = balance(world, CREATOR)
    assert share(world, task, 11) == FeeShares(0, 0, 11)
    assert (balance(world, CREATOR) - before, world.status(task)["pot"]) == (11, 0)


def test_a_closed_task_still_shares_its_fees(world: PoolChain, worked: PlayedRound) -> None:
    world.transact(account(CREATOR), "closeTask", worked.task)
    shares = share(world, worked.task, LL_WEI)
    assert (shares.to_contributors, shares.to_stake) == (LL_WEI // 2, LL_WEI // 2)
    before = claimable(world, worked.task, 1)
    assert before[1] > 0 and stake_fees(world, worked.task, 1) > 0
    world.transact(account(1), "claim", worked.task)
    world.transact_vault(account(1), "claim", worked.task)


def test_fees_of_one_task_are_not_anothers(world: PoolChain, worked: PlayedRound) -> None:
    other = opened(world, FLAT, [1_000])
    world.transact_vault(account(1), "mature", other.task)
    share(world, other.task, LL_WEI)
    assert claimable(world, worked.task, 1)[1] == stake_fees(world, worked.task, 1) == 0
