"""How fast ten updates are merged in one thread, beside Flower: `python -m bench.merge`.

Ours is everything from the updates' bytes to the next version's weights: canonical decoding, then rule `mean` in integers, bit for bit as
the chain does it. Flower's is its own code (flwr from PyPI), in an interpreter of its own, in turns with ours, so that the machine's moods
hit both: `aggregate`, which its strategies call with float32 arrays in memory, and the same behind what it takes to get those arrays out of
a message (`parameters_to_ndarrays`). Both on an MLP's tensors, and with one thread.

Printed are millions of weights a second, 10 updates of N weights in t seconds being 10 N / t, the best of the turns. Flower's environment:

    python -m venv .peers/flower && .peers/flower/bin/python -m pip install flwr==1.41.0

Ends with status 1 if the goal is missed: at least 150 M weights a second at 100 k and at 1 M. With --json one JSON document instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.pool_rounds import some_update, some_weights
from bench.process import ROOT
from linklearner.domain.encodings import ENCODINGS, Encoding
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Contribution
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update

UPDATES = 10
SIZES = (6_370, 100_000, 1_000_000, 10_000_000)
PAGE_LENGTH = 16_384
JUDGED = (100_000, 1_000_000)
LEAST = 150e6
"""Weights a second."""
TURNS = 7
FLOWER = ROOT / ".peers" / "flower" / "bin" / "python"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

# What runs in Flower's interpreter: a line with tensor lengths in, then one line of seconds for each empty line.
FLOWER_SIDE = """
import json, sys, time
from importlib.metadata import version
import numpy as np
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.strategy.aggregate import aggregate
print(version("flwr"), flush=True)
for line in sys.stdin:
    if line.strip():
        lengths = json.loads(line)
        generator = np.random.default_rng(1)
        arrays = [[generator.normal(size=n).astype(np.float32) for n in lengths] for _ in range(int(sys.argv[1]))]
        messages = [ndarrays_to_parameters(one) for one in arrays]
    begun = time.perf_counter()
    aggregate([(one, 900 + number) for number, one in enumerate(arrays)])
    in_memory = time.perf_counter() - begun
    begun = time.perf_counter()
    aggregate([(parameters_to_ndarrays(one), 900 + number) for number, one in enumerate(messages)])
    print(json.dumps([in_memory, time.perf_counter() - begun]), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Ten dense updates of one size, as bytes, and the weights that they are merged into."""

    shape: Shape
    encoded: tuple[bytes, ...]
    weights: np.ndarray

    @classmethod
    def of(cls, size: int, encoding: Encoding) -> Case:
        shape = Shape(tuple(Tensor(length, 12) for length in tensor_lengths(size)), PAGE_LENGTH, 1, 2**31)
        found = tuple(some_update(shape, 1, 1, seed, encoding=encoding).encode(shape) for seed in range(UPDATES))
        return cls(shape, found, some_weights(shape))

    def seconds(self) -> float:
        begun = time.perf_counter()
        contributions = [
            Contribution(bytes(20), 1000 + number, 900 + number, Update.decode(data, self.shape))
            for number, data in enumerate(self.encoded)
        ]
        MEAN.merge(self.weights, contributions, 1100 * UPDATES, self.shape)
        return time.perf_counter() - begun


def tensor_lengths(size: int) -> list[int]:
    """Of an MLP's weights and biases, about as they are in one of that size; together `size`."""
    biases = max(1, int(size**0.5) // 2)
    first = size // 10
    return [first, biases, size - first - 2 * biases - 60, biases, 50, 10]


class Flower:
    """Flower's side, in its own interpreter; running inside the `with` block."""

    def __init__(self, python: Path) -> None:
        self._python = python

    def __enter__(self) -> Flower:
        self._process = subprocess.Popen(
            [str(self._python), "-c", FLOWER_SIDE, str(UPDATES)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **ONE_THREAD},
        )  # fmt: skip
        self.version = self._line()
        return self

    def take(self, lengths: list[int]) -> tuple[float, float]:
        """New arrays of these lengths, and one turn with them."""
        return self._ask(json.dumps(lengths))

    def turn(self) -> tuple[float, float]:
        """Seconds of `aggregate` with arrays in memory, and from messages."""
        return self._ask("")

    def _ask(self, line: str) -> tuple[float, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        in_memory, from_messages = json.loads(self._line())
        return in_memory, from_messages

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{self._python} ended: does it have flwr? See `python -m bench.merge --help`")
        return line

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def measure(size: int, flower: Flower | None, turns: int = TURNS) -> dict[str, float]:
    """Weights a second, by row: the best of the turns."""
    cases = {encoding.name: Case.of(size, encoding) for encoding in ENCODINGS.values()}
    best = {name: case.seconds() for name, case in cases.items()}
    if flower is not None:
        best["aggregate"], best["from messages"] = flower.take(tensor_lengths(size))
    for _ in range(turns):
        for name, case in cases.items():
            best[name] = min(best[name], case.seconds())
        if flower is not None:
            in_memory, from_messages = flower.turn()
            best["aggregate"] = min(best["aggregate"], in_memory)
            best["from messages"] = min(best["from messages"], from_messages)
    return {name: UPDATES * size / seconds for name, seconds in best.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench.merge", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="weights, 1,000 or more")
    parser.add_argument("--flower", type=Path, default=FLOWER, help="an interpreter that has flwr")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    version = ""
    if options.flower.exists():
        with Flower(options.flower) as flower:
            version = flower.version
            found = {size: measure(size, flower, options.turns) for size in options.sizes}
    else:
        found = {size: measure(size, None, options.turns) for size in options.sizes}
    holds = all(min(found[size][e.name] for e in ENCODINGS.values()) >= LEAST for size in JUDGED if size in found)
    if options.json:
        print(json.dumps({"flower": version, "weights_per_second": found, "holds": holds}))
        return 0 if holds else 1
    console = Console()
    names = {encoding.name: f"ours, {encoding.name}, decoding included" for encoding in ENCODINGS.values()}
    names |= {"aggregate": f"Flower {version}, arrays in memory", "from messages": f"Flower {version}, from messages"}
    table = Table(title=f"Merging {UPDATES} updates, one thread, M weights/s", title_justify="left")
    table.add_column("")
    for size in found:
        table.add_column(f"{size:,}", justify="right")
    for name, shown in names.items():
        if all(name in rates for rates in found.values()):
            table.add_row(shown, *(f"{rates[name] / 1e6:.0f}" for rates in found.values()))
    console.print(table)
    if not version:
        console.print(f"{options.flower} does not exist, so Flower is not shown: see --help for how to install it.")
    console.print(
        f"Goal: at least {LEAST / 1e6:.0f} at {' and '.join(f'{size:,}' for size in JUDGED)}: {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    if any(os.environ.get(name) != count for name, count in ONE_THREAD.items()):  # read when numpy is imported
        os.execve(sys.executable, [sys.executable, "-m", "bench.merge", *sys.argv[1:]], {**os.environ, **ONE_THREAD})
    sys.exit(main())
