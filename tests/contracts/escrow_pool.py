"""Over which pool the escrow's tests run: a pool and its token as bench/escrow.py's `Tasks` describes it."""

from __future__ import annotations

from bench.escrow import Tasks, TruePool


def escrow_pool() -> Tasks:
    """A new one for each chain."""
    return TruePool()
