"""The gas goals hold, and every Aspect call costs what an independent count says, to the unit."""

import pytest

from bench.gas.__main__ import FIXED_LIMIT, LIMITS
from bench.gas.interpreter import decode
from bench.gas.measure import GasBench, per_weight
from linklearner import artifacts
from linklearner.domain.encodings import ENCODINGS, INT8, TWO_BITS, Encoding


@pytest.fixture(scope="module")
def bench() -> GasBench:
    return GasBench()


def test_an_update_of_the_smallest_task_alone_in_its_round_stays_below_its_limit(bench: GasBench) -> None:
    """Of an account that has earned in the task before: the first time some storage slots are new."""
    bench.round(1, None)
    assert bench.round(1, None).parts.total <= FIXED_LIMIT


@pytest.mark.parametrize("encoding", ENCODINGS.values())
def test_a_dense_update_stays_below_its_limit_per_weight(bench: GasBench, encoding: Encoding) -> None:
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
