"""What the pool's transactions cost, computed instead of asked for.

An Artela node takes seconds over eth_estimateGas, and charges max(used, limit / 2): a limit of up to twice the need is
free. So the need is computed from what goes in. It is

    intrinsic   21,000, 4 for a zero byte of calldata, 16 for another
    pool        EVM gas of TrainingPool and the token: a fixed part; storage slots; keccak and copying of the updates, 9 gas a word;
                memory, 3 M + M^2 / 512 for M words, of which the largest group is the large part (UpdateDigest keeps one scratch copy)
    Aspect      metered WASM instructions of `aggregator`, and 156.25 gas for each byte of state that it writes: 2 bytes a weight, a page's
                digest and key

The coefficients of pool and Aspect are least squares over 1,760 transactions of random shapes (1 to 300 tensors, 1 to 1,200
pages, 1 to 40 groups, both encodings, from no page to all) on the embedded chain, whose gas is an Artela node's; they give
what was used to within a few per cent, and tests/contracts/test_gas_limits.py holds the limits to used <= limit <= 1.8 used.
They belong to these contracts and this Aspect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from linklearner.domain.errors import Refused
from linklearner.domain.rules.rule import Merged, Rule
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update, header_bytes

BLOCK_GAS: Final = 20_000_000
"""No Artela block holds more, so no transaction does."""
NEW_SLOT: Final = 17_100
"""What the first $LL of an account costs beyond further ones: a storage slot that was zero."""

TRANSFER_COIN: Final = 21_000
"""To an account without code."""
TRANSFER_TOKEN: Final = 60_000
LOCK: Final = 112_000
UNLOCK: Final = 110_000
WITHDRAW: Final = 75_000
DROP: Final = 60_000
"""Limits of the small transactions: above the dearest that was measured (34, 57, 47, 45 and 35 thousand at least; 17,100 more for each of
the slots that may be new: the receiver's balance; stake, joining and the pool's balance; leaving, unlocking and the receiver's balance)."""


def intrinsic_gas(data: bytes) -> int:
    """What a call with this calldata costs before anything runs."""
    zeros = data.count(0)
    return 21_000 + 4 * zeros + 16 * (len(data) - zeros)


def submit_limit(data: bytes, update: Update, shape: Shape) -> int:
    """A gas limit for the submission of `update`, whose calldata is `data`.

    At least what is used, at most 1.8 times that. Raises Refused (GasLimitTooHigh) if no block holds it.
    """
    groups = _group_bytes(update, shape)
    header = _words(header_bytes(shape))
    pages = [page for page, _ in update.pages]
    weights = sum(len(values) for _, values in update.pages)
    pool = 72_040 + 303 * shape.group_count + 9 * (header + sum(map(_words, groups)))
    pool += _memory(header + shape.group_count + max(map(_words, groups)))
    aspect = 2_160 + 22.5 * len(shape.tensors) + 5.3 * shape.page_count + 26 * shape.group_count
    aspect += update.encoding.submit_gas * weights
    aspect += 6.8 * len(pages) + 15.8 * sum(len(shape.segments(page)) for page in pages)
    return _limit(intrinsic_gas(data) + pool + aspect, 0)


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
) -> int:
    """A gas limit for the settlement of one group, whose calldata is `data`.

    rule: the task's. updates: all of the round.
    merged: what comes of it, in this group at least; None if the base is not known: then every page is taken to
    change. rewarded: whether the task pays. newly_paid: accounts that have no $LL yet and get some, the settler among them.
    At least what is used, also if that many accounts more give all their $LL away meanwhile as 1.6 times the need has room for; at most
    1.8 times what is used where `merged` is given. Raises Refused (GasLimitTooHigh) if no block holds it.
    """
    count, groups, range_ = len(updates), shape.group_count, shape.group_page_range(group)
    last = group == groups - 1
    header = _words(header_bytes(shape))
    words = [_words(_group_bytes(update, shape)[group]) for update in updates]
    pool = 21_720 + 1_650 * count + 9 * (count * (groups + header) + sum(words))
    pool += _memory(header + groups + max(words, default=0))
    saturated = merged is None or merged.saturated > 0
    if last:
        # Without a reward nothing is minted: an event for each, and nothing for the settler.
        pool += 21_720 + 10_975 * count + NEW_SLOT * newly_paid if rewarded else 13_000 + 2_700 * count
    elif saturated:
        pool += 22_100  # the task's count of saturated weights begins
    aspect = 1_200 + 8.2 * len(shape.tensors) + count * (100 + 3.2 * len(range_))
    aspect += rule.merge_gas(updates, range_, shape, saturated)
    moved = {page for update in updates for page, _ in update.pages if page in range_}
    changed = moved if merged is None else moved & set(merged.changed_pages)
    aspect += sum(6_330 + 317.4 * shape.page_weights(page) for page in changed)
    if last:
        aspect += 277 * shape.page_count  # the digest of the model takes those of all pages
    return _limit(intrinsic_gas(data) + pool + aspect, NEW_SLOT * max(count + 1 - newly_paid, 0) if last else 0)


def _limit(need: float, surprises: int) -> int:
    """Above the need by a quarter, and by `surprises` as far as that stays free of charge; at most what a block holds."""
    if need * 0.95 > BLOCK_GAS:
        raise Refused(
            f"it needs about {need:,.0f} gas and a block holds {BLOCK_GAS:,}; make the groups or pages smaller",
            reason="GasLimitTooHigh",
            facts={"needed": round(need), "limit": BLOCK_GAS},
        )
    return min(math.ceil(min(1.25 * need + surprises, 1.6 * need)), BLOCK_GAS)


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
