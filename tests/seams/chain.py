"""The pool and the Aspect with one more rule and one more encoding, and the rows of Python's tables that go with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from linklearner import artifacts
from linklearner.domain.encodings import ENCODINGS
from linklearner.domain.rules.table import RULES
from tests.seams.median_of_signs import MEDIAN_OF_SIGNS
from tests.seams.one_bit import ONE_BIT

FOLDER = Path(__file__).parent


@contextmanager
def extended() -> Iterator[None]:
    """What is deployed meanwhile has the rule and the encoding of this folder, and Python knows them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "_read", lambda name: (FOLDER / "artifacts" / name).read_bytes())
        patch.setitem(RULES, MEDIAN_OF_SIGNS.number, MEDIAN_OF_SIGNS)
        patch.setitem(ENCODINGS, ONE_BIT.code, ONE_BIT)
        artifacts.contract.cache_clear()
        artifacts.aspect.cache_clear()
        try:
            yield
        finally:
            artifacts.contract.cache_clear()
            artifacts.aspect.cache_clear()
