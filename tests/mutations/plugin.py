"""pytest plugin: artifacts come from the folder in MUTANT_ARTIFACTS instead of the committed ones."""

import os
from pathlib import Path

from linklearner import artifacts

_FOLDER = Path(os.environ["MUTANT_ARTIFACTS"])


def _read(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


artifacts._read = _read
