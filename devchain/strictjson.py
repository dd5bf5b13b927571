"""JSON from strangers: bounded before it is parsed, and nothing in it but JSON.

The standard parser recurses in C as deep as its input nests, makes a hundred bytes of objects from two of text, turns `NaN` into a float
that no other JSON parser reads, and keeps the last of two equal keys without a word. Here bytes, depth and number of values are counted
first, on the text.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 64
"""Levels of arrays and objects, where the caller says nothing; JSON-RPC needs eight."""
MAX_INTEGER_DIGITS: Final = 100
"""Of one integer; 256 bits have 78."""

# Possessive, so that no long string costs memory for ways to go back; and one that never ends is a match, too: otherwise each of its
# escaped quotes would be tried as a beginning, which takes the square of its length.
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS: Final = re.compile(r"[\[{}\]]")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class NotJson(ValueError):
    """Text that is no JSON, or more of it than was agreed; the message says which. It quotes nothing of the input."""


def loads(raw: bytes | str, *, max_bytes: int, max_values: int, max_depth: int = MAX_DEPTH) -> Any:
    """The value that `raw` (UTF-8 without a byte order mark) holds. Raises NotJson.

    max_bytes: of UTF-8. max_values: of array items, object members, arrays and objects together. max_depth: of nested arrays and objects.
    Refused, too: NaN and infinities (1e999 is one), integers of more than 100 digits, a key twice in one object, half a surrogate pair.
    """
    if len(raw) > max_bytes:
        raise NotJson(f"more than {max_bytes} bytes")
    try:
        text = raw if isinstance(raw, str) else raw.decode()
        if isinstance(raw, str) and len(text.encode()) > max_bytes:
            raise NotJson(f"more than {max_bytes} bytes")
    except UnicodeError:
        raise NotJson("not UTF-8") from None
    _measure(text, max_values, max_depth)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant
        )
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except NotJson:
        raise
    except UnicodeError:
        raise NotJson("half a surrogate pair") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} at character {error.pos}") from None
    return value


def _measure(text: str, max_values: int, max_depth: int) -> None:
    """Raises NotJson if a parser would go deeper, or make more, than agreed. Right as far as the text is JSON; a parser stops there."""
    opened = text.count("[") + text.count("{")
    if opened <= max_depth and opened + text.count(",") <= max_values:
        return  # even if all of them stood outside of strings
    bare = _STRING.sub("", text)
    if bare.count(",") + bare.count("[") + bare.count("{") > max_values:
        raise NotJson(f"more than {max_values} values")
    depth = 0
    for bracket in _BRACKETS.finditer(bare):
        if bracket.group() in "[{":
            depth += 1
            if depth > max_depth:
                raise NotJson(f"nested deeper than {max_depth} levels")
        else:
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise NotJson("a key stands twice in one object")
    return fields


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise NotJson(f"an integer of more than {MAX_INTEGER_DIGITS} digits")
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotJson("a number beyond the range of a double")
    return number


def _constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is no JSON number")
