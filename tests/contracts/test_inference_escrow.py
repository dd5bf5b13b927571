"""The escrow's own rules and what clients, servers and strangers try on it, by transactions on a chain.

Over the pool that tests/contracts/escrow_pool.py names; what needs another token than $LL runs over a double (bench/contracts).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account.messages import encode_typed_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.contracts import built
from bench.escrow import (
    CLIENTS,
    DELAY_S,
    ESCROW,
    TOKEN,
    EscrowChain,
    EscrowReverted,
    FeePool,
    Voucher,
    create,
    deploy_escrow,
    redemption,
    voucher_tuple,
)
from bench.pool import account, address_of
from devchain.chain.blocks import StoredReceipt
from linklearner import artifacts
from linklearner.chain.abi import Interface
from linklearner.domain.notation import LL_WEI
from linklearner.domain.voucher import NAME, VERSION, domain_separator
from tests.contracts.escrow_pool import escrow_pool
from tests.vectors.generate import HERE

SERVER, OTHER_SERVER = CLIENTS + 1, CLIENTS + 2
HALF, TENTH, NOTHING = 1, 2, 3
"""The tasks of EscrowChain, by their server's share."""
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1."""
REASONS = ("None", "Expired", "NothingNew", "NothingLeft", "UnknownTask", "WrongSignature")
WALLET = Interface(built()["contracts"]["Wallet"]["abi"])
MANNERS = ("Signs", "Refuses", "Burns", "Reverts", "Mumbles")


@pytest.fixture(scope="module")
def deployed() -> Iterator[EscrowChain]:
    chain = EscrowChain.deployed(escrow_pool())
    yield chain
    chain.world.chain.close()


@pytest.fixture
def escrow(deployed: EscrowChain) -> Iterator[EscrowChain]:
    """An escrow with three tasks and no deposits; what a test does is undone."""
    head = deployed.world.chain.head.number
    yield deployed
    deployed.world.chain.rewind(head)


@pytest.fixture(scope="module")
def deployed_beside_a_double() -> Iterator[EscrowChain]:
    """More tokens than $LL has, and a pool whose totals can be set: always the double."""
    chain = EscrowChain.deployed(FeePool("HookedToken", 2**255))
    yield chain
    chain.world.chain.close()


@pytest.fixture
def double(deployed_beside_a_double: EscrowChain) -> Iterator[EscrowChain]:
    head = deployed_beside_a_double.world.chain.head.number
    yield deployed_beside_a_double
    deployed_beside_a_double.world.chain.rewind(head)


def refused(name: str, action: Callable[[], object]) -> dict[str, Any]:
    """The action reverts with this very error; its values."""
    with pytest.raises(EscrowReverted) as reverted:
        action()
    assert reverted.value.name == name, reverted.value
    return reverted.value.values


def paid(escrow: EscrowChain, receipt: StoredReceipt) -> list[int]:
    """What each redeemed voucher paid."""
    return [event.values["paid"] for event in escrow.events(receipt) if event.name == "VoucherRedeemed"]


def skipped(escrow: EscrowChain, receipt: StoredReceipt) -> list[str]:
    """Why vouchers were passed over."""
    return [REASONS[event.values["reason"]] for event in escrow.events(receipt) if event.name == "VoucherSkipped"]


def redeem(escrow: EscrowChain, *signed: tuple[Voucher, bytes], server: int = SERVER) -> tuple[list[int], list[str]]:
    """What was paid, and why others were not. Not a wei appears or disappears on the way."""
    places = lambda: (escrow.held(), escrow.balance(server), escrow.tasks.held(escrow.world))  # noqa: E731
    before = places()
    receipt = escrow.redeem(server, signed)
    after = places()
    amounts = paid(escrow, receipt)
    splits = [event.values for event in escrow.events(receipt) if event.name == "FeesSplit"]
    to_server, to_pool = sum(s["toServer"] for s in splits), sum(s["toPool"] for s in splits)
    assert sum(amounts) == to_server + to_pool
    assert tuple(b - a for a, b in zip(before, after, strict=True)) == (-sum(amounts), to_server, to_pool)
    return amounts, skipped(escrow, receipt)


# ── Deposits and withdrawals ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_deposit_is_the_clients_for_one_server(escrow: EscrowChain) -> None:
    before = escrow.balance(1)
    receipt = escrow.deposit(1, SERVER, 700)
    escrow.deposit(1, SERVER, 300)
    assert escrow.channel(1, SERVER) == (1000, 0)
    assert escrow.channel(1, OTHER_SERVER) == escrow.channel(2, SERVER) == (0, 0)
    assert (escrow.balance(1), escrow.held()) == (before - 1000, 1000)
    (event,) = escrow.events(receipt)
    assert (event.name, event.values["amount"], event.values["deposit"]) == ("Deposited", 700, 700)


def test_nobody_deposits_nothing_or_what_he_has_not(escrow: EscrowChain) -> None:
    refused("ZeroAmount", lambda: escrow.deposit(1, SERVER, 0))
    refused("ERC20InsufficientBalance", lambda: escrow.deposit(1, SERVER, escrow.balance(1) + 1))
    escrow.approve(account(1), 4)
    refused("ERC20InsufficientAllowance", lambda: escrow.deposit(1, SERVER, 5))
    assert (escrow.held(), escrow.channel(1, SERVER)) == (0, (0, 0))


def permit(escrow: EscrowChain, client: int, amount: int, deadline: int = 2**256 - 1) -> tuple[int, bytes, bytes]:
    """v, r, s of an ERC-2612 permit for the escrow; the client's first."""
    typed = encode_typed_data(
        {
            "name": "LinkLearner",
            "version": "1",
            "chainId": escrow.world.chain.config.chain_id,
            "verifyingContract": "0x" + escrow.world.token.hex(),
        },
        {
            "Permit": [
                {"name": "owner", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ]
        },
        {
            "owner": account(client).address,
            "spender": "0x" + escrow.escrow.hex(),
            "value": amount,
            "nonce": 0,
            "deadline": deadline,
        },
    )
    signed = account(client).sign_message(typed)
    return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


def test_a_permit_takes_the_place_of_an_approval(escrow: EscrowChain) -> None:
    escrow.approve(account(1), 0)
    arguments = (account(SERVER).address, 500, 2**256 - 1, *permit(escrow, 1, 500))
    escrow.transact(account(1), "depositWithPermit", *arguments)
    assert escrow.channel(1, SERVER) == (500, 0)
    refused("ERC20InsufficientAllowance", lambda: escrow.transact(account(1), "depositWithPermit", *arguments))


def test_a_permit_that_a_stranger_used_first_does_not_stop_the_deposit(escrow: EscrowChain) -> None:
    escrow.approve(account(1), 0)
    v, r, s = permit(escrow, 1, 500)
    stolen = TOKEN.encode_call("permit", account(1).address, "0x" + escrow.escrow.hex(), 500, 2**256 - 1, v, r, s)
    escrow.world.send(account(7), escrow.world.token, stolen)
    escrow.transact(account(1), "depositWithPermit", account(SERVER).address, 500, 2**256 - 1, v, r, s)
    assert escrow.channel(1, SERVER) == (500, 0)


def test_anothers_permit_deposits_nothing(escrow: EscrowChain) -> None:
    escrow.approve(account(1), 0)
    escrow.approve(account(2), 0)
    stolen = permit(escrow, 1, 500)
    refused(
        "ERC20InsufficientAllowance",
        lambda: escrow.transact(account(2), "depositWithPermit", account(SERVER).address, 500, 2**256 - 1, *stolen),
    )


def test_a_withdrawal_waits_for_its_delay_to_the_second(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 1000)
    server = account(SERVER).address
    refused("NotAsked", lambda: escrow.transact(account(1), "withdraw", server))
    (event,) = escrow.events(escrow.transact(account(1), "askWithdrawal", server))
    ready = escrow.world.chain.head.timestamp + DELAY_S
    assert (event.name, event.values["withdrawableAt"]) == ("WithdrawalAsked", ready)
    assert escrow.channel(1, SERVER) == (1000, ready)
    escrow.world.chain.set_next_timestamp(ready - 1)
    error = refused("NotYetWithdrawable", lambda: escrow.transact(account(1), "withdraw", server))
    assert error == {"withdrawableAt": ready}
    before = escrow.balance(1)
    escrow.world.chain.set_next_timestamp(ready)
    (event,) = escrow.events(escrow.transact(account(1), "withdraw", server))
    assert (event.name, event.values["amount"], escrow.balance(1) - before) == ("Withdrawn", 1000, 1000)
    assert (escrow.channel(1, SERVER), escrow.held()) == ((0, 0), 0)
    refused("NotAsked", lambda: escrow.transact(account(1), "withdraw", server))


def test_nothing_is_asked_for_where_nothing_is(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 5)
    refused("NothingDeposited", lambda: escrow.transact(account(1), "askWithdrawal", account(OTHER_SERVER).address))
    refused("NothingDeposited", lambda: escrow.transact(account(2), "askWithdrawal", account(SERVER).address))
    refused("NotAsked", lambda: escrow.transact(account(2), "withdraw", account(SERVER).address))


def test_asking_again_is_refused_and_moves_no_date(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 5)
    escrow.transact(account(1), "askWithdrawal", account(SERVER).address)
    channel = escrow.channel(1, SERVER)
    error = refused("AlreadyAsked", lambda: escrow.transact(account(1), "askWithdrawal", account(SERVER).address))
    assert error == {"withdrawableAt": channel[1]}
    assert escrow.channel(1, SERVER) == channel


def test_a_deposit_revokes_a_withdrawal_so_that_none_lies_ready(escrow: EscrowChain) -> None:
    """Else a client asks once, waits, deposits, uses the service, and is gone in the block in which it should pay."""
    escrow.deposit(1, SERVER, 10)
    server = account(SERVER).address
    escrow.transact(account(1), "askWithdrawal", server)
    escrow.pass_time(DELAY_S)
    events = escrow.events(escrow.deposit(1, SERVER, 1000))
    assert [event.name for event in events] == ["WithdrawalRevoked", "Deposited"]
    assert escrow.channel(1, SERVER) == (1010, 0)
    refused("NotAsked", lambda: escrow.transact(account(1), "withdraw", server))
    escrow.transact(account(1), "askWithdrawal", server)
    assert escrow.channel(1, SERVER)[1] == escrow.world.chain.head.timestamp + DELAY_S
    refused("NotYetWithdrawable", lambda: escrow.transact(account(1), "withdraw", server))


def test_nobody_else_touches_a_clients_withdrawal(escrow: EscrowChain) -> None:
    """Deposits of others for the same server are theirs: they neither revoke nor delay."""
    escrow.deposit(1, SERVER, 10)
    escrow.transact(account(1), "askWithdrawal", account(SERVER).address)
    channel = escrow.channel(1, SERVER)
    escrow.deposit(2, SERVER, 1)
    assert escrow.channel(1, SERVER) == channel


@pytest.mark.parametrize("delay", [0, 30 * 86400 + 1, 2**64 - 1])
def test_a_delay_that_protects_nobody_or_locks_money_up_is_refused(escrow: EscrowChain, delay: int) -> None:
    with pytest.raises(Exception) as reverted:
        deploy_escrow(escrow.world, delay)
    assert ESCROW.decode_error(reverted.value.receipt.output).name == "BadDelay"  # type: ignore[attr-defined]


@pytest.mark.parametrize("delay", [1, 30 * 86400])
def test_delays_hold_their_bounds_from_inside(escrow: EscrowChain, delay: int) -> None:
    other = dataclasses.replace(escrow, escrow=deploy_escrow(escrow.world, delay))
    assert other.read("withdrawalDelay") == {"0": delay}


# ── Redeeming ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("task", "to_server"), [(HALF, 500), (TENTH, 100), (NOTHING, 0)])
def test_a_voucher_pays_its_server_and_its_task(escrow: EscrowChain, task: int, to_server: int) -> None:
    escrow.deposit(1, SERVER, 5000)
    receipt = escrow.redeem(SERVER, [escrow.voucher(1, SERVER, 1000, task)])
    redeemed, split = escrow.events(receipt)
    assert (redeemed.name, redeemed.values["paid"], redeemed.values["redeemed"]) == ("VoucherRedeemed", 1000, 1000)
    assert (split.name, split.values["toServer"], split.values["toPool"]) == ("FeesSplit", to_server, 1000 - to_server)
    assert (escrow.balance(SERVER), escrow.tasks.held(escrow.world)) == (to_server, 1000 - to_server)
    assert (escrow.channel(1, SERVER), escrow.redeemed(1, SERVER, task)) == ((4000, 0), 1000)


def test_amounts_are_sums_since_the_beginning(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 5000)
    first, second, third = (escrow.voucher(1, SERVER, amount) for amount in (1000, 1700, 1701))
    assert redeem(escrow, first) == ([1000], [])
    assert redeem(escrow, third) == ([701], [])
    assert redeem(escrow, second) == ([], ["NothingNew"])  # lower than what was redeemed
    assert escrow.redeemed(1, SERVER) == 1701


def test_a_voucher_is_redeemed_once_however_often_it_is_shown(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 5000)
    voucher = escrow.voucher(1, SERVER, 1000)
    assert redeem(escrow, voucher, voucher, voucher) == ([1000], ["NothingNew", "NothingNew"])
    assert redeem(escrow, voucher) == ([], ["NothingNew"])


def test_one_clients_debts_in_two_tasks_are_two(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 5000)
    assert redeem(escrow, escrow.voucher(1, SERVER, 1000, HALF), escrow.voucher(1, SERVER, 400, TENTH)) == (
        [1000, 400],
        [],
    )
    assert (escrow.redeemed(1, SERVER, HALF), escrow.redeemed(1, SERVER, TENTH)) == (1000, 400)
    assert escrow.balance(SERVER) == 540


def test_one_bad_voucher_does_not_lose_the_others(escrow: EscrowChain) -> None:
    for client in range(1, 7):
        escrow.deposit(client, SERVER, 1000)
    now = escrow.world.chain.head.timestamp
    good = [escrow.voucher(client, SERVER, 10 * client) for client in (1, 2)]
    forged = escrow.voucher(3, SERVER, 5)[0]
    bad = [
        escrow.voucher(3, SERVER, 5, expiry=now - 1),
        (forged, escrow.sign(4, forged)),
        escrow.voucher(4, SERVER, 0),
        escrow.voucher(5, SERVER, 5, task=99),
        escrow.voucher(5, SERVER, 5, task=0),
        escrow.voucher(7, SERVER, 5),  # has not deposited
    ]
    last = escrow.voucher(6, SERVER, 60)
    amounts, reasons = redeem(escrow, good[0], *bad, good[1], last)
    assert amounts == [10, 20, 60]
    assert reasons == ["Expired", "WrongSignature", "NothingNew", "UnknownTask", "UnknownTask", "NothingLeft"]
    assert escrow.redeemed(5, SERVER, 99) == 0


def test_vouchers_of_a_task_that_stand_together_are_shared_once(escrow: EscrowChain) -> None:
    for client in (1, 2, 3):
        escrow.deposit(client, SERVER, 1000)
    one = [escrow.voucher(client, SERVER, 101, TENTH) for client in (1, 2)]
    two = escrow.voucher(3, SERVER, 50, HALF)
    splits = [e.values for e in escrow.events(escrow.redeem(SERVER, [*one, two])) if e.name == "FeesSplit"]
    assert [(s["task"], s["toServer"], s["toPool"]) for s in splits] == [(TENTH, 20, 182), (HALF, 25, 25)]


def test_tasks_in_any_order_are_split_right(escrow: EscrowChain) -> None:
    for client in (1, 2, 3):
        escrow.deposit(client, SERVER, 1000)
    vouchers = [escrow.voucher(client, SERVER, 100, task) for client in (1, 2) for task in (HALF, NOTHING, TENTH)]
    assert redeem(escrow, *vouchers, escrow.voucher(3, SERVER, 0, HALF)) == ([100] * 6, ["NothingNew"])
    assert escrow.balance(SERVER) == 2 * (50 + 0 + 10)


def test_what_redeeming_would_pay_can_be_asked(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 70)
    data = ESCROW.encode_call("redeem", *redemption([escrow.voucher(1, SERVER, 100)]))
    answer = escrow.world.ask(escrow.escrow, data, address_of(account(SERVER)))
    assert ESCROW.decode_result("redeem", answer) == {"paid": 70}


def test_nothing_is_redeemed_from_nothing(escrow: EscrowChain) -> None:
    assert escrow.events(escrow.redeem(SERVER, [])) == []


def test_a_closed_task_is_still_paid_for(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 1000)
    escrow.tasks.close(escrow.world, HALF)
    assert redeem(escrow, escrow.voucher(1, SERVER, 100)) == ([100], [])


# ── Attacks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_voucher_is_good_for_one_escrow_on_one_chain(escrow: EscrowChain) -> None:
    """Replayed to another escrow of the same pool, and from another chain."""
    twin = dataclasses.replace(escrow, escrow=deploy_escrow(escrow.world))
    twin.approve(account(1))
    for place in (escrow, twin):
        place.deposit(1, SERVER, 1000)
    voucher, signature = escrow.voucher(1, SERVER, 100)
    assert redeem(twin, (voucher, signature)) == ([], ["WrongSignature"])
    chain_id = escrow.world.chain.config.chain_id
    elsewhere = domain_separator(chain_id + 1, escrow.escrow)
    assert redeem(escrow, (voucher, escrow.sign(1, voucher, elsewhere))) == ([], ["WrongSignature"])
    assert redeem(escrow, (voucher, signature)) == ([100], [])


@pytest.mark.parametrize("change", [{"task": TENTH}, {"amount": 101}, {"expiry": 2**63}], ids=str)
def test_a_voucher_that_was_altered_is_nobodys(escrow: EscrowChain, change: dict[str, int]) -> None:
    escrow.deposit(1, SERVER, 1000)
    voucher, signature = escrow.voucher(1, SERVER, 100)
    assert redeem(escrow, (dataclasses.replace(voucher, **change), signature)) == ([], ["WrongSignature"])


def test_a_voucher_for_one_server_is_of_no_use_to_another(escrow: EscrowChain) -> None:
    """Neither as it is, nor with the other's name on it, nor to a stranger who redeems for its server."""
    escrow.deposit(1, SERVER, 1000)
    escrow.deposit(1, OTHER_SERVER, 1000)
    voucher, signature = escrow.voucher(1, SERVER, 100)
    values = refused("NotTheServer", lambda: escrow.redeem(OTHER_SERVER, [(voucher, signature)]))
    assert values == {"server": address_of(account(SERVER)), "caller": address_of(account(OTHER_SERVER))}
    refused("NotTheServer", lambda: escrow.redeem(1, [(voucher, signature)]))
    renamed = dataclasses.replace(voucher, server=address_of(account(OTHER_SERVER)))
    assert redeem(escrow, (renamed, signature), server=OTHER_SERVER) == ([], ["WrongSignature"])


def test_two_servers_cannot_be_paid_from_one_deposit(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 100)
    one, two = escrow.voucher(1, SERVER, 100), escrow.voucher(1, OTHER_SERVER, 100)
    assert redeem(escrow, one) == ([100], [])
    assert redeem(escrow, two, server=OTHER_SERVER) == ([], ["NothingLeft"])
    escrow.deposit(2, SERVER, 100)
    assert redeem(escrow, two, server=OTHER_SERVER) == ([], ["NothingLeft"])  # what others deposited is not touched


def test_beyond_the_deposit_what_is_left_is_paid_and_the_rest_stays_owed(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 60)
    escrow.deposit(2, SERVER, 1000)
    voucher = escrow.voucher(1, SERVER, 100)
    assert redeem(escrow, voucher) == ([60], [])
    assert escrow.redeemed(1, SERVER) == 60
    assert redeem(escrow, voucher) == ([], ["NothingLeft"])
    assert escrow.channel(2, SERVER) == (1000, 0)
    escrow.deposit(1, SERVER, 1000)
    assert redeem(escrow, voucher) == ([40], [])
    assert redeem(escrow, voucher) == ([], ["NothingNew"])


def test_tasks_of_a_channel_share_its_deposit(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 100)
    one, two = escrow.voucher(1, SERVER, 80, HALF), escrow.voucher(1, SERVER, 80, TENTH)
    assert redeem(escrow, one, two) == ([80, 20], [])
    assert escrow.channel(1, SERVER) == (0, 0)


def test_a_voucher_expires_after_its_last_second(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 1000)
    expiry = escrow.world.chain.head.timestamp + 1000
    early, late = (escrow.voucher(1, SERVER, amount, expiry=expiry) for amount in (10, 20))
    escrow.world.chain.set_next_timestamp(expiry)
    assert redeem(escrow, early) == ([10], [])
    escrow.world.chain.set_next_timestamp(expiry + 1)
    assert redeem(escrow, late) == ([], ["Expired"])


def test_what_is_redeemed_while_a_withdrawal_waits_is_the_servers(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 1000)
    server = account(SERVER).address
    early, late, later = (escrow.voucher(1, SERVER, amount) for amount in (300, 500, 900))
    escrow.transact(account(1), "askWithdrawal", server)
    ready = escrow.channel(1, SERVER)[1]
    assert redeem(escrow, early) == ([300], [])
    assert escrow.channel(1, SERVER) == (700, ready)  # redeeming moves no date
    escrow.world.chain.set_next_timestamp(ready + 5)
    assert redeem(escrow, late) == ([200], [])  # and until the money has left
    before = escrow.balance(1)
    escrow.transact(account(1), "withdraw", server)
    assert escrow.balance(1) - before == 500
    assert redeem(escrow, later) == ([], ["NothingLeft"])


def test_withdrawal_and_redemption_in_one_block_pay_once_in_either_order(escrow: EscrowChain) -> None:
    """The race: the first in the block wins, and the other finds what is left."""
    for first in ("client", "server"):
        head = escrow.world.chain.head.number
        escrow.deposit(1, SERVER, 1000)
        voucher = escrow.voucher(1, SERVER, 400)
        escrow.transact(account(1), "askWithdrawal", account(SERVER).address)
        calls = [
            (account(1), ESCROW.encode_call("withdraw", account(SERVER).address)),
            (account(SERVER), ESCROW.encode_call("redeem", *redemption([voucher]))),
        ]
        before = escrow.balance(1)
        for price, (signer, data) in zip((20, 10), calls if first == "client" else calls[::-1], strict=True):
            escrow.world.chain.submit(signed_transaction(escrow, signer, data, price * 10**9))
        escrow.pass_time(DELAY_S)
        receipts = escrow.world.chain.mine().receipts
        assert [receipt.status for receipt in receipts] == [1, 1]
        redeemed = 0 if first == "client" else 400
        assert escrow.balance(1) - before == 1000 - redeemed
        assert (escrow.redeemed(1, SERVER), escrow.held()) == (redeemed, 0)
        escrow.world.chain.rewind(head)


def signed_transaction(escrow: EscrowChain, signer: Any, data: bytes, gas_price: int) -> bytes:
    fields = {
        "nonce": escrow.world.chain.pending_nonce(address_of(signer)),
        "gas": 10**6,
        "gasPrice": gas_price,
        "value": 0,
        "data": data,
        "chainId": escrow.world.chain.config.chain_id,
        "to": escrow.escrow,
    }
    return bytes(signer.sign_transaction(fields).raw_transaction)


def test_an_empty_channel_with_a_withdrawal_asked_is_opened_again_by_a_deposit(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 100)
    escrow.transact(account(1), "askWithdrawal", account(SERVER).address)
    assert redeem(escrow, escrow.voucher(1, SERVER, 100)) == ([100], [])
    escrow.pass_time(DELAY_S)
    refused("NothingDeposited", lambda: escrow.transact(account(1), "withdraw", account(SERVER).address))
    escrow.deposit(1, SERVER, 5)
    assert escrow.channel(1, SERVER) == (5, 0)


def test_a_debt_that_was_not_redeemed_in_time_is_owed_again_when_its_client_deposits_again(escrow: EscrowChain) -> None:
    """Amounts never start anew: the service was given. The client's way out is the voucher's expiry."""
    escrow.deposit(1, SERVER, 1000)
    redeemed, owed = escrow.voucher(1, SERVER, 300), escrow.voucher(1, SERVER, 500)
    expiring = escrow.voucher(1, SERVER, 800, expiry=escrow.world.chain.head.timestamp + DELAY_S - 1)
    assert redeem(escrow, redeemed) == ([300], [])
    escrow.transact(account(1), "askWithdrawal", account(SERVER).address)
    escrow.pass_time(DELAY_S)
    escrow.transact(account(1), "withdraw", account(SERVER).address)
    assert redeem(escrow, owed) == ([], ["NothingLeft"])
    escrow.deposit(1, SERVER, 1000)
    assert redeem(escrow, redeemed, expiring, owed) == ([200], ["NothingNew", "Expired"])


def test_a_wrong_signature_pays_nothing_whatever_is_wrong_with_it(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 1000)
    voucher, good = escrow.voucher(1, SERVER, 100)
    r, s, v = good[:32], int.from_bytes(good[32:64], "big"), good[64]
    bad = [
        b"",
        good[:64],
        good + b"\0",
        good[:64] + bytes([v - 27]),
        good[:64] + bytes([55 - v]),
        bytes(65),
        b"\xff" * 65,
        r + (ORDER - s).to_bytes(32, "big") + bytes([55 - v]),  # the same signature, s mirrored
        escrow.sign(2, voucher),
        escrow.sign(SERVER, voucher),
    ]
    assert redeem(escrow, *((voucher, signature) for signature in bad)) == ([], ["WrongSignature"] * len(bad))
    assert redeem(escrow, (voucher, good)) == ([100], [])


def test_nobody_is_the_account_that_recovering_fails_to(double: EscrowChain) -> None:
    """A signature of nobody recovers to address 0: not even that address's vouchers are signed by it."""
    voucher = dataclasses.replace(double.voucher(1, SERVER, 100)[0], client=bytes(20))
    for signature in (bytes(65), bytes(64) + b"\x1b", b"\xff" * 64 + b"\x1c", b""):
        answer = double.read("isSigned", voucher_tuple(voucher), signature)
        assert answer == {"0": False}


def test_lists_of_unequal_lengths_are_the_callers_mistake(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 1000)
    vouchers, signatures = redemption([escrow.voucher(1, SERVER, 100)])
    for arguments in ((vouchers, []), ([], signatures), (vouchers, signatures * 2)):
        refused("UnequalLengths", lambda arguments=arguments: escrow.transact(account(SERVER), "redeem", *arguments))


def test_zero_is_nothing(escrow: EscrowChain) -> None:
    escrow.deposit(1, SERVER, 1000)
    receipt = escrow.redeem(SERVER, [escrow.voucher(1, SERVER, 0)])
    assert [event.name for event in escrow.events(receipt)] == ["VoucherSkipped"]  # no fee of nothing is shared either
    assert len(receipt.logs) == 1


@pytest.mark.parametrize("amount", [1, 2, 3, 7, 9999, 10001])
@pytest.mark.parametrize(("task", "bps"), [(HALF, 5000), (TENTH, 1000), (NOTHING, 0)])
def test_dust_is_the_tasks_and_never_lost(escrow: EscrowChain, amount: int, task: int, bps: int) -> None:
    escrow.deposit(1, SERVER, amount)
    before = escrow.tasks.held(escrow.world)
    assert redeem(escrow, escrow.voucher(1, SERVER, amount, task)) == ([amount], [])
    assert escrow.balance(SERVER) == amount * bps // 10_000
    assert escrow.tasks.held(escrow.world) - before == amount - amount * bps // 10_000
    assert escrow.held() == 0


def test_the_first_fee_of_a_task_finds_nobody_to_share_it_and_goes_to_the_pot(double: EscrowChain) -> None:
    """First depositor, first voucher, totals of zero: nothing is divided by zero, and the first stake of a wei takes nothing back."""
    pool = double.tasks
    assert isinstance(pool, FeePool)
    double.deposit(1, SERVER, 100)
    assert redeem(double, double.voucher(1, SERVER, 3)) == ([3], [])
    assert pool.read(double.world, "tasks", HALF)["pot"] == 2
    pool.set_totals(double.world, HALF, 1, 1)
    assert redeem(double, double.voucher(1, SERVER, 13)) == ([10], [])
    values = pool.read(double.world, "tasks", HALF)
    assert (values["pot"], values["perShare"], values["perStake"]) == (2, 3 << 128, 2 << 128)


def test_a_first_deposit_of_one_wei_shifts_nobodys_share(escrow: EscrowChain) -> None:
    """There are no shares of deposits: one wei beside a large sum is one wei."""
    escrow.deposit(1, SERVER, 1)
    escrow.world.send(account(1), escrow.world.token, TOKEN.encode_call("transfer", "0x" + escrow.escrow.hex(), 999))
    escrow.deposit(2, SERVER, 1000)
    assert (escrow.channel(1, SERVER), escrow.channel(2, SERVER)) == ((1, 0), (1000, 0))
    assert redeem(escrow, escrow.voucher(1, SERVER, 999)) == ([1], [])  # what was sent here is nobody's
    assert redeem(escrow, escrow.voucher(2, SERVER, 2000)) == ([1000], [])
    assert escrow.held() == 999


def test_a_channel_holds_less_than_2_128_wei(double: EscrowChain) -> None:
    whale = 0
    double.deposit(whale, SERVER, 2**128 - 2)
    assert refused("DepositLimit", lambda: double.deposit(whale, SERVER, 2)) == {"amount": 2, "room": 1}
    refused("DepositLimit", lambda: double.deposit(whale, SERVER, 2**128))
    refused("DepositLimit", lambda: double.deposit(whale, SERVER, 2**256 - 1))
    double.deposit(whale, SERVER, 1)
    assert double.channel(whale, SERVER) == (2**128 - 1, 0)
    refused("DepositLimit", lambda: double.deposit(whale, SERVER, 1))


def test_sums_beyond_2_128_and_amounts_up_to_2_256_are_exact(double: EscrowChain) -> None:
    whale, most = 0, 2**128 - 1
    everything = double.voucher(whale, SERVER, 2**256 - 1)
    for times in (1, 2):
        double.deposit(whale, SERVER, most)
        assert redeem(double, everything) == ([most], [])
        assert double.redeemed(whale, SERVER) == times * most
    double.deposit(whale, SERVER, most)
    assert redeem(double, double.voucher(whale, SERVER, 2 * most + 1)) == ([1], [])
    assert double.channel(whale, SERVER) == (most - 1, 0)


def test_largest_deposits_of_several_clients_add_up(double: EscrowChain) -> None:
    most = 2**128 - 1
    for client in (1, 2):
        double.world.send(account(0), double.world.token, TOKEN.encode_call("transfer", account(client).address, most))
        double.deposit(client, SERVER, most)
    assert redeem(double, *(double.voucher(client, SERVER, most, TENTH) for client in (1, 2))) == ([most, most], [])
    assert double.balance(SERVER) == 2 * most // 10


# ── Re-entrancy: with our token there is no way in, and a hostile one finds every balance written ────────────────────────


def arm(double: EscrowChain, target: bytes, data: bytes) -> None:
    hooked = Interface(built()["contracts"]["HookedToken"]["abi"])
    double.world.send(account(0), double.world.token, hooked.encode_call("arm", "0x" + target.hex(), data))


def wallet(double: EscrowChain, owner: int, amount: int = 1000) -> bytes:
    """A contract with as many wei of tokens and an allowance for the escrow."""
    address = create(double.world, "Wallet", encode(["address"], [account(owner).address]))
    double.world.send(account(0), double.world.token, TOKEN.encode_call("transfer", "0x" + address.hex(), amount))
    execute(double, address, double.world.token, TOKEN.encode_call("approve", "0x" + double.escrow.hex(), 2**256 - 1))
    return address


def execute(double: EscrowChain, by: bytes, target: bytes, data: bytes) -> StoredReceipt:
    return double.world.send(account(7), by, WALLET.encode_call("execute", "0x" + target.hex(), data))


def deposit_of(double: EscrowChain, by: bytes, amount: int) -> None:
    execute(double, by, double.escrow, ESCROW.encode_call("deposit", account(SERVER).address, amount))


def token_balance(double: EscrowChain, address: bytes) -> int:
    return double.world.balance(address)


def test_a_withdrawal_within_a_withdrawal_finds_nothing(double: EscrowChain) -> None:
    thief = wallet(double, 1)
    deposit_of(double, thief, 1000)
    double.deposit(2, SERVER, 5000)
    execute(double, thief, double.escrow, ESCROW.encode_call("askWithdrawal", account(SERVER).address))
    double.pass_time(DELAY_S)
    again = ESCROW.encode_call("withdraw", account(SERVER).address)
    arm(double, thief, WALLET.encode_call("execute", "0x" + double.escrow.hex(), again))
    double.pass_time(DELAY_S)
    execute(double, thief, double.escrow, again)
    assert (token_balance(double, thief), double.held()) == (1000, 5000)


def test_a_redemption_within_a_redemption_finds_nothing_new(double: EscrowChain) -> None:
    """The server is a contract, called back while its first redemption is paid out."""
    server = wallet(double, 1, 0)
    for client in (2, 3):
        data = ESCROW.encode_call("deposit", "0x" + server.hex(), 1000)
        double.world.send(account(client), double.escrow, data)
    voucher = dataclasses.replace(double.voucher(2, SERVER, 400)[0], server=server)
    again = ESCROW.encode_call("redeem", *redemption([(voucher, double.sign(2, voucher))]))
    arm(double, server, WALLET.encode_call("execute", "0x" + double.escrow.hex(), again))
    execute(double, server, double.escrow, again)
    assert (token_balance(double, server), double.held()) == (200, 1600)


def test_a_deposit_within_a_deposit_counts_both(double: EscrowChain) -> None:
    thief = wallet(double, 1, 300)
    call = ESCROW.encode_call("deposit", account(SERVER).address, 100)
    arm(double, thief, WALLET.encode_call("execute", "0x" + double.escrow.hex(), call))
    execute(double, thief, double.escrow, call)
    assert double.channel(thief, SERVER) == (200, 0)
    assert (token_balance(double, thief), double.held()) == (100, 200)


# ── Clients that are contracts ───────────────────────────────────────────────────────────────────────────────────────────


def wallets_voucher(escrow: EscrowChain, address: bytes, owner: int, amount: int) -> tuple[Voucher, bytes]:
    voucher = dataclasses.replace(escrow.voucher(owner, SERVER, amount)[0], client=address)
    return voucher, b"\x01" + escrow.sign(owner, voucher)


def behave(escrow: EscrowChain, address: bytes, manner: str) -> None:
    escrow.world.send(account(7), address, WALLET.encode_call("behave", MANNERS.index(manner)))


def test_a_contract_signs_by_its_own_rules(escrow: EscrowChain) -> None:
    address = wallet(escrow, 1)
    deposit_of(escrow, address, 1000)
    voucher, signature = wallets_voucher(escrow, address, 1, 100)
    assert escrow.read("isSigned", voucher_tuple(voucher), signature) == {"0": True}
    forged = escrow.sign(2, voucher)
    assert redeem(escrow, (voucher, b"\x01" + forged), (voucher, forged)) == ([], ["WrongSignature"] * 2)
    assert redeem(escrow, (voucher, signature)) == ([100], [])


@pytest.mark.parametrize("manner", ["Refuses", "Burns", "Reverts", "Mumbles"])
def test_a_contract_that_will_not_sign_does_not_lose_the_others(escrow: EscrowChain, manner: str) -> None:
    """Also when it burns all gas that it gets: it gets a part."""
    hostile = [wallet(escrow, 1) for _ in range(3)]
    for address in hostile:
        deposit_of(escrow, address, 1000)
        behave(escrow, address, manner)
    escrow.deposit(2, SERVER, 1000)
    batch = [wallets_voucher(escrow, address, 1, 100) for address in hostile]
    receipt = escrow.redeem(SERVER, [*batch, escrow.voucher(2, SERVER, 70)], gas=1_000_000)
    assert (paid(escrow, receipt), skipped(escrow, receipt)) == ([70], ["WrongSignature"] * 3)


def test_a_contract_may_take_back_what_it_signed(escrow: EscrowChain) -> None:
    """Said in the contract: a server that takes vouchers of contracts trusts their code."""
    address = wallet(escrow, 1)
    deposit_of(escrow, address, 1000)
    voucher = wallets_voucher(escrow, address, 1, 100)
    behave(escrow, address, "Refuses")
    assert redeem(escrow, voucher) == ([], ["WrongSignature"])
    behave(escrow, address, "Signs")
    assert redeem(escrow, voucher) == ([100], [])


def test_an_account_that_delegates_to_code_later_does_not_unsign(escrow: EscrowChain) -> None:
    """EIP-7702, which our chain has not: the account gets its code behind the chain's back."""
    escrow.deposit(1, SERVER, 1000)
    voucher, signature = escrow.voucher(1, SERVER, 100)
    escrow.world.chain._world.set_code(voucher.client, b"\0")
    escrow.deposit(2, SERVER, 1)  # a block
    code = escrow.world.chain.world_at(escrow.world.chain.head.number).get_code(voucher.client)
    assert code == b"\0"
    assert redeem(escrow, (voucher, signature)) == ([100], [])


# ── What Python and the contract agree on ────────────────────────────────────────────────────────────────────────────────


@given(
    client=st.binary(min_size=20, max_size=20),
    server=st.binary(min_size=20, max_size=20),
    task=st.integers(0, 2**64 - 1),
    amount=st.integers(0, 2**256 - 1),
    expiry=st.integers(0, 2**64 - 1),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_contract_hashes_vouchers_as_python_does(escrow: EscrowChain, **values: Any) -> None:
    voucher = Voucher(**values)
    assert escrow.read("digestOf", voucher_tuple(voucher)) == {"0": voucher.digest(escrow.separator)}


def test_the_contract_hashes_the_vectors_vouchers_as_they_say(escrow: EscrowChain) -> None:
    """The struct's part of each; the domain of a vector is another chain's."""
    for vector in json.loads((HERE / "vouchers.json").read_text()):
        addresses = {name: bytes.fromhex(vector[name]) for name in ("client", "server")}
        voucher = Voucher(**addresses, **{name: int(vector[name]) for name in ("task", "amount", "expiry")})
        assert escrow.read("digestOf", voucher_tuple(voucher)) == {"0": voucher.digest(escrow.separator)}
        assert voucher.digest(bytes.fromhex(vector["separator"])).hex() == vector["digest"]


def test_the_contract_names_its_domain(escrow: EscrowChain) -> None:
    values = escrow.read("eip712Domain")
    assert (values["name"], values["version"]) == (NAME, VERSION)
    assert values["chainId"] == escrow.world.chain.config.chain_id
    assert values["verifyingContract"] == escrow.escrow
    assert (values["fields"], values["salt"], values["extensions"]) in (
        (b"\x0f", bytes(32), ()),
        (b"\x0f", bytes(32), []),
    )


def test_who_the_escrow_belongs_to_and_what_it_trusts(escrow: EscrowChain) -> None:
    """Nobody; the pool and its token. No function of it changes either."""
    assert escrow.read("pool") == {"0": escrow.world.pool}
    assert escrow.read("token") == {"0": escrow.world.token}
    changing = {
        entry["name"]
        for entry in artifacts.contract("InferenceEscrow").abi
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    }
    assert changing == {"askWithdrawal", "deposit", "depositWithPermit", "redeem", "withdraw"}
    assert not [e for e in artifacts.contract("InferenceEscrow").abi if e.get("stateMutability") == "payable"]


def test_the_vouchers_signer_gets_what_ll_is(escrow: EscrowChain) -> None:
    """Whole $LL, to the wei, over several redemptions."""
    escrow.deposit(1, SERVER, 3 * LL_WEI)
    for amount in (LL_WEI // 3, LL_WEI, 2 * LL_WEI + 1):
        redeem(escrow, escrow.voucher(1, SERVER, amount, TENTH))
    assert escrow.redeemed(1, SERVER, TENTH) == 2 * LL_WEI + 1
    assert escrow.channel(1, SERVER) == (LL_WEI - 1, 0)
