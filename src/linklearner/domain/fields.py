"""The fields of a model description: each is exactly what it should be, or InvalidModel says which is not."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from linklearner.domain.errors import InvalidModel


def exactly(fields: Mapping[str, Any], expected: Set[str], what: str, *, may: Set[str] = frozenset()) -> None:
    """No key is missing and none is there that this program would not heed."""
    if set(fields) - may != expected:
        raise InvalidModel(f"{what} has the keys {sorted(expected)}, not {sorted(fields)}")


def demand(value: Any, kind: type, what: str) -> None:
    """A value of one JSON type; true and false are no integers."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidModel(f"{what} is a {kind.__name__}, not {value!r:.60}")


def several(value: Any, kind: type, what: str, each: str) -> tuple[Any, ...]:
    """A list of values of one JSON type."""
    demand(value, list, what)
    for one in value:
        demand(one, kind, each)
    return tuple(value)


def number(value: Any, what: str) -> float:
    """An integer or a float that a double holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidModel(f"{what} is a number")
    try:
        return float(value)
    except OverflowError:  # JSON has integers of any length
        raise InvalidModel(f"{what} is a number that a double holds") from None
