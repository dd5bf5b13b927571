"""What is offered for gas, and what is never paid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.chain.profile import ARTELA
from linklearner.domain.errors import Refused
from services.chain_gateway.outbox.fees import GWEI, MAX_GAS_PRICE, Fees

CAP = ARTELA.fee_wei
wei = st.integers(0, 1000 * GWEI)
gas = st.integers(21_000, ARTELA.transaction_gas)


@given(price=wei, base_fee=wei, gas_limit=gas, limit=st.integers(1, MAX_GAS_PRICE))
def test_no_price_of_a_node_costs_more_than_the_limit_or_what_a_node_takes(
    price: int, base_fee: int, gas_limit: int, limit: int
) -> None:
    try:
        fees = Fees.at(price, base_fee, gas_limit, limit, CAP, "node")
    except Refused as refused:
        assert refused.reason in ("GasPriceTooHigh", "FeeCap")
        assert (refused.reason == "GasPriceTooHigh") == (max(price, base_fee, 1) > limit)
        return
    assert base_fee <= fees.max_fee <= limit
    assert fees.max_fee * gas_limit < CAP
    assert 0 <= fees.tip <= fees.max_fee


def test_twice_the_present_price_is_offered_and_the_tip_is_what_the_node_asks_above_the_base_fee() -> None:
    assert Fees.at(price=30, base_fee=20, gas_limit=21_000, limit=10**9, fee_cap_wei=CAP, node="node") == Fees(
        max_fee=60, tip=10
    )
    assert Fees.at(price=10, base_fee=20, gas_limit=21_000, limit=10**9, fee_cap_wei=CAP, node="node") == Fees(
        max_fee=40, tip=0
    )


def test_a_chain_without_a_price_is_offered_something() -> None:
    assert Fees.at(price=0, base_fee=0, gas_limit=21_000, limit=10**9, fee_cap_wei=CAP, node="node") == Fees(
        max_fee=2, tip=0
    )


@pytest.mark.parametrize("asked", [MAX_GAS_PRICE, MAX_GAS_PRICE + 1])
def test_the_limit_itself_is_paid_and_not_a_wei_more(asked: int) -> None:
    if asked <= MAX_GAS_PRICE:
        assert Fees.at(asked, 0, 21_000, MAX_GAS_PRICE, CAP, "node").max_fee == MAX_GAS_PRICE
    else:
        with pytest.raises(Refused, match="500 are paid"):
            Fees.at(asked, 0, 21_000, MAX_GAS_PRICE, CAP, "node")
