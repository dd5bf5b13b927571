"""How fast the devchain is: `python -m bench.devchain`.

    transfers    ERC-20 transfers one after another through web3.py (sign, send, wait for the receipt), against anvil in the
                 same run, in alternating batches; the devchain with its state file, as a process of its own
    settlement   five dense updates of 25,000 weights: the raw settle transactions over JSON-RPC until the last receipt, five
                 rounds; then the same rounds inside this process, to see what part of it is the Aspect's
    join point   what one preContractCall that does nothing adds to a transaction

Ratios hold when the machine's speed drifts; absolute times are of this machine, and what happens inside one thread is given as its
CPU time, which other processes disturb less. Ends with status 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
from eth_abi.abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from rich.console import Console
from rich.table import Table
from web3 import Web3

from bench.anvil import AnvilUnavailable, anvil
from bench.contracts import contract
from bench.pool import CREATOR, GAS, POOL, PRE_CONTRACT_CALL, SYSTEM, TERMS, PoolChain, account, address_of, selector
from bench.process import DevchainProcess
from devchain import Devchain
from devchain.aspect.runtime import AspectRuntime
from devchain.config import DEVELOPMENT_CHAIN_ID, ChainConfig
from linklearner.domain.encodings import ENCODINGS, Encoding
from linklearner.domain.shape import Shape, Tensor
from linklearner.domain.update import Update

CHAIN_ID = DEVELOPMENT_CHAIN_ID
TRANSFERS, BATCH = 400, 50
LEAST_RATIO = 0.3
WEIGHTS, UPDATES, ROUNDS = 25_000, 5, 5
MOST_SETTLEMENT_S = 0.150
LEAST_MERGED_PER_S = 20e6
DEPOSITS = 150
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "aspect"


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    value: str
    goal: str = ""
    met: bool = True


# -- transfers


def transfers() -> list[Figure]:
    """Raises AnvilUnavailable."""
    with tempfile.TemporaryDirectory() as folder, DevchainProcess(Path(folder) / "chain.sqlite") as devchain:
        sender = devchain.account
        with anvil("--hardfork", "cancun", "--chain-id", str(CHAIN_ID), "--gas-limit", "20000000") as other:
            httpx.post(
                other,
                json={"jsonrpc": "2.0", "id": 1, "method": "anvil_setBalance", "params": [sender.address, hex(10**22)]},
            )
            ours, theirs = Spender(devchain.url, sender), Spender(other, sender)
            for spender in (ours, theirs):
                spender.run(BATCH)  # warm-up
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(TRANSFERS // BATCH):
                times[0].append(ours.run(BATCH))
                times[1].append(theirs.run(BATCH))
    ratios = [their_time / our_time for our_time, their_time in zip(*times, strict=True)]
    rates = [BATCH / median(one) for one in times]
    ratio = median(ratios)
    return [
        Figure("ERC-20 transfers through web3.py, devchain", f"{rates[0]:.0f}/s"),
        Figure("ERC-20 transfers through web3.py, anvil", f"{rates[1]:.0f}/s"),
        Figure("ratio, median of batches", f"{ratio:.2f}x", f">= {LEAST_RATIO}x", ratio >= LEAST_RATIO),
    ]


class Spender:
    """Sends one transfer after another to fresh addresses."""

    def __init__(self, url: str, sender: LocalAccount) -> None:
        self._web3 = Web3(Web3.HTTPProvider(url))
        self._sender = sender
        self._nonce = self._web3.eth.get_transaction_count(sender.address)
        code = bytes.fromhex(contract("Coin").constructor(sender.address, 10**24).data_in_transaction[2:])
        created = self._send(data=code, gas=5_000_000)["contractAddress"]
        self._coin = self._web3.eth.contract(address=created, abi=contract("Coin").abi)

    def _send(self, **fields: Any) -> Any:
        transaction = {
            "nonce": self._nonce,
            "gasPrice": 2 * 10**9,
            "value": 0,
            "chainId": CHAIN_ID,
            "gas": 200_000,
        } | fields
        self._nonce += 1
        raw = self._sender.sign_transaction(transaction).raw_transaction
        # both chains mine at once; the poll must not be what is measured
        return self._web3.eth.wait_for_transaction_receipt(
            self._web3.eth.send_raw_transaction(raw), poll_latency=0.0005
        )

    def run(self, count: int) -> float:
        """Seconds for so many transfers."""
        begun = time.perf_counter()
        for _ in range(count):
            receiver = to_checksum_address(self._nonce.to_bytes(20, "big"))
            receipt = self._send(to=self._coin.address, data=self._coin.encode_abi("transfer", [receiver, 1]))
            assert receipt["status"] == 1
        return time.perf_counter() - begun


# -- settlement


def shape_of(weights: int) -> Shape:
    """One tensor in one settlement group."""
    page_length = 4096
    return Shape((Tensor(weights, 12),), page_length, -(-weights // page_length), 2**31)


def updates_of(shape: Shape, task: int, version: int, encoding: Encoding, seed: int) -> list[Update]:
    """Dense: every page of every update."""
    random = np.random.default_rng(seed)
    choices = np.array(encoding.values, dtype=np.int8)
    return [
        Update(
            task,
            version,
            encoding,
            (0,),
            tuple((page, random.choice(choices, _length(shape, page))) for page in range(shape.page_count)),
        )
        for _ in range(UPDATES)
    ]


def _length(shape: Shape, page: int) -> int:
    part = shape.page_slice(page)
    return part.stop - part.start


def deployed_on(devchain: Devchain) -> PoolChain:
    """The tests' pool on a devchain that is also answering on a socket. To be called on the chain's thread."""
    begun = type("Begun", (PoolChain,), {"begin": staticmethod(lambda accounts: PoolChain(devchain.chain))})
    world: PoolChain = begun.deployed(UPDATES + 1)
    return world


@contextmanager
def clocked() -> Iterator[list[float]]:
    """CPU seconds of every Aspect call while the block runs."""
    spent: list[float] = []
    original = AspectRuntime.call

    def call(self: AspectRuntime, *arguments: Any, **named: Any) -> Any:
        begun = time.thread_time()
        try:
            return original(self, *arguments, **named)
        finally:
            spent.append(time.thread_time() - begun)

    AspectRuntime.call = call  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        AspectRuntime.call = original  # type: ignore[method-assign]


def settlements(encoding: Encoding) -> list[Figure]:
    config = ChainConfig(min_gas_multiplier=Fraction(0))
    wealth = {account(index).address: 10**24 for index in (*range(UPDATES + 1), CREATOR)}
    shape = shape_of(WEIGHTS)
    wall: list[float] = []
    inside: list[float] = []
    gas = 0
    with (
        Devchain.running(config=config, accounts=wealth) as devchain,
        httpx.Client(base_url=devchain.url, timeout=60, trust_env=False) as client,
    ):

        def on_chain(work: Callable[..., Any], *arguments: Any) -> Any:
            return devchain.thread.run_blocking(work, *arguments)

        world = on_chain(deployed_on, devchain)
        task = on_chain(world.open_task, shape, np.zeros(WEIGHTS, np.int16), [1000] * UPDATES)
        for turn in range(ROUNDS + 1):
            raws = on_chain(_prepare, world, shape, task, encoding, turn)
            with clocked() as spent:
                begun = time.perf_counter()
                used = sum(_land(client, raw) for raw in raws)
                elapsed = time.perf_counter() - begun
            if turn:  # the first one warms up
                wall.append(elapsed)
                inside.append(sum(spent))
                gas = used
    name = encoding.name
    slowest, typical = max(wall), median(wall)
    speed = WEIGHTS * UPDATES / median(inside)
    return [
        Figure(
            f"settlement of {UPDATES} x {WEIGHTS:,} weights, {name}, raw to receipts",
            f"{typical * 1e3:.0f} ms (worst {slowest * 1e3:.0f})",
            f"<= {MOST_SETTLEMENT_S * 1e3:.0f} ms",
            typical <= MOST_SETTLEMENT_S,
        ),
        Figure("   of it inside the Aspect, host functions included, CPU", f"{median(inside) * 1e3:.1f} ms"),
        Figure(
            "   weights of updates merged a second in the Aspect",
            f"{speed / 1e6:.1f} M/s",
            f">= {LEAST_MERGED_PER_S / 1e6:.0f} M/s",
            speed >= LEAST_MERGED_PER_S,
        ),
        Figure("   gas", f"{gas:,} ({gas / WEIGHTS:.1f} a weight)"),
    ]


def _prepare(world: PoolChain, shape: Shape, task: int, encoding: Encoding, seed: int) -> list[str]:
    """Submit five updates; the signed settle transactions of the round."""
    status = world.status(task)
    updates = updates_of(shape, task, status["version"], encoding, seed)
    for index, update in enumerate(updates, 1):
        world.submit(index, update, shape)
    world.wait(TERMS.min_round_seconds)
    by_digest = {update.digest(shape): update for update in updates}
    settler = account(1)
    nonce = world.chain.pending_nonce(address_of(settler))
    raws = []
    for group in range(shape.group_count):
        data = POOL.encode_call(
            "settle", task, status["round"], group, world.settlements(task, group, shape, by_digest)
        )
        fields = {
            "nonce": nonce + group, "gas": GAS, "gasPrice": 10**9, "value": 0, "data": data, "chainId": CHAIN_ID,
            "to": to_checksum_address(world.pool),
        }  # fmt: skip
        raws.append(settler.sign_transaction(fields).raw_transaction.to_0x_hex())
    return raws


def _land(client: httpx.Client, raw: str) -> int:
    """Send and fetch the receipt; the gas that it took."""
    transaction_hash = _ask(client, "eth_sendRawTransaction", raw)
    receipt = _ask(client, "eth_getTransactionReceipt", transaction_hash)
    assert receipt["status"] == "0x1", receipt
    return int(receipt["gasUsed"], 16)


def _ask(client: httpx.Client, method: str, parameter: str) -> Any:
    answer = client.post("/", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": [parameter]}).json()
    assert "result" in answer, answer
    return answer["result"]


# -- a join point


def join_point() -> list[Figure]:
    """Deposits into two vaults in turns; to one of them the example's Aspect is bound, which looks at the selector and returns."""
    world = PoolChain.begin(2)
    owner = account(0)
    vault_code = bytes.fromhex(json.loads((EXAMPLE / "vault.json").read_text())["bytecode"][2:])
    bare, bound = world.create(owner, vault_code), world.create(owner, vault_code)
    settings = {"owner": address_of(owner), "limit": (10**15).to_bytes(8, "big"), "window": (100).to_bytes(8, "big")}
    deploy = selector("deploy(bytes,bytes,(string,bytes)[],address,bytes,uint256)") + encode(
        ["bytes", "bytes", "(string,bytes)[]", "address", "bytes", "uint256"],
        [(EXAMPLE / "breaker.wasm").read_bytes(), b"", list(settings.items()), owner.address, b"", PRE_CONTRACT_CALL],
    )
    world.aspect = world.send(owner, SYSTEM, deploy).contract_address or b""
    world.bind(owner, bound)
    times: dict[bytes, list[float]] = {bare: [], bound: []}
    gas: dict[bytes, int] = {}
    for nonce in range(2 * DEPOSITS):
        vault = (bare, bound)[nonce % 2]
        fields = {
            "nonce": world.chain.pending_nonce(address_of(owner)), "gas": 200_000, "gasPrice": 10**9, "value": 1,
            "data": selector("deposit()"), "chainId": CHAIN_ID, "to": to_checksum_address(vault),
        }  # fmt: skip
        raw = bytes(owner.sign_transaction(fields).raw_transaction)
        begun = time.thread_time()
        world.chain.submit(raw)
        (receipt,) = world.chain.mine().receipts
        times[vault].append(time.thread_time() - begun)
        assert receipt.status == 1
        gas[vault] = receipt.gas_used
    world.chain.close()
    added = median(times[bound]) - median(times[bare])
    return [
        Figure("a transaction without an Aspect, in the chain itself, CPU", f"{median(times[bare]) * 1e3:.2f} ms"),
        Figure("what a preContractCall adds (the example's, decoding its input), CPU", f"{added * 1e3:.2f} ms"),
        Figure("   in gas", f"{gas[bound] - gas[bare]:,}"),
    ]


def main() -> int:
    argparse.ArgumentParser(prog="bench.devchain", description=__doc__.partition("\n")[0]).parse_args()
    console = Console()
    figures: list[Figure] = []
    try:
        figures += transfers()
    except AnvilUnavailable as error:
        console.print(f"transfers skipped: {error}")
    for encoding in ENCODINGS.values():
        figures += settlements(encoding)
    figures += join_point()
    table = Table("figure", "measured", "goal", "")
    for figure in figures:
        table.add_row(
            figure.what, figure.value, figure.goal, "" if not figure.goal else "met" if figure.met else "MISSED"
        )
    console.print(table)
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
