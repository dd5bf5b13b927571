"""The ways of `python -m bench.sparsity`, and how it judges them."""

import numpy as np
import pytest

from bench import sparsity
from bench.sparsity import Course, Way
from linklearner.domain.digits import DIGITS
from linklearner.domain.shape import Shape, Tensor

SHAPE = Shape((Tensor(64, 12),), 4, 4, 2**31)


@pytest.mark.parametrize("way", [Way("dense"), Way("top", 4), Way("turns", 4)])
def test_every_way_keeps_what_it_does_not_send(way: Way) -> None:
    wanted = np.round(np.random.default_rng(3).normal(0, 0.01, 64) * 2**30) / 2**30
    found = sparsity.chosen(way, wanted, SHAPE, 1)
    assert np.array_equal(found.update.delta(SHAPE) / 4096 + found.residual, wanted)
    assert len(found.update.pages) == SHAPE.page_count // way.part


def test_in_turns_everybody_sends_the_same_pages_and_all_have_been_sent_in_the_end() -> None:
    wanted = np.random.default_rng(3).normal(0, 0.01, 64)
    sent = [
        {page for page, _ in sparsity.chosen(Way("turns", 4), wanted, SHAPE, number).update.pages}
        for number in range(1, 5)
    ]
    assert set.union(*sent) == set(range(SHAPE.page_count)) and sum(map(len, sent)) == SHAPE.page_count


def test_accuracy_at_a_budget_is_that_of_the_last_round_it_paid_for() -> None:
    course = Course((0.0, 10.0, 20.0), (0.1, 0.5, 0.9))
    assert [course.at(budget) for budget in (0, 9.99, 10, 19, 20, 1000)] == [0.1, 0.1, 0.5, 0.5, 0.9, 0.9]


def test_a_way_is_the_default_only_where_it_is_clearly_ahead_on_every_model() -> None:
    def rows(*leads: float) -> dict[str, dict[str, list[float]]]:
        return {str(i): {"dense": [0.5, 0.9], "top 1/2": [0.5, 0.9 + lead]} for i, lead in enumerate(leads)}

    assert sparsity.best(rows(0.02, 0.03)) == "top 1/2"
    assert sparsity.best(rows(0.02, 0.005)) == "dense"
    assert sparsity.best(rows(-0.02)) == "dense"


def test_gas_of_a_round_is_less_for_fewer_pages_and_more_for_more_contributors() -> None:
    bed = sparsity.Bed.of(DIGITS, 1)
    usual, short = sparsity.shapes(DIGITS)
    assert usual.page_count == 2 and short.page_count >= 32
    turns = bed.course(Way("turns", 8), short, 1.0)
    top = bed.course(Way("top", 8), short, 1.0)
    assert len(turns.gas) == len(top.gas) == 2  # a round each
    assert 21_000 * 5 < turns.gas[1] < top.gas[1]
