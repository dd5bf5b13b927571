"""What a local training is, on disk after nearly every step, so that a process killed at any moment goes on where it was.

One file for each account in a task, with two slots. A state goes into the slot that does not hold the last one, in one write, with a
checksum over all of it: a write that was cut short leaves a slot that does not check and the other one as it was. What was written survives
the death of the process at once, since it is the system's then; and a crash of the machine from the next `fdatasync` on, which costs
milliseconds and so comes every SYNC_S and at each pause.

How often: as often as at most SHARE of the training's time goes into it. A state of the digits' model (2,410 weights, 29 kB) takes some
20 microseconds and is written after every step; one of 10**6 weights (12 MB) takes some 12 ms and is written every few steps.

A state is only good for the very training that it was taken from: each slot carries a key, a digest of everything that the training
follows from. Nothing here is worth more than the time that it saves: what cannot be read is as good as absent, and a disk that takes
nothing ends the writing, not the training. The file says as much of the samples as weights trained on them say: mode 0600.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from services.trainer.data import Samples
from services.trainer.training import LocalState

SHARE: Final = 0.1
"""Of a training's time that goes into writing at most."""
SYNC_S: Final = 10.0
MOST_BUFFERS: Final = 2
"""That an optimiser keeps."""

_MAGIC: Final = b"LLstate1"
_HEAD: Final = struct.Struct("<8s32sQQQddQQ")
"""Magic, key, sequence, step, reported, total, seconds, numbers of weights and of buffers; the arrays follow, and a CRC-32 of it all."""
_CHECK: Final = struct.Struct("<I")
_PAGE: Final = 4096

log = structlog.get_logger()


def key_of(*parts: object) -> bytes:
    """32 bytes: what a training follows from, in its parts' `repr`; bytes stand for themselves."""
    texts = [part.hex() if isinstance(part, bytes) else repr(part) for part in parts]
    return hashlib.sha256(json.dumps(texts).encode()).digest()


def digest_of(samples: Samples) -> bytes:
    """32 bytes, of all values, their order, and what the data calls its labels."""
    digest = hashlib.blake2b(repr(samples.names).encode(), digest_size=32)
    for name, array in (*sorted(samples.inputs.items()), ("", samples.y)):
        digest.update(f"{name!r} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


class Checkpoint:
    """Of one training."""

    def __init__(self, path: Path, key: bytes, *, clock: Callable[[], float] = time.thread_time) -> None:
        """key: 32 bytes. clock: seconds that the calling thread has computed. The file is made when there is something to write."""
        self._path = path
        self._key = key
        self._clock = clock
        self._file: int | None = None
        self._sequence = 0
        self._step = -1
        self._written = float("-inf")  # not the clock's: it is of the thread that asks, and training has one of its own
        self._synced = time.monotonic()
        self._cost_s = 0.0
        self._failed = False

    @classmethod
    def at(cls, folder: Path, scope: str, key: bytes) -> Checkpoint:
        """scope: whose training it is, one account in one task of one chain."""
        return cls(folder / f"training-{hashlib.sha256(scope.encode()).hexdigest()[:16]}.state", key)

    def read(self, weight_count: int) -> LocalState | None:
        """The last state of this training that is whole; None if there is none."""
        found = self._slots(weight_count)
        if not found:
            return None
        self._sequence, state = max(found, key=lambda slot: slot[0])
        self._step = state.step
        return state

    def due(self, step: int) -> bool:
        """Whether the state after so many steps is worth writing: it is not there yet, and there is time for it again."""
        return not self._failed and step != self._step and self._clock() - self._written >= self._cost_s / SHARE

    def write(self, state: LocalState, *, durably: bool = False) -> None:
        """durably: also over a crash of the machine. Does nothing on a disk that takes nothing, and says so once."""
        if self._failed:
            return
        started = self._clock()
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            if state.step != self._step:
                self._put(self._file, state)
                self._step = state.step
                self._cost_s = self._clock() - started
            if durably or time.monotonic() - self._synced >= SYNC_S:
                getattr(os, "fdatasync", os.fsync)(self._file)  # macOS has only the latter
                self._synced = time.monotonic()
        except OSError as error:
            self._failed = True
            log.warning(
                "checkpoint_impossible", detail=f"{self._path}: {error.strerror or error}; the training goes on"
            )
        self._written = self._clock()

    def drop(self) -> None:
        """The training is over, or has become worthless."""
        self.close()
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:  # its key is not that of any other training, and the next one overwrites it
            log.warning("checkpoint_left", detail=f"{self._path}: {error.strerror or error}")

    def close(self) -> None:
        """What is written stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _put(self, file: int, state: LocalState) -> None:
        self._sequence += 1
        head = _HEAD.pack(
            _MAGIC,
            self._key,
            self._sequence,
            state.step,
            state.reported,
            state.total,
            state.seconds,
            len(state.weights),
            len(state.buffers),
        )
        pieces: list[bytes | memoryview] = [head, *map(_little, (state.weights, *state.buffers))]
        check = 0
        for piece in pieces:
            check = zlib.crc32(piece, check)
        pieces.append(_CHECK.pack(check))
        at = (self._sequence % 2) * _slot_bytes(len(state.weights))
        wanted = sum(map(len, pieces))
        if os.pwritev(file, pieces, at) != wanted:
            raise OSError(28, "only a part of it was written")  # ENOSPC: what a full disk answers to the rest

    def _slots(self, weight_count: int) -> list[tuple[int, LocalState]]:
        slot = _slot_bytes(weight_count)
        try:
            if self._path.stat().st_size > 2 * slot:
                return []
            data = self._path.read_bytes()
        except OSError:
            return []
        return [whole for at in (0, slot) if (whole := _whole(data, at, self._key, weight_count)) is not None]


def _whole(data: bytes, at: int, key: bytes, weight_count: int) -> tuple[int, LocalState] | None:
    """(sequence, state) of the slot there, if it is one of this training and was written to its end."""
    if len(data) < at + _HEAD.size:
        return None
    magic, of, sequence, step, reported, total, seconds, length, buffers = _HEAD.unpack_from(data, at)
    if (magic, of, length) != (_MAGIC, key, weight_count) or buffers > MOST_BUFFERS:
        return None
    body = at + _HEAD.size
    end = body + 4 * length * (1 + buffers)
    if len(data) < end + _CHECK.size or _CHECK.unpack_from(data, end) != (zlib.crc32(memoryview(data)[at:end]),):
        return None
    arrays = np.frombuffer(data, "<f4", length * (1 + buffers), body).astype(np.float32).reshape(1 + buffers, length)
    if not (np.isfinite(arrays).all() and np.isfinite((total, seconds)).all()):
        return None  # going on from it, every attempt would fail
    return sequence, LocalState(step, seconds, reported, total, arrays[0], tuple(arrays[1:]))


def _slot_bytes(weight_count: int) -> int:
    wanted = _HEAD.size + 4 * weight_count * (1 + MOST_BUFFERS) + _CHECK.size
    return -(-wanted // _PAGE) * _PAGE


def _little(array: NDArray[np.float32]) -> memoryview:
    """Its bytes; a copy only where this machine writes numbers the other way round."""
    return np.ascontiguousarray(array, dtype="<f4").data.cast("B")
