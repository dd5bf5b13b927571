"""Everything that a cheat may try, really sent: what the demo shows, and the attacks' tests.

Nothing is asked beforehand: the transactions land and fail.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from eth_hash.auto import keccak

from linklearner.chain.contracts import POOL
from linklearner.chain.endpoints import wait_for_chain
from linklearner.domain.digest import weight_bytes
from linklearner.domain.encodings import TWO_BITS
from linklearner.domain.errors import InvalidInput, Refused
from linklearner.domain.events import Settlement, UpdateAccepted
from linklearner.domain.notation import LL_WEI
from linklearner.domain.update import Update, update_digest
from services.chain_gateway.aspect import SYSTEM, SYSTEM_CONTRACT
from services.chain_gateway.chain import Call, Chain, NonceRefused, SendResult
from services.chain_gateway.ledger import Ledger
from services.chain_gateway.outbox import Outbox, Request, always

AGAIN_S: Final = 0.25
DUE_ATTEMPTS: Final = 80
SMALL_GAS: Final = 400_000
"""Enough for every small transaction here: half of it is charged in any case."""
REPLAY_WAIT_S: Final = 60.0
"""How long a node that loses what it is handed is tried."""


@dataclass(frozen=True, kw_only=True)
class CheatAttempt:
    """What was tried and what the chain answered. transaction: 0x hash, empty if the node did not even take it."""

    attempt: str
    refused: bool
    reason: str = ""
    message: str = ""
    transaction: str = ""
    block: int = 0
    gas_used: int = 0


class Cheat:
    """One account that tries what it must not."""

    def __init__(self, chain: Chain, outbox: Outbox, ledger: Ledger, account: bytes, task: int) -> None:
        self._chain = chain
        self._outbox = outbox
        self._ledger = ledger
        self._account = account
        self._task = task
        self._pool = ledger.deployment.pool

    async def submissions(self) -> AsyncIterator[CheatAttempt]:
        """Ways to have a second, a wrong, an empty or a stolen update counted, to end the round before the others come, and to use what is
        another's: his task, the owner's grants. Raises InvalidInput unless one honest update is in."""
        status = await self._ledger.tasks.task(self._task)
        await self._ledger.events.sync()
        shape, version, number = status.shape, status.version, status.round.round
        accepted = self._ledger.events.find(UpdateAccepted, self._task, second=number)
        mine = [event for event in accepted if event.contributor == self._account]
        if not mine:
            raise InvalidInput(
                f"0x{self._account.hex()} has no accepted update in round {number}: contribute honestly first"
            )

        page = np.ones(shape.page_weights(0), np.int8)
        small = Update(self._task, version, TWO_BITS, (0,) * len(shape.tensors), ((0, page),))
        empty = replace(small, pages=())
        header, groups = small.header(shape), small.groups(shape)
        # First, while it is early. On a slow chain, or behind an endpoint that loses calls, the round may be due by the time that this
        # lands; an honest settlement would then rightly end it, and the others would come too late. This one is never right.
        alone = await self._ledger.settlements.of_group(self._task, number, 0)
        greedy = self._ledger.settlements.call_with(self._task, number, 0, [_richer(alone[0]), *alone[1:]])
        yield await self._try(
            "a settlement before the others have come, with more weight for itself",
            replace(greedy, gas_limit=self._chain.profile.transaction_gas // 2),
        )
        yield await self._try("an update of the wrong shape", self._submit(header + b"\0", groups))
        stale = replace(small, base_version=version - 1)
        yield await self._try("an update to an old version", self._submit(stale.header(shape), groups))
        yield await self._try("an empty update", self._submit(empty.header(shape), empty.groups(shape)))
        second = self._submit(header, groups)
        yield await self._try("a second update in one round", second)
        yield await self._replay(mine[0].transaction)
        before = [event for event in self._ledger.events.find(UpdateAccepted, self._task) if event.round < number]
        old = before[-1] if before else mine[0]
        again = Call(self._pool, (await self._chain.transaction(old.transaction)).call.data)
        yield await self._try(
            f"the calldata of an update of round {old.round} again",
            replace(again, gas_limit=self._enough(again)),
        )
        bound, messenger = await self._contract("bound"), await self._contract("messenger")
        binding = Call(SYSTEM_CONTRACT, SYSTEM.encode_call("bind", self._ledger.deployment.aspect, 1, bound, 0))
        await self._send(binding)
        yield await self._try("an update to a contract of its own, bound to our Aspect", replace(second, to=bound))
        yield await self._try("an update through a contract that calls the pool", replace(second, to=messenger))
        weights = weight_bytes(page.astype(np.int16))
        for name, function, arguments in (
            ("weights of its own for another's task", "loadPages", (self._task, 0, weights)),
            ("closing another's task, for the rest of its pot", "closeTask", (self._task,)),
            ("a grant of new $LL without owning the pool", "grant", (self._task, LL_WEI)),
        ):
            call = Call(self._pool, POOL.encode_call(function, *arguments))
            yield await self._try(name, replace(call, gas_limit=self._enough(call)))

    async def settlements(self) -> AsyncIterator[CheatAttempt]:
        """Five ways to settle a round wrongly. Raises InvalidInput if there is nothing to settle."""
        status = await self._ledger.tasks.task(self._task)
        await self._ledger.events.sync()
        number, group = status.round.round, status.round.merged_groups
        right = await self._ledger.settlements.of_group(self._task, number, group)
        if len(right) < 2:
            raise InvalidInput(f"round {number} has {len(right)} accepted updates; a settler who cheats needs two")
        honest = self._ledger.settlements.call_with(self._task, number, group, right)
        limit = await self._limit_when_due(honest)  # raises why it cannot be settled at all

        async def tried(name: str, updates: Sequence[Settlement], round_number: int = number) -> CheatAttempt:
            call = self._ledger.settlements.call_with(self._task, round_number, group, updates)
            return await self._try(name, replace(call, gas_limit=min(limit, self._chain.profile.transaction_gas)))

        first = right[0]
        yield await tried("a settlement that leaves an update out", right[1:])
        yield await tried("a settlement in another order", [right[1], first, *right[2:]])
        yield await tried("a settlement with an altered update", [_altered(first, group), *right[1:]])
        yield await tried("a settlement that gives a friend more weight", [_richer(first), *right[1:]])
        yield await tried("a settlement of a round that is over", right, number - 1)

    async def _limit_when_due(self, honest: Call) -> int:
        """Gas of the honest settlement, once the round has lasted long enough: before, every settlement is refused for that."""
        for _ in range(DUE_ATTEMPTS):
            try:
                return await self._chain.gas_limit(self._account, honest)
            except Refused as early:
                if early.reason != "RoundNotOver":
                    raise
            await asyncio.sleep(AGAIN_S)
            await self._send(Call(self._account))  # a chain that makes blocks on demand has no clock but them
        return await self._chain.gas_limit(self._account, honest)

    def _enough(self, call: Call) -> int:
        """Gas for what is refused, whatever its calldata."""
        return SMALL_GAS + 40 * len(call.data)

    def _submit(self, header: bytes, groups: tuple[bytes, ...]) -> Call:
        digest = update_digest(header, tuple(bytes(keccak(group)) for group in groups))
        data = POOL.encode_call("submit", self._task, digest, header, list(groups))
        return Call(self._pool, data, gas_limit=SMALL_GAS)

    async def _replay(self, transaction: bytes) -> CheatAttempt:
        """The very bytes of a transaction that has landed.

        Not the outbox's business, which sends what is new; so nobody else repeats a call that was lost. Whether it arrived makes no
        difference: what is asked is whether these bytes count twice.
        """
        name = "the same signed transaction again"
        raw = await self._chain.raw_transaction(transaction)
        before = await self._chain.nonce(self._account)
        answers: list[SendResult] = []

        async def hand_in() -> None:
            answers.append(await self._chain.send(raw))

        try:
            await wait_for_chain(hand_in, REPLAY_WAIT_S)
        except NonceRefused as error:
            return CheatAttempt(attempt=name, refused=True, reason="NonceUsed", message=error.message)
        return CheatAttempt(
            attempt=name,
            refused=answers == [SendResult.ALREADY_KNOWN] and await self._chain.nonce(self._account) == before,
            reason="AlreadyKnown",
            message="the node has this transaction already and takes it once",
        )

    async def _contract(self, name: str) -> bytes:
        outcome = await self._send(Call(None, messenger_code(self._pool)))
        assert outcome is not None, name
        return outcome

    async def _send(self, call: Call) -> bytes | None:
        """An allowed transaction. Returns the contract that it created."""
        request = Request(request_id=secrets.token_hex(8), account=self._account, kind="prepare", contents=b"")
        return (await self._outbox.fulfil(request, always(call))).receipt.contract

    async def _try(self, name: str, call: Call) -> CheatAttempt:
        request = Request(request_id=secrets.token_hex(8), account=self._account, kind="cheat", contents=b"")
        try:
            receipt = (await self._outbox.fulfil(request, always(call))).receipt
        except Refused as refused:
            facts = refused.facts
            return CheatAttempt(
                attempt=name,
                refused=True,
                reason=refused.reason,
                message=refused.message.removeprefix(f"{refused.reason}: "),
                transaction=facts.get("transaction", ""),
                block=int(facts.get("block", 0)),
                gas_used=int(facts.get("gas_used", 0)),
            )
        return CheatAttempt(
            attempt=name,
            refused=False,
            message="the chain took it",
            transaction="0x" + receipt.transaction_hash.hex(),
            block=receipt.block_number,
            gas_used=receipt.gas_used,
        )


def _altered(update: Settlement, group: int) -> Settlement:
    """Other weights, with the digests that belong to them."""
    pages = bytes([update.pages[0] ^ 1]) + update.pages[1:] if update.pages else update.pages
    digests = (*update.digests[:group], bytes(keccak(pages)), *update.digests[group + 1 :])
    return replace(update, pages=pages, digests=digests)


def _richer(update: Settlement) -> Settlement:
    """With more weight than was accepted."""
    return replace(update, weight=update.weight + 1, effective=update.effective + 1)


def messenger_code(pool: bytes) -> bytes:
    """Creation code of a contract that says yes to every isOwner(address) and hands every other call on to the pool, failures too."""
    is_owner = bytes.fromhex("2f54bf6e")
    runtime = bytes.fromhex(
        "5f3560e01c63" + is_owner.hex() + "14603c57"  # if the selector is isOwner's: jump to 0x3c
        "365f5f375f5f365f5f73" + pool.hex() + "5af1"  # call the pool with all calldata
        "3d5f5f3e6038573d5ffd"  # take what it returned; if it failed: revert with that
        "5b3d5ff3"  # 0x38: else return it
        "5b60015f5260205ff3"  # 0x3c: return true
    )
    assert runtime[0x38] == runtime[0x3C] == 0x5B  # both jumps land
    return bytes([0x60, len(runtime), 0x60, 0x0A, 0x5F, 0x39, 0x60, len(runtime), 0x5F, 0xF3]) + runtime
