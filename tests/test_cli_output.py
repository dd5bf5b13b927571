"""What people read can be typed again."""

from hypothesis import given
from hypothesis import strategies as st

from linklearner.cli.output import ll
from linklearner.domain.merge import MAX_ELIGIBLE
from linklearner.domain.notation import UNIT_WEI, amount, stake_units


@given(st.integers(1, MAX_ELIGIBLE))
def test_an_amount_of_stake_survives_being_printed_and_typed_again(units: int) -> None:
    assert stake_units(ll(units * UNIT_WEI)) == units


@given(st.binary(min_size=32, max_size=32))
def test_a_balance_survives_being_printed_and_typed_again(wei: bytes) -> None:
    assert amount(ll(wei)) == int.from_bytes(wei, "big")
