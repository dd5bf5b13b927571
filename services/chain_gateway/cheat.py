"""Everything that a cheat may try, really sent: what the demo shows, and the attacks' tests.

Nothing is asked beforehand: the transactions land and fail.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from eth_hash.auto import keccak

from linklearner.chain.contracts import POOL
from linklearner.domain.encodings import TWO_BITS
from linklearner.domain.errors import InvalidInput, Refused
from linklearner.domain.events import Settlement, UpdateAccepted
from linklearner.domain.update import Update, update_digest
from services.chain_gateway.aspect import SYSTEM, SYSTEM_CONTRACT
from services.chain_gateway.chain import Call, Chain, NonceRefused, SendResult
from services.chain_gateway.ledger import Ledger
from services.chain_gateway.outbox import Outbox, Request, always

SMALL_GAS: Final = 400_000
"""Enough for every small transaction here: half of it is charged in any case."""


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
        """Six ways to have a second, a wrong or a stolen update counted. Raises InvalidInput unless one honest update is in."""
        status = await self._ledger.tasks.task(self._task)
        await self._ledger.events.sync()
        shape, version, number = status.shape, status.version, status.round.round
        accepted = self._ledger.events.find(UpdateAccepted, self._task, second=number)
        mine = [event for event in accepted if event.contributor == self._account]
        if not mine:
            raise InvalidInput(
                f"0x{self._account.hex()} has no accepted update in round {number}: contribute honestly first"
            )

        nothing = Update(self._task, version, TWO_BITS, (0,) * len(shape.tensors), ())
        header, groups = nothing.header(shape), nothing.groups(shape)
        yield await self._try("an update of the wrong shape", self._submit(header + b"\0", groups))
        stale = replace(nothing, base_version=version - 1)
        yield await self._try("an update to an old version", self._submit(stale.header(shape), groups))
        second = self._submit(header, groups)
        yield await self._try("a second update in one round", second)
        yield await self._replay(mine[0].transaction)
        before = [event for event in self._ledger.events.find(UpdateAccepted, self._task) if event.round < number]
        old = before[-1] if before else mine[0]
        calldata = (await self._chain.transaction(old.transaction)).call.data
        yield await self._try(
            f"the calldata of an update of round {old.round} again",
            Call(self._pool, calldata, gas_limit=SMALL_GAS + 40 * len(calldata)),
        )
        bound, messenger = await self._contract("bound"), await self._contract("messenger")
        binding = Call(SYSTEM_CONTRACT, SYSTEM.encode_call("bind", self._ledger.deployment.aspect, 1, bound, 0))
        await self._send(binding)
        yield await self._try("an update to a contract of its own, bound to our Aspect", replace(second, to=bound))
        yield await self._try("an update through a contract that calls the pool", replace(second, to=messenger))

    async def settlements(self) -> AsyncIterator[CheatAttempt]:
        """Five ways to settle a round wrongly. Raises InvalidInput if there is nothing to settle."""
        status = await self._ledger.tasks.task(self._task)
        await self._ledger.events.sync()
        number, group = status.round.round, status.round.merged_groups
        right = await self._ledger.settlements.of_group(self._task, number, group)
        if len(right) < 2:
            raise InvalidInput(f"round {number} has {len(right)} accepted updates; a settler who cheats needs two")
        honest = self._ledger.settlements.call_with(self._task, number, group, right)
        limit = await self._chain.gas_limit(self._account, honest)  # raises why it cannot be settled at all

        async def tried(name: str, updates: Sequence[Settlement], round_number: int = number) -> CheatAttempt:
            call = self._ledger.settlements.call_with(self._task, round_number, group, updates)
            return await self._try(name, replace(call, gas_limit=min(limit, self._chain.profile.transaction_gas)))

        first = right[0]
        yield await tried("a settlement that leaves an update out", right[1:])
        yield await tried("a settlement in another order", [right[1], first, *right[2:]])
        yield await tried("a settlement with an altered update", [_altered(first, group), *right[1:]])
        richer = replace(first, weight=first.weight + 1, effective=first.effective + 1)
        yield await tried("a settlement that gives a friend more weight", [richer, *right[1:]])
        yield await tried("a settlement of a round that is over", right, number - 1)

    def _submit(self, header: bytes, groups: tuple[bytes, ...]) -> Call:
        digest = update_digest(header, tuple(bytes(keccak(group)) for group in groups))
        data = POOL.encode_call("submit", self._task, digest, header, list(groups))
        return Call(self._pool, data, gas_limit=SMALL_GAS)

    async def _replay(self, transaction: bytes) -> CheatAttempt:
        """The very bytes of a transaction that has landed."""
        name = "the same signed transaction again"
        raw = await self._chain.raw_transaction(transaction)
        before = await self._chain.nonce(self._account)
        try:
            taken = await self._chain.send(raw)
        except NonceRefused as error:
            return CheatAttempt(attempt=name, refused=True, reason="NonceUsed", message=error.message)
        return CheatAttempt(
            attempt=name,
            refused=taken is SendResult.ALREADY_KNOWN and await self._chain.nonce(self._account) == before,
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
