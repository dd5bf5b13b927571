"""A devchain in a process of its own, as a user starts it: for measuring it and for killing it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx
from eth_account import Account
from eth_account.signers.local import LocalAccount

from devchain.accounts import key_file

ROOT = Path(__file__).resolve().parent.parent


class DevchainProcess:
    """`python -m devchain --state FILE`; running inside the `with` block."""

    def __init__(self, state: Path, *arguments: str) -> None:
        self.state = state
        self._command = [sys.executable, "-m", "devchain", "--port", "0", "--state", str(state), *arguments]
        self.url = ""
        self.started_s = 0.0
        """From the command to the first answer."""

    def __enter__(self) -> DevchainProcess:
        begun = time.perf_counter()
        self._output = self.state.with_suffix(".log").open("w+")
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=self._output, stderr=subprocess.STDOUT)
        try:
            self.url = self._await_url(begun + 60)
        except BaseException:
            self.kill()
            raise
        self.started_s = time.perf_counter() - begun
        return self

    def _await_url(self, deadline: float) -> str:
        log = self.state.with_suffix(".log")
        while time.perf_counter() < deadline:
            for word in log.read_text().split():
                if word.startswith("http://"):
                    ask(word, "eth_chainId")
                    return word
            if self._process.poll() is not None:
                raise RuntimeError(f"the devchain ended at once: {log.read_text()}")
            time.sleep(0.005)
        raise RuntimeError("the devchain does not answer within 60 s")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def cpu_s(self) -> float:
        """CPU time that the process has taken so far (Linux)."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def account(self) -> LocalAccount:
        """The first development account."""
        keys = json.loads(key_file(self.state).read_text())
        return Account.from_key(next(iter(keys.values())))

    def kill(self) -> None:
        """As `kill -9`."""
        self._process.kill()
        self._process.wait()
        self._output.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._output.close()


def ask(url: str, method: str, *params: object) -> object:
    """One JSON-RPC question on a connection of its own. Raises RuntimeError with the error's message."""
    answer = httpx.post(
        url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, timeout=30, trust_env=False
    ).json()
    if "error" in answer:
        raise RuntimeError(answer["error"]["message"])
    return answer["result"]
