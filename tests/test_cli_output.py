"""What people type and read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.cli.output import UNIT_WEI, ll, units
from linklearner.domain.errors import InvalidInput


@given(st.integers(0, 2**60))
def test_an_amount_of_ll_survives_being_printed_and_typed_again(amount: int) -> None:
    assert units(ll(amount * UNIT_WEI)) == amount


@pytest.mark.parametrize("text", ["", "-1", "1.2345", "1e3", "ten", "1.", " ", "0x10", "1.2.3"])
def test_what_is_not_an_amount_is_told_so(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not an amount"):
        units(text)
