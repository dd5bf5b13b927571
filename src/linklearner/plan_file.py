"""A task's plan from the file that somebody wrote, and the first weights beside it."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner import arrays
from linklearner.domain.errors import InvalidConfig, InvalidInput
from linklearner.domain.notation import shown
from linklearner.domain.plan import PLAN_BYTES, TaskPlan
from linklearner.domain.rules.evidence.sets import HEAD, MAX_BYTES, ExampleBatches
from linklearner.domain.rules.evidence.verdicts import MAX_EXAMPLES

EXAMPLES: Final = ".examples"
"""How the name of a file of examples ends."""


def read_plan(path: Path, text: str | bytes | None = None) -> TaskPlan:
    """text: of the file, if it is known, or what is to be taken in its place. Raises InvalidConfig."""
    if text is None:
        text = _read(path, PLAN_BYTES)
    return TaskPlan.from_json(text, lambda name: _weights(path.parent, name), lambda name: _examples(path.parent, name))


def _read(path: Path, most: int) -> bytes:
    """A byte more than `most` at most."""
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"cannot read {shown(str(path))}: {getattr(error, 'strerror', None) or error}") from None


def _examples(folder: Path, name: str) -> ExampleBatches:
    """The examples that judge a task by rule `evidence`: a file in the plan's folder, and nowhere else."""
    if Path(name).name != name or not name.endswith(EXAMPLES):
        raise InvalidConfig(f"examples is the name of an {EXAMPLES} file beside the plan, got {shown(name)}")
    path = folder / name
    if not path.is_file():
        raise InvalidConfig(f"cannot read {shown(str(path))}: it is no file")
    try:
        return ExampleBatches.decode(_read(path, HEAD.size + MAX_BYTES + 2 * MAX_EXAMPLES))
    except InvalidInput as error:
        raise InvalidConfig(f"{path} holds no set of examples: {error.message}") from None


def _weights(folder: Path, name: str) -> NDArray[np.float32]:
    """The first weights of a plan: an .npy file in its folder, and nowhere else."""
    if Path(name).name != name or not name.endswith(".npy"):
        raise InvalidConfig(f"weights is the name of an .npy file beside the plan, got {shown(name)}")
    path = folder / name
    values = arrays.npy(arrays.read(path), path)
    if values.dtype != np.float32 or values.ndim != 1:
        raise InvalidConfig(f"{path} is {values.dtype} {values.shape!s:.40}; first weights are one row of float32")
    return values
