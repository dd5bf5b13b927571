"""Questions to the contracts: eth_call, decoded, at a block that is new enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linklearner.chain.abi import Interface
from linklearner.chain.contracts import POOL, TOKEN, VAULT
from linklearner.domain.errors import DataLoss, InvalidInput, NotFound, Refused, Unavailable
from linklearner.domain.tasks import Earnings, RoundStatus, StakeStatus
from services.chain_gateway.chain import Chain
from services.chain_gateway.deployment import Deployment
from services.chain_gateway.heads import Head


@dataclass(frozen=True, slots=True)
class SealingState:
    """How updates of a task by rule `evidence` are taken. reveal_seconds: for how long they are revealed; 0: they are not sealed.

    committed: commitments in the open round. reveals_s: from when on they are revealed, Unix seconds; 0 while there are none. bond: the
    creator's, wei."""

    reveal_seconds: int
    committed: int
    reveals_s: int
    bond: int


@dataclass(frozen=True, slots=True)
class TaskState:
    """What pool and vault say of a task at one block. version: the newest, 0 while the first weights are being loaded."""

    version: int
    round: RoundStatus
    pot: int
    shares: int
    creator: bytes
    closing: bool

    @property
    def closed(self) -> bool:
        return self.round.round != 0 and self.round.opened_s == 0


class Views:
    """The contracts of one deployment, read only."""

    def __init__(self, chain: Chain, deployment: Deployment, max_head_age_s: float, clock: Callable[[], float]) -> None:
        self.chain = chain
        self.deployment = deployment
        self._max_head_age_s = max_head_age_s
        self._clock = clock
        self._calls: dict[tuple[bytes, bytes], asyncio.Task[bytes]] = {}
        self._calls_at = b""

    async def head(self) -> Head:
        """The newest block. Raises Unavailable if it is older than it may be."""
        head = await self.chain.head()
        self.check_age(head)
        return head

    def check_age(self, head: Head) -> None:
        """Raises Unavailable for a block that is too old to be the newest."""
        age = self._clock() - head.time_s
        if 0 < self._max_head_age_s < age:
            raise Unavailable(
                f"the chain's newest block {head.number} is {age:.0f} s old, {self._max_head_age_s:g} s are allowed: "
                "the node is stuck or lagging behind",
                reason="StaleChain",
                facts={"head": head.number, "age_s": int(age)},
            )

    async def task(self, task: int, block: int) -> TaskState:
        """A task and its open round. Raises NotFound for an unknown task."""
        answer, changes = await asyncio.gather(
            self._pool("taskOf", task, block=block), self._vault("changesOf", task, block=block)
        )
        status = answer["status"]
        return TaskState(
            version=status["version"],
            round=RoundStatus(
                round=status["round"],
                accepted=status["accepted"],
                present=status["present"],
                eligible=status["eligible"],
                merged_groups=status["merged"],
                opened_s=status["openedAt"],
                first_update_s=status["firstAt"],
                ripe=changes["joining"],
                examples_opened=status["opened"],
            ),
            pot=status["pot"],
            shares=status["shares"],
            creator=status["creator"],
            closing=status["closing"],
        )

    async def sealing(self, task: int, block: int | None = None) -> SealingState:
        """Of a task by rule `evidence`, whose updates may be sealed. Raises NotFound for an unknown task."""
        answer = await self._pool("sealingOf", task, block=block)
        return SealingState(answer["revealSeconds"], answer["committed"], answer["revealsFrom"], answer["bond"])

    async def submitted_in(self, account: bytes, task: int) -> int:
        """The last round in which the account has an update, or a commitment to one; 0: none."""
        return int((await self._vault("submittedIn", task, account))["round"])

    async def newest(self, task: int) -> TaskState:
        """At the newest block, however old. Raises NotFound for an unknown task."""
        return await self.task(task, (await self.chain.head()).number)

    async def stake(self, account: bytes, task: int, block: int | None = None) -> StakeStatus:
        """Raises NotFound for an unknown task."""
        stake = await self._vault("stakeOf", task, account, block=block)
        return StakeStatus(
            eligible=stake["counting"],
            locked=stake["counting"] + stake["fresh"],
            matures_s=stake["maturesAt"],
            unlocking=stake["unlocking"],
            withdrawable_s=stake["withdrawableAt"],
        )

    async def earnings(self, account: bytes, task: int, block: int) -> Earnings:
        """Raises NotFound for an unknown task."""
        claimable, earned, stake_fees = await asyncio.gather(
            self._pool("claimable", task, account, block=block),
            self._pool("earnedBy", task, account, block=block),
            self._vault("feesOf", task, account, block=block),
        )
        return Earnings(earned=earned["0"], pay=claimable["pay"], fees=claimable["fees"], stake_fees=stake_fees["0"])

    async def token_balance(self, account: bytes, block: int) -> int:
        """$LL, wei."""
        token = await self._view(TOKEN, self.deployment.token, "balanceOf", account, block=block)
        return int(token["0"])

    async def require_task(self, task: int) -> None:
        """Raises NotFound for an unknown task."""
        await self._pool("termsOf", task)

    async def _pool(self, name: str, *arguments: Any, block: int | None = None) -> dict[str, Any]:
        return await self._of_task(POOL, self.deployment.pool, name, *arguments, block=block)

    async def _vault(self, name: str, *arguments: Any, block: int | None = None) -> dict[str, Any]:
        return await self._of_task(VAULT, self.deployment.vault, name, *arguments, block=block)

    async def _of_task(
        self, interface: Interface, to: bytes, name: str, *arguments: Any, block: int | None
    ) -> dict[str, Any]:
        try:
            return await self._view(interface, to, name, *arguments, block=block)
        except Refused as refused:
            if refused.reason == "UnknownTask":
                raise NotFound(refused.message, reason=refused.reason, facts=refused.facts) from None
            raise

    async def _view(
        self, interface: Interface, to: bytes, name: str, *arguments: Any, block: int | None
    ) -> dict[str, Any]:
        answer = await self._shared_call(to, interface.encode_call(name, *arguments), block)
        try:
            return interface.decode_result(name, answer)
        except InvalidInput as error:
            raise DataLoss(
                f"there is no such contract at 0x{to.hex()} on this chain ({error.message}); does the deployment file belong to it?"
            ) from error

    async def _shared_call(self, to: bytes, data: bytes, block: int | None) -> bytes:
        """eth_call; at the newest block, once for all who ask the same."""
        newest = self.chain.heads.newest
        if newest is None or block != newest.number:
            return await self.chain.call(to, data, block=block)
        if self._calls_at != newest.hash:
            self._calls, self._calls_at = {}, newest.hash
        calls, key = self._calls, (to, data)
        asked = calls.get(key)
        if asked is None:
            asked = calls[key] = asyncio.create_task(self.chain.call(to, data, block=block))
            asked.add_done_callback(lambda done: calls.pop(key, None) if done.cancelled() or done.exception() else None)
        return await asyncio.shield(asked)
