"""What accounts own: coin, $LL, stake."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from linklearner.chain.contracts import TOKEN, VAULT
from linklearner.domain import gas
from linklearner.domain.errors import OutOfRange
from linklearner.domain.stakes import MAX_ELIGIBLE
from linklearner.domain.tasks import Balance, Mined, StakeStatus
from services.chain_gateway.chain import Call
from services.chain_gateway.ledger.sending import Sending
from services.chain_gateway.ledger.tasks import Tasks
from services.chain_gateway.ledger.values import mined as mined_by
from services.chain_gateway.outbox import Request, always

_STAKE_GAS: Final[Mapping[str, int]] = {"lock": gas.LOCK, "unlock": gas.UNLOCK, "withdraw": gas.WITHDRAW}


class Wallets:
    """Of anybody to look at, of those whose keys are held to move."""

    def __init__(self, tasks: Tasks, sending: Sending) -> None:
        self._tasks = tasks
        self._views = tasks.views
        self._sending = sending

    async def balance(self, account: bytes, task: int) -> Balance:
        """The stake is read too unless task is 0. Raises NotFound for an unknown task."""
        block = (await self._views.head()).number
        token, coin = await asyncio.gather(
            self._views.token_balance(account, block), self._views.chain.balance(account, block)
        )
        stake = await self._views.stake(account, task, block) if task else None
        return Balance(token, coin, stake, block)

    async def lock(self, request_id: str, account: bytes, task: int, units: int) -> tuple[Mined, StakeStatus]:
        """The vault needs no approval to lock its caller's $LL."""
        if not 0 <= units <= MAX_ELIGIBLE:
            raise OutOfRange(f"units must be between 1 and {MAX_ELIGIBLE}, got {units}", reason="StakeLimit")
        return await self._move_stake(request_id, account, "lock", task, units)

    async def unlock(self, request_id: str, account: bytes, task: int, units: int) -> tuple[Mined, StakeStatus]:
        if not 0 <= units <= MAX_ELIGIBLE:
            raise OutOfRange(f"units must be between 1 and {MAX_ELIGIBLE}, got {units}", reason="InsufficientStake")
        return await self._move_stake(request_id, account, "unlock", task, units)

    async def withdraw(self, request_id: str, account: bytes, task: int) -> tuple[Mined, StakeStatus]:
        return await self._move_stake(request_id, account, "withdraw", task)

    async def _move_stake(
        self, request_id: str, account: bytes, name: str, task: int, *units: int
    ) -> tuple[Mined, StakeStatus]:
        arguments = (task, *units)
        contents = b"".join(argument.to_bytes(8, "big") for argument in arguments)
        await self._tasks.require(task)
        limit = _STAKE_GAS[name]
        if name == "lock" and not (await self._views.stake(account, task)).locked:
            limit = gas.FIRST_LOCK
        call = Call(self._views.deployment.vault, VAULT.encode_call(name, *arguments), known_gas=limit)
        request = Request(request_id=request_id, account=account, kind=name, contents=contents)
        mined = mined_by(await self._sending.send_when_due(request, always(call)))
        self._tasks.events.poke()
        return mined, await self._views.stake(account, task)

    async def transfer_token(self, request_id: str, account: bytes, to: bytes, amount: int) -> Mined:
        """$LL, wei."""
        data = TOKEN.encode_call("transfer", to, amount)
        call = Call(self._views.deployment.token, data, known_gas=gas.TRANSFER_TOKEN)
        return await self._send(request_id, account, "transfer token", to + amount.to_bytes(32, "big"), call)

    async def transfer_coin(self, request_id: str, account: bytes, to: bytes, amount: int) -> Mined:
        """The chain's coin, wei."""
        call = Call(to, value=amount, known_gas=gas.TRANSFER_COIN)
        return await self._send(request_id, account, "transfer coin", to + amount.to_bytes(32, "big"), call)

    async def _send(self, request_id: str, account: bytes, kind: str, contents: bytes, call: Call) -> Mined:
        request = Request(request_id=request_id, account=account, kind=kind, contents=contents)
        return mined_by(await self._sending.send(request, call))
