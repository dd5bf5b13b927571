"""A task as somebody plans it: model, shape, terms and the seed of its first weights. Read from JSON that people write."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain import classifier, notation, strictjson, terms
from linklearner.domain.capacity import layout, most_judged, most_pages, most_updates
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.encodings import ENCODINGS
from linklearner.domain.errors import InvalidConfig, InvalidInput
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.model import ModelSpec
from linklearner.domain.notation import LL_WEI
from linklearner.domain.rounds import BPS, RULE_EVIDENCE, Terms
from linklearner.domain.rules.evidence.sets import ExampleBatches
from linklearner.domain.rules.table import rule_named
from linklearner.domain.shape import Shape

PLAN_BYTES: Final = 1 << 20
"""Of a plan's JSON."""
MAX_UPDATES: Final = 64
"""That a round takes unless the plan says otherwise, or the shape allows fewer."""
USUAL_UPDATES: Final = 10
"""That a round of a model of several groups takes at least, unless its plan says otherwise: what its groups are cut for."""
MAX_SEED: Final = 2**32 - 1
USUAL_TERMS: Final[Mapping[str, int]] = {
    "quorum_bps": 6667,
    "max_updates": MAX_UPDATES,
    "min_round_seconds": 1,
    "round_seconds": 120,
    "drop_seconds": 3600,
    "stake_seconds": 60,
    "min_stake": 100,
    "settler_bps": 500,
    "server_bps": 2000,
    "reward": 100 * LL_WEI,
}
"""Of a plan that does not say otherwise; reward in wei."""
MONEY: Final = {"reward": notation.amount, "min_stake": notation.stake_units}
"""Terms that may be a text, too: $LL as people type it, instead of wei and units."""


_OWN: Final = frozenset({"exponents", "weights", "examples"})
"""Settings of a plan that are not whole numbers."""


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """A task to open. exponents: of each tensor, or one for all. seed: of its first weights, unless they are given: (N,) float32.

    page_length, group_pages: read from JSON that names neither, a model larger than two pages of `digits` gets a layout of its own
    (`linklearner.domain.capacity.layout`).
    """

    model: ModelSpec = DIGITS
    exponents: int | tuple[int, ...] = SHAPE.tensors[0].exponent
    page_length: int = SHAPE.page_length
    group_pages: int = SHAPE.group_pages
    norm_bound: int = SHAPE.norm_bound
    terms: Terms
    seed: int = 0
    examples: ExampleBatches | None = field(default=None, repr=False)
    """By which rule `evidence` judges; None by another rule."""
    weights: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def shape(self) -> Shape:
        return self.model.shape(self.exponents, self.page_length, self.group_pages, self.norm_bound)

    def first_weights(self) -> NDArray[np.int16]:
        """(N,) int16."""
        first = self.model.initial(self.seed) if self.weights is None else self.weights
        return quantise_weights(first, self.shape)

    @classmethod
    def from_json(
        cls,
        text: str | bytes,
        weights_of: Callable[[str], NDArray[np.float32]] | None = None,
        examples_of: Callable[[str], ExampleBatches] | None = None,
    ) -> TaskPlan:
        """`{"model": {…}, "exponents": 12, …, "terms": {"quorum_bps": 6667, "reward": "100", …}}`; what is left out is as for `digits`.

        "exponents" is one number or one for each tensor, "weights" the name of a file of first weights, which `weights_of` reads,
        "examples" that of a set of examples (rule `evidence`), which `examples_of` reads; "rule" of the terms is a number or a name.
        Raises InvalidConfig, which names the setting: also for terms that no pool takes.
        """
        try:
            settings = _object(strictjson.loads(text, max_bytes=PLAN_BYTES, max_values=PLAN_BYTES), "a task")
            model = _model(settings["model"]) if "model" in settings else DIGITS
            written = _object(settings.get("terms", {}), "terms")
            amounts = {
                name: parse(written[name]) for name, parse in MONEY.items() if isinstance(written.get(name), str)
            }
            if isinstance(written.get("rule"), str):
                amounts["rule"] = rule_named(written["rule"]).number
            given = _numbers({**written, **amounts}, Terms)
            others = {name: value for name, value in settings.items() if name not in ("model", "terms", *_OWN)}
            found: dict[str, Any] = _numbers(others, cls)
            if "exponents" in settings:
                found["exponents"] = _exponents(settings["exponents"])
            if "examples" in settings:
                found["examples"] = _examples(settings["examples"], examples_of)
            if "weights" in settings:
                found["weights"] = _first(settings["weights"], weights_of, model)
            plan = cls(model=model, terms=Terms(**{**USUAL_TERMS, **given}), **found)
            if plan.shape.group_count > 1 and not {"page_length", "group_pages"} & found.keys():  # larger than `digits`
                cut = layout([one.length for one in plan.shape.tensors], given.get("max_updates", USUAL_UPDATES))
                found |= dict(zip(("page_length", "group_pages"), cut, strict=True))
                plan = cls(model=model, terms=plan.terms, **found)
            shape = plan.shape
            if not all(most_pages(shape, encoding) for encoding in ENCODINGS.values()):
                raise ValueError("no transaction holds an update of so many tensors or groups: make the groups larger")
            if "max_updates" not in given:
                most = most_updates(shape)
                if plan.examples is not None and plan.terms.rule == RULE_EVIDENCE:
                    most = min(most, most_judged(shape, plan.examples.count))
                most = max(1, min(MAX_UPDATES, most))
                plan = cls(model=model, terms=Terms(**{**USUAL_TERMS, "max_updates": most, **given}), **found)
            if not 0 <= plan.seed <= MAX_SEED:
                raise ValueError(f"seed must be between 0 and {MAX_SEED}, got {plan.seed}")
            terms.check(plan.terms, shape)
            terms.check_examples(plan.terms, shape, plan.examples)
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidConfig(f"the task's settings cannot be read: {error}") from None
        except InvalidInput as error:
            raise InvalidConfig(f"the task's settings: {error.message}") from None
        return plan


def digits(*, contributors: int = 5, seed: int = 0, **changes: int) -> TaskPlan:
    """64-32-10 on handwritten digits: 2,410 weights in one settlement group, rule `mean`. changes: of the terms.

    The quorum is that all of so many `contributors` with equal stake take part: each counts a quarter at most.
    """
    quorum_bps = min(BPS, contributors * (BPS // 4))
    return TaskPlan(terms=Terms(**{**USUAL_TERMS, "quorum_bps": quorum_bps, **changes}), seed=seed)


def _model(fields: Any) -> ModelSpec:
    """As a chain keeps it (it names its format), or in the few words of a classifier."""
    if isinstance(fields, dict) and "format" in fields:
        return ModelSpec.from_json(json.dumps(fields, ensure_ascii=False))
    return classifier.from_fields(fields)


def _exponents(value: Any) -> int | tuple[int, ...]:
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in several):
        raise ValueError("exponents is a whole number, or one for each tensor")
    return tuple(several) if isinstance(value, list) else int(value)


def _first(name: Any, weights_of: Callable[[str], NDArray[np.float32]] | None, model: ModelSpec) -> NDArray[np.float32]:
    if weights_of is None or not isinstance(name, str):
        raise ValueError("weights is the name of an .npy file beside the plan")
    weights = weights_of(name)
    if weights.shape != (model.weight_count,) or not np.isfinite(weights).all():
        raise ValueError(
            f"{name:.60} holds {weights.shape} numbers, the model has {model.weight_count} weights, all finite"
        )
    return weights


def _examples(name: Any, examples_of: Callable[[str], ExampleBatches] | None) -> ExampleBatches:
    if examples_of is None or not isinstance(name, str):
        raise ValueError("examples is the name of an .examples file beside the plan")
    return examples_of(name)


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is a JSON object")
    return value


def _numbers(given: Mapping[str, Any], kind: type) -> dict[str, int]:
    """Whole numbers that are fields of `kind`."""
    known = [one.name for one in fields(kind)]
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"there is no {name:.40}, but {', '.join(known)}")
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} is a whole number")
    return dict(given)
