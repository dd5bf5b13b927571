"""What flows into a task's pot, and what its accounts have earned."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from linklearner.chain.abi import Interface
from linklearner.chain.contracts import POOL, VAULT, decode_event
from linklearner.domain import gas
from linklearner.domain.errors import OutOfRange
from linklearner.domain.events import EarningsClaimed, StakeFeesClaimed
from linklearner.domain.rounds import RULE_EVIDENCE
from linklearner.domain.tasks import Claimed, Earnings, Funded
from services.chain_gateway.chain import Call
from services.chain_gateway.ledger.sending import Sending
from services.chain_gateway.ledger.tasks import Tasks
from services.chain_gateway.ledger.values import mined
from services.chain_gateway.outbox import Outcome, Request

MAX_WEI: Final = 2**90
"""$LL that there can be at most (TrainingPool.MAX_CAP)."""
_FILL_GAS: Final[Mapping[str, int]] = {"fund": gas.FUND, "grant": gas.GRANT}


class Money:
    """Pots and earnings of all tasks."""

    def __init__(self, tasks: Tasks, sending: Sending) -> None:
        self._tasks = tasks
        self._views = tasks.views
        self._sending = sending

    async def fund(self, request_id: str, account: bytes, task: int, wei: int) -> Funded:
        """Raises Refused: TaskIsClosing, ZeroAmount, ERC20InsufficientBalance. The pool needs no approval to take its caller's $LL."""
        return await self._fill(request_id, account, "fund", task, wei)

    async def grant(self, request_id: str, account: bytes, task: int, wei: int) -> Funded:
        """Raises Refused: OwnableUnauthorizedAccount, BeyondEmission."""
        return await self._fill(request_id, account, "grant", task, wei)

    async def _fill(self, request_id: str, account: bytes, name: str, task: int, wei: int) -> Funded:
        if wei > MAX_WEI:
            raise OutOfRange(f"an amount of $LL is at most {MAX_WEI} wei, not {wei}")
        await self._tasks.require(task)
        contents = task.to_bytes(8, "big") + wei.to_bytes(32, "big")
        request = Request(request_id=request_id, account=account, kind=name, contents=contents)
        call = Call(self._views.deployment.pool, POOL.encode_call(name, task, wei), known_gas=_FILL_GAS[name])
        outcome = await self._sending.send(request, call)
        self._tasks.events.poke()
        return Funded(mined(outcome), (await self._views.newest(task)).pot)

    async def earnings(self, account: bytes, task: int) -> tuple[Earnings, int]:
        """At the newest block, whose number is the second; with the account's record where the rule keeps one. Raises NotFound."""
        block = (await self._views.head()).number
        earnings = await self._views.earnings(account, task, block)
        await self._tasks.require(task)
        if self._tasks.opened(task).terms.rule == RULE_EVIDENCE:
            earnings = replace(earnings, record=await self._views.record(account, task, block))
        return earnings, block

    async def claim(self, request_id: str, account: bytes, task: int) -> Claimed:
        """Pays out what there is: of the pool, of the vault, each once under this request_id, whenever there is something first."""
        await self._tasks.require(task)
        due, _ = await self.earnings(account, task)
        deployment = self._views.deployment
        parts = [
            (f"{request_id}/pay", POOL, deployment.pool, gas.CLAIM, due.pay + due.fees),
            (f"{request_id}/stake", VAULT, deployment.vault, gas.CLAIM_STAKE_FEES, due.stake_fees),
        ]

        async def send(step: str, interface: Interface, contract: bytes, limit: int) -> Outcome:
            call = Call(contract, interface.encode_call("claim", task), known_gas=limit)
            request = Request(request_id=step, account=account, kind="claim", contents=task.to_bytes(8, "big"))
            return await self._sending.send(request, call)

        outcomes = await asyncio.gather(
            *(
                send(step, interface, contract, limit)
                for step, interface, contract, limit, wei in parts
                if wei or self._sending.state(step) is not None
            )
        )
        self._tasks.events.poke()
        paid = self._paid(outcomes)
        return Claimed(tuple(map(mined, outcomes)), Earnings(due.earned, **paid))

    def _paid(self, outcomes: list[Outcome]) -> dict[str, Any]:
        """Wei that the receipts tell of."""
        deployment = self._views.deployment
        interfaces = {deployment.pool: POOL, deployment.vault: VAULT}
        paid = {"pay": 0, "fees": 0, "stake_fees": 0}
        for log in (log for outcome in outcomes for log in outcome.receipt.logs if log.address in interfaces):
            match decode_event(log, interfaces[log.address]):
                case EarningsClaimed(pay=pay, fees=fees):
                    paid["pay"] += pay
                    paid["fees"] += fees
                case StakeFeesClaimed(amount=amount):
                    paid["stake_fees"] += amount
        return paid
