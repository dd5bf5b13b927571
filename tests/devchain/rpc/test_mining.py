"""When blocks are made, and what a test may do with time and history."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from eth_account import Account

from devchain import Devchain
from devchain.config import InvalidChainConfig
from devchain.rpc import bounds
from tests.devchain.wallet import COUNTER, Wallet

STRANGER = "0x" + "77" * 20


def wallet_of(devchain: Devchain) -> Wallet:
    return Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))


def number(wallet: Wallet) -> int:
    return int(wallet.ask("eth_blockNumber"), 16)


def stamp(wallet: Wallet) -> int:
    return int(wallet.ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16)


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_instant_mining_makes_a_block_for_what_is_ready_and_none_for_a_gap(wallet: Wallet) -> None:
    wallet.send(to=STRANGER)
    assert number(wallet) == 1
    waiting = wallet.ask("eth_sendRawTransaction", wallet.sign(to=STRANGER, nonce=2))
    assert number(wallet) == 1
    assert wallet.ask("eth_getTransactionReceipt", waiting) is None
    pending = wallet.ask("eth_getTransactionByHash", waiting)
    assert (pending["blockHash"], pending["blockNumber"], pending["transactionIndex"]) == (None, None, None)
    wallet.send(to=STRANGER, nonce=1)
    assert wallet.ask("eth_getTransactionReceipt", waiting)["blockNumber"] == "0x2"


def test_manual_mining_waits_for_the_word() -> None:
    with Devchain.running(mining="manual") as devchain:
        wallet = wallet_of(devchain)
        hashes = [wallet.ask("eth_sendRawTransaction", wallet.sign(to=STRANGER)) for _ in range(3)]
        assert wallet.web3.eth.get_transaction_count(wallet.account.address, "pending") == 3
        assert wallet.web3.eth.get_transaction_count(wallet.account.address) == 0
        assert number(wallet) == 0
        wallet.ask("evm_mine")
        assert [wallet.ask("eth_getTransactionReceipt", h)["blockNumber"] for h in hashes] == ["0x1"] * 3


def test_interval_mining_keeps_making_blocks() -> None:
    with Devchain.running(mining="interval:0.05") as devchain:
        wallet = wallet_of(devchain)
        until(lambda: number(wallet) >= 3)
        sent = wallet.ask("eth_sendRawTransaction", wallet.sign(to=STRANGER))
        until(lambda: wallet.ask("eth_getTransactionReceipt", sent) is not None)


def test_a_miner_whose_disk_was_full_goes_on(tmp_path: Path) -> None:
    with Devchain.running(state=tmp_path / "chain", mining="interval:0.02") as devchain:
        wallet, store = wallet_of(devchain), devchain.chain.store

        def limit(pages: int) -> None:
            devchain.thread.run_blocking(store._db.execute, f"PRAGMA max_page_count={pages}")

        until(lambda: number(wallet) > 1)
        limit(1)  # never below what is in use
        until(lambda: stuck(wallet))
        limit(2**30)
        full = number(wallet)
        until(lambda: number(wallet) > full)


def stuck(wallet: Wallet) -> bool:
    before = number(wallet)
    time.sleep(0.3)
    return number(wallet) == before


@pytest.mark.parametrize("mode", ["", "never", "interval", "interval:0", "interval:x", "interval:1e9", "interval:nan"])
def test_a_mining_mode_that_means_nothing_is_refused(mode: str) -> None:
    with (
        pytest.raises(InvalidChainConfig, match="mining must be instant, manual or interval:SECONDS"),
        Devchain.running(mining=mode),
    ):
        pass


def test_blocks_by_the_dozen_and_at_a_chosen_time(wallet: Wallet) -> None:
    wallet.ask("evm_mine", {"blocks": "0xc"})
    assert number(wallet) == 12
    later = stamp(wallet) + 1000
    wallet.ask("evm_mine", later)
    assert (number(wallet), stamp(wallet)) == (13, later)
    wallet.ask("evm_mine", {"blocks": 2, "timestamp": later + 5})
    assert (number(wallet), stamp(wallet)) == (15, later + 5)
    assert wallet.raw("evm_mine", {"blocks": 10_001})["error"]["code"] == -32602


def test_time_moves_forward_for_every_later_block(wallet: Wallet) -> None:
    before = stamp(wallet)
    assert wallet.ask("evm_increaseTime", 3600) == "0xe10"
    assert wallet.ask("evm_increaseTime", "0x10") == "0xe20"
    wallet.ask("evm_mine")
    assert 3616 <= stamp(wallet) - before < 3646
    wallet.ask("evm_mine")
    assert 3616 <= stamp(wallet) - before < 3646


def test_the_next_timestamp_is_exact_and_time_goes_on_from_there(wallet: Wallet) -> None:
    target = stamp(wallet) + 100_000
    wallet.ask("evm_setNextBlockTimestamp", target)
    wallet.send(to=STRANGER)
    assert stamp(wallet) == target
    wallet.send(to=STRANGER)
    assert target <= stamp(wallet) < target + 30
    refused = wallet.raw("evm_setNextBlockTimestamp", target - 1)["error"]
    assert (refused["code"], "is not between the head's" in refused["message"]) == (-32602, True)


def test_a_snapshot_brings_everything_back_once(wallet: Wallet) -> None:
    contract = wallet.deploy(COUNTER)
    first = wallet.ask("evm_snapshot")
    kept = wallet.ask("eth_getBlockByNumber", "latest", False)
    wallet.send(to=contract)
    second = wallet.ask("evm_snapshot")
    lost = wallet.send(to=contract)
    assert wallet.ask("evm_revert", second) is True
    assert int(wallet.ask("eth_getStorageAt", contract, "0x0", "latest"), 16) == 1
    assert wallet.ask("eth_getTransactionReceipt", lost["transactionHash"]) is None
    assert wallet.ask("evm_revert", first) is True
    assert wallet.ask("eth_getBlockByNumber", "latest", False) == kept
    assert int(wallet.ask("eth_getStorageAt", contract, "0x0", "latest"), 16) == 0
    assert wallet.ask("eth_getLogs", {"fromBlock": "0x0"}) == []
    assert [wallet.ask("evm_revert", which) for which in (first, second, "0x63")] == [False] * 3
    # the same transactions go in again
    wallet.send(to=contract)
    assert int(wallet.ask("eth_call", {"to": contract}, "latest"), 16) == 2


def test_a_snapshot_s_number_is_never_used_again(wallet: Wallet) -> None:
    first = wallet.ask("evm_snapshot")
    wallet.send(to=STRANGER)
    second = wallet.ask("evm_snapshot")
    assert wallet.ask("evm_revert", first) is True
    third = wallet.ask("evm_snapshot")
    assert len({first, second, third}) == 3
    wallet.send(to=STRANGER)
    # whoever still holds the old numbers lands nowhere
    assert [wallet.ask("evm_revert", old) for old in (first, second)] == [False, False]
    assert number(wallet) == 1
    assert wallet.ask("evm_revert", third) is True
    assert number(wallet) == 0


def test_going_back_takes_the_clock_along(wallet: Wallet) -> None:
    before = stamp(wallet)
    kept = wallet.ask("evm_snapshot")
    wallet.ask("evm_increaseTime", 1_000_000)
    wallet.ask("evm_mine")
    wallet.ask("evm_setNextBlockTimestamp", stamp(wallet) + 1_000_000)
    assert wallet.ask("evm_revert", kept) is True
    wallet.ask("evm_mine")
    assert before <= stamp(wallet) < before + 500_000
    wallet.ask("evm_setNextBlockTimestamp", before + 700_000)
    waiting = wallet.ask("evm_snapshot")
    wallet.ask("evm_mine")
    assert wallet.ask("evm_revert", waiting) is True
    wallet.ask("evm_mine")
    assert stamp(wallet) == before + 700_000


def test_going_back_brings_back_what_waited() -> None:
    with Devchain.running(mining="manual") as devchain:
        wallet = wallet_of(devchain)
        early = wallet.ask("eth_sendRawTransaction", wallet.sign(to=STRANGER))
        gap = wallet.ask("eth_sendRawTransaction", wallet.sign(to=STRANGER, nonce=5))
        kept = wallet.ask("evm_snapshot")
        late = wallet.ask("eth_sendRawTransaction", wallet.sign(to=STRANGER))
        wallet.ask("evm_mine")
        assert wallet.ask("evm_revert", kept) is True
        pending = [wallet.ask("eth_getTransactionByHash", one) for one in (early, gap, late)]
        assert [one is not None and one["blockHash"] is None for one in pending] == [True, True, False]
        wallet.ask("evm_mine")
        assert wallet.ask("eth_getTransactionReceipt", early)["blockNumber"] == "0x1"


def test_going_back_a_filter_hears_of_the_blocks_that_take_the_place_of_those_that_are_gone(wallet: Wallet) -> None:
    address = wallet.deploy(COUNTER)
    logs, heads = wallet.ask("eth_newFilter", {"address": address}), wallet.ask("eth_newBlockFilter")
    wallet.send(to=address)
    kept = wallet.ask("evm_snapshot")
    for _ in range(3):
        wallet.send(to=address)
    assert [len(wallet.ask("eth_getFilterChanges", one)) for one in (logs, heads)] == [4, 4]
    assert wallet.ask("evm_revert", kept) is True
    again = [wallet.send(to=address, value=0, gasPrice=2 * 10**9) for _ in range(4)]
    seen = [log["transactionHash"] for log in wallet.ask("eth_getFilterChanges", logs)]
    assert seen == [receipt["transactionHash"] for receipt in again]
    assert wallet.ask("eth_getFilterChanges", heads) == [receipt["blockHash"] for receipt in again]


def test_snapshots_are_bounded_in_number_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    with Devchain.running(mining="manual") as devchain:
        wallet = wallet_of(devchain)
        raw = wallet.sign(to=STRANGER)
        wallet.ask("eth_sendRawTransaction", raw)
        monkeypatch.setattr(bounds, "SNAPSHOT_BYTES", 2 * (len(raw) - 2) // 2)
        for _ in range(2):
            wallet.ask("evm_snapshot")
        assert "too many snapshots" in wallet.raw("evm_snapshot")["error"]["message"]
        wallet.ask("evm_mine")
        monkeypatch.setattr(bounds, "SNAPSHOTS", 3)
        wallet.ask("evm_snapshot")
        assert "too many snapshots" in wallet.raw("evm_snapshot")["error"]["message"]
