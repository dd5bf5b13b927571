"""The plan of a task, as its creator writes it down: what is trained, how its weights are cut and begin, and the terms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain import notation, strictjson, terms
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.errors import InvalidConfig, InvalidInput
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.model import ModelSpec
from linklearner.domain.notation import LL_WEI
from linklearner.domain.rounds import BPS, Terms
from linklearner.domain.shape import Shape
from linklearner.domain.strictjson import NotJson

PLAN_BYTES: Final = 1 << 20
"""Of a plan's file."""
MAX_SEED: Final = 2**32 - 1
NUMBERS: Final[Mapping[str, int]] = {
    "exponent": SHAPE.tensors[0].exponent,
    "page_length": SHAPE.page_length,
    "group_pages": SHAPE.group_pages,
    "norm_bound": SHAPE.norm_bound,
    "seed": 0,
}
"""The whole numbers of a plan beside its terms, and what they are where they are left out."""
MONEY: Final = {"reward": notation.amount, "min_stake": notation.stake_units}
"""Terms that may be written in $LL."""
DIGITS_TERMS: Final = Terms(
    quorum_bps=6667,
    max_updates=64,
    min_round_seconds=1,
    round_seconds=120,
    drop_seconds=3600,
    stake_seconds=60,
    min_stake=100,
    settler_bps=500,
    server_bps=5000,
    reward=100 * LL_WEI,
)


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """A task to open. seed: of its first weights. Raises InvalidInput where the pool would not take it, InvalidShape for its pages."""

    model: ModelSpec = DIGITS
    exponent: int = NUMBERS["exponent"]
    page_length: int = NUMBERS["page_length"]
    group_pages: int = NUMBERS["group_pages"]
    norm_bound: int = NUMBERS["norm_bound"]
    terms: Terms = DIGITS_TERMS
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise InvalidInput(f"seed must be between 0 and {MAX_SEED}, got {self.seed}")
        terms.check(self.terms, self.shape)

    @property
    def shape(self) -> Shape:
        return self.model.shape(self.exponent, self.page_length, self.group_pages, self.norm_bound)

    def first_weights(self) -> NDArray[np.int16]:
        """(N,) int16."""
        return quantise_weights(self.model.initial(self.seed), self.shape)

    @classmethod
    def from_json(cls, text: str | bytes) -> TaskPlan:
        """`{"model": {…}, "exponent": 12, …, "terms": {"quorum_bps": 6667, "reward": "100", …}}`; what is left out is as for `digits`.

        Money is a number, wei (units for min_stake), or a text, $LL as people type it (`linklearner.domain.notation`). Raises InvalidConfig, in a sentence, for what is no such plan, and for terms that the pool would refuse.
        """
        try:
            found = strictjson.loads(text, max_bytes=PLAN_BYTES, max_values=PLAN_BYTES)
        except NotJson as error:
            raise InvalidConfig(f"the task's plan cannot be read: {error}") from None
        known = {"model": dict, "terms": dict} | dict.fromkeys(NUMBERS, int)
        _check(found, known, "the plan")
        given = dict(found.get("terms", {}))
        try:
            given |= {name: parse(given[name]) for name, parse in MONEY.items() if isinstance(given.get(name), str)}
        except InvalidInput as error:
            raise InvalidConfig(f"the task's plan: {error.message}") from None
        _check(given, {field.name: int for field in fields(Terms)}, "a plan's terms")
        numbers = {name: found[name] for name in NUMBERS if name in found}
        wanted = {field.name: getattr(DIGITS_TERMS, field.name) for field in fields(Terms)} | given
        try:
            model = ModelSpec.from_json(json.dumps(found["model"])) if "model" in found else DIGITS
            return cls(model=model, terms=Terms(**wanted), **numbers)
        except InvalidInput as error:
            raise InvalidConfig(f"the task's plan: {error.message}") from None


def digits(
    *, contributors: int = 5, seed: int = 0, round_seconds: int = DIGITS_TERMS.round_seconds, stake_seconds: int = 1
) -> TaskPlan:
    """64-32-10 on handwritten digits: 2,410 weights in one settlement group, rule `mean`.

    contributors: so many equal stakes are the quorum. Each counts for a quarter of all stake at most, so fewer than four are never all of it.
    """
    return TaskPlan(
        terms=Terms(
            quorum_bps=min(BPS, contributors * BPS // 4),
            max_updates=DIGITS_TERMS.max_updates,
            min_round_seconds=DIGITS_TERMS.min_round_seconds,
            round_seconds=round_seconds,
            drop_seconds=max(DIGITS_TERMS.drop_seconds, round_seconds + 1),
            stake_seconds=stake_seconds,
            min_stake=DIGITS_TERMS.min_stake,
            settler_bps=DIGITS_TERMS.settler_bps,
            server_bps=DIGITS_TERMS.server_bps,
            reward=DIGITS_TERMS.reward,
        ),
        seed=seed,
    )


def _check(found: Any, known: Mapping[str, type], where: str) -> None:
    """Raises InvalidConfig unless `found` is an object of some of the known fields, each of its type."""
    if not isinstance(found, dict):
        raise InvalidConfig(f"{where} must be a JSON object, got {type(found).__name__}")
    for name, value in found.items():
        if name not in known:
            raise InvalidConfig(f"{where}: there is no field {name!r:.40}, but {', '.join(known)}")
        if type(value) is not known[name]:  # true is no number
            wanted = "a whole number" if known[name] is int else "an object"
            raise InvalidConfig(f"{name} must be {wanted}, got {value!r:.40}")
