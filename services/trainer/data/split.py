"""Which samples are held out, and shards that differ: the same for everybody who has the same data."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidConfig
from services.trainer.data.samples import Samples

HELD_OUT_SHARE: Final = 0.2
SPLIT_SEED: Final = 20_240_613
"""Every trainer must hold out the same samples: a fixed seed, not a setting."""
FEWEST_OF_A_LABEL: Final = 5
"""On average, of whole numbers that are labels: of fewer, a fifth cannot be held out. They are cut as numbers are."""
LEAST_ALPHA: Final = 0.001
MOST_ALPHA: Final = 1e6
"""As `simulate --skew` has it: beyond, draws leave float64 and shards are whatever is left."""
TENTHS: Final = np.arange(1, 10) / 10


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of a source is this trainer's: part `index` of `count`, cut by `seed`."""

    index: int = 0
    count: int = 1
    alpha: float | None = 1.0
    """Dirichlet concentration of each label (of each tenth, for numbers) over the shards; smaller is more skewed; None: alike (IID)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InvalidConfig(f"a shard is INDEX/COUNT with 0 <= INDEX < COUNT, not {self.index}/{self.count}")
        if self.alpha is not None and not LEAST_ALPHA <= self.alpha <= MOST_ALPHA:
            raise InvalidConfig(
                f"Dirichlet's alpha must be between {LEAST_ALPHA} and {MOST_ALPHA:,.0f} (or iid), got {self.alpha}"
            )


def strata(y: NDArray[Any]) -> NDArray[np.int64]:
    """(n,) int64: the group of each sample, which a cut deals out evenly or, on purpose, unevenly.

    Of labels, the label. Of numbers ((n, k) targets, or whole numbers with fewer than FEWEST_OF_A_LABEL samples each), the tenth of the
    samples in which the first of them lies, by size: a regression's shards differ in what they were given to learn, too.
    """
    if y.ndim == 1 and len(y) >= FEWEST_OF_A_LABEL * len(np.unique(y)):
        return y.astype(np.int64, copy=False)
    first = y if y.ndim == 1 else y[:, 0]
    return np.searchsorted(np.quantile(first, TENTHS), first, side="right") if len(first) else first.astype(np.int64)


def hold_out(samples: Samples) -> tuple[Samples, Samples]:
    """(learn, held out): a fifth of each stratum, rounded to nearest but at least one, held out; the same for everybody."""
    generator = np.random.default_rng(SPLIT_SEED)
    held_out = np.zeros(len(samples), dtype=bool)
    groups = strata(samples.y)
    for group in np.unique(groups):
        rows = generator.permutation(np.flatnonzero(groups == group))
        held_out[rows[: max(1, round(HELD_OUT_SHARE * len(rows)))]] = True
    return samples[np.flatnonzero(~held_out)], samples[np.flatnonzero(held_out)]


def shards(y: NDArray[Any], count: int, alpha: float | None, seed: int) -> list[NDArray[np.int64]]:
    """Rows of each of `count` shards: disjoint, together all rows, none empty; the same seed gives the same shards.

    y: (n,) labels or (n, k) targets. alpha: each stratum is dealt out in proportions drawn from Dirichlet(alpha); None deals all rows
    alike. A shard that the draw left empty takes one row from the largest. Raises InvalidConfig for fewer rows than shards.
    """
    if not 1 <= count <= len(y):
        raise InvalidConfig(f"{len(y)} samples cannot be cut into {count} shards")
    generator = np.random.default_rng(seed)
    if alpha is None:
        return [np.sort(part) for part in np.array_split(generator.permutation(len(y)), count)]
    groups = strata(y)
    dealt: list[list[NDArray[np.int64]]] = [[] for _ in range(count)]
    for group in np.unique(groups):
        rows = generator.permutation(np.flatnonzero(groups == group))
        shares = generator.dirichlet(np.full(count, alpha))
        cuts = np.round(np.cumsum(shares[:-1]) * len(rows)).astype(np.int64)
        for hand, some in zip(dealt, np.split(rows, cuts), strict=True):
            hand.append(some)
    parts = [np.concatenate(hand) for hand in dealt]
    for place, part in enumerate(parts):
        if not len(part):
            largest = max(range(count), key=lambda other: len(parts[other]))
            parts[place], parts[largest] = parts[largest][-1:], parts[largest][:-1]
    return [np.sort(part) for part in parts]
