"""The demo on a chain behind a public endpoint that loses one call in ten, half of them after they were forwarded: it ends right, and
every transaction lands once."""

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.process import DevchainProcess
from bench.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
LINKLEARNER = Path(sys.executable).with_name("linklearner")
ROUNDS = 2
CONTRIBUTORS = 5


def ask(url: str, method: str, *parameters: object) -> Any:
    question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    return httpx.post(url, json=question, timeout=30).json()["result"]


def succeeded(url: str) -> list[dict[str, Any]]:
    """All transactions that had an effect, in the chain's order, from the chain itself."""
    last = int(ask(url, "eth_blockNumber"), 16)
    blocks = (ask(url, "eth_getBlockByNumber", hex(number), True) for number in range(last + 1))
    found = [one for block in blocks for one in block["transactions"]]
    return [one for one in found if ask(url, "eth_getTransactionReceipt", one["hash"])["status"] == "0x1"]


@pytest.mark.xfail(
    strict=False,
    reason="about one run in four on a busy machine the demo ends with exit status 1 in its second round; cause not yet found",
)
@pytest.mark.parametrize("seed", [1])
async def test_a_demo_over_an_endpoint_that_loses_calls_ends_right_and_pays_once(tmp_path: Path, seed: int) -> None:
    with DevchainProcess(tmp_path / "chain.sqlite", "--strict-rpc", "--mining", "interval:0.5") as devchain:
        key_file = tmp_path / "funded.key"
        key_file.write_text(devchain.account.key.hex())
        async with Proxy.start(devchain.url, loss=0.1, seed=seed) as proxy:
            process = await asyncio.create_subprocess_exec(
                LINKLEARNER, "demo", "--format", "json", "--rpc", proxy.url, "--key-file", key_file,
                "--rounds", str(ROUNDS), cwd=ROOT, env={**os.environ, "LINKLEARNER_HOME": str(tmp_path / "home")},
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                output, seen = await asyncio.wait_for(process.communicate(), 540)
            finally:
                if process.returncode is None:
                    process.terminate()
                    await process.wait()
        events = [json.loads(line) for line in output.splitlines()]
        assert process.returncode == 0, seen.decode()
        assert events[-1]["event"] == "done"
        assert proxy.lost["before"] and proxy.lost["after"] and proxy.lost_sends, "nothing was lost: this shows nothing"

        # What was sent, as the chain itself has it: no gift, no stake, no update and no settlement came twice.
        landed = await asyncio.to_thread(succeeded, devchain.url)
        gifts = Counter(one["to"] for one in landed if one["input"] in ("0x", "") and int(one["value"], 16))
        assert len(gifts) == CONTRIBUTORS and set(gifts.values()) == {1}
        calls = Counter((one["from"], one["to"], one["input"]) for one in landed if one["to"] and len(one["input"]) > 2)
        assert [call for call, times in calls.items() if times > 1] == []
        rounds = [event for event in events if event["event"] == "round"]
        assert [one["version"] for one in rounds] == list(range(2, ROUNDS + 2))
        assert all(len(one["contributors"]) == CONTRIBUTORS for one in rounds)
        [audit] = [event for event in events if event["event"] == "verified"]
        assert (audit["versions"], audit["updates"]) == (ROUNDS + 1, ROUNDS * CONTRIBUTORS)
