"""What a client saw is still there after the worst."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account

from devchain import Devchain
from devchain.__main__ import main
from devchain.accounts import key_file
from devchain.chain.blocks import Header
from devchain.chain.chain import EmbeddedChain
from devchain.chain.store import StoreUnusable
from devchain.config import ARTELA_CHAIN_ID, DEVELOPMENT_CHAIN_ID, ChainConfig, InvalidChainConfig
from tests.devchain.wallet import COUNTER, Wallet

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def process(state: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A devchain as its own process, and its URL."""
    command = [sys.executable, "-m", "devchain", "--port", "0", "--state", str(state), *options]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        first = running.stdout.readline()
        assert " at http://" in first, first
        yield running, first.strip().rpartition(" ")[2]
    finally:
        if running.poll() is None:
            running.terminate()
        running.wait(timeout=20)


def wallet_for(state: Path, url: str) -> Wallet:
    key = next(iter(json.loads(key_file(state).read_text()).values()))
    return Wallet(url, Account.from_key(key))


def test_kill_9_loses_no_block_that_a_client_saw(tmp_path: Path) -> None:
    state = tmp_path / "chain.db"
    seen: list[dict[str, Any]] = []
    address = ""
    for round_number in range(3):
        with process(state) as (running, url):
            wallet = wallet_for(state, url)
            # what the last life showed is here, to the byte
            for receipt in seen:
                assert wallet.ask("eth_getTransactionReceipt", receipt["transactionHash"]) == receipt
            assert int(wallet.ask("eth_blockNumber"), 16) >= len(seen)
            if not address:
                address = wallet.deploy(COUNTER)
                seen.append(wallet.ask("eth_getBlockReceipts", "latest")[0])
            for _ in range(7 + round_number):
                seen.append(wallet.send(to=address))
            head = wallet.ask("eth_getBlockByNumber", "latest", True)
            # in the middle of the next one
            running_transaction = wallet.sign(to=address)
            sender = subprocess.Popen(
                [sys.executable, "-c", _FIRE, url, running_transaction], stdout=subprocess.DEVNULL
            )
            time.sleep(0.02 * round_number)
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
            sender.wait(timeout=20)
    with process(state) as (_, url):
        wallet = wallet_for(state, url)
        assert wallet.ask("eth_getBlockByNumber", head["number"], True) == head
        count = int(wallet.ask("eth_getStorageAt", address, "0x0"), 16)
        nonce = int(wallet.ask("eth_getTransactionCount", wallet.account.address), 16)
        # one nonce for the creation; the transaction in flight counted everywhere or nowhere
        assert count == nonce - 1
        assert count >= len(seen) - 1


_FIRE = """
import sys, httpx
try:
    httpx.post(sys.argv[1], json={"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [sys.argv[2]]})
except httpx.HTTPError:
    pass
"""


def test_a_second_chain_on_the_same_file_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "chain.db"
    first = EmbeddedChain(ChainConfig(), state, time.time)
    try:
        with pytest.raises(StoreUnusable, match="is another devchain using this file"):
            EmbeddedChain(ChainConfig(), state, time.time)
    finally:
        first.close()


def test_a_chain_goes_on_with_the_number_it_began_with_unless_another_is_named(tmp_path: Path) -> None:
    state = tmp_path / "chain.db"
    with Devchain.running(state=state, chain_id=ARTELA_CHAIN_ID) as began:  # as every devchain did once
        assert began.chain.config.chain_id == 11820
    with Devchain.running(state=state) as again:
        assert again.chain.config.chain_id == 11820
    with pytest.raises(StoreUnusable, match="chain_id is 11820, not 7105636"):
        EmbeddedChain(ChainConfig(), state, time.time)
    with Devchain.running() as fresh:
        assert fresh.chain.config.chain_id == DEVELOPMENT_CHAIN_ID != ARTELA_CHAIN_ID


def test_a_file_of_another_chain_or_kind_is_refused_and_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "chain.db"
    EmbeddedChain(ChainConfig(chain_id=5), state, time.time).close()
    with pytest.raises(StoreUnusable, match="chain_id is 5, not 6; choose another --state"):
        EmbeddedChain(ChainConfig(chain_id=6), state, time.time)
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be taken for one " * 30)
    with pytest.raises(StoreUnusable, match="is not a devchain's state file"):
        EmbeddedChain(ChainConfig(), text, time.time)
    assert text.read_text().startswith("not a database")


def test_a_port_in_use_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    with process(tmp_path / "a.db") as (_, url):
        port = url.rpartition(":")[2]
        second = subprocess.run(
            [sys.executable, "-m", "devchain", "--port", port],
            cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert second.returncode == 2
    assert "address already in use; try --port 0" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--port", "99999"], "99999 is not between 0 and 65535"),
        (["--min-gas-multiplier", "1/0"], "min_gas_multiplier must be between 0 and 1, got '1/0'"),
        (["--min-gas-multiplier", "1.01"], "min_gas_multiplier must be between 0 and 1, got 101/100"),
        (["--mining", "often"], "must be instant, manual or interval:SECONDS"),
        (["--chain-id", "0"], "chain_id must be between 1 and 9223372036854775807, got 0"),
        (["--state", "no/such/directory/chain"], "there is no directory no/such/directory"),
        (["--state", __file__], "is not a devchain's state file"),
        (["--state", str(ROOT)], "is a folder"),
        (["--allow-origin", "*"], "there is no wildcard"),
        (["--allow-host", "http://a.example"], "use a host name without scheme and port"),
    ],
)
def test_what_cannot_be_started_is_a_sentence_and_exit_code_2(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(["--port", "0", *options])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said
    assert not Path(__file__ + ".keys.json").exists()


def outcome(state: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a start on a file that cannot be used says."""
    assert main(["--port", "0", "--state", str(state)]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.count("\n") == 1
    return said


def grown(state: Path) -> None:
    with Devchain.running(state=state) as devchain:
        wallet = wallet_for(state, devchain.url)
        address = wallet.deploy(COUNTER)
        for _ in range(20):
            wallet.send(to=address)


@pytest.mark.parametrize("damage", ["cut", "zeros", "page", "header", "empty rows", "text", "huge"])
def test_a_damaged_chain_is_a_sentence_and_exit_code_2(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "chain.db"
    grown(state)
    raw = state.read_bytes()
    if damage == "cut":
        state.write_bytes(raw[: len(raw) // 2 + 100])
    elif damage == "zeros":
        state.write_bytes(raw[:4096] + bytes(len(raw) - 4096))
    elif damage == "page":
        state.write_bytes(raw[:8192] + b"\xa5" * 4096 + raw[12288:])
    elif damage == "header":
        state.write_bytes(b"x" + raw[1:])
    else:
        db = sqlite3.connect(state)
        change = {"empty rows": "hash=''", "text": "base_fee='seven'", "huge": "timestamp=9e99"}[damage]
        db.execute(f"UPDATE blocks SET {change} WHERE number=(SELECT max(number) FROM blocks)")
        db.commit()
        db.close()
    assert "damaged" in outcome(state, capsys)


def test_another_program_s_database_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "other.db"
    db = sqlite3.connect(state)
    db.execute("CREATE TABLE notes (text)")
    db.commit()
    db.close()
    key_file(state).write_text("{}")
    key_file(state).unlink()
    assert "another program's" in outcome(state, capsys)
    db = sqlite3.connect(state)
    assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]
    db.close()


@pytest.mark.parametrize("keys", ["{}", "[" * 160_000, '{"0x1": 5}', "folder", "[]", '{"a": "0x' + "0" * 64 + '"}'])
def test_a_key_file_that_holds_no_keys_is_a_sentence(
    tmp_path: Path, keys: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "chain.db"
    grown(state)
    if keys == "folder":
        key_file(state).unlink()
        key_file(state).mkdir()
    else:
        key_file(state).write_text(keys)
    assert str(key_file(state)) in outcome(state, capsys)


def test_a_second_process_on_the_same_state_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "chain.db"
    with process(state):
        assert "is another devchain using this file?" in outcome(state, capsys)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_linklearner_devchain_ends_the_chain_too(tmp_path: Path, number: signal.Signals) -> None:
    state = tmp_path / "chain.db"
    command = "from linklearner.cli import app; app()"
    running = subprocess.Popen(
        [sys.executable, "-c", command, "devchain", "--port", "0", "--state", str(state)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    assert running.stdout is not None
    url = running.stdout.readline().strip().rpartition(" ")[2]
    assert url.startswith("http://")
    running.send_signal(number)
    assert running.wait(timeout=60) == 0
    assert running.stdout.read().count("keys in") == 1  # and the pipe is closed: nobody holds it any more
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    with Devchain.running(state=state):
        pass


def test_a_chain_whose_keys_are_gone_is_not_given_new_ones(tmp_path: Path) -> None:
    state = tmp_path / "chain.db"
    with Devchain.running(state=state):
        pass
    keys = key_file(state)
    kept = keys.read_text()
    keys.unlink()
    with pytest.raises(StoreUnusable, match="put them back"), Devchain.running(state=state):
        pass
    assert not keys.exists()
    keys.write_text("{}]")
    with pytest.raises(InvalidChainConfig, match="is not a devchain's key file"), Devchain.running(state=state):
        pass
    keys.write_text(kept)
    with Devchain.running(state=state) as devchain:
        assert [account.key.hex() in kept for account in devchain.accounts] == [True] * 10


def header_chain(chain: EmbeddedChain) -> list[Header]:
    found = [chain.store.header(n) for n in range(chain.head.number + 1)]
    return [header for header in found if header is not None]


def test_blocks_are_chained_by_hash_and_two_equal_histories_have_equal_digests(tmp_path: Path) -> None:
    account = Account.from_key(b"\7" * 32)
    alloc = {bytes.fromhex(account.address[2:]): 10**20}
    chains = [
        EmbeddedChain(ChainConfig(alloc=alloc), where, lambda: 1_700_000_000.0) for where in (None, tmp_path / "c.db")
    ]
    for nonce in range(5):
        fields = {"nonce": nonce, "gas": 50_000, "gasPrice": 100, "value": nonce, "chainId": 7105636}
        raw = bytes(account.sign_transaction({**fields, "to": "0x" + "05" * 20}).raw_transaction)
        for chain in chains:
            chain.submit(raw)
            chain.mine()
    one, other = (header_chain(chain) for chain in chains)
    assert one == other
    assert all(child.parent_hash == parent.hash for parent, child in itertools.pairwise(one))
    assert len({header.state_digest for header in one}) == 6
    for chain in chains:
        chain.close()
