"""The demo's cheat, a program that opens keys, and so a child process here."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from linklearner.domain.errors import Unavailable
from linklearner.suite import Suite

LOG_TAIL_LINES = 20


class CheatProcess:
    """A program of the gateway's (it opens keys) that plays the cheat: on a word it tries everything and says what the chain answered."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    @asynccontextmanager
    async def waiting(cls, suite: Suite, root: Path, folder: Path) -> AsyncIterator[Self]:
        """Started early, so that nobody waits for its imports when its turn comes."""
        log_path = folder / "misbehave.log"
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.chain_gateway.misbehave", "--home", str(folder), "--account", suite.accounts[-1],
                cwd=root, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        try:
            yield cls(process, log_path)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def tries(self, when: str) -> list[dict[str, Any]]:
        """when: submit (after one honest update) or settle (when the round may be settled). Raises Unavailable if the program fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(when.encode() + b"\n")
        attempts: list[dict[str, Any]] = []
        async for raw in self._process.stdout:
            attempt = json.loads(raw)
            if not attempt:
                return attempts
            attempts.append(attempt)
        raise Unavailable(f"the cheat's program failed:\n{tail(self._log)}")


def tail(path: Path) -> str:
    """The end of a log, for an error message."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
