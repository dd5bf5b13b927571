"""Shows that the guards are guarded: switches one off at a time in the contracts or the Aspect and expects its test to fail.

`python -m tests.mutations [words]` (needs Node and installed tools/node_modules; some minutes for all). Not part of `make test`.

Aspect mutants are built one by one. The contracts take longer to compile, so one build holds all of theirs: each is switched on by a
number, which is patched in the code. Libraries and pure functions ask for it, too.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from linklearner import artifacts

ROOT = Path(__file__).parents[2]
POOL, VAULT, TOKEN = "contracts/TrainingPool.sol", "contracts/StakeVault.sol", "contracts/LinkLearnerToken.sol"
ESCROW = "contracts/InferenceEscrow.sol"
BOUNDS, DIGEST = "contracts/BlockBounds.sol", "contracts/UpdateDigest.sol"
STATE, ROOM = "contracts/PoolState.sol", "contracts/rules/EvidenceRoom.sol"
PAY = "contracts/rules/EvidencePay.sol"
RULES, MEAN = "contracts/rules/Rules.sol", "contracts/rules/Mean.sol"
ASPECT = "aspects/aggregator/"
TESTS = (
    "tests/contracts/test_training_pool.py",
    "tests/contracts/test_stake_vault.py",
    "tests/contracts/test_round_pay.py",
    "tests/contracts/test_token.py",
    "tests/contracts/test_economy_attacks.py",
    "tests/contracts/test_block_bounds.py",
    "tests/contracts/test_gas_of_money.py",
    "tests/contracts/test_inference_escrow.py",
    "tests/contracts/test_evidence_rounds.py",
    "tests/contracts/test_pay_later.py",
    "tests/contracts/test_evidence_room.py",
    "tests/contracts/test_sealed_rounds.py",
)
ASPECT_TESTS = ("tests/aspects/test_aggregator.py", "tests/aspects/test_attacks.py")
# Stands for the number of the mutant that is switched on, in what `SWITCH` compiles to.
MAGIC = bytes.fromhex("6d7574616e74206e756d626572206f6620746865206c696e6b6c6561726e6572")
# Not a constant to the compiler, which would decide itself what is switched on: no calldata is so long, but it cannot know. Pure, so that
# pure functions may ask.
SWITCH = f"""// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

function isSwitchedOn(uint256 mutant) pure returns (bool yes) {{
    assembly ("memory-safe") {{
        yes := eq(xor(0x{MAGIC.hex()}, shr(255, calldatasize())), mutant)
    }}
}}
"""


BOUND = "every_term_of_the_bound"


@dataclass(frozen=True, slots=True)
class Mutant:
    """With `new` instead of `old` (its first occurrence left in `file`), the tests selected by `test` must fail.

    In contracts `ON` in `new` stands for: this mutant is switched on.
    """

    file: str
    old: str
    new: str
    test: str


def guard(file: str, condition: str, test: str) -> Mutant:
    """The guard `if (condition)` never fires."""
    switch = "!(ON)" if file.endswith(".sol") else "false"
    return Mutant(file, f"if ({condition})", f"if ({switch} && ({condition}))", test)


def statement(file: str, text: str, test: str) -> Mutant:
    """The statement is not executed."""
    return Mutant(file, text, f"if (!(ON)) {{ {text} }}", test)


def expression(file: str, old: str, new: str, test: str) -> Mutant:
    """The expression has another value."""
    return Mutant(file, old, f"((ON) ? {new} : {old})", test)


CONTRACT_MUTANTS = [
    guard(POOL, "cap > MAX_CAP || emissionPerSecond > cap", "could_overflow"),
    guard(ROOM, "t.entry.rule != Evidence.NUMBER", "refused_when_the_examples"),
    guard(ROOM, "_examples[task].root != 0 || t.current.version != 0", "committed_once"),
    guard(POOL, "_examples[task].root == 0", "committed_once"),
    guard(ROOM, "t.closing", "takes_no_commitment_to_examples"),
    guard(ROOM, "uint256(t.terms.roundSeconds) + revealSeconds >= t.terms.dropSeconds", "reveals_end_before"),
    guard(ROOM, "t.entry.gate & HALTED == 0", "without_a_bond"),
    guard(ROOM, "t.closing", "bond_is_not_put_down_again"),
    guard(ROOM, "round != current.round", "of_its_round_and_task"),  # commitUpdate
    guard(ROOM, "round != current.round", "only_the_next_batch"),  # openExamples
    guard(ROOM, "sealing.gate != SEALED", "sealed_updates_are_not"),
    guard(ROOM, "block.timestamp >= sealing.revealsFrom", "nobody_reveals_before"),
    guard(ROOM, "sealing.committed >= maxUpdates", "no_more_commit_than"),
    guard(ROOM, "block.timestamp >= until", "nobody_reveals_once"),  # revealUpdate
    expression(ROOM, "slot.hash != 0", "true", "who_reveals_keeps"),
    statement(ROOM, "if (recordLost) _records[task][msg.sender].record = 0;", "loses_his_record"),
    expression(
        ROOM,
        "_minimum(sealing.minStake, maxUpdates, current.eligible)",
        "0",
        "with_stake_that_counts",
    ),
    guard(
        ROOM,
        "slot.hash != bytes27(_commitment(task, current.round, msg.sender, digest, salt))",
        "as_it_was_committed",
    ),
    guard(ROOM, "block.timestamp < sealing.revealsFrom", "nobody_reveals_before"),
    statement(ROOM, "slot.hash = 0;", "as_it_was_committed"),
    guard(ROOM, "current.accepted != sealing.committed && block.timestamp < revealed", "not_opened_while"),
    guard(ROOM, "batch + 1 == set.batches && !t.closing", "round_of_the_last_batch"),
    expression(ROOM, "!found", "false", "claimed_once_and_by_whom"),
    expression(ROOM, "running != forfeit.running", "false", "claimed_once_and_by_whom"),
    expression(ROOM, "_bondClaimed[task][round][msg.sender]", "false", "claimed_once_and_by_whom"),
    statement(ROOM, "if (revealed[0].contributor == msg.sender) amount += forfeit.bond - shared;", "to_the_wei"),
    statement(ROOM, "_bondClaimed[task][round][msg.sender] = true;", "claimed_once_and_by_whom"),
    Mutant(
        ROOM,
        "abi.encode(_seed(task, round), account, digest, salt)",
        "abi.encode((ON) ? bytes32(0) : _seed(task, round), account, digest, salt)",
        "of_its_round_and_task",
    ),
    Mutant(ROOM, ", account, digest, salt))", ", (ON) ? address(0) : account, digest, salt))", "its_senders"),
    guard(ROOM, "bond < t.terms.reward || bond < MIN_BOND", "at_least_what_a_round"),
    guard(POOL, "evidenceRoom_.code.length == 0", "whose_room_has_no_code"),
    guard(POOL, "gate != UNSEALED", "sealed_updates_are_not"),
    Mutant(
        POOL,
        "&& _committed(task, t.terms.rule, current.round) == 0)",
        "&& ((ON) || _committed(task, t.terms.rule, current.round) == 0))",
        "in_the_middle_of_a_round",
    ),
    Mutant(POOL, "|| committed ||", "|| (!(ON) && committed) ||", "not_ended_early"),
    expression(POOL, "_revealsEnd(_sealings[task])", "0", "nothing_is_revealed_is_over"),
    guard(
        POOL,
        "terms.rule == Evidence.NUMBER && current.accepted != 0 && current.opened == 0",
        "shared_by_stake",
    ),
    Mutant(POOL, "&& current.accepted != 0 &&", "&& ((ON) || current.accepted != 0) &&", "nothing_is_revealed_is_over"),
    Mutant(POOL, "&& current.opened == 0)", "&& ((ON) || current.opened == 0))", "has_opened_the_examples"),
    guard(POOL, "bond == 0", "in_the_middle_of_a_round"),
    statement(POOL, "_bonds[task] = 0;", "goes_to_the_pool"),  # returned
    statement(POOL, "t.entry.gate |= HALTED;", "without_a_bond"),
    statement(POOL, "_sealings[task].gate |= HALTED;", "without_a_bond"),
    statement(ROOM, "t.entry.gate &= ~HALTED;", "without_a_bond"),
    statement(ROOM, "_sealings[task].gate &= ~HALTED;", "without_a_bond"),
    Mutant(
        POOL,
        "_bonds[task] = 0;\n        _forfeits[",
        "if (!(ON)) _bonds[task] = 0;\n        _forfeits[",
        "in_the_middle_of_a_round",
    ),
    guard(ROOM, "current.opened != 0", "early_late_or_twice"),
    Mutant(
        ROOM,
        "if (current.accepted == 0) revert NoUpdates(round);",
        "if (!(ON) && current.accepted == 0) revert NoUpdates(round);",
        "early_late_or_twice",
    ),
    guard(ROOM, "block.timestamp < from", "early_late_or_twice"),
    guard(ROOM, "block.timestamp >= until", "early_late_or_twice"),
    guard(POOL, "terms.rule == Evidence.NUMBER && current.opened == 0", "before_its_examples_are_opened"),
    guard(POOL, "block.timestamp >= since", "nobody_submits_once"),
    Mutant(
        ROOM,
        "!Evidence.isCommitted(set.root, batch, examples, proof)",
        "(!Evidence.isCommitted(set.root, batch, examples, proof) && !(ON))",
        "only_the_next_batch",
    ),
    guard(PAY, "t.current.version != 0 || set.pay != 0", "pay_is_named_once"),
    guard(PAY, "pay_ != NOVEL && pay_ != FAIR", "pay_is_named_once"),
    guard(PAY, "full == 0 || full > MAX_FULL", "pay_is_named_once"),
    guard(PAY, "t.entry.maxUpdates > MAX_UPDATES_PAID_LATER", "pay_is_named_once"),
    guard(PAY, "gas > BlockBounds.GAS || data > BlockBounds.CALLDATA", "what_cannot_be_paid"),
    guard(PAY, "first != book.next", "is_paid_once or in_order_and_with"),
    guard(PAY, "settled != _books[task].settled[version]", "paid_whole_and_in_order"),
    guard(PAY, "settled != book.settled[version] || round.kept.length != 0", "paid_whole_and_in_order"),
    expression(PAY, "round.kept.length != 0", "false", "paid_whole_and_in_order"),
    guard(PAY, "update.digests.length != 1 || update.digests[0] != actual", "paid_whole_and_in_order"),
    guard(PAY, "block.timestamp < from", "before_ten_more_batches"),
    expression(PAY, "set.openedBatches > round.batch + HORIZON", "false", "before_ten_more_batches"),
    expression(PAY, "set.openedBatches == set.batches", "false", "no_more_than_its_part"),
    expression(
        PAY, "Math.min(uint256(due - sums.paid), book.full)", "uint256(due - sums.paid)", "no_more_than_its_part"
    ),
    statement(PAY, "sums.paid += int64(uint64(counts));", "python_says_in_batches"),
    expression(PAY, "closed ? 0 : uint96(back)", "uint96(back)", "closed_pays_at_once"),
    expression(PAY, "awaiting >= _books[task].next", "false", "stake_stays_locked"),
    guard(VAULT, "IPaidLater(address(pool)).isUnpaid(task, msg.sender)", "stake_stays_locked"),
    expression(POOL, "later ? current.version - 1 : 0", "0", "stake_stays_locked"),
    statement(POOL, "book.digest = bytes32(judged[1]);", "python_says_in_batches"),
    guard(STATE, "msg.sender != tx.origin", "no_call_of_a_contract"),
    guard(STATE, "msg.sender != _knownTask(task).creator", "only_its_creator or empty_round_refunds"),
    expression(POOL, "account == owner() && aspect == address(0)", "account == owner()", "once_it_is_named"),
    guard(POOL, "aspect != address(0)", "named_once"),
    guard(STATE, "from == address(0)", "without_a_named"),
    guard(POOL, "task != nextTask", "refuses_a_taken"),
    guard(STATE, "task == 0 || task >= nextTask", "does_not_exist"),
    guard(POOL, "!Rules.has(terms.rule)", "terms_hold"),
    guard(POOL, "terms.quorumBps == 0 || terms.quorumBps > BPS", "terms_hold"),
    guard(POOL, "terms.maxUpdates == 0 || terms.maxUpdates > MAX_UPDATES", "terms_hold"),
    guard(
        POOL,
        "terms.roundSeconds == 0 || terms.minRoundSeconds == 0 || terms.minRoundSeconds > terms.roundSeconds",
        "terms_hold",
    ),
    guard(POOL, "terms.dropSeconds <= terms.roundSeconds || terms.dropSeconds > MAX_SECONDS", "terms_hold"),
    guard(POOL, "terms.stakeSeconds == 0 || terms.stakeSeconds > MAX_SECONDS", "terms_hold"),
    guard(POOL, "terms.minStake > vault.MAX_TOTAL()", "terms_hold"),
    guard(POOL, "terms.settlerBps > BPS", "terms_hold"),
    guard(POOL, "terms.serverBps > BPS / 2", "terms_hold"),
    guard(POOL, "!BlockBounds.hold(terms.maxUpdates, _sizeOf(head))", "so_many_updates"),
    guard(POOL, "current.version != 0", "speaks_first"),
    guard(POOL, "_tasks[task].closing", "closes_before_its_weights"),
    guard(POOL, "t.closing", "empty_round_refunds"),  # closeTask
    guard(POOL, "t.closing", "empty_round_refunds"),  # fund, grant
    Mutant(POOL, "bool closed = t.closing;", "bool closed = t.closing && !(ON);", "last_round_is_still"),
    guard(POOL, "amount == 0", "anybody_fills"),
    Mutant(
        POOL,
        "if (current.accepted == 0 && ",
        "if (!(ON) && current.accepted == 0 && ",
        "empty_round_refunds",
    ),
    guard(POOL, "current.merged != 0", "being_settled"),  # submit
    guard(POOL, "current.merged != 0", "half_merged"),  # drop
    guard(POOL, "current.merged != 0", "omega_stays"),  # release
    guard(POOL, "current.accepted >= maxUpdates", "full_round_takes"),
    expression(STATE, "Math.max(minStake, eligible / (4 * maxUpdates))", "minStake", "filling_a_round"),
    Mutant(
        STATE,
        "_word(verdict, 0) != digest ||",
        "(!(ON) && _word(verdict, 0) != digest) ||",
        "about_something_else",
    ),
    expression(
        STATE,
        "current.eligible < 4 ? counting : Math.min(counting, current.eligible / 4)",
        "counting",
        "about_the_quarter",
    ),
    guard(STATE, "weight == 0 || weight > most || effective > weight", "believes_no_aspect"),
    guard(STATE, "actual != digest", "digest_is_the"),
    guard(POOL, "round != current.round || current.version == 0", "speaks_first"),
    Mutant(
        POOL,
        "if (current.accepted == 0) revert NoUpdates(round);",
        "if (!(ON) && current.accepted == 0) revert NoUpdates(round);",
        "speaks_first",
    ),
    guard(POOL, "block.timestamp < settleableAt", "block_of_the_opening"),
    guard(POOL, "group != current.merged", "speaks_first"),
    guard(POOL, "update.digests[group] != actual", "omit_reorder"),
    guard(POOL, "running != t.running", "omit_reorder"),
    Mutant(
        POOL,
        "saturated += t.saturated;\n            t.saturated = 0;",
        "saturated += t.saturated;\n            if (!(ON)) t.saturated = 0;",
        "saturated",
    ),
    statement(POOL, "if (saturated != 0) t.saturated += uint32(saturated);", "saturated"),
    Mutant(
        POOL,
        "t.saturated);\n            t.saturated = 0;",
        "t.saturated);\n            if (!(ON)) t.saturated = 0;",
        "count_of_saturated",
    ),
    Mutant(
        POOL,
        "if (current.accepted != 0 || (",
        "if ((!(ON) && current.accepted != 0) || (",
        "ripe_stake_does_not_end",
    ),
    expression(
        POOL,
        "current.accepted == 0 ? current.openedAt : current.firstAt",
        "current.openedAt",
        "nobody_settles_is_dropped",
    ),
    guard(POOL, "block.timestamp < droppableAt", "dropped"),
    expression(POOL, "amount / 2", "0", "half_by_work"),
    expression(POOL, "shares >= MIN_SHARES", "shares != 0", "first_depositor"),
    expression(POOL, "_isClosed(t.current)", "false", "what_nobody_shares"),
    statement(POOL, "claimed.pay += uint128(pay);", "claimed_once"),
    statement(POOL, "claimed.fees += uint128(fees);", "dust_stays"),
    guard(POOL, "msg.sender != address(vault)", "only_the_vault"),  # payFees
    guard(POOL, "msg.sender != address(vault)", "only_the_vault"),  # release
    guard(POOL, "terms.quorumBps == 0", "does_not_exist"),
    statement(POOL, "current.eligible -= units;", "leaves_omega_at_once"),
    expression(
        POOL,
        "Math.min(idle + block.timestamp - openedAt, roundSeconds)",
        "roundSeconds",
        "earns_by_its_time",
    ),
    Mutant(POOL, "uint32 idle = t.idle;", "uint32 idle = (ON) ? 0 : t.idle;", "takes_no_pay"),
    statement(POOL, "if (idle != 0) t.idle = 0;", "time_of_empty_rounds"),
    Mutant(
        POOL,
        "if (current.accepted == 0) t.idle = uint32(_paidSeconds(t.idle, current.openedAt, terms.roundSeconds));",
        "if (current.accepted == 0) t.idle = uint32(_paidSeconds((ON) ? 0 : t.idle, current.openedAt, terms.roundSeconds));",
        "time_of_empty_rounds",
    ),
    Mutant(
        POOL, "else if (t.idle != 0) t.idle = 0;", "else if (!(ON) && t.idle != 0) t.idle = 0;", "time_of_empty_rounds"
    ),
    expression(
        POOL,
        "Math.min(t.pot, terms.reward * elapsed / terms.roundSeconds)",
        "terms.reward * elapsed / terms.roundSeconds",
        "pot_pays_all",
    ),
    expression(POOL, "Math.max(present, current.eligible / 4)", "present", "absent_stake"),
    expression(POOL, "paid - fee", "paid", "settlers_fee"),
    expression(
        POOL,
        "Rules.share(terms, shared, update.weight, counts, current.present, current.eligible)",
        "Rules.share(terms, shared, update.weight, update.weight, current.present, current.eligible)",
        "over_long",
    ),
    expression(POOL, "t.pot - uint96(fee + aside + earned)", "t.pot", "absent_stake"),
    expression(POOL, "t.shares + uint120(earned)", "t.shares", "unequal_stakes"),
    statement(POOL, "_send(msg.sender, fee);", "settlers_fee"),
    statement(POOL, "_credit(_earnings[task][contributor], amount, feesPerShare);", "claimed_once"),
    expression(
        STATE,
        "Math.mulDiv(amount, feesPerShare, 2 ** 128, Math.Rounding.Ceil)",
        "Math.mulDiv(amount, feesPerShare, 2 ** 128)",
        "new_shares",
    ),
    guard(STATE, "feesPerShare != 0", "new_shares"),
    guard(VAULT, "msg.sender != address(pool)", "only_the_pool_moves"),
    guard(VAULT, "round != 0 && openedAt == 0", "takes_no_stake"),
    guard(VAULT, "units == 0", "nothing_cannot"),  # lock
    guard(VAULT, "units == 0", "nothing_cannot"),  # unlock
    guard(VAULT, "units > MAX_TOTAL || changes.total + units > MAX_TOTAL", "2_38_units"),
    statement(VAULT, "_takeFresh(changes, stake, stake.fresh, stakeSeconds);", "wait_anew"),
    expression(
        VAULT,
        "(block.timestamp / stakeSeconds + 2)",
        "(block.timestamp / stakeSeconds + 1)",
        "second_next_epoch or too_early",
    ),
    statement(VAULT, "changes.total += units;", "2_38_units"),
    statement(VAULT, "changes.total -= units;", "2_38_units"),
    statement(VAULT, "_transferVotingUnits(address(0), msg.sender, units);", "votes_follow"),
    statement(VAULT, "_transferVotingUnits(msg.sender, address(0), units);", "votes_follow or no_vote_behind"),
    guard(VAULT, "units > stake.amount", "more_than_he_has"),
    expression(VAULT, "units < stake.fresh ? units : stake.fresh", "0", "whatever_it_waits"),
    statement(VAULT, "_settleFees(task, msg.sender, stake.amount - fromFresh - stake.fresh);", "of_unlocked_stake"),
    statement(VAULT, "_sharing[task] -= counted;", "of_unlocked_stake"),
    expression(
        VAULT, "stake.submitted == round || !pool.release(task, counted)", "!pool.release(task, counted)", "leaves_with"
    ),
    expression(VAULT, "uint32(block.timestamp) + stakeSeconds", "uint32(block.timestamp)", "to_the_second_and_once"),
    guard(VAULT, "stake.unlocking == 0", "nothing_cannot"),
    expression(VAULT, "round != 0 && stake.submitted == round && openedAt != 0", "false", "leaves_with"),
    guard(VAULT, "block.timestamp < stake.withdrawableAt || takesPart", "to_the_second_and_once"),
    statement(VAULT, "slot.unlocking = 0;", "to_the_second_and_once"),
    guard(VAULT, "stake.fresh == fresh", "locked_for_a_fee"),
    guard(VAULT, "amount == 0", "earned_nothing"),
    Mutant(VAULT, "_feesPerUnit[task], owed: 0}", "_feesPerUnit[task], owed: (ON) ? amount : 0}", "dust_stays"),
    guard(VAULT, "stake.submitted == round", "one_update or replayed"),
    guard(VAULT, "counting < minimum", "filling_a_round"),
    statement(VAULT, "slot.submitted = round;", "one_update or replayed"),
    statement(VAULT, "changes.ripe = 0;", "empty_rounds_are_not or second_next_epoch or for_stake_that_is_ripe"),
    statement(VAULT, "changes.leaving = 0;", "leaves_with"),
    guard(VAULT, "sharing == 0", "nobody_is_there"),
    guard(VAULT, "epoch == changes.epoch", "same_epoch"),
    guard(VAULT, "epoch > changes.epoch + 1", "whatever_it_waits"),
    guard(VAULT, "stake.fresh == 0 || !_isCounted(stake, round, openedAt)", "locked_for_a_fee or too_early"),
    guard(TOKEN, "genesis > cap_", "could_overflow"),
    expression(TOKEN, "released > emitted ? released - emitted : 0", "released", "asked_for_once"),
    expression(TOKEN, "unasked < room ? unasked : room", "unasked", "last_word"),
    guard(TOKEN, "msg.sender != pool", "only_the_pool_emits"),
    guard(TOKEN, "amount > left", "asked_for_once"),
    statement(TOKEN, "emitted += amount;", "asked_for_once"),
    expression(TOKEN, "spender == pool || spender == vault", "true", "nobody_else_has_one"),
    guard(ESCROW, "withdrawalDelay_ == 0 || withdrawalDelay_ > MAX_WITHDRAWAL_DELAY", "delay_that_protects"),
    statement(ESCROW, "token.forceApprove(address(pool_), type(uint256).max);", "first_fee_of_a_task"),
    Mutant(
        ESCROW,
        "try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}",
        "if (ON) IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s);\n"
        "try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}",
        "a_stranger_used_first",
    ),
    guard(ESCROW, "channel.withdrawableAt != 0", "asking_again"),
    guard(ESCROW, "channel.deposit == 0", "nothing_is_asked_for"),
    expression(ESCROW, "uint64(block.timestamp) + withdrawalDelay", "uint64(block.timestamp)", "waits_for_its_delay"),
    guard(ESCROW, "channel.withdrawableAt == 0", "waits_for_its_delay"),
    guard(ESCROW, "block.timestamp < channel.withdrawableAt", "waits_for_its_delay"),
    guard(ESCROW, "amount == 0", "empty_channel_with"),  # withdraw
    Mutant(
        ESCROW,
        """delete _channels[msg.sender][server];
        emit Withdrawn(msg.sender, server, amount);
        token.safeTransfer(msg.sender, amount);""",
        """if (!(ON)) delete _channels[msg.sender][server];
        emit Withdrawn(msg.sender, server, amount);
        token.safeTransfer(msg.sender, amount);
        if (ON) delete _channels[msg.sender][server];""",
        "withdrawal_within",
    ),
    guard(ESCROW, "vouchers.length != signatures.length", "unequal_lengths"),
    guard(ESCROW, "voucher.server != msg.sender", "one_server_is_of_no_use"),
    expression(ESCROW, "run.task != voucher.task", "false", "tasks_in_any_order"),
    guard(ESCROW, "!known", "one_bad_voucher"),
    guard(ESCROW, "amount == 0", "zero_is_nothing"),  # redeem
    guard(ESCROW, "amount == 0", "nobody_deposits_nothing"),  # deposit
    guard(ESCROW, "amount > room", "less_than_2_128"),
    expression(
        ESCROW,
        "Channel(channel.deposit + uint128(amount), 0)",
        "Channel(channel.deposit + uint128(amount), channel.withdrawableAt)",
        "lies_ready",
    ),
    Mutant(
        ESCROW,
        """_channels[msg.sender][server] = channel;
        emit Deposited(msg.sender, server, amount, channel.deposit);
        token.safeTransferFrom(msg.sender, address(this), amount);""",
        """if (!(ON)) _channels[msg.sender][server] = channel;
        emit Deposited(msg.sender, server, amount, channel.deposit);
        token.safeTransferFrom(msg.sender, address(this), amount);
        if (ON) _channels[msg.sender][server] = channel;""",
        "deposit_within",
    ),
    guard(ESCROW, "block.timestamp > voucher.expiry", "after_its_last_second"),
    guard(ESCROW, "voucher.amount <= redeemed", "redeemed_once"),
    guard(ESCROW, "left == 0", "from_one_deposit"),
    guard(ESCROW, "!isSigned(voucher, signature)", "wrong_signature or was_altered or one_escrow"),
    expression(ESCROW, "voucher.amount - redeemed", "voucher.amount", "sums_since"),
    guard(ESCROW, "amount > left", "beyond_the_deposit"),
    Mutant(
        ESCROW,
        "channel.deposit = left - uint128(amount);",
        "if (ON) token.safeTransfer(msg.sender, 0); channel.deposit = left - uint128(amount);",
        "redemption_within",
    ),
    statement(ESCROW, "channel.deposit = left - uint128(amount);", "beyond_the_deposit"),
    statement(
        ESCROW,
        "_redeemed[voucher.client][voucher.server][voucher.task] = redeemed + amount;",
        "redeemed_once",
    ),
    expression(ESCROW, "runs[i].amount - share", "runs[i].amount", "pays_its_server"),
    expression(
        ESCROW,
        "_isSignedByKey(voucher.client, digest, signature)",
        "(voucher.client.code.length == 0 && _isSignedByKey(voucher.client, digest, signature))",
        "delegates",
    ),
    Mutant(ESCROW, "{gas: SIGNATURE_GAS}", "{gas: (ON) ? gasleft() : SIGNATURE_GAS}", "does_not_lose_the_others"),
    expression(ESCROW, "fault == ECDSA.RecoverError.NoError", "true", "recovering_fails"),
    expression(
        ESCROW,
        "_hashTypedDataV4(keccak256(abi.encode(VOUCHER_TYPEHASH, voucher)))",
        "keccak256(abi.encode(VOUCHER_TYPEHASH, voucher))",
        "one_escrow_on_one_chain",
    ),
    # what libraries and pure functions compute
    expression(
        POOL, "current.round != 0 && current.openedAt == 0", "current.openedAt == 0", "weights_are_being_loaded"
    ),
    *(
        Mutant(
            STATE,
            "        // keccak256(abi.encodePacked(…)), whose memory",
            f"        if (ON) {name} = {nothing};\n        // keccak256(abi.encodePacked(…)), whose memory",
            "bound_into_the_running_hash",
        )
        for name, nothing in (
            ("running", "0"),
            ("digest", "0"),
            ("contributor", "address(0)"),
            ("weight", "0"),
            ("effective", "0"),
        )
    ),
    expression(
        STATE,
        "keccak256(abi.encode(block.chainid, address(this), task, round))",
        "bytes32(0)",
        "bound_into_the_running_hash",
    ),
    Mutant(VAULT, "return round != 0 && (openedAt", "return (round != 0 || (ON)) && (openedAt", "while_the_weights"),
    Mutant(VAULT, "(openedAt == 0 ||", "((openedAt == 0 && !(ON)) ||", "fees_that_come_later"),
    expression(VAULT, "stake.maturesAt <= openedAt", "stake.maturesAt < openedAt", "very_second_in_which"),
    expression(VAULT, "matureEpoch == uint256(changes.epoch) + 2", "false", "whatever_it_waits"),
    expression(VAULT, "matureEpoch == uint256(changes.epoch) + 1", "false", "whatever_it_waits"),
    statement(VAULT, "stake.fresh -= units;", "whatever_it_waits"),
    expression(RULES, "rule == Mean.NUMBER", "true", "terms_hold"),
    expression(MEAN, "openedAt + terms.minRoundSeconds", "openedAt", "block_of_the_opening"),
    expression(MEAN, "present * BPS >= terms.quorumBps * eligible", "true", "at_its_quorum"),
    expression(MEAN, "present * BPS >= terms.quorumBps * eligible", "false", "least_time"),
    expression(
        MEAN, "present * BPS >= terms.quorumBps * eligible", "present * BPS > terms.quorumBps * eligible", "least_time"
    ),
    expression(MEAN, "firstAt + terms.roundSeconds", "openedAt + terms.roundSeconds", "at_its_quorum"),
    # `over > least` is left out: no task is opened with a longer least time than `roundSeconds`, so it always is
    expression(MEAN, "since + terms.dropSeconds", "since", "dropped"),
    expression(MEAN, "shared * effective / present", "shared", "unequal_stakes"),
    expression(MEAN, "shared * effective / present", "shared / present * effective", "unequal_stakes"),
    Mutant(
        DIGEST,
        "_reserve(header, groups.length)",
        "_reserve((ON) ? header[:0] : header, groups.length)",
        "digest_is_the",
    ),
    Mutant(DIGEST, "ofBytes(groups[i])", "ofBytes(groups[(ON) ? 0 : i])", "that_python_computes"),
    Mutant(
        DIGEST,
        "_reserve(header, digests.length)",
        "_reserve((ON) ? header[:0] : header, digests.length)",
        "omit_reorder",
    ),
    # `data <= CALLDATA` is left out: with today's figures the gas of so much calldata is always too much as well
    expression(BOUNDS, "settleGas(updates, size, data) <= GAS", "true", BOUND),
    *(
        expression(BOUNDS, term, new, BOUND)
        for term, new in (
            ("10 * 32", "9 * 32"),
            ("_padded(size.headerBytes)", "uint256(size.headerBytes)"),
            ("32 * uint256(size.groups)", "0"),
            ("_padded(size.groupWeights)", "uint256(size.groupWeights)"),
            ("4 + 5 * 32", "0"),
            ("(_padded(size.headerBytes) + _padded(weights)) / 32", "_padded(weights) / 32"),
            ("(_padded(size.headerBytes) + _padded(weights)) / 32", "_padded(size.headerBytes) / 32"),
            ("size.groups + 40", "size.groups"),
            ("150_000", "0"),
            ("16 * data", "15 * data"),
            ("32_000", "31_000"),
            ("10 * words", "0"),
            ("3 * words", "0"),
            ("words * words / 512", "0"),
            ("30 * pages", "0"),
            ("14 * tensors", "0"),
            ("5 * weights / 4", "0"),
            ("9 * tensors", "0"),
            ("pages * 6_600", "0"),
            ("322 * weights", "0"),
            ("280 * uint256(size.pages)", "0"),
            ("(length + 31) & ~uint256(31)", "length"),
        )
    ),
    Mutant(BOUNDS, "updates * (100 +", "updates * (((ON) ? 0 : 100) +", BOUND),
]

ASPECT_MUTANTS = [
    Mutant(
        ASPECT + "index.ts",
        "lengthOf(pool) != 20 || fieldLength != 20 || !same20(to, pool + HEADER)",
        "false",
        "foreign",
    ),
    Mutant(
        ASPECT + "index.ts",
        "!findField(sender + HEADER, lengthOf(sender), 1) || fieldLength != 20 || !same20(fieldAt, from)",
        "false",
        "contract_cannot_call",
    ),
    Mutant(ASPECT + "index.ts", "&& same20(owner + HEADER, account) ? 1 : 0", "? 1 : 0", "nobody_upgrades"),
    guard(ASPECT + "index.ts", "lengthOf(stateGet(shapeKey(task))) != 0", "number_is_used_once"),
    guard(ASPECT + "index.ts", "!decodeShape(shape, length)", "python_refuses"),
    Mutant(ASPECT + "shape.ts", " && groupCount <= MAX_GROUPS", "", "python_refuses"),
    guard(
        ASPECT + "index.ts",
        "lengthOf(kept - HEADER) < RULE_BYTES || !decodeShape(shape, shapeLength)",
        "was_not_opened or bad_question",
    ),
    Mutant(
        ASPECT + "index.ts",
        'if (version != 0) refuseNumbers("TaskLoaded',
        'if (false) refuseNumbers("TaskLoaded',
        "loaded_once",
    ),
    guard(ASPECT + "index.ts", "first != loaded", "whole_and_in_order"),
    guard(ASPECT + "index.ts", "page >= pageCount", "whole_and_in_order"),
    guard(ASPECT + "index.ts", "left < bytes", "whole_and_in_order"),
    guard(ASPECT + "index.ts", "length == 0", "whole_and_in_order"),
    guard(ASPECT + "index.ts", "length != headerBytes()", "another_shape"),
    guard(ASPECT + "index.ts", "count != groupCount", "another_shape"),
    Mutant(
        ASPECT + "index.ts",
        "if (!isHeader(header)) {\n    refuseWith",
        "if (false) {\n    refuseWith",
        "header_that_is",
    ),
    guard(ASPECT + "index.ts", "taskOf(header) != task", "another_task"),
    guard(ASPECT + "index.ts", "version == 0", "before_its_weights"),
    guard(ASPECT + "index.ts", "baseOf(header) != version", "stale or last_rounds"),
    guard(ASPECT + "index.ts", "stake == 0", "without_stake"),
    guard(ASPECT + "index.ts", "norm > MAX_SQUARED_NORM", "beyond_all"),
    Mutant(ASPECT + "index.ts", "min<u64>(stake, eligible >> 2)", "stake", "capped"),
    Mutant(ASPECT + "index.ts", "rules.verdict(rule, weight, norm)", "weight", "scaled_down"),
    guard(ASPECT + "index.ts", "!measurePage(encoding, page, tensor, data)", "unused_bits or zeros"),
    guard(ASPECT + "index.ts", "page != last || data != end", "another_shape"),
    guard(ASPECT + "index.ts", "!areShifts(header)", "left_out or header_that"),
    Mutant(ASPECT + "index.ts", "version == 0 || given != round", "false", "not_due"),
    guard(ASPECT + "index.ts", "group != merged", "not_due"),
    guard(ASPECT + "index.ts", "accepted == 0", "not_due"),
    Mutant(
        ASPECT + "index.ts",
        "length != expected || groups != groupCount || !isHeader(header)",
        "false",
        "with_the_reason",
    ),
    Mutant(ASPECT + "index.ts", "weight > MAX_ELIGIBLE || present > MAX_ELIGIBLE", "false", "with_the_reason"),
    Mutant(ASPECT + "index.ts", "next > <usize>load<u32>(record, END)", "false", "with_the_reason"),
    Mutant(ASPECT + "index.ts", "load<u32>(record, NEXT) != load<u32>(record, END)", "false", "with_the_reason"),
    Mutant(ASPECT + "index.ts", "if ((outcome & CHANGED) != 0) {", "if (true) {", "rounds_to_nothing"),
    guard(ASPECT + "index.ts", "first > pageCount || count > pageCount - first || count == 0", "bad_question"),
    Mutant(ASPECT + "index.ts", "  expectWord(args + 64, 4 << 5);\n", "", "submission_has_one_encoding"),
    Mutant(
        ASPECT + "index.ts", "  expectWord(args + 96, (5 << 5) + padded(length));\n", "", "submission_has_one_encoding"
    ),
    Mutant(ASPECT + "index.ts", "    expectWord(groups + (group << 5), offset);\n", "", "judged_in_one"),
    Mutant(ASPECT + "index.ts", "  expectWord(args + 96, 4 << 5);\n", "", "settlement_has_one_encoding"),
    Mutant(ASPECT + "index.ts", "    expectWord(array + (i << 5), offset);\n", "", "settlement_has_one_encoding"),
    Mutant(ASPECT + "index.ts", "    expectWord(update + 96, 6 << 5);\n", "", "settlement_has_one_encoding"),
    Mutant(
        ASPECT + "index.ts",
        "    expectWord(update + 128, <u32>(digests - update));\n",
        "",
        "settlement_has_one_encoding",
    ),
    Mutant(
        ASPECT + "index.ts", "    expectWord(update + 160, <u32>(pages - update));\n", "", "settlement_has_one_encoding"
    ),
    Mutant(ASPECT + "index.ts", "  expectWord(args + 32, 14 << 5);\n", "", "opening_has_one_encoding"),
    Mutant(
        ASPECT + "index.ts", "  expectWord(args + 64, (15 << 5) + padded(length));\n", "", "opening_has_one_encoding"
    ),
    Mutant(ASPECT + "index.ts", "  expectWord(args + 64, 3 << 5);\n", "", "weights_have_one_encoding"),
    *(
        Mutant(ASPECT + "index.ts", f"bytesAt({at})", f"<u32>word({at})", f"{call}_one_encoding")
        for at, call in (
            ("args + (14 << 5)", "opening_has"),
            ("model", "opening_has"),
            ("args + 96", "weights_have"),
            ("args + 128", "submission_has"),
            ("groups + offset", "submission_has"),
            ("update + 192", "settlement_has"),
            ("pages", "settlement_has"),
        )
    ),
    Mutant(ASPECT + "index.ts", "  expectEnd(model + 32 + padded(modelLength));\n", "", "opening_has_one_encoding"),
    Mutant(ASPECT + "index.ts", "  expectEnd(args + 128 + padded(length));\n", "", "weights_have_one_encoding"),
    Mutant(
        ASPECT + "index.ts",
        "expectEnd(measure(header, groups + 32))",
        "measure(header, groups + 32)",
        "submission_has_one_encoding",
    ),
    Mutant(ASPECT + "index.ts", "  expectEnd(array + offset);\n", "", "settlement_has_one_encoding"),
    Mutant(ASPECT + "index.ts", "    expectAddress(update);\n", "", "settlement_has_one_encoding"),
    Mutant(ASPECT + "index.ts", "word(update + 64)", "be64(update + 88)", "settlement_has_one_encoding"),
    guard(ASPECT + "index.ts", "!isText(model + 32, modelLength)", "model_text_is_utf_8"),
    guard(ASPECT + "input.ts", "load<u64>(at) != 0 || load<u64>(at, 8) != 0 || load<u64>(at, 16) != 0", "one_encoding"),
    guard(ASPECT + "input.ts", "load<u64>(at) != 0 || load<u32>(at, 8) != 0", "settlement_has_one_encoding"),
    guard(ASPECT + "input.ts", "at != end", "one_encoding"),
    guard(ASPECT + "input.ts", "stop > end", "one_encoding"),
    guard(ASPECT + "input.ts", "load<u8>(padding) != 0", "one_encoding"),
    guard(ASPECT + "input.ts", "first < 0xc2 || first > 0xf4", "model_text_is_utf_8"),
    guard(ASPECT + "input.ts", "first == 0xe0 && second < 0xa0", "model_text_is_utf_8"),
    guard(ASPECT + "input.ts", "first == 0xed && second > 0x9f", "model_text_is_utf_8"),
    guard(ASPECT + "input.ts", "first == 0xf0 && second < 0x90", "model_text_is_utf_8"),
    guard(ASPECT + "input.ts", "first == 0xf4 && second > 0x8f", "model_text_is_utf_8"),
    guard(ASPECT + "input.ts", "load<u8>(at) >> 6 != 2", "model_text_is_utf_8"),
    Mutant(
        ASPECT + "pool.ts",
        "be32(slot + 18) > openedAt ? amount - (be64(slot + 19) & LOW_40) : amount",
        "amount",
        "takes_part_in_nothing or too_early",
    ),
    Mutant(ASPECT + "rules/mean.ts", "if (beyond >> 16 == 0)", "if (true)", "saturated"),
    guard(ASPECT + "index.ts", "length == 0 || length % stride != 0", "that_is_no_examples"),
    guard(ASPECT + "index.ts", "!evidence.labelsFit(examples, length / stride)", "that_is_no_examples"),
    guard(ASPECT + "index.ts", "exponent > 255 || !evidence.readNetwork(shape, <u32>exponent)", "committed_once"),
    Mutant(ASPECT + "rules/evidence/judge.ts", "if (beyond >> 16 == 0)", "if (true)", "ends_of_int16"),
    guard(ASPECT + "rules/evidence/pay.ts", "!same32(digests, <usize>load<u32>(rounds))", "forged_base"),
    guard(ASPECT + "index.ts", "length != weightCount << 1", "forged_base"),
    guard(ASPECT + "index.ts", "from == 0 || count <= remembered", "in_order_and_with"),
    guard(ASPECT + "rules/evidence/pay.ts", "next > end", "whose_kept_owners_break_off"),
    guard(ASPECT + "rules/evidence/pay.ts", "at != end", "whose_kept_owners_break_off"),
    Mutant(
        ASPECT + "rules/evidence/judge.ts",
        "record <= 0 ? NO_RECORD",
        "false ? NO_RECORD",
        "all_updates_are_refused or python_says",
    ),
]


def changed(text: str, mutant: Mutant, switch: str = "") -> str:
    if mutant.old not in text:
        raise SystemExit(f"{mutant.file} does not hold: {mutant.old}")
    return text.replace(mutant.old, re.sub(r"\bON\b", switch, mutant.new), 1)


@contextmanager
def sources() -> Iterator[Path]:
    """A copy of all sources, with the artifacts that belong to them in `artifacts`."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("contracts", "aspects"):
            shutil.copytree(ROOT / name, tree / name)
        (tree / "tools").mkdir()
        for script in (ROOT / "tools").glob("*.mjs"):
            shutil.copy(script, tree / "tools")
        for name in ("package.json", "package-lock.json", "node_modules"):
            (tree / "tools" / name).symlink_to(ROOT / "tools" / name)
        shutil.copytree(ROOT / "src/linklearner/artifacts", tree / "artifacts")
        yield tree


def build(tree: Path, script: str, *arguments: Path) -> None:
    built = subprocess.run(
        ["node", script, *map(str, arguments)], cwd=tree / "tools", capture_output=True, text=True, check=False
    )
    if built.returncode:
        raise SystemExit(f"the mutant does not build:\n{built.stdout}{built.stderr}")


def survives(mutant: Mutant, output: Path, tests: tuple[str, ...] = TESTS) -> bool:
    """Whether those of `tests` that it names pass with the artifacts in `output`. At least one must have been selected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "_read", lambda name: (output / name).read_bytes())
        artifacts.contract.cache_clear()
        artifacts.aspect.cache_clear()
        said = io.StringIO()
        with redirect_stdout(said):
            # faulthandler, enabled anew by every session, would take the traps of wasm code away from wasmtime
            result = pytest.main(["-x", "-q", "-p", "no:faulthandler", *tests, "-k", mutant.test])
    if result not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"pytest could not run {mutant.test!r}:\n{said.getvalue()[-2000:]}")
    return result == pytest.ExitCode.OK


def unmutated(chosen: list[Mutant]) -> Mutant:
    """Changes nothing, and selects the tests of all: a test that fails anyway kills no mutant."""
    return Mutant("", "", "", " or ".join(sorted({f"({one.test})" for one in chosen})))


def contract_survivors(chosen: list[Mutant]) -> Iterator[bool]:
    with sources() as tree:
        (tree / "contracts" / "Switch.sol").write_text(SWITCH)
        for file in dict.fromkeys(mutant.file for mutant in CONTRACT_MUTANTS):
            text = (tree / file).read_text()
            for number, mutant in enumerate(CONTRACT_MUTANTS, start=1):
                if mutant.file == file:
                    text = changed(text, mutant, f"isSwitchedOn({number})")
            up = "../" * (len(Path(file).parts) - 2) or "./"
            head, pragma, rest = text.partition("pragma solidity 0.8.37;\n")
            (tree / file).write_text(f'{head}{pragma}import {{isSwitchedOn}} from "{up}Switch.sol";\n{rest}')
        # With all its mutants the pool is larger than a chain takes: optimised for size it is not.
        script = tree / "tools" / "build_contracts.mjs"
        smaller, found = re.subn(r"runs: \d+", "runs: 1", script.read_text())
        if found != 1:
            raise SystemExit(f"{script.name} does not say for how many runs it optimises")
        script.write_text(smaller)
        build(tree, script.name, tree / "artifacts")
        # vault's and token's code is in the pool's
        built = {
            name: (tree / "artifacts" / name).read_text()
            for name in ("TrainingPool.json", "EvidenceRoom.json", "InferenceEscrow.json")
        }
        if not all(MAGIC.hex() in json.loads(text)["bytecode"] for text in built.values()):
            raise SystemExit("the switch is not in the creation code")
        for mutant in (None, *chosen):
            number = 0 if mutant is None else CONTRACT_MUTANTS.index(mutant) + 1
            for name, text in built.items():
                (tree / "artifacts" / name).write_text(text.replace(MAGIC.hex(), number.to_bytes(32, "big").hex()))
            if mutant is not None:
                yield survives(mutant, tree / "artifacts")
            elif not survives(unmutated(chosen), tree / "artifacts"):
                raise SystemExit("with no mutant switched on the tests fail")


def aspect_survivors(chosen: list[Mutant]) -> Iterator[bool]:
    if not survives(unmutated(chosen), ROOT / "src/linklearner/artifacts", (*TESTS, *ASPECT_TESTS)):
        raise SystemExit("with no mutant switched on the tests fail")
    for mutant in chosen:
        with sources() as tree:
            path = tree / mutant.file
            path.write_text(changed(path.read_text(), mutant))
            build(tree, "build_aspects.mjs", tree / "artifacts", tree / "artifacts")
            yield survives(mutant, tree / "artifacts", (*TESTS, *ASPECT_TESTS))


def main(words: list[str]) -> int:
    total = survivors = 0
    for mutants, run in ((CONTRACT_MUTANTS, contract_survivors), (ASPECT_MUTANTS, aspect_survivors)):
        chosen = [m for m in mutants if all(word in f"{m.file} {m.old} {m.test}" for word in words)]
        for mutant, alive in zip(chosen, run(chosen) if chosen else (), strict=True):
            total += 1
            survivors += alive
            print(f"{'SURVIVED' if alive else 'killed'}: {mutant.file}: {mutant.old[:90]!r}", flush=True)
    print(f"{total - survivors} of {total} mutants killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
