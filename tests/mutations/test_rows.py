"""What `python -m tests.mutations` needs, which is too slow for every run: its rows fit the sources and the tests that there are."""

from __future__ import annotations

import re

import pytest

from tests.mutations.__main__ import ASPECT_MUTANTS, ASPECT_TESTS, CONTRACT_MUTANTS, ROOT, TESTS, Mutant


def test_every_mutant_is_of_the_sources_as_they_are() -> None:
    mutated: dict[str, str] = {}
    for mutant in CONTRACT_MUTANTS:  # all of them are in one build, one after the other
        source = mutated.get(mutant.file) or (ROOT / mutant.file).read_text()
        assert mutant.old in source, (mutant.file, mutant.old)
        mutated[mutant.file] = source.replace(mutant.old, mutant.new, 1)
    for mutant in ASPECT_MUTANTS:
        assert mutant.old in (ROOT / mutant.file).read_text(), (mutant.file, mutant.old)


@pytest.mark.parametrize(
    ("mutants", "files"),
    [(CONTRACT_MUTANTS, TESTS), (ASPECT_MUTANTS, (*TESTS, *ASPECT_TESTS))],
    ids=["contracts", "Aspect"],
)
def test_every_mutant_names_tests_that_there_are(mutants: list[Mutant], files: tuple[str, ...]) -> None:
    names = [name for file in files for name in re.findall(r"def (test_\w+)", (ROOT / file).read_text())]
    unknown = [
        (mutant.file, word)
        for mutant in mutants
        for word in mutant.test.split(" or ")
        if not any(word in name for name in names)
    ]
    assert unknown == []
