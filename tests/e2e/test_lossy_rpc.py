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
SEED = int(os.environ.get("LOSSY_SEED", "1"))
"""Of the proxy: which calls it loses."""
SHOWN_LINES = 80


def ask(url: str, method: str, *parameters: object) -> Any:
    question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    return httpx.post(url, json=question, timeout=30).json()["result"]


def succeeded(url: str) -> list[dict[str, Any]]:
    """All transactions that had an effect, in the chain's order, from the chain itself."""
    last = int(ask(url, "eth_blockNumber"), 16)
    blocks = (ask(url, "eth_getBlockByNumber", hex(number), True) for number in range(last + 1))
    found = [one for block in blocks for one in block["transactions"]]
    return [one for one in found if ask(url, "eth_getTransactionReceipt", one["hash"])["status"] == "0x1"]


def evidence(folder: Path) -> str:
    """All that was written: what the demo printed, what its services logged, what the chain said. The whole of it stays in `folder`."""
    written = sorted(path for pattern in ("demo.*", "*.log", "home/**/*.log") for path in folder.glob(pattern))
    shown = [
        f"--- {path}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-SHOWN_LINES:]) for path in written
    ]
    return f"seed {SEED}, in {folder}:\n" + "\n".join(shown)


async def test_a_demo_over_an_endpoint_that_loses_calls_ends_right_and_pays_once(tmp_path: Path) -> None:
    with DevchainProcess(tmp_path / "chain.sqlite", "--strict-rpc", "--mining", "interval:0.5") as devchain:
        key_file = tmp_path / "funded.key"
        key_file.write_text(devchain.account.key.hex())
        async with Proxy.start(devchain.url, loss=0.1, seed=SEED) as proxy:
            with (tmp_path / "demo.out").open("wb") as output, (tmp_path / "demo.err").open("wb") as errors:
                process = await asyncio.create_subprocess_exec(
                    LINKLEARNER, "demo", "--format", "json", "--rpc", proxy.url, "--key-file", key_file,
                    "--rounds", str(ROUNDS), cwd=ROOT, env={**os.environ, "LINKLEARNER_HOME": str(tmp_path / "home")},
                    stdout=output, stderr=errors,
                )  # fmt: skip
            try:
                await asyncio.wait_for(process.wait(), 540)
            except TimeoutError:
                pytest.fail(f"the demo does not end; {evidence(tmp_path)}")
            finally:
                if process.returncode is None:
                    process.terminate()
                    await process.wait()
        assert process.returncode == 0, f"exit status {process.returncode}; {evidence(tmp_path)}"
        events = [json.loads(line) for line in (tmp_path / "demo.out").read_text().splitlines()]
        assert events[-1]["event"] == "done"
        assert proxy.lost["before"] and proxy.lost["after"] and proxy.lost_sends, "nothing was lost: this shows nothing"

        # What was sent, as the chain itself has it: no gift, no stake, no update and no settlement came twice.
        landed = await asyncio.to_thread(succeeded, devchain.url)
        # to the contributors, the task's creator and its sponsor
        gifts = Counter(one["to"] for one in landed if one["input"] in ("0x", "") and int(one["value"], 16))
        assert len(gifts) == CONTRIBUTORS + 2 and set(gifts.values()) == {1}
        calls = Counter((one["from"], one["to"], one["input"]) for one in landed if one["to"] and len(one["input"]) > 2)
        assert [call for call, times in calls.items() if times > 1] == []
        rounds = [event for event in events if event["event"] == "round"]
        assert [one["version"] for one in rounds] == list(range(2, ROUNDS + 2))
        assert all(len(one["contributors"]) == CONTRIBUTORS for one in rounds)
        [audit] = [event for event in events if event["event"] == "verified"]
        assert (audit["versions"], audit["updates"]) == (ROUNDS + 1, ROUNDS * CONTRIBUTORS)
