"""A request is one transaction, whatever the node says: the outbox against a node that lies in every way at every step.

In short form (100 lives of a node) with the other tests. Long form, six minutes on a busy machine:

    OUTBOX_MODEL_EXAMPLES=1500 OUTBOX_MODEL_STEPS=50 .venv/bin/python -m pytest tests/services/chain_gateway/test_outbox_model.py
"""

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from eth_account import Account
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from model_chain import ANSWERS, Connection, ModelChain, VirtualLoop, outcome_of

from linklearner.domain.errors import LinkLearnerError, Refused, TimedOut, Unavailable
from services.chain_gateway.chain import Call
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.outbox import Outbox, Outcome, Patience, Request, State, always
from tests.state_machine import run

KEYSTORE = Keystore({bytes.fromhex(a.address[2:]): a for a in (Account.from_key(bytes([n]) * 32) for n in (1, 2))})
ACCOUNTS = KEYSTORE.addresses
NAMES = tuple(f"r{n}" for n in range(4))
PATIENCE = Patience(receipt_s=20.0, lost_blocks=5, lost_at_least_s=3.0, lost_at_most_s=8.0, check_s=0.5, review_s=2.0)
RAM = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # fsync costs nothing there

names = st.sampled_from(NAMES)
sendings = st.lists(
    st.tuples(st.booleans(), st.sampled_from(ANSWERS), st.sampled_from((0.0, 0.0, 2.0))), min_size=1, max_size=6
)
readings = st.lists(st.sampled_from(("stale", "high", "cut", "error", "true")), min_size=1, max_size=12)


def account_of(name: str) -> bytes:
    return ACCOUNTS[0] if name != NAMES[-1] else ACCOUNTS[1]


class LyingNode(RuleBasedStateMachine):
    """Callers, the node's lies, blocks, lost pools, strangers with the key, and power cuts, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.folder = Path(tempfile.mkdtemp(dir=RAM))
        self.lives = 0
        self.truth = ModelChain()
        self.owners: dict[bytes, tuple[str, bytes]] = {}
        self.asked: set[str] = set()
        self.calls: list[tuple[str, asyncio.Task[Outcome]]] = []

    # -- a life of the outbox

    @property
    def path(self) -> Path:
        return self.folder / f"outbox-{self.lives}"

    def owner(self, transaction_hash: bytes) -> tuple[str, bytes]:
        """Read through a connection of its own: what is handed in must be committed, for one request for all time."""
        path = self.path
        with sqlite3.connect(path) as file:
            row = file.execute(
                "SELECT request_id, account FROM attempt JOIN request USING (request_id) WHERE hash = ?",
                (transaction_hash,),
            ).fetchone()
        assert row is not None, "bytes were handed in that are not on disk"
        assert self.owners.setdefault(transaction_hash, row) == row, "one transaction, two requests"
        return self.owners[transaction_hash]

    @initialize()
    def start(self) -> None:
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        self.node = Connection(self.truth, self.owner)
        self.node.on_death = self._power_cut
        self.opened = Outbox.open(self.path, self.node, KEYSTORE, PATIENCE)  # type: ignore[arg-type]
        self.outbox = await self.opened.__aenter__()

    def _power_cut(self) -> None:
        """Keeps the files as they are at this moment; what the dying process still does is not in them."""
        for suffix in ("", "-wal"):
            found = self.folder / f"outbox-{self.lives}{suffix}"
            if found.exists():
                shutil.copy(found, self.folder / f"outbox-{self.lives + 1}{suffix}")

    async def _close(self) -> None:
        for _, task in self.calls:
            task.cancel()
        await asyncio.gather(*(task for _, task in self.calls), return_exceptions=True)
        self.calls.clear()
        await self.opened.__aexit__(None, None, None)

    async def _reborn(self) -> None:
        await self._close()
        self.lives += 1
        await self._open()

    async def _pass(self, seconds: float) -> None:
        timer, death = asyncio.ensure_future(asyncio.sleep(seconds)), asyncio.ensure_future(self.node.dead.wait())
        await asyncio.wait((timer, death), return_when=asyncio.FIRST_COMPLETED)
        for waiting in (timer, death):
            waiting.cancel()
        if self.node.dead.is_set():
            await self._reborn()
        self._hear()

    def _hear(self) -> None:
        """What callers were answered. Success must name a landed transaction of this very request."""
        for name, task in self.calls:
            answer = outcome_of(task)
            if isinstance(answer, Outcome):
                landed = {entry.hash: entry for entry, succeeded, _ in self.truth.landed() if succeeded}
                assert landed[answer.receipt.transaction_hash].owner == name
            elif answer is not None:
                assert isinstance(answer, LinkLearnerError), repr(answer)
        self.calls = [(name, task) for name, task in self.calls if not task.done()]

    def _ask(self, name: str) -> None:
        account = account_of(name)
        request = Request(request_id=name, account=account, kind="coin", contents=b"")
        self.asked.add(name)

        async def ask() -> Outcome:  # the same call for all, so that equal bytes would meet
            return await self.outbox.fulfil(request, always(Call(bytes(20), value=1)))

        self.calls.append((name, self.loop.create_task(ask())))

    # -- what may happen

    @rule(name=names, seconds=st.sampled_from((0.0, 0.01, 1.0, 15.0)))
    def a_caller_asks(self, name: str, seconds: float) -> None:
        self._ask(name)
        self.loop.run_until_complete(self._pass(seconds))

    @rule(seconds=st.sampled_from((0.01, 0.7, 4.0, 40.0)))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(self._pass(seconds))

    @rule(sendings=sendings)
    def the_node_will_lie_about_sendings(self, sendings: list[tuple[bool, str, float]]) -> None:
        self.node.sends.extend(sendings)

    @rule(readings=readings)
    def the_node_will_lie_about_reading(self, readings: list[str]) -> None:
        self.node.reads.extend(readings)

    @rule(take=st.booleans(), answer=st.sampled_from((None, *ANSWERS)), read=st.sampled_from(("true", "stale", "high")))
    def the_node_lies_from_now_on(self, take: bool, answer: str | None, read: str) -> None:
        self.node.every_send = None if answer is None else (take, answer, 0.0)
        self.node.every_read = read

    @rule(hidden=st.booleans())
    def receipts_are_hidden(self, hidden: bool) -> None:
        self.node.hide_receipts = hidden

    @rule(poison=st.booleans())
    def sendings_break_off(self, poison: bool) -> None:
        self.node.poison = poison

    @rule(price=st.sampled_from((10, 40, 7)))
    def the_price_changes(self, price: int) -> None:
        self.node.price_wei = price

    @rule(
        choice=st.integers(0, 3),
        fate=st.sampled_from(("success", "success", "success", "failure", "panic")),
        empty=st.integers(0, 6),
    )
    def a_block_is_made(self, choice: int, fate: str, empty: int) -> None:
        self.truth.mine(choice=choice, succeed=fate != "failure", panic=fate == "panic")
        for _ in range(empty):
            self.truth.blocks.append([])

    @rule()
    def the_pool_is_lost(self) -> None:
        self.truth.pool.clear()

    @rule(account=st.sampled_from(ACCOUNTS))
    def a_stranger_uses_the_key(self, account: bytes) -> None:
        self.node.stranger(account)

    @rule(steps=st.integers(0, 12), after_effect=st.booleans(), name=names)
    def the_power_will_fail(self, steps: int, after_effect: bool, name: str) -> None:
        self.node.dies_in, self.node.dies_after_effect = steps, after_effect
        self._ask(name)
        self.loop.run_until_complete(self._pass(5.0))

    @invariant()
    def no_request_landed_twice(self) -> None:
        count = Counter(entry.owner for entry, _, _ in self.truth.landed() if entry.owner)
        assert all(landed == 1 for landed in count.values()), count

    # -- the end: the node becomes honest, and everybody asks again

    def teardown(self) -> None:
        try:
            if hasattr(self, "outbox"):
                self.loop.run_until_complete(self._honest_end())
                self.no_request_landed_twice()
        finally:
            self.loop.close()
            asyncio.set_event_loop(None)
            shutil.rmtree(self.folder)

    async def _honest_end(self) -> None:
        self._power_cut()
        self.node.dead.set()  # what the dying process still wants to send does not go out
        await self._reborn()  # a new connection: no lies
        miner = asyncio.ensure_future(self._mines())
        try:
            async with asyncio.timeout(3000):
                await asyncio.sleep(5 * PATIENCE.review_s)
                self._what_landed_is_known()
                for name in sorted(self.asked):
                    await self._ends(name)
        finally:
            miner.cancel()
            await self._close()
        owned = {name: [(e, ok) for e, ok, _ in self.truth.landed() if e.owner == name] for name in self.asked}
        for name, landed in owned.items():
            match self._state(name):
                case State.MINED:
                    assert [ok for _, ok in landed] == [True]
                case State.FAILED:
                    assert [ok for _, ok in landed] in ([False], []), "failed, and yet it is in a block"
                    assert not [entry for entry in self.truth.pool if entry.owner == name]
                case other:
                    raise AssertionError(f"{name} has not ended: {other}")

    def _what_landed_is_known(self) -> None:
        """Without anybody asking, no request is on file as open whose transaction an honest node shows in a block."""
        for entry, _, _ in self.truth.landed():
            assert not entry.owner or self._state(entry.owner) in (State.MINED, State.FAILED), entry

    async def _mines(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.truth.mine()

    async def _ends(self, name: str) -> None:
        while True:
            request = Request(request_id=name, account=account_of(name), kind="coin", contents=b"")
            try:
                await self.outbox.fulfil(request, always(Call(bytes(20), value=1)))
            except (Unavailable, TimedOut):
                continue
            except Refused:
                if self.outbox.state(name) is State.FAILED:
                    return
                raise
            return

    def _state(self, name: str) -> Any:
        with sqlite3.connect(self.path) as file:
            return State(file.execute("SELECT state FROM request WHERE request_id = ?", (name,)).fetchone()[0])


def test_each_request_ends_in_one_transaction_whatever_the_node_says() -> None:
    run(LyingNode, "OUTBOX_MODEL", examples=100, steps=30)
