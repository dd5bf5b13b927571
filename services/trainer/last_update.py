"""A copy of the newest update of a task, for its owner to look at (`linklearner update inspect last`): the journal forgets what is merged.

Only the bytes that leave, in one file a task. It serves nobody but the owner: where it cannot be written, the update goes its way.
"""

from pathlib import Path

import structlog

from linklearner.domain.errors import NotFound
from linklearner.storage import write_atomically

log = structlog.get_logger()


class LastUpdate:
    """The copy in one state folder."""

    def __init__(self, folder: Path, task: int) -> None:
        self._path = folder / f"last-update-{task}.bin"
        self._task = task

    def keep(self, payload: bytes) -> None:
        """Replaces the copy in one step."""
        try:
            write_atomically(self._path, payload)
        except OSError as error:
            log.warning("update_not_kept", path=str(self._path), detail=error.strerror or str(error))

    def read(self) -> bytes:
        """Raises NotFound if there is none."""
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise NotFound(
                f"this trainer has made no update for task {self._task} yet, or kept none ({error.strerror or error})",
                reason="NoUpdate",
            ) from error
