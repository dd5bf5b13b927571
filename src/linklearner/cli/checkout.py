"""Where the services are: programs of the checkout, which the installed package alone does not have."""

import os
from pathlib import Path

from linklearner.domain.errors import InvalidConfig


def checkout() -> Path:
    """The folder that holds `services/`. Raises InvalidConfig where only the wheel is installed."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "services" / "__main__.py").exists():
        raise InvalidConfig(
            "the services run from a checkout of LinkLearner (or from its images), not from the installed package"
        )
    return root


def environment(root: Path) -> dict[str, str]:
    """Of a process that runs a program of the checkout in the caller's own folder: what is named on a command line is relative to that."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))}
