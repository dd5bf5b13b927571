"""Money for newcomers on a development chain, where it is worth nothing: coin for gas and $LL for stake, up to a small sum an account.

It is spent by the gateway, from the one account that the faucet's credential may act for; there is no key here.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from linklearner.client.gateway import GatewayClient
from linklearner.domain.errors import Exhausted

DAY_S: Final = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gift:
    """What an account has been sent, wei; 0 where it had enough."""

    coin: int
    token: int


class Faucet:
    """coin, token: what an account has after asking, wei. a_day: accounts that are given something within a day."""

    def __init__(
        self,
        gateway: GatewayClient,
        account: bytes,
        *,
        coin: int,
        token: int,
        a_day: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gateway, self._account = gateway, account
        self.coin, self.token = coin, token
        self._a_day, self._clock = a_day, clock
        self._day, self._given = 0, 0
        self._one_at_a_time = asyncio.Lock()

    async def fill(self, account: bytes) -> Gift:
        """Sends what is missing. Raises Exhausted when enough have been given something today, and what the gateway raises.

        Half of the sum is enough to be left alone: nobody draws it out by spending a little at a time. Asking twice at once gives once.
        """
        async with self._one_at_a_time:
            has = await self._gateway.balance(account)
            gift = Gift(
                coin=self.coin - has.coin if has.coin < self.coin // 2 else 0,
                token=self.token - has.token if has.token < self.token // 2 else 0,
            )
            if gift == Gift(coin=0, token=0):
                return gift
            now = self._clock()
            if int(now // DAY_S) != self._day:
                self._day, self._given = int(now // DAY_S), 0
            if self._given >= self._a_day:
                raise Exhausted("the faucet has given enough for today: come back tomorrow", reason="FaucetEmpty")
            self._given += 1
            request = f"faucet-{account.hex()}-{time.time_ns()}"
            if gift.coin:
                await self._gateway.transfer_coin(f"{request}-coin", self._account, account, gift.coin)
            if gift.token:
                await self._gateway.transfer_token(f"{request}-token", self._account, account, gift.token)
            return gift
