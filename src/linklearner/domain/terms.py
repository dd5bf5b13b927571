"""Which terms a task may be opened with, exactly as contracts/TrainingPool.sol bounds them."""

from __future__ import annotations

from typing import Final

from linklearner.domain.capacity import GAS, judges, judging_gas, most_examples, most_judged, most_updates
from linklearner.domain.errors import InvalidInput, OutOfRange
from linklearner.domain.rounds import BPS, MAX_UPDATES, RULE_EVIDENCE, Terms
from linklearner.domain.rules.evidence.network import IntegerNetwork
from linklearner.domain.rules.evidence.sets import ExampleBatches
from linklearner.domain.rules.table import rule_of
from linklearner.domain.shape import Shape
from linklearner.domain.stakes import MAX_ELIGIBLE

MAX_SECONDS: Final = 366 * 24 * 60 * 60
"""A round or a stake lasts a year at most."""
MAX_REWARD: Final = 2**128 - 1
"""Wei: what the contract's struct holds."""


def check(terms: Terms, shape: Shape) -> None:
    """Raises InvalidInput (BadTerms), naming the field and its bounds, for what `openTask` refuses."""
    try:
        rule_of(terms.rule)
    except InvalidInput as error:
        raise InvalidInput(error.message, reason="BadTerms", facts={"field": "rule"}) from None
    _bound(terms, "quorum_bps", 1, BPS)
    _bound(terms, "round_seconds", 1, MAX_SECONDS - 1)
    _bound(terms, "min_round_seconds", 1, terms.round_seconds)
    _bound(terms, "drop_seconds", terms.round_seconds + 1, MAX_SECONDS)
    _bound(terms, "stake_seconds", 1, MAX_SECONDS)
    _bound(terms, "min_stake", 0, MAX_ELIGIBLE)
    _bound(terms, "settler_bps", 0, BPS)
    _bound(terms, "server_bps", 0, BPS // 2)
    _bound(terms, "reward", 0, MAX_REWARD)
    most = most_updates(shape)
    if not most:
        raise InvalidInput(
            "a block holds not even one dense update of a group of this shape: make the groups smaller",
            reason="BadTerms",
            facts={"field": "max_updates"},
        )
    if most < MAX_UPDATES and terms.max_updates > most:
        raise OutOfRange(
            f"max_updates must be between 1 and {most} for this shape, so that a block holds the settlement of each group, "
            f"got {terms.max_updates}",
            reason="BadTerms",
            facts={"field": "max_updates"},
        )
    _bound(terms, "max_updates", 1, MAX_UPDATES)


def check_examples(terms: Terms, shape: Shape, examples: ExampleBatches | None) -> None:
    """Raises InvalidInput, InvalidModel for what `commitExamples` refuses, with the figures: by rule `evidence` a task has examples that a
    block can judge it by, by another rule none."""
    if terms.rule != RULE_EVIDENCE:
        if examples is not None:
            raise InvalidInput("examples are for tasks by rule evidence", reason="BadTerms", facts={"field": "rule"})
        return
    if examples is None:
        raise InvalidInput(
            "by rule evidence a task has examples that judge its updates: `linklearner task create` makes them of a hold-out",
            reason="NoExamples",
        )
    examples.check(IntegerNetwork.of_shape(shape, examples.input_exponent))
    if shape.group_count != 1:
        raise InvalidInput(
            f"rule evidence looks at the whole model, in one settlement group; this one has {shape.group_count}",
            reason="BadTerms",
            facts={"field": "examples"},
        )
    if not judges(terms.max_updates, shape, examples.count):
        need = judging_gas(terms.max_updates, shape, examples.count)
        raise OutOfRange(
            f"to judge {terms.max_updates} updates of {shape.weight_count:,} weights by {examples.count} examples takes up to {need:,} "
            f"gas, a block holds {GAS:,}: at most {most_examples(terms.max_updates, shape)} examples with so many updates a round, or at "
            f"most {most_judged(shape, examples.count)} updates with so many examples",
            reason="BadTerms",
            facts={"field": "examples", "needed": need, "limit": GAS},
        )


def _bound(terms: Terms, field: str, low: int, high: int) -> None:
    value = getattr(terms, field)
    if not low <= value <= high:
        raise OutOfRange(
            f"{field} must be between {low} and {high}, got {value}", reason="BadTerms", facts={"field": field}
        )
