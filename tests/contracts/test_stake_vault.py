"""Stake: what it takes to lock it, when it counts and leaves, what it votes and who else can use it; by transactions on a chain.

Time stands still but for `wait`; START is the beginning of an epoch of `stake_seconds` (100).
"""

import dataclasses

import pytest

from bench.contracts import built
from bench.escrow import create
from bench.pool import (
    CREATOR,
    POOL,
    START,
    TERMS,
    TOKEN,
    VAULT,
    CallFailed,
    PoolChain,
    Reverted,
    account,
    address_of,
    terms_tuple,
)
from bench.pool_rounds import FLAT, SMALL, PlayedRound, opened
from devchain.chain.blocks import StoredReceipt
from linklearner.chain.abi import Interface, error_string
from linklearner.domain.notation import LL_WEI
from linklearner.domain.stakes import MAX_ELIGIBLE, StakeLedger
from tests.contracts.evm import relay
from tests.contracts.test_training_pool import refused

UNIT = 10**15
RICH = 0
"""The treasury: the one account that owns more than MAX_ELIGIBLE units."""


def vault(world: PoolChain, who: int, function: str, *arguments: object) -> StoredReceipt:
    return world.transact_vault(account(who), function, *arguments)


def stake_of(world: PoolChain, task: int, who: int) -> tuple[int, ...]:
    """counting, fresh, matures at, unlocking, withdrawable at"""
    return tuple(world.read_vault("stakeOf", task, account(who).address).values())


def eligible(world: PoolChain, task: int) -> int:
    return int(world.status(task)["eligible"])


def balance(world: PoolChain, who: int) -> int:
    return world.balance(address_of(account(who)))


def to_next_epoch(world: PoolChain) -> None:
    world.wait(TERMS.stake_seconds - world.now % TERMS.stake_seconds)


@pytest.fixture
def round_(world: PoolChain) -> PlayedRound:
    """Round 1 of a task at the beginning of an epoch, accounts 1 and 2 with 1,000 units each."""
    to_next_epoch(world)
    return opened(world, FLAT, [1_000, 1_000])


# ── Locking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_locked_units_are_in_the_vault_and_no_approval_is_asked_for(world: PoolChain, round_: PlayedRound) -> None:
    before, held = balance(world, 3), world.balance(world.vault)
    receipt = vault(world, 3, "lock", round_.task, 700)
    assert (before - balance(world, 3), world.balance(world.vault) - held) == (700 * UNIT, 700 * UNIT)
    (event,) = world.events(receipt)
    assert event.name == "StakeLocked"
    assert event.values == {
        "task": round_.task, "account": address_of(account(3)), "units": 700, "maturesAt": world.now + 200,
    }  # fmt: skip
    assert stake_of(world, round_.task, 3) == (0, 700, world.now + 200, 0, 0)


def test_nothing_cannot_be_locked_or_unlocked_or_withdrawn(world: PoolChain, round_: PlayedRound) -> None:
    refused("ZeroUnits", lambda: vault(world, 3, "lock", round_.task, 0))
    refused("ZeroUnits", lambda: vault(world, 1, "unlock", round_.task, 0))
    refused("ZeroUnits", lambda: vault(world, 1, "withdraw", round_.task))


def test_a_task_holds_2_38_units_whoever_locks_them(world: PoolChain, round_: PlayedRound) -> None:
    left = MAX_ELIGIBLE - 2_000
    for units in (left + 1, MAX_ELIGIBLE + 1, 2**40 - 1):
        error = refused("StakeLimit", lambda units=units: vault(world, RICH, "lock", round_.task, units))
        assert error.values == {"units": units, "limit": MAX_ELIGIBLE}
    vault(world, RICH, "lock", round_.task, left)
    assert world.read_vault("changesOf", round_.task)["total"] == MAX_ELIGIBLE
    refused("StakeLimit", lambda: vault(world, 3, "lock", round_.task, 1))
    vault(world, 1, "unlock", round_.task, 1)
    vault(world, 3, "lock", round_.task, 1)


def test_nobody_locks_what_he_does_not_own(world: PoolChain, round_: PlayedRound) -> None:
    refused("ERC20InsufficientBalance", lambda: vault(world, 3, "lock", round_.task, balance(world, 3) // UNIT + 1))


def test_a_closed_task_takes_no_stake_and_gives_all_back(world: PoolChain, round_: PlayedRound) -> None:
    vault(world, 3, "lock", round_.task, 50)
    world.transact(account(CREATOR), "closeTask", round_.task)
    refused("TaskClosed", lambda: vault(world, 3, "lock", round_.task, 50))
    for who, units in ((1, 1_000), (3, 50)):
        vault(world, who, "unlock", round_.task, units)
        refused("StakeStillLocked", lambda who=who: vault(world, who, "withdraw", round_.task))
    world.wait(TERMS.stake_seconds)
    for who in (1, 3):
        vault(world, who, "withdraw", round_.task)
        assert balance(world, who) == 10_000 * LL_WEI


# ── Counting ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("into_s", [0, 1, 99])
def test_stake_matures_at_the_start_of_the_second_next_epoch_to_the_second(world: PoolChain, into_s: int) -> None:
    to_next_epoch(world)
    epoch = world.now
    round_ = opened(world, FLAT, [1_000])
    world.wait_until(epoch + into_s)
    vault(world, 2, "lock", round_.task, 300)
    matures = epoch + 200
    assert stake_of(world, round_.task, 2)[:3] == (0, 300, matures)
    ledger = StakeLedger(TERMS.stake_seconds)
    ledger.next_round(epoch)
    assert ledger.lock(b"", 300, world.now) == matures
    world.wait_until(matures - 1)
    assert world.read_vault("changesOf", round_.task)["joining"] == ledger.ripe(world.now) == 0
    round_.submit(1)
    round_.ripen()  # the quorum is not reached: the round is over 60 seconds later, and the stake is ripe by then
    assert world.now >= matures
    assert world.read_vault("changesOf", round_.task)["joining"] == ledger.ripe(world.now) == 300
    assert stake_of(world, round_.task, 2)[:2] == (0, 300), "a round that opened before does not count it"
    round_.settle()
    assert stake_of(world, round_.task, 2)[:2] == (300, 0)
    assert eligible(world, round_.task) == 1_300


def test_a_round_that_opens_in_the_very_second_in_which_stake_matures_counts_it(world: PoolChain) -> None:
    to_next_epoch(world)
    round_ = opened(world, FLAT, [1_000])
    vault(world, 2, "lock", round_.task, 300)
    matures = stake_of(world, round_.task, 2)[2]
    round_.submit(1)
    world.wait_until(matures - 1)
    world.chain.set_next_timestamp(matures)
    round_.settle_group(0)
    assert world.status(round_.task)["openedAt"] == matures
    assert stake_of(world, round_.task, 2)[:2] == (300, 0)
    assert eligible(world, round_.task) == 1_300
    PlayedRound(world, round_.task, FLAT).submit(2)  # the Aspect counts alike


def test_a_round_that_opens_a_second_too_early_does_not_count_it(world: PoolChain) -> None:
    to_next_epoch(world)
    epoch = world.now
    round_ = opened(world, FLAT, [1_000, 1_000])
    vault(world, 3, "lock", round_.task, 500)
    world.wait_until(epoch + 199)
    round_.submit(1)
    round_.submit(2)
    round_.settle()
    assert (world.now, eligible(world, round_.task)) == (epoch + 199, 2_000)
    world.wait(50)
    refused("NoStake", lambda: round_.submit(3))
    assert stake_of(world, round_.task, 3)[:2] == (0, 500)


def test_stake_locked_while_the_weights_are_loading_counts_in_round_1(world: PoolChain) -> None:
    task = world.number("nextTask")
    world.transact(account(CREATOR), "openTask", task, FLAT.encode(), "{}", terms_tuple(TERMS))
    for units in (40, 60):
        vault(world, 1, "lock", task, units)
    vault(world, 2, "lock", task, 30)
    vault(world, 1, "unlock", task, 25)
    assert world.read_vault("changesOf", task) == {"joining": 105, "leaving": 0, "total": 105}
    assert stake_of(world, task, 1) == (0, 75, 0, 25, world.now + 100)
    task_round = PlayedRound(world, task, FLAT)
    world.transact(account(CREATOR), "loadPages", task, 0, bytes(2 * FLAT.weight_count))
    assert eligible(world, task) == 105
    assert stake_of(world, task, 1)[:2] == (75, 0)
    task_round.submit(1)
    assert task_round.accepted[0][2] == 26  # a quarter


def test_more_stake_makes_fresh_stake_wait_anew_and_leaves_what_counts_alone(
    world: PoolChain, round_: PlayedRound
) -> None:
    epoch = world.now
    vault(world, 1, "lock", round_.task, 10)
    world.wait(150)
    vault(world, 1, "lock", round_.task, 5)
    assert stake_of(world, round_.task, 1)[:3] == (1_000, 15, epoch + 300)
    world.wait_until(epoch + 250)
    assert world.read_vault("changesOf", round_.task)["joining"] == 0
    world.wait_until(epoch + 300)
    assert world.read_vault("changesOf", round_.task)["joining"] == 15


def test_who_locks_in_the_same_epoch_neither_hastens_nor_delays_another(world: PoolChain, round_: PlayedRound) -> None:
    epoch = world.now
    for who, at in ((3, 0), (4, 50), (5, 99), (6, 100), (7, 150)):
        world.wait_until(epoch + at)
        vault(world, who, "lock", round_.task, who)
    for at, joining in ((199, 0), (200, 3 + 4 + 5), (299, 3 + 4 + 5), (300, 3 + 4 + 5 + 6 + 7)):
        world.wait_until(epoch + at)
        assert world.read_vault("changesOf", round_.task)["joining"] == joining


@pytest.mark.parametrize("wait_s", [0, 100, 200, 1_000])
def test_fresh_stake_is_taken_out_of_whatever_it_waits_in(world: PoolChain, round_: PlayedRound, wait_s: int) -> None:
    vault(world, 3, "lock", round_.task, 40)
    vault(world, 4, "lock", round_.task, 2)
    world.wait(wait_s)
    vault(world, 3, "unlock", round_.task, 30)
    assert stake_of(world, round_.task, 3)[:2] == (0, 10)
    world.wait(1_000)
    assert world.read_vault("changesOf", round_.task) == {"joining": 12, "leaving": 0, "total": 2_012}
    assert eligible(world, round_.task) == 2_000


# ── Leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_unlocks_more_than_he_has_locked(world: PoolChain, round_: PlayedRound) -> None:
    error = refused("InsufficientStake", lambda: vault(world, 1, "unlock", round_.task, 1_001))
    assert error.values == {"locked": 1_000, "asked": 1_001}
    refused("InsufficientStake", lambda: vault(world, 5, "unlock", round_.task, 1))
    vault(world, 1, "unlock", round_.task, 1_000)
    refused("InsufficientStake", lambda: vault(world, 1, "unlock", round_.task, 1))


def test_without_an_update_unlocked_stake_leaves_omega_at_once(world: PoolChain, round_: PlayedRound) -> None:
    vault(world, 1, "unlock", round_.task, 400)
    assert eligible(world, round_.task) == 1_600
    assert world.read_vault("changesOf", round_.task)["leaving"] == 0
    assert stake_of(world, round_.task, 1)[0] == 600


def test_with_an_update_unlocked_stake_leaves_with_the_next_round_and_is_withdrawn_after_it(
    world: PoolChain, round_: PlayedRound
) -> None:
    round_.submit(1)
    round_.submit(2)
    vault(world, 1, "unlock", round_.task, 400)
    assert eligible(world, round_.task) == 2_000
    assert world.read_vault("changesOf", round_.task)["leaving"] == 400
    withdrawable = world.now + 100
    world.wait_until(withdrawable)
    error = refused("StakeStillLocked", lambda: vault(world, 1, "withdraw", round_.task))
    assert error.values == {"withdrawableAt": withdrawable, "round": 1}
    round_.settle()
    assert eligible(world, round_.task) == 1_600
    before = balance(world, 1)
    vault(world, 1, "withdraw", round_.task)
    assert balance(world, 1) - before == 400 * UNIT
    round_.submit(1)
    round_.submit(2)
    round_.settle()
    assert eligible(world, round_.task) == 1_600  # it has left once


def test_unlocked_stake_is_paid_out_to_the_second_and_once(world: PoolChain, round_: PlayedRound) -> None:
    vault(world, 1, "unlock", round_.task, 400)
    world.wait(99)
    error = refused("StakeStillLocked", lambda: vault(world, 1, "withdraw", round_.task))
    assert error.values == {"withdrawableAt": world.now + 1, "round": 0}
    world.wait(1)
    (event,) = world.events(vault(world, 1, "withdraw", round_.task))
    assert (event.name, event.values["units"]) == ("StakeWithdrawn", 400)
    refused("ZeroUnits", lambda: vault(world, 1, "withdraw", round_.task))


def test_a_second_unlock_makes_the_first_wait_with_it(world: PoolChain, round_: PlayedRound) -> None:
    vault(world, 1, "unlock", round_.task, 400)
    world.wait(60)
    vault(world, 1, "unlock", round_.task, 1)
    world.wait(60)
    refused("StakeStillLocked", lambda: vault(world, 1, "withdraw", round_.task))
    world.wait(40)
    vault(world, 1, "withdraw", round_.task)
    assert balance(world, 1) == (10_000_000 - 599) * UNIT


def test_while_a_round_is_being_merged_omega_stays(world: PoolChain) -> None:
    """The first group was merged with it."""
    round_ = opened(world, SMALL, [1_000, 1_000, 1_000])
    round_.submit(1)
    round_.submit(2)
    round_.ripen()
    round_.settle_group(0)
    vault(world, 3, "unlock", round_.task, 1_000)
    assert eligible(world, round_.task) == 3_000
    for group in (1, 2):
        round_.settle_group(group)
    assert eligible(world, round_.task) == 2_000


def test_a_dropped_round_frees_its_stake(world: PoolChain, round_: PlayedRound) -> None:
    round_.submit(1)
    vault(world, 1, "unlock", round_.task, 1_000)
    world.wait(TERMS.drop_seconds)
    refused("StakeStillLocked", lambda: vault(world, 1, "withdraw", round_.task))
    world.transact(account(9), "drop", round_.task)
    vault(world, 1, "withdraw", round_.task)
    assert eligible(world, round_.task) == 1_000


# ── Attacks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stake_locked_for_three_blocks_takes_part_in_nothing(world: PoolChain, round_: PlayedRound) -> None:
    """25,000 LL so locked once took a whole round's pay."""
    units = 25_000_000
    vault(world, RICH, "lock", round_.task, units)
    refused("NoStake", lambda: round_.submit(RICH))
    refused("NotYetDroppable", lambda: world.transact(account(RICH), "drop", round_.task))
    world.chain.mine()
    round_.submit(1)
    round_.submit(2)
    round_.settle()
    refused("NoStake", lambda: round_.submit(RICH))
    assert eligible(world, round_.task) == 2_000
    vault(world, RICH, "unlock", round_.task, units)
    refused("StakeStillLocked", lambda: vault(world, RICH, "withdraw", round_.task))
    assert world.earned(round_.task, RICH) == 0
    world.wait(1_000)
    round_.submit(1)
    assert eligible(world, round_.task) == 2_000
    assert world.read_vault("changesOf", round_.task)["joining"] == 0


def test_stake_does_not_move_to_another_account_within_a_round(world: PoolChain, round_: PlayedRound) -> None:
    task = round_.task
    round_.submit(1)
    vault(world, 1, "unlock", task, 1_000)
    world.wait(TERMS.stake_seconds)
    refused("StakeStillLocked", lambda: vault(world, 1, "withdraw", task))  # so he has nothing to hand over
    vault(world, 2, "unlock", task, 1_000)  # has no update: out at once, and then too late for this round
    refused("NoStake", lambda: round_.submit(2))
    world.wait(TERMS.stake_seconds)
    vault(world, 2, "withdraw", task)
    world.send(account(2), world.token, TOKEN.encode_call("transfer", account(3).address, 1_000 * UNIT))
    vault(world, 3, "lock", task, 1_000)
    world.wait(2 * TERMS.stake_seconds)
    refused("NoStake", lambda: round_.submit(3))
    assert world.status(task)["accepted"] == 1


def test_stake_counts_in_one_task_only(world: PoolChain, round_: PlayedRound) -> None:
    other = opened(world, FLAT, [0, 0, 500])
    refused("NoStake", lambda: other.submit(1))
    rest = balance(world, 1) // UNIT
    vault(world, 1, "lock", round_.task, rest)
    vault(world, 1, "unlock", round_.task, rest + 1_000)
    refused("ERC20InsufficientBalance", lambda: vault(world, 1, "lock", other.task, 1))
    world.wait(TERMS.stake_seconds)
    refused("ZeroUnits", lambda: vault(world, 1, "withdraw", other.task))
    vault(world, 1, "withdraw", round_.task)
    vault(world, 1, "lock", other.task, 1_000)
    refused("NoStake", lambda: other.submit(1))


@pytest.fixture
def flash(world: PoolChain, round_: PlayedRound) -> bytes:
    """A contract with 25,000 LL for the length of a block. It passes calls on."""
    contract = world.create(account(5), relay("CALL"))
    world.send(account(RICH), world.token, TOKEN.encode_call("transfer", "0x" + contract.hex(), 25_000 * LL_WEI))
    return contract


def through(world: PoolChain, contract: bytes, to: bytes, data: bytes) -> StoredReceipt:
    return world.send(account(5), contract, to + data)


def test_borrowed_stake_cannot_be_given_back_before_its_time(
    world: PoolChain, round_: PlayedRound, flash: bytes
) -> None:
    """Locking is open to contracts; but what was borrowed in a block is missed at its end, whatever it was unlocked for."""
    units, task = 25_000_000, round_.task
    through(world, flash, world.vault, VAULT.encode_call("lock", task, units))
    with pytest.raises(Reverted, match="NotDirect"):
        through(world, flash, world.pool, world.submission(round_.update(5), FLAT))
    through(world, flash, world.vault, VAULT.encode_call("unlock", task, units))
    with pytest.raises(Reverted, match="StakeStillLocked"):
        through(world, flash, world.vault, VAULT.encode_call("withdraw", task))
    assert world.balance(flash) == 0
    assert eligible(world, task) == 2_000
    world.wait(TERMS.stake_seconds)
    through(world, flash, world.vault, VAULT.encode_call("withdraw", task))
    assert world.balance(flash) == 25_000 * LL_WEI


def test_borrowed_stake_leaves_no_vote_behind(world: PoolChain, round_: PlayedRound, flash: bytes) -> None:
    through(world, flash, world.vault, VAULT.encode_call("delegate", account(5).address))
    through(world, flash, world.vault, VAULT.encode_call("lock", round_.task, 25_000_000))
    through(world, flash, world.vault, VAULT.encode_call("unlock", round_.task, 25_000_000))
    at = world.now
    world.wait(1)
    assert world.read_vault("getPastVotes", account(5).address, at) == {"0": 0}


LENDER, BORROWER = (Interface(built()["contracts"][name]["abi"]) for name in ("FlashLender", "FlashBorrower"))
Step = tuple[str, bytes, bool]


@dataclasses.dataclass
class FlashLoan:
    """Borrows, does what it is asked to and gives back, in one transaction; bench/contracts/FlashLoan.sol."""

    world: PoolChain
    lender: bytes
    borrower: bytes
    amount: int = 25_000 * LL_WEI

    @classmethod
    def ready(cls, world: PoolChain) -> "FlashLoan":
        lender, borrower = create(world, "FlashLender"), create(world, "FlashBorrower")
        world.send(account(RICH), world.token, TOKEN.encode_call("transfer", "0x" + lender.hex(), cls.amount))
        return cls(world, lender, borrower)

    def take(self, steps: list[Step]) -> list[tuple[bool, str]]:
        """Of each step, whether it succeeded, and the name or text of what refused it. Raises Reverted."""
        arguments = ("0x" + self.world.token.hex(), "0x" + self.borrower.hex(), self.amount, steps)
        receipt = self.world.send(account(5), self.lender, LENDER.encode_call("lend", *arguments))
        answers = [BORROWER.decode_log(log.topics, log.data) for log in receipt.logs if log.address == self.borrower]
        return [(one.values["done"], reason(one.values["answer"])) for one in answers if one is not None]


def reason(answer: bytes) -> str:
    error = POOL.decode_error(answer) or VAULT.decode_error(answer)
    return error.name if error else error_string(answer) or ""


def all_that_stake_is_good_for(world: PoolChain, round_: PlayedRound) -> list[Step]:
    """Everything that an account with 25,000 LL of stake might try, refusals caught: lock, act, share in fees, take back."""
    task, pool, vault_ = round_.task, "0x" + world.pool.hex(), "0x" + world.vault.hex()
    units = FlashLoan.amount // UNIT
    return [
        (vault_, VAULT.encode_call("lock", task, units), False),
        (pool, world.submission(round_.update(5), FLAT), True),
        (pool, POOL.encode_call("settle", task, round_.number, 0, round_.settlement(0)), True),
        (pool, POOL.encode_call("drop", task), True),
        (vault_, VAULT.encode_call("mature", task), False),
        (vault_, VAULT.encode_call("claim", task), False),
        (pool, POOL.encode_call("claim", task), False),
        (vault_, VAULT.encode_call("unlock", task, units), False),
    ]


def test_a_flash_loan_does_nothing_in_its_one_transaction(world: PoolChain, round_: PlayedRound) -> None:
    """Borrowed, locked, tried and given back at once: what acts must be a transaction's own call, and stake is held for time."""
    task, loan = round_.task, FlashLoan.ready(world)
    vault_ = "0x" + world.vault.hex()
    steps = all_that_stake_is_good_for(world, round_)
    round_.submit(1)
    round_.ripen()
    before = world.status(task), world.read_vault("changesOf", task), world.supply()
    # what it has locked cannot be given back at once
    withdrawal = (vault_, VAULT.encode_call("withdraw", task))
    with pytest.raises(Reverted, match="StakeStillLocked"):
        loan.take([*steps, (*withdrawal, False)])
    with pytest.raises(Reverted) as reverted:
        loan.take([*steps, (*withdrawal, True)])
    missing = LENDER.decode_error(reverted.value.receipt.output)
    assert missing is not None and (missing.name, missing.values["missing"]) == ("NotRepaid", loan.amount)
    # and a call that acts is refused, by the Aspect where it is asked first
    for act in steps[1:4]:
        with pytest.raises(Reverted, match="NotDirect"):
            loan.take([steps[0], (*act[:2], False)])
    assert (world.status(task), world.read_vault("changesOf", task), world.supply()) == before
    assert world.balance(loan.lender) == loan.amount


def test_not_even_a_flash_loan_that_is_paid_back_from_elsewhere_does_anything(
    world: PoolChain, round_: PlayedRound
) -> None:
    """The borrower has as much of its own: then it is its own $LL that is locked, and no call of it acts all the same."""
    task, loan = round_.task, FlashLoan.ready(world)
    world.send(account(RICH), world.token, TOKEN.encode_call("transfer", "0x" + loan.borrower.hex(), loan.amount))
    round_.submit(1)
    round_.ripen()
    world.transact(account(6), "shareFees", task, LL_WEI)
    repay: Step = (
        "0x" + world.token.hex(),
        TOKEN.encode_call("transfer", "0x" + loan.lender.hex(), loan.amount),
        False,
    )
    steps = all_that_stake_is_good_for(world, round_)
    before = world.status(task)
    answers = loan.take([*steps, repay])
    assert [done for done, _ in answers] == [True, False, False, False, True, True, True, True, True]
    assert all("NotDirect" in why for _, why in answers[1:4])
    assert world.status(task) == before
    assert world.balance(loan.borrower) == 0, "no fee for stake that no round has counted"
    world.wait(TERMS.stake_seconds)
    world.send(
        account(5), loan.borrower,
        BORROWER.encode_call("act", [("0x" + world.vault.hex(), VAULT.encode_call("withdraw", task), False)]),
    )  # fmt: skip
    assert world.balance(loan.borrower) == loan.amount


# ── Votes ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def votes(world: PoolChain, who: int) -> int:
    (value,) = world.read_vault("getVotes", account(who).address).values()
    return int(value)


def test_votes_follow_locked_units_of_all_tasks(world: PoolChain, round_: PlayedRound) -> None:
    assert votes(world, 1) == 0, "nobody has been delegated to"
    vault(world, 1, "delegate", account(1).address)
    vault(world, 2, "delegate", account(9).address)
    assert (votes(world, 1), votes(world, 9), votes(world, 2)) == (1_000, 1_000, 0)
    other = opened(world, FLAT, [7])
    assert votes(world, 1) == 1_007
    vault(world, 1, "lock", round_.task, 50)  # fresh units vote, too
    assert votes(world, 1) == 1_057
    vault(world, 1, "delegate", account(9).address)
    assert (votes(world, 1), votes(world, 9)) == (0, 2_057)
    before = world.now
    world.wait(10)
    vault(world, 1, "unlock", round_.task, 57)
    vault(world, 1, "unlock", other.task, 7)
    vault(world, 2, "unlock", round_.task, 1_000)
    assert votes(world, 9) == 993
    assert world.read_vault("getPastVotes", account(9).address, before) == {"0": 2_057}
    assert world.read_vault("clock") == {"0": world.now}


# ── The pool's own calls ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_pool_moves_the_vaults_rounds_and_only_the_vault_the_pools_omega(
    world: PoolChain, round_: PlayedRound
) -> None:
    me = account(1).address
    for who in (RICH, 1):
        refused("NotThePool", lambda who=who: vault(world, who, "recordUpdate", round_.task, me, 1, 1, 1))
        refused("NotThePool", lambda who=who: vault(world, who, "applyChanges", round_.task, 100))
        refused("NotThePool", lambda who=who: vault(world, who, "shareFees", round_.task, 1))
        refused("NotTheVault", lambda who=who: world.transact(account(who), "release", round_.task, 1))
        refused("NotTheVault", lambda who=who: world.transact(account(who), "payFees", me, 1))


def test_the_vault_answers_for_no_task_that_there_is_not(world: PoolChain) -> None:
    assert START % TERMS.stake_seconds == 0
    with pytest.raises(CallFailed):
        world.read_vault("changesOf", world.number("nextTask"))
