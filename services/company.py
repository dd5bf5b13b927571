"""The suite's own trainers keep a visitor of the page company.

A visitor alone cannot do much: stake counts in rounds that open later, and a round without updates opens no other; an update alone in a
round pulls the model to one person's handwriting; and a round takes the stake of all who may take part to be settled soon. So the trainers
contribute to a round when somebody else's update is in it, or when stake waits for the next one. Otherwise they rest, and cost nothing.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Final, NoReturn

import structlog

from linklearner.client.gateway import GatewayClient
from linklearner.client.trainer import TrainerClient
from linklearner.domain.errors import LinkLearnerError, Refused
from linklearner.rpc.access import Credential

LOOK_S: Final = 1.0
"""Between two looks at the round."""
RETRY_S: Final = 2.0
ATTEMPTS: Final = 3

log = structlog.get_logger()


class Company:
    """trainers: host:port of each. accounts: theirs, 20 bytes each. settle: whether to settle, because the gateway's
    keeper does not. stake_s: seconds that stake is held for before it counts; it counts within twice that."""

    def __init__(
        self,
        gateway: str,
        trainers: Sequence[str],
        credential: Credential,
        *,
        task: int,
        accounts: Sequence[bytes],
        settle: bool,
        stake_s: float,
    ) -> None:
        self._gateway_address, self._trainer_addresses, self._credential = gateway, trainers, credential
        self._task, self._accounts, self._settle = task, tuple(accounts), settle
        self._ripens_s = 2 * stake_s + 0.5
        self._head = 0
        self._seen: float | None = None
        """The newest block, and when it was first seen; None once the block after it is ours."""
        self._joined = self._tries = 0
        """The last round that the trainers joined, and how often."""

    async def run(self) -> NoReturn:
        """Until cancelled. A service that is away is waited for."""
        async with AsyncExitStack() as stack:
            gateway = await stack.enter_async_context(GatewayClient.connect(self._gateway_address, self._credential))
            trainers = [
                await stack.enter_async_context(TrainerClient.connect(address, self._credential))
                for address in self._trainer_addresses
            ]
            while True:
                try:
                    pause = await self._look(gateway, trainers)
                except LinkLearnerError as error:
                    log.info("company_waits", reason=error.reason, detail=error.message)
                    pause = RETRY_S
                await asyncio.sleep(pause)

    async def _look(self, gateway: GatewayClient, trainers: Sequence[TrainerClient]) -> float:
        """Returns in how many seconds to look again."""
        task = await gateway.task(self._task)
        number = task.round.round
        if not task.version or task.closing or task.closed or task.round.merged_groups:
            return RETRY_S
        if not task.round.accepted and not task.round.ripe:
            await self._tick(gateway)
        opened = await gateway.round(self._task, number) if task.round.accepted else None
        there = {one.contributor for one in opened.contributions} if opened else set()
        missing = [index for index, account in enumerate(self._accounts) if account not in there]
        if (
            missing
            and (there - set(self._accounts) or (task.round.ripe and not there))
            and self._attempts(number) <= ATTEMPTS
        ):
            outcomes = await asyncio.gather(
                *(self._train(trainers[index]) for index in missing), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, LinkLearnerError):
                    log.info("company_missing", reason=outcome.reason, detail=outcome.message)
                elif isinstance(outcome, BaseException):
                    raise outcome
        if self._settle and number == self._joined:
            await self._end(gateway, number)
        return LOOK_S

    async def _tick(self, gateway: GatewayClient) -> None:
        """On a chain that makes blocks on demand time stands still after a stranger's last transaction, and with it what it locked never
        becomes ripe: one block more, once that is due."""
        head = (await gateway.chain()).head_block
        now = time.monotonic()
        if head > self._head:
            self._head, self._seen = head, now
        elif self._seen is not None and now - self._seen > self._ripens_s:
            self._seen = None
            me = self._accounts[0]
            mined = await gateway.transfer_coin(f"company-{secrets.token_hex(8)}", me, me, 1)
            self._head = max(self._head, mined.block)

    def _attempts(self, number: int) -> int:
        """How often this round has been joined, now included: what a trainer cannot do thrice it leaves to the round's end."""
        self._tries = self._tries + 1 if number == self._joined else 1
        self._joined = number
        return self._tries

    async def _train(self, trainer: TrainerClient) -> None:
        async with aclosing(trainer.train(f"company-{secrets.token_hex(8)}")) as steps:
            async for _ in steps:
                pass

    async def _end(self, gateway: GatewayClient, number: int) -> None:
        """Settles the round if it may be settled; whether it may is for the chain to say."""
        try:
            await gateway.settle(f"company-{secrets.token_hex(8)}", self._accounts[0], self._task, number)
        except Refused as error:
            log.debug("company_settles_later", reason=error.reason)
