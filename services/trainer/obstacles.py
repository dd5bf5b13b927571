"""Why a trainer does not contribute just now: said before it trains, so that nobody's machine works for a round that cannot take it."""

from __future__ import annotations

from dataclasses import dataclass

from linklearner.domain.notation import UNIT_WEI, amount_text
from linklearner.domain.rounds import Phase, Step
from linklearner.domain.tasks import StakeStatus, Task

CLOSED = "TaskClosed"
POT_EMPTY = "PotEmpty"
NEXT_ROUND = "NextRound"
OTHER_TASK = "OtherTask"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """reason: a stable name. from_s: Unix seconds from which on it may be gone; 0: when somebody does something."""

    reason: str
    detail: str
    from_s: int = 0


def obstacle(task: Task, stake: StakeStatus, now_s: float, *, only_paid: bool) -> Obstacle | None:
    """What keeps an account with this stake from contributing to the open round of a task; None: nothing does."""
    number, status, terms = task.task, task.round, task.terms
    if task.closed:
        return Obstacle(CLOSED, f"task {number} is closed: no round opens any more")
    if status.round == 0:
        return Obstacle("NoModelYet", f"the first weights of task {number} are still being loaded")
    if status.phase is Phase.SETTLING:
        return Obstacle("RoundSettling", f"round {status.round} is being merged: the next one opens then")
    closes_s = next((due.until_s for due in status.due if due.step is Step.ACCEPTED), 0)
    if status.phase is Phase.OPENED or (closes_s and now_s >= closes_s):
        return Obstacle(
            "PhaseOver",
            f"round {status.round} takes no more updates: the examples that judge it are opened next, then it is settled",
        )
    if status.accepted >= terms.max_updates:
        return Obstacle("RoundFull", f"round {status.round} has the {terms.max_updates} updates that it takes")
    least = terms.floor(status.eligible)
    if stake.eligible < max(least, 1):
        return _too_little(task, stake, max(least, 1), now_s)
    if only_paid and not task.pot:
        return Obstacle(POT_EMPTY, f"the pot of task {number} is empty, and this trainer works only where it is paid")
    return None


def _too_little(task: Task, stake: StakeStatus, least: int, now_s: float) -> Obstacle:
    counts = (
        f"{_ll(stake.eligible)} $LL of this account count in round {task.round.round}, and an update takes {_ll(least)}"
    )
    if stake.locked < least:
        return Obstacle("NotEnoughLocked", f"{counts}: lock more with `linklearner stake lock`")
    if stake.matures_s > now_s:
        soon = f"{stake.matures_s - now_s:.0f} s"
        return Obstacle(
            "StakeNotMature", f"{counts}: {_ll(stake.locked)} count in rounds that open in {soon}", stake.matures_s
        )
    return Obstacle("StakeNextRound", f"{counts}: {_ll(stake.locked)} count from the next round on")


def _ll(units: int) -> str:
    return amount_text(units * UNIT_WEI)
