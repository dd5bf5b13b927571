"""The bench of serving runs by one command and holds what it can check without a quiet machine."""

import asyncio
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


async def test_the_bench_runs_and_sees_no_error_and_nothing_stale(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ("--rounds", "1", "--seconds", "0.1", "--concurrency", "2", "--json", str(figures))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.serving", *options, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(120):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    measured = json.loads(figures.read_text())
    assert (measured["swap"]["errors"], measured["swap"]["stale"]) == (0, 0)
    assert all(measured[f"{server} c=2"]["cpu_us"] > 0 for server in ("floor (echo)", "gate off", "gate on"))
    assert "goals" in out.decode()
