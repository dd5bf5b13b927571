"""What public knowledge explains of an update: a greedy projection onto what everybody could have seen before it was made.

The memory for account a in round r:
    the references of round r: updates that anybody trains on the examples opened before r's, never merged
    base_k+1 - base_k                          for k = r-8 … r-1
    the non-empty updates of rounds r-8 … r-1  that were no copies, and of which a is no owner

An account owns what it sent, and with it whoever owns the atom that explains most of it, if that explains a quarter: a copy in the
memory must not be held against the account that was copied. Without the exception for an account's own past, honest pay vanishes. It has
at most eight owners: its sender, and the first of those of that atom, the author before all. So a chain of copies cannot make what has to
be kept of a round longer and longer.

res(u), five times: the unused atom with the largest (atom . res)**2 / |atom|**2 (the earliest of equal ones) is orthogonalised against
those taken before and its part subtracted; coefficients are Q14, rounded, and so are the products. An atom that loses 63/64 of its
square to those before it is passed over. `u` is a copy if 20 |res|**2 < |u|**2.

Bounds: atoms are within 2**16 and N <= 2**17, so a product of two vectors is at most 2**48, exact in a float64 and, times 2**14, in an
int64; a vector times a coefficient is at most |u| 2**14 <= 2**40.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput
from linklearner.domain.rules.evidence.verdicts import rounded_shift

MEMORY_ROUNDS: Final = 8
ATOMS: Final = 5
COEFFICIENT_BITS: Final = 14
COPY_FACTOR: Final = 20
"""A copy's residual has less than a twentieth of its square."""
OWNED_FACTOR: Final = 4
LOST_FACTOR: Final = 64
MAX_OWNERS: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """res(u), (N,) int64; whether u is a copy; which atom explains most of it (None: no atom does anything), and whether a quarter."""

    values: NDArray[np.int64]
    copy: bool
    first: int | None
    mostly_first: bool


def _dot(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    return int(a.astype(np.float64) @ b.astype(np.float64))


def _without(vector: NDArray[np.int64], part: NDArray[np.int64], square: int) -> NDArray[np.int64]:
    """vector less its projection on `part`, whose square is `square` > 0."""
    product = _dot(vector, part)
    magnitude = ((abs(product) << COEFFICIENT_BITS) + (square >> 1)) // square
    coefficient = magnitude if product >= 0 else -magnitude
    return vector - rounded_shift(part * coefficient, COEFFICIENT_BITS)


def residual(steps: NDArray[np.int64], atoms: NDArray[np.int64]) -> Residual:
    """steps: (N,) int64, u. atoms: (A, N) int64. The update's own account must own none of them."""
    if steps.ndim != 1 or atoms.shape[1:] != steps.shape:
        raise InvalidInput(f"{atoms.shape} atoms do not go with {steps.shape} steps")
    square = _dot(steps, steps)
    matrix = atoms.astype(np.float64)
    squares = [int(one) for one in np.einsum("ij,ij->i", matrix, matrix)]
    unused = [index for index, one in enumerate(squares) if one]
    left, taken = steps, list[tuple[NDArray[np.int64], int]]()
    first, mostly_first = None, False
    for turn in range(ATOMS):
        products = [int(one) for one in matrix @ left.astype(np.float64)]
        best, numerator, denominator = -1, 0, 1
        for index in unused:
            product, own = products[index], squares[index]
            if product * product * denominator > numerator * own:
                best, numerator, denominator = index, product * product, own
        if best < 0:
            break
        unused.remove(best)
        if turn == 0:
            first, mostly_first = best, OWNED_FACTOR * numerator >= square * denominator
        atom = atoms[best]
        for part, part_square in taken:
            atom = _without(atom, part, part_square)
        rest = _dot(atom, atom)
        if rest * LOST_FACTOR > squares[best]:
            taken.append((atom, rest))
            left = _without(left, atom, rest)
    return Residual(left, COPY_FACTOR * _dot(left, left) < square, first, mostly_first)


@dataclass(frozen=True, slots=True, eq=False)
class Revealed:
    """A settled round as everybody could see it. accounts: of each update. steps: (M, N) int64, u of each. base, after: (N,) int16, before
    and after the merge. references: (R, N) int64."""

    accounts: tuple[bytes, ...]
    steps: NDArray[np.int64]
    base: NDArray[np.int16]
    after: NDArray[np.int16]
    references: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    step: NDArray[np.int64]
    updates: NDArray[np.int64]
    owners: tuple[tuple[bytes, ...], ...]
    of_all: tuple[tuple[bytes, ...], ...]
    """Of all updates of the round, no owners where an update was a copy or empty."""


@dataclass(slots=True)
class Memory:
    """Of one task: what the last eight rounds showed."""

    _rounds: list[_Kept] = field(default_factory=list)

    @property
    def owners(self) -> tuple[tuple[tuple[bytes, ...], ...], ...]:
        """Of the rounds in the memory, oldest first: of each update its owners, none if it was a copy or empty."""
        return tuple(kept.of_all for kept in self._rounds)

    def take(self, round_: Revealed) -> tuple[Residual, ...]:
        """The residuals of a round's updates; afterwards the round is part of the memory. Rounds come in order."""
        public = [*round_.references, *(kept.step for kept in self._rounds)]
        others = [
            (update, owners) for kept in self._rounds for update, owners in zip(kept.updates, kept.owners, strict=True)
        ]
        found, owned = [], []
        for account, steps in zip(round_.accounts, round_.steps, strict=True):
            allowed = [(update, owners) for update, owners in others if account not in owners]
            atoms = [*public, *(update for update, _ in allowed)]
            one = residual(steps, np.array(atoms, dtype=np.int64).reshape(len(atoms), steps.size))
            found.append(one)
            authors: tuple[bytes, ...] = ()
            if one.mostly_first and one.first is not None and one.first >= len(public):
                authors = allowed[one.first - len(public)][1]
            owned.append((*authors[: MAX_OWNERS - 1], account))
        novel = [not one.copy and bool(steps.any()) for one, steps in zip(found, round_.steps, strict=True)]
        step = round_.after.astype(np.int64) - round_.base
        of_all = tuple(one if is_novel else () for one, is_novel in zip(owned, novel, strict=True))
        kept = _Kept(step, round_.steps[np.array(novel, dtype=bool)], tuple(one for one in of_all if one), of_all)
        self._rounds = [*self._rounds, kept][-MEMORY_ROUNDS:]
        return tuple(found)
