"""Writes dapp/src/starter.bin, the digits that the page ships with, out of scikit-learn's: `python -m tools.starter_digits`.

200 records of a label and 64 pixels (0 to 16), a byte each. The first hundred, ten a label, are mixed into a visitor's own drawings, so
that one handwriting does not unlearn the rest; they are of those that trainers learn from. The others are held out: the page measures on
them.
"""

from pathlib import Path

import numpy as np

from services.trainer import data

PATH = Path(__file__).resolve().parent.parent / "dapp" / "src" / "starter.bin"
EACH = 10
"""Of a label, in each half."""


def records() -> bytes:
    generator = np.random.Generator(np.random.PCG64(3))
    parts = []
    for samples in data.load("digits", data.Shard()):
        pixels = samples.inputs["x"].reshape(len(samples), -1).astype(np.uint8)
        for label in range(10):
            for row in generator.permutation(np.flatnonzero(samples.y == label))[:EACH]:
                parts.append(bytes([label]) + pixels[row].tobytes())
    return b"".join(parts)


if __name__ == "__main__":
    PATH.write_bytes(records())
