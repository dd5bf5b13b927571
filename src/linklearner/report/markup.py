"""HTML and SVG whose texts are escaped by construction: a string is text, and only what `element` returns is markup.

Names of models, labels and reasons are written by anybody. What could end an element or an attribute is escaped; what could deceive a
reader (control characters, marks that turn the direction of writing, lone surrogates that no encoding carries) is shown as its code.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable
from typing import Final

LONGEST: Final = 300
"""Characters of one text; longer ones end in an ellipsis."""
_HIDDEN: Final = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of characters that are not seen, or turn what is seen."""


class Markup(str):
    """Finished markup. Made by `element`, `together` and `page` only."""

    __slots__ = ()


Child = Markup | str | int | None


def text(written: str) -> Markup:
    """A text as a reader may see it."""
    return Markup(html.escape(visible(written), quote=True))


def visible(written: str, longest: int | None = LONGEST) -> str:
    """A text with everything in it to be seen, cut to its first 300 characters (None: whole)."""
    cut = written if longest is None or len(written) <= longest else written[: longest - 1] + "…"
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in _HIDDEN else c for c in cut)


def element(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """`name`, with `class_` for class and `view_box` for viewBox, other underscores as hyphens. None and False leave an attribute out."""
    written = "".join(
        f" {_attribute(key)}" + ("" if value is True else f'="{_value(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inner = together(children)
    return Markup(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{inner}</{name}>")


def together(children: Iterable[Child]) -> Markup:
    """One after the other; what is no markup is text."""
    return Markup("".join(one if isinstance(one, Markup) else text(str(one)) for one in children if one is not None))


_VOID: Final = frozenset({"meta"})


def _attribute(key: str) -> str:
    return {"class_": "class", "view_box": "viewBox"}.get(key, key.replace("_", "-"))


def _value(value: str | float) -> str:
    """Whole: the path of a line is longer than any name."""
    return f"{value:g}" if isinstance(value, float) else html.escape(visible(str(value), None), quote=True)
