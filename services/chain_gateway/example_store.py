"""The examples of our tasks that are not opened yet, in a folder of files that only this account of the machine reads.

Whoever reads one can train on what judges him, and takes the pay of the others with it. A file is named by the root of its set's tree, the
one that the chain has: a set is never mistaken for another, and one that was altered is not used. A file that is copied in from another
gateway's folder is as good as one that was handed in here.
"""

from __future__ import annotations

import os
from collections.abc import Set
from pathlib import Path
from typing import Final

import structlog

from linklearner.domain.errors import InvalidInput, Unavailable
from linklearner.domain.rules.evidence.sets import HEAD, MAX_BYTES, ExampleBatches
from linklearner.domain.rules.evidence.verdicts import MAX_EXAMPLES
from linklearner.storage import write_atomically

SUFFIX: Final = ".examples"
OTHERS: Final = 0o077
"""Permission bits of everybody else."""

log = structlog.get_logger()


class ExampleStore:
    """One folder, made when the first set is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[bytes, ExampleBatches] = {}
        self._told: set[bytes] = set()

    def keep(self, examples: ExampleBatches) -> None:
        """Has the set on the disk when it returns. Raises Unavailable where it cannot be written."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.of(examples.root) is None:
                write_atomically(self._path(examples.root), examples.encode())  # of mode 0600
        except OSError as error:
            raise Unavailable(
                f"the task's examples cannot be kept in {self._folder} ({error.strerror or error}): is its disk full or gone?",
                reason="DatabaseAway",
            ) from error
        self._known[examples.root] = examples

    def of(self, root: bytes) -> ExampleBatches | None:
        """The set with this root, 32 bytes; None where it is not here, or is not what its name says."""
        known = self._known.get(root)
        if known is not None:
            return known
        path = self._path(root)
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(HEAD.size + MAX_BYTES + 2 * MAX_EXAMPLES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._tell(root, "examples_unreadable", path, str(error.strerror or error))
            return None
        if mode & OTHERS:
            self._tell(root, "examples_readable_by_others", path, f"others can train on them: chmod 600 {path}")
        try:
            found = ExampleBatches.decode(data)
        except InvalidInput as error:
            self._tell(root, "examples_damaged", path, error.message)
            return None
        if found.root != root:
            self._tell(root, "examples_damaged", path, f"their root is {found.root.hex()}")
            return None
        self._known[root] = found
        return found

    def among(self, roots: Set[bytes]) -> set[bytes]:
        """Those of the roots whose set is here."""
        try:
            names = {path.name for path in self._folder.iterdir()}
        except OSError:
            return set()
        return {root for root in roots if self._path(root).name in names}

    def _path(self, root: bytes) -> Path:
        return self._folder / (root.hex() + SUFFIX)

    def _tell(self, root: bytes, event: str, path: Path, detail: str) -> None:
        """Once a set: it is looked for at each look of the keeper."""
        if root not in self._told:
            self._told.add(root)
            log.warning(event, path=str(path), detail=detail)
