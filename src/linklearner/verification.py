"""`verify`: the chain's history replayed in Python."""

from dataclasses import dataclass
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from linklearner.chain.history import History
from linklearner.domain import events
from linklearner.domain.errors import NotFound
from linklearner.domain.replay import Replay
from linklearner.output import Format, console


@dataclass(frozen=True, kw_only=True)
class HistoryOf:
    """Which history: a chain, a pool on it, where it begins, a task."""

    rpc_url: str
    pool: bytes
    from_block: int
    task: int


async def verified(what: HistoryOf, format: Format) -> dict[str, Any]:
    """Replays the pool's whole history. Raises Divergence, naming block, transaction and field, at the first difference.

    Returns counts and the newest version's digest of the task, for printing. Raises NotFound if the history knows no such task.
    """
    counted = dict.fromkeys((events.UpdateSubmitted, events.ModelUpdated, events.ContributionPaid), 0)
    columns = (SpinnerColumn(), TextColumn("block"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console(format), transient=True) as bar:
        line = bar.add_task("replaying", total=None)
        async with History(what.rpc_url, what.pool, what.from_block) as history:
            replayed = Replay(await history.chain_id(), what.pool)
            async for event in history.events(lambda block, last: bar.update(line, completed=block, total=last)):
                replayed.feed(event)
                if event.task == what.task and type(event) in counted:
                    counted[type(event)] += 1
            replayed.finish()
    task = replayed.tasks.get(what.task)
    if task is None:
        raise NotFound(
            f"the history of pool 0x{what.pool.hex()} from block {what.from_block} on opens no task {what.task}: "
            "are pool, --from-block and --task right?"
        )
    return {
        "task": what.task,
        "versions": counted[events.ModelUpdated],
        "updates": counted[events.UpdateSubmitted],
        "payments": counted[events.ContributionPaid],
        "minted_wei": str(task.paid),
        "newest_version": task.version,
        "digest": "0x" + task.digest.hex(),
        "equal": True,
    }
