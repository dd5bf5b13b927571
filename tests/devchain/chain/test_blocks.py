"""Blocks of several transactions, the pool that they come from, and what a block costs the next one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from devchain.chain import blocks
from devchain.chain.chain import EmbeddedChain
from devchain.chain.mempool import Mempool
from devchain.chain.store import StoreUnavailable
from devchain.chain.transactions import SignedTransaction, TransactionRefused, decode
from devchain.config import ChainConfig
from tests.devchain.wallet import COUNTER, initcode

ME, OTHER = (Account.from_key(bytes([n]) * 32) for n in (1, 2))
STRANGER = b"\x77" * 20


def address(account: Any) -> bytes:
    return bytes.fromhex(account.address[2:])


ALLOC = {address(ME): 10**24, address(OTHER): 10**24}


def chain_of(path: Path | None = None, **settings: Any) -> EmbeddedChain:
    return EmbeddedChain(ChainConfig(alloc=ALLOC, **settings), path, lambda: 1_700_000_000.0)


def signed(nonce: int, *, who: Any = ME, price: int = 10**9, gas: int = 21_000, **fields: Any) -> bytes:
    transaction = {
        "nonce": nonce,
        "gas": gas,
        "gasPrice": price,
        "value": 1,
        "to": STRANGER,
        "chainId": 7105636,
        **fields,
    }
    if "maxFeePerGas" in fields:
        del transaction["gasPrice"]
    return bytes(who.sign_transaction(transaction).raw_transaction)


def test_a_block_takes_each_senders_transactions_in_order_and_counts_its_gas_up() -> None:
    chain = chain_of()
    for raw in (signed(1), signed(0, who=OTHER), signed(0), signed(2), signed(4)):
        chain.submit(raw)
    receipts = chain.mine().receipts
    assert [(r.transaction.sender, r.transaction.nonce) for r in receipts] == [
        (address(OTHER), 0), (address(ME), 0), (address(ME), 1), (address(ME), 2)
    ]  # fmt: skip
    assert [r.index for r in receipts] == [0, 1, 2, 3]
    assert [r.cumulative_gas_used for r in receipts] == [21_000, 42_000, 63_000, 84_000]
    assert len(chain.pool) == 1, "a gap waits"
    chain.submit(signed(3))
    assert [r.transaction.nonce for r in chain.mine().receipts] == [3, 4]


def test_logs_are_numbered_through_the_block() -> None:
    chain = chain_of()
    chain.submit(signed(0, to=b"", value=0, data=initcode(COUNTER), gas=200_000))
    contract = chain.mine().receipts[0].contract_address
    for nonce in (1, 2, 3):
        chain.submit(signed(nonce, to=contract, value=0, gas=100_000))
    receipts = chain.mine().receipts
    assert [receipt.first_log_index for receipt in receipts] == [0, 1, 2]
    assert [entry.log_index for entry in chain.store.logs(2, 2)] == [0, 1, 2]


def test_a_block_is_full_at_its_gas_limit_and_the_rest_waits_for_the_next() -> None:
    chain = chain_of()
    for nonce in range(3):
        chain.submit(signed(nonce, gas=8_000_000))
    assert [len(chain.mine().receipts) for _ in range(3)] == [2, 1, 0]


def test_everything_that_waits_is_mined_in_as_many_blocks_as_it_takes() -> None:
    chain = chain_of()
    for nonce in range(1, 5):
        chain.submit(signed(nonce, gas=8_000_000))
    chain.mine_waiting()
    assert chain.head.number == 0, "nothing is ready, so no block is made"
    chain.submit(signed(0, gas=8_000_000))
    chain.mine_waiting()
    assert [len(chain.store.receipts(number)) for number in (1, 2, 3)] == [2, 2, 1]


@pytest.mark.parametrize(("price", "accepted"), [(1_099_999_999, False), (1_100_000_000, True)])
def test_a_replacement_pays_a_tenth_more(price: int, accepted: bool) -> None:
    chain = chain_of()
    first = chain.submit(signed(0, price=10**9))
    if not accepted:
        with pytest.raises(TransactionRefused, match="replacement transaction underpriced"):
            chain.submit(signed(0, price=price))
        assert chain.pool.get(first.hash) is not None
        return
    second = chain.submit(signed(0, price=price))
    assert chain.pool.get(first.hash) is None
    assert [r.transaction.hash for r in chain.mine().receipts] == [second.hash]


def test_a_replacement_raises_its_tip_too() -> None:
    chain = chain_of()
    chain.submit(signed(0, maxFeePerGas=100, maxPriorityFeePerGas=10))
    with pytest.raises(TransactionRefused, match="replacement transaction underpriced"):
        chain.submit(signed(0, maxFeePerGas=200, maxPriorityFeePerGas=10))
    chain.submit(signed(0, maxFeePerGas=110, maxPriorityFeePerGas=11))


def test_a_strict_chain_queues_and_replaces_nothing() -> None:
    chain = chain_of(strict=True)
    chain.submit(signed(0))
    for raw, text in (
        (signed(0, price=10**10), "invalid nonce; got 0, expected 1: invalid sequence: invalid sequence"),
        (signed(2), "invalid nonce; got 2, expected 1: invalid sequence: invalid sequence"),
        (signed(0), ": tx already in mempool"),
    ):
        with pytest.raises(TransactionRefused) as refused:
            chain.submit(raw)
        assert str(refused.value) == text
    chain.submit(signed(1))
    assert len(chain.mine().receipts) == 2


def test_a_transaction_is_taken_once() -> None:
    chain = chain_of()
    chain.submit(signed(0))
    with pytest.raises(TransactionRefused, match="already known"):
        chain.submit(signed(0))
    chain.mine()
    with pytest.raises(TransactionRefused, match="already known"):
        chain.submit(signed(0))


def test_a_sender_who_got_poor_while_waiting_leaves_no_trace() -> None:
    chain = chain_of()
    rest = 10**24 - 21_000 * 10**9 - 5
    chain.submit(signed(0, value=rest))
    chain.submit(signed(1, value=rest))
    assert [r.transaction.nonce for r in chain.mine().receipts] == [0]
    assert (len(chain.pool), chain.world_at(1).get_nonce(address(ME))) == (0, 1)


def waiting(account: int, nonce: int, size: int = 100, **fields: Any) -> SignedTransaction:
    """Nonce `nonce` of one of many accounts, `size` bytes."""
    template = decode(signed(0), 7105636)
    identity = (account << 32 | nonce).to_bytes(32, "big")
    fields = {"hash": identity, "raw": bytes(size), **fields}
    return replace(template, nonce=nonce, sender=account.to_bytes(20, "big"), **fields)


def test_the_queue_has_an_end_for_everybody_and_for_one_account() -> None:
    pool = Mempool()
    for n in range(1024):
        pool.add(waiting(0, n))
    with pytest.raises(TransactionRefused, match="1024 transactions of this account wait already"):
        pool.add(waiting(0, 1024))
    for n in range(3 * 1024):
        pool.add(waiting(1 + n % 3, n // 3))
    with pytest.raises(TransactionRefused, match="txpool is full"):
        pool.add(waiting(9, 0))
    pool.add(waiting(0, 5, fee_cap=10**10, tip_cap=10**10, hash=b"\xee" * 32))
    assert len(pool) == 4096
    pool.remove(waiting(0, 7))
    pool.add(waiting(9, 0))


def test_the_queue_has_an_end_in_bytes_too() -> None:
    pool, mib = Mempool(), 2**20
    for account in range(4):
        for nonce in range(8):
            pool.add(waiting(account, nonce, mib))
    with pytest.raises(TransactionRefused, match="txpool is full"):
        pool.add(waiting(4, 0, 1))
    pool.remove(waiting(3, 7))
    with pytest.raises(TransactionRefused, match="8388608 bytes of one account may wait"):
        pool.add(waiting(0, 8, 1))
    # a replacement is counted by what it adds, and what it may not add leaves the old one where it was
    with pytest.raises(TransactionRefused, match="8388608 bytes of one account"):
        pool.add(waiting(0, 0, mib + 1, fee_cap=10**10, tip_cap=10**10, hash=b"\xee" * 32))
    assert pool.get(waiting(0, 0).hash) is not None
    pool.add(waiting(0, 0, mib - 1, fee_cap=10**10, tip_cap=10**10, hash=b"\xee" * 32))
    pool.add(waiting(0, 8, 1))
    pool.clear()
    for nonce in range(8):
        pool.add(waiting(0, nonce, mib))


operations = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(1, 40)), max_size=30)


@given(operations=operations, base_fee=st.integers(0, 30), room=st.integers(1, 5))
def test_what_is_ready_has_no_gaps_fits_and_pays(
    operations: list[tuple[int, int, int]], base_fee: int, room: int
) -> None:
    pool, template = Mempool(), decode(signed(0), 7105636)
    for n, (sender, nonce, price) in enumerate(operations):
        transaction = replace(
            template, sender=bytes([sender]) * 20, nonce=nonce, fee_cap=price, tip_cap=price, hash=bytes([n]) * 32
        )
        try:
            pool.add(transaction)
        except TransactionRefused:
            continue
    ready = pool.ready(lambda sender: 1, base_fee, room * 21_000)
    assert len(ready) <= room
    taken: dict[bytes, int] = {}
    for transaction in ready:
        assert transaction.nonce == taken.get(transaction.sender, 0) + 1
        assert transaction.fee_cap >= base_fee
        taken[transaction.sender] = transaction.nonce
    if len(ready) < room:
        for transaction in pool.all():
            expected = taken.get(transaction.sender, 0) + 1
            assert transaction in ready or transaction.nonce != expected or transaction.fee_cap < base_fee


@pytest.mark.parametrize(
    ("base_fee", "gas", "expected"),
    [
        (10**9, 10_000_000, 10**9),
        (10**9, 20_000_000, 1_125_000_000),
        (10**9, 0, 875_000_000),
        (10**9, 10_000_001, 10**9 + 12),
        (7, 0, 7),
        (8, 0, 7),
        (7, 20_000_000, 8),
    ],
)
def test_the_base_fee_moves_by_an_eighth_around_half_full_blocks(base_fee: int, gas: int, expected: int) -> None:
    assert blocks.next_base_fee(base_fee, gas, 20_000_000) == expected


def test_the_base_fee_follows_what_was_asked_for_and_falls_back_when_idle() -> None:
    chain = chain_of(base_fee=10**9)
    chain.submit(signed(0, gas=20_000_000, price=10**12))
    chain.mine()
    assert chain.head.gas_used == 10_000_000, "half the limit is charged"
    assert chain.next_base_fee() == chain.head.base_fee, "half full, so it stays"
    for _ in range(200):
        chain.mine()
    assert chain.next_base_fee() == 7


@pytest.mark.parametrize(("fee_cap", "accepted"), [(999_999_999, False), (10**9, True)])
def test_a_fee_cap_covers_the_base_fee(fee_cap: int, accepted: bool) -> None:
    chain = chain_of(base_fee=8 * 10**9 // 7)
    assert chain.next_base_fee() == 10**9
    raw = signed(0, maxFeePerGas=fee_cap, maxPriorityFeePerGas=0)
    if accepted:
        chain.submit(raw)
        assert len(chain.mine().receipts) == 1
    else:
        with pytest.raises(TransactionRefused, match="max fee per gas less than block base fee"):
            chain.submit(raw)


@pytest.mark.parametrize("multiplier", [Fraction(0), Fraction(1, 3), Fraction(1)])
@pytest.mark.parametrize("gas", [21_000, 21_001, 63_000, 64_001])
def test_what_is_charged_is_at_least_a_share_of_the_limit_rounded_down(multiplier: Fraction, gas: int) -> None:
    chain = chain_of(min_gas_multiplier=multiplier)
    chain.submit(signed(0, gas=gas))
    receipt = chain.mine().receipts[0]
    assert receipt.gas_used == max(21_000, int(gas * multiplier))
    assert chain.world_at(1).get_balance(address(ME)) == 10**24 - 1 - receipt.gas_used * 10**9


def _seal_on_full_disk(chain: EmbeddedChain) -> None:
    db = chain.store._db
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count={pages}")
    try:
        for _ in range(10_000):
            chain.mine()
    finally:
        db.execute("PRAGMA max_page_count=1073741823")


def test_a_full_disk_stops_the_block_and_neither_forks_nor_loses_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    chain = chain_of(path)
    chain.submit(signed(0, to=b"", value=0, data=initcode(COUNTER) + bytes(20_000), gas=2_000_000))
    with pytest.raises(StoreUnavailable, match="full"):
        _seal_on_full_disk(chain)
    stored = chain.store.head()
    assert stored is not None and stored.hash == chain.head.hash
    balance = chain.world_at(chain.head.number).get_balance(address(ME))
    nonce = chain.world_at(chain.head.number).get_nonce(address(ME))
    chain.submit(signed(nonce))
    assert chain.mine().receipts[0].status == 1
    chain.close()
    again = chain_of(path)
    assert again.head.hash != stored.hash
    assert again.world_at(again.head.number).get_balance(address(ME)) == balance - 1 - 21_000 * 10**9
    again.close()
