"""What has been given away of a data set: (epsilon, delta)-differential privacy of Poisson-sampled Gaussian noise, added up.

The accountant is Opacus's, of Rényi differential privacy (Mironov, Talwar and Zhang 2019; converted as Balle et al. 2020 do it). It is an
upper bound without a numerical tolerance, and adds up over trainings with different settings. Opacus's other one (PRV) allows seven
hundredths less noise here, takes seconds, and its sums hold within errors that one has to choose. `import opacus` takes 1.5 s and 116 MB
for layers and optimisers that are not needed: its module of formulas is loaded alone, by its file, at the first question.
"""

import importlib.util
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidConfig, OutOfRange

ORDERS = (1.1, *(1 + x / 4 for x in range(1, 16)), *range(5, 64), 80, 96, 128, 160, 192, 256, 320, 384, 448, 512)
"""Of Rényi's divergence: fewer broken ones than Opacus has (each costs ten whole ones), and greater ones, which small budgets need. Any set
of orders gives a bound; this one is within a hundredth of Opacus's own."""
LEAST_NOISE, MOST_NOISE = 0.1, 1e4
"""Noise multipliers between which one is looked for."""


@dataclass(frozen=True, slots=True, order=True)
class Mechanism:
    """`steps` times: draw each sample with probability `sample_rate`, sum what each gives (at most 1 long), add noise.

    noise_multiplier: standard deviation of the noise of each coordinate, over the greatest length that one sample gives.
    """

    sample_rate: float
    noise_multiplier: float
    steps: int


def epsilon(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """What all of them together spend, at this delta; 0 of none, infinite where nothing bounds it. The same in whatever order."""
    steps: dict[tuple[float, float], int] = {}
    for mechanism in mechanisms:
        key = (mechanism.sample_rate, mechanism.noise_multiplier)
        steps[key] = steps.get(key, 0) + mechanism.steps
    if not any(steps.values()):
        return 0.0
    total = np.zeros(len(ORDERS))
    for key, count in sorted(steps.items()):
        total += _divergences(*key) * count
    with warnings.catch_warnings():  # that another order might be tighter
        warnings.simplefilter("ignore")
        spent, _ = _formulas().get_privacy_spent(orders=ORDERS, rdp=total, delta=delta)
    return max(0.0, float(spent))


@cache
def noise_for(
    target: float, delta: float, *, sample_rate: float, steps: int, beside: tuple[Mechanism, ...] = ()
) -> float:
    """The least noise multiplier, to a thousandth, with which `steps` steps and what is `beside` them stay within epsilon `target`.

    Raises OutOfRange if none does.
    """

    def enough(noise: float) -> bool:
        return epsilon((*beside, Mechanism(sample_rate, noise, steps)), delta) <= target

    low, high = LEAST_NOISE, 1.0
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_NOISE:
            raise OutOfRange(
                f"no noise keeps {steps} steps within epsilon {target} at delta {delta}: plan fewer rounds"
            )
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@cache
def _divergences(sample_rate: float, noise_multiplier: float) -> NDArray[np.float64]:
    """(orders,) float64 of one step. Where Opacus's series for an order does not settle, that order bounds nothing."""
    compute = _formulas().compute_rdp
    found = np.empty(len(ORDERS))
    for place, order in enumerate(ORDERS):
        try:
            value = float(compute(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=float(order)))
        except (ValueError, OverflowError):
            value = math.inf
        # below nothing is only rounding, and a bound that claims less than nothing is none
        found[place] = value if value >= 0 else math.inf
    return found


@cache
def _formulas() -> ModuleType | Any:
    """`opacus.accountants.analysis.rdp`, which needs NumPy and `scipy.special` only. Raises InvalidConfig where Opacus is not installed."""
    package = importlib.util.find_spec("opacus")  # finds, and does not import
    if package is None or not package.submodule_search_locations:
        raise InvalidConfig("privacy is counted by Opacus, which is not installed: pip install 'linklearner[trainer]'")
    path = Path(package.submodule_search_locations[0]) / "accountants" / "analysis" / "rdp.py"
    spec = importlib.util.spec_from_file_location("linklearner_opacus_rdp", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
