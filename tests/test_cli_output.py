"""What people type and read."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.cli.output import UNIT_WEI, Format, ll, show, units
from linklearner.domain.errors import InvalidInput


@given(st.integers(0, 2**60))
def test_an_amount_of_ll_survives_being_printed_and_typed_again(amount: int) -> None:
    assert units(ll(amount * UNIT_WEI)) == amount


def test_what_programs_read_is_json_even_where_a_number_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"loss": math.nan, "all": [math.inf, (-math.inf, 1.5)], "in": {"x": np.float64("nan")}, "n": 1, "t": "nan"}]
    show(Format.JSON, rows)
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document == [{"loss": None, "all": [None, [None, 1.5]], "in": {"x": None}, "n": 1, "t": "nan"}]


@pytest.mark.parametrize("text", ["", "-1", "1.2345", "1e3", "ten", "1.", " ", "0x10", "1.2.3"])
def test_what_is_not_an_amount_is_told_so(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not an amount"):
        units(text)
