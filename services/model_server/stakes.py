"""What callers have locked, as the chain says through the gateway: read before it is relied on, and again with every new block.

A `Holding` is confirmed when its units were read, or when the chain's head has not moved since. How old a confirmation may be is the
gate's business; this module keeps it young for those who are calling, and says why when it cannot.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from linklearner.client.gateway import GatewayClient
from linklearner.domain.errors import LinkLearnerError, Unavailable
from services.model_server.admission.sessions import Holding
from services.model_server.endurance import Endurance

READ_TIMEOUT_S = 2.0
CONCURRENT_READS = 16

log = structlog.get_logger()


class StakeWatch:
    """Reads locked stakes of one task.

    head_stale_s: 0, or the greatest age of the head block in seconds.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        task: int,
        *,
        refresh_s: float,
        head_stale_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._gateway = gateway
        self._task = task
        self._refresh_s = refresh_s
        self._head_stale_s = head_stale_s
        self._monotonic = monotonic
        self._wall = wall
        self._reading: dict[bytes, tuple[asyncio.Task[None], Holding]] = {}
        self._chain_id: int | None = None
        self._head = 0
        self._trouble: LinkLearnerError | None = Unavailable("the gateway has not answered yet")

    @property
    def trouble(self) -> LinkLearnerError | None:
        """Why stakes cannot be read at present; None if they can."""
        return self._trouble

    def chain_id(self) -> int:
        """Of the chain behind the gateway. Raises Unavailable until the gateway has answered once."""
        if self._chain_id is None:
            raise self._unavailable()
        return self._chain_id

    async def run(self, active: Callable[[float], list[Holding]]) -> None:
        """Looks until cancelled. active: the holdings in use at a time, which are kept fresh.

        Raises whatever has gone wrong for so long that only another start can help (`Endurance`).
        """
        endurance = Endurance()
        while True:
            try:
                await self._look(active)
            except LinkLearnerError as error:
                endurance.failed(error)
                if self._trouble is None or self._trouble.reason != error.reason:
                    log.warning("stakes_unreadable", reason=error.reason, detail=error.message)
                self._trouble = error
            except Exception as error:
                endurance.failed(error)
                log.exception("stakes_failed", task=self._task)
                self._trouble = Unavailable("stakes cannot be read because of a bug; the log has it", reason="Bug")
            else:
                endurance.succeeded()
                if self._trouble is not None:
                    log.info("stakes_readable")
                self._trouble = None
            await asyncio.sleep(self._refresh_s)

    async def read(self, holding: Holding) -> None:
        """Confirms a holding now; calls for the same address share one read. Raises Unavailable if that is not possible."""
        if self._trouble is not None:
            raise self._unavailable()
        under_way = self._reading.get(holding.address)
        if under_way is None:
            reading = asyncio.create_task(self._read(holding))
            under_way = self._reading[holding.address] = reading, holding
            reading.add_done_callback(lambda done: self._forget(holding.address, done))
        reading, read = under_way
        try:
            await asyncio.shield(reading)
        except LinkLearnerError as error:
            raise self._unavailable(error) from error
        # An address that signs in twice at once has a holding for each call, until one of them has opened a session.
        if read is not holding:
            holding.units, holding.block, holding.confirmed = read.units, read.block, read.confirmed

    def _forget(self, address: bytes, done: asyncio.Task[None]) -> None:
        del self._reading[address]
        if not done.cancelled():
            done.exception()  # whoever waited has seen it; when nobody waited it is of no interest

    def _unavailable(self, error: LinkLearnerError | None = None) -> Unavailable:
        cause = error or self._trouble
        return Unavailable(
            f"stakes cannot be read just now, so nobody is let in: {cause}; retry in a moment",
            reason=cause.reason if cause and cause.reason != "Unavailable" else "StakeUnknown",
            facts={"task": self._task},
        )

    @staticmethod
    def _went_back(block: int, seen: int) -> Unavailable:
        return Unavailable(
            f"the gateway answers from block {block}, but block {seen} has been seen", reason="HeadWentBack"
        )

    async def _look(self, active: Callable[[float], list[Holding]]) -> None:
        began = self._monotonic()
        chain = await self._gateway.chain(timeout_s=READ_TIMEOUT_S)
        if self._chain_id is None:
            self._chain_id = chain.chain_id
        if chain.chain_id != self._chain_id:
            raise Unavailable(
                f"the gateway has moved from chain {self._chain_id} to chain {chain.chain_id}: restart this server",
                reason="OtherChain",
            )
        age = self._wall() - chain.head_time_s
        if self._head_stale_s and age > self._head_stale_s:
            raise Unavailable(
                f"the newest block is {age:.0f} s old, more than the {self._head_stale_s:g} s allowed",
                reason="HeadStale",
            )
        if chain.head_block < self._head:
            raise self._went_back(chain.head_block, self._head)
        self._head = chain.head_block
        moved = []
        for holding in active(began):
            if holding.block == self._head:
                holding.confirmed = max(holding.confirmed, began)
            elif holding.block < self._head:
                moved.append(holding)
        moved.sort(key=lambda holding: holding.confirmed)
        slots = asyncio.Semaphore(CONCURRENT_READS)

        async def read(holding: Holding) -> None:
            async with slots:
                await self._read(holding)

        for outcome in await asyncio.gather(*map(read, moved), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _read(self, holding: Holding) -> None:
        began = self._monotonic()
        balance = await self._gateway.balance(holding.address, self._task, timeout_s=READ_TIMEOUT_S)
        if balance.block < holding.block:
            raise self._went_back(balance.block, holding.block)
        locked = 0 if balance.stake is None else balance.stake.locked
        if locked < holding.units:
            log.info("stake_fell", address=f"0x{holding.address.hex()}", units=locked, was=holding.units)
        holding.units = locked
        holding.block = balance.block
        holding.confirmed = max(holding.confirmed, began)
