"""Three tasks of integer inputs 0..16 (input exponent 4), and how their samples are spread.

digits  scikit-learn's 8 x 8 digits: 64-32-10, 2,410 weights; 75 samples a contributor when they are spread evenly
warp    the same digits turned, sheared, bent and noisy at 12 x 12: 144-32-10, 4,970 weights; 1,600 samples a contributor
modes   20 classes of five clusters each in a random non-linear map: 100-48-20, 5,828 weights; never tuned on
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from linklearner.domain.rules.evidence.network import IntegerNetwork, exponents_of
from linklearner.domain.rules.evidence.verdicts import Examples
from linklearner.domain.shape import Shape, Tensor

EXPONENT = 12
INPUT_EXPONENT = 4
POOL = 400
"""Samples set aside from which the task's creator opens examples."""


@dataclass(frozen=True, eq=False)
class LabTask:
    name: str
    network: IntegerNetwork
    learn: Examples
    test: Examples
    held_back: int
    """Samples of `learn` that nobody uses: the simulation behind the rule's constants validated on them."""
    local_steps: int
    side: int
    """Pixels of a picture's side; 0: the inputs are no picture."""

    @property
    def label_count(self) -> int:
        return self.network.widths[-1]

    def shape(self, norm_bound: int) -> Shape:
        tensors = tuple(Tensor(n, q) for n, q in zip(self.network.tensor_lengths, self.network.exponents, strict=True))
        return Shape(tensors, 16384, 1, norm_bound)

    def initial(self, seed: int = 7) -> NDArray[np.int16]:
        """First weights: normal, variance about 2 / fan-in; biases 0."""
        generator = np.random.default_rng(seed)
        parts: list[NDArray[np.float64]] = []
        for layer, (before, width) in enumerate(zip(self.network.widths, self.network.widths[1:], strict=False)):
            spread = (1.2 if layer == 0 else 1.4) / np.sqrt(before)
            parts += [generator.normal(0, spread, width * before), np.zeros(width)]
        whole: NDArray[np.int16] = np.rint(np.concatenate(parts) * 2**EXPONENT).astype(np.int16)
        return whole


@dataclass(frozen=True, eq=False)
class Spread:
    """shards: the samples of each contributor. pool: from which examples are opened, in order."""

    shards: tuple[Examples, ...]
    pool: Examples


def spread(task: LabTask, contributors: int, alpha: float | None, seed: int) -> Spread:
    """Evenly (alpha None) or by Dirichlet(alpha) over labels, at least 16 samples each."""
    generator = np.random.default_rng(1000 + seed)
    order = generator.permutation(len(task.learn))
    pool, rest = order[:POOL], order[POOL + task.held_back :]
    if alpha is None:
        rows = [list(part) for part in np.array_split(rest, contributors)]
    else:
        rows = [[] for _ in range(contributors)]
        for label in range(task.label_count):
            of_label = rest[task.learn.labels[rest] == label]
            parts = generator.dirichlet(np.full(contributors, alpha))
            cuts = (np.cumsum(parts) * len(of_label)).astype(int)[:-1]
            for row, part in zip(rows, np.split(of_label, cuts), strict=True):
                row.extend(part)
        largest = max(rows, key=len)
        for row in rows:
            while len(row) < 16:
                row.append(largest.pop())
    return Spread(tuple(_taken(task.learn, np.array(row)) for row in rows), _taken(task.learn, pool))


def _taken(examples: Examples, rows: NDArray[np.int64]) -> Examples:
    return Examples(examples.inputs[rows], examples.labels[rows])


def _examples(inputs: NDArray[np.floating], labels: NDArray[np.integer]) -> Examples:
    return Examples(np.rint(inputs).astype(np.int16), labels.astype(np.int64))


def _shuffled_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    found = load_digits()
    order = np.random.default_rng(123).permutation(len(found.target))
    return found.data[order], found.target[order].astype(np.int64)


def _network(*widths: int) -> IntegerNetwork:
    return IntegerNetwork(widths, exponents_of(widths, EXPONENT), INPUT_EXPONENT)


def _digits() -> LabTask:
    pixels, labels = _shuffled_digits()
    learn, test = _examples(pixels[447:], labels[447:]), _examples(pixels[:447], labels[:447])
    return LabTask("digits", _network(64, 32, 10), learn, test, held_back=200, local_steps=30, side=8)


WARPED_SIDE = 12


def _warped(
    images: NDArray[np.float64], labels: NDArray[np.int64], count: int, generator: np.random.Generator
) -> Examples:
    """`count` pictures of 12 x 12: one of the images each, rotated up to 0.3 rad, scaled 0.85 to 1.15, sheared, shifted, bent by two waves,
    dimmed, and with noise of 0.8."""
    chosen = generator.integers(0, len(images), count)
    padded = np.pad(images[chosen], ((0, 0), (3, 3), (3, 3)))
    axis = (np.arange(WARPED_SIDE) - (WARPED_SIDE - 1) / 2) / (WARPED_SIDE / 2) * 4.3
    y, x = (grid.ravel()[None] for grid in np.meshgrid(axis, axis, indexing="ij"))

    def each(low: float, high: float) -> NDArray[np.float64]:
        return generator.uniform(low, high, (count, 1))

    turn, scale, shear = each(-0.3, 0.3), 1 / each(0.85, 1.15), each(-0.2, 0.2)
    across = scale * (np.cos(turn) * x - np.sin(turn) * y) + shear * y + each(-0.7, 0.7)
    down = scale * (np.sin(turn) * x + np.cos(turn) * y) + each(-0.7, 0.7)
    for _ in range(2):
        across = across + 0.22 * np.sin(each(0.3, 0.9) * y + each(0, 6.28))
        down = down + 0.22 * np.sin(each(0.3, 0.9) * x + each(0, 6.28))
    across, down = np.clip(across + 6.5, 0, 12.99), np.clip(down + 6.5, 0, 12.99)
    column, row = across.astype(int), down.astype(int)
    right, below = across - column, down - row
    which = np.arange(count)[:, None]
    values = (
        padded[which, row, column] * (1 - below) * (1 - right)
        + padded[which, row + 1, column] * below * (1 - right)
        + padded[which, row, column + 1] * (1 - below) * right
        + padded[which, row + 1, column + 1] * below * right
    )
    values = values * each(0.6, 1.0) + generator.normal(0, 0.8, values.shape)
    return _examples(np.clip(values, 0, 15), labels[chosen])


def _warp() -> LabTask:
    pixels, labels = _shuffled_digits()
    images = np.clip(pixels, 0, 15).reshape(-1, 8, 8)
    generator = np.random.default_rng(321)
    test = _warped(images[:500], labels[:500], 3000, generator)
    learn = _warped(images[500:], labels[500:], 18_400, generator)
    return LabTask("warp", _network(144, 32, 10), learn, test, held_back=2000, local_steps=40, side=WARPED_SIDE)


def _modes() -> LabTask:
    generator = np.random.default_rng(777)
    classes, latent, count = 20, 10, 21_400
    centres = generator.normal(0, 1.25, (classes * 5, latent))
    first = generator.normal(0, 1 / np.sqrt(latent), (latent, 60))
    second = generator.normal(0, 1 / np.sqrt(60), (60, 100))
    labels = generator.integers(0, classes, count)
    centre = labels * 5 + generator.choice(5, count, p=[0.4, 0.25, 0.15, 0.12, 0.08])
    hidden = np.tanh(1.6 * (centres[centre] + generator.normal(0, 0.42, (count, latent))) @ first)
    values = np.tanh(2 * hidden @ second) + generator.normal(0, 0.12, (count, 100))
    found = _examples(np.clip(7.5 + 6 * values, 0, 15), labels)
    return LabTask("modes", _network(100, 48, 20), found[3000:], found[:3000], held_back=2000, local_steps=40, side=0)


TASKS: dict[str, Callable[[], LabTask]] = {"digits": _digits, "warp": _warp, "modes": _modes}


@cache
def task_named(name: str) -> LabTask:
    return TASKS[name]()
