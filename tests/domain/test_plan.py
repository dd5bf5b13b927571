"""How a model is cut into pages and groups where its task's plan does not say."""

import json

import pytest

from bench.models import digits_mlp
from linklearner.domain.capacity import most_updates
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.errors import InvalidConfig
from linklearner.domain.plan import TaskPlan


def plan(*hidden: int, **settings: object) -> TaskPlan:
    model = digits_mlp(*hidden) if hidden else DIGITS
    return TaskPlan.from_json(json.dumps({"model": json.loads(model.to_json()), **settings}))


def test_a_small_model_keeps_the_layout_of_digits() -> None:
    assert plan().shape == SHAPE


def test_a_large_model_gets_groups_as_large_as_a_block_settles() -> None:
    found = plan(800, 700)
    assert found.shape.weight_count > 608_338
    assert found.shape.group_count < 25
    assert found.terms.max_updates == most_updates(found.shape) >= 10


def test_groups_are_cut_for_the_updates_that_the_plan_asks_for() -> None:
    few, many = (plan(300, 300, terms={"max_updates": updates}) for updates in (4, 40))
    assert few.shape.group_count < many.shape.group_count
    assert most_updates(many.shape) >= 40


def test_a_layout_of_ones_own_is_kept() -> None:
    assert plan(300, page_length=2000).shape.page_length == 2000
    assert plan(300, group_pages=3).shape.group_pages == 3


def test_a_task_that_nobody_could_contribute_to_is_not_opened() -> None:
    with pytest.raises(InvalidConfig, match="at most 8192 settlement groups"):
        plan(300, 200, page_length=4, group_pages=1, terms={"max_updates": 1})
