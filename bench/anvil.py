"""anvil, the other chain: for comparing results (tests/differential) and speed (bench/devchain).

The binary comes from npm, pinned by tests/differential/package-lock.json and installed into a cache folder outside the repository.
ANVIL=/path/to/anvil takes another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PINNED = Path(__file__).resolve().parent.parent / "tests" / "differential"


class AnvilUnavailable(Exception):
    """anvil cannot be had here; the message says why in one line."""


def binary() -> Path:
    """The anvil executable, installed on first use. Raises AnvilUnavailable."""
    chosen = os.environ.get("ANVIL")
    if chosen:
        return Path(chosen)
    lock = (_PINNED / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "linklearner" / f"anvil-{hashlib.sha256(lock).hexdigest()[:16]}"
    found = folder / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
    if not found.exists():
        _install(folder)
    return found


def _install(folder: Path) -> None:
    if shutil.which("npm") is None:
        raise AnvilUnavailable("anvil needs Node (npm) once, to be installed; or set ANVIL to the path of one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # installed beside and renamed: a second process sees all of it or nothing
    beside = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(_PINNED / name, beside)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=beside, check=True, capture_output=True, text=True, timeout=300)
        with contextlib.suppress(OSError):  # another process was quicker
            beside.rename(folder)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lines = str(getattr(error, "stderr", None) or error).strip().splitlines()
        reason = next((line for line in lines if " code " in line), lines[-1] if lines else "no reason given")
        raise AnvilUnavailable(f"npm could not install anvil: {reason}; or set ANVIL to the path of one") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def anvil(*arguments: str) -> Iterator[str]:
    """A running anvil; gives its URL. Raises AnvilUnavailable."""
    command = [str(binary()), "--host", "127.0.0.1", "--port", "0", *arguments]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield _listening(process, output.fileno())
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _listening(process: subprocess.Popen[bytes], output: int) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        text = os.pread(output, 1 << 20, 0).decode(errors="replace")
        for line in text.splitlines():
            if line.startswith("Listening on "):
                return f"http://{line.removeprefix('Listening on ').strip()}"
        if process.poll() is not None:
            raise AnvilUnavailable(f"anvil ended at once: {text.strip().splitlines()[-1:]}")
        time.sleep(0.02)
    raise AnvilUnavailable("anvil did not begin to listen within 30 s")
