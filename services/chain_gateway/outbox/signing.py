"""A call becomes signed bytes, at the price of the day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from web3 import AsyncWeb3

from linklearner.domain.errors import Refused
from services.chain_gateway.chain import Call, Chain
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.outbox.attempts import Attempt
from services.chain_gateway.outbox.fees import Fees

MAX_ATTEMPTS: Final = 32
"""Signings of one request at its nonce; after that the last bytes are sent again."""


class Signer:
    """Signs what may be sent. knows: whether some request has a transaction of this hash already."""

    def __init__(self, chain: Chain, keystore: Keystore, max_gas_price: int, knows: Callable[[bytes], bool]) -> None:
        self._chain = chain
        self._keystore = keystore
        self._max_gas_price = max_gas_price
        self._knows = knows

    async def sign(self, account: bytes, call: Call, nonce: int) -> Attempt:
        """Bytes that no request has yet: one unit of gas apart from those that are there. Raises Refused; nothing is kept yet.

        call: with its gas limit.
        """
        head, price = await asyncio.gather(self._chain.head(), self._chain.price())
        gas_limit = call.gas_limit or 0
        profile = self._chain.profile
        fees = Fees.at(price, head.base_fee, gas_limit, self._max_gas_price, profile.fee_wei, self._chain.shown_url)
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": self._chain.chain_id,
            "nonce": nonce,
            "maxFeePerGas": fees.max_fee,
            "maxPriorityFeePerGas": fees.tip,
            "gas": gas_limit,
            "value": call.value,
            "data": call.data,
        }
        if call.to is not None:
            transaction["to"] = AsyncWeb3.to_checksum_address(call.to)
        apart = 1 if gas_limit + MAX_ATTEMPTS <= profile.transaction_gas else -1
        while True:
            attempt = Attempt.of(self._keystore.sign_transaction(account, transaction))
            if len(attempt.raw) > profile.transaction_bytes:
                raise Refused(
                    f"the signed transaction has {len(attempt.raw)} bytes and the chain takes {profile.transaction_bytes}; "
                    "send fewer pages",
                    reason="TransactionTooLarge",
                    facts={"bytes": len(attempt.raw), "limit": profile.transaction_bytes},
                )
            if not self._knows(attempt.hash):
                return attempt
            transaction["gas"] += apart

    async def still_fits(self, attempt: Attempt, call: Call) -> bool:
        """Whether bytes that were signed earlier do what `call` would now, and pay enough for it."""
        head, price = await asyncio.gather(self._chain.head(), self._chain.price())
        signed = attempt.call
        return (
            (signed.to, signed.data, signed.value) == (call.to, call.data, call.value)
            and (signed.gas_limit or 0) >= (call.gas_limit or 0)
            and attempt.max_fee >= max(head.base_fee, price)
        )
