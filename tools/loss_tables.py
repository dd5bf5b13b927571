"""Writes the loss tables of rule `evidence`: `python -m tools.loss_tables`. A test holds the committed files to it.

    EXP[i] = round(65535 e^(-i/32)), i = 0..255
    LN[i]  = floor(4096 ln(i / 1023.99)), i = 1023..LAST, LAST the first i whose value reaches 4 nats: no loss is larger

In decimal arithmetic of 30 digits, far beyond what any entry needs. LN is kept as its increments, which are 0 to 5, compressed. The Aspect
has no room for 55,000 numbers in its code and works each out (aspects/aggregator/rules/evidence/loss.ts); a test compares every entry.
"""

from __future__ import annotations

import base64
import textwrap
import zlib
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / "src/linklearner/domain/rules/evidence/tables.py"
ASPECT = ROOT / "aspects/aggregator/rules/evidence/tables.ts"

FIRST = 1023
CAP = 4 << 12


def exponentials() -> list[int]:
    with localcontext(prec=30):
        return [int((65535 * (Decimal(-i) / 32).exp()).to_integral_value(ROUND_HALF_UP)) for i in range(256)]


def logarithms() -> list[int]:
    """From FIRST on, up to the first that is at least CAP."""
    found: list[int] = []
    with localcontext(prec=30):
        while not found or found[-1] < CAP:
            ratio = Decimal(FIRST + len(found)) / Decimal("1023.99")
            found.append(int((4096 * ratio.ln()).to_integral_value(ROUND_FLOOR)))
    return found


def python_text() -> str:
    ln = logarithms()
    increments = bytes(after - before for before, after in zip([ln[0], *ln], ln, strict=False))
    packed = base64.b64encode(zlib.compress(increments, 9)).decode()
    exp = textwrap.fill(", ".join(map(str, exponentials())), 112)
    lines = [
        '"""The loss tables of rule `evidence`. Written by tools/loss_tables.py: do not edit."""',
        "",
        "import base64",
        "import zlib",
        "from typing import Final",
        "",
        "import numpy as np",
        "from numpy.typing import NDArray",
        "",
        "# fmt: off",
        "EXP: Final[NDArray[np.int64]] = np.array(",
        "    [",
        textwrap.indent(exp, "        ") + ",",
        "    ],",
        "    dtype=np.int64,",
        ")",
        "# fmt: on",
        '"""round(65535 e**(-i/32)), i = 0..255."""',
        f"FIRST: Final = {FIRST}",
        '"""The index of the first entry of LN."""',
        "_INCREMENTS = (",
        *(f'    b"{part}"' for part in textwrap.wrap(packed, 112)),
        ")",
        f"LN: Final[NDArray[np.int64]] = {ln[0]} + np.cumsum(",
        "    np.frombuffer(zlib.decompress(base64.b64decode(_INCREMENTS)), dtype=np.uint8), dtype=np.int64",
        ")",
        '"""floor(4096 ln(i / 1023.99)) for i = FIRST + 0, 1, …; the last is the first that reaches 4 nats."""',
    ]
    return "\n".join(lines) + "\n"


MIDDLES = range(32, 64)
PLACES = 44


def aspect_text() -> str:
    with localcontext(prec=30):
        one = Decimal(2**PLACES)
        middles = [int((one * ((j + Decimal("0.5")) / Decimal("1023.99")).ln()).to_integral_value()) for j in MIDDLES]
        double = int((one * Decimal(2).ln()).to_integral_value())
    exp = textwrap.fill(", ".join(map(str, exponentials())), 130)
    logs = textwrap.fill(", ".join(map(str, middles)), 130)
    return f"""// The loss tables of rule `evidence`. Written by tools/loss_tables.py: do not edit.

/** round(65535 e^(-i/32)), i = 0..255. */
export const EXP: usize = memory.data<u16>([
{textwrap.indent(exp, "  ")},
]);
/** ln((j + 1/2) / 1023.99) in 2^-{PLACES}, j = {MIDDLES[0]}..{MIDDLES[-1]}. */
export const MIDDLES: usize = memory.data<i64>([
{textwrap.indent(logs, "  ")},
]);
/** ln 2 in 2^-{PLACES}. */
export const LN2: i64 = {double};
/** The first index of the logarithms, floor(4096 ln(i / 1023.99)), and the one from which on they are 4 nats or more. */
export const FIRST: u32 = {FIRST};
export const LAST: u32 = {FIRST + len(logarithms()) - 1};
"""


if __name__ == "__main__":
    PYTHON.write_text(python_text())
    ASPECT.parent.mkdir(parents=True, exist_ok=True)
    ASPECT.write_text(aspect_text())
