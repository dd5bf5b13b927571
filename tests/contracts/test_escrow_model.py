"""Random histories of the escrow against a plain Python model of it: every balance, channel and event, after every step.

In short form with the other tests. Long form:

    ESCROW_MODEL_EXAMPLES=100 ESCROW_MODEL_STEPS=200 .venv/bin/python -m pytest tests/contracts/test_escrow_model.py
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bench.escrow import DELAY_S, TOKEN, EscrowChain, EscrowReverted, Voucher
from bench.pool import account
from linklearner.domain.voucher import domain_separator
from tests.contracts.escrow_model import Model, Shown
from tests.contracts.escrow_pool import escrow_pool
from tests.state_machine import run

CLIENTS = (1, 2, 3)
SERVERS = (3, 9, 10)
"""Account 3 is both: a client of others and of itself."""
SERVER_BPS = {1: 5000, 2: 1000, 3: 0}
TASKS = (1, 2, 3, 77)  # the last is unknown
PURSE = 1000
"""Wei that each client has at the beginning: little, so that deposits run dry."""

clients, servers, tasks = st.sampled_from(CLIENTS), st.sampled_from(SERVERS), st.sampled_from(TASKS)
amounts = st.one_of(st.integers(0, 40), st.integers(0, PURSE), st.sampled_from((2**128 - 1, 2**128, 2**256 - 1)))


vouchers = st.builds(
    Shown,
    client=clients,
    server=servers,
    task=tasks,
    amount=amounts,
    lifetime=st.sampled_from((0, 500, 2 * DELAY_S, 10**9)),
    signer=st.sampled_from((0, 0, 0, 0, 1, 9)),  # 0: its client
    elsewhere=st.sampled_from((False, False, False, True)),
)


@cache
def deployed() -> EscrowChain:
    chain = EscrowChain.deployed(escrow_pool())
    for client in CLIENTS:  # all but their purses back to the treasury
        rest = chain.balance(client) - PURSE
        chain.world.send(account(client), chain.world.token, TOKEN.encode_call("transfer", account(0).address, rest))
    return chain


class Histories(RuleBasedStateMachine):
    """Clients, servers and time, in any order."""

    @initialize()
    def begin(self) -> None:
        self.escrow = deployed()
        self.head = self.escrow.world.chain.head
        self.now = self.head.timestamp
        accounts = {*CLIENTS, *SERVERS}
        self.model = Model({index: self.escrow.balance(index) for index in accounts}, SERVER_BPS)
        self.fees = self.escrow.tasks.held(self.escrow.world)
        self.supply = self.escrow.world.supply()
        self.others = self.supply - sum(self.model.balances.values())
        self.history: list[Shown] = []

    def _tick(self, seconds: int = 1) -> int:
        """The time of the next block, which is set."""
        self.now += seconds
        self.escrow.world.chain.set_next_timestamp(self.now)
        return self.now

    def _agrees(self, expected: str | None, action: Any, *arguments: Any) -> Any:
        try:
            receipt = action(*arguments)
        except EscrowReverted as reverted:
            assert reverted.name == expected, (reverted, expected)
            return None
        assert expected is None, expected
        return receipt

    @rule(client=clients, server=servers, amount=amounts)
    def deposit(self, client: int, server: int, amount: int) -> None:
        self._tick()
        self._agrees(self.model.deposit(client, server, amount), self.escrow.deposit, client, server, amount)

    @rule(client=clients, server=servers)
    def ask(self, client: int, server: int) -> None:
        expected = self.model.ask(client, server, self._tick())
        self._agrees(expected, self.escrow.transact, account(client), "askWithdrawal", account(server).address)

    @rule(client=clients, server=servers, late=st.sampled_from((0, 0, -1, DELAY_S)))
    def withdraw(self, client: int, server: int, late: int) -> None:
        """At the second from which it may, about then, or whenever."""
        due = self.model.withdrawable_at[client, server]
        now = self._tick(max(due + late - self.now, 1) if due else 1)
        expected = self.model.withdraw(client, server, now)
        self._agrees(expected, self.escrow.transact, account(client), "withdraw", account(server).address)

    @rule(shown=st.lists(vouchers, min_size=1, max_size=5), again=st.integers(0, 3), stray=st.integers(0, 9))
    def redeem(self, shown: list[Shown], again: int, stray: int) -> None:
        """New vouchers and old ones again; now and then with one for another server."""
        server = shown[0].server
        batch = shown + self.history[-again:] * (again > 0)
        if stray:
            batch = [dataclasses.replace(voucher, server=server) for voucher in batch]
        self.history += [voucher for voucher in batch if voucher not in self.history]
        expected, paid = self.model.redeem(server, batch, self._tick() - self.head.timestamp)
        receipt = self._agrees(expected, self.escrow.redeem, server, [self._signed(voucher) for voucher in batch])
        if receipt is not None:
            values = [event for event in self.escrow.events(receipt) if event.name.startswith("Voucher")]
            assert [event.values.get("paid", 0) for event in values] == paid

    def _signed(self, shown: Shown) -> tuple[Voucher, bytes]:
        voucher, signature = self.escrow.voucher(
            shown.client,
            shown.server,
            shown.amount,
            shown.task,
            expiry=self.head.timestamp + shown.lifetime,
        )
        elsewhere = domain_separator(1, self.escrow.escrow) if shown.elsewhere else None
        if shown.signer or shown.elsewhere:
            signature = self.escrow.sign(shown.signer or shown.client, voucher, elsewhere)
        return voucher, signature

    @rule(seconds=st.sampled_from((60, DELAY_S - 1, DELAY_S, 10 * DELAY_S)))
    def time_passes(self, seconds: int) -> None:
        self._tick(seconds)
        self.escrow.world.chain.mine()

    @rule(client=clients, server=servers)
    def nobody_else_withdraws_or_asks(self, client: int, server: int) -> None:
        """A stranger who names the same server moves nothing."""
        self._tick()
        self._agrees("NotAsked", self.escrow.transact, account(7), "withdraw", account(server).address)

    @invariant()
    def chain_and_model_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        escrow, model = self.escrow, self.model
        for client in CLIENTS:
            for server in SERVERS:
                channel = (client, server)
                assert escrow.channel(*channel) == (model.deposits[channel], model.withdrawable_at[channel])
                for task in TASKS:
                    assert escrow.redeemed(client, server, task) == model.redeemed[client, server, task]
        balances = {index: escrow.balance(index) for index in model.balances}
        assert balances == model.balances
        assert escrow.held() == sum(model.deposits.values())
        fees = escrow.tasks.held(escrow.world) - self.fees
        assert fees == model.fees
        assert sum(balances.values()) + escrow.held() + fees + self.others == self.supply == escrow.world.supply()

    def teardown(self) -> None:
        if hasattr(self, "head"):
            self.escrow.world.chain.rewind(self.head.number)


def test_the_escrow_does_what_its_model_does() -> None:
    run(Histories, "ESCROW_MODEL", examples=15, steps=25)
