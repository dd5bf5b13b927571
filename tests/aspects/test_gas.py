"""The gas goals hold, and every Aspect call costs what an independent count says, to the unit."""

import pytest

from bench.gas.__main__ import FIXED_LIMITS, LIMITS
from bench.gas.interpreter import decode
from bench.gas.measure import GasBench, per_weight
from linklearner import artifacts
from linklearner.domain.encodings import ENCODINGS, INT8, TWO_BITS, Encoding


@pytest.fixture(scope="module")
def bench() -> GasBench:
    return GasBench()


FIRST_LIMIT = 215_000
"""Of an update alone in its round: storage slots that are new when its account first earns in the task cost 17,100 each."""


def test_an_update_of_the_smallest_task_stays_below_its_limit(bench: GasBench) -> None:
    assert bench.round(1, None).parts.total <= FIRST_LIMIT
    assert bench.round(1, None).parts.total <= FIXED_LIMITS[1]
    bench.round(5, None)
    assert bench.round(5, None).parts.total <= FIXED_LIMITS[5]


@pytest.mark.parametrize("encoding", ENCODINGS.values())
def test_a_dense_update_stays_below_its_limit_per_weight(bench: GasBench, encoding: Encoding) -> None:
    for warm in (encoding, None):  # an account's first pay in a task takes a new slot
        bench.round(5, warm)
    dense, empty = bench.round(5, encoding), bench.round(5, None)
    assert per_weight(dense, empty).total <= LIMITS[encoding, 5]


def test_every_aspect_call_costs_what_the_rules_say_to_the_unit(bench: GasBench) -> None:
    bench.round(3, TWO_BITS)
    bench.round(2, INT8)
    calls = bench.predictions
    assert len(calls) > 7
    assert [call.predicted for call in calls] == [call.measured for call in calls]


def test_the_aspect_starts_with_all_the_memory_it_will_have() -> None:
    module = decode(artifacts.aspect("aggregator"))  # refuses code that grows memory
    assert module.pages == 160
