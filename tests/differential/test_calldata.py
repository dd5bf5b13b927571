"""The short form of `python -m tests.differential.calldata`, and that it would notice."""

from pathlib import Path

import pytest

from tests.differential.calldata import Case

COUNT = 300
LENIENT = Path(__file__).parents[1] / "data/aspects/lenient-aggregator.wasm"


def test_chain_and_python_take_the_same_calldata_to_the_same_values() -> None:
    case = Case(seed=20)
    outcomes = set()
    for _ in range(COUNT):
        what, data = case.mutant()
        try:
            outcomes.add(case.judge(data))
        except AssertionError as difference:
            raise AssertionError(f"{what}: 0x{data.hex()}") from difference
    assert {"accepted", "only the encoding refused", "refused", "undecodable"} <= outcomes


def test_an_aspect_that_takes_more_than_python_is_noticed() -> None:
    case = Case(seed=20, aspect=LENIENT.read_bytes())
    with pytest.raises(AssertionError, match="chain: accepted, Python: False"):
        for _ in range(COUNT):
            case.judge(case.mutant()[1])
