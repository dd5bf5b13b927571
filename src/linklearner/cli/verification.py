"""`verify`: the chain's history replayed in Python."""

from dataclasses import dataclass
from typing import Any

from linklearner.cli.output import Format


@dataclass(frozen=True, kw_only=True)
class HistoryOf:
    """Which history: a chain, a pool on it, where it begins, a task."""

    rpc_url: str
    pool: bytes
    from_block: int
    task: int


async def verified(what: HistoryOf, format: Format) -> dict[str, Any]:
    """Replays everything. Raises Divergence, naming block, transaction and field, at the first difference.

    Returns counts and the digest of the newest version, for printing.
    """
    raise NotImplementedError
