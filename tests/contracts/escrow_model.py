"""A plain Python model of contracts/InferenceEscrow.sol, and vouchers as the random histories of its tests show them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from bench.escrow import DELAY_S


@dataclass(frozen=True)
class Shown:
    """A voucher as a server shows it, and who signed it."""

    client: int
    server: int
    task: int
    amount: int
    lifetime: int
    """Seconds from the history's beginning to its expiry."""
    signer: int
    elsewhere: bool
    """Signed for another chain."""


@dataclass
class Model:
    """What the escrow is meant to do, in the order of its checks. Wei throughout."""

    balances: dict[int, int]
    server_bps: dict[int, int]
    """Of the tasks that there are."""
    fees: int = 0
    """With the pool, whatever it does with them."""
    deposits: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    withdrawable_at: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    redeemed: dict[tuple[int, int, int], int] = field(default_factory=lambda: defaultdict(int))
    last_fees: list[tuple[int, int]] = field(default_factory=list)
    """Of the last redemption: task and wei for the pool, one for each change of task."""

    def deposit(self, client: int, server: int, amount: int) -> str | None:
        """The error's name, None if it goes well; so do the others."""
        if amount == 0:
            return "ZeroAmount"
        if amount > 2**128 - 1 - self.deposits[client, server]:
            return "DepositLimit"
        if amount > self.balances[client]:
            return "ERC20InsufficientBalance"
        self.balances[client] -= amount
        self.deposits[client, server] += amount
        self.withdrawable_at[client, server] = 0
        return None

    def ask(self, client: int, server: int, now: int) -> str | None:
        if self.withdrawable_at[client, server]:
            return "AlreadyAsked"
        if not self.deposits[client, server]:
            return "NothingDeposited"
        self.withdrawable_at[client, server] = now + DELAY_S
        return None

    def withdraw(self, client: int, server: int, now: int) -> str | None:
        if not self.withdrawable_at[client, server]:
            return "NotAsked"
        if now < self.withdrawable_at[client, server]:
            return "NotYetWithdrawable"
        if not self.deposits[client, server]:
            return "NothingDeposited"
        self.balances[client] += self.deposits[client, server]
        self.deposits[client, server] = self.withdrawable_at[client, server] = 0
        return None

    def redeem(self, server: int, shown: list[Shown], age: int) -> tuple[str | None, list[int]]:
        """What each voucher pays. age: seconds since the history's beginning. `last_fees` has what each sharing is of."""
        self.last_fees = []
        if any(voucher.server != server for voucher in shown):
            return "NotTheServer", []
        paid = [self._debit(voucher, age) for voucher in shown]
        runs: list[list[int]] = []  # task, amount
        run = [0, 0]
        for voucher, amount in zip(shown, paid, strict=True):
            if not run[1] or run[0] != voucher.task:
                if voucher.task not in self.server_bps:
                    continue
                run = [voucher.task, 0]  # one that pays nothing comes between those of another task, too
            if amount and not run[1]:
                runs.append(run)
            run[1] += amount
        for task, amount in runs:
            share = amount * self.server_bps[task] // 10_000
            self.balances[server] += share
            self.fees += amount - share
            self.last_fees.append((task, amount - share))
        return None, paid

    def _debit(self, voucher: Shown, age: int) -> int:
        channel, debt = (voucher.client, voucher.server), (voucher.client, voucher.server, voucher.task)
        good = voucher.task in self.server_bps and age <= voucher.lifetime
        good = good and not voucher.elsewhere and voucher.signer in (0, voucher.client)
        paid = min(max(voucher.amount - self.redeemed[debt], 0), self.deposits[channel]) if good else 0
        self.deposits[channel] -= paid
        self.redeemed[debt] += paid
        return paid
