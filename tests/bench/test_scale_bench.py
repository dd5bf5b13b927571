"""A model larger than FLoBC's record, through real processes from its first page to `verify`; and how growth is computed."""

import math

from bench import scale
from bench.models import digits_mlp_of
from linklearner import log
from linklearner.domain.capacity import CALLDATA, GAS


async def test_a_model_larger_than_the_record_is_trained_without_permission_in_ordinary_blocks() -> None:
    """Chain and gateway are processes, the keeper settles, trainers take real gradient steps; `measure` raises unless `verify` agrees."""
    log.configure(service="test", level="error")
    found = await scale.measure(scale.FLOBC, rounds=2, contributors=2, steps=10, mining="instant")
    assert found.weights > scale.FLOBC and found.groups > 10
    assert found.accuracy > 0.6  # of ten labels, after two rounds of ten steps
    for phase in ("open", "submit", "settle"):
        cost = found.costs[phase]
        assert 0 < cost.largest_gas <= GAS and 0 < cost.largest_bytes <= CALLDATA
    assert found.costs["settle"].transactions == found.groups
    assert found.costs["submit"].gas < 15 * 2 * found.weights
    assert found.costs["settle"].gas < 360 * found.weights


def test_models_have_at_least_the_weights_that_are_asked_for() -> None:
    for weights in (100, 2_000, scale.FLOBC, 1_000_000):
        assert weights <= digits_mlp_of(weights).weight_count < 1.2 * weights + 100


def test_growth_is_told_by_its_exponent_and_by_what_a_weight_more_costs() -> None:
    small, large = (
        scale.Measured(
            weights=n, pages=1, groups=1, update_bytes=1, contributors=1, rounds=1, accuracy=1.0, trainer_bytes=1,
            costs={phase: scale.Cost(gas=300 * n, seconds=float(n) ** 2) for phase in scale.PHASES},
        )
        for n in (1000, 10_000)
    )  # fmt: skip
    rows = {(row["phase"], row["figure"]): row for row in scale.growth([small, large])}
    assert math.isclose(rows["settle", "gas"]["exponent"], 1.0) and rows["settle", "gas"]["per_weight"] == 300
    assert math.isclose(rows["open", "seconds"]["exponent"], 2.0)
    assert ("open", "blocks") not in rows  # nothing to compare
    assert len(scale.rows([small, large])) == 2 * len(scale.PHASES)
    text = scale.markdown(scale.GROWTH_COLUMNS, scale.growth_rows([small, large]))
    assert {line.count("|") for line in text.splitlines()} == {len(scale.GROWTH_COLUMNS) + 1}


def test_the_record_stands_between_smaller_and_larger_models() -> None:
    found = [
        scale.Measured(
            weights=n, pages=1, groups=1, update_bytes=1, contributors=1, rounds=1, accuracy=1.0, trainer_bytes=1,
            costs={phase: scale.Cost() for phase in scale.PHASES},
        )
        for n in (250_000, 1_000_000, 2_000_000)
    ]  # fmt: skip
    places = [at for at, row in enumerate(scale.rows(found)) if "FLoBC" in row[1]]
    assert places == [len(scale.PHASES)]
