"""The rules that this program has: one row each. `docs/recipes/rule.md` says how to add one."""

from __future__ import annotations

from linklearner.domain.errors import InvalidInput
from linklearner.domain.rules.evidence.rule import EVIDENCE
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.rule import Rule

RULES: dict[int, Rule] = {MEAN.number: MEAN, EVIDENCE.number: EVIDENCE}


def rule_named(name: str) -> Rule:
    """Raises InvalidInput."""
    for rule in RULES.values():
        if rule.name == name:
            return rule
    raise InvalidInput(f"the rule must be {' or '.join(rule.name for rule in RULES.values())}, got {name!r:.40}")


def rule_of(number: int) -> Rule:
    """The rule with this number. Raises InvalidInput."""
    try:
        return RULES[number]
    except KeyError:
        known = ", ".join(f"{rule.number} ({rule.name})" for rule in RULES.values())
        raise InvalidInput(f"rule {number} is unknown; this program knows {known}") from None
