"""An update taken apart: which byte says what. Nothing of an update is left out, so this is all that leaves a contributor's machine."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from linklearner.domain.errors import InvalidUpdate
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update

_HEAD = struct.Struct(">BBQQ")  # as linklearner.domain.update has it; a test holds the two together


@dataclass(frozen=True, slots=True)
class Part:
    """A run of bytes. meaning: in words."""

    offset: int
    data: bytes
    name: str
    meaning: str


@dataclass(frozen=True, slots=True)
class TensorPart:
    """What of one tensor travels. sent, of length: weights. step: what d = 1 adds to a weight, in real units. norm: in real units."""

    name: str
    length: int
    sent: int
    step: float
    norm: float


@dataclass(frozen=True, slots=True)
class Anatomy:
    """parts: without gap or overlap, in order, all bytes of the update. values: how often each d occurs, ascending.

    norm: of the delta in real units. bits: that a weight which travels takes. digest: the update's identity on the chain, 32 bytes.
    """

    update: Update
    parts: tuple[Part, ...]
    tensors: tuple[TensorPart, ...]
    values: tuple[tuple[int, int], ...]
    norm: float
    bits: float
    digest: bytes


def task_of(encoded: bytes) -> int:
    """The task that an update says it is for; nothing else is checked. Raises InvalidUpdate."""
    if len(encoded) < _HEAD.size:
        raise InvalidUpdate(
            f"an update begins with {_HEAD.size} bytes of format, encoding, task and version, not {len(encoded)}"
        )
    task: int = _HEAD.unpack_from(encoded)[2]
    return task


def anatomy(encoded: bytes, shape: Shape, names: Sequence[str] = ()) -> Anatomy:
    """names: of the tensors; numbers if there are none. Raises InvalidUpdate for bytes that are no update of this shape."""
    update = Update.decode(encoded, shape)
    called = list(names) if len(names) == len(shape.tensors) else [str(number) for number in range(len(shape.tensors))]
    delta, real = update.delta(shape), np.ldexp(1.0, -shape.exponents().astype(np.int32))
    moved = delta * real
    values: Counter[int] = Counter()
    sent = np.zeros(shape.weight_count, dtype=bool)
    for page, digits in update.pages:
        values.update(dict(zip(*(found.tolist() for found in np.unique(digits, return_counts=True)), strict=True)))
        sent[shape.page_slice(page)] = True
    tensors = tuple(
        TensorPart(
            name,
            tensor.length,
            int(sent[start : start + tensor.length].sum()),
            2.0 ** (shift - tensor.exponent),
            float(np.linalg.norm(moved[start : start + tensor.length])),
        )
        for name, tensor, shift, start in zip(called, shape.tensors, update.shifts, shape.bounds[:-1], strict=True)
    )
    count = int(sent.sum())
    page_bytes = sum(update.encoding.page_bytes(len(digits)) for _, digits in update.pages)
    return Anatomy(
        update,
        _parts(encoded, update, shape, called),
        tensors,
        tuple(sorted(values.items())),
        float(np.linalg.norm(moved)),
        8 * page_bytes / count if count else 0.0,
        update.digest(shape),
    )


def _parts(encoded: bytes, update: Update, shape: Shape, names: Sequence[str]) -> tuple[Part, ...]:
    encoding = update.encoding
    described: list[tuple[int, str, str]] = [
        (1, "format", "the format of updates"),
        (1, "encoding", f"{encoding.name}: a weight d is one of {_values(encoding.values)}"),
        (8, "task", f"task {update.task}"),
        (8, "base version", f"trained from version {update.base_version} of the weights, which everybody has"),
    ]
    described += [
        (
            1,
            f"shift {name}",
            f"2^{shift} steps of 2^-{tensor.exponent}: d = 1 adds {2.0 ** (shift - tensor.exponent):g} to a weight",
        )
        for name, shift, tensor in zip(names, update.shifts, shape.tensors, strict=True)
    ]
    described.append(
        (-(-shape.page_count // 8), "bitmap", f"{len(update.pages)} of {shape.page_count} pages follow, a bit each")
    )
    for page, values in update.pages:
        place = shape.page_slice(page)
        of = ", ".join(
            f"{names[tensor]}[{start - shape.bounds[tensor]}:{stop - shape.bounds[tensor]}]"
            for tensor, start, stop in shape.segments(page)
        )
        described.append(
            (encoding.page_bytes(len(values)), f"page {page}", f"weights {place.start} to {place.stop - 1}: {of}")
        )
    offsets = accumulate((length for length, _, _ in described), initial=0)
    return tuple(
        Part(offset, encoded[offset : offset + length], name, meaning)
        for offset, (length, name, meaning) in zip(offsets, described, strict=False)
    )


def _values(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values)) if len(values) <= 8 else f"{values[0]} to {values[-1]}"
