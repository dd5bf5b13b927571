"""What people read can be typed again."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.notation import UNIT_WEI, amount, stake_units
from linklearner.domain.stakes import MAX_ELIGIBLE
from linklearner.output import Format, ll, show


@given(st.integers(1, MAX_ELIGIBLE))
def test_an_amount_of_stake_survives_being_printed_and_typed_again(units: int) -> None:
    assert stake_units(ll(units * UNIT_WEI)) == units


def test_what_programs_read_is_json_even_where_a_number_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"loss": math.nan, "all": [math.inf, (-math.inf, 1.5)], "in": {"x": np.float64("nan")}, "n": 1, "t": "nan"}]
    show(Format.JSON, rows)
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document == [{"loss": None, "all": [None, [None, 1.5]], "in": {"x": None}, "n": 1, "t": "nan"}]


@given(st.integers(0, 2**256 - 1))
def test_a_balance_survives_being_printed_and_typed_again(wei: int) -> None:
    assert amount(ll(wei)) == wei
