"""Whether a long chain is as quick as a short one: `python -m bench.growth`.

A chain with 10,000 blocks (one ERC-20 transfer to a fresh address each) and a new one side by side, both with state files. In turns,
so that the machine's moods hit both, each gets batches of transfers; compared are the medians of the chain's CPU time from the raw
transaction to the receipt (what other processes take away would drown a tenth). Then both are started as processes, as a user does:
how long from the command to the first answer, nearly all of it Python's imports. Ends with status 1 if a goal is missed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import coincurve
from eth_hash.auto import keccak
from rich.console import Console
from rich.table import Table

from bench.contracts import contract
from bench.process import DevchainProcess, ask
from devchain.accounts import DEVELOPMENT_BALANCE, load_or_create
from devchain.chain import rlp
from devchain.chain.chain import EmbeddedChain
from devchain.config import DEVELOPMENT_CHAIN_ID as CHAIN_ID
from devchain.config import ChainConfig
from devchain.rpc.methods import Methods

BLOCKS = 10_000
BATCHES, BATCH = 30, 20
MOST_RATIO = 1.1
MOST_RESTART_S = 2.0
PRICE = 2 * 10**9
TRANSFER = keccak(b"transfer(address,uint256)")[:4]


class Transfers:
    """Signs one transfer after another, quickly; the first transaction creates the coin."""

    def __init__(self, key: bytes, nonce: int = 0) -> None:
        self._key = coincurve.PrivateKey(key)
        self._owner = keccak(self._key.public_key.format(compressed=False)[1:])[12:]
        self.nonce = nonce
        self.coin = b""

    def creation(self) -> bytes:
        code = contract("Coin").constructor(self._owner, 10**24).data_in_transaction
        return self._sign(b"", bytes.fromhex(code[2:]), 5_000_000)

    def next(self) -> bytes:
        """1 unit to an address that is fresh, and scattered over the whole key space as real ones are."""
        receiver = keccak(self.nonce.to_bytes(8, "big"))[12:]
        return self._sign(self.coin, TRANSFER + bytes(12) + receiver + (1).to_bytes(32, "big"), 100_000)

    def _sign(self, to: bytes, data: bytes, gas: int) -> bytes:
        body: list[rlp.Item] = [rlp.integer(self.nonce), rlp.integer(PRICE), rlp.integer(gas), to, b"", data]
        digest = keccak(rlp.encode([*body, rlp.integer(CHAIN_ID), b"", b""]))
        signature = self._key.sign_recoverable(digest, hasher=None)
        r, s, parity = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
        self.nonce += 1
        return rlp.encode([*body, rlp.integer(35 + 2 * CHAIN_ID + parity), rlp.integer(r), rlp.integer(s)])


def opened(state: Path) -> tuple[EmbeddedChain, Transfers]:
    """The chain in `state`, and a signer for its first account."""
    developers = load_or_create(state)
    config = ChainConfig(alloc={account.address: DEVELOPMENT_BALANCE for account in developers})
    chain = EmbeddedChain(config, state, time.time)
    return chain, Transfers(developers[0].key, chain.pending_nonce(developers[0].address))


class Client:
    """What a client asks for a transfer, without the wire: its time is the chain's alone."""

    def __init__(self, state: Path) -> None:
        self.chain, self._transfers = opened(state)
        self._methods = Methods(self.chain, accounts=(), instant=True)

    def create_coin(self) -> None:
        self._transfers.coin = bytes.fromhex(self._land(self._transfers.creation())["contractAddress"][2:])

    def batch(self, size: int = BATCH) -> float:
        """CPU seconds of a transfer, from its raw bytes to its receipt."""
        raws = [self._transfers.next() for _ in range(size)]
        begun = time.thread_time()
        for raw in raws:
            self._land(raw)
        return (time.thread_time() - begun) / size

    def _land(self, raw: bytes) -> Any:
        transaction_hash = self._methods("eth_sendRawTransaction", ["0x" + raw.hex()])
        receipt = self._methods("eth_getTransactionReceipt", [transaction_hash])
        assert receipt["status"] == "0x1"
        return receipt


def main() -> int:
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        state, fresh = Path(folder) / "long.sqlite", Path(folder) / "new.sqlite"
        long = Client(state)
        long.create_coin()
        begun = time.perf_counter()
        long.batch(BLOCKS)
        filled_s = time.perf_counter() - begun
        new = Client(fresh)
        new.create_coin()
        new.batch(9)
        times: dict[Client, list[float]] = {long: [], new: []}
        for turn in range(BATCHES):
            for client in (long, new) if turn % 2 else (new, long):
                times[client].append(client.batch())
        height = long.chain.head.number
        long.chain.close()
        new.chain.close()
        size = sum(file.stat().st_size for file in Path(folder).glob("long.sqlite*"))
        starts: dict[Path, list[tuple[float, float]]] = {fresh: [], state: []}
        for path in (fresh, state) * 4:
            with DevchainProcess(path) as process:
                starts[path].append((process.started_s, process.cpu_s))
                if path == state:
                    assert ask(process.url, "eth_blockNumber") == hex(height)
    ratio = median(times[long]) / median(times[new])
    (new_s, new_cpu), (long_s, long_cpu) = min(starts[fresh]), min(starts[state])
    rows = [
        (f"{BLOCKS:,} blocks of a transfer each", f"{filled_s:.1f} s ({BLOCKS / filled_s:.0f}/s)", "", True),
        ("state file", f"{size / 1e6:.1f} MB ({size / height / 1e3:.1f} kB a block)", "", True),
        (f"a transaction, 10th to {BATCH * BATCHES + 10}th, CPU", f"{median(times[new]) * 1e3:.2f} ms", "", True),
        (f"a transaction from the {BLOCKS:,}th on, CPU", f"{median(times[long]) * 1e3:.2f} ms", "", True),
        ("ratio of the medians", f"{ratio:.2f}x", f"<= {MOST_RATIO}x", ratio <= MOST_RATIO),
        ("start of the new chain, best of 4", f"{new_s:.2f} s ({new_cpu:.2f} s CPU)", "", True),
        (
            f"restart at {height:,} blocks, best of 4", f"{long_s:.2f} s ({long_cpu:.2f} s CPU)",
            f"<= {MOST_RESTART_S} s", long_s <= MOST_RESTART_S,
        ),
    ]  # fmt: skip
    table = Table("figure", "measured", "goal", "")
    for what, value, goal, met in rows:
        table.add_row(what, value, goal, "" if not goal else "met" if met else "MISSED")
    console.print(table)
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
