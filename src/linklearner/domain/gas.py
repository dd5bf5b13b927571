"""What the pool's transactions cost, computed instead of asked for.

An Artela node takes seconds over eth_estimateGas, and charges max(used, limit / 2): a limit of up to twice the need is
free. So the need is computed from what goes in. It is

    intrinsic   21,000, 4 for a zero byte of calldata, 16 for another
    pool        EVM gas of TrainingPool, StakeVault and the token: a fixed part; storage slots; keccak and copying of the updates, 9 gas a
                word; memory, 3 M + M^2 / 512 for M words, of which the largest group is the large part (UpdateDigest keeps one scratch
                copy)
    Aspect      metered WASM instructions of `aggregator`, and 156.25 gas for each byte of state that it writes: 2 bytes a weight, a page's
                digest and key

The coefficients of the Aspect are least squares over 1,760 transactions of random shapes (1 to 300 tensors, 1 to 1,200 pages, 1 to 40
groups, both encodings, from no page to all) on the embedded chain, whose gas is an Artela node's; those of pool and vault over another
1,000. They give what was used to within a few per cent, and tests/contracts/test_gas_limits.py and test_gas_of_money.py hold the limits to
it. They belong to these contracts and this Aspect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from linklearner.domain.errors import Refused
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.verdicts import HALVINGS, Judgement, Outcome
from linklearner.domain.rules.rule import Merged, Rule
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update, header_bytes

BLOCK_GAS: Final = 20_000_000
"""No Artela block holds more, so no transaction does."""
NEW_SLOT: Final = 17_100
"""What it costs beyond writing a storage slot anew if it was zero: the first $LL of an account, its first earnings in a task."""
COUNTED: Final = 56_000
"""What a submission costs more at most, of which nothing can be known: fresh stake of the account is counted (10,000), as the first that
shares fees (17,100), and fees that it has earned are settled (20,000 and 22,100 where none were before)."""

TRANSFER_COIN: Final = 21_000
"""To an account without code."""
TRANSFER_TOKEN: Final = 60_000
LOCK: Final = 150_000
"""More of an account that has stake there."""
FIRST_LOCK: Final = 212_000
"""Of one that has none: its slots are new, and the task's, where nobody else has any."""
UNLOCK: Final = 150_000
WITHDRAW: Final = 86_000
MATURE: Final = 98_000
DROP: Final = 112_000
FUND: Final = 90_000
GRANT: Final = 115_000
CLOSE: Final = 105_000
SHARE_FEES: Final = 128_000
CLAIM: Final = 94_000
CLAIM_STAKE_FEES: Final = 94_000
COMMIT_EXAMPLES: Final = 215_000
PUT_BOND: Final = 120_000
"""Limits of the small transactions: above the dearest that was measured, every slot that may be new counted as new (17,100 each).
Measured were, in thousands, of LOCK 82 to 139 (with votes delegated), FIRST_LOCK 117 to 204 (likewise, the first stake of a task),
UNLOCK 67 to 141 (with fees settled), WITHDRAW 63 to 80, MATURE 59 to 93, DROP 57 to 87 (the last round of a task, with a refund), FUND
49 to 83, GRANT 56 to 74, CLOSE 33 to 81, SHARE_FEES 68 to 102, CLAIM 53 to 70, CLAIM_STAKE_FEES 58 to 72, PUT_BOND 82,
COMMIT_EXAMPLES 166 to 183 (not sealed)."""


def intrinsic_gas(data: bytes) -> int:
    """What a call with this calldata costs before anything runs."""
    zeros = data.count(0)
    return 21_000 + 4 * zeros + 16 * (len(data) - zeros)


def submit_limit(data: bytes, update: Update, shape: Shape) -> int:
    """A gas limit for the submission of `update`, whose calldata is `data`.

    At least what is used, whatever the vault has to count for the account; less than twice that, so free. Raises Refused (GasLimitTooHigh)
    if no block holds it.
    """
    return _limit(submit_need(data, update, shape), COUNTED, 1.9, remedy="send fewer pages")


def submit_need(data: bytes, update: Update, shape: Shape) -> float:
    """What that submission uses where the vault has nothing to count, to within a few per cent."""
    groups = _group_bytes(update, shape)
    header = _words(header_bytes(shape))
    pages = [page for page, _ in update.pages]
    weights = sum(len(values) for _, values in update.pages)
    pool = 40_040 + 303 * shape.group_count + 9 * (header + sum(map(_words, groups)))
    pool += _memory(header + shape.group_count + max(map(_words, groups)))
    aspect = 2_160 + 22.5 * len(shape.tensors) + 5.3 * shape.page_count + 26 * shape.group_count
    aspect += update.encoding.submit_gas * weights
    aspect += 6.8 * len(pages) + 15.8 * sum(len(shape.segments(page)) for page in pages)
    return intrinsic_gas(data) + pool + aspect


def commit_limit(*, first: bool, new: bool) -> int:
    """A gas limit for `commitUpdate`. first: of its round; new: the account has never committed in the task.

    At least what is used, whatever the vault has to count for the account; at most 2.02 times that, so as good as free.
    """
    need = (57_300 if first else 52_200) + (NEW_SLOT if new else 0)
    return _limit(need, COUNTED, 2.0)


def reveal_limit(data: bytes, update: Update, shape: Shape) -> int:
    """A gas limit for `revealUpdate` of `update`, whose calldata is `data`. The vault counted with the commitment: it is not asked again.

    Raises Refused (GasLimitTooHigh) if no block holds it.
    """
    words = _words(len(data))  # handed on to the pool's room, in memory
    need = submit_need(data, update, shape) - 5_200 + 6 * words + words * words / 512
    return _limit(need, 0, 1.9, remedy="send fewer pages")


def claim_bond_limit(data: bytes, updates: int, new: bool) -> int:
    """A gas limit for `claimBond`, whose calldata is `data`, of a round with so many updates. new: the account has no $LL."""
    return _limit(intrinsic_gas(data) + 60_000 + 800 * updates + (NEW_SLOT if new else 0), 0)


def settle_limit(
    data: bytes,
    rule: Rule,
    updates: Sequence[Update],
    shape: Shape,
    group: int,
    *,
    merged: Merged | None,
    rewarded: bool,
    newly_paid: int,
    closing: bool = False,
) -> int:
    """A gas limit for the settlement of one group, whose calldata is `data`.

    rule: the task's. updates: all of the round, or of each what lies in the group.
    merged: what comes of it, in this group at least; None if the base is not known: then every page is taken to change.
    rewarded: whether the task has a reward and a pot to pay it from.
    newly_paid: contributors who have earned nothing in the task yet, and the settler if he has no $LL.
    closing: whether it is the task's last round, whose end pays the rest of the pot out.
    At least what is used, at most 1.8 times that where `merged` is given. Raises Refused (GasLimitTooHigh) if no block holds it.
    """
    need = settle_need(
        data, rule, updates, shape, group, merged=merged, rewarded=rewarded, newly_paid=newly_paid, closing=closing
    )
    return _limit(need, NEW_SLOT if group == shape.group_count - 1 and rewarded else 0)


def settle_need(
    data: bytes,
    rule: Rule,
    updates: Sequence[Update],
    shape: Shape,
    group: int,
    *,
    merged: Merged | None,
    rewarded: bool,
    newly_paid: int,
    closing: bool = False,
) -> float:
    """What that settlement uses, to within a few per cent; the arguments are those of `settle_limit`."""
    count, groups, range_ = len(updates), shape.group_count, shape.group_page_range(group)
    last = group == groups - 1
    header = _words(header_bytes(shape))
    words = [_words(_group_bytes(update, shape)[group]) for update in updates]
    pool = 25_000 + 1_720 * count + 9 * (count * (groups + header) + sum(words))
    pool += _memory(header + groups + max(words, default=0))
    saturated = merged is None or merged.saturated > 0
    if last:
        # Without a reward nothing is paid: an event for each, and nothing for the settler. One slot a contributor otherwise.
        pool += 42_500 + 8_000 * count + NEW_SLOT * newly_paid if rewarded else 18_500 + 2_500 * count
        if closing:
            pool += 28_000 + NEW_SLOT
    elif saturated:
        pool += 22_100  # the task's count of saturated weights begins
    aspect = 1_200 + 8.2 * len(shape.tensors) + count * (100 + 3.2 * len(range_))
    aspect += rule.merge_gas(updates, range_, shape, saturated)
    moved = {page for update in updates for page, _ in update.pages if page in range_}
    changed = moved if merged is None else moved & set(merged.changed_pages)
    aspect += sum(6_330 + 317.4 * shape.page_weights(page) for page in changed)
    if last:
        aspect += 277 * shape.page_count  # the digest of the model takes those of all pages
    return intrinsic_gas(data) + pool + aspect


def open_limit(data: bytes, shape: Shape, model: str) -> int:
    """A gas limit for `openTask`, whose calldata is `data`: the Aspect keeps the shape, an event the model's text. Raises Refused."""
    return _limit(intrinsic_gas(data) + 100_000 + 165 * len(shape.encode()) + 14 * len(model.encode()), 0)


def open_examples_limit(data: bytes, size: int) -> int:
    """A gas limit for `openExamples`, whose calldata is `data`, of a batch of `size` bytes, which the Aspect keeps. Raises Refused."""
    return _limit(intrinsic_gas(data) + 38_000 + 160 * size, 0)


def judging_limit(
    data: bytes,
    shape: Shape,
    network: IntegerNetwork,
    updates: int,
    opened: int,
    judgement: Judgement,
    changed_pages: Sequence[int],
    *,
    newly_paid: int,
    new_records: int,
    closing: bool = False,
) -> int:
    """A gas limit for the settlement of a round by rule `evidence`, whose calldata is `data`. Raises Refused (GasLimitTooHigh).

    opened: examples opened so far. judgement: what comes of it, changed_pages: the pages that it changes. newly_paid: as in `settle_limit`;
    new_records: contributors whose record is 0 so far.
    """
    return _limit(
        judging_need(
            data, shape, network, updates, opened, judgement, changed_pages,
            newly_paid=newly_paid, new_records=new_records, closing=closing,
        ),
        NEW_SLOT,
    )  # fmt: skip


def judging_need(
    data: bytes,
    shape: Shape,
    network: IntegerNetwork,
    updates: int,
    opened: int,
    judgement: Judgement,
    changed_pages: Sequence[int],
    *,
    newly_paid: int,
    new_records: int,
    closing: bool = False,
) -> float:
    """What that settlement uses, to within a tenth or so; the arguments are those of `judging_limit`.

    A forward pass of all opened examples for the base, for each update, and for each size of the step that the guard tries.
    """
    if judgement.halvings is not None:
        tries = judgement.halvings + 1
    else:
        tries = len(HALVINGS) * any(one.outcome is Outcome.GUARDED for one in judgement.verdicts)
    example = 0.6 * network.multiply_adds + 20 * sum(network.widths[1:]) + 100
    need = intrinsic_gas(data) + 35_000.0 + 31_500 * updates + NEW_SLOT * (newly_paid + new_records)
    need += (updates + 1 + tries) * opened * example + 2.6 * (updates + 1) * shape.weight_count
    need += 600 * shape.page_count + sum(6_330 + 317.4 * shape.page_weights(page) for page in changed_pages)
    return need + (28_000 + NEW_SLOT if closing else 0)


def drop_limit(shape: Shape, merged_groups: int) -> int:
    """A gas limit for `drop` of a round of which so many groups are merged: a version is made of them, whose digest takes all pages'."""
    if not merged_groups:
        return DROP
    return min(DROP + 5_000 + 350 * shape.page_count, BLOCK_GAS)


def load_limit(data: bytes, shape: Shape, first_page: int, next_page: int) -> int:
    """A gas limit for `loadPages`, whose calldata is `data`, of pages first_page to next_page - 1. Raises Refused."""
    weights = sum(map(shape.page_weights, range(first_page, next_page)))
    need = intrinsic_gas(data) + 46_000 + 318 * weights + 6_250 * (next_page - first_page)
    if next_page == shape.page_count:
        need += 36_000 + 275 * shape.page_count  # the first version, and the first round opens
    return _limit(need, 0)


def _limit(need: float, surprises: int, most: float = 1.6, remedy: str = "make the groups or pages smaller") -> int:
    """Above the need by a quarter, and by `surprises` as far as that stays free of charge, `most` times; at most what a block holds."""
    if need * 0.95 > BLOCK_GAS:
        raise Refused(
            f"it needs about {need:,.0f} gas and a block holds {BLOCK_GAS:,}; {remedy}",
            reason="GasLimitTooHigh",
            facts={"needed": round(need), "limit": BLOCK_GAS},
        )
    return min(math.ceil(min(1.25 * need + surprises, most * need)), BLOCK_GAS)


def _memory(words: int) -> int:
    """EVM memory; some forty words are in use beside."""
    words += 40
    return 3 * words + words * words // 512


def _words(size: int) -> int:
    return -(-size // 32)


def _group_bytes(update: Update, shape: Shape) -> list[int]:
    """Bytes of each group's pages."""
    sizes = [0] * shape.group_count
    for page, values in update.pages:
        sizes[shape.group_of(page)] += update.encoding.page_bytes(len(values))
    return sizes
