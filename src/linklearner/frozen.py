"""Tensors that a model takes from files which everybody fetches for himself: found by their SHA-256, read without running anything.

A folder of safetensors files under any names. The format is a length, JSON and plain numbers; its reader is the reference one, which
checks lengths against the file, and it opens only a file whose digest the task's graph names.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from linklearner.domain.errors import InvalidConfig
from linklearner.domain.graph import Frozen

FROZEN_MISSING: Final = "FrozenMissing"
MAX_FILE_BYTES: Final = 1 << 34
MAX_FILES: Final = 1000


def digest_of(path: Path) -> bytes:
    """SHA-256, 32 bytes, read anew only where the file has changed: a base has gigabytes, and each round asks. Raises OSError."""
    state = path.stat()
    return _digest_of(path, state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=MAX_FILES)
def _digest_of(path: Path, size: int, changed_ns: int, inode: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def read(folder: Path, tensors: Iterable[Frozen]) -> dict[str, NDArray[np.float32]]:
    """The tensors by their names in the graph, float32 (float16 becomes it exactly).

    Only files named *.safetensors in `folder` are looked at. Raises InvalidConfig (reason FrozenMissing) if one is not there, and
    InvalidConfig for a file that does not hold what the graph says.
    """
    wanted = tuple(tensors)
    if not wanted:
        return {}
    files = _files(folder, {tensor.file for tensor in wanted})
    found: dict[str, NDArray[np.float32]] = {}
    for file, path in files.items():
        try:
            with safe_open(path, framework="numpy") as opened:
                for tensor in wanted:
                    if tensor.file == file:
                        found[tensor.name] = _checked(tensor, np.asarray(opened.get_tensor(tensor.tensor)), path)
        except (SafetensorError, OSError) as error:
            raise InvalidConfig(
                f"{path} cannot be read as the safetensors file that the task names: {error}"
            ) from error
    return found


def _checked(tensor: Frozen, values: NDArray[np.generic], path: Path) -> NDArray[np.float32]:
    if values.dtype not in (np.float32, np.float16) or values.shape != tensor.dimensions:
        raise InvalidConfig(
            f"{path}: tensor {tensor.tensor!r:.60} is {values.dtype} {values.shape}, the task's model says float32 {tensor.dimensions}"
        )
    numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise InvalidConfig(f"{path}: tensor {tensor.tensor!r:.60} holds NaN or infinity")
    return numbers


def _files(folder: Path, digests: set[bytes]) -> dict[bytes, Path]:
    found: dict[bytes, Path] = {}
    try:
        candidates = sorted(folder.glob("*.safetensors"))[:MAX_FILES]
        for path in candidates:
            if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
                digest = digest_of(path)
                if digest in digests:
                    found[digest] = path
    except OSError as error:
        raise InvalidConfig(f"the folder of frozen tensors, {folder}, cannot be read: {error}") from error
    missing = digests - found.keys()
    if missing:
        raise InvalidConfig(
            f"the task's model stands on a frozen base: fetch the safetensors file with SHA-256 {min(missing).hex()} from where the task's "
            f"creator offers it, and put it into {folder} (the setting `frozen`)",
            reason=FROZEN_MISSING,
        )
    return found
