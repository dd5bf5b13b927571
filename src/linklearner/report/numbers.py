"""Numbers as a report shows them: short in tiles and on axes, exact where that matters (hover shows it)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from linklearner.domain.notation import LL_WEI, amount_text
from linklearner.report.markup import Markup, element

SHOWN_DECIMALS = 4
"""Of an amount of $LL, rounded down."""


def count(value: float) -> str:
    """12,345."""
    return f"{value:,.0f}"


def compact(value: float) -> str:
    """0, 950, 12.3 k, 4.56 M."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{unit}" if abs(value) < 999.5 * size else f"{value / size:,.0f}{unit}"
    return f"{value:.3g}"


def size(value: float) -> str:
    """Bytes: 950 B, 12.3 kB."""
    return f"{value:.0f} B" if abs(value) < 999.5 else compact(value) + "B"


def share(value: float) -> str:
    """Of 1: 0.953."""
    return f"{value:.3f}"


def share_tick(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if value else "0"


def loss(value: float) -> str:
    return f"{value:.3g}"


def money_text(wei: int) -> str:
    """$LL, at most four decimals, rounded down; a little that is not nothing is said to be so."""
    kept = wei - wei % 10 ** (18 - SHOWN_DECIMALS)
    return amount_text(kept) if kept or not wei else f"< {1 / 10**SHOWN_DECIMALS:g}"


def money(wei: int) -> Markup | str:
    """The same as a cell that knows all decimals."""
    shown, exact = money_text(wei), amount_text(wei)
    return shown if shown == exact else element("abbr", shown, title=f"{exact} $LL")


def in_ll(wei: int) -> float:
    return wei / LL_WEI


def moment(unix_s: int) -> str:
    """2026-11-28 08:51:22 UTC; empty for 0."""
    if not unix_s:
        return ""
    try:
        return datetime.datetime.fromtimestamp(unix_s, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"second {unix_s}"


def reasons(counts: Sequence[tuple[str, int]]) -> str:
    """`3 RoundFull, 1 EmptyUpdate`."""
    return ", ".join(f"{number} {reason}" for reason, number in counts)
