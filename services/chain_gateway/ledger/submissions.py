"""Updates: their way to the chain, and what of it can be read there afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from linklearner.chain import contracts
from linklearner.chain.contracts import Submit, decode_event, decode_submission
from linklearner.domain import gas
from linklearner.domain.errors import DataLoss, InvalidInput, InvalidUpdate, Refused, Unavailable
from linklearner.domain.events import UpdateAccepted
from linklearner.domain.shape import Shape
from linklearner.domain.tasks import Mined, Submitted
from linklearner.domain.update import Update, digests_of, update_digest
from services.chain_gateway.chain import Call
from services.chain_gateway.ledger.drops import Drops
from services.chain_gateway.ledger.kept import Kept
from services.chain_gateway.ledger.sealing import Sealing
from services.chain_gateway.ledger.sending import Sending
from services.chain_gateway.ledger.tasks import Tasks
from services.chain_gateway.ledger.values import Submission
from services.chain_gateway.ledger.values import mined as mined_by
from services.chain_gateway.outbox import Outcome, Request

CALLDATA_BYTES: Final = 256 << 20
"""Of submissions, kept in memory."""
MINED_COUNT: Final = 100_000
"""Of transactions whose block and gas are kept in memory."""
TOO_LITTLE: Final = ("NoStake", "BelowMinimumStake")
"""What the Aspect and the pool say where too little stake counts in the open round."""
HEADER_BYTES: Final = 18
"""That every update begins with; its task is in bytes 2 to 9."""


class Submissions:
    """Of all tasks."""

    def __init__(
        self, tasks: Tasks, sending: Sending, drops: Drops, clock: Callable[[], float], sealing: Sealing
    ) -> None:
        self._tasks = tasks
        self._drops = drops
        self._clock = clock
        self._chain = tasks.views.chain
        self._pool = tasks.views.deployment.pool
        self._sending = sending
        self._sealing = sealing
        self._calldata = Kept[bytes, Submission](CALLDATA_BYTES, lambda kept: sum(map(len, kept.groups)))
        self._mined = Kept[bytes, Mined](MINED_COUNT, lambda _: 1)

    async def submit(self, request_id: str, account: bytes, update: bytes) -> Submitted:
        """Sends one update; where updates are sealed, that takes until they are revealed (`Sealing.submit`).

        Raises InvalidUpdate for bytes that the task cannot read, Refused with the chain's reason.

        Stake that has matured since the open round began counts in the next one only. If nobody has an update in the open round, it is
        ended first, by the account whose stake waits: a transaction of its own, without which a newcomer could only wait.
        """
        decoded, shape = await self._decoded(update)
        request = Request(request_id=request_id, account=account, kind="submit", contents=update)
        try:
            outcome = await self._send(request, decoded, shape)
        except Refused as refused:
            if refused.reason not in TOO_LITTLE:
                raise
            await self._renew(request, decoded.task, refused)
            outcome = await self._send(request, decoded, shape)
        accepted, mined = self._accepted(outcome), mined_by(outcome)
        # what we have sent ourselves need not be read from the chain
        groups = decoded.groups(shape)
        self._calldata.put(mined.transaction, Submission(decoded.header(shape), groups, digests_of(groups), mined))
        self.remember(mined)
        self._tasks.events.poke()
        return Submitted(mined, accepted.digest, accepted.round, accepted.weight, accepted.effective)

    async def _send(self, request: Request, update: Update, shape: Shape) -> Outcome:
        if self._sealing.is_sealed(update.task):
            return await self._sealing.submit(request, update, shape)
        return await self._sending.send(request, await asyncio.to_thread(self._call, update, shape))

    async def _renew(self, request: Request, task: int, refused: Refused) -> None:
        """Ends the open round for stake that would let the update in. Raises what says when it will be, or that it is too little."""
        views = self._tasks.views
        stake, state, head = await asyncio.gather(
            views.stake(request.account, task), views.newest(task), self._chain.head()
        )
        waiting, round = stake.locked - stake.eligible, state.round
        terms = self._tasks.opened(task).terms
        if not waiting or stake.locked < terms.floor(round.eligible):
            raise refused
        facts = refused.facts | {"maturesAt": stake.matures_s, "waiting": waiting}
        if max(self._clock(), head.time_s) < stake.matures_s:
            raise Refused(
                f"{waiting} units of the account's stake count in rounds that open at {stake.matures_s} (Unix seconds) or later: "
                "submit then",
                reason=refused.reason,
                facts=facts,
            ) from refused
        if round.accepted:
            raise Refused(
                f"{waiting} units of the account's stake count from the next round on: wait for the next version",
                reason=refused.reason,
                facts=facts,
            ) from refused
        try:
            await self._drops.renew(
                f"{request.request_id}/renew/{round.round}", request.account, task, round.round, stake.matures_s
            )
        except Refused as error:
            if error.reason not in ("WrongRound", "NotYetDroppable"):
                raise
            # somebody else was faster: with the drop, or with an update

    async def call(self, update: bytes) -> Call:
        """The transaction that submits an update. Raises InvalidUpdate, NotFound for its task."""
        return await asyncio.to_thread(self._call, *await self._decoded(update))

    async def _decoded(self, update: bytes) -> tuple[Update, Shape]:
        if len(update) < HEADER_BYTES:
            raise InvalidUpdate(f"an update begins with {HEADER_BYTES} bytes of header, these are {len(update)}")
        task = int.from_bytes(update[2:10], "big")
        await self._tasks.require(task)
        shape = self._tasks.shape(task)
        return await asyncio.to_thread(Update.decode, update, shape), shape  # a megabyte takes tens of milliseconds

    def _call(self, update: Update, shape: Shape) -> Call:
        data = contracts.submit(
            Submit(
                task=update.task, digest=update.digest(shape), header=update.header(shape), groups=update.groups(shape)
            )
        )
        return Call(self._pool, data, known_gas=gas.submit_limit(data, update, shape))

    async def of_round(self, task: int, round: int) -> list[tuple[UpdateAccepted, Submission]]:
        """The accepted updates of a round, as far as they are known here, in their order, with what each transaction carried."""
        accepted = self._tasks.events.find(UpdateAccepted, task, second=round)
        read = await asyncio.gather(*map(self._submission, accepted))
        return list(zip(accepted, read, strict=True))

    async def _submission(self, event: UpdateAccepted) -> Submission:
        """Raises DataLoss unless it gives the digest that the pool announced."""
        transaction = event.transaction
        kept = self._calldata.get(transaction)
        if kept is not None:
            return kept
        found, mined = await asyncio.gather(self._chain.transaction(transaction), self.mined(transaction))
        if found.call.to != self._pool:
            raise DataLoss(f"transaction 0x{transaction.hex()} made the pool accept an update and does not go to it")
        try:
            call = decode_submission(found.call.data)
        except InvalidInput as error:
            raise DataLoss(
                f"the pool accepted an update by transaction 0x{transaction.hex()}, which is no submission: {error.message}"
            ) from error
        digests = digests_of(call.groups)
        if update_digest(call.header, digests) != event.digest:
            raise DataLoss(
                f"what the node tells of transaction 0x{transaction.hex()} does not give the digest of the update that the pool accepted"
            )
        submission = Submission(call.header, call.groups, digests, mined)
        self._calldata.put(transaction, submission)
        return submission

    async def mined(self, transaction: bytes) -> Mined:
        """A transaction in a block. Raises NotFound if there is none, Unavailable if the node has no receipt for it yet."""
        kept = self._mined.get(transaction)
        if kept is None:
            found, receipt = await asyncio.gather(
                self._chain.transaction(transaction), self._chain.receipt(transaction)
            )
            if receipt is None:
                raise Unavailable(f"the node has transaction 0x{transaction.hex()} and no receipt for it yet; retry")
            kept = Mined(transaction, receipt.block_number, receipt.gas_used, found.length)
            self.remember(kept)
        return kept

    def remember(self, mined: Mined) -> None:
        """A transaction of ours, which need not be read from the chain."""
        self._mined.put(mined.transaction, mined)

    def _accepted(self, outcome: Outcome) -> UpdateAccepted:
        """Raises DataLoss for the receipt of a submission that tells of no accepted update."""
        for log in outcome.receipt.logs:
            event = decode_event(log) if log.address == self._pool else None
            if isinstance(event, UpdateAccepted):
                return event
        raise DataLoss(
            f"the node's receipt of the submission 0x{outcome.receipt.transaction_hash.hex()} says nothing of an accepted update"
        )
