"""Whether a long chain is as quick as a short one: `python -m bench.growth`.

A chain with 10,000 blocks (one ERC-20 transfer to a fresh address each) and a new one run side by side as processes of their own,
both with state files. In turns, so that the machine's moods hit both, each gets batches of transfers; compared are the medians.
Measured too: how long each takes from the command to the first answer, and the bytes on disk. Ends with status 1 if a goal is missed.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from statistics import median

import httpx
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address
from rich.console import Console
from rich.table import Table

from bench.process import DevchainProcess
from services.devchain.accounts import DEVELOPMENT_BALANCE, load_or_create
from services.devchain.chain.chain import Chain
from services.devchain.config import ChainConfig
from tests.differential.chains import contract

BLOCKS = 10_000
BATCHES, BATCH = 12, 25
MOST_RATIO = 1.1
MOST_RESTART_S = 2.0
PRICE = 2 * 10**9


class Transfers:
    """Signs one transfer after another; the first transaction creates the coin."""

    def __init__(self, sender: LocalAccount, nonce: int, coin: str | None = None) -> None:
        self._sender = sender
        self.nonce = nonce
        self.coin = coin

    def creation(self) -> bytes:
        code = contract("Coin").constructor(self._sender.address, 10**24).data_in_transaction
        return self._sign({"data": code, "gas": 5_000_000})

    def next(self) -> bytes:
        # fresh, and scattered over the whole key space as real addresses are
        receiver = checksum(keccak(self.nonce.to_bytes(8, "big"))[12:])
        return self._sign(
            {"to": self.coin, "data": contract("Coin").encode_abi("transfer", [receiver, 1]), "gas": 100_000}
        )

    def _sign(self, fields: dict[str, object]) -> bytes:
        transaction = {"nonce": self.nonce, "gasPrice": PRICE, "value": 0, "chainId": 11820} | fields
        self.nonce += 1
        return bytes(self._sender.sign_transaction(transaction).raw_transaction)


def checksum(address: bytes) -> str:
    return str(to_checksum_address(address))


def fill(state: Path) -> Transfers:
    """A chain of BLOCKS blocks in `state`, made without a server in between."""
    developers = load_or_create(state)
    config = ChainConfig(
        min_gas_multiplier=Fraction(1, 2), alloc={account.address: DEVELOPMENT_BALANCE for account in developers}
    )
    chain = Chain(config, state, time.time)
    transfers = Transfers(Account.from_key(developers[0].key), 0)
    chain.submit(transfers.creation())
    address = chain.mine().receipts[0].contract_address
    assert address is not None
    transfers.coin = checksum(address)
    for _ in range(BLOCKS - 1):
        chain.submit(transfers.next())
        receipt = chain.mine().receipts[0]
        assert receipt.status == 1
    chain.close()
    return transfers


class Client:
    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)
        self._identifiers = itertools.count()

    def ask(self, method: str, *params: object) -> object:
        request = {"jsonrpc": "2.0", "id": next(self._identifiers), "method": method, "params": params}
        return self._http.post("/", json=request).json()["result"]

    def batch(self, transfers: Transfers) -> list[float]:
        """Seconds of each transaction, from sending it to its receipt; signing is not counted."""
        times = []
        for raw in [transfers.next() for _ in range(BATCH)]:
            begun = time.perf_counter()
            receipt = self.ask("eth_getTransactionReceipt", self.ask("eth_sendRawTransaction", "0x" + raw.hex()))
            times.append(time.perf_counter() - begun)
            assert isinstance(receipt, dict) and receipt["status"] == "0x1"
        return times


def main() -> int:
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "long.sqlite"
        begun = time.perf_counter()
        long_transfers = fill(state)
        filled_s = time.perf_counter() - begun
        size = sum(file.stat().st_size for file in Path(folder).glob("long.sqlite*"))
        with DevchainProcess(Path(folder) / "new.sqlite"):
            pass
        empty_s = []
        restart_s = []
        for _ in range(3):
            with DevchainProcess(Path(folder) / "new.sqlite") as new:
                empty_s.append(new.started_s)
            with DevchainProcess(state) as long:
                restart_s.append(long.started_s)
        with DevchainProcess(Path(folder) / "new.sqlite") as new, DevchainProcess(state) as long:
            clients = Client(long.url), Client(new.url)
            new_transfers = Transfers(new.account, 0)
            created = clients[1].ask(
                "eth_getTransactionReceipt",
                clients[1].ask("eth_sendRawTransaction", "0x" + new_transfers.creation().hex()),
            )
            assert isinstance(created, dict)
            new_transfers.coin = checksum(bytes.fromhex(created["contractAddress"][2:]))
            for client, transfers in zip(clients, (long_transfers, new_transfers), strict=True):
                client.batch(transfers)  # warm-up: the new chain is past its 10th block then
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(BATCHES):
                times[0].extend(clients[0].batch(long_transfers))
                times[1].extend(clients[1].batch(new_transfers))
    ratio = median(times[0]) / median(times[1])
    table = Table("figure", "measured", "goal", "")
    rows = [
        (f"{BLOCKS:,} blocks written by the chain itself", f"{filled_s:.1f} s ({BLOCKS / filled_s:.0f}/s)", "", True),
        ("state file", f"{size / 1e6:.1f} MB ({size / BLOCKS / 1e3:.1f} kB a block)", "", True),
        ("a transaction on the new chain (about the 10th to the 300th)", f"{median(times[1]) * 1e3:.2f} ms", "", True),
        (f"a transaction on the long chain (from the {BLOCKS:,}th)", f"{median(times[0]) * 1e3:.2f} ms", "", True),
        ("ratio of the medians, in turns", f"{ratio:.2f}x", f"<= {MOST_RATIO}x", ratio <= MOST_RATIO),
        ("start of the new chain, best of 3", f"{min(empty_s):.2f} s", "", True),
        ("restart of the long chain, best of 3", f"{min(restart_s):.2f} s", f"<= {MOST_RESTART_S} s", min(restart_s) <= MOST_RESTART_S),
    ]  # fmt: skip
    for what, value, goal, met in rows:
        table.add_row(what, value, goal, "" if not goal else "met" if met else "MISSED")
    console.print(table)
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
