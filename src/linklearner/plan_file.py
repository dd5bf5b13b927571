"""A task's plan from the file that somebody wrote, and the first weights beside it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linklearner import arrays
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
    return TaskPlan.from_json(text, lambda name: _weights(path.parent, name))


def _weights(folder: Path, name: str) -> NDArray[np.float32]:
    """The first weights of a plan: an .npy file in its folder, and nowhere else."""
    if Path(name).name != name or not name.endswith(".npy"):
        raise InvalidConfig(f"weights is the name of an .npy file beside the plan, got {shown(name)}")
    path = folder / name
    values = arrays.npy(arrays.read(path), path)
    if values.dtype != np.float32 or values.ndim != 1:
        raise InvalidConfig(f"{path} is {values.dtype} {values.shape!s:.40}; first weights are one row of float32")
    return values
