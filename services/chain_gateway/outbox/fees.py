"""What is paid for gas, and what is never paid, whatever a node asks. All amounts are wei per gas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from linklearner.domain.errors import Refused

GWEI: Final = 10**9
MAX_GAS_PRICE: Final = 500 * GWEI
"""Paid at most unless the settings say otherwise: 25 times what the newest Artela node asks when it is idle."""
HEADROOM: Final = 2
"""A fee cannot be raised later (the node replaces nothing); twice the present price outlasts five full blocks."""


def check_price(asked: int, limit: int, node: str) -> None:
    """Raises Refused where the node's word for the price is more than we believe."""
    if asked > limit:
        raise Refused(
            f"the node at {node} asks {asked / GWEI:g} gwei per gas and at most {limit / GWEI:g} are paid "
            "(LINKLEARNER_GATEWAY_MAX_GAS_PRICE_GWEI): wait, ask another node, or raise that setting if the price is right",
            reason="GasPriceTooHigh",
            facts={"asked": asked, "limit": limit},
        )


@dataclass(frozen=True, slots=True)
class Fees:
    """What a transaction offers. What is paid is the base fee of its block and the tip, and never more than max_fee."""

    max_fee: int
    tip: int

    @classmethod
    def at(cls, price: int, base_fee: int, gas_limit: int, limit: int, fee_cap_wei: int, node: str) -> Fees:
        """price, base_fee: as the node gives them; limit: what we pay at most; fee_cap_wei: what the node takes for a
        whole transaction must stay below it.

        Raises Refused: GasPriceTooHigh, or FeeCap where so much gas at this base fee is more than a node takes.
        """
        asked = max(price, base_fee, 1)
        check_price(asked, limit, node)
        max_fee = min(HEADROOM * asked, limit, (fee_cap_wei - 1) // gas_limit)
        if max_fee < base_fee:
            raise Refused(
                f"{gas_limit} gas at {base_fee} wei cost more than the node's RPC takes (1 ART); wait for a lower price",
                reason="FeeCap",
                facts={"gas": gas_limit, "base_fee": base_fee},
            )
        return cls(max_fee, min(max(price - base_fee, 0), max_fee))
