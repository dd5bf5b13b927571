"""A task's plan from the file that somebody wrote."""

from pathlib import Path

from linklearner.domain.errors import InvalidConfig
from linklearner.domain.notation import shown
from linklearner.domain.plan import PLAN_BYTES, TaskPlan


def read_plan(path: Path) -> TaskPlan:
    """Raises InvalidConfig."""
    try:
        with path.open("rb") as file:
            text = file.read(PLAN_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"cannot read {shown(str(path))}: {getattr(error, 'strerror', None) or error}") from None
    return TaskPlan.from_json(text)
